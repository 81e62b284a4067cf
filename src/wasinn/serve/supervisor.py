# SPDX-License-Identifier: Apache-2.0
"""The parent of the server's processes: starts them, restarts the dead, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from wasinn.errors import Error
from wasinn.graphs import channel
from wasinn.graphs.shared_workers import SharedWorkers
from wasinn.graphs.worker_process import cause
from wasinn.serve.child import Child
from wasinn.serve.control import error_fields
from wasinn.serve.errors import ServeError
from wasinn.serve.plan import Plan
from wasinn.serve.process import DRAIN_SLACK, EXIT_FORCED
from wasinn.serve.sockets import shut_door

logger = logging.getLogger("wasinn.serve")

#: Seconds before a dead process is started again: the first time, the longest, and how long one must have
#: lived to count as the first time.
FIRST_DELAY, LAST_DELAY, STEADY = 0.1, 30.0, 60.0

#: Seconds between two pings of a process, and how many it may leave unanswered. They are counted, not timed:
#: when the whole machine has slept, the processes have a chance to answer before they are ended.
PING, MOST_SILENT = 5.0, 12


class StartError(Error):
    """The server could not start; the message says why."""


class Supervisor:
    """Runs `plan.settings.processes` processes.

    `sockets`: what this process keeps open for them, closed when the server drains. `on_ready(example)` is
    called once, when all of them serve, with a request that the first model would answer. Processes begin
    clean and are no forks of this one: the runtimes' threads would not survive that.
    """

    def __init__(
        self, plan: Plan, sockets: list[socket.socket], on_ready: Callable[[str | None], None]
    ) -> None:
        self._plan = plan
        self._sockets = sockets
        self._on_ready = on_ready
        self._children: dict[int, Child] = {}
        self._unloaded = set(plan.unloaded)
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending = False
        self._started = False
        self._over: asyncio.Future[int]
        self._metrics: str | None = None

    async def run(self) -> int:
        """Serves until a signal ends it; the exit code. Raises StartError."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, self._signalled, number)
        with contextlib.ExitStack() as stack:
            if self._plan.settings.processes > 1:
                self._metrics = stack.enter_context(tempfile.TemporaryDirectory(prefix="wasinn-metrics-"))
                if channel.AVAILABLE:
                    shared = stack.enter_context(SharedWorkers())
                    self._plan = replace(self._plan, workers=shared.address)
            try:
                for slot in range(self._plan.settings.processes):
                    self._begin(self._keep(slot))
                self._begin(self._ping())
                return await self._over
            finally:
                await self._end()

    # -- processes ----------------------------------------------------------------------------------------

    async def _keep(self, slot: int) -> None:
        """Has a process run in a slot, as long as the server does."""
        delay = FIRST_DELAY
        while not self._ending:
            began = time.monotonic()
            plan = replace(self._plan, first=not self._started, unloaded=frozenset(self._unloaded))
            metrics = {} if self._metrics is None else {"PROMETHEUS_MULTIPROC_DIR": self._metrics}
            try:
                child = self._children[slot] = await Child.start(plan, metrics)
            except OSError as error:
                self._failed(f"a server process could not be started: {error}")
            else:
                if self._ending:
                    child.signal(signal.SIGTERM)
                listening = self._begin(self._listen(child))
                code = await child.ended()
                await asyncio.wait((listening,), timeout=1)
                self._forget_metrics(child.process.pid)
                if self._ending:
                    return
                self._failed(_death(child, code))
            if not self._started:
                return
            delay = FIRST_DELAY if time.monotonic() - began > STEADY else min(2 * delay, LAST_DELAY)
            await asyncio.sleep(delay)

    async def _ping(self) -> None:
        """Ends processes that hang: their connections would wait for ever."""
        while True:
            await asyncio.sleep(PING)
            for child in self._children.values():
                if child.ready and child.ping() >= MOST_SILENT:
                    logger.error("server process %d has hung for a while; it is ended", child.process.pid)
                    child.ready = False
                    # What it did stands on stderr then, and where SIGABRT is not enough, SIGKILL is.
                    child.signal(signal.SIGABRT)
                    asyncio.get_running_loop().call_later(5, child.signal, signal.SIGKILL)

    def _failed(self, why: str) -> None:
        if self._started:
            logger.error("%s; another takes its place", why)
        elif not self._over.done():
            self._over.set_exception(StartError(why))

    async def _listen(self, child: Child) -> None:
        """Does what a process says, until it has ended."""
        while (message := await child.line.receive()) is not None:
            child.silent = 0
            if "done" in message:
                child.changed(message["done"], message["error"])
            elif "ask" in message:
                self._begin(self._answer(child, message))
            elif message.get("event") == "failed":
                child.failure = message["reason"]
            elif message.get("event") == "ready":
                await self._is_ready(child, message)

    async def _is_ready(self, child: Child, message: dict[str, Any]) -> None:
        child.failed_models = message["failed"]
        if self._started:
            for name, reason in child.failed_models.items():
                logger.error("model %r could not be loaded by a new process: %s", name, reason)
        elif child.failed_models and not self._over.done():
            name, reason = next(iter(child.failed_models.items()))
            self._over.set_exception(StartError(f"model {name!r} could not be loaded: {reason}"))
            return
        child.ready = True
        # What callers have loaded and unloaded while it was starting.
        for name in child.unloaded ^ self._unloaded:
            self._begin(child.change("unload" if name in self._unloaded else "load", name))
        children = self._children.values()
        if not self._started and len(children) == self._plan.settings.processes:
            self._started = all(each.ready for each in children)
            if self._started:
                for each in children:
                    each.line.send(server_ready=True)
                self._on_ready(message["example"])
        elif self._started:
            child.line.send(server_ready=True)

    def _forget_metrics(self, pid: int) -> None:
        """Has the gauges of a process that has ended no longer count; its counters do."""
        if self._metrics is not None:
            from prometheus_client import multiprocess

            with contextlib.suppress(OSError):
                multiprocess.mark_process_dead(pid, self._metrics)  # type: ignore[no-untyped-call]

    # -- the repository -----------------------------------------------------------------------------------

    async def _answer(self, asker: Child, message: dict[str, Any]) -> None:
        """Makes a change in all processes, and tells the one that asked for it."""
        try:
            error = await self._change(message["do"], message["name"])
        except Exception as raised:
            logger.exception("could not %s a model", message["do"])
            error = error_fields(ServeError(500, f"a fault of the server: {raised}"))
        asker.line.send(answer=message["ask"], error=error)

    async def _change(self, action: str, name: str) -> dict[str, Any] | None:
        async with self._locks.setdefault(name, asyncio.Lock()):
            (self._unloaded.add if action == "unload" else self._unloaded.discard)(name)
            ready = [child for child in self._children.values() if child.ready]
            errors = await asyncio.gather(*(child.change(action, name) for child in ready))
            return next((error for error in errors if error is not None), None)

    # -- the end --------------------------------------------------------------------------------------------

    def _signalled(self, number: int) -> None:
        if not self._ending:
            self._ending = True
            self._begin(self._drain(signal.Signals(number).name))
        else:
            logger.warning("a second signal: what still runs is ended now")
            for child in self._children.values():
                child.signal(signal.SIGKILL)
            if not self._over.done():
                self._over.set_result(128 + number)

    async def _drain(self, name: str) -> None:
        running = [child for child in self._children.values() if child.process.returncode is None]
        timeout = self._plan.settings.drain_timeout
        logger.warning("%s: no new connections; what runs has %g seconds to finish", name, timeout)
        for each in self._sockets:
            shut_door(each)
            each.close()
        for child in running:
            child.signal(signal.SIGTERM)
        waits = [asyncio.ensure_future(child.process.wait()) for child in running]
        if waits:
            await asyncio.wait(waits, timeout=timeout + 2 * DRAIN_SLACK)
        forced = any(child.process.returncode in (None, EXIT_FORCED) for child in running)
        if not self._over.done():
            self._over.set_result(1 if forced else 0)

    async def _end(self) -> None:
        """Leaves no process behind."""
        self._ending = True
        for child in self._children.values():
            if child.process.returncode is None:
                child.signal(signal.SIGKILL)
        for child in self._children.values():
            await child.process.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not self._over.done():
            self._over.set_exception(task.exception() or AssertionError)


def _death(child: Child, code: int) -> str:
    if child.failure is not None:
        return child.failure
    return f"server process {child.process.pid} {'died' if code else 'ended'}: {cause(code)}"
