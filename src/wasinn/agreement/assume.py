# SPDX-License-Identifier: Apache-2.0
"""What a graph is assumed to take and give: its contract, or what its file suggests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wasinn.agreement.hypotheses import Assumption
from wasinn.contracts.bound import Bound, bind
from wasinn.contracts.contract import Contract
from wasinn.errors import ConfigError
from wasinn.graphs.suggest import suggest
from wasinn.runtime.direct import DirectGraph
from wasinn.tensors import format_dims


@dataclass(frozen=True)
class Assumed:
    """`guessed`: nobody gave a contract; `notes` say what was guessed, by the path of its key."""

    assumption: Assumption
    input_index: int
    output_index: int
    contract: Contract
    guessed: bool
    notes: Mapping[tuple[str, ...], str]


def assume(graph: DirectGraph, input_name: str | None = None, output_name: str | None = None) -> Assumed:
    """The assumption that a graph starts with, for one image input and one output. Raises ConfigError where
    there is no image input, or several and none is named."""
    notes: Mapping[tuple[str, ...], str] = {}
    bound, guessed = graph.bound, False
    if bound is None:
        contract, notes = suggest(graph.source.model, graph.loaded.encoding, graph.loaded.graph)
        bound, guessed = bind(contract, graph.inputs, graph.outputs), True
    input_index = _input(graph, bound, input_name, guessed)
    output_index = _output(graph, bound, output_name)
    output = bound.outputs.get(output_index) or graph.output_contract(output_index)
    return Assumed(
        Assumption(bound.inputs[input_index], output),
        input_index,
        output_index,
        bound.contract,
        guessed,
        notes,
    )


def _input(graph: DirectGraph, bound: Bound, name: str | None, guessed: bool) -> int:
    images = {index: each for index, each in bound.inputs.items() if each.image is not None}
    if name is not None:
        index = next((at for at, each in images.items() if each.name == name), None)
        index = graph.input_index(name) if index is None else index
        if index in images:
            return index
        raise ConfigError(f"graph {graph.name!r}: the input {name!r} is no picture by its contract")
    if len(images) == 1:
        return next(iter(images))
    if images:
        listed = ", ".join(each.name for each in images.values())
        raise ConfigError(
            f"graph {graph.name!r} takes {len(images)} pictures ({listed}): choose one by --vary"
        )
    dims = ", ".join(f"{spec.name} {format_dims(spec.dims)}" for spec in graph.inputs)
    raise ConfigError(
        f"graph {graph.name!r}: "
        + (f"its inputs ({dims}) do not look like pictures" if guessed else "its contract has no image input")
        + "; diagnose tries what can be wrong with pictures: give a contract with an image input"
    )


def _output(graph: DirectGraph, bound: Bound, name: str | None) -> int:
    """The output that is named, else the first that means something."""
    if name is not None:
        index = bound.output_index(name)
        if index is not None:
            return index
        for at, spec in enumerate(graph.outputs):
            if name in (spec.name, *spec.aliases, str(at)):
                return at
        known = ", ".join(spec.name for spec in graph.outputs)
        raise ConfigError(f"graph {graph.name!r} has no output {name!r}; it has: {known}")
    for index, each in bound.outputs.items():
        if each.kind in ("logits", "probabilities", "mask"):
            return index
    return next(iter(bound.outputs), 0)
