# SPDX-License-Identifier: Apache-2.0
"""A comparison of layers in words, as a table of the tensors around the first that differs, and as bars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from wasinn.agreement.layers_rows import LayerRow, LayersReport
from wasinn.tensors import format_dims

#: Tensors that the table shows before and after the first one beyond the tolerance.
_BEFORE, _AFTER = 4, 6
#: Below it the bars show nothing; that far f32 itself is not exact.
_LOWEST = -9
#: Powers of ten up to which the lines are half a power apart.
_FINE = 4
#: Characters of a tensor's name in the table.
_NAME = 44


def figure(value: float) -> str:
    """`0`, `2.6e-03`, `inf`: two digits, as differences are compared by their powers of ten."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.1e}"


def findings(report: LayersReport) -> list[str]:
    """What was found, a sentence each."""
    one, two = report.names
    if not report.rows:
        return [f"{one} and {two}: no tensor could be compared."]
    lines = [
        f"{one} and {two}: {len(report.rows)} tensors compared; the model's outputs differ"
        f"{_by(report.plain)} (rms, relative; tolerance {report.tolerance:g})."
    ]
    if report.first is None:
        most = max(report.rows, key=lambda row: row.rms_rel)
        lines.append(
            "No tensor differs at all."
            if most.rms_rel == 0
            else "No tensor differs beyond the tolerance; "
            f"{most.tensor!r} does most, by {figure(most.rms_rel)}."
        )
    else:
        lines.append(
            f"First beyond the tolerance: {_place(report.first, report)},{_by(report.first.rms_rel)}"
            f"{_inputs(report.first)}."
        )
        if report.first.note:
            lines[-1] += f" There {report.first.note}."
    if report.jump is not None and report.jump is not report.first:
        lines.append(
            f"Largest jump: {_place(report.jump, report)},{_by(report.jump.rms_rel)}{_inputs(report.jump)}."
        )
    elif report.jump is not None and not math.isinf(report.jump.rms_rel):
        lines.append("It is also the largest jump: no other node adds as much to what its inputs differ.")
    if report.plain > report.tolerance >= report.exposed:
        lines.append(_merged(report))
    if report.left_out:
        shown = ", ".join(repr(name) for name in report.left_out[:5])
        more = f" and {len(report.left_out) - 5} more" if len(report.left_out) > 5 else ""
        lines.append(f"Not compared, since a runtime does not give them: {shown}{more}.")
    return lines


def _merged(report: LayersReport) -> str:
    text = f"While inner tensors are exposed, the outputs differ by {figure(report.exposed)} only"
    if not report.cured:
        return f"{text}."
    text += ": the cause is a kernel that a runtime merges from several nodes"
    row = next((row for row in report.rows if row.tensor == report.fused), None)
    if row is None:
        return f"{text}."
    return f"{text}. It is enough to expose the tensors up to {_place(row, report)}."


def _place(row: LayerRow, report: LayersReport) -> str:
    return f"tensor {row.tensor!r} ({row.index + 1} of {len(report.rows)}), made by {row.title}"


def _inputs(row: LayerRow) -> str:
    if not row.inputs:
        return "; what it reads is the model's own input, or was not compared"
    if row.inputs_rms == 0:
        return "; what it reads is the same on both"
    return f"; the tensors that it reads differ{_by(row.inputs_rms)} at most"


def _by(value: float) -> str:
    return f" by {figure(value)}" if math.isfinite(value) else " in NaN, infinities or dims"


def table_rows(report: LayersReport) -> list[tuple[str, ...]]:
    """Cells of the tensors around the first one beyond the tolerance, or of the last ones; with a head."""
    middle = report.first.index if report.first is not None else len(report.rows) - _AFTER
    rows = report.rows[max(0, middle - _BEFORE) : middle + _AFTER + 1]
    head = ("", "tensor", "operator", "type", "dims", "rms", "largest", "its inputs")
    return [head, *(_cells(row, report) for row in rows)] if rows else []


def _cells(row: LayerRow, report: LayersReport) -> tuple[str, ...]:
    mark = ">" if row is report.first else "*" if row is report.jump else "!" if row.beyond else " "
    name = row.tensor if len(row.tensor) <= _NAME else f"...{row.tensor[3 - _NAME :]}"
    return (
        f"{mark}{row.index + 1}",
        name,
        row.op,
        row.type,
        format_dims(row.dims),
        figure(row.rms_rel),
        figure(row.max_rel),
        figure(row.inputs_rms) if row.inputs else "-",
    )


def bars(report: LayersReport, width: int = 80) -> list[str]:
    """The differences along the graph as columns, a line for each power of ten or half of one; a column is
    the largest of the tensors in it."""
    values = [row.rms_rel for row in report.rows]
    room = max(10, width - 9)
    columns = [max(part) for part in _parts(values, room)]
    powers = [math.log10(value) for value in columns if 0 < value < math.inf]
    if not powers:
        return []
    least = max(min(powers), _LOWEST)
    step = 0.5 if max(powers) - least < _FINE else 1.0
    top, bottom = (math.ceil(max(powers) / step) - 1) * step, math.floor(least / step) * step
    levels = [10 ** (top - step * at) for at in range(max(1, round((top - bottom) / step) + 1))]
    lines = []
    for level in levels:
        cells = "".join("#" if value >= level else " " for value in columns)
        if level * 10**-step < report.tolerance <= level:  # the lowest line that is beyond the tolerance
            cells = cells.replace(" ", "-")
        lines.append(f"{level:7.0e} |{cells}".rstrip())
    marks = [" "] * len(columns)
    for row, mark in ((report.jump, "*"), (report.first, ">")):
        if row is not None:
            marks[_column(row.index, len(values), len(columns))] = mark
    if "".join(marks).strip():
        lines.append(f"{'':7} |{''.join(marks)}".rstrip())
    return lines


def _parts(values: Sequence[float], most: int) -> Iterator[Sequence[float]]:
    count = min(len(values), most)
    for at in range(count):
        yield values[at * len(values) // count : (at + 1) * len(values) // count]


def _column(index: int, values: int, columns: int) -> int:
    """The part of `_parts` that has the value `index`."""
    return next(at for at in range(columns) if index < (at + 1) * values // columns)
