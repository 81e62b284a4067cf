# SPDX-License-Identifier: Apache-2.0
"""`fresh`: a whole request on an instance of its own, against `session.run` alone: called in a thread of its
own, as a fiber on an event loop, and as `wasinn serve` does it, its message included."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np

from measures.bed import BenchmarkError, in_thread, new_host, session_of
from measures.pairs import Block, Effort, Kind, Pair, Row, timed
from wasinn import Host
from wasinn.oip.messages import InferRequest, WireTensor
from wasinn.runtime.guest import Guest
from wasinn.serve.guest_model import ServedGuest
from wasinn.serve.settings import GuestSource, Settings

TARGET = 60e-6
REQUEST_VALUES, INPUT_VALUES = 768, 16  # 3 KB, of which the model's input is the head


def measure(effort: Effort) -> list[Row]:
    return in_thread(lambda: [_measure(effort), *asyncio.run(_on_a_loop(effort))])


def _measure(effort: Effort) -> Row:
    calls, warm_up = _calls(effort)
    host = new_host("tiny")
    guest = host.guest("@request")
    request = _request()

    def answer() -> bytes:
        with host.instantiate(guest) as instance:
            pointer = instance.call("alloc", len(request))
            instance.memory[pointer : pointer + len(request)] = request
            size = instance.call("handle", pointer, len(request))
            start = instance.call("answer")
            return bytes(instance.memory[start : start + size])

    native = _native(host, request)
    _check(answer(), native)
    pairs = tuple(
        Pair(timed(native, calls, warm_up), timed(answer, calls, warm_up)) for _ in range(effort.rounds)
    )
    return Row("fresh tiny", "whole request", "session.run", Kind.ADDED, TARGET, pairs)


async def _on_a_loop(effort: Effort) -> list[Row]:
    calls, warm_up = _calls(effort)
    host = new_host("tiny")
    guest = host.guest("@request")
    assert isinstance(guest, Guest)
    request = _request()
    served = ServedGuest("guest", GuestSource("@serve_tiny"), host, Settings())
    tensor = WireTensor("x", "FP32", (1, INPUT_VALUES), request[: 4 * INPUT_VALUES])

    async def fiber() -> bytes:
        async with await host.instantiate_async(guest) as instance:
            pointer = await instance.call("alloc", len(request))
            instance.memory[pointer : pointer + len(request)] = request
            size = await instance.call("handle", pointer, len(request))
            start = await instance.call("answer")
            return bytes(instance.memory[start : start + size])

    async def serve() -> bytes:
        answer = await served.infer(InferRequest([tensor]), 30.0)
        return bytes(answer.outputs[0].data)

    native = _native(host, request)
    rows = []
    for name, answer in (("fiber", fiber), ("served", serve)):
        _check(await answer(), native)
        pairs = []
        for _ in range(effort.rounds):
            reference = timed(native, calls, warm_up)
            pairs.append(Pair(reference, await _timed(answer, calls, warm_up)))
        rows.append(
            Row(f"fresh tiny, {name}", "whole request", "session.run", Kind.ADDED, TARGET, tuple(pairs))
        )
    served.close()
    return rows


async def _timed(call: Callable[[], Awaitable[object]], calls: int, warm_up: int) -> Block:
    """`timed` for what is awaited."""
    clock = perf_counter_ns
    for _ in range(warm_up):
        await call()
    times = []
    for _ in range(calls):
        start = clock()
        await call()
        times.append(clock() - start)
    return Block(median(times) / 1e9, min(times) / 1e9)


def _calls(effort: Effort) -> tuple[int, int]:
    """Calls, and calls before them."""
    calls = effort.calls(2000)
    return calls, calls // 10


def _request() -> bytes:
    return np.random.default_rng(1).random(REQUEST_VALUES, np.float32).tobytes()


def _native(host: Host, request: bytes) -> Callable[[], Any]:
    feed = {"x": np.frombuffer(request, np.float32)[:INPUT_VALUES].reshape(1, INPUT_VALUES)}
    return partial(session_of(host, "tiny").run, None, feed)


def _check(answer: bytes, native: Callable[[], Any]) -> None:
    if answer != native()[0].tobytes():
        raise BenchmarkError("the guest's answer is not onnxruntime's")
