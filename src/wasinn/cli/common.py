# SPDX-License-Identifier: Apache-2.0
"""What the subcommands share: log lines on the terminal, tables, units."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wasinn.errors import ConfigError

Subparsers = Any  # argparse keeps the class of add_subparsers to itself


def table(rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Rows as aligned columns; the last column is left as it is."""
    listed = [tuple(row) for row in rows]
    if not listed:
        return ""
    columns = max(len(row) for row in listed)
    widths = [max((len(row[at]) for row in listed if at < len(row)), default=0) for at in range(columns)]
    lines = []
    for row in listed:
        cells = [cell.ljust(widths[at]) for at, cell in enumerate(row)]
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def format_seconds(seconds: float) -> str:
    """`0.00043` as `430 us`, `1.25` as `1.25 s`: three digits that count."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        value = seconds * factor
        if value >= 1 or unit == "us":
            break
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} {unit}"


def write_text(path: str | Path, text: str) -> None:
    """Writes a file. Raises ConfigError."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
