# SPDX-License-Identifier: Apache-2.0
"""A model on another server over gRPC: one channel for all, which connects again by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasinn.backends.base import Remote
from wasinn.backends.common import one_line
from wasinn.backends.oip_calls import Call, ConnectionFailed, Token
from wasinn.errors import WasiNNError, runtime_error, unsupported
from wasinn.oip.address import Address
from wasinn.oip.errors import OipError
from wasinn.oip.messages import InferRequest, InferResponse
from wasinn.spec import ErrorCode

_OPTIONS = [
    # Tensors are larger than the 4 MiB that gRPC would stop at.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found again before the further attempts are used up.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    # What is tried again is for `retried` to say.
    ("grpc.enable_retries", 0),
    # gRPC looks at http_proxy, which HTTP here does not.
    ("grpc.enable_http_proxy", 0),
]


class GrpcClient:
    """See `Client`."""

    def __init__(self, address: Address, remote: Remote) -> None:
        """Raises WasiNNError: unsupported_operation where grpcio or protobuf is missing, runtime_error for
        certificates that cannot be read."""
        try:
            import grpc

            from wasinn.oip import grpc_codec, grpc_messages
        except ImportError as error:
            raise unsupported(
                f'graphs with a grpc URL need {error.name or "grpcio"}: pip install "wasinn[oip]"'
            ) from error
        self._codes = grpc.StatusCode
        self._errors = (grpc.RpcError, grpc.FutureCancelledError)
        self._codec = grpc_codec
        self._messages = grpc_messages
        self._address = address
        self._timeout = remote.timeout
        self._token = Token(remote.token_file)
        self._name = f"{'grpcs' if address.tls else 'grpc'}://{address.server}"
        # By its name a pause, this is the time that making a connection may take.
        options = [*_OPTIONS, ("grpc.min_reconnect_backoff_ms", max(1, round(remote.timeout * 1000)))]
        if address.tls:
            credentials = grpc.ssl_channel_credentials(_certificates(remote))
            self._channel: Any = grpc.secure_channel(address.server, credentials, options)
        else:
            self._channel = grpc.insecure_channel(address.server, options)
        self._metadata = self._method("ModelMetadata")
        self._infer = self._method("ModelInfer")

    def _method(self, name: str) -> Any:
        method = self._messages.METHODS[name]
        return self._channel.unary_unary(
            method.path(name), method.request.SerializeToString, method.response.FromString
        )

    def metadata(self, call: Call) -> Mapping[str, Any]:
        message = self._messages.ModelMetadataRequest(name=self._address.model, version=self._address.version)
        answer = self._call(self._metadata, message, call)
        return {
            "name": answer.name,
            "versions": list(answer.versions),
            "platform": answer.platform,
            **{
                key: [
                    {"name": each.name, "datatype": each.datatype, "shape": list(each.shape)}
                    for each in getattr(answer, key)
                ]
                for key in ("inputs", "outputs")
            },
        }

    def infer(self, request: InferRequest, call: Call) -> InferResponse:
        try:
            message = self._codec.request_to_message(request, self._address.model, self._address.version)
            return self._codec.response_from_message(self._call(self._infer, message, call))
        except OipError as error:
            raise runtime_error(f"{self._name}: {error}") from error

    def _call(self, method: Any, message: Any, call: Call) -> Any:
        """The answer's message. Raises ConnectionFailed and WasiNNError."""
        token = self._token.header()
        metadata = None if token is None else (("authorization", token),)
        future = method.future(message, timeout=self._timeout, metadata=metadata)
        try:
            with call.ended_by(future.cancel):
                return future.result()
        except self._errors as error:
            call.check()
            raise self._error(error) from error
        finally:
            future.cancel()  # of one that is over nothing; else the caller was interrupted

    def _error(self, error: Any) -> Exception:
        """What a status means, with the server's words."""
        code = error.code() if hasattr(error, "code") else self._codes.CANCELLED
        said = one_line(error.details() or "") if hasattr(error, "details") else ""
        if code is self._codes.UNAVAILABLE:
            return ConnectionFailed(f"{self._name} cannot be reached: {said}")
        if code is self._codes.CANCELLED:  # not by us: a server that shuts down drops what it had not begun
            return ConnectionFailed(f"{self._name} dropped the call: {said}")
        if code is self._codes.DEADLINE_EXCEEDED:
            return runtime_error(f"{self._name} has not answered in {self._timeout:g} s: {said}")
        text = f"{self._name} answered {code.name}: {said}"
        if code in (self._codes.UNAUTHENTICATED, self._codes.PERMISSION_DENIED):
            text += "; give its token by token_file=FILE"
        if code is self._codes.UNIMPLEMENTED:
            text += "; is this a server of the Open Inference Protocol?"
        found = code is not self._codes.NOT_FOUND
        return WasiNNError(ErrorCode.RUNTIME_ERROR if found else ErrorCode.NOT_FOUND, text)


def _certificates(remote: Remote) -> bytes | None:
    """Raises WasiNNError (runtime_error)."""
    if remote.ca is None:
        return None
    try:
        return remote.ca.read_bytes()
    except OSError as error:
        raise runtime_error(f"ca {remote.ca}: {error.strerror}") from error
