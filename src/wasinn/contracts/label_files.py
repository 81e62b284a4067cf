# SPDX-License-Identifier: Apache-2.0
"""Label files: UTF-8 text with a label on each line."""

from __future__ import annotations

from pathlib import Path

from wasinn.contracts.keys import MAX_LABELS
from wasinn.contracts.text_files import Complaints, read_text
from wasinn.errors import ConfigError

_COMPLAINTS = Complaints(
    absent="{path!r} is {why}; the path is relative to the contract's folder",
    failed="cannot read {path!r}: {why}",
    large="{path!r} is larger than {why}; is it a label file?",
    encoding="{path!r} is not UTF-8 text in its line {line} ({why}); save it as UTF-8",
)


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file, without the blanks around them. An empty line is the label '': what follows
    keeps its number; empty lines at the end are none. Raises ConfigError."""
    text = read_text(path, _COMPLAINTS)
    # Not splitlines(): a label may have a character in it that only Unicode calls a line's end.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ConfigError(f"{str(path)!r} has no labels: a label stands on each line, class 0 first")
    if len(lines) > MAX_LABELS:
        raise ConfigError(f"{str(path)!r} has {len(lines)} lines; {MAX_LABELS} labels at most are read")
    return tuple(line.strip() for line in lines)
