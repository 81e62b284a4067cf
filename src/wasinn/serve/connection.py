# SPDX-License-Identifier: Apache-2.0
"""An HTTP connection with limits: uvicorn's own waits for ever for a request's head and for a caller who does
not read, and keeps every header that comes.

    uvicorn.Config(app, http=Connection, limit_concurrency=1024)     # so many connections

What is refused gets the protocol's error object, as everywhere. Beyond the limit idle connections make room;
where none is idle, the scope of a request has FULL, and the application refuses it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wasinn.serve.requests import error_body

#: Seconds that the head of a request may take, from its first byte on; and a new connection's first byte.
HEAD_TIMEOUT = 20.0
#: Bytes of a head, and of what is around a body in chunks, which may be more than is in small chunks.
MAX_HEAD = 64 << 10
_AROUND = 16
#: Seconds in which a caller must have read something of an answer, and how much for each of them.
READ_TIMEOUT = 30.0
_READ_RATE = 1 << 10
#: Seconds between two looks at a connection.
INTERVAL = 2.0
#: Seconds that an idle connection is kept at the end: what its caller sent before it knew is answered.
#: And one that has just been made, whose first request is on its way.
_GRACE, _FIRST_GRACE = 0.1, 2.0

_UPGRADE = (b"connection", b"upgrade", b"http2-settings")

#: In the scope of a request for which there is no room.
FULL = "wasinn.full"

_REASONS = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class Connection(HttpToolsProtocol):
    """uvicorn's protocol for one connection, and its limits."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # uvicorn's own would refuse probes as well, and let idle connections keep out others.
        self._most, self.limit_concurrency = self.limit_concurrency, None
        self._full = self._ending = False
        self._timer: asyncio.TimerHandle | None = None
        #: When the last request's head began, and what part of it comes now.
        self._began = 0.0
        self._in_head = self._in_body = self._upgrade = False
        self._method = b""
        #: When this was first seen without any request; None while there is one.
        self._idle: float | None = None
        #: Bytes of this request, and those of them that were its body.
        self._fed = self._body = 0
        #: What the caller had to read at some time, and that time.
        self._unread, self._unread_at = 0, 0.0

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle = self.loop.time()
        self._timer = self.loop.call_later(INTERVAL, self._look)
        if self._most is not None and len(self.connections) > self._most and not self._make_room():
            self._full = True
            if len(self.connections) > 2 * self._most:
                transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _make_room(self) -> bool:
        """Closes the connection that has been idle for longest, those that never sent a request first."""
        idle = [
            each
            for each in self.connections
            if isinstance(each, Connection) and each is not self and each._idle is not None and not each.busy
        ]
        if not idle:
            return False
        min(idle, key=lambda each: (each.cycle is not None, each._idle)).transport.abort()
        return True

    # -- what comes -----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._fed += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._upgrade:
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.feed_data(self._without_upgrade() + data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            self._refuse(400, "this is no HTTP request: its first line has no path that can be read")
            return
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is no HTTP request: {error} (is it the right port, and http or https?)")
            return
        if self._fed - self._body > MAX_HEAD + _AROUND * self._body:
            self._refuse(431, f"the head of a request may have {MAX_HEAD} bytes, and this one has more")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._idle = True, None
        self._began = self.loop.time()
        self._body = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it comes behind a body in chunks, and nobody reads it
            super().on_header(name, value)

    def _without_upgrade(self) -> bytes:
        """The head that has come, without the wish for another protocol: Java's client wants HTTP/2 with
        every first request, and the parser would take its body for that."""
        self._upgrade = False
        lines = [self._method + b" " + self.url + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in self.headers if name not in _UPGRADE]
        return b"\r\n".join([*lines, b"", b""])

    def on_headers_complete(self) -> None:
        self._method = self.parser.get_method()
        self._upgrade = self.parser.should_upgrade() and self._method != b"CONNECT"
        if self._upgrade:
            return
        self._in_head, self._in_body = False, True
        if self._full:
            self.scope[FULL] = True  # type: ignore[literal-required]
        super().on_headers_complete()
        if self._ending:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        self._fed = self._body = 0
        self._in_body = False
        super().on_message_complete()

    # -- what goes ------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """The server ends: as uvicorn's, but a request that is here or on its way is answered."""
        self._ending = True
        if self.busy:
            super().shutdown()
        else:
            self.loop.call_later(_GRACE if self.cycle is not None else _FIRST_GRACE, super().shutdown)

    def _refuse(self, status: int, reason: str) -> None:
        """The connection's last words, unless they could be taken for the answer to another request."""
        if self.transport.is_closing():
            return
        if self.busy and not self._in_body:
            self.cycle.keep_alive = False  # those before it are answered, and then it ends
            return
        if not self.busy or not (self.cycle.response_started or self.pipeline):
            body = error_body(reason)
            head = b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-type: application/json\r\n"
            length = b"content-length: %d\r\n\r\n" % len(body)
            self.transport.write(head % (status, _REASONS[status]) + length + body)
        self.transport.close()

    # -- time -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Ends the connection if it waits for what does not come."""
        self._timer = self.loop.call_later(INTERVAL, self._look)
        now = self.loop.time()
        unread = self.transport.get_write_buffer_size()
        read = self._unread - _READ_RATE * (now - self._unread_at)
        if not unread or unread <= read or unread > self._unread:  # more comes when some was read
            self._unread, self._unread_at = unread, now
        elif now - self._unread_at > READ_TIMEOUT:
            self.transport.abort()
            return
        if self.transport.is_closing() or self.busy:
            self._idle = None
        elif self._in_head:
            if now - self._began > HEAD_TIMEOUT:
                self._refuse(408, f"the head of the request was not there after {HEAD_TIMEOUT:g} s")
        elif self._idle is None:
            self._idle = now
        elif now - self._idle > (HEAD_TIMEOUT if self.cycle is None else self.timeout_keep_alive + INTERVAL):
            self.transport.close()
