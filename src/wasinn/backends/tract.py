# SPDX-License-Identifier: Apache-2.0
"""ONNX models on tract, a runtime in pure Rust, without threads and without a GPU.

A model is optimised into a plan, and a plan is shared by every context and computes concurrently.
A model whose shapes are fixed has one plan, made at load. Any other has one for each combination of
input shapes that is computed with, made when it first comes.

Facts behind the code, each measured with tract 0.23.9: a plan with symbols for its dimensions takes
four times as long as one with numbers (MobileNet v2: 105 ms against 24), hence the plans by shape; a
state that is used again keeps what recurrent operators remembered, so that the same LSTM input gives
another output, hence a new state for each compute (1 us); `run` with too few inputs is a segmentation
fault, with the host's check and ours before it; a bool that is neither 0 nor 1 is undefined behaviour
in Rust; integers that come of shapes are of tract's own type TDim, which must be converted before it
can be read; an error is a page of stack; the declared shapes of outputs are ignored.

A panic in tract ends the process: the C interface that its Python package calls does not catch it, and
nothing outside it can. A model file can cause one (1 of 180 fuzzed files), and so can what a guest
passes: an index past the end (Gather, GatherND, OneHot, ScatterElements), a 0 to divide integers by.
So its graphs live in worker processes, unless the operator says otherwise.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from wasinn.backends import onnx_proto
from wasinn.backends.base import Backend, Execution, Graph, LoadOptions, Model
from wasinn.backends.common import check_builders, choose_target, installed_version, one_line, view_at
from wasinn.errors import WasiNNError, runtime_error, unsupported
from wasinn.spec import Encoding, ErrorCode, Target, TensorType
from wasinn.tensors import SpecDims, Tensor, TensorSpec, element_count

#: tract's numbers for element types (tract.DatumType), and its names for them in the text of a fact.
_TYPES = {
    0x01: TensorType.BOOL,
    0x11: TensorType.U8,
    0x12: TensorType.U16,
    0x14: TensorType.U32,
    0x18: TensorType.U64,
    0x21: TensorType.I8,
    0x22: TensorType.I16,
    0x24: TensorType.I32,
    0x28: TensorType.I64,
    0x32: TensorType.F16,
    0x34: TensorType.F32,
    0x38: TensorType.F64,
}
_BY_NAME = {each.label: each for each in _TYPES.values()}
_I64 = 0x28

#: What tract calls the integers that come of shapes.
_TDIM = "tdim"

#: Plans that a graph keeps, by the shapes of its inputs: each has a copy of the weights.
_MAX_PLANS = 8

Shapes = tuple[tuple[int, ...], ...]


class TractBackend(Backend):
    """`tract`: see the head of this file."""

    name: ClassVar[str] = "tract"
    encodings: ClassVar[Mapping[Encoding, int]] = {Encoding.ONNX: 2}
    extra: ClassVar[str] = "tract"
    isolation: ClassVar[Literal["never", "bytes", "always"]] = "always"

    @functools.cache  # noqa: B019
    def version(self) -> str | None:
        return installed_version("tract", "tract")

    def devices(self) -> Mapping[Target, str]:
        return {Target.CPU: "tract, one thread"}

    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        choose_target(self.name, self.devices(), target)
        check_builders(model, "an ONNX model is one builder (its bytes)")
        if options.threads not in (None, 1):
            raise unsupported(
                f"tract computes on the calling thread alone: threads must be 1, not {options.threads}"
            )
        try:
            return TractGraph((model.files or model.builders)[0])
        except Exception as error:
            raise _load_error(error) from error


def _load_error(error: Exception) -> WasiNNError:
    if isinstance(error, WasiNNError):
        return error
    text = _reason(error)
    if text.startswith("Reading proto model") or "does not contain a graph" in text:
        return WasiNNError(ErrorCode.INVALID_ENCODING, f"this is not an ONNX model: {text}")
    return runtime_error(f"tract could not load the model: {text}")


def _reason(error: Exception) -> str:
    """tract's error and what caused it, without the stack that follows."""
    return one_line(str(error).partition("Stack backtrace:")[0].replace("Caused by:", "caused by:"))


class TractGraph:
    """A model and its plans."""

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._plans: OrderedDict[Shapes, Any] = OrderedDict()
        parsed = _parse(source)
        self.inputs = tuple(_input_spec(parsed, index) for index in range(parsed.input_count()))
        shapes = [spec.static_dims for spec in self.inputs]
        names = [parsed.output_name(index) for index in range(parsed.output_count())]
        declared = onnx_proto.output_names(source)  # tract has the names of the nodes
        if len(declared) == len(names):
            names = declared
        fixed = tuple(shape for shape in shapes if shape is not None)
        if len(fixed) == len(shapes):
            typed = parsed.into_model()
            self.outputs = _output_specs(typed, names)
            self._plans[fixed] = typed.into_runnable()
        else:
            self.outputs = _dynamic_outputs(source, parsed, self.inputs, names)
        #: The outputs that tract may have as TDim.
        self.may_be_dims = frozenset(
            index for index, spec in enumerate(self.outputs) if spec.type is TensorType.I64
        )

    def open(self) -> Execution:
        return TractExecution(self)

    def plan(self, shapes: Shapes) -> Any:
        """The plan for inputs of these shapes. Making one takes as long as loading the model."""
        with self._lock:
            plan = self._plans.get(shapes)
            if plan is None:
                model = _parse(self._source)
                for index, (spec, shape) in enumerate(zip(self.inputs, shapes, strict=True)):
                    _set_fact(model, index, spec, [str(dim) for dim in shape])
                plan = self._plans[shapes] = model.into_model().into_runnable()
                if len(self._plans) > _MAX_PLANS:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(shapes)
            return plan


def _parse(source: Path | bytes) -> Any:
    """The model as it was read: tract's InferenceModel.

    Bytes go through the C interface, for which the Python package has no method. External data of a
    model that is bytes is refused by tract.
    """
    import tract
    from tract.bindings import check, lib

    if isinstance(source, Path):
        return tract.onnx().load(source)
    parser, result = tract.onnx(), ctypes.c_void_p()
    check(lib.tract_onnx_load_buffer(parser.ptr, source, ctypes.c_size_t(len(source)), ctypes.byref(result)))
    return tract.InferenceModel(result)


# -- what a model takes and gives -------------------------------------------------------------------


def _read_fact(text: str) -> tuple[str, SpecDims | None]:
    """The type and the dims of a fact as tract writes it: `1,n,?,f32`, `f32` (a scalar), `..,f32`."""
    *dims, name = text.split(",")
    if any(".." in dim for dim in dims):
        return name, None
    return name, tuple(int(dim) if dim.isdecimal() else None for dim in dims)


def _input_spec(parsed: Any, index: int) -> TensorSpec:
    port, (name, dims) = parsed.input_name(index), _read_fact(parsed.input_fact(index).dump())
    if name not in _BY_NAME:
        raise unsupported(f"the input {port!r} is a {name}, which tract's interface or WASI-NN cannot carry")
    return TensorSpec(port, _BY_NAME[name], dims)


def _set_fact(parsed: Any, index: int, spec: TensorSpec, dims: Sequence[str]) -> None:
    parsed.set_input_fact(index, ",".join([*dims, spec.type.label]))


def _output_specs(typed: Any, names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """The outputs of a typed model: all types are known, dims may be expressions of symbols."""
    specs = []
    for name, fact in zip(names, typed.output_facts(), strict=True):
        if fact.dump().split(",")[-1] == _TDIM:
            tensor_type = TensorType.I64
        else:
            tensor_type = _type_of(fact.datum_type(), name)
        specs.append(TensorSpec(name, tensor_type, tuple(_number(dim.dump()) for dim in fact.dims())))
    return tuple(specs)


def _dynamic_outputs(
    source: Path | bytes, parsed: Any, inputs: Sequence[TensorSpec], names: Sequence[str]
) -> tuple[TensorSpec, ...]:
    """The outputs of a model with dynamic dims, as far as tract can tell without numbers.

    Typing the model also finds operators that tract does not have. Where it fails for want of numbers
    (not even the rank is known, or an operator cannot work with symbols), plans may still succeed.
    """
    try:
        for index, spec in enumerate(inputs):
            if spec.dims is not None and None in spec.dims:
                # A dimension without a name is none to tract until it gets one.
                texts = parsed.input_fact(index).dump().split(",")[:-1]
                dims = [f"wasinn_{index}_{axis}" if dim == "?" else dim for axis, dim in enumerate(texts)]
                _set_fact(parsed, index, spec, dims)
        return _output_specs(parsed.into_model(), names)
    except WasiNNError:
        raise
    except Exception as error:
        if "Unimplemented(" in str(error):
            raise
    parsed = _parse(source)
    try:
        parsed.analyse()
        facts = [_read_fact(parsed.output_fact(index).dump()) for index in range(len(names))]
    except Exception:
        facts = [("?", None)] * len(names)
    return tuple(
        TensorSpec(name, _BY_NAME.get(kind, TensorType.F32), dims)
        for name, (kind, dims) in zip(names, facts, strict=True)
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _type_of(number: int, name: str) -> TensorType:
    found = _TYPES.get(number)
    if found is None:
        raise unsupported(
            f"the output {name!r} is of tract's type {number:#x}, which WASI-NN has no name for"
        )
    return found


# -- computing ----------------------------------------------------------------------------------------


class TractExecution:
    """The inputs of one context, as tract's tensors, and the outputs of its last compute."""

    def __init__(self, graph: TractGraph) -> None:
        self._graph = graph
        self._values: list[Any] = [None] * len(graph.inputs)
        self._shapes: list[tuple[int, ...]] = [()] * len(graph.inputs)
        self._plan: Any = None
        self._results: list[Any] = []

    def set_input(self, index: int, tensor: Tensor) -> None:
        import tract

        array = tensor.numpy()
        if tensor.type is TensorType.BOOL:
            array = np.frombuffer(tensor.data, np.uint8).reshape(tensor.dims) != 0
        # The one copy: into a tensor of tract's, which every compute reads and none changes.
        self._values[index] = tract.Tensor.from_numpy(np.asarray(array))
        if self._shapes[index] != tensor.dims:
            self._shapes[index] = tensor.dims
            self._plan = None

    def compute(self) -> None:
        self._results = []
        if any(value is None for value in self._values):
            raise runtime_error("tract: an input is missing")  # tract would read through a null pointer
        try:
            if self._plan is None:
                self._plan = self._graph.plan(tuple(self._shapes))
            # `run` makes a state of its own: one that is used again would remember.
            results = self._plan.run(self._values)
            for index in self._graph.may_be_dims:
                results[index] = results[index].convert_to(_I64)
        except Exception as error:
            raise runtime_error(f"tract: {_reason(error)}") from error
        self._results = results

    def output(self, index: int) -> Tensor:
        number, dims, address, owner = _contents(self._results[index])
        tensor_type = _type_of(number, self._graph.outputs[index].name)
        return Tensor(dims, tensor_type, view_at(address, element_count(dims) * tensor_type.size, owner))

    def close(self) -> None:
        self._values = [None] * len(self._values)
        self._results = []
        self._plan = None


def _contents(value: Any) -> tuple[int, tuple[int, ...], int, Any]:
    """The type, dims and address of a tract tensor, and what keeps it. `to_numpy` would copy it."""
    from tract.bindings import check, lib

    kind, rank = ctypes.c_uint32(), ctypes.c_size_t()
    shape, data = ctypes.POINTER(ctypes.c_size_t)(), ctypes.c_void_p()
    place = [ctypes.byref(each) for each in (kind, rank, shape, data)]
    check(lib.tract_tensor_as_bytes(value.ptr, *place))
    return kind.value, tuple(shape[axis] for axis in range(rank.value)), data.value or 0, value
