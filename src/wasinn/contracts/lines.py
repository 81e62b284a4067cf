# SPDX-License-Identifier: Apache-2.0
"""On which line of a TOML document a key stands: `tomllib` does not say."""

from __future__ import annotations

import re


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The line, counted from 1, of the key with this path; that of the nearest table around it where the key
    is not there; None where no part of it is."""
    best: tuple[int, int] | None = None
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?([^\[\]]+)\]\]?\s*(#.*)?$", line)
        if header:
            table = _parts(header[1])
            here = table
        else:
            key = re.match(
                r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=", line
            )
            if not key:
                continue
            here = (*table, *_parts(key[1]))
        depth = len(here)
        if here == path[:depth] and (best is None or depth > best[0]):
            best = (depth, number)
    return best[1] if best else None


def _parts(dotted: str) -> tuple[str, ...]:
    found = re.findall(r"\"([^\"]*)\"|'([^']*)'|([\w-]+)", dotted)
    return tuple(next((part for part in each if part), "") for each in found)
