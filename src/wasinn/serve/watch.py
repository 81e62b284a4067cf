# SPDX-License-Identifier: Apache-2.0
"""Ends requests whose caller has gone, and those whose body does not come.

A task and a timer for each request would cost more than the request of a small model. So requests only write
themselves into a list, and a sweep some times a second looks after those that are still there.
"""

from __future__ import annotations

import asyncio
from typing import Any

from wasinn.serve.body import Receive

#: Seconds between two sweeps.
INTERVAL = 0.05


class Watched:
    """A request. `reason` is why it was cancelled, or None: "slow", "gone", or "closing"."""

    __slots__ = ("began", "listener", "reading", "reason", "receive", "task")

    def __init__(self, task: asyncio.Task[Any], receive: Receive, began: float) -> None:
        self.task = task
        self.receive = receive
        self.began = began
        #: Whether its body is being read: then the time is counted, and `receive` is not ours.
        self.reading = True
        self.listener: asyncio.Task[None] | None = None
        self.reason: str | None = None

    def cancel(self, reason: str) -> None:
        """Cancels its task, unless that has been done; `reason` is kept."""
        if self.reason is None:
            self.reason = reason
            self.task.cancel(reason)


class Watch:
    """The requests of an event loop. `body_timeout`: seconds that a body may take to come.

    watched = watch.begin(receive)      # in the request's task: the body is read now
    watched.reading = False             # it is there; from now on the caller may not go away
    watch.end(watched)                  # always
    """

    def __init__(self, body_timeout: float) -> None:
        self._body_timeout = body_timeout
        self._watched: set[Watched] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to sweep, on the running loop."""
        if self._timer is None:
            self._loop = asyncio.get_running_loop()
            self._timer = self._loop.call_later(INTERVAL, self._sweep)

    def begin(self, receive: Receive) -> Watched:
        """Watches the running task, whose request's messages `receive` gives."""
        task = asyncio.current_task()
        assert task is not None
        watched = Watched(task, receive, task.get_loop().time())
        self._watched.add(watched)
        return watched

    def end(self, watched: Watched) -> None:
        """Looks after a request no more. May be called twice."""
        self._watched.discard(watched)
        if watched.listener is not None:
            watched.listener.cancel()

    def close(self) -> None:
        """Stops, and ends the requests that are left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for watched in list(self._watched):
            watched.cancel("closing")

    def _sweep(self) -> None:
        assert self._loop is not None
        now = self._loop.time()
        for watched in list(self._watched):
            age = now - watched.began
            if watched.reading:
                if age > self._body_timeout:
                    watched.cancel("slow")
            elif watched.listener is None and age > INTERVAL:
                watched.listener = self._loop.create_task(_listen(watched))
        self._timer = self._loop.call_later(INTERVAL, self._sweep)


async def _listen(watched: Watched) -> None:
    """Cancels the request when its connection ends. The body has been read, so all that can come is that."""
    while True:
        message = await watched.receive()
        if message["type"] == "http.disconnect":
            watched.cancel("gone")
            return
