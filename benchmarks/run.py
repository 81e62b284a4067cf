# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmarks: wasinn's guests against onnxruntime's own `session.run`, in one process.

    python benchmarks/run.py [--quick] [--json FILE] [NAME...]

docs/benchmarks.md says what each measures. The models are written to benchmarks/.models first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from machine import OtherWork, describe
from measures import (
    adapting,
    backends,
    batching,
    components,
    fresh,
    generate,
    isolation,
    load,
    loop,
    slow_path,
    threads,
)
from measures.bed import BenchmarkError
from measures.pairs import Effort, Row
from report import as_json, table, warnings

MEASURES: dict[str, Callable[[Effort], list[Row]]] = {
    "loop": loop.measure,
    "fresh": fresh.measure,
    "threads": threads.measure,
    "slow-path": slow_path.measure,
    "load": load.measure,
    "backends": backends.measure,
    "isolation": isolation.measure,
    "adapting": adapting.measure,
    "components": components.measure,
    "generate": generate.measure,
    "batching": batching.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 also where a target was missed: that is for people to judge, who see the machine. 1 is
    a guest that failed or answered wrongly."""
    parser = argparse.ArgumentParser(description="wasinn's benchmarks; docs/benchmarks.md explains them")
    parser.add_argument("--quick", action="store_true", help="a few seconds, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every block's times there")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; all by default")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in MEASURES]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    effort = Effort(rounds=4, scale=0.3) if chosen.quick else Effort()

    machine = describe()
    rows: list[Row] = []
    others: dict[str, float | None] = {}
    for name in chosen.names or MEASURES:
        start, other = time.perf_counter(), OtherWork()
        print(f"{name} ... ", end="", file=sys.stderr, flush=True)
        try:
            rows += MEASURES[name](effort)
        except BenchmarkError as error:
            print(error, file=sys.stderr)
            return 1
        others[name] = other.cores()
        print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)

    print()
    for key, value in machine.items():
        print(f"{key + ':':13} {value}")
    print()
    print(table(rows))
    print("", *warnings(rows, others), sep="\n")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(as_json(machine, rows, others), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
