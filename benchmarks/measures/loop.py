# SPDX-License-Identifier: Apache-2.0
"""`loop`: a guest that infers in a loop, against `session.run`, on one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from measures.bed import GuestLoop, block_of, checksum, guest_input, new_host, session_of
from measures.pairs import Block, Effort, Kind, Pair, Row, timed

#: The model, the calls of a block, and its target; `relu` is held against more than `session.run`.
LOOPS = (("tiny", 20000, 0.65), ("squeezenet", 24, 1.01), ("relu", 30, 1.05))
COPIED = "relu"


def measure(effort: Effort) -> list[Row]:
    rows: list[Row] = []
    for name, usual, target in LOOPS:
        rows += _measure(name, effort.calls(usual), target, effort.rounds)
    return rows


def _measure(name: str, calls: int, target: float, rounds: int) -> list[Row]:
    warm_up = calls // 10 + 1
    host = new_host(name)
    session = session_of(host, name)
    source = guest_input(name)
    references: dict[str, Callable[[], Any]] = {"session.run": partial(session.run, None, {"x": source})}
    if name == COPIED:
        references["session.run + 2 memcpy"] = _with_copies(session, source)
    expected = checksum(session.run(None, {"x": source})[0])
    guest = GuestLoop(host, name, calls, warm_up)
    block_of(guest.run(), expected)

    turns: list[list[Block]] = []
    for _ in range(rounds):
        blocks = [timed(call, calls, warm_up) for call in references.values()]
        turns.append([*blocks, block_of(guest.run(), expected)])
    return _rows(name, list(references), turns, target)


def _rows(name: str, references: Sequence[str], turns: list[list[Block]], target: float) -> list[Row]:
    """A row for each reference; the target is the last one's."""
    rows = []
    for index, reference in enumerate(references):
        pairs = tuple(Pair(blocks[index], blocks[-1]) for blocks in turns)
        wanted = target if index == len(references) - 1 else None
        rows.append(Row(f"loop {name}", "guest", reference, Kind.RATIO, wanted, pairs))
    return rows


def _with_copies(session: Any, source: Any) -> Callable[[], None]:
    """`session.run` between the two copies that no guest can do without: in, and out."""
    inputs = np.empty_like(source)
    feed = {"x": inputs}
    answer = np.empty_like(session.run(None, {"x": source})[0])

    def run() -> None:
        np.copyto(inputs, source)
        np.copyto(answer, session.run(None, feed)[0])

    return run
