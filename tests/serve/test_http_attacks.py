# SPDX-License-Identifier: Apache-2.0
"""Callers who mean no good or know no better: what they send is answered in words, what they hold ends."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from onnx import TensorProto

import models
import wasinn
from grpc_serving import GrpcServing
from serving import Serving, tensor
from wasinn.oip.errors import OipError
from wasinn.oip.rest import decode_request
from wasinn.serve import connection
from wasinn.serve.settings import Settings

BODY = json.dumps({"inputs": [tensor("x", "FP32", [2], [1, 2])]}).encode()
CLOSE = "Connection: close\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    graph = models.identity(TensorProto.FLOAT, (None,))
    host = wasinn.Host(graphs={"same": wasinn.GraphSource.from_bytes(graph)})
    settings = Settings(access_log="off", console=False, body_timeout=0.5)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("INTERVAL", 0.02), ("HEAD_TIMEOUT", 0.2), ("READ_TIMEOUT", 0.3)):
            patch.setattr(connection, name, value)
        with Serving(host, settings, limit_concurrency=8) as serving:
            yield serving


def post(extra: str = CLOSE, body: bytes = BODY, host: str = "localhost", length: bool = True) -> bytes:
    told = f"Content-Length: {len(body)}\r\n" if length else ""
    return f"POST /v2/models/same/infer HTTP/1.1\r\nHost: {host}\r\n{told}{extra}\r\n".encode() + body


def connect(server: Serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def to_end(found: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    parts = []
    try:
        while part := found.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass  # what it did not read of ours was lost
    return b"".join(parts)


def sent(server: Serving, content: bytes) -> tuple[int, str]:
    """The status and the body of the last answer to what is sent on one connection."""
    with connect(server) as found:
        found.sendall(content)
        head, _, body = to_end(found).rpartition(b"\r\n\r\n")
    return int(head.rpartition(b"HTTP/1.1 ")[2][:3]), body.decode()


# -- what takes for ever ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "more", "status"),
    [
        (b"", b"", b""),
        (b"", b"\r\n", b""),
        (b"GET /v2 HTTP/1.1\r\n", b"", b" 408 "),
        (b"GET /v2 HTTP/1.1\r\n", b"A: b\r\n", b" 408 "),
    ],
    ids=["nothing", "empty-lines", "half-a-head", "a-head-that-drips"],
)
def test_a_head_that_does_not_come(server: Serving, begin: bytes, more: bytes, status: bytes) -> None:
    with connect(server) as found:
        found.sendall(begin)
        found.settimeout(0.02)
        got, end = b"", time.monotonic() + 20
        while time.monotonic() < end:
            try:
                part = found.recv(1 << 16)
                if not part:
                    break
                got += part
            except TimeoutError:
                found.sendall(more)
            except (ConnectionResetError, BrokenPipeError):
                break
        assert time.monotonic() < end, "it was kept for ever"
    assert status in got[:20]
    assert bool(status) == bool(got)


def test_a_caller_who_does_not_read_is_cut_off(server: Serving) -> None:
    size = 4 << 20
    document = {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [size], "parameters": {"binary_data_size": 4 * size}}
        ],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(document).encode()
    content = post(f"Inference-Header-Content-Length: {len(head)}\r\n", head + bytes(4 * size))
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        found.settimeout(20)
        found.connect(("127.0.0.1", server.port))
        found.sendall(content)
        end = time.monotonic() + 20
        while server.call(lambda: len(server._server.server_state.connections)):
            assert time.monotonic() < end, "it was kept for ever"
            time.sleep(0.02)


def test_idle_connections_make_room(server: Serving) -> None:
    idle = [connect(server) for _ in range(20)]
    assert sent(server, post())[0] == 200
    for each in idle:
        each.close()


def test_beyond_all_connections_there_is_an_answer_and_probes_work(server: Serving) -> None:
    half = post(body=b"{" * 9)[:-1]
    busy = [connect(server) for _ in range(8)]
    for each in busy:
        each.sendall(half)
    end = time.monotonic() + 20
    while not server.call(lambda: sum(each.busy for each in server._server.server_state.connections) == 8):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
    status, body = sent(server, post())
    assert (status, "max_connections" in body) == (503, True)
    assert sent(server, f"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n".encode())[0] == 200
    for each in busy:
        each.close()


def test_a_grpc_message_that_does_not_come_is_ended() -> None:
    def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
        return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content

    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/inference.GRPCInferenceService/ModelInfer",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    head = b"".join(
        b"\0%c%s%c%s" % (len(key), key.encode(), len(value), value.encode()) for key, value in fields.items()
    )
    settings = Settings(access_log="off", console=False, body_timeout=0.2)
    with GrpcServing({"same": models.identity()}, settings) as serving:
        with socket.create_connection(("127.0.0.1", serving.grpc.port), timeout=20) as found:
            found.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, head))
            found.sendall(frame(0, 0, 1, struct.pack(">BI", 0, 1 << 20) + b"what has come of a megabyte"))
            got = b""
            while b"body_timeout" not in got:
                part = found.recv(1 << 16)
                assert part, got
                got += part
        assert serving.call(lambda: serving.frontend.budget.held) == 0


# -- what is not what it seems -----------------------------------------------------------------------------


CHUNKED = CLOSE + "Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (post(CLOSE + "Content-Length: 3\r\n"), 400, "Content-Length"),
        (post(CHUNKED), 400, "Transfer-Encoding"),
        (post(CHUNKED, b"zz\r\n", length=False), 400, "chunk size"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "https"),
        (post("X: " + "a" * 300_000 + "\r\n"), 431, "65536"),
        (post("".join(f"a{at}: b\r\n" for at in range(30_000))), 431, "65536"),
        (b"GET /" + b"a" * 300_000, 431, "65536"),
        (post(CHUNKED, b"1\r\n{\r\n0\r\n" + b"a: b\r\n" * 60_000, length=False), 431, "65536"),
        (post(host="evil.example:8000"), 403, "localhost"),
        (post(CLOSE + "Origin: http://evil.example\r\n"), 403, "evil.example"),
        (post() + b"\x00 garbage", 200, "outputs"),
    ],
    ids=[
        "two-lengths",
        "length-and-chunks",
        "no-chunk",
        "tls",
        "a-long-header",
        "many-headers",
        "a-long-path",
        "endless-trailers",
        "another-host",
        "another-origin",
        "garbage-behind",
    ],
)
def test_what_is_refused(server: Serving, content: bytes, status: int, words: str) -> None:
    found, body = sent(server, content)
    assert (found, words in body) == (status, True), body
    assert sent(server, post())[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.1:80", "[::1]:8000", "localhost", "box", "a.localhost"])
def test_names_of_this_machine(server: Serving, host: str) -> None:
    assert sent(server, post(host=host))[0] == 200


def test_small_chunks_are_a_body(server: Serving) -> None:
    chunks = b"".join(b"1;x=%d\r\n%s\r\n" % (at, BODY[at : at + 1]) for at in range(len(BODY)))
    assert sent(server, post(CHUNKED, chunks + b"0\r\nA: b\r\n\r\n", length=False))[0] == 200


def test_a_wish_for_another_protocol_is_left_alone(server: Serving) -> None:
    """Java's client wishes for HTTP/2 with its first request, whatever its body."""
    wish = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    with connect(server) as found:
        found.sendall(post(wish) + post())
        assert to_end(found).count(b"HTTP/1.1 200 OK") == 2


def test_a_request_that_came_before_the_end_is_answered(server: Serving) -> None:
    """The server ends while a connection is idle for it, and has a request in the system's buffer."""
    with connect(server) as found:
        found.sendall(post(""))
        found.recv(1 << 16)
        began, held = threading.Event(), threading.Event()

        def end() -> None:
            began.set()
            held.wait(20)  # nothing is read while the loop is here
            for each in server._server.server_state.connections:
                each.shutdown()

        ended = threading.Thread(target=server.call, args=(end,))
        ended.start()
        assert began.wait(20)
        found.sendall(post(""))
        held.set()
        ended.join()
        assert b"200 OK" in to_end(found)


# -- what becomes large ------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["[],", "{},", "1,", '"a":1,'], ids=["lists", "objects", "numbers", "keys"])
def test_json_that_would_become_a_hundred_times_as_large(unit: str) -> None:
    count = (9 << 20) // (1 if unit == "1," else 9)
    left, right = ("{", '"b":1}') if ":" in unit else ("[", "1]")
    body = '{"inputs":[],"parameters":{"x":' + left + unit * count + right + "}}"
    with pytest.raises(OipError, match="binary data"):
        decode_request(body.encode())


def test_large_json_is_read_and_written(server: Serving) -> None:
    values = list(range(300_000))
    answer = server.infer("same", tensor("x", "FP32", [len(values)], values))
    assert answer.json()["outputs"][0]["data"] == values
