# SPDX-License-Identifier: Apache-2.0
"""`batching`: 16 guests at once on a graph with `batch = true`, on one core, against one by one without it.

The times are those of one request of all that were done, from the first one's start to the last one's end.
Each is a fresh instance of a guest of five calls: its input is written for it, and its output read.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import numpy as np

import wasinn
from measures.bed import BenchmarkError, in_thread, model_file
from measures.pairs import Block, Effort, Kind, Pair, Row
from wasinn.runtime.guest import Guest
from wasinn.runtime.lanes import Lanes, set_lanes

TARGET = 3.5
GUESTS, MODEL = 16, "mlp"


def measure(effort: Effort) -> list[Row]:
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if cores:
        os.sched_setaffinity(0, {min(cores)})
    try:
        return in_thread(lambda: [asyncio.run(_measure(effort))])
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


async def _measure(effort: Effort) -> Row:
    set_lanes(Lanes(1))
    single, batched = _Asked(""), _Asked("&batch=true")
    turns = effort.calls(6)
    pairs = []
    for _ in range(max(3, effort.rounds // 2)):
        alone = await _timed(lambda: _one_by_one(single, turns), turns)
        pairs.append(Pair(alone, await _timed(lambda: _at_once(batched, turns), turns)))
    return Row(
        f"batching {MODEL}", f"{GUESTS} guests at once", "one by one", Kind.SPEEDUP, TARGET, tuple(pairs)
    )


#: handle() -> errno: f32 [1,784] at 4096 goes through "mlp", f32 [1,10] lies at 8192 then.
_GUEST = """(module
  (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "init_execution_context" (func $open (param i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
  (import "wasi_ephemeral_nn" "get_output" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "mlp") (data (i32.const 32) "\\01\\00\\00\\00\\10\\03\\00\\00")
  (data (i32.const 48) "\\20\\00\\00\\00\\02\\00\\00\\00\\01\\00\\00\\00\\00\\10\\00\\00\\40\\0c\\00\\00")
  (func (export "handle") (result i32) (local $context i32) (local $code i32)
    (local.set $code (call $load (i32.const 16) (i32.const 3) (i32.const 0)))
    (local.set $code (i32.or (local.get $code) (call $open (i32.load (i32.const 0)) (i32.const 4))))
    (local.set $context (i32.load (i32.const 4)))
    (local.set $code
      (i32.or (local.get $code) (call $set (local.get $context) (i32.const 0) (i32.const 48))))
    (local.set $code (i32.or (local.get $code) (call $compute (local.get $context))))
    (i32.or (local.get $code)
      (call $get (local.get $context) (i32.const 0) (i32.const 8192) (i32.const 40) (i32.const 8)))))"""


class _Asked:
    """A host with the network, and the guest that computes with it."""

    def __init__(self, options: str) -> None:
        self._host = wasinn.Host(graphs={MODEL: f"onnx:{model_file(MODEL)}?threads=1{options}"})
        self._host.preload()
        guest = self._host.guest(_GUEST.encode())
        assert isinstance(guest, Guest)
        self._guest = guest

    async def ask(self, value: float) -> None:
        x = np.full((1, 784), value, np.float32).tobytes()
        async with await self._host.instantiate_async(self._guest) as instance:
            instance.memory[4096 : 4096 + len(x)] = x
            if await instance.call("handle"):
                raise BenchmarkError("the guest failed")
            if len(bytes(instance.memory[8192:8232])) != 40:
                raise BenchmarkError("there is no answer")


async def _one_by_one(asked: _Asked, turns: int) -> None:
    for number in range(turns * GUESTS):
        await asked.ask(number / 100)


async def _at_once(asked: _Asked, turns: int) -> None:
    async def ask(number: int) -> None:
        for turn in range(turns):
            await asked.ask((number + turn) / 100)

    await asyncio.gather(*[ask(number) for number in range(GUESTS)])


async def _timed(work: Callable[[], Awaitable[None]], turns: int) -> Block:
    start = time.perf_counter()
    await work()
    seconds = (time.perf_counter() - start) / (turns * GUESTS)
    return Block(seconds, seconds)
