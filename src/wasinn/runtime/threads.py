# SPDX-License-Identifier: Apache-2.0
"""Threads for guests.

A guest never runs on the main thread: Python handles signals there, between any two instructions, and
an exception that a handler raises at the start of a callback from wasm would end the process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")

#: How long an interrupted guest is waited for, in seconds. It may be loading a model, which nothing ends.
_PATIENCE = 1.0


class _Call:
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = threading.Event()


class _Worker:
    """A thread that makes one call after the other, and waits for the next in `_idle`."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[_Call] = SimpleQueue()
        threading.Thread(target=self._work, name="wasinn-guest", daemon=True).start()

    def _work(self) -> None:
        while True:
            call = self.calls.get()
            try:
                call.value = call.function()
            except BaseException as error:
                call.error = error
            _idle.append(self)
            call.done.set()
            del call


_idle: list[_Worker] = []


def call_elsewhere(function: Callable[[], Result], on_interrupt: Callable[[], float | None]) -> Result:
    """`function()` in a thread that is not this one, and what it returns or raises.

    When the wait for it is interrupted (Ctrl-C), calls `on_interrupt`, which should end the guest, waits for
    that the seconds that it answered, or a little, and raises the interrupt.
    """
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    call = _Call(function)
    try:
        worker.calls.put(call)
        call.done.wait()
    except BaseException:
        patience = on_interrupt()
        call.done.wait(_PATIENCE if patience is None else patience)
        raise
    if call.error is not None:
        raise call.error
    result: Result = call.value
    return result


#: The thread on which Python handles signals. A forked process has it too: the one that forked.
main_thread = threading.main_thread().ident


def _after_fork() -> None:
    global main_thread  # noqa: PLW0603
    main_thread = threading.get_ident()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
