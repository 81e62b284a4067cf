# SPDX-License-Identifier: Apache-2.0
"""From TOML to a contract; every mistake is an error with the line, what came, and the remedy."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wasinn.contracts.contract import Contract
from wasinn.contracts.keys import MAX_NAME
from wasinn.contracts.parse_inputs import parse_input
from wasinn.contracts.parse_outputs import parse_output
from wasinn.contracts.reading import Reader, did_you_mean
from wasinn.contracts.shown import name as shown_name
from wasinn.contracts.shown import shown, table_name
from wasinn.contracts.text_files import Complaints, read_text
from wasinn.errors import ConfigError

_COMPLAINTS = Complaints(
    absent="cannot read the contract {path}: it is {why}",
    failed="cannot read the contract {path}: {why}",
    large="the contract {path} is larger than {why}; is it one?",
    encoding="{path}, line {line}: not UTF-8 text ({why}); is it a contract?",
)


def read_contract(path: str | Path) -> Contract:
    """Reads a contract's file. Raises ConfigError that names the file, the line and the remedy."""
    if not isinstance(path, str | Path):
        raise ConfigError(f"read_contract takes the path of a contract, not {type(path).__name__}")
    path = Path(path)
    text = read_text(path, _COMPLAINTS).replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # tomllib's own error, a number of more digits than Python reads, or a thousand open brackets.
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ConfigError(f"{path} is not TOML: {reason}") from None
    return parse_contract(document, path.parent, path, text)


def parse_contract(
    document: Mapping[str, Any],
    folder: Path,
    source: Path | str = "contract",
    text: str | None = None,
    prefix: tuple[str, ...] = (),
) -> Contract:
    """A contract from the tables of a TOML document.

    `folder` is where the label files are. `text` is the document itself, for line numbers, and `prefix`
    the table in it that is the contract: then the errors leave out `source`, which whoever reads the
    document names. Raises ConfigError.
    """
    reader = Reader(source, text, prefix)
    for key, value in document.items():
        if key not in ("input", "output"):
            raise reader.error(
                (key,),
                f"unknown key {shown_name(key)}{did_you_mean(key, ('input', 'output'))}; a contract has "
                "tables [input.NAME] and [output.NAME]",
            )
        if not isinstance(value, dict):
            raise reader.error((key,), f"{key} is tables, [{key}.NAME], not {shown(value)}")
        for name, table in value.items():
            _check_name(reader, key, name, table)
    inputs = {name: parse_input(reader, name, table) for name, table in document.get("input", {}).items()}
    outputs = {
        name: parse_output(reader, name, table, folder) for name, table in document.get("output", {}).items()
    }
    if not inputs and not outputs:
        raise reader.error((), "an empty contract; write an [input.NAME] or an [output.NAME]")
    return Contract(inputs, outputs, f"{source}, {table_name(prefix)}" if prefix else source)


def _check_name(reader: Reader, key: str, name: str, table: Any) -> None:
    if isinstance(table, list) and any(isinstance(each, dict) for each in table):
        raise reader.error(
            (key, name),
            f"{shown_name(name)} is a list of tables; write [{key}.{shown_name(name)}], in single brackets, "
            "and another name for another one",
        )
    if not isinstance(table, dict):
        raise reader.error(
            (key, name),
            f"{shown_name(name)} is not in a table with a name; write it below [{key}.NAME], as in "
            f"[{key}.{'image' if key == 'input' else 'classes'}]",
        )
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME:
        raise reader.error((key, name), f"a name is 1 to {MAX_NAME} printable characters, not {shown(name)}")
