# SPDX-License-Identifier: Apache-2.0
"""`fresh`: a whole request on an instance of its own, against `session.run` alone."""

from __future__ import annotations

from functools import partial

import numpy as np

from measures.bed import BenchmarkError, in_thread, new_host, session_of
from measures.pairs import Effort, Kind, Pair, Row, timed

TARGET = 60e-6
REQUEST_VALUES, INPUT_VALUES = 768, 16  # 3 KB, of which the model's input is the head


def measure(effort: Effort) -> list[Row]:
    return in_thread(lambda: [_measure(effort)])


def _measure(effort: Effort) -> Row:
    calls = effort.calls(2000)
    warm_up = calls // 10
    host = new_host("tiny")
    guest = host.guest("@request")
    request = np.random.default_rng(1).random(REQUEST_VALUES, np.float32).tobytes()

    def answer() -> bytes:
        with host.instantiate(guest) as instance:
            pointer = instance.call("alloc", len(request))
            instance.memory[pointer : pointer + len(request)] = request
            size = instance.call("handle", pointer, len(request))
            start = instance.call("answer")
            return bytes(instance.memory[start : start + size])

    session = session_of(host, "tiny")
    feed = {"x": np.frombuffer(request, np.float32)[:INPUT_VALUES].reshape(1, INPUT_VALUES)}
    if answer() != session.run(None, feed)[0].tobytes():
        raise BenchmarkError("the guest's answer is not onnxruntime's")
    native = partial(session.run, None, feed)
    pairs = tuple(
        Pair(timed(native, calls, warm_up), timed(answer, calls, warm_up)) for _ in range(effort.rounds)
    )
    return Row("fresh tiny", "whole request", "session.run", Kind.ADDED, TARGET, pairs)
