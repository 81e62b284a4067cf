# SPDX-License-Identifier: Apache-2.0
"""What `wasinn inspect` says of contracts: one to start from, and the one that lies beside a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wasinn.backends.common import one_line
from wasinn.contracts.bound import bind
from wasinn.contracts.parse import read_contract
from wasinn.contracts.write import to_toml
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs import detect
from wasinn.graphs.loader import LoadedGraph, Loader
from wasinn.graphs.source import GraphSource
from wasinn.graphs.suggest import read_hints, suggest
from wasinn.runtime.direct import BESIDE, contract_beside
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
    model = source.model.files[0].name
    head = [
        f"A contract for {model} to start from. What is guessed is marked: check it, mostly against the code",
        "that trained the model. Save it beside the model and it is found:",
        f"  wasinn inspect --contract {text} > {model}{BESIDE}",
    ]
    files = {}
    for name, output in found.outputs.items():
        if output.labels is not None and len(output.labels) > _INLINE:
            files[name] = model + LABELS
            head.append(f"The model's file has its {len(output.labels)} labels in it; save them as well:")
            head.append(f"  wasinn inspect --labels {text} > {model}{LABELS}")
    lines = ["# " + "  " * line.startswith(" ") + one_line(line.strip(), 400) for line in head]
    return "\n".join([*lines, "", to_toml(found, notes, files)]).rstrip("\n")


def labels(source: GraphSource) -> str:
    """The labels that a model's file has in it, a line each. Raises ConfigError where it has none."""
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


def beside(source: GraphSource, loaded: LoadedGraph) -> dict[str, Any]:
    """The contract's file beside a model as `contract`, and as `contract_error` why it does not fit."""
    path: Path | None = contract_beside(source)
    if path is None:
        return {}
    report: dict[str, Any] = {"contract": str(path)}
    try:
        bind(read_contract(path), loaded.graph.inputs, loaded.graph.outputs)
    except ConfigError as error:
        report["contract_error"] = str(error)
    return report
