# SPDX-License-Identifier: Apache-2.0
"""A request's tensors as those of a graph, and a graph's outputs as those of an answer.

The words for what does not fit are the host's, as guests get them. A datatype must be the port's own: the
protocol has names for bf16 and bool, which guests send as the bytes of another type.

A language model's ports are texts, and here BYTES of the shape [1]; who sends UINT8 gets UINT8.
"""

from __future__ import annotations

from collections.abc import Sequence

from wasinn.backends.base import Execution, Graph
from wasinn.errors import WasiNNError, invalid_argument
from wasinn.oip.datatypes import DATATYPE_OF, TYPE_OF, check_data, pack_bytes, unpack_bytes
from wasinn.oip.errors import OipError, shown
from wasinn.oip.messages import InferRequest, RequestedOutput, WireTensor
from wasinn.tensors import MAX_RANK, Tensor, TensorSpec, check_size, element_count, fit, format_dims

Given = list[tuple[int, Tensor]]


class Ports:
    """The ports of a graph by the names that callers use. `texts`: a language model's."""

    def __init__(self, graph: Graph, texts: bool) -> None:
        self._inputs, self._outputs = graph.inputs, graph.outputs
        self._texts = texts
        self._input_index = _by_name(graph.inputs)
        self._output_index = _by_name(graph.outputs)
        self._all = list(range(len(graph.outputs)))
        self._needed = sum(not spec.optional for spec in graph.inputs)

    def inputs(self, request: InferRequest) -> Given:
        """The tensors of a request with the inputs that they are for, held against the ports. Raises
        WasiNNError (invalid_argument)."""
        found: Given = []
        given = set()
        for wire in request.inputs:
            index = self._input_index.get(wire.name)
            if index is None:
                raise invalid_argument(_no_port("input", wire.name, self._inputs))
            if index in given:
                raise invalid_argument(f"input {wire.name!r} came twice")
            given.add(index)
            try:
                found.append((index, self._tensor(self._inputs[index], wire)))
            except WasiNNError as error:
                raise WasiNNError(error.code, f"input {wire.name!r}: {error.reason}") from None
            except OipError as error:
                raise invalid_argument(str(error)) from None
        if len(given) < self._needed or len(given) < len(self._inputs):
            self._check_missing(given)
        return found

    def _tensor(self, spec: TensorSpec, wire: WireTensor) -> Tensor:
        shape, data = tuple(wire.shape), memoryview(wire.data)
        if wire.datatype == "BYTES":
            if not self._texts:
                raise invalid_argument(f"wanted {_wanted(spec)}, got BYTES {format_dims(shape)}")
            check_data("input", wire.name, "BYTES", shape, data)
            texts = unpack_bytes(data)
            if len(texts) != 1:
                raise invalid_argument(f"a language model takes one text, BYTES [1], got {len(texts)} texts")
            return Tensor((len(texts[0]),), spec.type, memoryview(texts[0]))
        kind = TYPE_OF.get(wire.datatype)
        if kind is None:
            raise invalid_argument(f"there is no datatype {wire.datatype!r}")
        if len(shape) > MAX_RANK:
            raise invalid_argument(f"a tensor has at most {MAX_RANK} dimensions, got {len(shape)}")
        check_size(shape, kind, len(data))
        tensor = Tensor(shape, kind, data)
        if kind is not spec.type and not spec.any_type and DATATYPE_OF.get(spec.type) is not None:
            fit(spec, tensor)  # raises with the likely cause, unless guests may send this for the other
            raise invalid_argument(f"wanted {_wanted(spec)}, got {wire.datatype} {format_dims(shape)}")
        if 0 in shape and element_count([dim or 1 for dim in shape]) >= 1 << 62:
            raise invalid_argument(f"the shape {format_dims(shape)} is too large, also for no elements")
        return tensor if spec.any_size else fit(spec, tensor)

    def _check_missing(self, given: set[int]) -> None:
        missing = [
            spec for index, spec in enumerate(self._inputs) if index not in given and not spec.optional
        ]
        if missing:
            listed = ", ".join(f"{spec.name!r} ({_wanted(spec)})" for spec in missing)
            count = "1 input" if len(self._inputs) == 1 else f"{len(self._inputs)} inputs"
            raise invalid_argument(f"the model has {count}, and the request lacks: {listed}")

    def chosen(self, outputs: Sequence[RequestedOutput]) -> Sequence[int]:
        """The outputs that a request asks for; all of them if it names none. Raises WasiNNError."""
        if not outputs:
            return self._all
        found = []
        for each in outputs:
            index = self._output_index.get(each.name)
            if index is None:
                raise invalid_argument(_no_port("output", each.name, self._outputs))
            if index in found:
                raise invalid_argument(f"output {each.name!r} is asked for twice")
            found.append(index)
        return found

    def output(self, execution: Execution, index: int, text: bool) -> WireTensor:
        """An output, copied. `text`: as BYTES, of a language model. Raises WasiNNError."""
        name = self._outputs[index].name
        try:
            tensor = execution.output(index)
        except WasiNNError as error:
            raise WasiNNError(error.code, f"output {name!r}: {error.reason}") from error
        if text:
            return WireTensor(name, "BYTES", (1,), pack_bytes([tensor.data]))
        datatype = DATATYPE_OF.get(tensor.type) or DATATYPE_OF[tensor.type.wire]
        return WireTensor(name, datatype, tensor.dims, bytes(tensor.data))


def _by_name(specs: Sequence[TensorSpec]) -> dict[str, int]:
    """Indices by name; a name comes before another port's alias."""
    found: dict[str, int] = {}
    for index, spec in enumerate(specs):
        for alias in spec.aliases:
            found.setdefault(alias, index)
    return found | {spec.name: index for index, spec in reversed(list(enumerate(specs)))}


def _no_port(direction: str, name: str, specs: Sequence[TensorSpec]) -> str:
    known = ", ".join(f"{spec.name!r} ({_wanted(spec)})" for spec in specs[:16])
    return f"the model has no {direction} {shown(name)}; it has: {known}"


def _wanted(spec: TensorSpec) -> str:
    if spec.any_type:
        return f"any datatype {format_dims(spec.dims)}"
    datatype = DATATYPE_OF.get(spec.type) or DATATYPE_OF[spec.type.wire]
    return f"{datatype} {format_dims(spec.dims)}"
