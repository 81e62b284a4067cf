# SPDX-License-Identifier: Apache-2.0
"""`threads`: two guests at once on one graph, against one; and two threads of `session.run`.

The times are those of one inference of all that were done, from the first one's start to the last
one's end. What two native threads reach is what the machine gives.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from measures.bed import GuestLoop, guest_input, new_host, session_of
from measures.pairs import Block, Effort, Kind, Pair, Row

TARGET = 1.8
MODEL = "squeezenet"


def measure(effort: Effort) -> list[Row]:
    host = new_host(MODEL)
    guest = GuestLoop(host, MODEL, effort.calls(40), warm_up=2)
    session = session_of(host, MODEL)
    feed = {"x": guest_input(MODEL)}

    def native() -> None:
        for _ in range(guest.inferences):
            session.run(None, feed)

    guest.run()
    rounds = max(3, effort.rounds // 2)
    natives, guests = [], []
    with ThreadPoolExecutor(2) as executor:
        for _ in range(rounds):
            natives.append(_pair(executor, native, guest.inferences))
            guests.append(_pair(executor, guest.run, guest.inferences))
    return [
        Row(f"threads {MODEL}", "two native", "one native", Kind.SPEEDUP, None, tuple(natives)),
        Row(f"threads {MODEL}", "two guests", "one guest", Kind.SPEEDUP, TARGET, tuple(guests)),
    ]


def _pair(executor: ThreadPoolExecutor, work: Callable[[], object], inferences: int) -> Pair:
    return Pair(*(_at_once(executor, work, count, inferences) for count in (1, 2)))


def _at_once(executor: ThreadPoolExecutor, work: Callable[[], object], count: int, inferences: int) -> Block:
    """The time of an inference where `count` threads do the work at once, `inferences` each."""
    start = time.perf_counter()
    for future in [executor.submit(work) for _ in range(count)]:
        future.result()
    seconds = (time.perf_counter() - start) / (count * inferences)
    return Block(seconds, seconds)
