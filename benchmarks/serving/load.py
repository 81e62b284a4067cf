# SPDX-License-Identifier: Apache-2.0
"""A load generator: so many connections, each with one request after the other, for so many seconds.

    python benchmarks/serving/load.py PORT PATH BODY_FILE CONNECTIONS SECONDS

The body's file begins with a line of its own: the length of the JSON header, where what follows is posted
as the Open Inference Protocol's binary request, or `json`. Prints JSON: answers, seconds, the latencies'
percentiles, and the last answer (what is behind its JSON header, or all of it as text), by which whoever
asks sees whether it was right. An answer other than 200, or a binary one that differs from the first, ends
the run: its time would mean nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path


class Connection(asyncio.Protocol):
    """One keep-alive connection, which sends the next request when an answer is there."""

    def __init__(self, request: bytes, until: float, shared: dict[str, list[float]]) -> None:
        self._request = request
        self._until = until
        self._latencies = shared["latencies"]
        self._buffer = bytearray()
        self._need = -1
        self._header = 0
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._need < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            if not head.startswith(b"http/1.1 200"):
                self._fail(bytes(self._buffer))
                return
            self._header = _number(head, b"inference-header-content-length", 0)
            self._need = end + 4 + _number(head, b"content-length", -1)
            self._start = end + 4
        if len(self._buffer) < self._need:
            return
        now = time.perf_counter()
        self._latencies.append(now - self._began)
        answer = bytes(self._buffer[self._start + self._header : self._need])
        if self._header and self.answer and answer != self.answer:
            self._fail(b"another answer than before")
            return
        self.answer = answer
        self._buffer.clear()
        self._need = -1
        if now < self._until:
            self._send()
        else:
            self._transport.close()
            self.done.set_result(answer)

    def _fail(self, what: bytes) -> None:
        self._transport.close()
        if not self.done.done():
            self.done.set_exception(RuntimeError(what[:2000].decode(errors="replace")))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(f"the connection broke: {error}"))


def _number(head: bytes, name: bytes, default: int) -> int:
    at = head.find(name + b":")
    return default if at < 0 else int(head[at + len(name) + 1 :].split(b"\r\n", 1)[0])


async def load(
    port: int, path: str, body: bytes, header: str, connections: int, seconds: float
) -> dict[str, object]:
    """Makes the load; what came of it."""
    kind = "Content-Type: application/json"
    if header != "json":
        kind = f"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {header}"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    shared: dict[str, list[float]] = {"latencies": []}
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    made = [
        (
            await loop.create_connection(
                lambda: Connection(request, start + seconds, shared), "127.0.0.1", port
            )
        )[1]
        for _ in range(connections)
    ]
    answers = await asyncio.gather(*[each.done for each in made])
    took = time.perf_counter() - start
    if header != "json" and len(set(answers)) != 1:
        raise RuntimeError("two connections got different answers")
    latencies = sorted(shared["latencies"])
    return {
        "answers": len(latencies),
        "seconds": took,
        "rate": len(latencies) / took,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
        "answer": answers[0].decode() if header == "json" else answers[0].hex(),
    }


def main() -> None:
    port, path, file, connections, seconds = sys.argv[1:]
    header, _, body = Path(file).read_bytes().partition(b"\n")
    print(
        json.dumps(
            asyncio.run(load(int(port), path, body, header.decode(), int(connections), float(seconds)))
        )
    )


if __name__ == "__main__":
    main()
