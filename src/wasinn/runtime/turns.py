# SPDX-License-Identifier: Apache-2.0
"""Turns of guests that compute on an event loop: one of them for each turn of the loop.

With a turn each, sixty guests that compute would have the loop take a hundred milliseconds for one round, and
a request needs some rounds only to be read.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque


class Turns:
    """Of one event loop; used on its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False

    async def next(self) -> None:
        """Waits for the caller's turn: first come, first served."""
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        self._waiting.append(place)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._admit)
        await place

    def _admit(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():  # else it was cancelled
                place.set_result(None)
                break
        loop = self._loop()
        self._scheduled = bool(self._waiting) and loop is not None
        if self._scheduled and loop is not None:
            loop.call_soon(self._admit)


_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = weakref.WeakKeyDictionary()


async def next_turn() -> None:
    """Lets others run, on the running event loop."""
    loop = asyncio.get_running_loop()
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = Turns(loop)
    await turns.next()
