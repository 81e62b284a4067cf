# SPDX-License-Identifier: Apache-2.0
"""Which changes of an assumption bring two things together, and whether the best of them can be named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from wasinn.agreement.hypotheses import Assumption, Hypothesis, pairs

#: Changes explain a distance that they bring to less than this share of what it was before,
EXPLAINS = 0.35
#: ... and to less than this at all (two artifacts of one network, one of them in 8 bits, differ by 0.2).
NEAR = 0.3
#: What is this near needs no further change.
CLOSE = 0.08
#: Two explanations are told apart where one leaves at least this many times the distance of the other,
APART = 1.5
#: ... and more than this, which is what another runtime's rounding makes of the same numbers.
ROUNDING = 0.002
#: One change more must leave less than this share of the distance.
WORTH = 0.7
#: One change that explains less is still likely where it leaves less than this share of the distance,
LIKELY = 0.7
#: ... and every other one leaves this many times as much.
OUTSTANDING = 1.1
#: How many of the best pairs are tried with a third change.
BEAM = 6

Changes = tuple[Hypothesis, ...]
Evaluate = Callable[[Assumption], float]
Same = Callable[[Assumption, Assumption], bool]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Candidate:
    """Changes, and the distance that they leave."""

    changes: Changes
    distance: float

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(change.key for change in self.changes)


@dataclass(frozen=True)
class Found:
    """What a search found. `best` is None where nothing explains the distance `before`. `rivals` explain it
    as well and are about something else; `values` are about the same with other values that explain it as
    well; `same` are other words for `best`; `runner_up` is the best of those that explain less. `likely`,
    where there is no best: one change that stands out, but leaves much."""

    before: float
    best: Candidate | None
    rivals: tuple[Candidate, ...] = ()
    values: tuple[Candidate, ...] = ()
    same: tuple[Candidate, ...] = ()
    runner_up: Candidate | None = None
    tried: int = 0
    candidates: tuple[Candidate, ...] = field(default=(), repr=False)
    likely: Candidate | None = None

    @property
    def named(self) -> bool:
        """Whether one cause can be named: nothing else explains it as well."""
        return self.best is not None and not self.rivals


def search(
    base: Assumption,
    inputs: Sequence[Hypothesis],
    outputs: Sequence[Changes],
    evaluate: Evaluate,
    same: Same,
    progress: Progress | None = None,
    near: float = NEAR,
) -> Found:
    """Tries every change of the input, then every pair, then the best pairs with a third, each with every one
    of `outputs` and without; stops where the distance is explained.

    `evaluate` gives the distance that an assumption leaves; `same` says whether two come to the same; `near`
    is the distance at most that an explanation leaves.
    """
    before = evaluate(base)
    candidates: list[Candidate] = []

    def try_all(listed: Sequence[Changes]) -> None:
        for done, changes in enumerate(listed):
            if progress is not None:
                progress(done, len(listed))
            for more in ((), *outputs):
                if changes or more:
                    both = (*changes, *more)
                    candidates.append(Candidate(both, evaluate(applied(base, both))))

    try_all([(), *((each,) for each in inputs)])
    if not _settled(candidates, before, near):
        try_all(list(pairs(inputs)))
        if not _settled(candidates, before, near):
            doubles = [each for each in candidates if sum(one.side == "input" for one in each.changes) == 2]
            nearest = sorted(doubles, key=lambda each: each.distance)[:BEAM]
            try_all(
                [
                    (*each.changes, another)
                    for each in nearest
                    for another in inputs
                    if another.key not in each.keys
                ]
            )
    return judge(before, base, candidates, same, near)


def _settled(candidates: Sequence[Candidate], before: float, near: float) -> bool:
    best = simplest(candidates, before, near)
    return best is not None and best.distance <= min(CLOSE, before * EXPLAINS)


def explains(distance: float, before: float, near: float = NEAR) -> bool:
    return distance <= before * EXPLAINS and distance <= near


def simplest(candidates: Iterable[Candidate], before: float, near: float = NEAR) -> Candidate | None:
    """The best candidate: one with more changes only where it leaves much less."""
    best: Candidate | None = None
    for count in range(1, 7):
        level = [each for each in candidates if len(each.changes) == count]
        nearest = min(level, key=lambda each: each.distance, default=None)
        if nearest is None or not explains(nearest.distance, before, near):
            continue
        if best is None or nearest.distance < best.distance * WORTH - ROUNDING:
            # Among values that explain as well as each other, the commonest, which is tried first.
            limit = rivalry(nearest.distance, before)
            best = next(each for each in level if each.distance <= limit and each.keys == nearest.keys)
            best = nearest if nearest.distance < best.distance * WORTH - ROUNDING else best
    return best


def rivalry(distance: float, before: float) -> float:
    """What is at most this far explains as well as what leaves `distance`."""
    return max(distance * APART, distance + min(ROUNDING, before / 10))


def judge(
    before: float, base: Assumption, candidates: Sequence[Candidate], same: Same, near: float = NEAR
) -> Found:
    """The simplest of the best candidates, and what explains as well as it does."""
    ordered = tuple(sorted(candidates, key=lambda each: (each.distance, len(each.changes))))
    best = simplest(candidates, before, near)
    if best is None:
        return Found(
            before,
            None,
            runner_up=ordered[0] if ordered else None,
            tried=len(ordered),
            candidates=ordered,
            likely=_likely(before, base, candidates, same),
        )
    limit = rivalry(best.distance, before)
    chosen = applied(base, best.changes)
    alike: list[Candidate] = []
    rivals: list[Candidate] = []
    values: list[Candidate] = []
    runner_up: Candidate | None = None
    for other in ordered:
        if other is best or set(best.changes) < set(other.changes):
            continue
        if other.distance > limit:
            runner_up = runner_up or other
        elif same(chosen, applied(base, other.changes)):
            alike.append(other)
        elif other.keys == best.keys:
            values.append(other)
        elif len(other.changes) <= len(best.changes):
            rivals.append(other)
    # What is alike is also in other words what the best is.
    known = {best.keys, *(each.keys for each in alike)}
    rivals = [each for each in rivals if each.keys not in known]
    return Found(before, best, tuple(rivals), tuple(values), tuple(alike), runner_up, len(ordered), ordered)


def _likely(before: float, base: Assumption, candidates: Sequence[Candidate], same: Same) -> Candidate | None:
    """The single change that stands out, if one does."""
    singles = sorted((each for each in candidates if len(each.changes) == 1), key=lambda each: each.distance)
    if not singles or singles[0].distance > before * LIKELY:
        return None
    best = singles[0]
    chosen = applied(base, best.changes)
    for other in singles[1:]:
        alike = other.keys == best.keys or same(chosen, applied(base, other.changes))
        if not alike and other.distance < best.distance * OUTSTANDING:
            return None
    return best


def applied(base: Assumption, changes: Iterable[Hypothesis]) -> Assumption:
    """The assumption after some changes."""
    for change in changes:
        base = change.apply(base)
    return base
