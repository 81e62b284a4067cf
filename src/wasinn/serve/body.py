# SPDX-License-Identifier: Apache-2.0
"""A request's body: read within its limits, and unpacked."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from wasinn.serve.errors import ServeError

#: An ASGI application's.
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: What `Content-Encoding` may say, as zlib's `wbits`: either header is told by its first bytes.
_ENCODINGS = {"gzip": 32 + 15, "deflate": 32 + 15}
#: Bytes of a body up to which it does not count among those that a process holds.
UNCOUNTED = 1 << 16


class GoneError(Exception):
    """The caller went away before the body was there."""


class Budget:
    """The bytes of all bodies that a process holds. `most`: beyond it, 429."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    def take(self, size: int) -> None:
        """Raises ServeError (429)."""
        if self.held + size > self._most:
            raise ServeError(
                429,
                f"the bodies of the requests under way have {self.held} bytes already, and all together may "
                f"have {self._most}; try again soon",
                "bodies_full",
                1.0,
            )
        self.held += size

    def give_back(self, size: int) -> None:
        """So many bytes that were taken are held no more."""
        self.held -= size


class Body:
    """The body of one request.

    body = Body(receive, max_body, budget)
    body.expect(headers' content-length or None)     # 413 before a byte is read
    content = await body.read()                      # or read_within(seconds): 408
    ...
    body.free()                                      # always
    """

    __slots__ = ("_budget", "_counted", "_limit", "_receive", "size")

    def __init__(self, receive: Receive, limit: int, budget: Budget | None = None) -> None:
        self._receive = receive
        self._limit = limit
        self._budget = budget
        self._counted = 0
        #: Bytes read.
        self.size = 0

    def expect(self, length: bytes | str | None) -> None:
        """Looks at the header `Content-Length`. Raises ServeError: 400, 413, 429."""
        if length is None:
            return
        if not length.isdigit():
            raise ServeError(400, f"Content-Length must be a number of bytes, got {_text(length)!r}")
        size = int(length)
        if size > self._limit:
            raise self._too_large(f"{size} bytes")
        if size > UNCOUNTED:
            self._count(size)

    async def read(self) -> bytes:
        """The whole body. Raises ServeError (413, 429), GoneError."""
        receive = self._receive
        message = await receive()
        content: bytes = message.get("body", b"")
        self.size = len(content)
        if message["type"] == "http.request" and not message.get("more_body", False):
            if self.size > self._limit:
                raise self._too_large("more")
            return content
        parts = [content]
        while True:
            if message["type"] != "http.request":
                raise GoneError
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await receive()
            content = message.get("body", b"")
            self.size += len(content)
            if self.size > self._limit:
                raise self._too_large("more")
            self.holds(self.size)
            parts.append(content)

    async def read_within(self, seconds: float) -> bytes:
        """As `read`. Raises ServeError (408) too."""
        try:
            async with asyncio.timeout(seconds):
                return await self.read()
        except TimeoutError:
            raise slow_body(seconds) from None

    def holds(self, size: int) -> None:
        """The body has, or has become, so many bytes. Raises ServeError (429)."""
        if size > max(self._counted, UNCOUNTED):
            self._count(size - self._counted)

    def free(self) -> None:
        """The body is not needed any more."""
        if self._budget is not None and self._counted:
            self._budget.give_back(self._counted)
            self._counted = 0

    def _count(self, size: int) -> None:
        if self._budget is not None:
            self._budget.take(size)
            self._counted += size

    def _too_large(self, got: str) -> ServeError:
        return ServeError(
            413, f"a request's body may have {self._limit} bytes (max_body), and this one has {got}"
        )


def slow_body(seconds: float) -> ServeError:
    """The refusal (408) of a body that has not come in `seconds`."""
    return ServeError(408, f"the request's body was not there after {seconds:g} s (body_timeout)")


def check_encoding(encoding: str) -> None:
    """Raises ServeError (415) for a Content-Encoding that `unpack` cannot undo."""
    if encoding not in _ENCODINGS and encoding != "identity":
        raise ServeError(415, f"Content-Encoding is gzip or deflate, or is left away; got {encoding[:80]!r}")


def unpack(content: bytes, encoding: str, limit: int) -> bytes:
    """A body as it was before Content-Encoding. Raises ServeError: 400 for what is not packed so, 413 for
    what grows beyond `limit` bytes, 415."""
    check_encoding(encoding)
    if encoding == "identity":
        return content
    unpacker = zlib.decompressobj(_ENCODINGS[encoding])
    try:
        found = unpacker.decompress(content, limit + 1)
    except zlib.error as error:
        raise ServeError(400, f"the body is not {encoding}, as Content-Encoding says: {error}") from None
    if len(found) > limit:
        raise ServeError(413, f"the body unpacked may have {limit} bytes (max_body), and this one has more")
    if not unpacker.eof or unpacker.unused_data:
        raise ServeError(400, f"the body is not one whole {encoding} stream, as Content-Encoding says")
    return found


def _text(value: bytes | str) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return text[:80]
