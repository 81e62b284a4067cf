# SPDX-License-Identifier: Apache-2.0
"""Accepting from a shared socket: a full system is waited for, and nothing that waits is lost at the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from wasinn.serve import listener
from wasinn.serve.listener import Listener


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class Full(socket.socket):
    """A listening socket of a process that has too many open files, at first."""

    refused = 0

    def accept(self) -> Any:
        self.refused += 1
        if self.refused <= 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def echoed(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    with contextlib.closing(connection):
        connection.setblocking(False)
        await loop.sock_sendall(connection, b"hello")
        return await asyncio.wait_for(loop.sock_recv(connection, 10), 20)


@contextlib.contextmanager
def full() -> Iterator[tuple[Full, Listener]]:
    """A full socket, and what accepts from it on the running loop."""
    with Full() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        accepting = Listener(listening, Echo)
        accepting.start()
        yield listening, accepting


@pytest.fixture
def pause(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(listener, "_PAUSE", 0.02)
    return 0.02


def test_too_many_open_files_are_waited_for(pause: float, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        with full() as (listening, accepting):
            assert await echoed(socket.create_connection(listening.getsockname())) == b"hello"
            assert listening.refused >= 3
            accepting.stop()

    asyncio.run(scenario())
    assert "could not be accepted" in caplog.text


def test_an_end_in_the_pause_is_an_end(pause: float, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        with full() as (listening, accepting), socket.create_connection(listening.getsockname()):
            while not listening.refused:
                await asyncio.sleep(0.001)
            accepting.stop()
            await asyncio.sleep(2 * pause)

    asyncio.run(scenario())
    assert "Exception in callback" not in caplog.text


def test_connections_that_wait_at_the_end_are_accepted() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = listening.getsockname()
            accepting = Listener(listening, Echo)
            accepting.start()
            # The loop has not seen them when it is stopped.
            waiting = [socket.create_connection(address) for _ in range(5)]
            accepting.stop()
            accepting.stop()
            assert [await echoed(each) for each in waiting] == [b"hello"] * 5
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)

    asyncio.run(scenario())
