# SPDX-License-Identifier: Apache-2.0
"""What a call over gRPC ends with: the status codes of our refusals, and what is not one of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import grpc

from wasinn.oip.errors import OipError
from wasinn.serve.errors import ServeError
from wasinn.serve.frontend import CLIENT_CLOSED

_log = logging.getLogger("wasinn.serve")
_Answer = TypeVar("_Answer")

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

#: What a status text may hold, in bytes as it is sent (a byte that is not plain ASCII takes three): it is
#: part of the trailers, and clients refuse trailers of more than 8 KiB.
_MAX_TEXT = 6000


def code_of(status: int) -> grpc.StatusCode:
    """The gRPC code of an HTTP status."""
    found = _CODES.get(status)
    if found is not None:
        return found
    return grpc.StatusCode.INVALID_ARGUMENT if 400 <= status < 500 else grpc.StatusCode.INTERNAL


def as_refusal(error: BaseException) -> ServeError:
    """What a caller is told of an error. One that is not ours goes to the log, with its traceback."""
    if isinstance(error, ServeError):
        return error
    if isinstance(error, OipError):
        return ServeError(400, str(error))
    if isinstance(error, asyncio.CancelledError):
        return ServeError(503, "the request was ended by the server")
    _log.error("a gRPC call failed in the server itself", exc_info=error)
    return ServeError(500, f"the server failed ({type(error).__name__}); its log says more")


async def answered(
    work: Awaitable[_Answer], context: grpc.aio.ServicerContext, ended: Callable[[int, str], None]
) -> _Answer:
    """The result of `work`, or the call's end with the code and the words of its refusal.

    `ended` is told the HTTP status of the outcome, and the kind of its error. A caller that is gone
    (cancelled, deadline past) cancels the task of the call, and so `work`.
    """
    try:
        answer = await work
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and cancelled_from_outside():
            ended(CLIENT_CLOSED, "cancelled")
            raise
        # A cancellation from within, passed on, would leave the caller without any answer.
        refusal = as_refusal(error).bare()
        ended(refusal.status, refusal.kind)
        await _end(context, refusal)
    ended(200, "")
    return answer


async def _end(context: grpc.aio.ServicerContext, refusal: ServeError) -> NoReturn:
    if refusal.retry_after is not None:
        # What clients that retry by themselves go by (gRFC A6).
        context.set_trailing_metadata((("grpc-retry-pushback-ms", str(round(refusal.retry_after * 1000))),))
    await context.abort(code_of(refusal.status), cut(refusal.reason))
    raise AssertionError("abort raises")


def cancelled_from_outside() -> bool:
    """Whether the running task was cancelled, and no work of its own that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def cut(text: str) -> str:
    """A text that fits into a call's trailers."""
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate is no text that can be sent
    room = _MAX_TEXT
    for place, letter in enumerate(text):
        room -= 1 if " " <= letter <= "~" and letter != "%" else 3 * len(letter.encode())
        if room < 0:
            return text[:place] + "..."
    return text
