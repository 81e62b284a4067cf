# SPDX-License-Identifier: Apache-2.0
"""What each side answered before and after the changes that a diagnosis names."""

from __future__ import annotations

from typing import Any

import numpy as np

from wasinn.agreement.answers import Answer, aligned
from wasinn.agreement.diagnosis import Evidence, Side
from wasinn.agreement.hypotheses import Assumption
from wasinn.agreement.search import NEAR, Changes, applied
from wasinn.agreement.sending import Scene
from wasinn.agreement.witness import Witness, distance, read

Array = np.ndarray[Any, Any]


def graph_evidence(
    reference: Side, suspect: Side, reference_changes: Changes, changes: Changes
) -> tuple[Evidence, ...]:
    rows = []
    right = reference.witness.answers(reference.assumption)
    right_after = reference.witness.answers(applied(reference.assumption, reference_changes))
    before = suspect.witness.answers(suspect.assumption)
    after = suspect.witness.answers(applied(suspect.assumption, changes))
    for at, scene in enumerate(suspect.witness.scenes):
        gap, gap_after = distance(right[at], before[at]), distance(right_after[at], after[at])
        rows.append(
            Evidence(
                scene.name,
                said(right_after[at], after[at]),
                said(before[at], right[at]),
                said(after[at], right_after[at]),
                _same_answer(right[at], before[at]),
                _same_answer(right_after[at], after[at]),
                gap,
                gap_after,
            )
        )
    return tuple(rows)


def tensor_evidence(
    sent: Array,
    right: Array | None,
    made: Array | None,
    witness: Witness | None,
    assumption: Assumption,
    scene: Scene,
) -> tuple[Evidence, ...]:
    """What the graph answers to the tensor that was sent, and to the one that is right."""
    if witness is None or right is None:
        return ()
    fitting = sent.reshape(right.shape).astype(right.dtype) if sent.size == right.size else None
    got = read(witness.outputs_of(fitting) if fitting is not None else None, assumption)
    wanted = read(witness.outputs_of(right), assumption)
    explained = read(witness.outputs_of(made.astype(right.dtype)), assumption) if made is not None else None
    return (
        Evidence(
            scene.name,
            said(wanted, wanted),
            said(got, wanted),
            said(explained, wanted),
            _same_answer(wanted, got),
            _same_answer(explained, got),
            distance(wanted, got),
            distance(explained, got),
        ),
    )


def said(answer: Answer | None, reference: Answer | None) -> str:
    """An answer in a few words, against the reference's where only that says something."""
    if answer is None:
        return "no answer"
    if answer.kind == "classes":
        # Labels are the other side's where this one has none.
        line, share = answer.best(1)[0]
        label = answer.label(line)
        if (
            reference is not None
            and reference.kind == "classes"
            and answer.contract.labels is None
            and abs(len(reference.values) - len(answer.values)) <= 1
        ):
            label = reference.label(line)
        return f"{label} ({share:.1%})"
    if answer.kind == "mask":
        if reference is None or reference is answer or reference.values.shape != answer.values.shape:
            return f"{len(np.unique(answer.values))} classes"
        return f"{float(np.mean(answer.values == reference.values)):.1%} the same"
    if answer.kind == "boxes":
        return f"{len(answer.boxes)} boxes"
    if answer.top is not None:
        return f"number {answer.top} is the largest"
    return f"mean {float(np.mean(answer.values)):.4g}"


def _same_answer(a: Answer | None, b: Answer | None) -> bool:
    if a is None or b is None or a.kind != b.kind:
        return False
    if a.kind == "classes":
        left, right = aligned(a, b)
        return int(np.argmax(left)) == int(np.argmax(right)) and distance(a, b) <= NEAR
    if a.kind == "mask":
        return a.values.shape == b.values.shape and bool(np.mean(a.values == b.values) >= 0.99)
    if a.top is not None and b.top is not None:
        return a.top == b.top and distance(a, b) < 0.1
    return distance(a, b) < 0.05
