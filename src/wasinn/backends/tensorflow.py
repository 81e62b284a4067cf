# SPDX-License-Identifier: Apache-2.0
"""TensorFlow graphs on TensorFlow: frozen graphs (a GraphDef), and SavedModel directories.

A graph is one concrete function, shared by every context. A context owns a buffer for each input, of
which a tensor is made once, without a copy; outputs are read where TensorFlow put them.

Facts behind the code, each measured with TensorFlow 2.21:

- `function(tensor)` takes 120-220 us for the tiny model, a v1 session 105, `Context.call_function`, which
  both come down to, 20-35.
- `tf.constant` copies; a tensor made by DLPack of aligned memory does not, and is seen to change with it.
  It can be an output too (Identity passes its input on), which is then copied at once: a later
  `set_input` must not change what was computed. bf16 has no DLPack in NumPy, but u16 has, and `bitcast`
  does not copy; the floats of eight bits have neither.
- `.numpy()` copies (0.3 ms for 12.6 MB), `np.asarray` does not.
- Cancellation ends a loop at once, and a graph without loops only before its first operation. A compute
  that fails cancels the manager that it ran under.
- Both pools of threads are the process's, and fixed by the first tensor that is made.
- Importing takes 3-6 s, and writes to stderr whatever TF_CPP_MIN_LOG_LEVEL says.
- Of 1700 damaged graphs one ended the process (a check in a kernel of oneDNN, at compute): what comes from
  strangers belongs in a process of its own, also with the operations of tensorflow_graphdef.py alone.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import itertools
import logging
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from wasinn.backends import tensorflow_graphdef as graphdef
from wasinn.backends.base import Backend, Execution, Graph, LoadOptions, Model
from wasinn.backends.common import (
    Buffer,
    check_builders,
    choose_target,
    installed_version,
    one_line,
    stderr_without,
)
from wasinn.errors import WasiNNError, runtime_error, unsupported
from wasinn.spec import Encoding, ErrorCode, Target, TensorType
from wasinn.tensors import Tensor, TensorSpec, element_count

#: TensorFlow's names for element types.
_TYPES = {
    "float16": TensorType.F16,
    "bfloat16": TensorType.BF16,
    "float32": TensorType.F32,
    "float64": TensorType.F64,
    "uint8": TensorType.U8,
    "int8": TensorType.I8,
    "bool": TensorType.BOOL,
    "int16": TensorType.I16,
    "uint16": TensorType.U16,
    "int32": TensorType.I32,
    "uint32": TensorType.U32,
    "int64": TensorType.I64,
    "uint64": TensorType.U64,
    "float8_e4m3fn": TensorType.F8E4M3FN,
    "float8_e4m3fnuz": TensorType.F8E4M3FNUZ,
    "float8_e5m2": TensorType.F8E5M2,
    "float8_e5m2fnuz": TensorType.F8E5M2FNUZ,
}
_NAMES = {tensor_type: name for name, tensor_type in _TYPES.items()}

#: The distributions that bring the module `tensorflow`.
_CPU_ONLY = ("tensorflow-cpu", "tensorflow-intel")
_DISTRIBUTIONS = ("tensorflow", *_CPU_ONLY)

_DEVICES = {Target.CPU: "CPU:0", Target.GPU: "GPU:0"}

_ONE_BUILDER = (
    "a TensorFlow model is one builder (a frozen graph's bytes), or an operator's SavedModel directory"
)


class TensorFlowBackend(Backend):
    """`tensorflow`: see the head of this file."""

    name: ClassVar[str] = "tensorflow"
    encodings: ClassVar[Mapping[Encoding, int]] = {Encoding.TENSORFLOW: 1}
    extra: ClassVar[str] = "tensorflow"
    isolation: ClassVar[Literal["never", "bytes", "always"]] = "bytes"

    @functools.cache  # noqa: B019
    def version(self) -> str | None:
        return installed_version("tensorflow", *_DISTRIBUTIONS)

    @functools.cache  # noqa: B019
    def devices(self) -> Mapping[Target, str]:
        if _is_cpu_only():  # asking TensorFlow would import it
            return {Target.CPU: _DEVICES[Target.CPU]}
        found = {Target.CPU} | ({Target.GPU} if _tensorflow().config.list_physical_devices("GPU") else set())
        return {target: name for target, name in _DEVICES.items() if target in found}

    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        target = choose_target(self.name, self.devices(), target)
        check_builders(model, _ONE_BUILDER)
        _set_threads(options.threads)
        if target is Target.GPU:
            # What a GPU has no kernel for is an error then, and not left to the CPU without a word.
            _tensorflow().config.set_soft_device_placement(False)
        try:
            with _tensorflow().device(_DEVICES[target]):
                if model.files and model.files[0].is_dir():
                    return _from_saved_model(model.files[0], _DEVICES[target])
                return _from_frozen(_parse(model), _DEVICES[target])
        except WasiNNError:
            raise
        except Exception as error:  # ValueError, TypeError, OSError and a dozen classes of its own
            raise runtime_error(f"tensorflow could not load the model: {_reason(error)}") from error


# -- the runtime --------------------------------------------------------------------------------------

_importing = threading.Lock()


def _tensorflow() -> Any:
    """The module, imported without a word on stderr if nobody imported it before."""
    with _importing:
        if "tensorflow" not in sys.modules:
            level = _log_level()
            with stderr_without(lambda line: _is_below(line, level)):
                import tensorflow
            if level > 1:
                for name in ("tensorflow", "absl"):
                    logging.getLogger(name).setLevel(logging.ERROR)
            for gpu in tensorflow.config.list_physical_devices("GPU"):
                tensorflow.config.experimental.set_memory_growth(gpu, True)  # else it takes all there is
        import tensorflow

        return tensorflow


def _log_level() -> int:
    """The level that TensorFlow's C++ logs from: 0 info, 1 warnings, 2 errors, and by our own choice 3."""
    try:
        return int(os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3"))
    except ValueError:
        return 0


#: The beginning of a line of its log. Some are written before it has read the level.
_LOG_LINE = re.compile(rb"WARNING: All log messages before absl|([IWEF])\d{4} \d\d:\d\d:\d+\.\d+ ")


def _is_below(line: bytes, level: int) -> bool:
    found = _LOG_LINE.match(line)
    return found is not None and b"IWEF".find(found[1] or b"I") < level


def _is_cpu_only() -> bool:
    """Whether the installed package was built without any other device."""
    names = []
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            names.append(importlib.metadata.distribution(name).name)
    return bool(names) and "tensorflow" not in names


def _set_threads(threads: int | None) -> None:
    """Has the process compute with so many threads; raises WasiNNError if that is settled otherwise."""
    config = _tensorflow().config.threading
    with _importing:
        if threads is None or config.get_intra_op_parallelism_threads() == threads:
            return
        try:
            # The other pool (inter_op) starts operations, of all graphs: one thread there would have
            # contexts wait for each other.
            config.set_intra_op_parallelism_threads(threads)
        except RuntimeError:
            settled = config.get_intra_op_parallelism_threads() or "as many as there are cores"
            raise unsupported(
                f"tensorflow cannot compute with {threads} threads now: its threads are the process's, and "
                f"were fixed by the first graph that was loaded ({settled}); load this graph first, or "
                'with isolation = "process"'
            ) from None


def _reason(error: BaseException) -> str:
    """TensorFlow's message without the names that it made up."""
    text = re.sub(r"\{\{function_node \S+\}\}|\[\[\{\{node \S+\}\}\]\]|\[Op:\S+\]", "", str(error))
    return one_line(text)


# -- loading ------------------------------------------------------------------------------------------

#: Counts the graphs of this process.
_serial = itertools.count()


def _parse(model: Model) -> Any:
    """The GraphDef. What comes as bytes may be a guest's, and has only operations that touch nothing."""
    tensorflow = _tensorflow()
    data = model.files[0].read_bytes() if model.files else model.builders[0]
    graph = tensorflow.compat.v1.GraphDef()
    try:
        graph.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, of whichever implementation
        raise _not_a_graph(data, one_line(error)) from error
    if not graph.node:
        raise _not_a_graph(data, "it has no nodes")
    found = None if model.files else graphdef.forbidden(graph)
    if found is not None:
        raise unsupported(
            f"the operation {found[0]!r} (node {found[1]!r}) is not one that a graph given as bytes may use; "
            "an operator can load it from a file"
        )
    return graph


def _not_a_graph(data: bytes, why: str) -> WasiNNError:
    from tensorflow.core.protobuf import saved_model_pb2

    with contextlib.suppress(Exception):
        if saved_model_pb2.SavedModel.FromString(data).meta_graphs:
            why = "this is the saved_model.pb of a SavedModel; name the directory that it is in"
    return WasiNNError(
        ErrorCode.INVALID_ENCODING, f"this is not a TensorFlow GraphDef, or not all of one: {why}"
    )


def _from_frozen(graph: Any, device: str) -> TensorFlowGraph:
    """The function from a GraphDef's inputs to its outputs."""
    tensorflow = _tensorflow()
    graphdef.detach(graph, f"wasinn_{next(_serial)}_")
    with tensorflow.device(device):
        whole = tensorflow.compat.v1.wrap_function(
            lambda: tensorflow.graph_util.import_graph_def(graph, name=""), []
        )
    nodes = whole.graph.get_operation_by_name
    inputs = {name: nodes(name).outputs[0] for name in graphdef.input_names(graph)}
    ends = {name: nodes(name).outputs for name in graphdef.output_names(graph)}
    outputs = {name: tensors[0] for name, tensors in ends.items() if tensors}
    if not outputs:
        raise runtime_error("the graph has no outputs: no node computes what no other node takes")
    input_specs, output_specs = _specs(inputs, "input"), _specs(outputs, "output")
    function = whole.prune(list(inputs.values()), list(outputs.values()))
    result = TensorFlowGraph(function, device, input_specs, output_specs)
    # TensorFlow forgets `function` by itself, but not those that it calls.
    called = [each.signature.name for each in graph.library.function]
    weakref.finalize(result, _forget, called).atexit = False
    return result


def _forget(functions: Sequence[str]) -> None:
    from tensorflow.python.eager import context

    runtime = context.context()
    for name in functions:
        with contextlib.suppress(Exception):
            while runtime.has_function(name):  # the runtime counts: importing adds one, pruning another
                runtime.remove_function(name)


def _from_saved_model(folder: Path, device: str) -> TensorFlowGraph:
    """The function of a SavedModel's signature, with names as the signature has them."""
    tensorflow = _tensorflow()
    loaded = tensorflow.saved_model.load(str(folder))
    key = _signature_key(sorted(loaded.signatures))
    signature = loaded.signatures[key]
    names, answers = _signature_order(folder, key)
    given = {name: signature.structured_input_signature[1][name] for name in names}
    inputs = _specs(given, "input")
    outputs = _specs({name: signature.structured_outputs[name] for name in answers}, "output")

    def call(*arguments: Any) -> list[Any]:
        found = signature(**dict(zip(names, arguments, strict=True)))
        return [found[name] for name in answers]

    wanted = [tensorflow.TensorSpec(each.shape, each.dtype) for each in given.values()]
    function = tensorflow.function(call, input_signature=wanted, autograph=False).get_concrete_function()
    # A function does not keep its variables alive: the SavedModel does.
    return TensorFlowGraph(function, device, inputs, outputs, loaded)


def _signature_key(keys: Sequence[str]) -> str:
    if "serving_default" in keys:
        return "serving_default"
    if len(keys) != 1:
        listed = ", ".join(keys) or "none"
        raise unsupported(
            f"a SavedModel is run by its signature serving_default, or the only one it has; it has: {listed}"
        )
    return keys[0]


def _signature_order(folder: Path, key: str) -> tuple[list[str], list[str]]:
    """The names of a signature's inputs and outputs in OpenVINO's order; in the file they have none.

    Inputs come as their Placeholders do, outputs are sorted by the name of the tensor that they are:
    `StatefulPartitionedCall:10` is before `StatefulPartitionedCall:2`.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    content = (folder / "saved_model.pb").read_bytes()
    for graph in saved_model_pb2.SavedModel.FromString(content).meta_graphs:
        if key in graph.signature_def:
            signature = graph.signature_def[key]
            place = {node.name: number for number, node in enumerate(graph.graph_def.node)}
            inputs, outputs = dict(signature.inputs), dict(signature.outputs)
            return (
                sorted(inputs, key=lambda name: place.get(inputs[name].name.split(":")[0], 0)),
                sorted(outputs, key=lambda name: outputs[name].name.encode()),
            )
    raise runtime_error(f"saved_model.pb has no signature {key!r}")


def _specs(tensors: Mapping[str, Any], direction: str) -> tuple[TensorSpec, ...]:
    """The specs of TensorFlow's tensors, or of what it calls their specs."""
    return tuple(_spec(name, tensor, direction) for name, tensor in tensors.items())


def _spec(name: str, tensor: Any, direction: str) -> TensorSpec:
    found = _TYPES.get(tensor.dtype.name)
    if found is None:
        raise unsupported(
            f"the {direction} {name!r} is a {tensor.dtype.name} tensor, which WASI-NN has no tensor type for"
        )
    dims = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    # What a node gives first is a tensor of the node's name and ":0", as OpenVINO calls it.
    aliases = (tensor.name,) if getattr(tensor, "name", None) == f"{name}:0" else ()
    return TensorSpec(name, found, dims, aliases=aliases)


# -- running ------------------------------------------------------------------------------------------


class TensorFlowGraph:
    """One concrete function, shared by every context."""

    def __init__(
        self,
        function: Any,
        device: str,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        owner: Any = None,
    ) -> None:
        from tensorflow.python.eager import context

        self.inputs = inputs
        self.outputs = outputs
        self._kept = function, owner
        self._name = function.name
        self._captured = list(function.captured_inputs)
        self._device = None if device == _DEVICES[Target.CPU] else device
        self._context = context.context()
        self._context.ensure_initialized()

    def open(self) -> Execution:
        return TensorFlowExecution(self)

    def call(self, arguments: list[Any]) -> list[Any]:
        """The outputs for the inputs, as eager tensors."""
        arguments += self._captured
        # The executor works on the CPU by default; a device is entered only where it matters (6 us).
        with contextlib.nullcontext() if self._device is None else _tensorflow().device(self._device):
            found: list[Any] = self._context.call_function(self._name, arguments, len(self.outputs))
        return found


class TensorFlowExecution:
    """The buffers of one context, and the tensors that TensorFlow made last."""

    def __init__(self, graph: TensorFlowGraph) -> None:
        from tensorflow.python.eager import cancellation

        self._graph: TensorFlowGraph | None = graph
        self._inputs: list[_Input | None] = [None] * len(graph.inputs)
        self._outputs: list[Any] = []
        self._managers: Callable[[], Any] = cancellation.CancellationManager
        self._cancellable: Callable[[Any], Any] = cancellation.CancellationManagerContext
        self._manager = self._managers()
        self._interrupted = False

    def set_input(self, index: int, tensor: Tensor) -> None:
        found = self._inputs[index]
        if found is None or found.dims != tensor.dims:
            assert self._graph is not None
            found = self._inputs[index] = _Input(tensor.dims, self._graph.inputs[index].type)
        found.fill(tensor.data)

    def compute(self) -> None:
        graph = self._graph
        if graph is None:
            raise runtime_error("the context is closed")
        self._outputs = []
        try:
            arguments = [each.tensor() for each in self._inputs if each is not None]
            with self._cancellable(self._manager):
                found = graph.call(arguments)
            self._outputs = [self._own(np.asarray(tensor)) for tensor in found]
        except Exception as error:
            self._renew()
            raise runtime_error(f"tensorflow: {_reason(error)}") from error

    def _renew(self) -> None:
        """A manager for the next compute: one that failed has cancelled its own, for good."""
        self._manager = self._managers()
        if self._interrupted:
            self._manager.start_cancel()

    def _own(self, array: Any) -> Any:
        """The array, or a copy if it lies in the buffer of an input."""
        address = array.__array_interface__["data"][0]
        if any(each is not None and each.holds(address) for each in self._inputs):
            return array.copy()
        return array

    def output(self, index: int) -> Tensor:
        assert self._graph is not None
        array = self._outputs[index]
        content: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return Tensor(array.shape, self._graph.outputs[index].type, memoryview(content))

    def interrupt(self) -> None:
        self._interrupted = True
        self._manager.start_cancel()

    def close(self) -> None:
        self._graph = None
        self._inputs = []
        self._outputs = []


class _Input:
    """An input's buffer, and a tensor over it."""

    def __init__(self, dims: tuple[int, ...], tensor_type: TensorType) -> None:
        self.dims = dims
        self._is_bool = tensor_type is TensorType.BOOL
        self._buffer = Buffer(element_count(dims) * tensor_type.size)
        self._dtype = _tensorflow().as_dtype(_NAMES[tensor_type])
        self._array = self._buffer.array.view(self._dtype.as_numpy_dtype).reshape(dims)
        self._tensor = self._over(tensor_type)

    def _over(self, tensor_type: TensorType) -> Any:
        """A tensor of the buffer's own memory; None where there is no way to make one."""
        tensorflow = _tensorflow()
        if tensor_type.label.startswith("f8"):
            return None
        if tensor_type is TensorType.BF16:
            words = self._array.view(np.uint16)
            shared = tensorflow.experimental.dlpack.from_dlpack(words.__dlpack__())
            return tensorflow.bitcast(shared, self._dtype)
        return tensorflow.experimental.dlpack.from_dlpack(self._array.__dlpack__())

    def fill(self, data: memoryview) -> None:
        self._buffer.view[:] = data
        if self._is_bool:  # kernels take a byte of 2 for neither true nor false
            np.minimum(self._buffer.array, 1, out=self._buffer.array)

    def tensor(self) -> Any:
        """What the function is called with; good for one call."""
        if self._tensor is None:
            return _tensorflow().constant(self._array)
        return self._tensor

    def holds(self, address: int) -> bool:
        """Whether an address is in the buffer."""
        return self._buffer.address <= address < self._buffer.address + len(self._buffer.view)
