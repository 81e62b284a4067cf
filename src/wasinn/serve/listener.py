# SPDX-License-Identifier: Apache-2.0
"""Accepting connections from a socket that several processes share.

One is accepted at a time, so that a process that computes leaves the next to another, where an event loop's
own server takes all that wait. And at the end what waits is taken before the socket is closed: the system
would break those connections off, with the requests that were sent over them.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

logger = logging.getLogger("wasinn.serve")

#: Seconds without accepting after the system refused to (too many open files).
_PAUSE = 0.5
#: Seconds that a TLS handshake may take.
_HANDSHAKE = 20.0


class Listener:
    """Accepts connections on the running event loop, from `start` to `stop`. `make_protocol` makes each one's
    protocol; `context` is for TLS."""

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._listening = listening
        self._make_protocol, self._context = make_protocol, context
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self) -> None:
        """Begins to accept."""
        if not self._closed:  # it may have been stopped in the pause
            self._listening.setblocking(False)
            self._loop.add_reader(self._listening, self._accept)

    def stop(self) -> None:
        """Accepts what waits, and no more."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listening)
            while self._accept():
                pass
            self._listening.close()

    @property
    def beginning(self) -> int:
        """Connections that have no protocol yet, such as those in a TLS handshake."""
        return len(self._beginning)

    def _accept(self) -> bool:
        """Accepts a connection; whether there was one."""
        try:
            accepted, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # another process had it, or it has gone
        except OSError as error:
            logger.error("a connection could not be accepted: %s; the next try is in %g s", error, _PAUSE)
            if not self._closed:
                self._loop.remove_reader(self._listening)
                self._loop.call_later(_PAUSE, self.start)
            return False
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._begin(accepted))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        return True

    async def _begin(self, accepted: socket.socket) -> None:
        tls = {} if self._context is None else {"ssl_handshake_timeout": _HANDSHAKE}
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, accepted, ssl=self._context, **tls)
        except (OSError, asyncio.CancelledError):  # no TLS, or too slow, or gone
            accepted.close()
