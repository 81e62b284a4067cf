# SPDX-License-Identifier: Apache-2.0
"""The health service of gRPC itself (grpc.health.v1), for probes that know nothing of inference."""

from __future__ import annotations

import grpc

from wasinn import protobuf
from wasinn.serve.errors import ServeError
from wasinn.serve.frontend import Frontend
from wasinn.serve.grpc_read import Message
from wasinn.serve.grpc_status import answered

#: The service `grpc.health.v1.Health`, and the names that it is asked of; "" is the whole server.
SERVICE = "grpc.health.v1.Health"
_KNOWN = ("", "inference.GRPCInferenceService")

# HealthCheckResponse: field 1 is the status.
_SERVING = b"\x08\x01"
_NOT_SERVING = b"\x08\x02"


class HealthHandler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers Check. Who asks to Watch gets UNIMPLEMENTED, and asks again now and then."""

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != f"/{SERVICE}/Check":
            return None
        return grpc.stream_unary_rpc_method_handler(self._check)

    async def _check(self, _: object, context: grpc.aio.ServicerContext) -> bytes:
        return await answered(self._status(context), context, _unheard)

    async def _status(self, context: grpc.aio.ServicerContext) -> bytes:
        message = Message(self._frontend, context)
        try:
            name = _service_name(await message.read())
        finally:
            message.free()
        if name not in _KNOWN:
            raise ServeError(404, f"no service {name!r} here: ask for one of {_KNOWN}")
        return _SERVING if self._frontend.ready else _NOT_SERVING


def _unheard(_status: int, _kind: str) -> None:
    """Probes would fill the log."""


def _service_name(request: bytes) -> str:
    """HealthCheckRequest: field 1 is the service's name."""
    name = b""
    try:
        for field, wire, start, end in protobuf.fields(request, 0, len(request)):
            if (field, wire) == (1, protobuf.BYTES):
                name = request[start:end]
        return name.decode()
    except ValueError as error:
        raise ServeError(400, f"not a HealthCheckRequest: {error}") from None
