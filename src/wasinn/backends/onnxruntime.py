# SPDX-License-Identifier: Apache-2.0
"""ONNX models on ONNX Runtime.

One session serves every context of a graph and computes concurrently. A context owns an IOBinding:
inputs are bound once to buffers that `set_input` copies into, outputs of fixed shape to buffers
that the runtime writes into, and outputs of dynamic shape are left to the runtime and read where it
put them.

Facts behind the code, each measured: `run_with_iobinding` with a RunOptions of our own takes 1.4 us
where `run` takes 4.5 (without one, the binding makes one for each call); an execution provider that
does not start is a line in the log and a silent fall-back to the CPU, also with the fall-back off and
no other provider named, so it is tried before; the runtime
does not check the size of a bound buffer, the host does; a dynamic output must be bound anew before
each run, or the old value is kept; external data of a model given as bytes is resolved against the
working directory unless a folder is set; an IOBinding of a model on a device copies an input there when
it is bound and never again (`_DeviceBinding` is for that).

CUDA has not been run on a GPU. What is done for it was tried with another provider that has memory of its
own (WebGPU, on a device in software), and as far as CUDA comes without a GPU.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    stderr_without,
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

#: Unless told otherwise, CUDA rounds f32 to TF32 for matrix products and convolutions.
_OPTIONS = {Target.GPU: {"use_tf32": "0"}}

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
        return {target: name for target, name in _PROVIDERS.items() if not _fault(target)}

    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        import onnxruntime

        if target is not Target.CPU:  # it is there; to ask for the others starts a GPU, if there is one
            target = choose_target(self.name, self.devices(), target, _fault(target))
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
def _fault(target: Target) -> str:
    """Why no execution provider can serve a target here; empty if one can.

    A package lists what it was built with, also where there is no GPU, driver or CUDA. Trying gives a session
    on the CPU, and says why in the log of the runtime.
    """
    import onnxruntime

    name = _PROVIDERS.get(target)
    if target in (Target.CPU, Target.AUTO):
        return ""
    if name not in onnxruntime.get_available_providers():
        return f"this package of onnxruntime has no {name or 'provider for it'}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS
    onnxruntime.set_default_logger_severity(_ERRORS)
    errors: list[str] = []

    def is_its(line: bytes) -> bool:
        if b"[E:onnxruntime" in line:
            errors.append(line.decode(errors="replace").rpartition(" : ")[2])
        return b"onnxruntime" in line or line.startswith((b"Failed to load ", b"\x1b["))

    try:
        with stderr_without(is_its), contextlib.redirect_stdout(sys.stderr):
            if hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()  # CUDA's libraries, where they are Python packages
            session = onnxruntime.InferenceSession(_PROBE, options, providers=[name], enable_fallback=0)
    except Exception as error:
        return one_line(f"{name}: {error}")
    finally:
        onnxruntime.set_default_logger_severity(2)  # the runtime's default: warnings
    if name in session.get_providers():
        return ""
    return one_line(f"{name}: {' '.join(errors) or 'it does not start'}")


#: The severity of errors, in the runtime's log.
_ERRORS = 3

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

    providers: list[Any] = [(_PROVIDERS[target], _OPTIONS.get(target, {}))]
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
        self._options = onnxruntime.RunOptions()
        self._binding, self._run = _new_binding(session, self._options)
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
        if isinstance(self._binding, _DeviceBinding) and not self._all_prebound:
            self._prebound = [False] * len(self._outputs)
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
            if not any(self._prebound) or not _is_of_another_shape(error):
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
        self._run()
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
        binding, run = _new_binding(self._session, self._options)
        for spec, address, buffer in zip(self._inputs, inputs, self._in_buffers, strict=True):
            dims = list(spec.static_dims or ())
            if buffer is None:
                return None
            ctypes.memmove(address, buffer.address, len(buffer.view))
            binding.bind_input(spec.name, "cpu", 0, _ONNX_NUMBER[spec.type], dims, address)
        for spec, address in zip(self._outputs, outputs, strict=True):
            dims = list(spec.static_dims or ())
            binding.bind_output(spec.name, "cpu", 0, _ONNX_NUMBER[spec.type], dims, address)
        return run

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


def _is_of_another_shape(error: Exception) -> bool:
    """Whether an output does not fit the buffer of the shape that it declares: what a device's copy says of
    that is "Tensor size mismatch"."""
    text = str(error).lower()
    return "shape" in text or "size mismatch" in text


# -- memory that a run reads and writes -----------------------------------------------------------------


def _new_binding(session: Any, options: Any) -> tuple[Any, Callable[[], object]]:
    """A binding of a session, and a call that computes from and to what is bound."""
    if session.get_providers()[0] != _PROVIDERS[Target.CPU]:
        device = _DeviceBinding(session)
        return device, functools.partial(device.run, options)
    binding = session.io_binding()
    # partial: the cheapest call there is, and it keeps the binding alive.
    return binding, functools.partial(session._sess.run_with_iobinding, binding._iobinding, options)


class _DeviceBinding:
    """What an IOBinding is, for a session on a device: each run copies the inputs there, and the outputs
    back, where an IOBinding would copy an input when it is bound."""

    def __init__(self, session: Any) -> None:
        from onnxruntime.capi import _pybind_state

        self._runtime = _pybind_state
        cpu = (_pybind_state.OrtDevice.cpu(), _pybind_state.OrtDevice.default_memory(), 0)
        self._cpu = _pybind_state.OrtDevice(*cpu)
        self._run = session._sess.run_with_ortvaluevector
        self._inputs: dict[str, Any] = {}
        #: None for an output that is left to the runtime; then all of them are.
        self._outputs: dict[str, Any] = {}
        self._feeds: Any = None
        self._fetches: Any = None

    def bind_input(self, name: str, _: str, __: int, number: int, dims: list[int], address: int) -> None:
        self._inputs[name] = _value_at(number, dims, address)
        self._feeds = None

    def bind_output(
        self, name: str, _: str, __: int = 0, number: int = 0, dims: Sequence[int] = (), address: int = 0
    ) -> None:
        self._outputs[name] = _value_at(number, dims, address) if address else None
        self._fetches = None

    def clear_binding_outputs(self) -> None:
        self._outputs.clear()

    def run(self, options: Any) -> None:
        if self._feeds is None:
            self._feeds = self._vector(self._inputs.values())
        if self._fetches is None:
            free = None in self._outputs.values()
            self._fetches = self._vector(() if free else self._outputs.values())
        outputs = list(self._outputs)
        places = [self._cpu] * len(outputs)
        self._run(options, list(self._inputs), self._feeds, outputs, self._fetches, places)

    def get_outputs(self) -> list[Any]:
        return list(self._fetches)

    def _vector(self, values: Iterable[Any]) -> Any:
        vector = self._runtime.OrtValueVector()
        for value in values:
            vector.push_back(value._ortvalue)
        return vector


def _value_at(number: int, dims: Sequence[int], address: int) -> Any:
    """A tensor of ONNX's type `number` over the memory at `address`."""
    import onnxruntime

    size = _BY_ONNX_NUMBER[number].size
    memory: Any = (ctypes.c_ubyte * max(element_count(dims) * size, 1)).from_address(address)
    array: Any = np.ndarray(tuple(dims), f"u{size}", memory)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, number)
