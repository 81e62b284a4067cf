# SPDX-License-Identifier: Apache-2.0
"""The distribution of a tensor's numbers, for the terminal."""

from __future__ import annotations

from wasinn.runtime.statistics import Statistics, for_json, histogram, number, statistics

__all__ = ["Statistics", "for_json", "histogram", "histogram_rows", "number", "statistics"]

#: The width of the longest bar of a histogram, in characters.
_BAR = 40


def histogram_rows(found: list[tuple[float, float, int]]) -> list[tuple[str, str, str]]:
    """Rows of a table: from where to where, how many, and a bar."""
    most = max((count for _, _, count in found), default=1) or 1
    rows = []
    for low, high, count in found:
        between = number(low) if low == high else f"{number(low)} .. {number(high)}"
        length = round(_BAR * count / most)
        rows.append((between, str(count), "#" * (length or (1 if count else 0))))
    return rows
