# SPDX-License-Identifier: Apache-2.0
"""A graph on the command line of the tools that need no guest: what can be left out of `--graph` there.

[NAME=][ENCODING:]PATH[,PATH][?key=value&...]
"""

from __future__ import annotations

import re
from pathlib import Path

from wasinn.graphs.source import GraphSource
from wasinn.spec import Encoding

#: How a graph is written; what --help says.
GRAPH = "[NAME=][ENCODING:]PATH[,PATH][?key=value&...]"


def parse_graph(text: str) -> tuple[str | None, GraphSource]:
    """A graph that is written as `GRAPH`, as a name, None where it has none, and a source.

    A file that is there is meant whatever characters its name has. Raises ConfigError.
    """
    if Path(text).exists():
        return None, GraphSource.from_files(text)
    match = None if _is_file(text) else re.match(r"([^=:,?/\\]+)=(.+)", text, re.DOTALL)
    name, rest = (match[1], match[2]) if match else (None, text)
    return name, GraphSource.parse(rest if _has_encoding(rest) else f"autodetect:{rest}")


def _is_file(text: str) -> bool:
    """Whether the text begins with a file, and not with a name or an encoding."""
    return Path(re.split("[,?]", text, maxsplit=1)[0]).is_file()


def _has_encoding(text: str) -> bool:
    prefix, colon, _ = text.partition(":")
    if not colon or "?" in prefix or _is_file(text):
        return False
    try:
        Encoding.parse(prefix)
    except ValueError:
        # A word of letters is a mistyped encoding, which the parser says best; else a colon in a path.
        return re.fullmatch(r"[A-Za-z]{2,}", prefix) is not None
    return True
