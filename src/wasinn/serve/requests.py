# SPDX-License-Identifier: Apache-2.0
"""What the headers of an HTTP request say, and an error as an HTTP answer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from wasinn.serve.errors import ServeError

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

#: The media types of a request's body. A browser sends the others to any server that a page of any other
#: names; these only where that server allows it.
_MEDIA_TYPES = ("application/json", "application/octet-stream")

JSON_TYPE = (b"content-type", b"application/json")


class RequestHeaders:
    """The headers that this server reads, each None if it is not there."""

    __slots__ = (
        "authorization",
        "encoding",
        "header_length",
        "host",
        "length",
        "media_type",
        "origin",
        "proxied",
    )

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.authorization: bytes | None = None
        self.encoding: bytes | None = None
        self.header_length: bytes | None = None
        self.host: bytes | None = None
        self.length: bytes | None = None
        self.media_type: bytes | None = None
        self.origin: bytes | None = None
        self.proxied: bytes | None = None
        for name, value in headers:
            slot = _SLOTS.get(name)
            if slot is not None:
                setattr(self, slot, value)

    def check_origin(self) -> None:
        """Raises ServeError (403) for a request that a page of another server has made in somebody's
        browser: without tokens, that browser may stand where others cannot reach."""
        if self.origin is None:
            return
        place = self.origin.partition(b"://")[2].lower()
        own = [each.strip().lower() for each in (self.host, self.proxied) if each is not None]
        if not place or place not in own:
            shown = self.origin.decode("latin-1")[:80]
            raise ServeError(
                403, f"requests from pages of other servers ({shown!r}) are not taken without a token"
            )

    def check_host(self) -> None:
        """Raises ServeError (403) where a server that only this machine can reach is asked for by a name of
        the Internet: of a page, most likely, whose own name has been made to lead here (DNS rebinding), and
        for the browser it is then that page's own server."""
        if self.host is None:
            return
        name = self.host.decode("latin-1").strip().lower()
        if not name.startswith("["):
            name = name.partition(":")[0].rstrip(".")
            # A name without a dot, and an address, are nobody's to lead elsewhere.
            if "." in name and not name.endswith(".localhost") and not _ADDRESS(name):
                raise ServeError(
                    403,
                    f"this server is for its own machine, by the name of localhost; it was asked for as "
                    f"{name[:80]!r} (behind a proxy: have it send Host: localhost, or set tokens)",
                )

    def check_media_type(self) -> None:
        """Raises ServeError (415)."""
        if self.media_type is None:
            return
        found = self.media_type.partition(b";")[0].strip().lower().decode("latin-1")
        if found not in _MEDIA_TYPES:
            way = "with curl: -H 'Content-Type: application/json'"
            if found.startswith(("image/", "audio/", "multipart/")):
                way = "a file is sent as binary data of a BYTES tensor, behind JSON that says so"
            raise ServeError(
                415,
                f"Content-Type is application/json, or application/octet-stream with binary tensor data; got "
                f"{found[:80]!r} ({way})",
            )

    def binary_header_length(self) -> int | None:
        """The length of the JSON in front of binary data. Raises ServeError (400)."""
        if self.header_length is None:
            return None
        if not self.header_length.isdigit() or len(self.header_length) > 18:
            shown = self.header_length.decode("latin-1")[:80]
            raise ServeError(400, f"Inference-Header-Content-Length must be a number of bytes, got {shown!r}")
        return int(self.header_length)


_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}").fullmatch

_SLOTS = {
    b"authorization": "authorization",
    b"content-encoding": "encoding",
    b"inference-header-content-length": "header_length",
    b"host": "host",
    b"content-length": "length",
    b"content-type": "media_type",
    b"origin": "origin",
    b"x-forwarded-host": "proxied",
}


def client_of(scope: Scope) -> str:
    """Who asks: address and port, or "" over a UNIX socket."""
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""


def error_headers(error: ServeError) -> dict[str, str]:
    """The headers that go with an error's status."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def error_body(reason: str) -> bytes:
    """The protocol's error object."""
    return json.dumps({"error": reason}).encode()


async def send_json(send: Send, status: int, body: bytes, headers: Headers | None = None) -> None:
    """A whole answer of JSON."""
    length = (b"content-length", str(len(body)).encode())
    await send(
        {"type": "http.response.start", "status": status, "headers": [JSON_TYPE, length, *(headers or [])]}
    )
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: ServeError, close: bool = False) -> int:
    """An error as an answer; the bytes of its body. `close`: the connection ends with it."""
    headers = [(name.lower().encode(), value.encode()) for name, value in error_headers(error).items()]
    if close:
        headers.append((b"connection", b"close"))
    body = error_body(error.reason)
    await send_json(send, error.status, body, headers)
    return len(body)
