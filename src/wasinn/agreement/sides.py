# SPDX-License-Identifier: Apache-2.0
"""The sides of a comparison: graphs on backends, and what a table says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from wasinn.agreement.answers import Answer, answers_of
from wasinn.agreement.inputs import Input
from wasinn.backends import lookup
from wasinn.contracts.contract import InputContract
from wasinn.errors import ConfigError
from wasinn.graphs.beside import how_to_write
from wasinn.graphs.detect import detect
from wasinn.graphs.source import REMOTE, GraphSource
from wasinn.imaging.preprocess import Placement
from wasinn.oip.address import parse_address
from wasinn.runtime.direct import DirectGraph
from wasinn.runtime.feeds import feed_file, feed_picture
from wasinn.spec import Encoding, Target

Pixels = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Run:
    """What a side made of one input: its answers, the time of its compute in seconds, and where a picture
    lies in the model's input by the contract (None of a tensor)."""

    answers: list[Answer]
    seconds: float
    placement: Placement | None = None


@dataclass(frozen=True)
class SideFacts:
    """What a table says of a side. `contract`: lines of text; none where there is no contract. `guest`: its
    command. `options`: of the graph, where they are not the default ones."""

    name: str
    files: tuple[Path, ...]
    encoding: str
    backend: str
    version: str
    contract: tuple[str, ...] = ()
    guest: str = ""
    options: str = ""


class Side(Protocol):
    """One of those that are compared."""

    @property
    def facts(self) -> SideFacts: ...

    def run(self, given: Input, pixels: Pixels | None) -> Run:
        """Answers one input; `pixels` is the picture, u8 [height, width, 3] RGB, of a picture. Raises
        ConfigError and WasiNNError."""

    def close(self) -> None: ...


class GraphSide:
    """A graph that gets what its contract makes of a picture, or a tensor as it is."""

    def __init__(self, name: str, graph: DirectGraph) -> None:
        self.name = name
        self.graph = graph
        self._warm = False

    @property
    def facts(self) -> SideFacts:
        return facts_of(self.name, self.graph)

    def check_pictures(self) -> None:
        """Raises ConfigError where the graph cannot be given a picture."""
        image_index(self.graph)

    def run(self, given: Input, pixels: Pixels | None) -> Run:
        if pixels is not None:
            index, contract = image_index(self.graph)
            feed = feed_picture(index, pixels, contract, self.graph.inputs[index])
        else:
            index = self.graph.input_index(None)
            bound = self.graph.bound.inputs.get(index) if self.graph.bound is not None else None
            feed = feed_file(
                index, given.path, self.graph.inputs[index], bound, self.name, how_to_write(self.graph.source)
            )
        inference = self.graph.infer({index: feed.tensor})
        if not self._warm:
            # The first compute allocates and compiles: its time would say nothing of the others.
            self._warm = True
            inference = self.graph.infer({index: feed.tensor})
        placement = feed.prepared.placement if feed.prepared is not None else None
        return Run(answers_of(self.graph, inference.outputs, placement), inference.seconds, placement)

    def close(self) -> None:
        self.graph.close()


def image_index(graph: DirectGraph) -> tuple[int, InputContract]:
    """The input that takes a picture, and its contract. Raises ConfigError where there is none."""
    inputs = graph.bound.inputs if graph.bound is not None else {}
    found = [(index, each) for index, each in inputs.items() if each.image is not None]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"graph {graph.name!r} takes {len(found)} pictures; compare gives one")
    lacking = "has no contract" if graph.bound is None else "has a contract without an image input"
    raise ConfigError(
        f"graph {graph.name!r} {lacking}, so that nothing says what tensor it makes of a picture; "
        f"{how_to_write(graph.source)}. Tensors (.npy) need none"
    )


def facts_of(name: str, graph: DirectGraph, guest: str = "") -> SideFacts:
    return SideFacts(
        name,
        graph.source.model.files,
        REMOTE if graph.source.model.url is not None else graph.loaded.encoding.label,
        graph.backend,
        lookup.by_name(graph.backend).version() or "",
        contract_lines(graph),
        guest,
        _options(graph.source),
    )


def _options(source: GraphSource) -> str:
    words = [f"target {source.target.label}"] if source.target is not Target.CPU else []
    words += [f"{key} {value}" for key in ("precision", "threads") if (value := getattr(source.options, key))]
    words += [
        f"{key} {value}" for key in ("dims", "quantization", "isolation") if (value := _changed(source, key))
    ]
    if source.guests is not None:
        words.append("adapted for guests")
    return ", ".join(words)


def _changed(source: GraphSource, key: str) -> object:
    value = getattr(source, key)
    return None if value == getattr(GraphSource(), key) else value


def contract_lines(graph: DirectGraph) -> tuple[str, ...]:
    """The contract in words, a line for each port."""
    if graph.bound is None:
        return ()
    lines = []
    for each in graph.bound.inputs.values():
        words = [each.type.label]
        if (image := each.image) is not None:
            height, width = image.size
            words += [image.layout, f"[{height}, {width}]", image.colour]
            words.append(f"{image.range[0]:g}..{image.range[1]:g}")
            if any(image.mean) or any(std != 1 for std in image.std):
                words.append(f"mean {_numbers(image.mean)} std {_numbers(image.std)}")
            words.append(f"{image.resize}, {image.fit}" + (", inverted" if image.invert else ""))
        if not isinstance(each.quantization, str):
            words.append(f"quantized ({each.quantization})")
        lines.append(f"{each.name}: {' '.join(words)}")
    for out in graph.bound.outputs.values():
        words = [out.kind]
        if out.classes is not None:
            words.append(f"{out.classes} classes")
        if out.labels is not None:
            words.append(f"labels from line {out.label_offset}" if out.label_offset else "with labels")
        lines.append(f"{out.name}: {', '.join(words)}")
    return tuple(lines)


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in (values if len(set(values)) > 1 else values[:1]))


def on_backends(source: GraphSource, backends: Sequence[str] | None) -> list[GraphSource]:
    """The source for each of `backends` that loads its encoding and is installed; `["all"]` is every one,
    None the source as it is. Raises ConfigError where none does."""
    if backends is None or source.model.url is not None:  # what it runs on is for its own server to say
        return [source]
    encoding = source.encoding
    if encoding is Encoding.AUTODETECT:
        encoding = detect(source.model)
    able = [each.name for each in lookup.ranked(encoding) if each.version() is not None]
    chosen = able if list(backends) == ["all"] else [name for name in backends if name in able]
    if not chosen:
        raise ConfigError(
            f"{source}: none of {', '.join(backends)} loads {encoding.label} here; installed and able: "
            + (", ".join(able) or "none")
        )
    return [replace(source, encoding=encoding, backend=name) for name in chosen]


def open_graphs(
    specs: Sequence[tuple[str | None, GraphSource]], backends: Sequence[str] | None = None
) -> list[DirectGraph]:
    """The graphs, loaded, each on each of `backends`, with names that differ. Raises ConfigError and
    WasiNNError for one that cannot be loaded."""
    for backend in backends or ():
        if backend != "all" and (found := lookup.by_name(backend)).version() is None:
            raise ConfigError(f"--backends: {backend} is not installed: {found.install_hint}")
    placed = [
        (name or _default_name(source), each)
        for name, source in specs
        for each in on_backends(source, backends)
    ]
    names = [name for name, _ in placed]
    graphs: list[DirectGraph] = []
    try:
        for name, source in placed:
            graph = DirectGraph(name, source)
            graphs.append(graph)
            if names.count(name) > 1:
                graph.name = f"{name} on {graph.backend}"
    except BaseException:
        for graph in graphs:
            graph.close()
        raise
    seen: dict[str, int] = {}
    for graph in graphs:
        count = seen[graph.name] = seen.get(graph.name, 0) + 1
        if count > 1:
            graph.name += f" #{count}"
    return graphs


def _default_name(source: GraphSource) -> str:
    if source.model.url is not None:
        return parse_address(source.model.url).model
    return source.model.files[0].name if source.model.files else "graph"
