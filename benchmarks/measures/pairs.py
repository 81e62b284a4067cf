# SPDX-License-Identifier: Apache-2.0
"""Blocks of timed calls, pairs of them, and what a row of pairs comes to.

A reference and what is held against it are measured in turns, block by block, because the speed of
a machine drifts: each pair gives one result, and the row's result is the median of those.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Block:
    """The times of one block of calls, in seconds."""

    median: float
    minimum: float


@dataclass(frozen=True)
class Pair:
    """A block of the reference, and one of ours from right after it."""

    reference: Block
    ours: Block


class Kind(Enum):
    """How ours is held against the reference."""

    RATIO = "ratio"  # ours / reference
    ADDED = "added"  # ours - reference, in seconds
    SPEEDUP = "speedup"  # reference / ours

    def of(self, reference: float, ours: float) -> float:
        if self is Kind.RATIO:
            return ours / reference
        return ours - reference if self is Kind.ADDED else reference / ours


@dataclass(frozen=True)
class Row:
    """One measure: what is held against what, and every pair. `target` is at most, at least for
    Kind.SPEEDUP; None where there is none."""

    measure: str
    ours: str
    reference: str
    kind: Kind
    target: float | None
    pairs: tuple[Pair, ...]

    @property
    def result(self) -> float:
        return median(self.results)

    @property
    def results(self) -> list[float]:
        return [self.kind.of(pair.reference.median, pair.ours.median) for pair in self.pairs]

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles: half of the pairs lie between them."""
        first, _, third = quantiles(self.results, n=4, method="inclusive")
        return first, third

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        return self.result >= self.target if self.kind is Kind.SPEEDUP else self.result <= self.target

    @property
    def unrest(self) -> float:
        """How far apart the quartiles of the reference's blocks are, as a part of their median.

        The reference is the same work each time: this is the machine's doing, not ours.
        """
        medians = [pair.reference.median for pair in self.pairs]
        first, middle, third = quantiles(medians, n=4, method="inclusive")
        return (third - first) / middle

    def blocks(self, which: Callable[[Pair], Block]) -> Block:
        """The medians of the blocks' medians and minima."""
        chosen = [which(pair) for pair in self.pairs]
        return Block(median(block.median for block in chosen), median(block.minimum for block in chosen))


@dataclass(frozen=True)
class Effort:
    """How long to measure: `rounds` pairs a row, and blocks of `scale` times their usual calls."""

    rounds: int = 15
    scale: float = 1.0

    def calls(self, usual: int) -> int:
        return max(2, round(usual * self.scale))


def timed(call: Callable[[], Any], calls: int, warm_up: int) -> Block:
    """Times `calls` calls one by one, after some that do not count."""
    clock = time.perf_counter_ns
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(calls):
        start = clock()
        call()
        times.append(clock() - start)
    return Block(median(times) / 1e9, min(times) / 1e9)
