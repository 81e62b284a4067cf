# SPDX-License-Identifier: Apache-2.0
"""One process of the server: the event loop in a thread of its own, and a main thread that waits for signals.

Guests never run on the main thread: an exception of a signal handler could end in their callbacks.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from wasinn.errors import Error
from wasinn.serve.control import Action, Control, Line
from wasinn.serve.logs import set_up_logs
from wasinn.serve.plan import Plan
from wasinn.serve.servers import Servers

logger = logging.getLogger("wasinn.serve")

#: Seconds after the drain's own time at which a process that does not end is ended.
DRAIN_SLACK = 5.0
#: Exit codes: a start that failed, for which the supervisor has the reason; and an end by force.
EXIT_NOT_STARTED, EXIT_FORCED = 3, 4


def main(control: int) -> None:
    """The process's whole life. `control`: the number of its end of the socket pair."""
    faulthandler.enable()  # what a crash in native code leaves is on stderr
    plan: Plan = pickle.load(sys.stdin.buffer)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    process = Process(plan, socket.socket(fileno=control))
    code = process.run()
    sys.stderr.flush()
    # What still hangs in a thread (a compute that nobody can end) must not keep the process.
    os._exit(code)


class Process:
    """Serves until a signal, or until the supervisor has gone."""

    def __init__(self, plan: Plan, end: socket.socket) -> None:
        self._plan, self._end = plan, end
        self._parent = os.getppid()
        self._wanted = threading.Event()
        self._finished = threading.Event()
        self._code = 0
        self._stop: Callable[[], None] = lambda: None

    def run(self) -> int:
        """The exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        thread = threading.Thread(target=self._serve, name="wasinn-serve", daemon=True)
        thread.start()
        while not self._wanted.wait(1.0) and not self._finished.is_set():
            if os.getppid() != self._parent:
                self._wanted.set()
        if not self._finished.is_set():
            self._stop()
            if not self._finished.wait(self._plan.settings.drain_timeout + DRAIN_SLACK):
                logger.error("a process did not end in time; it is ended now, and says where it hangs")
                faulthandler.dump_traceback()
                return EXIT_FORCED
        return self._code

    def _signalled(self, _number: int, _frame: Any) -> None:
        if self._wanted.is_set():
            os._exit(EXIT_FORCED)  # the second one
        self._wanted.set()

    def _serve(self) -> None:
        try:
            # The loop is not closed: that would wait for threads, and the process ends now whatever they do.
            self._code = asyncio.Runner(loop_factory=loop_factory()).run(self._life())
        except BaseException:
            logger.exception("a process of the server failed")
            self._code = 1
        finally:
            self._finished.set()
            self._wanted.set()

    async def _life(self) -> int:
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(over.set)

        self._stop = stop
        if self._wanted.is_set():
            over.set()
        control = Control(await Line.over(self._end), self._wanted.set)
        listening = asyncio.ensure_future(control.listen())
        try:
            return await self._between(control, over)
        finally:
            listening.cancel()

    async def _between(self, control: Control, over: asyncio.Event) -> int:
        plan = self._plan
        try:
            set_up_logs(plan.settings, plan.log_level)
            servers = Servers(plan, control)
        except Exception as error:
            control.say(event="failed", reason=reason_of(error))
            await asyncio.sleep(0.1)  # until it is sent
            return EXIT_NOT_STARTED

        async def change(action: Action, name: str) -> None:
            repository = servers.frontend.repository
            await (repository.load(name) if action == "load" else repository.unload(name))

        try:
            if plan.first:
                await servers.open()
            failed = await _unless(over, servers.load())
            if failed is None:
                return 0
            if not plan.first:
                await servers.open()
            control.on_change = change
            control.say(event="ready", failed=failed, example=servers.example())
            await _unless(over, servers.broken())
            return 0
        except (OSError, Error) as error:
            control.say(event="failed", reason=reason_of(error))
            return EXIT_NOT_STARTED
        finally:
            await servers.close(plan.settings.drain_timeout)


async def _unless(over: asyncio.Event, work: Any) -> Any:
    """What `work` gives, or None when `over` is set before that; then it is cancelled."""
    task, end = asyncio.ensure_future(work), asyncio.ensure_future(over.wait())
    await asyncio.wait((task, end), return_when=asyncio.FIRST_COMPLETED)
    end.cancel()
    if task.done():
        return task.result()
    task.cancel()
    return None


def reason_of(error: BaseException) -> str:
    """An error for the operator: ours are text already, others are named."""
    return str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}"


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loops where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
