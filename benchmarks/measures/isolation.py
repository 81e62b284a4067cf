# SPDX-License-Identifier: Apache-2.0
"""`isolation`: the SqueezeNet-size model through a guest, on a graph in a process of its own
(`isolation="process"`) against the same graph in this process. The guest is here both times."""

from __future__ import annotations

import wasinn
from measures.bed import GuestLoop, block_of, checksum, guest_input, model_file, native_session
from measures.pairs import Effort, Kind, Pair, Row

TARGET = 1.05
MODEL = "squeezenet"
CALLS = 24


def measure(effort: Effort) -> list[Row]:
    calls = effort.calls(CALLS)
    file = model_file(MODEL)
    expected = checksum(native_session(str(file)).run(None, {"x": guest_input(MODEL)})[0])
    loops = []
    for options in ({}, {"isolation": "process"}):
        source = wasinn.GraphSource.from_files(file, encoding="onnx", threads=1, **options)
        host = wasinn.Host(graphs={MODEL: source})
        host.preload()
        loops.append(GuestLoop(host, MODEL, calls, calls // 10 + 1))
    plain, isolated = loops
    for loop in loops:
        block_of(loop.run(), expected)
    pairs = tuple(
        Pair(block_of(plain.run(), expected), block_of(isolated.run(), expected))
        for _ in range(effort.rounds)
    )
    return [Row(f"isolation {MODEL}", "in a process", "in this process", Kind.RATIO, TARGET, pairs)]
