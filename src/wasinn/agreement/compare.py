# SPDX-License-Identifier: Apache-2.0
"""Inputs through several sides, and how each side's answers differ from those of the first.

Of each input only figures are kept, so that a folder may be of any size; what a report shows is kept of
a few, those that differ most.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wasinn.agreement.answers import Answer, Difference, difference
from wasinn.agreement.examples import Example, make_example, pair
from wasinn.agreement.inputs import Input
from wasinn.agreement.sides import Run, Side, SideFacts
from wasinn.agreement.tolerances import Tolerances
from wasinn.agreement.words import answer_in_words
from wasinn.errors import Error
from wasinn.imaging.decode import read_picture

Pixels = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Row:
    """What is kept of one side's answers to one input.

    `answer` says the first answer in words. `best`: label line, label and score of its best classes.
    `differences` from the first side's answers, by output; empty of the first side. `reasons`: why they do
    not count as the same; empty where they do. `error`: why there is no answer.
    """

    answer: str = ""
    best: tuple[tuple[int, str, float], ...] = ()
    seconds: float = 0.0
    differences: tuple[Difference, ...] = ()
    reasons: tuple[str, ...] = ()
    error: str = ""

    @property
    def same_top(self) -> bool | None:
        """Whether the best class is the first side's, of every output that has one; None where none has."""
        known = [each.top1 for each in self.differences if each.top1 is not None]
        return all(known) if known else None

    @property
    def agrees(self) -> bool:
        return not self.reasons and not self.error


@dataclass(frozen=True)
class Outcome:
    """An input, and what each side made of it. `error`: why it could not be given to any."""

    name: str
    path: str
    rows: tuple[Row, ...] = ()
    error: str = ""

    @property
    def agrees(self) -> bool:
        return not self.error and all(row.agrees for row in self.rows)


@dataclass(frozen=True)
class SideSummary:
    """One side over all inputs. Shares are 0 to 1, None where they mean nothing; `seconds` is the median
    time of a compute, None where none worked."""

    facts: SideFacts
    seconds: float | None
    compared: int
    failed: int
    top1: float | None = None
    overlap: float | None = None
    largest: float | None = None
    mean: float | None = None
    disagreeing: int = 0
    agrees: bool = True


@dataclass(frozen=True)
class Comparison:
    """The result. The first side is the reference. `kinds`: of the answers that came."""

    sides: tuple[SideSummary, ...]
    outcomes: tuple[Outcome, ...]
    examples: tuple[Example, ...]
    tolerances: Tolerances
    top: int
    kinds: frozenset[str] = field(default_factory=frozenset)

    @property
    def agrees(self) -> bool:
        return all(side.agrees for side in self.sides) and not any(each.error for each in self.outcomes)

    @property
    def disagreeing(self) -> list[Outcome]:
        return [each for each in self.outcomes if not each.agrees]


def compare(
    inputs: Iterable[Input],
    sides: Sequence[Side],
    tolerances: Tolerances | None = None,
    top: int = 5,
    examples: int = 0,
    read: Callable[[Input], Pixels | None] | None = None,
) -> Comparison:
    """Gives each input to each side. `examples`: of how many inputs pictures and answers are kept.

    An input that cannot be read, and a side that fails on one, is an error in its row.
    """
    tolerances = tolerances or Tolerances()
    keeper = _Keeper(examples, top)
    outcomes: list[Outcome] = []
    kinds: set[str] = set()
    for given in inputs:
        try:
            pixels = (read or _read)(given)
        except Error as error:
            outcomes.append(Outcome(given.name, str(given.path), error=_reason(error)))
            continue
        runs = _with_labels([_run(side, given, pixels) for side in sides])
        first = runs[0]
        rows = tuple(_row(run, first if at else None, tolerances, top) for at, run in enumerate(runs))
        kinds |= {answer.kind for run in runs if isinstance(run, Run) for answer in run.answers}
        outcome = Outcome(given.name, str(given.path), rows)
        outcomes.append(outcome)
        keeper.offer(outcome, runs, pixels)
    facts = [side.facts for side in sides]
    summaries = tuple(_summary(each, at, outcomes, tolerances) for at, each in enumerate(facts))
    return Comparison(summaries, tuple(outcomes), tuple(keeper.kept()), tolerances, top, frozenset(kinds))


def _read(given: Input) -> Pixels | None:
    return read_picture(given.path) if given.picture else None


def _run(side: Side, given: Input, pixels: Pixels | None) -> Run | str:
    """What the side made of it, or why it made nothing."""
    try:
        return side.run(given, pixels)
    except Error as error:
        return _reason(error)


def _with_labels(runs: Sequence[Run | str]) -> list[Run | str]:
    """With the labels of a side that has them for classes of the same lines on a side that has none."""
    known = [
        run for run in runs if isinstance(run, Run) and any(each.contract.labels for each in run.answers)
    ]
    return [_labelled(run, known) if isinstance(run, Run) and known else run for run in runs]


def _labelled(run: Run, known: Sequence[Run]) -> Run:
    answers = list(run.answers)
    for at, answer in enumerate(answers):
        if answer.kind != "classes" or answer.contract.labels is not None:
            continue
        for other in known:
            lender = next((one for one, each in pair(other.answers, run.answers) if each is answer), None)
            # Other counts than with and without a background are of other classes.
            if (
                lender is not None
                and lender.contract.labels
                and abs(lender.values.size - answer.values.size) <= 2
            ):
                contract = replace(answer.contract, labels=lender.contract.labels)
                answers[at] = replace(answer, contract=contract)
                break
    return replace(run, answers=answers)


def _reason(error: Error) -> str:
    return str(getattr(error, "reason", error))


def _row(run: Run | str, first: Run | str | None, tolerances: Tolerances, top: int) -> Row:
    if isinstance(run, str):
        return Row(error=run)
    answer = run.answers[0] if run.answers else None
    best: tuple[tuple[int, str, float], ...] = ()
    if answer is not None and answer.top is not None:
        best = tuple((line, answer.label(line), score) for line, score in answer.best(top))
    words = answer_in_words(answer) if answer is not None else "no output"
    row = Row(words, best, run.seconds)
    if first is None:
        return row
    if isinstance(first, str):
        return Row(words, best, run.seconds, error="the first side has no answer to compare with")
    pairs = pair(first.answers, run.answers)
    found = tuple(difference(one, other, top) for one, other in pairs)
    reasons: list[str] = []
    if len(first.answers) != len(run.answers):
        reasons.append(
            f"{len(run.answers)} outputs, and the first side has {len(first.answers)}: a contract can name "
            "those that belong together"
        )
    for (one, other), each in zip(pairs, found, strict=True):
        where = f"{one.name}: " if len(found) > 1 else ""
        why = tolerances.reasons(one.kind, each)
        if why and not each.note and _of_other_classes(one, other):
            sizes = f"{one.values.size} and {other.values.size}"
            why.append(f"the sides have {sizes} classes: are they the same network?")
        reasons += [where + reason for reason in why]
    return Row(words, best, run.seconds, found, tuple(reasons))


def _of_other_classes(one: Answer, other: Answer) -> bool:
    """Whether two answers have no label in common, and other counts than a background makes."""
    if one.kind != "classes" or abs(one.values.size - other.values.size) <= 2:
        return False
    return not set(one.contract.labels or ()) & set(other.contract.labels or ())


def _summary(facts: SideFacts, at: int, outcomes: Sequence[Outcome], tolerances: Tolerances) -> SideSummary:
    rows = [each.rows[at] for each in outcomes if each.rows]
    worked = [row for row in rows if not row.error]
    failed = len(rows) - len(worked)
    seconds = statistics.median(row.seconds for row in worked) if worked else None
    if at == 0:
        return SideSummary(facts, seconds, len(worked), failed, agrees=not failed)
    tops = [row.same_top for row in worked if row.same_top is not None]
    every = [each for row in worked for each in row.differences]
    overlaps = [each.overlap for each in every if each.overlap is not None]
    top1 = sum(tops) / len(tops) if tops else None
    disagreeing = [row for row in worked if row.reasons]
    # Where fewer than all inputs need the same best class, those with another one are let pass.
    forgiven = [row for row in disagreeing if row.same_top is False]
    enough = top1 is not None and top1 >= tolerances.top1
    left = len(disagreeing) - (len(forgiven) if enough else 0)
    return SideSummary(
        facts,
        seconds,
        len(worked),
        failed,
        top1,
        sum(overlaps) / len(overlaps) if overlaps else None,
        max((each.largest for each in every), default=None),
        sum(each.mean for each in every) / len(every) if every else None,
        len(disagreeing),
        not failed and left == 0 and bool(worked),
    )


class _Keeper:
    """Keeps examples of the inputs that differ most; of equal ones the first."""

    def __init__(self, most: int, top: int) -> None:
        self._most = most
        self._top = top
        self._order = 0
        self._heap: list[tuple[tuple[float, int], Example]] = []

    def offer(self, outcome: Outcome, runs: Sequence[Run | str], pixels: Pixels | None) -> None:
        distances = [each.distance for row in outcome.rows for each in row.differences]
        badness = max(distances, default=0.0) + (0 if outcome.agrees else 1)
        self._order += 1
        key = (badness, -self._order)
        if self._most <= 0 or (len(self._heap) >= self._most and key <= self._heap[0][0]):
            return
        reasons = [(row.error,) if row.error else row.reasons for row in outcome.rows]
        example = make_example(outcome.name, runs, reasons, pixels, self._top)
        # The key is never equal, so that examples are never compared.
        push = heapq.heappush if len(self._heap) < self._most else heapq.heapreplace
        push(self._heap, (key, example))

    def kept(self) -> list[Example]:
        return [example for _, example in sorted(self._heap, key=lambda each: each[0], reverse=True)]
