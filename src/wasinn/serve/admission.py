# SPDX-License-Identifier: Apache-2.0
"""How many requests a model works on at once, and how many wait for that."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

from wasinn.serve.errors import ServeError


class Gate:
    """The requests of one model: at most `most` run, at most `max_queue` wait, each up to `timeout` seconds.

    First come, first served. Used on the event loop's thread:

        if not gate.try_enter():
            await gate.enter(limit)
        try: ...
        finally: gate.leave()

    `running` and `waiting` say how many there are now.
    """

    def __init__(self, name: str, most: int, max_queue: int, timeout: float) -> None:
        self._name = name
        self._most = most
        self._max_queue = max_queue
        self._timeout = timeout
        self._queue: deque[asyncio.Future[None]] = deque()
        self.running = 0
        self.waiting = 0
        #: Seconds that a request has run, of late, for `Retry-After`.
        self._usual = 0.0
        self._began = 0.0

    def check(self) -> None:
        """Raises ServeError (429) if the next one would find no room to wait."""
        if self.running >= self._most and self.waiting >= self._max_queue:
            raise self._full()

    def try_enter(self) -> bool:
        """Goes in, if nobody waits and there is room."""
        if self.running < self._most and not self.waiting:
            self.running += 1
            return True
        return False

    async def enter(self, limit: float = math.inf) -> None:
        """Waits, `limit` seconds at most, and goes in. Raises ServeError: 429 where too many wait already,
        503 after the time that a request may wait here, 504 after `limit`, if that is sooner."""
        self.check()
        if self.try_enter():
            return
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        self.waiting += 1
        began = time.perf_counter()
        try:
            async with asyncio.timeout(min(self._timeout, limit)):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.leave()  # it was let in at the moment that it went away
            else:
                place.cancel()
                self.waiting -= 1
                self._admit()  # while this one was counted as waiting, nobody went past it
            if not isinstance(error, TimeoutError):
                raise
            raise self._waited_too_long(time.perf_counter() - began, limit) from None

    def leave(self) -> None:
        """Goes out, and lets the next one in."""
        self._measure()
        self.running -= 1
        self._admit()

    def _admit(self) -> None:
        """Lets in who waits, as far as there is room."""
        while self._queue and self.running < self._most:
            place = self._queue.popleft()
            if not place.done():  # else who waited has gone, and counts itself off when its task runs
                self.waiting -= 1
                self.running += 1
                place.set_result(None)

    def _measure(self) -> None:
        """How fast places come free, while there is a queue."""
        if not self._queue:
            self._began = 0.0
            return
        now = time.monotonic()
        if self._began:
            took = now - self._began
            self._usual = took if not self._usual else self._usual + 0.1 * (took - self._usual)
        self._began = now

    def _full(self) -> ServeError:
        # A place comes free every `_usual` seconds, and all who wait are before the next one.
        after = float(min(max(1, math.ceil(self._usual * (self.waiting + 1))), 60))
        return ServeError(
            429,
            f"model {self._name!r} is busy: {self.running} requests run and {self.waiting} wait, which is "
            f"all that may (max_concurrency, max_queue); try again in {after:.0f} s",
            "queue_full",
            after,
        )

    def _waited_too_long(self, waited: float, limit: float) -> ServeError:
        if limit < self._timeout:
            return ServeError(
                504, f"the deadline of {limit:.3g} s passed while the request waited for a place"
            )
        return ServeError(
            503,
            f"model {self._name!r} is busy: the request waited {waited:.1f} s for a place, which is as long "
            "as one may (queue_timeout)",
            "queue_timeout",
            1.0,
        )
