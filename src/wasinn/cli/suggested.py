# SPDX-License-Identifier: Apache-2.0
"""What `wasinn inspect` says of contracts: one to start from, and the one that lies beside a model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from wasinn.backends.common import one_line
from wasinn.contracts.bound import bind
from wasinn.contracts.write import to_toml
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs import detect
from wasinn.graphs.beside import BESIDE, beside, comes_with_wasinn, contract_beside, read_beside
from wasinn.graphs.loader import LoadedGraph, Loader
from wasinn.graphs.source import GraphSource
from wasinn.graphs.suggest import read_hints, suggest
from wasinn.oip.address import parse_address
from wasinn.spec import Encoding

#: So many labels stand in the contract itself; more are a file's.
_INLINE = 20
LABELS = ".labels.txt"


def contract(text: str, source: GraphSource) -> str:
    """A contract to start from, as TOML. Raises ConfigError for a model that cannot be loaded."""
    try:
        loaded = Loader().load(source)
    except WasiNNError as error:
        raise ConfigError(f"{text} cannot be loaded: {error.reason}") from error
    found, notes = suggest(source.model, loaded.encoding, loaded.graph)
    # A model on another server has no file to lie beside, nor has one of wasinn's own: see how_to_write.
    url = source.model.url
    model = source.model.files[0] if url is None else Path(parse_address(url).model)
    elsewhere = url is not None or comes_with_wasinn(source)
    place = beside(model, BESIDE)
    said = shlex.quote(text)
    head = [
        f"A contract for {model.name} to start from. What is guessed is marked: check it, mostly against the "
        "code",
        "that trained the model.",
    ]
    if elsewhere:
        head[-1] += " Save it, and give it with --contract FILE:"
        head.append(f"  wasinn inspect --contract {said} > FILE")
    else:
        head[-1] += " Save it beside the model and it is found:"
        head.append(f"  wasinn inspect --contract {said} > {shlex.quote(str(place))}")
    files = {}
    for name, output in found.outputs.items():
        if output.labels is not None and len(output.labels) > _INLINE:
            labels = Path(model.name + LABELS) if elsewhere else beside(model, LABELS)
            files[name] = labels.name
            head.append(f"The model's file has its {len(output.labels)} labels in it; save them as well:")
            head.append(f"  wasinn inspect --labels {said} > {shlex.quote(str(labels))}")
    lines = ["# " + "  " * line.startswith(" ") + one_line(line.strip(), 400) for line in head]
    return "\n".join([*lines, "", to_toml(found, notes, files)]).rstrip("\n")


def labels(source: GraphSource) -> str:
    """The labels that a model's file has in it, a line each. Raises ConfigError where it has none."""
    if source.model.url is not None:
        raise ConfigError(f"{source} is on another server: only its file could have labels in it")
    try:
        encoding = source.encoding
        if encoding is Encoding.AUTODETECT:
            encoding = detect.detect(source.model)
    except WasiNNError as error:
        raise ConfigError(error.reason) from error
    outputs = read_hints(source.model, encoding).outputs
    found = [hints.labels for hints in outputs.values() if hints.labels is not None]
    if not found:
        raise ConfigError(
            f"{source.model.files[0]} has no labels in it; some TensorFlow Lite files have, beside their "
            "metadata"
        )
    return "\n".join(one_line(label, 1000) for label in found[0].value)


def found_beside(source: GraphSource, loaded: LoadedGraph) -> dict[str, Any]:
    """The contract's file beside a model as `contract`, and as `contract_error` why it does not fit."""
    path = contract_beside(source)
    if path is None:
        return {}
    report: dict[str, Any] = {"contract": str(path)}
    try:
        found = read_beside(source)
        assert found is not None
        bind(found, loaded.graph.inputs, loaded.graph.outputs)
    except ConfigError as error:
        report["contract_error"] = str(error)
    return report
