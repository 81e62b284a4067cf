# SPDX-License-Identifier: Apache-2.0
"""What came, as an error shows it: in TOML's spelling, short, printable, and never an error itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

#: How much of a string, of a list and of nested tables is shown.
_TEXT, _ITEMS, _DEPTH = 60, 8, 3


def shown(value: Any, depth: int = _DEPTH) -> str:
    """A value of a TOML document."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # Python refuses to write a number of more than 4300 digits, which hexadecimal TOML can have.
        return str(value) if value.bit_length() <= 80 else f"a number of {value.bit_length()} bits"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        if not value or not depth:
            return "[...]" if value else "[]"
        items = [shown(each, depth - 1) for each in value[:_ITEMS]]
        return f"[{', '.join(items)}{', ...' if len(value) > _ITEMS else ''}]"
    if isinstance(value, dict):
        if not value or not depth:
            return "{ ... }" if value else "{}"
        pairs = [f"{name(key)} = {shown(each, depth - 1)}" for key, each in list(value.items())[:_ITEMS]]
        return f"{{ {', '.join(pairs)}{', ...' if len(value) > _ITEMS else ''} }}"
    return str(value)[:_TEXT]


def quoted(text: str) -> str:
    """A string in quotes, cut, as a terminal can show it."""
    return json.dumps(text if len(text) <= _TEXT else text[: _TEXT - 3] + "...")


def name(key: str) -> str:
    """A key as it is written: bare where TOML allows that."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else quoted(key)


def table_name(path: Sequence[str]) -> str:
    """A table's header, with its brackets."""
    return f"[{'.'.join(name(part) for part in path[:_ITEMS])}]"
