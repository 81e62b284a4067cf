# SPDX-License-Identifier: Apache-2.0
"""Searching both sides at once, where nobody said what either of them takes.

Two wrong tensors can agree as well as two right ones (both in the wrong colour order, say). What tells them
apart is how sure the answers are: a network that sees what it was trained on is surer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from wasinn.agreement.answers import Answer
from wasinn.agreement.diagnosis import Side
from wasinn.agreement.hypotheses import input_hypotheses, output_hypotheses, pairs, readings
from wasinn.agreement.search import (
    ROUNDING,
    WORTH,
    Candidate,
    Changes,
    Found,
    Progress,
    applied,
    explains,
    rivalry,
)
from wasinn.agreement.witness import mean_distance

Array = np.ndarray[Any, Any]
Answers = list[Answer | None]

#: Of two ways to agree, one is surer if its answers are by this much of a probability.
SURER = 0.03
#: Answers to pictures are hardly ever as sure as this in the mean.
SATURATED = 0.9995

#: Ways to agree count whose answers are at least this share as sure as the surest.
TELLING = 0.4

#: The distance, how sure the less sure answers are, and the changes of the reference and of the suspect.
Row = tuple[float, float, Changes, Changes]


def search_both(reference: Side, suspect: Side, progress: Progress | None = None) -> tuple[Changes, Found]:
    """The changes of the reference, and what was found; its best candidate has those of both sides.

    Tries every change and every pair of either side's input against those of the other, and the readings of
    both outputs.
    """
    sides = (_tried(reference, progress), _tried(suspect, progress))
    read = readings(suspect.assumption)
    # A label offset between the two is tried on one of them.
    own = [(), *((each,) for each in output_hypotheses(reference.assumption) if each.key == "kind")]
    firsts = []
    for first in sides[0]:
        for more in own:
            changes = (*first, *more)
            right = reference.witness.answers(applied(reference.assumption, changes))
            firsts.append((changes, right, _sureness(right)))
    # The suspect's answers stand outside: each is read once, and none is kept beyond the witness's bound.
    seconds: list[tuple[Changes, list[tuple[float, float]]]] = []
    for second in sides[1]:
        for more in ((), *read):
            changes = (*second, *more)
            answers = suspect.witness.answers(applied(suspect.assumption, changes))
            sure = _sureness(answers)
            seconds.append(
                (
                    changes,
                    [(mean_distance(right, answers), min(own_sure, sure)) for _, right, own_sure in firsts],
                )
            )
    rows: list[Row] = [
        (*measures[at], first, changes)
        for at, (first, *_) in enumerate(firsts)
        for changes, measures in seconds
    ]
    before = next((row[0] for row in rows if not row[2] and not row[3]), 1.0)
    best = None
    # Answers that say nothing agree with each other: softmax of probabilities is nearly the same for all.
    floor = TELLING * max((row[1] for row in rows if explains(row[0], before)), default=0.0)
    for count in range(1, 7):
        level = [
            row
            for row in rows
            if len(row[2]) + len(row[3]) == count and explains(row[0], before) and row[1] >= floor
        ]
        if not level:
            continue
        nearest = min(row[0] for row in level)
        alike = [row for row in level if row[0] <= rivalry(nearest, before)]
        surest = max(row[1] for row in alike)
        # The commonest of the surest: it is tried first.
        chosen = next(row for row in alike if row[1] >= surest - SURER)
        if best is None or chosen[0] < best[0] * WORTH - ROUNDING or _much_surer(chosen, best):
            best = chosen
    candidates = tuple(
        Candidate((*row[2], *row[3]), row[0]) for row in sorted(rows, key=lambda row: row[0])[:50]
    )
    if best is None:
        return (), Found(before, None, runner_up=candidates[0], tried=len(rows), candidates=candidates)
    size = len(best[2]) + len(best[3])
    keys = _keys(best[2]), _keys(best[3])
    reference_changes, suspect_changes = _offset_placed(reference, suspect, best[2], best[3])
    values: list[Candidate] = []
    rivals: list[Candidate] = []
    for row in rows:
        count = len(row[2]) + len(row[3])
        if (
            row is best
            or not 0 < count <= size
            or row[0] > rivalry(best[0], before)
            or row[1] < best[1] - SURER
        ):
            continue
        same_keys = (_keys(row[2]), _keys(row[3])) == keys
        (values if same_keys else rivals).append(Candidate((*row[2], *row[3]), row[0]))
    found = Found(
        before,
        Candidate((*reference_changes, *suspect_changes), best[0]),
        tuple(rivals),
        tuple(values),
        tried=len(rows),
        candidates=candidates,
    )
    return reference_changes, found


def _much_surer(row: Row, best: Row) -> bool:
    """Whether more changes are worth it for surer answers: not where fewer make the two the same, and not
    where the answers are sure of everything, as those to numbers out of all range are."""
    return best[0] > ROUNDING and row[1] > best[1] + SURER and row[1] < SATURATED


def _offset_placed(
    reference: Side, suspect: Side, first: Changes, second: Changes
) -> tuple[Changes, Changes]:
    """The changes, with a label offset where it belongs: with the side that has no labels of its own, or else
    with the one whose lines come later, as in 1000 classes of a file of 1001 labels."""
    placed = [each for each in second if each.key == "label_offset"]
    if not placed:
        return first, second
    own, other = reference.assumption.output, suspect.assumption.output
    moved = int(placed[0].value) - other.label_offset
    if own.labels is not None or (other.labels is None and moved > 0):
        return first, second
    offset = own.label_offset - moved
    change = replace(placed[0], value=str(offset), fields=(("label_offset", offset),))
    return (*first, change), tuple(each for each in second if each is not placed[0])


def _tried(side: Side, progress: Progress | None) -> list[Changes]:
    """No change of a side's input, each, and each pair of ranges, means, colours and inversions: what nobody
    can read off a file. The side's witness has answered all of them."""
    hypotheses = input_hypotheses(side.assumption, side.witness.spec, picture=False)
    unknown = [each for each in hypotheses if each.key in ("range", "mean and std", "colour", "invert")]
    listed: list[Changes] = [(), *((each,) for each in hypotheses), *pairs(unknown)]
    for done, changes in enumerate(listed):
        if progress is not None:
            progress(done, len(listed))
        side.witness.answers(applied(side.assumption, changes))
    return listed


def _keys(changes: Changes) -> frozenset[str]:
    return frozenset(change.key for change in changes)


def _sureness(answers: Answers) -> float:
    """The mean of the largest probabilities; 0 where there are none."""
    tops = [
        float(each.values.max()) if each is not None and each.kind == "classes" else 0.0 for each in answers
    ]
    return float(np.mean(tops)) if tops else 0.0
