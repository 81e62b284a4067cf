# SPDX-License-Identifier: Apache-2.0
"""A model on another server over HTTP.

Connections are kept open and shared: a call takes one that is idle, or makes one. One that the server closed
while it was idle is no failure, another is taken. A thread cannot be stopped while it looks a host up or
connects, so that is done in a thread of its own, which whoever is interrupted leaves behind; a socket that is
read from ends when it is shut down.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any

from wasinn.backends.base import Remote
from wasinn.backends.common import one_line
from wasinn.backends.oip_calls import Call, ConnectionFailed, Token
from wasinn.errors import WasiNNError, runtime_error
from wasinn.oip import rest
from wasinn.oip.address import Address
from wasinn.oip.errors import OipError
from wasinn.oip.json_data import ONLY_BINARY
from wasinn.oip.messages import InferRequest, InferResponse
from wasinn.spec import ErrorCode

#: Idle connections that are kept.
_MAX_IDLE = 64
#: A body of more parts than this many bytes is sent part by part, without putting it together.
_SMALL = 1 << 16
_CHUNK = 1 << 20
#: What a server that has the extension says in its metadata.
_BINARY_EXTENSION = "binary_tensor_data"


class HttpClient:
    """See `Client`."""

    def __init__(self, address: Address, remote: Remote) -> None:
        self._address = address
        self._timeout = remote.timeout
        self._token = Token(remote.token_file)
        self._tls = _tls(remote) if address.tls else None
        scheme = "https" if address.tls else "http"
        self._name = f"{scheme}://{address.server}"
        self._infer_path = f"{address.path}/infer"
        self._idle: list[http.client.HTTPConnection] = []
        weakref.finalize(self, _close_all, self._idle)
        self._binary = False

    def metadata(self, call: Call) -> Mapping[str, Any]:
        document = self._json(self._address.path, call)
        try:
            server = self._json(f"{self._address.prefix}/v2", call)
            extensions = server.get("extensions")
        except WasiNNError:  # a gateway may let nothing through but models
            extensions = None
        self._binary = isinstance(extensions, list) and _BINARY_EXTENSION in extensions
        return document

    def infer(self, request: InferRequest, call: Call) -> InferResponse:
        # What JSON cannot say goes as binary data even to a server that says nothing of the extension.
        binary = self._binary or any(each.datatype in ONLY_BINARY for each in request.inputs)
        try:
            parts, length = rest.encode_request(request, binary)
            headers = {"Content-Type": "application/octet-stream" if length is not None else _JSON}
            if length is not None:
                headers[rest.HEADER_LENGTH] = str(length)
            response, body = self._exchange("POST", self._infer_path, parts, headers, call)
            if response.status != 200:
                raise self._refusal(response, body)
            return rest.decode_response(body, _header_length(response))
        except OipError as error:
            raise runtime_error(f"{self._name}: {error}") from error

    def _json(self, path: str, call: Call) -> dict[str, Any]:
        response, body = self._exchange("GET", path, [], {}, call)
        if response.status != 200:
            raise self._refusal(response, body)
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise runtime_error(f"{self._name}{path} gave no JSON object: is this the right address?")
        return document

    def _refusal(self, response: http.client.HTTPResponse, body: bytes) -> WasiNNError:
        """The error for an answer that is none, with the server's words."""
        status = response.status
        said = rest.decode_error(body) or str(body[:200], "utf-8", "replace") or response.reason
        text = f"{self._name} answered {status}: {one_line(said)}"
        if status in (401, 403):
            text += "; give its token by token_file=FILE"
        elif 300 <= status < 400:
            text += f"; it sends on to {one_line(str(response.getheader('Location')))}: give that address"
        return WasiNNError(ErrorCode.NOT_FOUND if status == 404 else ErrorCode.RUNTIME_ERROR, text)

    def _exchange(
        self, method: str, path: str, parts: rest.Parts, headers: dict[str, str], call: Call
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Sends a request and reads the answer. Raises ConnectionFailed and WasiNNError (runtime_error)."""
        if (token := self._token.header()) is not None:
            headers["Authorization"] = token
        size = sum(len(part) for part in parts)
        if parts:
            headers["Content-Length"] = str(size)
        body: Any = None
        if parts:
            body = b"".join(parts) if size <= _SMALL else parts
        end = time.monotonic() + self._timeout
        while True:
            connection, fresh = self._take(end, call)
            try:
                with call.ended_by(partial(_shut_down, connection.sock)):
                    answer = _ask(connection, method, path, body, headers, end)
            except TimeoutError as error:
                connection.close()
                raise runtime_error(f"{self._name} has not answered in {self._timeout:g} s") from error
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                call.check()
                if not fresh and isinstance(error, _STALE):
                    continue  # it was closed while nobody used it
                raise ConnectionFailed(f"the connection to {self._name} failed: {_reason(error)}") from error
            except BaseException:
                connection.close()
                raise
            if answer[0].will_close or call.ended or len(self._idle) >= _MAX_IDLE:
                connection.close()
            else:
                self._idle.append(connection)
            call.check()
            return answer

    def _take(self, end: float, call: Call) -> tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it is a new one. Raises as `_exchange`."""
        with contextlib.suppress(IndexError):
            return self._idle.pop(), False
        connecting = _Connecting(self._connection())
        with call.ended_by(connecting.give_up):
            connecting.wait(end - time.monotonic())
        call.check()
        error = connecting.error
        if isinstance(error, TimeoutError):
            raise runtime_error(f"{self._name} could not be reached in {self._timeout:g} s") from error
        if isinstance(error, ssl.SSLCertVerificationError):
            raise runtime_error(
                f"{self._name}: its certificate is not trusted: {error.verify_message}; give the one that "
                "signed it by ca=FILE"
            ) from error
        if error is not None:
            raise ConnectionFailed(f"{self._name} cannot be reached: {_reason(error)}") from error
        return connecting.connection, True

    def _connection(self) -> http.client.HTTPConnection:
        address = self._address
        if self._tls is None:
            return http.client.HTTPConnection(address.host, address.port, timeout=self._timeout)
        return http.client.HTTPSConnection(
            address.host, address.port, timeout=self._timeout, context=self._tls
        )


_JSON = "application/json"
#: What a connection that was closed meanwhile fails with.
_STALE = (ConnectionError, http.client.BadStatusLine, ssl.SSLError)


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    for connection in connections:
        connection.close()


class _Connecting:
    """A connection that a thread of its own makes."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        self.error: Exception | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._left = False
        threading.Thread(target=self._connect, name="wasinn-oip-connect", daemon=True).start()

    def _connect(self) -> None:
        error: Exception | None = None
        try:
            self.connection.connect()
        except Exception as raised:
            error = raised
        with self._lock:
            if self._left:
                self.connection.close()
                return
            self.error = error
            self._over.set()

    def wait(self, seconds: float) -> None:
        """Until it is there, or failed (`error`): a TimeoutError where that takes longer."""
        if not self._over.wait(max(seconds, 0)):
            self.give_up()

    def give_up(self) -> None:
        with self._lock:
            if not self._over.is_set():
                self._left = True
                self.error = TimeoutError()
                self._over.set()


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any,
    headers: Mapping[str, str],
    end: float,
) -> tuple[http.client.HTTPResponse, bytes]:
    stream = connection.sock  # the connection forgets it where the answer ends with it
    stream.settimeout(_left(end))
    # A server that refuses what is being sent, for its size mostly, answers and closes: its reason is there
    # to be read. Where nothing is, reading fails in the same way.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request(method, path, body, headers)
    stream.settimeout(_left(end))
    response = connection.getresponse()
    chunks = []
    # One read of the socket at a time: a server that sends a byte now and then is not waited for for ever.
    while chunk := response.read1(min(response.length or _SMALL, _CHUNK)):
        chunks.append(chunk)
        stream.settimeout(_left(end))
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    response.close()  # of what was read in pieces it does not find the end; the connection stays
    return response, chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _left(end: float) -> float:
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _shut_down(stream: socket.socket) -> None:
    """Ends whoever reads from it or writes to it."""
    with contextlib.suppress(OSError):
        # The plain socket's method: that of TLS drops what a thread inside it still uses.
        socket.socket.shutdown(stream, socket.SHUT_RDWR)


def _header_length(response: http.client.HTTPResponse) -> int | None:
    """What the header says. Raises OipError."""
    text = response.getheader(rest.HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise OipError(f"{rest.HEADER_LENGTH} is {text!r}, which is no number of bytes")
    return int(text)


def _reason(error: BaseException) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "it was closed in the middle of the answer"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it was closed without an answer"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is not HTTP ({type(error).__name__}: {one_line(error)})"
    text = error.strerror if isinstance(error, OSError) and error.strerror else error
    return one_line(text) or type(error).__name__


def _tls(remote: Remote) -> ssl.SSLContext:
    """Raises WasiNNError (runtime_error)."""
    try:
        return ssl.create_default_context(cafile=None if remote.ca is None else str(remote.ca))
    except (OSError, ValueError) as error:
        raise runtime_error(f"ca {remote.ca} cannot be used: {_reason(error)}") from error
