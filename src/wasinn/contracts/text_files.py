# SPDX-License-Identifier: Apache-2.0
"""Text files that an operator names: read whole, up to a bound, as UTF-8."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wasinn.errors import ConfigError

#: A contract is a page of text, and a label list in it at most a few thousand pages.
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Complaints:
    """What the errors about a kind of file say; `{path}`, `{why}` and `{line}` are filled in.

    `absent`: nothing is there, or no file; `failed`: the system's reason; `large`: `why` is the bound;
    `encoding`: what UTF-8 does not have, in the line.
    """

    absent: str
    failed: str
    large: str
    encoding: str


def read_text(path: Path, complaints: Complaints) -> str:
    """The text of a file, without a byte order mark. Raises ConfigError."""
    name = str(path)
    try:
        if not path.is_file():
            # A pipe or a device would be waited for, or read for ever.
            why = "no file" if path.exists() else "not there"
            raise ConfigError(complaints.absent.format(path=name, why=why))
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(complaints.failed.format(path=name[:200], why=reason)) from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(complaints.large.format(path=name, why=f"{_MAX_BYTES >> 20} MiB"))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(complaints.encoding.format(path=name, why=error.reason, line=line)) from None
