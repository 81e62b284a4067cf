# SPDX-License-Identifier: Apache-2.0
"""Messages and memory between this process and a worker process.

A `Channel` is one end of a Unix socket that carries messages (bytes) and open files with them; an
`Arena` is memory that both processes see, at an address of its own in each. Neither believes what the
other end says: a worker has read a file that nobody vouches for.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Self

_HEADER = struct.Struct("<I")
#: The longest message: a model with many thousand ports.
_MAX_MESSAGE = 4 << 20
_MAX_FILES = 64

#: Whether this system can hand open files to another process.
AVAILABLE = hasattr(socket, "send_fds") and hasattr(socket, "AF_UNIX")


class Disconnected(Exception):
    """The other end is gone, or what it sent is no message."""


class Channel:
    """One end of a socket. Used by one thread at a time, but for `shut`."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(one), cls(other)

    @classmethod
    def from_file(cls, descriptor: int) -> Channel:
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: bytes, files: Sequence[int] = ()) -> None:
        """Sends a message and open files. Raises Disconnected."""
        data = _HEADER.pack(len(message)) + message
        try:
            sent = socket.send_fds(self._socket, [data], list(files)) if files else 0
            if sent < len(data):
                self._socket.sendall(data[sent:])
        except (OSError, ValueError) as error:
            raise Disconnected(str(error)) from error

    def receive(self, timeout: float | None = None) -> bytes:
        """The next message, without files. Raises Disconnected, and TimeoutError if all of it is not
        there after `timeout` seconds."""
        if timeout is None:
            return self._rest(self._exactly(_HEADER.size))
        end = time.monotonic() + timeout
        try:
            return self._rest(self._exactly(_HEADER.size, end), end)
        finally:
            self._socket.settimeout(None)

    def receive_with_files(self) -> tuple[bytes, list[int]]:
        """The next message and the files that came with it. Raises Disconnected."""
        try:
            head, files, _, _ = socket.recv_fds(self._socket, _HEADER.size, _MAX_FILES)
        except OSError as error:
            raise Disconnected(str(error)) from error
        if not head:
            raise Disconnected("closed")
        return self._rest(head + self._exactly(_HEADER.size - len(head))), files

    def _rest(self, head: bytes, end: float | None = None) -> bytes:
        (size,) = _HEADER.unpack(head)
        if size > _MAX_MESSAGE:
            raise Disconnected(f"a message of {size} bytes")
        return self._exactly(size, end)

    def _exactly(self, size: int, end: float | None = None) -> bytes:
        parts: list[bytes] = []
        while size:
            try:
                if end is not None:
                    self._socket.settimeout(max(end - time.monotonic(), 1e-6))
                part = self._socket.recv(min(size, 1 << 16))
            except TimeoutError:
                raise
            except OSError as error:
                raise Disconnected(str(error)) from error
            if not part:
                raise Disconnected("closed")
            if len(part) == size and not parts:
                return part
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def ended(self) -> bool:
        """Whether the other end is gone, and all that it said was received. Does not wait."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def shut(self) -> None:
        """Ends a `receive` that waits in another thread, at both ends."""
        with contextlib.suppress(OSError):  # the other end was first
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


class Arena:
    """Memory that two processes share. `view` is all of it."""

    def __init__(self, memory: mmap.mmap, size: int) -> None:
        self._memory = memory
        self.view = memoryview(memory)[:size]

    @classmethod
    def make(cls, size: int) -> tuple[Self, int]:
        """New memory of zeros, and a file to hand over, for the caller to close. Raises OSError."""
        file = _memory_file(max(size, 1))
        try:
            _seal(file)
            return cls(mmap.mmap(file, max(size, 1)), size), file
        except BaseException:
            os.close(file)
            raise

    @classmethod
    def of_file(cls, file: int, size: int, writable: bool = True) -> Self:
        """The memory behind a file that was handed over, which is closed. Raises OSError, ValueError."""
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        try:
            return cls(mmap.mmap(file, max(size, 1), access=access), size)
        finally:
            os.close(file)

    @property
    def address(self) -> int:
        return ctypes.addressof(ctypes.c_char.from_buffer(self._memory))


def memory_file(contents: bytes | memoryview) -> int:
    """A file in memory that holds `contents`. Raises OSError."""
    file = _memory_file(max(len(contents), 1))
    try:
        with mmap.mmap(file, max(len(contents), 1)) as memory:
            memory[: len(contents)] = contents
        _seal(file, write=True)
    except BaseException:
        os.close(file)
        raise
    return file


def _memory_file(size: int) -> int:
    if sys.platform != "linux":
        with tempfile.TemporaryFile() as named:
            file = os.dup(named.fileno())
    else:
        file = os.memfd_create("wasinn", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(file, size)
    except BaseException:
        os.close(file)
        raise
    return file


def _seal(file: int, write: bool = False) -> None:
    """Nobody can shrink it: reading what another process cut off would end this one (SIGBUS). `write`: nor
    write to it, as a worker that was taken over would, for the worker that comes after it."""
    if sys.platform == "linux":
        import fcntl

        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | (fcntl.F_SEAL_WRITE if write else 0)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals | fcntl.F_SEAL_SEAL)


def as_int_list(value: Any) -> tuple[int, ...]:
    """`value` as numbers of a message. Raises ValueError."""
    if not isinstance(value, list) or not all(type(each) is int and 0 <= each < 1 << 62 for each in value):
        raise ValueError(f"not a list of numbers: {str(value)[:80]}")
    return tuple(value)
