# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' results as a table and as JSON, and the machine that they are of."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measures.pairs import Kind, Row

PACKAGES = ("wasinn", "wasmtime", "onnxruntime", "numpy")
#: Above this, other work on the machine has likely disturbed a row.
UNREST = 0.1

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


def machine() -> dict[str, str]:
    """The machine and the versions, in words."""
    load = " ".join(f"{each:.1f}" for each in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return {
        "cpu": _cpu(),
        "cores": str(_cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "load before": f"{load} (1, 5, 15 minutes)",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    found = {key.strip(): value.strip() for key, value in fields.items()}
    number = f" (family {found['cpu family']}, model {found['model']})" if "cpu family" in found else ""
    return found.get("model name", "unknown") + number


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def table(rows: Sequence[Row]) -> str:
    """The rows, aligned, and a note below for each that was disturbed."""
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
    notes = [
        f"{row.measure}: the time of {row.reference!r} itself varied by {row.unrest:.0%}: something "
        "else used the machine; run it again."
        for row in rows
        if row.unrest > UNREST
    ]
    return "\n".join([*lines, "", *notes] if notes else lines)


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


def as_json(found: dict[str, str], rows: Sequence[Row]) -> dict[str, Any]:
    """Everything, with every pair. Times in seconds."""
    return {
        "machine": found,
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
