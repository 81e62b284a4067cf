# SPDX-License-Identifier: Apache-2.0
"""Guests in the text format for the tests of served guests, and models of them on an event loop."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import models
import wasinn
from wasinn.oip.messages import InferRequest, InferResponse, RequestedOutput, WireTensor
from wasinn.serve.errors import ServeError
from wasinn.serve.guest_model import ServedGuest
from wasinn.serve.settings import GuestSource, Settings

T = TypeVar("T")

#: The request as the answer.
ECHO = """(i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32))
                   (i64.extend_i32_u (local.get 1)))"""
#: Room in the second page; one page more for each request of more than that.
ROOM = "(i32.const 65536)"
GROWN = "(i32.mul (memory.grow (i32.const 100)) (i32.const 65536))"
FOREVER = "(loop $l (br $l)) (unreachable)"


def reactor(handle: str = ECHO, alloc: str = ROOM, more: str = "", memory: str = "2") -> bytes:
    """A reactor whose functions have these bodies."""
    return f"""(module
      (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
      (memory (export "memory") {memory})
      {more}
      (func (export "wasinn_alloc") (param i32) (result i32) {alloc})
      (func (export "wasinn_handle") (param i32 i32) (result i64) {handle}))""".encode()


def data(at: int, content: bytes) -> str:
    """A segment of a guest's memory."""
    return f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in content)}")'


def saying(text: bytes) -> tuple[str, str]:
    """A segment, and what writes the text to stderr."""
    vector = struct.pack("<II", 1024, len(text))
    return (
        data(1000, vector) + data(1024, text),
        "(drop (call $fd_write (i32.const 2) (i32.const 1000) (i32.const 1) (i32.const 1016)))",
    )


def command(body: str, more: str = "") -> bytes:
    """A command with this body."""
    return f"""(module
      (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
      (memory (export "memory") 40)
      {more}
      (func (export "_start") {body}))""".encode()


#: From stdin to stdout: vectors at 0 and 8, counts at 16.
COPY = """
  (loop $more
    (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 60000))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
    (if (i32.load (i32.const 16)) (then
      (i32.store (i32.const 8) (i32.const 65536)) (i32.store (i32.const 12) (i32.load (i32.const 16)))
      (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 20)))
      (br $more))))"""


def writing(fd: int, text: bytes) -> tuple[str, str]:
    """A segment, and what writes the text to a file descriptor, for a command."""
    at = 2000 + 4000 * fd
    return (
        data(at, struct.pack("<II", at + 8, len(text)) + text),
        f"(drop (call $fd_write (i32.const {fd}) (i32.const {at}) (i32.const 1) (i32.const 16)))",
    )


class Loop:
    """An event loop in a thread that is not the main one, as the server has it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Models:
    """Served guests on a loop; `infer` answers one request, `refused` is why it did not."""

    def __init__(self, host: wasinn.Host, loop: Loop, folder: Path) -> None:
        self.host = host
        self.loop = loop
        self._folder = folder
        self._count = 0

    def make(self, guest: bytes | str, settings: Settings | None = None, **source: Any) -> ServedGuest:
        """A model "it" of a guest's bytes or of a file; `source` as in GuestSource."""
        if isinstance(guest, bytes):
            self._count += 1
            path = self._folder / f"{self._count}" / "guest.wasm"
            path.parent.mkdir()
            path.write_bytes(guest)
            guest = str(path)
        return ServedGuest("it", GuestSource(guest, **source), self.host, settings or Settings())

    def infer(
        self, model: ServedGuest, *tensors: WireTensor, outputs: tuple[str, ...] = (), deadline: float = 30
    ) -> InferResponse:
        request = InferRequest(tensors, tuple(map(RequestedOutput, outputs)), id="id")
        return self.loop.wait(model.infer(request, deadline))

    def refused(self, model: ServedGuest, *tensors: WireTensor, **more: Any) -> ServeError:
        with pytest.raises(ServeError) as raised:
            self.infer(model, *tensors, **more)
        return raised.value


def served_models(folder: Path) -> Iterator[Models]:
    """For a fixture: a host with the graphs "tiny", which gives back its [1,16], and "default" (digits)."""
    (folder / "tiny.onnx").write_bytes(models.identity(dims=(1, 16)))
    graphs = {"tiny": f"onnx:{folder}/tiny.onnx?threads=1", "default": "onnx:@digits?threads=1"}
    with wasinn.Host(graphs) as host:
        loop = Loop()
        yield Models(host, loop, folder)
        loop.close()


def floats(name: str, *values: float) -> WireTensor:
    return WireTensor(name, "FP32", (len(values),), struct.pack(f"<{len(values)}f", *values))


def texts(name: str, *elements: bytes) -> WireTensor:
    content = b"".join(struct.pack("<I", len(each)) + each for each in elements)
    return WireTensor(name, "BYTES", (len(elements),), content)
