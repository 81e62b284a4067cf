# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' results as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from measures.pairs import Kind, Row

#: Above these, other work on the machine has likely disturbed a row: the spread of its reference, and
#: the cores that others used.
UNREST, OTHERS = 0.1, 0.15

HEADER = (
    "measure",
    "ours",
    "median",
    "min",
    "against",
    "median",
    "min",
    "result",
    "half of pairs",
    "target",
    "",
)
_RIGHT = {2, 3, 5, 6, 7}


def table(rows: Sequence[Row]) -> str:
    """The rows, aligned."""
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in _RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def warnings(rows: Sequence[Row], others: Mapping[str, float | None]) -> list[str]:
    """What speaks against the figures. `others`: the cores that others used during each measure."""
    return [
        *(
            f"{name}: other processes used {cores:.1f} cores meanwhile; run it again."
            for name, cores in others.items()
            if cores is not None and cores > OTHERS
        ),
        *(
            f"{row.measure}: the time of {row.reference!r} itself varied by {row.unrest:.0%}; run it again."
            for row in rows
            if row.unrest > UNREST
        ),
    ]


def _cells(row: Row) -> tuple[str, ...]:
    ours, reference = row.blocks(lambda pair: pair.ours), row.blocks(lambda pair: pair.reference)
    low, high = row.spread
    verdict = {None: "", True: "reached", False: "MISSED"}[row.reached]
    return (
        row.measure,
        row.ours,
        _time(ours.median),
        _time(ours.minimum),
        row.reference,
        _time(reference.median),
        _time(reference.minimum),
        _result(row.kind, row.result),
        f"{_result(row.kind, low)} .. {_result(row.kind, high)}",
        _target(row),
        verdict,
    )


def _time(seconds: float) -> str:
    """Three or four digits and a unit."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.{2 if seconds < 1e-5 else 1}f} us"
    return f"{seconds * 1e3:.2f} ms"


def _result(kind: Kind, value: float) -> str:
    if kind is Kind.ADDED:
        return f"{value * 1e6:+.1f} us"
    return f"{value:.3f} x" if kind is Kind.RATIO else f"{value:.2f} x"


def _target(row: Row) -> str:
    if row.target is None:
        return "-"
    if row.kind is Kind.ADDED:
        return f"at most +{row.target * 1e6:.0f} us"
    return f"at {'least' if row.kind is Kind.SPEEDUP else 'most'} {row.target:g} x"


def as_json(
    machine: Mapping[str, str], rows: Sequence[Row], others: Mapping[str, float | None]
) -> dict[str, Any]:
    """Everything, with every pair. Times in seconds."""
    return {
        "machine": dict(machine),
        "cores used by others": dict(others),
        "rows": [
            {
                "measure": row.measure,
                "ours": row.ours,
                "reference": row.reference,
                "kind": row.kind.value,
                "result": row.result,
                "quartiles": row.spread,
                "target": row.target,
                "reached": row.reached,
                "unrest": row.unrest,
                "pairs": [
                    {
                        "reference": {"median": pair.reference.median, "min": pair.reference.minimum},
                        "ours": {"median": pair.ours.median, "min": pair.ours.minimum},
                    }
                    for pair in row.pairs
                ],
            }
            for row in rows
        ],
    }
