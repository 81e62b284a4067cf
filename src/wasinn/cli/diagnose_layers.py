# SPDX-License-Identifier: Apache-2.0
"""`wasinn diagnose --layers`: where in one ONNX model two runtimes drift apart."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.agreement import layers_chart, layers_text
from wasinn.agreement.layers import TOLERANCE, compare_layers
from wasinn.agreement.layers_rows import LayersReport
from wasinn.agreement.layers_side import as_it_is
from wasinn.agreement.sides import on_backends
from wasinn.backends import lookup
from wasinn.cli.common import table, write_text
from wasinn.cli.graphs import graph_option
from wasinn.content import opened
from wasinn.contracts.contract import Contract
from wasinn.contracts.parse import read_contract
from wasinn.errors import ConfigError
from wasinn.graphs.source import GraphSource
from wasinn.runtime.direct import DirectGraph
from wasinn.runtime.feeds import feed_file
from wasinn.spec import TensorType
from wasinn.tensors import Tensor, TensorSpec

#: Where the numbers come from that are drawn where no input is given.
SEED = 0


def add_layer_options(parser: Any) -> None:
    """The options of `--layers` that `wasinn diagnose` does not have for itself: `parser` may be a group."""
    parser.add_argument("--backends", metavar="A,B", help="with --layers: the two that run the one --graph")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="RMS",
        help="with --layers: from where a tensor counts as different, relative, root mean square "
        f"(default {TOLERANCE:g})",
    )
    parser.add_argument(
        "--chart", metavar="FILE.svg", help="with --layers: draw the differences to this file"
    )


def run_layers(options: argparse.Namespace) -> int:
    """Compares as `options` say: `graph` (one or two texts), `backends` (`A,B` or None), `pictures` (a file
    for the only input, of any kind), `input` (texts `NAME=FILE`), `contract`, `chart` and `json` (files).
    0 where nothing is beyond the tolerance, else 1. Raises ConfigError and WasiNNError."""
    if not 0 < options.tolerance < float("inf"):
        raise ConfigError(f"--tolerance must be a number above 0, got {options.tolerance}")
    one, two = _sources(list(options.graph or ()), options.backends)
    contract = read_contract(Path(options.contract)) if options.contract else None
    tensors, words = _tensors(one, [*options.pictures, *options.input], contract)
    report = compare_layers(one, two, tensors, options.tolerance, _progress if sys.stderr.isatty() else None)
    title = f"Layers of {_name(one)}: {report.names[0]} and {report.names[1]}"
    if options.chart:
        write_text(options.chart, layers_chart.draw(report, title))
    if options.json:
        text = json.dumps({"model": _name(one), "inputs": words, **report.as_dict()}, indent=2)
        if options.json == "-":
            print(text)
            return int(report.differs)
        write_text(options.json, text + "\n")
    print(f"{title}\ninputs: {words}\n")
    print(_text(report))
    if options.chart:
        print(f"\nchart: {options.chart}")
    return int(report.differs)


def _sources(graphs: list[str], backends: str | None) -> tuple[GraphSource, GraphSource]:
    """The two ways to run one model. Raises ConfigError for anything else."""
    sources = [source for _, source in map(graph_option, graphs)]
    if backends is not None:
        names = [name.strip() for name in backends.split(",") if name.strip()]
        if len(sources) != 1 or len(names) != 2:
            raise ConfigError("--layers compares one --graph on two --backends A,B, or two --graph")
        for name in names:
            lookup.by_name(name)
        sources = [on_backends(sources[0], [name])[0] for name in names]
    if len(sources) != 2:
        raise ConfigError(
            "--layers compares two ways to run one model: give --graph twice, or once with --backends A,B"
        )
    for source in sources:
        if source.model.url is not None:
            raise ConfigError(f"--layers reads the model's file, and {source} is on another server")
    if _digest(sources[0]) != _digest(sources[1]):
        raise ConfigError(
            f"--layers compares one model on two runtimes, and {sources[0]} and {sources[1]} are two models; "
            "leave --layers out for what else may differ between them"
        )
    return sources[0], sources[1]


def _digest(source: GraphSource) -> bytes:
    digest = hashlib.sha256()
    with opened((source.model.files or source.model.builders)[0]) as data:
        for start in range(0, len(data), 1 << 24):
            digest.update(data[start : start + (1 << 24)])
    return digest.digest()


def _tensors(
    source: GraphSource, texts: list[str], contract: Contract | None
) -> tuple[dict[int, Tensor], str]:
    """The inputs by index, and what they are in words."""
    contract = contract or source.contract  # else the one beside the model counts
    with DirectGraph(_name(source), as_it_is(source), contract=contract) as graph:
        given: dict[int, Tensor] = {}
        words = []
        for text in texts:
            name, equals, file = text.partition("=")
            key, path = (name, Path(file)) if equals and not Path(text).exists() else (None, Path(text))
            index = graph.input_index(key)
            if index in given:
                raise ConfigError(
                    f"the input {graph.inputs[index].name!r} is given twice; --layers looks at one compute"
                )
            own = graph.bound.inputs.get(index) if graph.bound is not None else None
            given[index] = feed_file(index, path, graph.inputs[index], own, graph.name).tensor
            words.append(f"{graph.inputs[index].name!r} of {path}")
        drawn = [index for index in range(len(graph.inputs)) if index not in given]
        generator = np.random.default_rng(SEED)
        for index in drawn:
            given[index] = _drawn(graph.inputs[index], generator)
            words.append(f"{graph.inputs[index].name!r} of random numbers (seed {SEED})")
        return given, ", ".join(words)


def _drawn(spec: TensorSpec, generator: np.random.Generator) -> Tensor:
    """A tensor for a port: normally distributed floats, integers from 0 to 9, and 1 for every dimension that
    is not fixed."""
    dims = tuple(1 if dim is None else dim for dim in spec.dims or ())
    array: Any
    if spec.type in (TensorType.F16, TensorType.F32, TensorType.F64):
        array = generator.standard_normal(dims).astype(f"<f{spec.type.size}")
    elif spec.type is TensorType.BF16:
        array = (generator.standard_normal(dims).astype("<f4").view("<u4") >> 16).astype("<u2")
    else:
        template = Tensor((0,), spec.type, memoryview(b"")).numpy()
        array = generator.integers(0, 2 if spec.type is TensorType.BOOL else 10, dims).astype(template.dtype)
    return Tensor.of(np.asarray(array), spec.type)


def _text(report: LayersReport) -> str:
    parts = ["\n".join(layers_text.findings(report))]
    rows = layers_text.table_rows(report)
    if rows:
        parts.append(table(rows, "  "))
    width = min(shutil.get_terminal_size((80, 24)).columns, 120)
    drawn = layers_text.bars(report, width)
    if drawn:
        head = (
            "rms of the difference, relative, along the model (> first beyond, * largest jump, - tolerance):"
        )
        parts.append("\n".join([head, *drawn]))
    return "\n\n".join(parts)


def _name(source: GraphSource) -> str:
    return source.model.files[0].name if source.model.files else "the model"


def _progress(done: int, total: int, words: str) -> None:
    end = "\n" if words == "done" else ""
    print(f"\r\x1b[K{done} of {total} tensors; {words}", end=end, file=sys.stderr, flush=True)
