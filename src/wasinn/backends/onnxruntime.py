# SPDX-License-Identifier: Apache-2.0
"""ONNX models on ONNX Runtime.

One session serves every context of a graph and computes concurrently. A context owns an IOBinding:
inputs are bound once to buffers that `set_input` copies into, outputs of fixed shape to buffers
that the runtime writes into, and outputs of dynamic shape are left to the runtime and read where it
put them.

Facts behind the code, each measured: `run_with_iobinding` with a RunOptions of our own takes 1.4 us
where `run` takes 4.5 (without one, the binding makes one for each call); an execution provider that
is not there is a warning and a silent fall-back to the CPU, so it is looked up before; the runtime
does not check the size of a bound buffer, the host does; a dynamic output must be bound anew before
each run, or the old value is kept; external data of a model given as bytes is resolved against the
working directory unless a folder is set.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from wasinn.backends import onnx_external, onnx_proto
from wasinn.backends.base import Backend, Execution, Graph, LoadOptions, Model
from wasinn.backends.common import (
    Buffer,
    check_builders,
    choose_target,
    installed_version,
    one_line,
    view_at,
)
from wasinn.errors import WasiNNError, runtime_error, unsupported
from wasinn.spec import Encoding, ErrorCode, Target, TensorType
from wasinn.tensors import Tensor, TensorSpec, element_count

if TYPE_CHECKING:
    import onnxruntime as ort

#: ONNX Runtime's names for element types, and ONNX's own numbers (onnx.proto, TensorProto.DataType).
_TYPES: dict[str, tuple[TensorType, int]] = {
    "tensor(float)": (TensorType.F32, 1),
    "tensor(uint8)": (TensorType.U8, 2),
    "tensor(int8)": (TensorType.I8, 3),
    "tensor(uint16)": (TensorType.U16, 4),
    "tensor(int16)": (TensorType.I16, 5),
    "tensor(int32)": (TensorType.I32, 6),
    "tensor(int64)": (TensorType.I64, 7),
    "tensor(bool)": (TensorType.BOOL, 9),
    "tensor(float16)": (TensorType.F16, 10),
    "tensor(double)": (TensorType.F64, 11),
    "tensor(uint32)": (TensorType.U32, 12),
    "tensor(uint64)": (TensorType.U64, 13),
    "tensor(bfloat16)": (TensorType.BF16, 16),
    "tensor(float8e4m3fn)": (TensorType.F8E4M3FN, 17),
    "tensor(float8e4m3fnuz)": (TensorType.F8E4M3FNUZ, 18),
    "tensor(float8e5m2)": (TensorType.F8E5M2, 19),
    "tensor(float8e5m2fnuz)": (TensorType.F8E5M2FNUZ, 20),
}
_ONNX_NUMBER = dict(_TYPES.values())
_BY_ONNX_NUMBER = {number: tensor_type for tensor_type, number in _TYPES.values()}

_PROVIDERS = {Target.CPU: "CPUExecutionProvider", Target.GPU: "CUDAExecutionProvider"}

#: The distributions that bring the module `onnxruntime`.
_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")


class OnnxRuntimeBackend(Backend):
    """`onnxruntime`: see the head of this file."""

    name: ClassVar[str] = "onnxruntime"
    encodings: ClassVar[Mapping[Encoding, int]] = {Encoding.ONNX: 0}
    extra: ClassVar[str] = "onnx"

    @functools.cache  # noqa: B019
    def version(self) -> str | None:
        return installed_version("onnxruntime", *_DISTRIBUTIONS)

    def devices(self) -> Mapping[Target, str]:
        return {target: name for target, name in _PROVIDERS.items() if _provider_works(name)}

    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        import onnxruntime

        target = choose_target(self.name, self.devices(), target)
        check_builders(model, "an ONNX model is one builder (its bytes)")
        session_options = onnxruntime.SessionOptions()
        session_options.log_severity_level = 4  # what fails is raised; the rest is not the guest's
        if options.threads is not None:
            session_options.intra_op_num_threads = options.threads
            session_options.inter_op_num_threads = 1
        try:
            if model.files:
                session = _session(str(model.files[0]), session_options, target)
            else:
                onnx_external.check_onnx_bytes(model.builders[0])
                session_options.add_session_config_entry(
                    "session.model_external_initializers_file_folder_path", _empty_folder()
                )
                session = _session(model.builders[0], session_options, target)
            return OnnxRuntimeGraph(session, (model.files or model.builders)[0])
        except Exception as error:  # the runtime raises a dozen classes, all of them its own
            raise _load_error(error) from error


@functools.cache
def _provider_works(name: str) -> bool:
    """Whether an execution provider is in the package, and starts on this machine."""
    import onnxruntime

    if name not in onnxruntime.get_available_providers():
        return False
    if name == _PROVIDERS[Target.CPU]:
        return True
    # The package lists CUDA wherever it was built with it, also where there is no GPU or no driver;
    # trying says so in the log of the runtime, in red, which is not for whoever only asks.
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    onnxruntime.set_default_logger_severity(4)
    try:
        session = onnxruntime.InferenceSession(_PROBE, options, providers=[name], enable_fallback=0)
        return name in session.get_providers()
    except Exception:
        return False
    finally:
        onnxruntime.set_default_logger_severity(2)  # the runtime's default: warnings


#: An ONNX model: y = Relu(x), f32 [1], opset 17.
_PROBE = bytes.fromhex(
    "08083a330a0c0a0178120179220452656c751201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a0808"
    "0112040a02080142040a001011"
)


@functools.cache
def _empty_folder() -> str:
    """A folder with nothing in it, for models that must find nothing beside them. Gone at exit."""
    folder = tempfile.TemporaryDirectory(prefix="wasinn-no-external-data-")
    atexit.register(folder.cleanup)
    return folder.name


def _session(source: str | bytes, options: Any, target: Target) -> Any:
    import onnxruntime

    providers = [_PROVIDERS[target]]
    if target is not Target.CPU:
        providers.append(_PROVIDERS[Target.CPU])  # shapes and the like stay on the CPU, by design
    # Fall-back off: a GPU that fails would have the session start over on the CPU, and a model that
    # cannot be loaded is tried twice, with words on stdout.
    session = onnxruntime.InferenceSession(source, options, providers=providers, enable_fallback=0)
    if _PROVIDERS[target] not in session.get_providers():
        raise unsupported(f"onnxruntime could not start {_PROVIDERS[target]} on this machine")
    return session


def _load_error(error: Exception) -> WasiNNError:
    if isinstance(error, WasiNNError):
        return error
    text = one_line(error)
    if type(error).__name__ in ("InvalidProtobuf", "NoModel"):
        return WasiNNError(ErrorCode.INVALID_ENCODING, f"this is not an ONNX model: {text}")
    return runtime_error(f"onnxruntime could not load the model: {text}")


class OnnxRuntimeGraph:
    """One session, shared by every context."""

    def __init__(self, session: ort.InferenceSession, source: Path | bytes) -> None:
        self._session = session
        self._spare: list[OnnxRuntimeExecution] = []
        inputs, outputs = session.get_inputs(), session.get_outputs()
        # The Python binding shows a scalar and a port without a shape alike, as [].
        bare = any(not port.shape for port in (*inputs, *outputs))
        shapeless = onnx_proto.ports_without_shape(source) if bare else set()
        self.inputs = tuple(_spec(port, "input", shapeless) for port in inputs)
        self.outputs = tuple(_spec(port, "output", shapeless) for port in outputs)

    def open(self) -> Execution:
        try:
            execution = self._spare.pop()
        except IndexError:
            return OnnxRuntimeExecution(self, self._session)
        execution.reopen(self)
        return execution

    def keep(self, execution: OnnxRuntimeExecution) -> None:
        """Takes a closed execution for the next context: a binding costs 20 us to make."""
        if len(self._spare) < _MAX_SPARE:
            self._spare.append(execution)


#: Closed executions that a graph keeps, and the most that the buffers of one may hold, in bytes.
_MAX_SPARE = 16
_MAX_SPARE_BYTES = 1 << 20


def _spec(port: Any, direction: str, shapeless: set[str]) -> TensorSpec:
    found = _TYPES.get(port.type)
    if found is None:
        raise unsupported(
            f"the {direction} {port.name!r} is a {port.type}, which WASI-NN has no tensor type for"
        )
    if not port.shape and port.name in shapeless:
        return TensorSpec(port.name, found[0], None)
    dims = tuple(dim if isinstance(dim, int) and dim >= 0 else None for dim in port.shape)
    return TensorSpec(port.name, found[0], dims)


class OnnxRuntimeExecution:
    """One IOBinding, with the buffers that it reads and writes."""

    def __init__(self, graph: OnnxRuntimeGraph, session: Any) -> None:
        import onnxruntime

        self._graph: OnnxRuntimeGraph | None = graph
        inputs, outputs = graph.inputs, graph.outputs
        self._closed = False
        self._interrupted = False
        self._session = session
        self._inputs = inputs
        self._outputs = outputs
        self._binding = session.io_binding()
        self._options = onnxruntime.RunOptions()
        self._run = session._sess.run_with_iobinding
        self._in_dims: list[tuple[int, ...] | None] = [None] * len(inputs)
        self._in_buffers: list[Buffer | None] = [None] * len(inputs)
        self._out_buffers: list[Buffer | None] = [None] * len(outputs)
        self._values: list[Any] = []
        self._prebind()

    def _prebind(self) -> None:
        """Binds the outputs of fixed shape to buffers.

        A fixed shape is the model's claim: a runtime that finds another one refuses to write into a
        bound buffer, and then all outputs are left to it (see compute).
        """
        self._prebound = [spec.static_dims is not None for spec in self._outputs]
        self._all_prebound = all(self._prebound)
        for index, spec in enumerate(self._outputs):
            if self._prebound[index]:
                self._bind_output(index, spec)

    def set_input(self, index: int, tensor: Tensor) -> None:
        view = self.input_room(index, tensor.dims, tensor.type)
        view[:] = tensor.data
        if tensor.type is TensorType.BOOL:
            # Some kernels add booleans up to know how much they will write: a byte of 2 is not one.
            bools = np.frombuffer(view, np.uint8)
            np.minimum(bools, 1, out=bools)

    def input_room(self, index: int, dims: tuple[int, ...], tensor_type: TensorType) -> memoryview:
        """The memory of an input of such dims, for the caller to write; the input counts as set. (What joins
        several requests writes them straight there: graphs/batch_rows.py.)"""
        buffer = self._in_buffers[index]
        if self._in_dims[index] != dims or buffer is None:
            buffer = Buffer(element_count(dims) * tensor_type.size)
            spec = self._inputs[index]
            self._binding.bind_input(spec.name, "cpu", 0, _ONNX_NUMBER[spec.type], list(dims), buffer.address)
            self._in_dims[index] = dims
            self._in_buffers[index] = buffer
        return buffer.view

    def compute(self) -> None:
        try:
            self._compute()
        except Exception as error:
            if not any(self._prebound) or "shape" not in str(error).lower():
                raise runtime_error(f"onnxruntime: {one_line(error)}") from error
            self._prebound = [False] * len(self._outputs)
            self._all_prebound = False
            try:
                self._compute()
            except Exception as again:
                raise runtime_error(f"onnxruntime: {one_line(again)}") from again

    def _compute(self) -> None:
        if not self._all_prebound:
            self._values = []
            self._binding.clear_binding_outputs()
            for index, spec in enumerate(self._outputs):
                if self._prebound[index]:
                    self._bind_output(index, spec)
                else:
                    self._binding.bind_output(spec.name, "cpu")
        self._run(self._binding._iobinding, self._options)
        if not self._all_prebound:
            self._values = self._binding.get_outputs()

    def _bind_output(self, index: int, spec: TensorSpec) -> None:
        buffer = self._out_buffers[index]
        dims = spec.static_dims
        assert dims is not None
        if buffer is None:
            buffer = Buffer(element_count(dims) * spec.type.size)
            self._out_buffers[index] = buffer
        self._binding.bind_output(spec.name, "cpu", 0, _ONNX_NUMBER[spec.type], list(dims), buffer.address)

    def output(self, index: int) -> Tensor:
        spec = self._outputs[index]
        if self._prebound[index]:
            dims, buffer = spec.static_dims, self._out_buffers[index]
            assert dims is not None
            assert buffer is not None
            return Tensor(dims, spec.type, buffer.view)
        value = self._values[index]
        if not value.has_value():
            raise runtime_error(f"the optional output {spec.name!r} has no value for these inputs")
        dims = tuple(value.shape())
        tensor_type = _BY_ONNX_NUMBER.get(value.element_type(), spec.type)
        size = element_count(dims) * tensor_type.size
        return Tensor(dims, tensor_type, view_at(value.data_ptr(), size, value))

    def bind(self, inputs: Sequence[int], outputs: Sequence[int]) -> Callable[[], object] | None:
        if not self._all_prebound or any(spec.static_dims is None for spec in self._inputs):
            return None
        if any(spec.type is TensorType.BOOL for spec in self._inputs):
            return None  # their bytes must be looked at, see set_input
        binding = self._session.io_binding()
        for spec, address, buffer in zip(self._inputs, inputs, self._in_buffers, strict=True):
            dims = list(spec.static_dims or ())
            if buffer is None:
                return None
            ctypes.memmove(address, buffer.address, len(buffer.view))
            binding.bind_input(spec.name, "cpu", 0, _ONNX_NUMBER[spec.type], dims, address)
        for spec, address in zip(self._outputs, outputs, strict=True):
            dims = list(spec.static_dims or ())
            binding.bind_output(spec.name, "cpu", 0, _ONNX_NUMBER[spec.type], dims, address)
        # partial: the cheapest call there is, and it keeps the binding alive.
        return functools.partial(self._run, binding._iobinding, self._options)

    def interrupt(self) -> None:
        self._interrupted = True
        self._options.terminate = True

    def reopen(self, graph: OnnxRuntimeGraph) -> None:
        """Begins another context on the same buffers. What they hold cannot be read before it is
        overwritten: the host gives no output before a compute, and computes only with every input."""
        self._graph = graph
        self._closed = False
        if not self._all_prebound:
            self._binding.clear_binding_outputs()
            self._prebind()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # What a graph keeps does not hold the graph: a guest's own goes with its instance.
        graph, self._graph = self._graph, None
        assert graph is not None
        self._values = []
        buffers = [buffer for buffer in (*self._in_buffers, *self._out_buffers) if buffer is not None]
        if not self._interrupted and sum(len(buffer.view) for buffer in buffers) <= _MAX_SPARE_BYTES:
            graph.keep(self)
