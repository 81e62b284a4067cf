# SPDX-License-Identifier: Apache-2.0
"""A server process as the supervisor sees it: started, told things, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from wasinn.serve.control import Line
from wasinn.serve.plan import Plan

#: The process finds its modules where this one found them.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from wasinn.serve.process import main; main(int(sys.argv[2]))"
)


class Child:
    """One process. `ready`: it serves; `failure`: why it could not begin to, in its own words."""

    def __init__(self, process: asyncio.subprocess.Process, line: Line) -> None:
        self.process = process
        self.line = line
        self.ready = False
        self.failure: str | None = None
        self.failed_models: Mapping[str, str] = {}
        #: What the process was told is unloaded, to be compared with what is when it is ready.
        self.unloaded: frozenset[str] = frozenset()
        self._changes: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._number = 0
        #: Pings that it has not answered.
        self.silent = 0

    @classmethod
    async def start(cls, plan: Plan, environment: Mapping[str, str]) -> Child:
        """Starts a process that serves `plan`. Raises OSError."""
        ours, theirs = socket.socketpair()
        passed = [theirs.fileno()]
        if plan.http is not None:
            passed.append(plan.http)
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",
                    "-c",
                    _START,
                    json.dumps([each or os.getcwd() for each in sys.path]),
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.PIPE,
                    pass_fds=passed,
                    env={**os.environ, **environment},
                    process_group=0,  # Ctrl-C is for the supervisor, which then drains them
                )
            except OSError:
                ours.close()
                raise
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(plan))
        process.stdin.close()
        ours.setblocking(False)
        child = cls(process, await Line.over(ours))
        child.unloaded = plan.unloaded
        return child

    async def change(self, action: str, name: str) -> dict[str, Any] | None:
        """Has it load or unload a model; its error, or None. A process that dies meanwhile has no error:
        the one that takes its place begins with what is true then."""
        self._number += 1
        number = self._number
        future: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._changes[number] = future
        self.line.send(id=number, do=action, name=name)
        try:
            return await future
        finally:
            del self._changes[number]

    def changed(self, number: int, error: dict[str, Any] | None) -> None:
        """The answer to a change."""
        future = self._changes.get(number)
        if future is not None and not future.done():
            future.set_result(error)

    def ping(self) -> int:
        """Asks for a sign of life; how many such questions were not answered before."""
        before = self.silent
        self.silent += 1
        self.line.send(ping=self.silent)
        return before

    async def ended(self) -> int:
        """Waits for its end; its return code, negative for a signal."""
        code = await self.process.wait()
        self.ready = False
        self.line.close()
        for number in list(self._changes):
            self.changed(number, None)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
