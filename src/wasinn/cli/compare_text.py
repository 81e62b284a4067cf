# SPDX-License-Identifier: Apache-2.0
"""What `wasinn compare` prints: the table of the sides, the answers, the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from wasinn.agreement.compare import Comparison, Outcome, SideSummary
from wasinn.agreement.summary import side_state, summary_figures, verdict
from wasinn.agreement.words import short
from wasinn.cli.common import format_seconds, table

#: So many inputs are listed one by one, and so many that disagree.
_FEW, _SHOWN = 12, 20


def as_text(found: Comparison, hint: str = "") -> str:
    """The table of the sides, the answers where the inputs are few, and the verdict."""
    parts = [_summary_table(found)]
    if len(found.outcomes) <= _FEW:
        parts.append(_answers(found.outcomes, found.sides))
    parts.append(verdict(found))
    bad = found.disagreeing
    lines = []
    for outcome in bad[:_SHOWN]:
        if outcome.error:
            lines.append(f"  {short(outcome.name, 80)}: {short(outcome.error, 400)}")
        for side, row in zip(found.sides, outcome.rows, strict=False):
            why = row.error or "; ".join(row.reasons)
            if why:
                lines.append(f"  {short(outcome.name, 80)}, {short(side.facts.name)}: {short(why, 400)}")
    if len(bad) > _SHOWN:
        lines.append(f"  and {len(bad) - _SHOWN} other inputs")
    if lines:
        parts[-1] += "\n" + "\n".join(lines)
    if hint:
        parts.append(hint)
    return "\n\n".join(parts)


def _summary_table(found: Comparison) -> str:
    rows = [("side", "backend", "time", "top-1", f"top-{found.top}", "largest", "mean", "")]
    for at, side in enumerate(found.sides):
        rows.append(
            (
                short(side.facts.name),
                f"{side.facts.backend} {side.facts.version}".strip(),
                "-" if side.seconds is None else format_seconds(side.seconds),
                *(("", "", "", "") if at == 0 else summary_figures(side)),
                side_state(side, reference=at == 0),
            )
        )
    return table(rows)


def _answers(outcomes: Sequence[Outcome], sides: Sequence[SideSummary]) -> str:
    rows = [("input", "side", "answer")]
    for outcome in outcomes:
        name = short(outcome.name, 40)
        if outcome.error:
            rows.append((name, "", "cannot be read"))
        for side, row in zip(sides, outcome.rows, strict=False):
            mark = "" if row.agrees else "  (failed)" if row.error and not row.answer else "  *"
            rows.append((name, short(side.facts.name), row.answer + mark))
            name = ""
    return table(rows)
