# SPDX-License-Identifier: Apache-2.0
"""Values of graph options, as a command line (texts) and `wasinn.toml` (numbers, booleans) have them. All
raise ConfigError that names the option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wasinn.errors import ConfigError

#: The rows that `batch = true` stands for, and the most that can be asked for.
_BATCH_ROWS, _MAX_BATCH_ROWS = 64, 4096

#: The longest that a thread can be told to wait on every system, nearly: a day.
_MAX_SECONDS = 86400.0


def one_of(key: str, value: Any, *known: str) -> str:
    """One of the words `known`."""
    if value not in known:
        listed = " or ".join(f'"{each}"' for each in known)
        raise ConfigError(f"{key} must be {listed}, got {value!r}")
    return str(value)


def whole(key: str, value: Any, least: int, most: int) -> int:
    """A number from `least` to `most`."""
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ConfigError(f"{key} must be a number from {least} to {most}, got {value!r}")
    return number


def retries(key: str, value: Any) -> int:
    return whole(key, value, 0, 10)


def seconds(key: str, value: Any, most: float = _MAX_SECONDS) -> float:
    """A number of seconds above 0, at most `most`, and finite."""
    try:
        number = float(str(value))
    except ValueError:
        number = 0.0
    if not 0 < number <= most or number == float("inf"):
        limit = "" if most == float("inf") else f", at most {most:g}"
        raise ConfigError(f"{key} must be a number of seconds above 0{limit}, got {value!r}")
    return number


def batch_rows(value: Any) -> int | None:
    """The most rows of a batch; None for no batches."""
    text = str(value).lower()
    if text in ("false", "1"):
        return None
    try:
        rows = _BATCH_ROWS if text == "true" else int(text)
    except ValueError:
        rows = 0
    if not 2 <= rows <= _MAX_BATCH_ROWS:
        raise ConfigError(
            "batch must be true, false or the most rows of one compute, "
            f"2 to {_MAX_BATCH_ROWS}, got {value!r}"
        )
    return rows


def readable(key: str, value: Any) -> Path:
    """A file that is there."""
    path = Path(str(value))
    if not path.is_file():
        raise ConfigError(f"{key}: there is no file {str(value)!r}")
    return path
