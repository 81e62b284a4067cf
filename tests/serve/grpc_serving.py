# SPDX-License-Identifier: Apache-2.0
"""A server of gRPC and HTTP in this process, and a guest that it serves."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import wasmtime

import wasinn
from serving import Serving
from wasinn.serve.grpc_server import GrpcServer, make_grpc_server
from wasinn.serve.settings import GuestSource, Settings

#: Answers with what it got. A request whose only input, with a name of two letters and the shape [1], has a
#: text that begins with "no", "spin" or "trap" is refused, never answered, or trapped.
_TEXT_GUEST = r"""
(module
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 1024))
  (data (i32.const 16) "wne1\11\00\00\00the guest says no")
  (func (export "wasinn_alloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next
      (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 7)) (i32.const -8)))
    (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
      (then (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))))))
    (local.get $at))
  (func (export "wasinn_handle") (param $at i32) (param $size i32) (result i64)
    (local $word i32)
    (local.set $word (i32.load offset=52 (local.get $at)))
    (if (i32.eq (local.get $word) (i32.const 0x6e697073)) (then (loop $for_ever (br $for_ever))))
    (if (i32.eq (local.get $word) (i32.const 0x70617274)) (then unreachable))
    (if (i32.eq (local.get $word) (i32.const 0x6f6e))
      (then (return (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 25)))))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
      (i64.extend_i32_u (local.get $size)))))
"""


def text_guest(folder: Path, **options: Any) -> GuestSource:
    """The guest above, as a file in `folder`."""
    file = folder / "text.wasm"
    file.write_bytes(wasmtime.wat2wasm(_TEXT_GUEST))
    return GuestSource(str(file), **options)


class GrpcServing(Serving):
    """`with GrpcServing({"add": models.add()}, Settings(...)) as serving:`"""

    def __init__(self, graphs: dict[str, bytes], settings: Settings) -> None:
        sources = {name: wasinn.GraphSource.from_bytes(model) for name, model in graphs.items()}
        super().__init__(wasinn.Host(graphs=sources), settings)
        # asyncio does that only where the socket's protocol is named; `wasinn serve` names it.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.grpc: GrpcServer

    def __enter__(self) -> GrpcServing:
        super().__enter__()
        self.wait(self._open_grpc())
        return self

    async def _open_grpc(self) -> None:
        self.grpc = make_grpc_server(self.frontend, self.settings, "127.0.0.1:0")
        await self.grpc.start()

    def __exit__(self, *about: object) -> None:
        self.wait(self.grpc.stop(0.2))
        super().__exit__(*about)

    @property
    def http_address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc.port}"

    def is_idle(self, within: float = 5.0) -> bool:
        """Whether no request is under way any more, `within` seconds."""
        end = time.monotonic() + within
        while self.frontend.in_flight and time.monotonic() < end:
            time.sleep(0.01)
        return not self.frontend.in_flight

    def wait_for_requests(self, count: int) -> None:
        """Waits until so many are under way."""
        end = time.monotonic() + 10
        while self.frontend.in_flight < count and time.monotonic() < end:
            time.sleep(0.005)
        assert self.frontend.in_flight == count
