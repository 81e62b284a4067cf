# SPDX-License-Identifier: Apache-2.0
"""Moves an engine's epoch every few milliseconds while fibers run, so that none keeps the loop to itself.

Where the system has POSIX timers that call a function, the timer calls wasmtime's own: it needs neither a
thread of Python's nor the interpreter's lock, which a busy guest's host calls would keep from it. Elsewhere
a thread does it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import time
import weakref
from ctypes import util
from typing import Any

from wasinn.abi.core import capi

logger = logging.getLogger("wasinn.host")

#: Seconds between two moves while a guest runs for long: how long it holds up the others at a time; and else,
#: which is how long it does so the first time. (Every shot of the timer is a thread of the C library's, and
#: costs the other cores of the process something too.)
TICK, SLOW_TICK = 0.004, 0.02
#: Seconds without a fiber after which the ticking stops.
_LINGER = 0.1


class _SigEvent(ctypes.Structure):
    """struct sigevent of glibc and musl, for SIGEV_THREAD: 64 bytes."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("padding", ctypes.c_char * 32),
    )


class _TimerSpec(ctypes.Structure):
    """struct itimerspec: the interval and the first time, as seconds and nanoseconds."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns"))


_SIGEV_THREAD, _CLOCK_MONOTONIC = 2, 1


class _NativeTimer:
    """A POSIX timer. Raises OSError where there is none."""

    def __init__(self, engine: int) -> None:
        if _forked or sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:
            raise OSError("no timers of this kind")
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "timer_create"):  # before glibc 2.34 it was a library of its own
            library = ctypes.CDLL(util.find_library("rt"), use_errno=True)
        self._settime = library.timer_settime
        self._settime.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        increment: Any = capi.increment_epoch
        function = ctypes.cast(increment, ctypes.c_void_p)
        # A reference of its own, never given back: the timer may fire while the interpreter shuts down.
        event = _SigEvent(capi.engine_clone(engine), 0, _SIGEV_THREAD, function, None)
        self._timer = ctypes.c_void_p()
        if library.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)) != 0:
            raise OSError(ctypes.get_errno(), "timer_create")

    def run(self, seconds: float) -> None:
        """Fires every so many seconds; 0 is never."""
        nanoseconds = int(seconds * 1e9)
        spec = _TimerSpec(0, nanoseconds, 0, nanoseconds)
        self._settime(self._timer, 0, ctypes.byref(spec), None)


class _ThreadTimer:
    """The same by a thread."""

    def __init__(self, engine: int) -> None:
        self._engine = engine
        self.on = threading.Event()
        self._seconds = SLOW_TICK
        self._thread: threading.Thread | None = None

    def _work(self) -> None:
        while True:
            self.on.wait()
            time.sleep(self._seconds)
            capi.increment_epoch(self._engine)

    def run(self, seconds: float) -> None:
        if not seconds:
            self.on.clear()
            return
        self._seconds = seconds
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="wasinn-ticker", daemon=True)
            self._thread.start()
        self.on.set()


class Ticker:
    """Ticks while fibers run, and a little longer: starting and stopping costs a system call."""

    def __init__(self, engine: int) -> None:
        self._engine = engine
        _all.add(self)
        self._timer: _NativeTimer | _ThreadTimer
        try:
            self._timer = _NativeTimer(engine)
        except OSError as error:
            logger.debug("no timer: %s; a thread moves the epoch", error)
            self._timer = _ThreadTimer(engine)
        self._lock = threading.Lock()
        self._used = self.on = False
        #: Whether a guest has run for longer than a tick, of late; and whether the timer heeds that.
        self._long = self._fast = False

    @property
    def native(self) -> bool:
        """Whether it needs no thread of Python's."""
        return isinstance(self._timer, _NativeTimer)

    def tick(self) -> None:
        """Called before each time that a fiber runs."""
        self._used = True
        if not self.on:
            self._start()

    def ran_long(self) -> None:
        """Called when a fiber has been interrupted by a tick."""
        self._long = True
        if not self._fast:
            with self._lock:
                if self.on and not self._fast:
                    self._fast = True
                    self._timer.run(TICK)

    def _start(self) -> None:
        with self._lock:
            if not self.on:
                self._timer.run(SLOW_TICK)
                self.on, self._fast = True, False
                threading.Thread(target=self._watch, name="wasinn-ticker-end", daemon=True).start()

    def _watch(self) -> None:
        """Stops the ticking when no fiber has run for a while."""
        while True:
            self._used = self._long = False
            time.sleep(_LINGER)
            with self._lock:
                if self._used:
                    if self._fast and not self._long:
                        self._fast = False
                        self._timer.run(SLOW_TICK)
                    continue
                self.on = False
                self._timer.run(0)
                # One that began just now may have seen it on.
                if not self._used:
                    return
                self._timer.run(SLOW_TICK)
                self.on, self._fast = True, False

    def after_fork(self) -> None:
        """In a forked process, which has neither its parent's timers nor its threads."""
        self.__init__(self._engine)  # type: ignore[misc]


#: Whether this process was forked from one that had timers: a lock of the C library's stays held then, and
#: to make another timer would hang.
_forked = False
#: Every ticker of this process.
_all: weakref.WeakSet[Ticker] = weakref.WeakSet()


def _after_fork() -> None:
    global _forked  # noqa: PLW0603
    _forked = _forked or bool(_all)
    for ticker in list(_all):
        ticker.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
