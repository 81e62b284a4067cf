# SPDX-License-Identifier: Apache-2.0
"""The limits of a run, and the watchdog that ends runs at their deadlines.

A run is ended from outside by `RunControl.stop`: it notes the reason, ends a running compute, wakes
a sleeping guest, and moves the engine's epoch, at which every running guest asks (in wasm's loops
and calls) whether it was meant. So nothing ticks while no deadline passes.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from wasinn.abi.core import capi
from wasinn.errors import ConfigError
from wasinn.sizes import parse_size

logger = logging.getLogger("wasinn.host")


@dataclass(frozen=True)
class Limits:
    """What a run may use. None is no limit.

    `deadline`: seconds for the whole run, sleeping and computing included. `max_memory`: bytes of a
    linear memory. `max_output`: bytes of stdout and of stderr. `fuel`: wasmtime's units, roughly
    one an instruction.
    """

    deadline: float | None = None
    max_memory: int | None = None
    max_output: int | None = 64 << 20
    fuel: int | None = None

    def __post_init__(self) -> None:
        """Reads each value as `wasinn.toml` would; None is no limit. Raises ConfigError."""
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                object.__setattr__(self, each.name, _limit(each.name, value))

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any], where: str = "") -> Limits:
        """The table `[limits]` of `wasinn.toml`. Raises ConfigError, naming the key after `where`."""
        known = [field.name for field in fields(cls)]
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key not in known:
                raise ConfigError(f"{where}unknown key {key!r} in [limits]; known: {', '.join(known)}")
            try:
                values[key] = _limit(key, value)
            except ConfigError as error:
                raise ConfigError(f"{where}{error}") from None
        return cls(**values)


def _limit(key: str, value: Any) -> Any:
    if key == "deadline":
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ConfigError(f"limits.deadline must be seconds above 0, got {value!r}")
        return float(min(value, threading.TIMEOUT_MAX))
    try:
        return min(parse_size(value), (1 << 63) - 1)
    except ValueError as error:
        raise ConfigError(f"limits.{key}: {error}") from None


class RunControl:
    """One run as the watchdog sees it. `limit` is what ended it, or None.

    `patience`: seconds that who interrupted the run waits for its end; None is the usual.
    """

    __slots__ = ("_engine", "_on_stop", "_wake", "deadline", "finished", "limit", "number", "patience")

    def __init__(self, engine: int, on_stop: Callable[[str], None]) -> None:
        """`on_stop(reason)` ends what runs outside wasm, such as a compute; called from any thread."""
        self._engine = engine
        self._on_stop = on_stop
        self._wake: threading.Event | None = None
        self.deadline: float | None = None
        self.limit: str | None = None
        self.finished = False
        self.patience: float | None = None
        self.number = next(_numbers)

    def stop(self, limit: str) -> None:
        """Ends the run because of `limit`; the first reason counts. For any thread."""
        if self.finished or self.limit is not None:
            return
        self.limit = limit
        try:
            self._on_stop(limit)
        except Exception:  # a backend's interrupt, say: the run must end all the same
            logger.exception("could not end what run %d does outside wasm", self.number)
        if self._wake is not None:
            self._wake.set()
        self.move_epoch()
        # A guest that was answering an earlier move of the epoch just now may not have seen this one.
        watchdog.remind(self, _FIRST_REMINDER)

    def move_epoch(self) -> None:
        """Has every running guest of the engine ask whether it was meant."""
        capi.increment_epoch(self._engine)

    def release(self) -> None:
        """Forgets the run, which has finished; the watchdog may keep this object for a while."""
        self.finished = True
        self._on_stop = _nothing

    def sleep(self, seconds: float | None) -> None:
        """Sleeps, until the time is over or the run is ended. None is until it is ended."""
        if self._wake is None:
            self._wake = threading.Event()
        if self.limit is None:
            self._wake.wait(seconds)


def _nothing(_reason: str) -> None:
    """Stands where a finished run's `on_stop` was."""


#: Seconds until a stopped run that has not ended is told again; each time it is twice as long.
_FIRST_REMINDER, _LAST_REMINDER = 0.02, 1.0
_numbers = itertools.count(1)
#: Runs by number, for the epoch callback.
controls: dict[int, RunControl] = {}

_U64 = struct.Struct("<Q")
_NO_LIMIT = -1
#: WASMTIME_UPDATE_DEADLINE_CONTINUE and _YIELD of store.h.
_CONTINUE, _YIELD = 0, 1
#: A ctypes callback that wasmtime calls in a guest when the epoch has moved.
EpochCallback = Any


def _epoch_moved(kind: int) -> EpochCallback:
    def moved(_context: int, number: int, delta: int, answer: int) -> int | None:
        """Called in a guest's thread when the epoch has moved: go on, or end with an error."""
        try:
            control = controls.get(number)
            if control is not None and control.limit is None:
                _U64.pack_into(capi.ADDRESS_SPACE, delta, 1)
                capi.ADDRESS_SPACE[answer] = kind
                return None
        except BaseException:
            pass  # whatever it was, ending the guest is the safe answer
        return int(capi.error_new(b"the run was ended"))

    return capi.EPOCH_CALLBACK(moved)


#: For a guest that has its thread to itself, and for a fiber, which lets others run.
EPOCH_MOVED, EPOCH_MOVED_FIBER = _epoch_moved(_CONTINUE), _epoch_moved(_YIELD)


def set_limits(
    store: int,
    control: RunControl,
    limits: Limits,
    fuel: bool,
    most: tuple[int, int, int],
    epoch_moved: EpochCallback = EPOCH_MOVED,
) -> None:
    """Gives a new store its limits, and lets `control` end what runs in it. The deadline begins.

    `fuel`: whether the engine counts it; `most`: instances, tables and memories.
    """
    context = capi.store_context(store)
    memory = limits.max_memory if limits.max_memory is not None else _NO_LIMIT
    capi.store_limiter(store, memory, _NO_LIMIT, *most)
    controls[control.number] = control
    capi.store_epoch_callback(store, epoch_moved, control.number, None)
    capi.set_epoch_deadline(context, 1)
    if limits.deadline is not None:
        watchdog.watch(control, limits.deadline)
    if fuel:
        given = limits.fuel if limits.fuel is not None else (1 << 64) - 1
        capi.raise_error(capi.set_fuel(context, given))


class Watchdog:
    """One thread that stops runs at their deadlines."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, RunControl, float]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._next = float("inf")

    def watch(self, control: RunControl, seconds: float) -> None:
        """Stops `control` in `seconds`, unless it has finished by then."""
        when = time.monotonic() + min(seconds, threading.TIMEOUT_MAX / 2)
        control.deadline = when
        self._push(when, control, 0.0)

    def remind(self, control: RunControl, delay: float) -> None:
        """Moves the epoch again in `delay` seconds, unless `control` has finished by then."""
        self._push(time.monotonic() + delay, control, delay)

    def _push(self, when: float, control: RunControl, delay: float) -> None:
        with self._changed:
            heapq.heappush(self._heap, (when, next(_numbers), control, delay))
            if len(self._heap) > 4096:
                self._heap = [entry for entry in self._heap if not entry[2].finished]
                heapq.heapify(self._heap)
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="wasinn-watchdog", daemon=True)
                thread.start()
                self._thread = thread
            elif when < self._next:
                self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                due = []
                while self._heap and (self._heap[0][0] <= now or self._heap[0][2].finished):
                    due.append(heapq.heappop(self._heap)[2:])
                if not due:
                    self._next = self._heap[0][0] if self._heap else float("inf")
                    self._changed.wait(None if not self._heap else self._next - now)
                    continue
            for control, delay in due:
                if not delay:
                    control.stop("deadline")
                elif not control.finished:
                    control.move_epoch()
                    self.remind(control, min(2 * delay, _LAST_REMINDER))

    def after_fork(self) -> None:
        """In a forked child: its thread was left behind, and perhaps held the lock."""
        self.__init__()  # type: ignore[misc]


watchdog = Watchdog()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=watchdog.after_fork)
