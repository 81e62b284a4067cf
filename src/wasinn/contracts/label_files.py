# SPDX-License-Identifier: Apache-2.0
"""Label files: UTF-8 text with a label on each line."""

from __future__ import annotations

from pathlib import Path

from wasinn.contracts.keys import MAX_LABELS
from wasinn.errors import ConfigError

_MAX_BYTES = 64 << 20


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file, without the blanks around them. An empty line is the label '': what follows
    keeps its number; empty lines at the end are none. Raises ConfigError."""
    try:
        if not path.is_file():
            # A pipe or a device would be waited for, or read for ever.
            what = "no file" if path.exists() else "not there"
            raise ConfigError(f"{str(path)!r} is {what}; the path is relative to the contract's folder")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {str(path)[:200]!r}: {reason}") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{str(path)!r} is larger than {_MAX_BYTES >> 20} MiB; is it a label file?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{str(path)!r} is not UTF-8 text in its line {line} ({error.reason}); save it as UTF-8"
        ) from None
    # Not splitlines(): a label may have a character in it that only Unicode calls a line's end.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ConfigError(f"{str(path)!r} has no labels: a label stands on each line, class 0 first")
    if len(lines) > MAX_LABELS:
        raise ConfigError(f"{str(path)!r} has {len(lines)} lines; {MAX_LABELS} labels at most are read")
    return tuple(line.strip() for line in lines)
