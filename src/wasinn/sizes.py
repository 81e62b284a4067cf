# SPDX-License-Identifier: Apache-2.0
"""Sizes as people write them: `64M`, `2GiB`, `4096`."""

from __future__ import annotations

import re

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def parse_size(value: object) -> int:
    """Bytes from a number or from text such as `64M` (powers of 1024). Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", str(value), re.IGNORECASE)
    if match is None:
        raise ValueError(f"{value!r} is not a size; write bytes, or a number with K, M or G (64M)")
    return int(float(match[1]) * (1 << _UNITS[match[2].lower()]))


def format_size(size: int) -> str:
    """`602112` as `588.0 KiB`; below 1024 as bytes."""
    if size < 1024:
        return f"{size} bytes"
    number = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        number /= 1024
        if number < 1024 or unit == "TiB":
            break
    return f"{number:.1f} {unit}"
