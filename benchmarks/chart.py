# SPDX-License-Identifier: Apache-2.0
"""The chart: the same models called natively, through a guest on each backend, and in pure wasm.

    python benchmarks/chart.py [--quick] [--output FILE.svg] [--json FILE]

One thread everywhere, everything in one run, in turns. docs/benchmarks.md says how to read it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cases import HERE, RUNTIMES, Case, Subject, mobilenet, squeezenet
from chart_svg import Bar, Chart, Group, Panel, Side, draw
from machine import OtherWork, describe
from measures.bed import BenchmarkError
from measures.pairs import Block, Effort, Kind, Pair, Row
from pure_wasm import PureWasm, PureWasmError, started
from report import OTHERS, as_json, table, warnings

from wasinn.backends import lookup

OUTPUT = HERE.parent / "docs" / "pictures" / "native-guest-wasm.svg"

TIMES = "\N{MULTIPLICATION SIGN}"

#: Calls of a block; pure wasm takes several times as long.
CALLS, WASM_CALLS = 24, 8

#: Pure wasm must be that much slower than ours: else there would be no point in WASI-NN.
WASM_TARGET = 3.0

TITLES = {
    "squeezenet": f"SqueezeNet 1.1 (1.24 million weights, 224{TIMES}224)",
    "mobilenet_v2": f"MobileNet V2 (3.5 million weights, 224{TIMES}224)",
}


@dataclass
class Measured:
    """A subject's blocks: native and guest by backend, and those of pure wasm."""

    subject: Subject
    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    wasm: list[Block] = field(default_factory=list)

    def rows(self) -> list[Row]:
        name = self.subject.name
        rows = [
            Row(f"chart {name}", f"guest, {backend}", f"native, {backend}", Kind.RATIO, None, tuple(pairs))
            for backend, pairs in self.pairs.items()
        ]
        if self.wasm:
            ours = self.pairs[RUNTIMES[0].backend]
            pairs = tuple(Pair(wasm, pair.ours) for wasm, pair in zip(self.wasm, ours, strict=True))
            target = Kind.SPEEDUP, WASM_TARGET
            rows.append(Row(f"chart {name}", f"guest, {RUNTIMES[0].backend}", "pure wasm", *target, pairs))
        return rows


def open_wasm(
    stack: contextlib.ExitStack, subjects: Sequence[Subject], missing: dict[str, str]
) -> PureWasm | None:
    """Pure wasm with those subjects; where it cannot be had, None, and the reason in `missing`."""
    try:
        wasm = stack.enter_context(started())
        for subject in subjects:
            wasm.open(subject)
    except PureWasmError as error:
        missing["pure wasm"] = str(error)
        return None
    return wasm


def measure(subject: Subject, effort: Effort, wasm: PureWasm | None) -> Measured:
    """`wasm` has opened the subject. Raises BenchmarkError, and PureWasmError if Node ends."""
    calls, wasm_calls = effort.calls(CALLS), effort.calls(WASM_CALLS)
    cases = [
        Case(subject, runtime, calls, calls // 10 + 1) for runtime in RUNTIMES if runtime.missing is None
    ]
    found = Measured(subject, {case.runtime.backend: [] for case in cases})
    for _ in range(effort.rounds):
        for case in cases:
            pair = Pair(case.native_block(), case.guest_block())
            found.pairs[case.runtime.backend].append(pair)
        if wasm is not None:
            found.wasm.append(wasm.block(subject, wasm_calls, 1))
    return found


def panel(measured: Measured, wasm_versions: str) -> Panel:
    """Its bars are the medians of the blocks' medians, and the labels the medians of the ratios."""
    groups = []
    rows = {row.ours: row for row in measured.rows() if row.kind is Kind.RATIO}
    for runtime in RUNTIMES:
        row = rows.get(f"guest, {runtime.backend}")
        if row is not None:
            native, guest = row.blocks(lambda pair: pair.reference), row.blocks(lambda pair: pair.ours)
            bars = (
                Bar(Side.NATIVE, native.median),
                Bar(Side.GUEST, guest.median, f"{row.result:.2f} {TIMES} native"),
            )
            version = lookup.by_name(runtime.backend).version()
            groups.append(Group(runtime.backend, f"{version}, {runtime.format}", bars))
    for row in measured.rows():
        if row.kind is Kind.SPEEDUP:
            wasm = row.blocks(lambda pair: pair.reference)
            bar = Bar(Side.WASM, wasm.median, f"{row.result:.1f} {TIMES} {RUNTIMES[0].backend}'s guest")
            web, _, node = wasm_versions.partition(", ")
            name, _, version = web.partition(" ")
            groups.append(Group(name, f"{version}, {node}", (bar,)))
    name = measured.subject.name
    return Panel(TITLES.get(name, name), tuple(groups))


def chart(
    panels: Sequence[Panel],
    missing: Mapping[str, str],
    machine: Mapping[str, str],
    others: Mapping[str, float | None],
) -> Chart:
    reasons: dict[str, list[str]] = {}
    for what, why in missing.items():
        reasons.setdefault(why, []).append(what)
    left_out = "; ".join(f"{', '.join(what)} ({why})" for why, what in reasons.items())
    notes = [f"Left out: {left_out}."] if left_out else []
    busiest = max((cores for cores in others.values() if cores is not None), default=0.0)
    if busiest > OTHERS:
        notes.append(f"Not a quiet machine: other processes used up to {busiest:.1f} cores meanwhile.")
    date = f"{datetime.now(UTC):%d %B %Y}".lstrip("0")
    return Chart(
        "Inference natively, through a WebAssembly guest, and in pure wasm",
        "Time of one inference, median; shorter is better. Batch of one, f32, one thread everywhere. The"
        " guest sets the input, computes and reads the output in a loop; all answers agree.",
        tuple(panels),
        tuple(notes),
        (
            f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {machine['python']}, wasinn"
            f" {machine['wasinn']}, wasmtime {machine['wasmtime']}, NumPy {machine['numpy']}.",
            f"Measured on {date} by make chart; docs/benchmarks.md says how.",
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where an answer is wrong: nothing is drawn then."""
    parser = argparse.ArgumentParser(description="draws native, guest and pure wasm; see docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="for a first look")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help=f"the SVG; {OUTPUT}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every block's times there")
    chosen = parser.parse_args(arguments)
    effort = Effort(rounds=4, scale=0.3) if chosen.quick else Effort()

    machine = describe()
    missing: dict[str, str] = {}
    subjects = [squeezenet()]
    real = mobilenet()
    if real is None:
        missing["MobileNet V2"] = "its file is not here; WASINN_DATA names the folder"
    else:
        subjects.append(real)
    for runtime in RUNTIMES:
        if runtime.missing is not None:
            missing[runtime.backend] = runtime.missing

    found: list[Measured] = []
    others: dict[str, float | None] = {}
    with contextlib.ExitStack() as stack:
        try:
            wasm = open_wasm(stack, subjects, missing)
            for subject in subjects:
                print(f"{subject.name} ... ", end="", file=sys.stderr, flush=True)
                start, other = time.perf_counter(), OtherWork()
                found.append(measure(subject, effort, wasm))
                others[subject.name] = other.cores()
                print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
        except (BenchmarkError, PureWasmError) as error:
            print(error, file=sys.stderr)
            return 1
    versions = wasm.versions if wasm is not None else ""

    rows = [row for each in found for row in each.rows()]
    print(table(rows))
    print("", *warnings(rows, others), *(f"left out: {key}: {why}" for key, why in missing.items()), sep="\n")
    drawn = draw(chart([panel(each, versions) for each in found], missing, machine, others))
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(drawn, encoding="utf-8")
    print(f"drawn: {chosen.output}")
    if chosen.json is not None:
        text = json.dumps(as_json({**machine, "pure wasm": versions}, rows, others), indent=1)
        chosen.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
