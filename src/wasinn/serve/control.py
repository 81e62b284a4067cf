# SPDX-License-Identifier: Apache-2.0
"""What a server process and its supervisor tell each other: JSON, a line each, on a socket pair.

A process says `{"event": "ready"}`, or `{"event": "failed", "reason": ...}`, and asks for a change of the
repository with `{"ask": 1, "do": "load", "name": ...}`. The supervisor has every process make the change,
`{"id": 7, "do": "load", "name": ...}`, each says `{"done": 7, "error": null}`, and the one that asked gets
`{"answer": 1, "error": null}`. `{"server_ready": true}` comes when all processes are ready. A process
answers `{"ping": 3}` with `{"pong": 3}` on its event loop, so that one that hangs is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from wasinn.serve.errors import ServeError

logger = logging.getLogger("wasinn.serve")

Action = Literal["load", "unload"]
#: Makes a change of the repository in this process. Raises ServeError.
Change = Callable[[Action, str], Awaitable[None]]

#: The longest line: names are of the operator, reasons are cut.
_MAX_LINE = 1 << 20


class Line:
    """One end of the socket pair, on a running event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, end: socket.socket) -> Line:
        """A line over a connected socket, which is the line's from here on."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_MAX_LINE))

    def send(self, **message: Any) -> None:
        """Sends a message, without waiting; what the other end no longer reads is lost."""
        if not self._writer.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any] | None:
        """The next message, None when the other end has gone."""
        try:
            text = await self._reader.readline()
            found = json.loads(text) if text.endswith(b"\n") else None
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def close(self) -> None:
        """Ends it: the other end's `receive` gives None."""
        self._writer.close()


class Control:
    """A server process's side. Used on its event loop.

    `ready`: whether every process of the server is ready. `on_change(action, name)` is called for each change
    of the repository that the supervisor sends to all processes; it raises ServeError.
    """

    def __init__(self, line: Line, on_end: Callable[[], None]) -> None:
        """`on_end` is called once the supervisor has gone."""
        self.ready = False
        self.on_change: Change | None = None
        self._line, self._on_end = line, on_end
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, name: str) -> None:
        """Has every process of the server load the model called `name`, this one included.

        Raises ServeError with what the first that could not says.
        """
        await self._ask("load", name)

    async def unload(self, name: str) -> None:
        """Has every process of the server unload the model called `name`. Raises ServeError as `load`."""
        await self._ask("unload", name)

    async def _ask(self, action: Action, name: str) -> None:
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self._line.send(ask=number, do=action, name=name)
            await future
        finally:
            del self._asked[number]

    def say(self, **message: Any) -> None:
        """Tells the supervisor something."""
        self._line.send(**message)

    async def listen(self) -> None:
        """Does what the supervisor sends, until it has gone."""
        while (message := await self._line.receive()) is not None:
            if "server_ready" in message:
                self.ready = message["server_ready"]
            elif "answer" in message:
                asked = self._asked.get(message["answer"])
                if asked is not None and not asked.done():
                    _settle(asked, message["error"])
            elif "ping" in message:
                self._line.send(pong=message["ping"])
            elif "do" in message:
                task = asyncio.ensure_future(self._do(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(ServeError(503, "the server is ending"))
        self._on_end()

    async def _do(self, message: dict[str, Any]) -> None:
        error = None
        try:
            if self.on_change is None:
                raise ServeError(503, "a process of the server is only starting; try again")
            await self.on_change(message["do"], message["name"])
        except Exception as raised:
            if not isinstance(raised, ServeError):
                logger.exception("could not %s %r", message["do"], message["name"])
            error = error_fields(raised)
        self._line.send(done=message["id"], error=error)


def error_fields(error: Exception) -> dict[str, Any]:
    """An error as it goes over the line."""
    if isinstance(error, ServeError):
        return {
            "status": error.status,
            "reason": error.reason[:4000],
            "kind": error.kind,
            "retry_after": error.retry_after,
        }
    return {
        "status": 500,
        "reason": f"{type(error).__name__}: {error}"[:4000],
        "kind": "",
        "retry_after": None,
    }


def _settle(future: asyncio.Future[None], error: dict[str, Any] | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(ServeError(**error))
