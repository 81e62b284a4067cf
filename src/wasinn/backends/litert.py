# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite models on LiteRT.

An interpreter belongs to one thread at a time and has one set of tensors, so each context has its own.
They share the model's bytes, but not the weights that XNNPACK packs for its kernels: another context
costs up to twice the size of the model in memory (and 35 us for a tiny model, 6 ms for a MobileNet). A
few interpreters of closed contexts are kept for the next ones, unless the model has a state of its own.

Facts behind the code, each measured: a truncated file fails when the interpreter is made, a missing
operator when tensors are allocated, so both are done at load; without a number of threads the runtime
takes one; the line "INFO: Created TensorFlow Lite XNNPACK delegate for CPU." on stderr, once in a
process, can be silenced by nothing in the package; the binding crashes the process when asked for a
tensor of strings or of bf16, and shows int4 with the wrong size, so the types are read from the file.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from wasinn.backends import litert_file
from wasinn.backends.base import Backend, Execution, Graph, LoadOptions, Model
from wasinn.backends.common import check_builders, choose_target, installed_version, stderr_without
from wasinn.backends.litert_execution import DynamicExecution, FixedExecution, Session, fixed_views, reason
from wasinn.errors import WasiNNError, runtime_error, unsupported
from wasinn.spec import Encoding, ErrorCode, Target, TensorType
from wasinn.tensors import TensorSpec

logger = logging.getLogger("wasinn.graph")

#: TensorType of schema.fbs.
_TYPES = {
    0: TensorType.F32,
    1: TensorType.F16,
    2: TensorType.I32,
    3: TensorType.U8,
    4: TensorType.I64,
    6: TensorType.BOOL,
    7: TensorType.I16,
    9: TensorType.I8,
    10: TensorType.F64,
    12: TensorType.U64,
    15: TensorType.U32,
    16: TensorType.U16,
    21: TensorType.F8E4M3FN,
    22: TensorType.F8E5M2,
}
_NO_TYPES = {
    5: "string",
    8: "complex64",
    11: "complex128",
    13: "resource",
    14: "variant",
    17: "int4",
    18: "bfloat16",
    19: "int2",
    20: "uint4",
}
_BFLOAT16 = 18

#: Interpreters of closed contexts that a graph keeps, and the most that they may hold, in bytes.
_MAX_SPARE = 16
_MAX_SPARE_BYTES = 256 << 20

_CPU = "XNNPACK"
#: Where Coral's Edge TPU runtime puts its delegate, see coral.ai/docs/edgetpu/inference.
_EDGE_TPU = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}.get(sys.platform, "libedgetpu.so.1")


class LiteRtBackend(Backend):
    """`ai-edge-litert`: see the head of this file."""

    name: ClassVar[str] = "litert"
    encodings: ClassVar[Mapping[Encoding, int]] = {Encoding.TENSORFLOWLITE: 0}
    extra: ClassVar[str] = "tflite"
    isolation: ClassVar[Literal["never", "bytes", "always"]] = "bytes"

    @functools.cache  # noqa: B019
    def version(self) -> str | None:
        return installed_version("ai_edge_litert", "ai-edge-litert")

    def devices(self) -> Mapping[Target, str]:
        return {Target.CPU: _CPU, Target.TPU: "Edge TPU"} if _edge_tpu_works() else {Target.CPU: _CPU}

    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        target = choose_target(self.name, self.devices(), target)
        check_builders(model, "a TensorFlow Lite model is one builder (its bytes)")
        try:
            # Not by path: a file that is mapped, and cut short meanwhile, ends the process.
            data = model.files[0].read_bytes() if model.files else model.builders[0]
        except OSError as error:
            raise runtime_error(f"cannot read the model: {reason(error)}") from error
        if data[4:8] != b"TFL3":
            raise WasiNNError(
                ErrorCode.INVALID_ENCODING, "this is not a TensorFlow Lite model: it lacks TFL3 at byte 4"
            )
        return LiteRtGraph(data, target, options.threads)


@functools.cache
def _edge_tpu_works() -> bool:
    """Whether the Edge TPU's library is installed, and finds a device."""
    try:
        ctypes.CDLL(_EDGE_TPU)  # the package's own loader has words on stderr where it is missing
        _edge_tpu()
    except (OSError, ValueError, RuntimeError):
        return False
    return True


def _edge_tpu() -> Any:
    from ai_edge_litert.interpreter import load_delegate

    return load_delegate(_EDGE_TPU)


class LiteRtGraph:
    """A model's bytes, and interpreters of them."""

    def __init__(self, data: bytes, target: Target, threads: int | None) -> None:
        """Raises WasiNNError."""
        try:
            interpreter = _interpreter(data, target, threads)
            file = litert_file.read(data)
        except Exception as error:
            raise _load_error(error) from error
        self.inputs = tuple(_spec(port, "input") for port in file.inputs)
        self.outputs = tuple(_spec(port, "output") for port in file.outputs)
        self._data = data
        self._tensors = [port.tensor for port in file.inputs], [port.tensor for port in file.outputs]
        _check_inputs(file.inputs)
        self._new_session = functools.partial(_session, data, target, threads, *self._tensors)
        self._reusable = not file.stateful
        # Twice the file: the packed weights, and tensors between the layers.
        self._max_spare = max(1, min(_MAX_SPARE, _MAX_SPARE_BYTES // (2 * len(data))))
        self._fixed = not file.writes_inputs
        self._spare: list[FixedExecution | DynamicExecution] = []
        with _first_words():
            first = self._first_execution(Session(interpreter, *self._tensors), file)
        if first is not None:
            self._spare.append(first)

    def _first_execution(
        self, session: Session, file: litert_file.ModelFile
    ) -> FixedExecution | DynamicExecution | None:
        """An execution on an interpreter that shows whether the model can run at all."""
        try:
            session.allocate()
        except Exception as error:
            dynamic = any(spec.static_dims is None for spec in self.inputs)
            if not dynamic or _is_missing_operator(error):
                raise _load_error(error, file.custom_ops) from error
            # The dims that stand in for dynamic ones (1) need not suit the model.
            logger.debug("no tensors for the dims in the file: %s", reason(error))
            self._fixed = False
            return None
        execution = self._execution(session)
        if isinstance(execution, FixedExecution) and not self._shapes_are_fixed():
            self._fixed = False
            execution = self._execution(session)
        self._fixed = isinstance(execution, FixedExecution)
        return execution

    def _shapes_are_fixed(self) -> bool:
        """Whether tensors stay where they are. Takes an interpreter of its own: 1 ms for a MobileNet."""
        try:
            session = Session(_interpreter(self._data, Target.CPU, 1, plain=True), *self._tensors)
            session.allocate()
        except Exception:
            return False  # a model that only XNNPACK can run
        return session.shapes_are_fixed()

    def _execution(self, session: Session) -> FixedExecution | DynamicExecution:
        """An execution on an interpreter with its tensors allocated."""
        views = fixed_views(session, self.inputs, self.outputs) if self._fixed else None
        if views is not None:
            return FixedExecution(session, self.inputs, self.outputs, views)
        return DynamicExecution(self._new_session, self.inputs, self.outputs, session)

    def open(self) -> Execution:
        try:
            execution = self._spare.pop()
        except IndexError:
            execution = self._new_execution()
        return execution.begin(self._keep)

    def _new_execution(self) -> FixedExecution | DynamicExecution:
        if not self._fixed:
            return DynamicExecution(self._new_session, self.inputs, self.outputs)
        session = self._new_session()
        try:
            session.allocate()
        except Exception as error:
            raise runtime_error(f"LiteRT could not make another interpreter: {reason(error)}") from error
        return self._execution(session)

    def _keep(self, execution: Any) -> None:
        """Takes a closed execution for the next context."""
        if self._reusable and len(self._spare) < self._max_spare:
            self._spare.append(execution)


@contextlib.contextmanager
def _first_words() -> Iterator[None]:
    """Leaves out what the first interpreter of a process says on stderr: that it has XNNPACK."""
    global _spoken  # noqa: PLW0603
    with _speaking:
        if _spoken:
            yield
            return
        with stderr_without(lambda line: line.startswith(b"INFO: Created TensorFlow Lite XNNPACK")):
            yield
        _spoken = True


_speaking = threading.Lock()
_spoken = False


def _interpreter(data: bytes, target: Target, threads: int | None, plain: bool = False) -> Any:
    """An interpreter; a `plain` one does without delegates, XNNPACK included."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    return Interpreter(
        model_content=data,
        num_threads=threads,
        experimental_delegates=[_edge_tpu()] if target is Target.TPU else None,
        experimental_op_resolver_type=resolver,
    )


def _session(
    data: bytes, target: Target, threads: int | None, inputs: list[int], outputs: list[int]
) -> Session:
    try:
        return Session(_interpreter(data, target, threads), inputs, outputs)
    except Exception as error:
        raise runtime_error(f"LiteRT could not make another interpreter: {reason(error)}") from error


def _spec(port: litert_file.Port, direction: str) -> TensorSpec:
    found = _TYPES.get(port.kind)
    name, *aliases = port.names
    if found is None:
        kind = _NO_TYPES.get(port.kind, f"type {port.kind}")
        why = (
            "LiteRT's Python binding cannot reach its bytes"
            if port.kind == _BFLOAT16
            else "WASI-NN has no tensor type for it"
        )
        raise unsupported(f"the {direction} {name!r} is {kind}: {why}")
    return TensorSpec(name, found, port.dims, port.quantization, aliases=tuple(aliases))


def _check_inputs(ports: tuple[litert_file.Port, ...]) -> None:
    """That each input has memory of its own, which a guest may write into."""
    for index, port in enumerate(ports):
        if port.constant:
            raise unsupported(f"the input {port.names[0]!r} is a constant of the model")
        if any(port.tensor == other.tensor for other in ports[:index]):
            raise unsupported(f"the model has the same tensor {port.names[0]!r} as an input twice")


def _is_missing_operator(error: BaseException) -> bool:
    text = str(error)
    return "unresolved custom op" in text or "Select TensorFlow op" in text


def _load_error(error: Exception, custom_ops: tuple[str, ...] = ()) -> WasiNNError:
    if isinstance(error, WasiNNError):
        return error
    text = reason(error)
    if "Flatbuffer" in text or "FlatBuffer" in text:
        return WasiNNError(
            ErrorCode.INVALID_ENCODING, f"this is not a TensorFlow Lite model, or a part of one: {text}"
        )
    if "Select TensorFlow op" in text:
        flex = ", ".join(sorted({name for name in custom_ops if name.startswith("Flex")}))
        return runtime_error(
            f"the model has operators of TensorFlow ({flex}), which LiteRT lacks: convert it again with "
            "TFLITE_BUILTINS as the only supported_ops"
        )
    if "unresolved custom op" in text:
        names = ", ".join(sorted(set(custom_ops)))
        return runtime_error(
            f"the model has custom operators ({names}) that LiteRT lacks: convert it "
            f"again without allow_custom_ops (one of the Edge TPU's wants target tpu): {text}"
        )
    return runtime_error(f"LiteRT could not load the model: {text}")
