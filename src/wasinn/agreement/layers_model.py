# SPDX-License-Identifier: Apache-2.0
"""The nodes of an ONNX model, and the model with its inner tensors as outputs.

Protobuf merges an embedded message that occurs twice, and appends what is repeated in it: bytes after a
model's own that hold a graph with nothing but outputs add these outputs. onnxruntime 1.31, OpenVINO 2026.4
and tract 0.23 take them without a type. Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wasinn.backends.base import Model
from wasinn.backends.onnx_external import external_locations
from wasinn.content import Content, opened
from wasinn.errors import ConfigError
from wasinn.leb128 import write_unsigned
from wasinn.protobuf import BYTES, fields, text

_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
#: Operators whose results are drawn: they differ by what they are.
_RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)


@dataclass(frozen=True)
class Node:
    """A node of the graph itself, not of a subgraph. Names are empty where the model gives none; `outputs`
    has those that have a name."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    has_subgraph: bool = False

    @property
    def title(self) -> str:
        return self.name or f"that makes {self.outputs[0]!r}"


@dataclass(frozen=True)
class Structure:
    """What of a model is compared: the nodes whose results depend on its inputs, in their order, which is
    topological; and the graph's outputs."""

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    @functools.cached_property
    def makers(self) -> dict[str, Node]:
        """The tensors that are compared, each with its node, in their order."""
        return {name: node for node in self.nodes for name in node.outputs}


def read_structure(model: Model) -> Structure:
    """Reads an ONNX model. Raises ConfigError for what is none."""
    source = (model.files or model.builders)[0]
    nodes: list[Node] = []
    initializers: set[str] = set()
    inputs: list[str] = []
    outputs: list[str] = []
    try:
        with opened(source) as data:
            for field, wire, start, end in fields(data):
                if field != _GRAPH or wire != BYTES:
                    continue
                for inner, _, first, last in fields(data, start, end):
                    if inner == _NODE:
                        nodes.append(_node(data, first, last))
                    elif inner == _INITIALIZER:
                        initializers.add(_name(data, first, last, 8))
                    elif inner == _INPUT:
                        inputs.append(_name(data, first, last, 1))
                    elif inner == _OUTPUT:
                        outputs.append(_name(data, first, last, 1))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the layers of this model cannot be read: {error}") from error
    live = set(inputs) - initializers
    kept = []
    for node in nodes:
        # A subgraph may use any tensor outside it, which its node does not list.
        depends = node.has_subgraph or any(name in live for name in node.inputs)
        if depends and node.op not in _RANDOM and node.outputs:
            live.update(node.outputs)
            kept.append(node)
    if not kept:
        raise ConfigError("no node of this model depends on its inputs: there are no layers to compare")
    return Structure(tuple(kept), tuple(outputs))


def _node(data: Content, start: int, end: int) -> Node:
    """NodeProto: input 1, output 2, name 3, op_type 4, attribute 5; AttributeProto: g 6, graphs 11."""
    inputs, outputs = [], []
    name = op = ""
    subgraph = False
    for field, wire, first, last in fields(data, start, end):
        if wire != BYTES:
            continue
        if field == 1:
            inputs.append(text(data, first, last, 1 << 16))
        elif field == 2:
            outputs.append(text(data, first, last, 1 << 16))
        elif field == 3:
            name = text(data, first, last)
        elif field == 4:
            op = text(data, first, last)
        elif field == 5:
            subgraph = subgraph or any(number in (6, 11) for number, *_ in fields(data, first, last))
    return Node(name, op, tuple(filter(None, inputs)), tuple(filter(None, outputs)), subgraph)


def _name(data: Content, start: int, end: int, number: int) -> str:
    for field, wire, first, last in fields(data, start, end):
        if field == number and wire == BYTES:
            return text(data, first, last, 1 << 16)
    return ""


def _message(field: int, payload: bytes) -> bytes:
    return write_unsigned(field << 3 | BYTES) + write_unsigned(len(payload)) + payload


def added_outputs(names: Sequence[str]) -> bytes:
    """Bytes that, behind those of a model, make the tensors `names` outputs, after its own."""
    ports = b"".join(_message(_OUTPUT, _message(1, name.encode())) for name in names)
    return _message(_GRAPH, ports) if names else b""


@contextmanager
def with_outputs(model: Model, names: Sequence[str]) -> Iterator[Model]:
    """The model with the tensors `names` as outputs too, while the context lasts.

    External data stays where it is: its files are linked beside a private copy of the model, by hard links,
    since the runtimes refuse symbolic ones that lead out of the model's folder; and copied where the folder
    of the model cannot be written. Raises ConfigError.
    """
    addition = added_outputs(names)
    if not addition:
        yield model
        return
    if model.builders:
        yield Model(builders=(model.builders[0] + addition, *model.builders[1:]))
        return
    path = model.files[0]
    with opened(path) as content:
        try:
            locations = external_locations(content)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error
    if not locations:
        yield Model(builders=(path.read_bytes() + addition,))
        return
    with _folder(path.parent) as folder:
        shutil.copyfile(path, folder / path.name)
        with (folder / path.name).open("ab") as file:
            file.write(addition)
        for location in sorted(locations):
            _place(path.parent, folder, location)
        yield Model(files=(folder / path.name,))


@contextmanager
def _folder(beside: Path) -> Iterator[Path]:
    try:
        folder = tempfile.mkdtemp(prefix=".wasinn-layers-", dir=beside)
    except OSError:
        folder = tempfile.mkdtemp(prefix="wasinn-layers-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(origin: Path, folder: Path, location: str) -> None:
    if Path(location).is_absolute() or ".." in Path(location).parts:
        raise ConfigError(f"the model has data in {location!r}, which is not in its folder")
    target = folder / location
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(origin / location), target)
    except OSError:
        try:
            shutil.copyfile(origin / location, target)
        except OSError as error:
            raise ConfigError(f"the model's data in {location!r} cannot be read: {error.strerror}") from error
