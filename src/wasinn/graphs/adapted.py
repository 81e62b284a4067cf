# SPDX-License-Identifier: Apache-2.0
"""A graph around a graph for guests that were written for another contract than the model's.

`guests = FILE`, the operator's choice for a graph: guests see the ports of that contract, and the host
converts what they set and get. The inputs and outputs of the two contracts belong together by their names
([input.NAME]); where a name is in one of them only, by the port that both name, and then the only one left
over of each. What only one contract names passes as it is.

A guest's port is called as its contract says (`port`, else the name), and by the model's own name as well.
The indices are the model's, but for ports that the guests' contract gives a number.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from wasinn.backends.base import Execution, Graph
from wasinn.contracts.affine import Buffers
from wasinn.contracts.bound import Bound, bind
from wasinn.contracts.contract import Contract, InputContract, Key, OutputContract
from wasinn.contracts.conversion import Conversion
from wasinn.contracts.output_conversion import OutputConversion
from wasinn.errors import ConfigError
from wasinn.graphs.around import ExecutionAround
from wasinn.tensors import Quantization, Tensor, TensorSpec

logger = logging.getLogger("wasinn.graph")

_Port = TypeVar("_Port", InputContract, OutputContract)


class AdaptedGraph:
    """`graph`, whose own contract is `own`, as a graph of the contract `guests`.

    `bound` is `guests` held against the ports that guests see. There is no hot path: every tensor goes
    through a conversion. Raises ConfigError, naming the keys, for what cannot be converted.
    """

    def __init__(self, graph: Graph, own: Bound, guests: Contract) -> None:
        self._graph = graph
        inputs = _pairs(guests, guests.inputs, own.inputs, graph.inputs, "input")
        outputs = _pairs(guests, guests.outputs, own.outputs, graph.outputs, "output")
        self._conversions: dict[int, Conversion] = {}
        self._answers: dict[int, OutputConversion] = {}
        seen_inputs, seen_outputs = list(graph.inputs), list(graph.outputs)
        try:
            for index, theirs in inputs.items():
                if index in own.inputs:
                    seen_inputs[index] = self._input(index, theirs, own.inputs[index])
                seen_inputs[index] = _named(seen_inputs[index], theirs.port, theirs.name)
            for index, answer in outputs.items():
                if index in own.outputs:
                    conversion = OutputConversion(answer, own.outputs[index], graph.outputs[index])
                    seen_outputs[index] = conversion.spec
                    # Of a type that the model does not tell, each output shows whether it is right.
                    if not conversion.identity or graph.outputs[index].any_type:
                        self._answers[index] = conversion
                    for warning in conversion.warnings:
                        logger.warning("%s", warning)
                seen_outputs[index] = _named(seen_outputs[index], answer.port, answer.name)
            _name_boxes(seen_outputs, outputs, own)
        except ConfigError as error:
            raise ConfigError(f"{guests.source}: {error}") from None
        #: The model's index of each port that guests see.
        self._input_order = _order(inputs, len(seen_inputs), guests, "input")
        self._output_order = _order(outputs, len(seen_outputs), guests, "output")
        self.inputs = tuple(seen_inputs[index] for index in self._input_order)
        self.outputs = tuple(seen_outputs[index] for index in self._output_order)
        self.bound = bind(guests, self.inputs, self.outputs)
        self._log(seen_inputs, seen_outputs)

    def open(self) -> Execution:
        return _AdaptedExecution(
            self._graph.open(), self._conversions, self._answers, self._input_order, self._output_order
        )

    def _input(self, index: int, theirs: InputContract, mine: InputContract) -> TensorSpec:
        """What guests see of an input."""
        spec = self._graph.inputs[index]
        if theirs.quantization == "model":
            if not isinstance(mine.quantization, Quantization) or theirs.type is not mine.type:
                raise ConfigError(
                    f'[input.{theirs.name}]: quantization is "model" for guests, of {theirs.type.label}, '
                    f"and the model's input is {spec} "
                    + ("without one" if mine.quantization == "none" else f"({mine.quantization})")
                    + "; write quantization = { scale = S, zero_point = Z }"
                )
            theirs = replace(theirs, quantization=mine.quantization)
        conversion = Conversion(theirs, mine, spec.dims)
        self._conversions[index] = conversion
        for note in conversion.notes:
            logger.warning("input %r: %s, which the host cannot change", theirs.name, note)
        quantization = theirs.quantization if isinstance(theirs.quantization, Quantization) else None
        return replace(
            spec, type=theirs.type, dims=conversion.guest_dims, quantization=quantization, any_type=False
        )

    def _log(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        for index in self._conversions:
            seen, mine = inputs[index], self._graph.inputs[index]
            logger.info("input %r: guests send %s, the model takes %s", seen.name, seen, mine)
        for index, answer in self._answers.items():
            seen, mine = outputs[index], self._graph.outputs[index]
            note = f" ({answer.note})" if answer.note else ""
            logger.info("output %r: guests get %s, the model gives %s%s", seen.name, seen, mine, note)


def _pairs(
    contract: Contract,
    guests: Mapping[str, _Port],
    own: Mapping[int, _Port],
    specs: Sequence[TensorSpec],
    direction: str,
) -> dict[int, _Port]:
    """The guests' contract of each of the model's ports that it is of. Raises ConfigError where several are
    left over of either, and nothing says which belong together."""
    places = {each.name: index for index, each in own.items()}
    found = {places[name]: each for name, each in guests.items() if name in places}
    left = []
    for name, each in guests.items():
        if name in places:
            continue
        index = _same_port(each, own, specs)
        if index is None:
            left.append(each)
        elif index in own and index not in found:
            found[index] = each
        # else the model's contract does not name the port: it passes as it is
    free = [index for index in own if index not in found]
    if len(left) == len(free) == 1:
        found[free[0]] = left[0]
    elif left and free:
        theirs = ", ".join(f"[{direction}.{each.name}]" for each in left)
        mine = ", ".join(f"[{direction}.{own[index].name}]" for index in free)
        raise ConfigError(
            f"{contract.source}: which of {theirs} for guests is which of {mine} of the model's contract? "
            "Give both contracts the same names for them"
        )
    return found


def _same_port(
    each: InputContract | OutputContract,
    own: Mapping[int, InputContract] | Mapping[int, OutputContract],
    specs: Sequence[TensorSpec],
) -> int | None:
    """The model's port that the guests' contract names as the model does. A number is the guests' own index,
    unless the model's contract has it too."""
    key = each.name if each.port is None else each.port
    for index, mine in own.items():
        if each.port is not None and each.port == mine.port:
            return index
    if isinstance(key, str):
        return next((at for at, spec in enumerate(specs) if key in (spec.name, *spec.aliases)), None)
    return None


def _named(spec: TensorSpec, port: Key | None, name: str) -> TensorSpec:
    """The port under the guests' name, and under the model's."""
    seen = port if isinstance(port, str) else name
    others = dict.fromkeys((name, spec.name, *spec.aliases))
    return replace(spec, name=seen, aliases=tuple(each for each in others if each != seen))


def _name_boxes(specs: list[TensorSpec], guests: Mapping[int, OutputContract], own: Bound) -> None:
    """The further ports of boxes under the names that the guests' contract has for them."""
    for index, theirs in guests.items():
        mine = own.outputs.get(index)
        if mine is None or theirs.boxes is None or mine.boxes is None:
            continue
        for key in ("scores", "classes", "count"):
            seen, port = getattr(theirs.boxes, key), getattr(mine.boxes, key)
            for at, spec in enumerate(specs):
                if isinstance(seen, str) and port in (at, spec.name, *spec.aliases) and seen != spec.name:
                    specs[at] = replace(spec, aliases=(*spec.aliases, seen))


def _order(
    pairs: Mapping[int, InputContract] | Mapping[int, OutputContract],
    count: int,
    guests: Contract,
    direction: str,
) -> list[int]:
    """The model's index of each port by the guests' index."""
    fixed: dict[int, int] = {}
    for index, each in pairs.items():
        if isinstance(each.port, int):
            if each.port >= count or each.port in fixed:
                raise ConfigError(
                    f"{guests.source}: [{direction}.{each.name}]: port is {each.port} for guests, and the "
                    f"model has {count} {direction}s, from 0 on; give each its own index"
                )
            fixed[each.port] = index
    rest = iter(index for index in range(count) if index not in fixed.values())
    return [fixed[at] if at in fixed else next(rest) for at in range(count)]


class _AdaptedExecution(ExecutionAround):
    def __init__(
        self,
        execution: Execution,
        conversions: Mapping[int, Conversion],
        answers: Mapping[int, OutputConversion],
        input_order: Sequence[int],
        output_order: Sequence[int],
    ) -> None:
        super().__init__(execution)
        self._conversions = conversions
        self._answers = answers
        self._input_order = input_order
        self._output_order = output_order
        # The execution inside copies an input at once: what it was converted in serves again.
        self._buffers = {index: Buffers() for index in conversions}
        #: The converted outputs of the last compute.
        self._given: dict[int, Tensor] = {}

    def set_input(self, index: int, tensor: Tensor) -> None:
        index = self._input_order[index]
        conversion = self._conversions.get(index)
        if conversion is not None:
            tensor = Tensor.of(conversion(tensor.numpy(), self._buffers[index]), conversion.type)
        self._execution.set_input(index, tensor)

    def compute(self) -> None:
        self._given.clear()
        self._execution.compute()

    def output(self, index: int) -> Tensor:
        index = self._output_order[index]
        answer = self._answers.get(index)
        if answer is None:
            return self._execution.output(index)
        found = self._given.get(index)
        if found is None:
            found = self._given[index] = answer.tensor(self._execution.output(index))
        return found

    def close(self) -> None:
        self._given.clear()
        self._buffers.clear()
        self._conversions = {}
        super().close()
