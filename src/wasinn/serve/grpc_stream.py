# SPDX-License-Identifier: Apache-2.0
"""ModelStreamInfer: a call with many requests. They are worked on side by side, and answered in their order;
what is wrong with one is said in its answer, and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from wasinn.oip import grpc_messages as messages
from wasinn.serve.body import Budget
from wasinn.serve.errors import ServeError
from wasinn.serve.grpc_status import as_refusal, cancelled_from_outside
from wasinn.serve.settings import Settings

if TYPE_CHECKING:
    from wasinn.serve.grpc_service import Call

#: Requests of one stream that are worked on at once: enough for a batch. More of them wait in the connection,
#: where flow control slows their sender.
_AT_ONCE = 16
#: Seconds in which a caller must make room for an answer.
READ_TIMEOUT = 30.0


async def serve_stream(
    requests: AsyncIterator[bytes],
    context: grpc.aio.ServicerContext,
    new_call: Callable[[], Call],
    infer: Callable[[bytes, Call], Awaitable[Any]],
    settings: Settings,
    budget: Budget,
) -> None:
    """Answers `requests` with `infer`, to the last; when it is cancelled, those under way are as well. Raises
    ServeError (408) for a caller who does not read the answers."""
    at_once = max(1, min(_AT_ONCE, settings.max_concurrency))
    room = asyncio.Semaphore(at_once)
    under_way: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
    tasks: set[asyncio.Task[bytes]] = set()

    async def read() -> None:
        try:
            async for given in requests:
                await room.acquire()
                task = asyncio.ensure_future(_one(given, new_call(), infer, budget))
                tasks.add(task)
                under_way.put_nowait(task)
        finally:
            under_way.put_nowait(None)

    reader = asyncio.ensure_future(read())
    try:
        while (task := await under_way.get()) is not None:
            answer = await task
            tasks.discard(task)
            try:
                async with asyncio.timeout(READ_TIMEOUT):
                    await context.write(answer)
            except TimeoutError:
                raise ServeError(
                    408, f"an answer was not read in {READ_TIMEOUT:g} s", "slow_reader"
                ) from None
            room.release()
        await reader
    finally:
        for each in (reader, *tasks):
            each.cancel()
        await asyncio.gather(reader, *tasks, return_exceptions=True)


async def _one(
    given: bytes, call: Call, infer: Callable[[bytes, Call], Awaitable[Any]], budget: Budget
) -> bytes:
    """The answer to one request: an infer_response, or an error_message and the id of the request."""
    call.received = len(given)
    answer = messages.ModelStreamInferResponse()
    status, kind, counted = 200, "", 0
    try:
        budget.take(call.received)
        counted = call.received
        response = await infer(given, call)
        response.parameters["triton_final_response"].bool_param = True  # each request has one answer
        answer.infer_response.CopyFrom(response)
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and cancelled_from_outside():
            status, kind = 499, "cancelled"
            raise
        refusal = as_refusal(error).bare()
        status, kind = refusal.status, refusal.kind
        answer = _refused(refusal, call)
    finally:
        budget.give_back(counted)
        call.ended(status, kind)
    result: bytes = answer.SerializeToString()
    call.sent = len(result)
    return result


def _refused(refusal: ServeError, call: Call) -> Any:
    answer = messages.ModelStreamInferResponse(
        error_message=refusal.reason.encode("utf-8", "replace").decode()
    )
    answer.infer_response.id = call.request_id
    answer.infer_response.model_name = call.model
    return answer
