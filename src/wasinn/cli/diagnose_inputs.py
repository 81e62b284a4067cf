# SPDX-License-Identifier: Apache-2.0
"""What `wasinn diagnose` is given: graphs, pictures, tensors."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.agreement.inputs import gather
from wasinn.agreement.sending import Scene
from wasinn.cli.graphs import graph_option
from wasinn.contracts.parse import read_contract
from wasinn.errors import ConfigError
from wasinn.graphs.recorded import is_record, read_record, record_folders
from wasinn.imaging.decode import read_picture
from wasinn.runtime.direct import DirectGraph
from wasinn.runtime.feeds import feed_file, kind_of
from wasinn.tensors import Tensor

Array = np.ndarray[Any, Any]


def open_bare(text: str, at: int, contract: str | None, others: list[DirectGraph]) -> DirectGraph:
    """A graph without the checks of its contract: it is sent what the contract does not say."""
    name, source = graph_option(text)
    given = source.contract
    if contract is not None:
        given = read_contract(Path(contract))
    if source.guests is not None:
        raise ConfigError(f"--graph {text}: diagnose looks at the model itself; leave guests out")
    name = name or (source.model.files[0].name if source.model.files else f"graph {at + 1}")
    graph = DirectGraph(name, replace(source, contract=None, strict=False), contract=given)
    if any(each.name == graph.name for each in others):
        graph.name = f"{graph.name} on {graph.backend}"
        if any(each.name == graph.name for each in others):
            graph.name += " (2)"
    return graph


def scenes_of(options: argparse.Namespace) -> list[Scene]:
    found = []
    for each in gather(options.pictures):
        if not each.picture:
            raise ConfigError(
                f"{each.path} is no picture; a tensor is given by --tensor, with a right one by --right"
            )
        found.append(Scene(each.name, read_picture(each.path)))
    return found


def fixed_inputs(graph: DirectGraph, options: argparse.Namespace, varied: int) -> dict[int, Tensor]:
    fixed = {}
    for text in options.input:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise ConfigError(f"--input is NAME=FILE, not {text!r}")
        index = graph.input_index(name)
        bound = graph.bound.inputs.get(index) if graph.bound is not None else None
        if index == varied:
            raise ConfigError(f"--input {text}: that is the input whose tensor is tried out; leave it out")
        fixed[index] = feed_file(index, Path(path), graph.inputs[index], bound, graph.name).tensor
    return fixed


def sent_tensor(path: Path, graph: DirectGraph, index: int) -> Array:
    """A tensor's numbers, from a record of a guest's compute or a file, in the dims that they have."""
    if path.is_dir():
        if not is_record(path):
            inside = [str(each) for each in record_folders(path)[:3]]
            more = f"; it holds {', '.join(inside)}" if inside else ": it has no record.json (DIR/0000, say)"
            raise ConfigError(f"{path} is not the record of one compute{more}")
        inputs = read_record(path).inputs
        found = [each for each in inputs if len(inputs) == 1 or each.name == graph.inputs[index].name]
        if found:
            spec = graph.inputs[index]
            if not spec.any_type and found[0].type not in (spec.type, spec.type.wire):
                raise ConfigError(
                    f"{path}: the guest sent {found[0].type.label}, and {graph.name!r} takes "
                    f'{spec.type.label}: the host converted it (guests=, or quantization = "affine"). '
                    "Diagnose it with a model that takes that, and the contract that it was written for"
                )
            return found[0].array
        listed = ", ".join(each.name for each in inputs)
        raise ConfigError(f"{path} has the inputs {listed}, and none is called {graph.inputs[index].name!r}")
    if kind_of(path) == "picture":
        raise ConfigError(
            f"{path} is a picture; --tensor is what a guest sent (a record's folder, .npy or bytes)"
        )
    bound = graph.bound.inputs.get(index) if graph.bound is not None else None
    return feed_file(index, path, graph.inputs[index], bound, graph.name).tensor.numpy()
