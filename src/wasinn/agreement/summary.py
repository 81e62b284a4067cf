# SPDX-License-Identifier: Apache-2.0
"""What came of a comparison: in a sentence, in a table's cells, and as JSON."""

from __future__ import annotations

import math
from typing import Any

from wasinn.agreement.compare import Comparison, Row, SideSummary
from wasinn.agreement.words import figure, short


def verdict(found: Comparison) -> str:
    """One sentence: whether they agree, and within what."""
    sides = len(found.sides)
    words = found.tolerances.in_words(set(found.kinds))
    wanted = f" (wanted: {words})" if words else ""
    if found.agrees:
        count = len(found.disagreeing)
        allowed = f"; {count} differ, as --min-top1 allows" if count else ""
        return f"they agree: {_inputs(len(found.outcomes))}, {sides} sides{wanted}{allowed}"
    failed = sum(bool(each.error) or any(row.error for row in each.rows) for each in found.outcomes)
    differ = sum(any(row.reasons for row in each.rows) for each in found.outcomes)
    bad = [short(side.facts.name) for side in found.sides if side.disagreeing]
    parts = []
    if differ:
        parts.append(f"they disagree on {differ} of {_inputs(len(found.outcomes))}: {', '.join(bad)}{wanted}")
    if failed:
        some = "where all worked, they agree; " if not differ and failed < len(found.outcomes) else ""
        parts.append(f"{some}{failed} of {_inputs(len(found.outcomes))} failed")
    return "; ".join(parts)


def _inputs(count: int) -> str:
    return f"{count} input{'' if count == 1 else 's'}"


def summary_figures(side: SideSummary) -> tuple[str, str, str, str]:
    """Top-1 agreement, overlap, largest and mean difference, `-` where they mean nothing."""
    return (
        "-" if side.top1 is None else f"{side.top1:.1%}",
        "-" if side.overlap is None else f"{side.overlap:.0%}",
        "-" if side.largest is None else figure(side.largest),
        "-" if side.mean is None else figure(side.mean),
    )


def side_state(side: SideSummary, reference: bool) -> str:
    failed = f"{side.failed} failed" if side.failed else ""
    if reference:
        return failed or "the reference"
    differ = ""
    if side.disagreeing:
        differ = f"{side.disagreeing} of {side.compared} differ"
    elif not failed:
        differ = "agrees" if side.compared else "nothing compared"
    return ", ".join(filter(None, (differ, failed)))


def as_json(found: Comparison) -> dict[str, Any]:
    """Everything that is known, without NaN and infinity, which JSON lacks."""
    names = [side.facts.name for side in found.sides]
    bounds = found.tolerances
    document: dict[str, Any] = {
        "agrees": found.agrees,
        "verdict": verdict(found),
        "tolerances": {
            "top": found.top,
            "probability": bounds.probability,
            "relative": bounds.relative,
            "pixels": bounds.pixels,
            "boxes": bounds.boxes,
            "overlap": bounds.overlap,
            "top1": bounds.top1,
        },
        "sides": [
            {
                "name": side.facts.name,
                "guest": side.facts.guest or None,
                "files": [str(path) for path in side.facts.files],
                "encoding": side.facts.encoding,
                "backend": side.facts.backend,
                "version": side.facts.version,
                "options": side.facts.options,
                "contract": list(side.facts.contract),
                "seconds": side.seconds,
                "compared": side.compared,
                "failed": side.failed,
                "top1": side.top1,
                "overlap": side.overlap,
                "largest": side.largest,
                "mean": side.mean,
                "disagreeing": side.disagreeing,
                "agrees": side.agrees,
            }
            for side in found.sides
        ],
        "inputs": [
            {
                "name": outcome.name,
                "path": outcome.path,
                "agrees": outcome.agrees,
                **({"error": outcome.error} if outcome.error else {}),
                "sides": [_row_json(name, row) for name, row in zip(names, outcome.rows, strict=False)],
            }
            for outcome in found.outcomes
        ],
    }
    finite: dict[str, Any] = _finite(document)
    return finite


def _row_json(name: str, row: Row) -> dict[str, Any]:
    if row.error and not row.answer:
        return {"name": name, "error": row.error}
    return {
        "name": name,
        "answer": row.answer,
        "top": [{"line": line, "label": label, "score": score} for line, label, score in row.best],
        "seconds": row.seconds,
        "differences": [
            {
                "distance": each.distance,
                "largest": each.largest,
                "mean": each.mean,
                "top1": each.top1,
                "overlap": each.overlap,
                **({"note": each.note} if each.note else {}),
            }
            for each in row.differences
        ],
        "reasons": list(row.reasons),
        **({"error": row.error} if row.error else {}),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
