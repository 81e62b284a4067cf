# SPDX-License-Identifier: Apache-2.0
"""The contract beside a model, and the command that writes one."""

from __future__ import annotations

import shlex
from pathlib import Path

from wasinn import shipped
from wasinn.contracts.contract import Contract
from wasinn.contracts.parse import read_contract
from wasinn.errors import ConfigError
from wasinn.graphs.source import GraphSource
from wasinn.graphs.suggest import read_hints
from wasinn.spec import Encoding

#: A contract of this name beside a model is the model's own: for the tools that have no guest, and for guests
#: that ask.
BESIDE = ".contract.toml"


def contract_beside(source: GraphSource) -> Path | None:
    """The contract's file beside a model, `MODEL.contract.toml`; None where there is none."""
    if not source.model.files:
        return None
    path = beside(source.model.files[0], BESIDE)
    return path if path.is_file() else None


def read_beside(source: GraphSource) -> Contract | None:
    """The contract beside a model; None where there is none. Raises ConfigError."""
    path = contract_beside(source)
    if path is None:
        return None
    try:
        return read_contract(path)
    except ConfigError as error:
        if "labels: " not in str(error) or "is not there" not in str(error):
            raise
        outputs = read_hints(source.model, Encoding.TENSORFLOWLITE).outputs
        if not any(each.labels for each in outputs.values()):
            raise
        model = shlex.quote(str(source.model.files[0]))
        raise ConfigError(
            f"{error}. The model's file has labels in it: `wasinn inspect --labels {model} > FILE` writes "
            "them"
        ) from None


def beside(model: Path, ending: str) -> Path:
    """Where what belongs to a model lies: `MODEL.contract.toml`, `MODEL.labels.txt`."""
    return model.with_name(model.name + ending)


def comes_with_wasinn(source: GraphSource) -> bool:
    """Whether it is a model of wasinn's own, beside which nobody writes."""
    return any(path.parent == shipped.ROOT / "models" for path in source.model.files)


def how_to_write(source: GraphSource) -> str:
    """A sentence with the command that writes a contract to start from, and where it then is."""
    files = source.model.files
    if source.model.url is not None:
        command = f"wasinn inspect --contract {shlex.quote(str(source))}"
        return (
            f"write one with `{command} > FILE`, correct what it guessed, and give it: --contract FILE, or "
            "?contract=FILE after the graph"
        )
    if not files:
        return "give one, as DirectGraph(..., contract=wasinn.read_contract(FILE))"
    own = comes_with_wasinn(source)
    text = ",".join(f"@{path.name}" if own else str(path) for path in files)
    if source.encoding is not Encoding.AUTODETECT:
        text = f"{source.encoding.label}:{text}"
    command = f"wasinn inspect --contract {shlex.quote(text)}"
    given = "--contract FILE, or ?contract=FILE after the graph"
    if own:
        return f"write one with `{command} > FILE`, correct what it guessed, and give it: {given}"
    place = shlex.quote(str(beside(files[0], BESIDE)))
    return (
        f"write one with `{command} > {place}`, correct what it guessed, and it is found there; or give "
        f"another: {given}"
    )
