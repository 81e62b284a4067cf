# SPDX-License-Identifier: Apache-2.0
"""Reading the message of a call. gRPC's own unary calls begin when it is all there, and would hold what has
come of any number of messages for as long as their callers like."""

from __future__ import annotations

import asyncio

import grpc

from wasinn.serve.body import UNCOUNTED, slow_body
from wasinn.serve.errors import ServeError
from wasinn.serve.frontend import Frontend

#: Seconds after which a message counts as slow: until it is there it may be of any size.
_SLOW = 0.05


class Message:
    """The message of a call, which has begun without it.

    message = Message(frontend, context)
    try:
        content = await message.read()
        ...
    finally:
        message.free()
    """

    __slots__ = ("_context", "_counted", "_error", "_frontend", "_task", "_timer")

    def __init__(self, frontend: Frontend, context: grpc.aio.ServicerContext) -> None:
        self._frontend = frontend
        self._context = context
        self._counted = 0
        self._error: ServeError | None = None
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        """Raises ServeError: 400 for a call without one, 408, 429 where all bodies have too many bytes."""
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_SLOW, self._slow)
        try:
            content = await self._context.read()
        except asyncio.CancelledError:
            if self._error is None or self._task is None:
                raise
            self._task.uncancel()
            raise self._error from None
        finally:
            self._timer.cancel()
        if content is grpc.aio.EOF:
            raise ServeError(400, "the call has no message")
        self.free()
        if len(content) > UNCOUNTED:
            self._count(len(content))
        return bytes(content)

    def free(self) -> None:
        """The message is not needed any more."""
        if self._counted:
            self._frontend.budget.give_back(self._counted)
            self._counted = 0

    def _count(self, size: int) -> None:
        self._frontend.budget.take(size)
        self._counted = size

    def _slow(self) -> None:
        settings = self._frontend.settings
        try:
            self._count(settings.max_body)
        except ServeError as error:
            self._end(error)
            return
        left = max(settings.body_timeout - _SLOW, 0)
        late = slow_body(settings.body_timeout)
        self._timer = asyncio.get_running_loop().call_later(left, self._end, late)

    def _end(self, error: ServeError) -> None:
        self._error = error
        assert self._task is not None
        self._task.cancel()
