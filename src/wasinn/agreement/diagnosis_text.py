# SPDX-License-Identifier: Apache-2.0
"""A diagnosis for people, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from wasinn.agreement.cures import contract_lines, graph_cause, guest_cause, guest_cure, title
from wasinn.agreement.diagnosis import Diagnosis
from wasinn.agreement.hypotheses import Assumption, Hypothesis
from wasinn.agreement.search import Candidate
from wasinn.backends.common import one_line


def as_text(diagnosis: Diagnosis, assumptions: Sequence[Assumption]) -> str:
    """The verdict, the evidence and the cure; `assumptions` are of the reference and the suspect, or the
    contract's alone where a tensor was diagnosed."""
    lines = [*(f"note: {note}" for note in diagnosis.notes)]
    tensor = len(assumptions) == 1
    if diagnosis.verdict == "agree":
        lines += _agreement(diagnosis, tensor)
    elif diagnosis.verdict == "unexplained":
        lines += _unexplained(diagnosis, tensor)
    else:
        lines += _causes(diagnosis, assumptions)
    if diagnosis.evidence:
        lines += ["", *_evidence(diagnosis, tensor)]
    if diagnosis.found.best is not None or diagnosis.found.likely is not None:
        lines += ["", *_doubts(diagnosis)]
    if diagnosis.changes or diagnosis.reference_changes:
        lines += ["", *_cure(diagnosis, assumptions)]
    return "\n".join(lines)


def _agreement(diagnosis: Diagnosis, tensor: bool) -> list[str]:
    if tensor:
        return [
            f"The tensor is what the contract asks for (distance {_figure(diagnosis.found.before)}): the "
            "cause is not in how the picture was made a tensor."
        ]
    found = diagnosis.found
    lines = [f"{diagnosis.suspect} agrees with {diagnosis.reference} (distance {_figure(found.before)})."]
    if found.tried:
        lines.append(
            f"None of {found.tried} changes explains what is left of a difference: it is of the kind that "
            "another precision, quantized weights or another runtime make."
        )
    return lines


def _unexplained(diagnosis: Diagnosis, tensor: bool) -> list[str]:
    found = diagnosis.found
    other = "the contract" if tensor else diagnosis.reference
    lines = [
        f"No cause was found: under none of {found.tried} changes does {diagnosis.suspect} agree with "
        f"{other}."
    ]
    if found.runner_up is not None and found.runner_up.distance < found.before:
        lines.append(
            f"The nearest was {_words(found.runner_up)}: distance {_figure(found.runner_up.distance)} in the "
            f"place of {_figure(found.before)}."
        )
    lines.append(
        "Is it the same network, with the same weights?"
        if not tensor
        else "Was it made of this picture? Is the contract right?"
    )
    return lines


def _causes(diagnosis: Diagnosis, assumptions: Sequence[Assumption]) -> list[str]:
    every = (*diagnosis.reference_changes, *diagnosis.changes)
    sure = diagnosis.verdict == "named"
    lines = [f"{'The cause' if sure else 'The likely cause'}: {title(every)}."]
    if len(assumptions) == 1:
        lines += [f"  {guest_cause(change, assumptions[0])}" for change in diagnosis.changes]
        return lines
    for name, changes, base in (
        (diagnosis.reference, diagnosis.reference_changes, assumptions[0]),
        (diagnosis.suspect, diagnosis.changes, assumptions[1]),
    ):
        lines += [f"  {graph_cause(name, change, base)}" for change in changes]
    return lines


def _doubts(diagnosis: Diagnosis) -> list[str]:
    """What else explains it, and how far the next best is."""
    found = diagnosis.found
    lines = []
    best = found.best or found.likely
    if best is not None:
        lines.append(
            f"distance {_figure(found.before)} before, {_figure(best.distance)} after"
            + (f", of {found.tried} ways tried" if found.tried else "")
        )
    if found.best is None:
        lines.append("much of it is left: other artifacts of one network, quantized ones above all, do that")
    if found.values:
        own = set(best.changes) if best is not None else set()
        values = [
            " with ".join(_change(one) for one in each.changes if one not in own) for each in found.values
        ]
        more = f", and {len(values) - 4} more" if len(values) > 4 else ""
        shown = [value for value in values[:4] if value]
        if shown:
            lines.append(f"as good: {'; '.join(shown)}{more}")
    if found.same:
        lines.append(f"the same in other words: {'; '.join(_words(each) for each in found.same[:3])}")
    if found.rivals:
        lines.append(f"as good, about something else: {'; '.join(_words(each) for each in found.rivals[:5])}")
        lines.append("these pictures do not tell them apart: give others, with more colour and detail")
    elif found.runner_up is not None:
        lines.append(f"next best: {_words(found.runner_up)}, distance {_figure(found.runner_up.distance)}")
    return lines


def _cure(diagnosis: Diagnosis, assumptions: Sequence[Assumption]) -> list[str]:
    lines = []
    if len(assumptions) == 1:
        lines.append("The cure, in the guest:")
        lines += [f"  {guest_cure(change, assumptions[0])}" for change in diagnosis.changes]
        wanted = contract_lines(diagnosis.changes, assumptions[0])
        if wanted:
            lines += [
                "or, for a guest that stays as it is, a contract of its own (?guests=FILE): the model's with",
                *(f"  {line}" for line in wanted),
            ]
        return lines
    for name, changes, base in (
        (diagnosis.reference, diagnosis.reference_changes, assumptions[0]),
        (diagnosis.suspect, diagnosis.changes, assumptions[1]),
    ):
        if not changes:
            continue
        wanted = contract_lines(changes, base)
        if wanted:
            lines += [f"The cure, in the contract of {name}:", *(f"  {line}" for line in wanted)]
        lines += [
            f"No contract can say that {name} is sent {change.value}: change how its pictures are made."
            for change in changes
            if change.slip is not None
        ]
    return lines


def _evidence(diagnosis: Diagnosis, tensor: bool) -> list[str]:
    rows = diagnosis.evidence
    explained = diagnosis.found.best is not None or diagnosis.found.likely is not None
    second = "as sent" if tensor else "before" if explained else "suspect"
    names = ("picture", "right tensor" if tensor else "reference", second)
    shown = [[*names, "explained" if tensor else "after"][: 4 if explained else 3]]
    for row in rows:
        cells = [row.scene, row.reference, row.before, row.after]
        shown.append([_short(cell) for cell in cells][: 4 if explained else 3])
    widths = [max(len(line[at]) for line in shown) for at in range(len(shown[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in shown
    ]


def _short(text: str, width: int = 44) -> str:
    """On one line; of a long label the middle is left out, and the figure at its end kept."""
    line = one_line(text, 400)
    if len(line) <= width:
        return line
    figure = line[line.rfind(" (") :] if line.endswith(")") and " (" in line else ""
    return line[: width - len(figure) - 3].rstrip() + "..." + figure


def _words(candidate: Candidate) -> str:
    return " with ".join(_change(change) for change in candidate.changes) or "no change"


def _change(change: Hypothesis) -> str:
    named = change.slip is not None or change.key in change.value
    return change.value if named else f"{change.key} {change.value}"


def _figure(value: float) -> str:
    return "0" if value < 5e-7 else f"{value:.2g}" if value < 0.01 else f"{value:.3f}"


def as_json(diagnosis: Diagnosis, assumptions: Sequence[Assumption]) -> dict[str, Any]:
    """For programs: the same, with every figure."""
    found = diagnosis.found
    best = found.best or found.likely
    return {
        "verdict": diagnosis.verdict,
        "reference": diagnosis.reference,
        "suspect": diagnosis.suspect,
        "blamed": diagnosis.blamed,
        "causes": list(diagnosis.causes),
        "changes": [_change_json(each) for each in diagnosis.changes],
        "reference_changes": [_change_json(each) for each in diagnosis.reference_changes],
        "contract": contract_lines(diagnosis.changes, assumptions[-1]) if assumptions else [],
        "distance_before": _number(found.before),
        "distance_after": _number(best.distance) if best is not None else None,
        "tried": found.tried,
        "rivals": [_candidate_json(each) for each in found.rivals],
        "values": [_candidate_json(each) for each in found.values],
        "same": [_candidate_json(each) for each in found.same],
        "runner_up": _candidate_json(found.runner_up) if found.runner_up is not None else None,
        "evidence": [
            {
                "picture": each.scene,
                "reference": each.reference,
                "before": each.before,
                "after": each.after,
                "distance_before": _number(each.distance_before),
                "distance_after": _number(each.distance_after),
            }
            for each in diagnosis.evidence
        ],
        "notes": list(diagnosis.notes),
    }


def _change_json(change: Hypothesis) -> dict[str, Any]:
    return {"key": change.key, "value": change.value, "side": change.side, "contract": change.lines}


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "changes": [_change_json(each) for each in candidate.changes],
        "distance": _number(candidate.distance),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
