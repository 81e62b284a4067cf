# SPDX-License-Identifier: Apache-2.0
"""The infer request over HTTP: plain ASGI, since for a small model microseconds count.

In this order: who asks, whether there is room, the body, what it says, the model, the answer.
"""

from __future__ import annotations

import asyncio
import logging
import time

from wasinn.oip.errors import OipError
from wasinn.oip.messages import InferRequest, InferResponse
from wasinn.oip.rest import HEADER_LENGTH, Parts, decode_request, encode_response
from wasinn.serve.body import Body, GoneError, Receive, check_encoding, slow_body, unpack
from wasinn.serve.errors import ServeError
from wasinn.serve.frontend import CLIENT_CLOSED, Frontend
from wasinn.serve.requests import JSON_TYPE, RequestHeaders, Scope, Send, client_of, send_error
from wasinn.serve.watch import Watched

logger = logging.getLogger("wasinn.serve")

#: Answers up to so many bytes are sent in one piece; a larger one in its parts, which are then not copied.
_ONE_PIECE = 1 << 16
#: Packed bodies from so many bytes on are unpacked in a thread: they may grow a thousandfold.
_LARGE = 1 << 12
#: JSON from so many bytes on is read and written in a thread: others are answered meanwhile.
_LARGE_JSON = 1 << 20

_HEADER_LENGTH = HEADER_LENGTH.lower().encode()
_BINARY = (b"content-type", b"application/octet-stream")

_PREFIX, _SUFFIX = "/v2/models/", "/infer"


def model_of(path: str) -> tuple[str, str] | None:
    """The model and the version ("" without one) of an infer request's path; None for another path."""
    if not (path.startswith(_PREFIX) and path.endswith(_SUFFIX) and len(path) > len(_PREFIX) + len(_SUFFIX)):
        return None
    name, versions, version = path[len(_PREFIX) : -len(_SUFFIX)].partition("/versions/")
    return (name, version) if not versions or version else None


class InferEndpoint:
    """Answers infer requests of `frontend`. Who asks has been looked at."""

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._max_body = frontend.settings.max_body
        #: One large body at a time is unpacked, or read or written as JSON: it is many times as large then.
        self._large = asyncio.Lock()

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, headers: RequestHeaders, name: str, version: str
    ) -> None:
        """Answers a POST to a model's `/infer`, whatever comes of it, and writes its line of the log."""
        frontend = self._frontend
        began = time.perf_counter()
        status, sent, kind, request_id = 200, 0, "", ""
        body = Body(receive, self._max_body, frontend.budget)
        watched = frontend.watch.begin(receive)
        refused: ServeError | None = None
        try:
            frontend.check(name, version)
            try:
                content = await self._read(body, headers)
                watched.reading = False
                request = await self._decoded(content, headers.binary_header_length())
                request_id = request.id
            except OipError as error:
                raise self._refused(name, ServeError(400, str(error))) from error
            except ServeError as error:
                raise self._refused(name, error) from error
            response = await frontend.infer(name, version, request, client_of(scope))
            try:
                parts, header_length = await self._encoded(response, request)
            except OipError as error:
                raise ServeError(400, str(error)) from error
            frontend.watch.end(watched)
            sent = await _answer(send, parts, header_length, frontend.draining)
        except ServeError as error:
            refused = error.bare()
        except GoneError:
            status, kind = CLIENT_CLOSED, "gone"
        except asyncio.CancelledError:
            if watched.reason is None:
                raise
            refused = self._ended(watched, name)
            status, kind = CLIENT_CLOSED, watched.reason
        except Exception:
            logger.exception("a fault of the server, for %s", client_of(scope))
            refused = ServeError(500, "a fault of the server; its log says more", "internal")
        finally:
            frontend.watch.end(watched)
            body.free()
        if refused is not None:
            status, kind = refused.status, refused.kind
            # What is left of a body that was not read comes after this, and is thrown away.
            sent = await send_error(send, refused, close=frontend.draining)
        path = f"POST {scope['path']}"
        seconds = time.perf_counter() - began
        frontend.access.log(
            "http", client_of(scope), path, status, seconds, body.size, sent, request_id, kind
        )

    async def _read(self, body: Body, headers: RequestHeaders) -> bytes:
        """The body, unpacked. Raises ServeError, GoneError."""
        headers.check_media_type()
        encoding = None
        if headers.encoding is not None:
            encoding = headers.encoding.decode("latin-1").strip().lower()
            check_encoding(encoding)
        body.expect(headers.length)
        content = await body.read()
        if encoding is None:
            return content
        limit = self._max_body
        if len(content) < _LARGE:
            content = unpack(content, encoding, limit)
        else:
            async with self._large:
                packed = content
                content = await self._frontend.lanes.block(lambda: unpack(packed, encoding, limit))
        body.holds(len(content))
        return content

    async def _decoded(self, content: bytes, header_length: int | None) -> InferRequest:
        """Raises OipError, ServeError."""
        if (len(content) if header_length is None else header_length) < _LARGE_JSON:
            return decode_request(content, header_length)
        async with self._large:
            return await self._frontend.lanes.block(lambda: decode_request(content, header_length))

    async def _encoded(self, response: InferResponse, request: InferRequest) -> tuple[Parts, int | None]:
        """Raises OipError."""
        if request.binary_output or sum(len(each.data) for each in response.outputs) < _LARGE_JSON:
            return encode_response(response, request)
        async with self._large:
            return await self._frontend.lanes.block(lambda: encode_response(response, request))

    def _refused(self, name: str, error: ServeError) -> ServeError:
        self._frontend.refuse(name, error)
        return error

    def _ended(self, watched: Watched, name: str) -> ServeError | None:
        """What to say to the caller of a request that the watch has ended; None if nobody is there."""
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        if watched.reason == "slow":
            return self._refused(name, slow_body(self._frontend.settings.body_timeout))
        if watched.reason == "closing":
            return ServeError(503, "the server has ended", "draining", 1.0)
        return None


async def _answer(send: Send, parts: Parts, header_length: int | None, close: bool) -> int:
    """Sends an answer; the bytes of its body."""
    size = sum(map(len, parts))
    headers = [
        JSON_TYPE if header_length is None else _BINARY,
        (b"content-length", str(size).encode()),
    ]
    if header_length is not None:
        headers.append((_HEADER_LENGTH, str(header_length).encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if size <= _ONE_PIECE or len(parts) == 1:
        await send({"type": "http.response.body", "body": parts[0] if len(parts) == 1 else b"".join(parts)})
        return size
    last = len(parts) - 1
    for index, part in enumerate(parts):
        await send({"type": "http.response.body", "body": part, "more_body": index < last})
    return size
