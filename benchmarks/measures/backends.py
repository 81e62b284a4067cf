# SPDX-License-Identifier: Apache-2.0
"""`backends`: the SqueezeNet-size model through a guest in a loop on each backend that is installed,
against the same runtime called natively from Python, on one thread and in f32."""

from __future__ import annotations

import sys

from cases import RUNTIMES, Case, squeezenet

from measures.pairs import Effort, Kind, Pair, Row

TARGET = 1.02
CALLS = 24

#: Rounds until both sides are loaded anew. Where they cannot share a loaded model, how the two lie in
#: memory is luck, for as long as they live.
ROUNDS = 3


def measure(effort: Effort) -> list[Row]:
    subject = squeezenet()
    rows = []
    for runtime in RUNTIMES:
        if runtime.missing:
            print(f"{runtime.backend}: {runtime.missing}; ", end="", file=sys.stderr, flush=True)
            continue
        calls = effort.calls(CALLS)
        pairs = []
        for number in range(effort.rounds):
            if number % ROUNDS == 0:
                case = Case(subject, runtime, calls, calls // 10 + 1)
            pairs.append(Pair(case.native_block(), case.guest_block()))
        title = f"backends {runtime.backend}"
        rows.append(Row(title, f"guest, {runtime.encoding}", "native", Kind.RATIO, TARGET, tuple(pairs)))
    return rows
