# SPDX-License-Identifier: Apache-2.0
"""`slow-path`: the loop of the tiny model where every call goes through Python.

An instance that is not `long_lived` has no hot path. The guest, the graph and the loop are the same.
"""

from __future__ import annotations

from functools import partial

from measures.bed import (
    GuestLoop,
    block_of,
    checksum,
    guest_input,
    in_thread,
    new_host,
    session_of,
)
from measures.pairs import Effort, Kind, Pair, Row, timed

MODEL = "tiny"


def measure(effort: Effort) -> list[Row]:
    return in_thread(lambda: _measure(effort))


def _measure(effort: Effort) -> list[Row]:
    calls = effort.calls(10000)
    host = new_host(MODEL)
    guest = GuestLoop(host, MODEL, calls, calls // 10)
    session = session_of(host, MODEL)
    feed = {"x": guest_input(MODEL)}
    expected = checksum(session.run(None, feed)[0])
    native = partial(session.run, None, feed)
    turns = [
        (
            timed(native, calls, calls // 10),
            block_of(guest.run(), expected),
            block_of(guest.run_slow(), expected),
        )
        for _ in range(effort.rounds)
    ]
    title = f"slow-path {MODEL}"
    against_native = tuple(Pair(plain, slow) for plain, _, slow in turns)
    against_hot = tuple(Pair(hot, slow) for _, hot, slow in turns)
    return [
        Row(title, "guest, slow path", "session.run", Kind.RATIO, None, against_native),
        Row(title, "guest, slow path", "guest, hot path", Kind.RATIO, None, against_hot),
    ]
