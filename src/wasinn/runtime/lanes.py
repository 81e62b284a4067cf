# SPDX-License-Identifier: Apache-2.0
"""Where an event loop has its computes done, and all that would hold it up.

A compute of microseconds runs on the loop itself: a thread would cost more. One of milliseconds runs in a
lane, of which there are as many as the machine has cores for it. What may take any time, such as loading a
model, gets a thread that no compute waits for.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from wasinn.graphs.timing import Timing

Result = TypeVar("Result")

#: Threads for what blocks; the next one waits for one of these.
_MAX_BLOCKED = 64


class Lanes:
    """The lanes of one event loop. Every method is called on its thread, unless it says otherwise."""

    def __init__(self, count: int | None = None) -> None:
        """`count`: computes at once; None is one a core."""
        self.count = max(1, count if count is not None else _cores())
        self._compute = _Threads("wasinn-lane", self.count)
        self._block = _Threads("wasinn-blocking", _MAX_BLOCKED)

    async def compute(self, timing: Timing, function: Callable[[], Result]) -> Result:
        """`function()`, which computes once, and what it returns or raises: here if it is known to be quick,
        else in a lane. Only for what computes in this process: another one may not answer for long."""
        if timing.quick:
            return timed(timing, function)
        found: Result = await self._compute.start(lambda: timed(timing, function))
        return found

    async def block(self, function: Callable[[], Result]) -> Result:
        """`function()` in a thread that nothing else waits for, and what it returns or raises.

        Cancelling does not end it: what it returns is then dropped.
        """
        found: Result = await self._block.start(function)
        return found

    def start_compute(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Has `function()` made in a lane."""
        return self._compute.start(function)

    def start_blocking(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Has `function()` made in a thread that nothing else waits for."""
        return self._block.start(function)

    def close(self) -> None:
        """Ends the threads when they are done with what they have."""
        self._compute.close()
        self._block.close()


def timed(timing: Timing, function: Callable[[], Result], size: int = 0) -> Result:
    """`function()`, and its time for `timing`, with `size` bytes of inputs."""
    start = time.perf_counter()
    try:
        return function()
    finally:
        timing.add(time.perf_counter() - start, size)


def begin(batched: Any) -> asyncio.Future[None]:
    """Begins the compute of a batched execution: done when its result is there to be taken."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    def from_any_thread() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(wake)

    batched.begin(from_any_thread)
    return done


class _Threads:
    """Up to `most` threads, started as they are needed, that make calls for an event loop."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.RLock()  # the garbage collector may close them anywhere
        self._threads = 0
        self._idle = 0
        self.running = 0
        self.queued = 0
        self._closed = False
        _pools.add(self)

    def start(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        call = _Call(function, asyncio.get_running_loop())
        with self._lock:
            if self._closed:
                raise RuntimeError("these lanes are closed")
            self.queued += 1
            start = self._idle < self.queued and self._threads < self._most
            self._threads += start
        if start:
            self._start_thread()
        self._calls.put(call)
        return call.future

    def _start_thread(self) -> None:
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError:  # the system has no more
            with self._lock:
                self._threads -= 1
                if self._threads:
                    return  # one that is there does it
                self.queued -= 1
            raise

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            call = self._calls.get()
            with self._lock:
                self._idle -= 1
                if call is None:
                    self._threads -= 1
                    return
                self.queued -= 1
                self.running += 1
            call.make()
            with self._lock:
                self.running -= 1
            del call

    def close(self) -> None:
        with self._lock:
            self._closed = True
            threads = self._threads
        for _ in range(threads):
            self._calls.put(None)


class _Call:
    __slots__ = ("function", "future", "loop")

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.function = function
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def make(self) -> None:
        value, error = None, None
        try:
            value = self.function()
        except BaseException as raised:
            error = raised
        if isinstance(error, StopIteration):  # which no future takes
            error = RuntimeError(f"StopIteration: {error}")
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            self.loop.call_soon_threadsafe(_settle, self.future, value, error)


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


#: Every pool of threads, while it is used.
_pools: weakref.WeakSet[_Threads] = weakref.WeakSet()
#: Seconds that a process which ends waits for what its threads still do.
_PATIENCE = 2.0


def _wait_at_exit() -> None:
    """A compute that comes back to an interpreter that is no more ends the process with an abort."""
    end = time.monotonic() + _PATIENCE
    while any(each.running or each.queued for each in list(_pools)) and time.monotonic() < end:
        time.sleep(0.005)


atexit.register(_wait_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # a forked process has none of the threads

_lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Lanes] = weakref.WeakKeyDictionary()


def lanes_of_loop() -> Lanes:
    """The running loop's lanes; made at the first use, with one a core."""
    loop = asyncio.get_running_loop()
    found = _lanes.get(loop)
    if found is None:
        found = Lanes()
        _use(loop, found)
    return found


def set_lanes(lanes: Lanes) -> None:
    """Has the running loop use `lanes`."""
    _use(asyncio.get_running_loop(), lanes)


def _use(loop: asyncio.AbstractEventLoop, lanes: Lanes) -> None:
    _lanes[loop] = lanes
    weakref.finalize(loop, lanes.close).atexit = False  # its threads end with it
