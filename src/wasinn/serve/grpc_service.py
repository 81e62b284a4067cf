# SPDX-License-Identifier: Apache-2.0
"""The calls of the protocol's gRPC service, `inference.GRPCInferenceService`.

Messages are parsed and written here, not by gRPC: bytes that are no message get an answer in words, and their
sizes are known to the access log.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from wasinn.oip import grpc_messages as messages
from wasinn.oip.errors import OipError
from wasinn.oip.grpc_codec import request_from_message, response_to_message
from wasinn.serve.errors import ServeError
from wasinn.serve.frontend import Frontend
from wasinn.serve.grpc_read import Message
from wasinn.serve.grpc_status import answered
from wasinn.serve.grpc_stream import serve_stream

#: Calls that probes make, which have no token and would fill the log.
_OPEN = ("ServerLive", "ServerReady")

#: What to use for a method that other servers have.
_INSTEAD = {
    "ModelConfig": "ModelMetadata says what a model takes and gives",
    "ModelStatistics": "its metrics are over HTTP, at /metrics",
    "SystemSharedMemoryRegister": "tensors are sent in the messages",
    "CudaSharedMemoryRegister": "tensors are sent in the messages",
}


class Call:
    """One call, or one request of a stream: who asks for what, for the log."""

    def __init__(self, frontend: Frontend, name: str, context: grpc.aio.ServicerContext) -> None:
        self._frontend = frontend
        self._began = time.perf_counter()
        self.name = name
        self.context = context
        self.client = unquote(context.peer().partition(":")[2])
        self.model = ""
        self.request_id = ""
        self.received = 0
        self.sent = 0

    def ended(self, status: int, kind: str) -> None:
        """Writes the line of the log."""
        if status == 200 and self.name in _OPEN:
            return
        self._frontend.access.log(
            "grpc",
            self.client,
            f"{self.name} {self.model}" if self.model else self.name,
            status,
            time.perf_counter() - self._began,
            self.received,
            self.sent,
            self.request_id,
            kind,
        )


class InferenceHandler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every method of the service; one that Triton has and this server has not is told so."""

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        unary: dict[str, Callable[[Any, Call], Awaitable[Any]]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        self._handlers = {
            messages.Method.path(name): grpc.stream_unary_rpc_method_handler(self._unary(name, work))
            for name, work in unary.items()
        }
        self._handlers[messages.Method.path("ModelStreamInfer")] = grpc.stream_stream_rpc_method_handler(
            self._stream
        )

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        found = self._handlers.get(details.method)
        if found is None and details.method.startswith(f"/{messages.SERVICE}/"):
            name = details.method.rpartition("/")[2]
            return grpc.stream_unary_rpc_method_handler(self._unary(name, self._unknown))
        return found

    def _unary(self, name: str, work: Callable[[Any, Call], Awaitable[Any]]) -> Callable[..., Any]:
        """A call with one message and one answer, both as bytes. For gRPC its requests are a stream: then
        who asks is looked at before the message comes."""
        method = messages.METHODS.get(name)

        async def answer(call: Call) -> bytes:
            if name not in _OPEN:
                self._authorize(call.context)
            message = Message(self._frontend, call.context)
            try:
                given = await message.read()
                call.received = len(given)
                request = None if method is None else _parsed(method.request, name, given)
                del given
                result: bytes = (await work(request, call)).SerializeToString()
            finally:
                message.free()
            call.sent = len(result)
            return result

        async def handle(_: Any, context: grpc.aio.ServicerContext) -> bytes:
            call = Call(self._frontend, name, context)
            return await answered(answer(call), context, call.ended)

        return handle

    def _authorize(self, context: grpc.aio.ServicerContext) -> None:
        """Raises ServeError (401)."""
        tokens = self._frontend.tokens
        if not tokens.wanted:
            return
        given = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        try:
            tokens.check(given[-1] if given else None)
        except ServeError as error:
            self._frontend.refuse("", error)
            raise

    # -- the server -----------------------------------------------------------------------------------

    async def _server_live(self, _: Any, __: Call) -> Any:
        return messages.ServerLiveResponse(live=self._frontend.live)

    async def _server_ready(self, _: Any, __: Call) -> Any:
        return messages.ServerReadyResponse(ready=self._frontend.ready)

    async def _server_metadata(self, _: Any, __: Call) -> Any:
        return messages.ServerMetadataResponse(**self._frontend.server_metadata())

    async def _unknown(self, _: Any, call: Call) -> Any:
        hint = _INSTEAD.get(call.name, f"it has {', '.join(messages.METHODS)}")
        raise ServeError(501, f"this server has no {call.name}: {hint}")

    # -- models ---------------------------------------------------------------------------------------

    async def _model_ready(self, request: Any, call: Call) -> Any:
        call.model = request.name
        try:
            ready = self._frontend.repository.is_ready(request.name, request.version)
        except ServeError:  # one that is not there is not ready: the answer is a yes or a no
            ready = False
        return messages.ModelReadyResponse(ready=ready)

    async def _model_metadata(self, request: Any, call: Call) -> Any:
        call.model = request.name
        found = self._frontend.model_metadata(request.name, request.version)
        answer = messages.ModelMetadataResponse(
            name=found["name"], versions=found["versions"], platform=found["platform"]
        )
        for key, target in (("inputs", answer.inputs), ("outputs", answer.outputs)):
            for each in found[key]:
                target.add(name=each["name"], datatype=each["datatype"], shape=each["shape"])
        return answer

    async def _model_infer(self, message: Any, call: Call) -> Any:
        name = call.model = message.model_name
        call.request_id = message.id
        try:
            request = request_from_message(message)
        except OipError as error:
            refusal = ServeError(400, str(error))
            self._frontend.refuse(name, refusal)
            raise refusal from error
        left = call.context.time_remaining()
        response = await self._frontend.infer(name, message.model_version, request, call.client, left)
        return response_to_message(response)

    async def _stream(self, requests: Any, context: grpc.aio.ServicerContext) -> None:
        """ModelStreamInfer, Triton's: many requests and their answers on one call."""

        async def one(given: bytes, call: Call) -> Any:
            return await self._model_infer(_parsed(messages.ModelInferRequest, call.name, given), call)

        call = Call(self._frontend, "ModelStreamInfer", context)

        async def serve() -> None:
            self._authorize(context)
            await serve_stream(
                requests,
                context,
                lambda: Call(self._frontend, call.name, context),
                one,
                self._frontend.settings,
                self._frontend.budget,
            )

        await answered(serve(), context, call.ended)

    # -- the repository -------------------------------------------------------------------------------

    async def _repository_index(self, request: Any, _: Call) -> Any:
        _check_repository_name(request)
        answer = messages.RepositoryIndexResponse()
        for each in self._frontend.repository.index(request.ready):
            answer.models.add(
                name=each["name"], version=each["version"], state=each["state"], reason=each["reason"]
            )
        return answer

    async def _load(self, request: Any, call: Call) -> Any:
        call.model = request.model_name
        _check_repository_name(request)
        if request.parameters:
            raise ServeError(
                400,
                f"a model is loaded as the operator has set it up, without parameters; got "
                f"{', '.join(sorted(request.parameters))[:200]}",
            )
        await self._frontend.load(request.model_name)
        return messages.RepositoryModelLoadResponse()

    async def _unload(self, request: Any, call: Call) -> Any:
        call.model = request.model_name
        _check_repository_name(request)
        # `unload_dependents`, which Triton's client always sends, is about models that are made of others.
        await self._frontend.unload(request.model_name)
        return messages.RepositoryModelUnloadResponse()


def _check_repository_name(request: Any) -> None:
    if request.repository_name:
        raise ServeError(400, "this server has one repository, without a name: leave repository_name empty")


def _parsed(kind: Any, method: str, given: bytes) -> Any:
    """The message in bytes. Raises ServeError (400)."""
    try:
        return kind.FromString(given)
    except DecodeError as error:
        raise ServeError(
            400,
            f"{method} wants a {kind.DESCRIPTOR.full_name}; {len(given)} bytes came that are none: {error}",
        ) from None
