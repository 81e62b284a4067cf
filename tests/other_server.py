# SPDX-License-Identifier: Apache-2.0
"""A server of the Open Inference Protocol's REST side that does what a test says, faults above all."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wasinn.oip import rest
from wasinn.oip.messages import InferResponse, WireTensor

#: Status, headers and body. None ends the connection without an answer.
Answer = tuple[int, dict[str, str], bytes] | None
PORT = {"datatype": "FP32", "shape": [-1]}


class OtherServer:
    """`with OtherServer() as server:` a model "m" with y = x, both FP32 [-1], at `server.url`.

    `infer`, `metadata` and `server_metadata` may be replaced at any time: each takes the handler, and the
    first the request's body as well.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None, binary: bool = True) -> None:
        self.connections = 0
        self._open: list[socket.socket] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.document: dict[str, Any] = {
            "name": "m",
            "inputs": [{"name": "x", **PORT}],
            "outputs": [{"name": "y", **PORT}],
        }
        self.extensions = ["binary_tensor_data"] if binary else []
        self.infer: Callable[[Any, bytes], Answer] = self.echo
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                server.connections += 1
                server._open.append(self.connection)

            def do_GET(self) -> None:
                server.requests.append((self.path, dict(self.headers)))
                if self.path.endswith("/v2"):
                    self.reply(answer(200, {"extensions": server.extensions}))
                elif "/models/m" in self.path:
                    self.reply(answer(200, server.document))
                else:
                    self.reply(answer(404, {"error": "unknown model"}))

            def do_POST(self) -> None:
                server.requests.append((self.path, dict(self.headers)))
                self.reply(server.infer(self, self.rfile.read(int(self.headers["Content-Length"]))))

            def reply(self, found: Answer) -> None:
                if found is None:
                    self.close_connection = True
                    return
                status, headers, body = found
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                pass  # clients that go away are what is tested

        self._server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        scheme = "https" if tls is not None else "http"
        self.url = f"{scheme}://{'localhost' if tls is not None else '127.0.0.1'}:{self.port}/m"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @staticmethod
    def echo(handler: Any, body: bytes) -> Answer:
        length = handler.headers.get(rest.HEADER_LENGTH)
        request = rest.decode_request(body, None if length is None else int(length))
        (x,) = request.inputs
        outputs = [WireTensor("y", x.datatype, x.shape, x.data)]
        parts, header = rest.encode_response(InferResponse("m", outputs), request)
        headers = {} if header is None else {rest.HEADER_LENGTH: str(header)}
        return 200, headers, b"".join(bytes(part) for part in parts)

    def __enter__(self) -> OtherServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def answer(status: int, document: Any, **headers: str) -> Answer:
    return status, headers, json.dumps(document).encode()
