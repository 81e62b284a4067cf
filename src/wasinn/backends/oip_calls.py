# SPDX-License-Identifier: Apache-2.0
"""Calls to another server: what ends one from outside, what is tried again, and the token that is sent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from wasinn.errors import runtime_error
from wasinn.oip.messages import InferRequest, InferResponse

Result = TypeVar("Result")

#: The pause before the first further attempt, in seconds; it doubles each time.
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0


class ConnectionFailed(Exception):
    """The server was not reached, or went away before it answered: another attempt may do better."""


class Call:
    """What another thread can end: all calls of one context, one after another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: Callable[[], object] | None = None
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @contextmanager
    def ended_by(self, end: Callable[[], object]) -> Iterator[None]:
        """While the block runs, `interrupt` calls `end`. Raises WasiNNError (runtime_error) if it was called
        before."""
        with self._lock:
            self.check()
            self._ends = end
        try:
            yield
        finally:
            with self._lock:
                self._ends = None

    def check(self) -> None:
        """Raises WasiNNError (runtime_error) after `interrupt`."""
        if self._ended.is_set():
            raise runtime_error("the call to the model's server was ended")

    def pause(self, seconds: float) -> None:
        """Waits. Raises WasiNNError (runtime_error) after `interrupt`, at once."""
        self._ended.wait(seconds)
        self.check()

    def interrupt(self) -> None:
        """Ends the call that is under way, and every later one. For any thread."""
        with self._lock:
            self._ended.set()
            if self._ends is not None:
                self._ends()


class Client(Protocol):
    """One model on one server. Every method may be called from any thread.

    Both raise WasiNNError: not_found where the server knows no such model, else runtime_error; and
    ConnectionFailed.
    """

    def metadata(self, call: Call) -> Mapping[str, Any]:
        """The model metadata of the protocol, as its REST side has it; nothing in it is checked."""

    def infer(self, request: InferRequest, call: Call) -> InferResponse: ...


def retried(attempt: Callable[[], Result], retries: int, call: Call) -> Result:
    """What `attempt` returns, after up to `retries` further ones where the connection failed. Raises
    WasiNNError."""
    pause = _FIRST_PAUSE
    start = time.monotonic()
    for left in range(retries, -1, -1):
        try:
            return attempt()
        except ConnectionFailed as error:
            call.check()
            if not left:
                tried = f" ({retries + 1} attempts in {time.monotonic() - start:.1f} s)" if retries else ""
                raise runtime_error(f"{error}{tried}") from error
            call.pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    raise AssertionError("the last attempt returns or raises")


class Token:
    """The token in a file, read anew when the file changes: tokens expire, and are replaced there."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read: tuple[tuple[int, int, int], str] | None = None

    def header(self) -> str | None:
        """`Bearer TOKEN`; None where there is no file. Raises WasiNNError (runtime_error)."""
        if self._path is None:
            return None
        read = self._read  # one look: another thread may replace it
        try:
            found = os.stat(self._path)
            # A token that is replaced within the clock's tick has another inode or size, mostly both.
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if read is not None and read[0] == stamp:
                return read[1]
            token = self._path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise runtime_error(f"token_file {self._path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise runtime_error(f"token_file {self._path}: a token has ASCII characters only") from error
        if not token or not token.isprintable() or " " in token:
            what = "is empty" if not token else "has more in it than one token"
            raise runtime_error(f"token_file {self._path} {what}: it holds the token alone, without Bearer")
        self._read = stamp, f"Bearer {token}"
        return self._read[1]
