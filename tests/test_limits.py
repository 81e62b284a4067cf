# SPDX-License-Identifier: Apache-2.0
"""Limits: what a guest does too long, too deep, too large or too loud ends, and says which it was."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import wasinn
from wasinn import ConfigError, GuestTrap, Limits, RunResult

#: A run that reaches a limit ends within this many seconds of it.
SOON = 0.1
ATTEMPTS = 5


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    graphs = {
        "slow": wasinn.GraphSource.from_bytes(models.slow(100_000), threads=1),
        "small": wasinn.GraphSource.from_bytes(models.identity()),
    }
    return wasinn.Host(graphs=graphs)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "slow").write_bytes(np.full((256, 256), 0.01, "<f4").tobytes())
    (folder / "small").write_bytes(bytes(16))
    return folder


def ends_at(deadline: float, run: Callable[[], RunResult]) -> None:
    """That `run` ends by its deadline, and soon after it: in the best of a few attempts, since other
    work of the machine is not the guest's fault."""
    over = []
    for _ in range(ATTEMPTS):
        start = time.monotonic()
        result = run()
        over.append(time.monotonic() - start - deadline)
        assert (result.limit, result.exit_code) == ("deadline", None)
        assert result.trap is not None
        assert (result.trap.kind, f"{deadline} s" in result.trap.message) == ("deadline", True)
        assert over[-1] > -0.01, "it did not end before its time"
        if over[-1] < SOON:
            return
    assert min(over) < SOON


# -- the deadline -----------------------------------------------------------------------------------

SPIN = '(module (func $spin (loop $l (br $l))) (memory (export "memory") 1) {})'
CALLS = """(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (func (export "_start") (loop $l (drop (call $yield)) (br $l))) (memory (export "memory") 1))"""


@pytest.mark.parametrize(
    ("guest", "arguments"),
    [
        ("@limits", ["spin"]),
        ("@limits", ["sleep", "60"]),
        (SPIN.format('(export "_start" (func $spin))').encode(), []),
        (SPIN.format("(start $spin)").encode(), []),
        (SPIN.format('(export "_initialize" (func $spin))').encode(), []),
        (CALLS.encode(), []),
    ],
    ids=["spin", "sleep", "loop", "start section", "reactor", "loop of host calls"],
)
def test_a_guest_ends_at_its_deadline(host: wasinn.Host, guest: str | bytes, arguments: list[str]) -> None:
    compiled = host.guest(guest)
    ends_at(0.3, lambda: host.run(compiled, arguments, deadline=0.3))


def test_a_long_compute_ends_at_the_deadline(host: wasinn.Host, inputs: Path) -> None:
    host.preload("slow")
    command = ["--name", "slow", "--input", "0:f32:256x256:/in/slow"]
    ends_at(0.4, lambda: host.run("@infer", command, dirs={"/in": inputs}, deadline=0.4))


def test_a_loop_of_short_computes_ends_at_the_deadline(host: wasinn.Host, inputs: Path) -> None:
    host.preload("small")
    command = ["--name", "small", "--input", "0:f32:1x4:/in/small", "--repeat", "1000000000"]
    results = []

    def run() -> RunResult:
        results.append(host.run("@infer", command, dirs={"/in": inputs}, deadline=0.4))
        return results[-1]

    ends_at(0.4, run)
    assert results[-1].stats.computes > 100


#: Subscribes to two clocks, of which one is absolute; both lie an hour ahead.
POLL = """(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1)) (i64.store (i32.const 24) (i64.const 3600000000000))
    (i32.store (i32.const 64) (i32.const 0))
    (i64.store (i32.const 72) (i64.const 4000000000000000000)) (i32.store16 (i32.const 88) (i32.const 1))
    (drop (call $poll (i32.const 0) (i32.const 256) (i32.const 2) (i32.const 512)))))"""


def test_a_poll_of_several_clocks_ends_at_the_deadline(host: wasinn.Host) -> None:
    ends_at(0.3, lambda: host.run(POLL.encode(), deadline=0.3))


#: Loads "slow", computes once, and returns whatever comes: no loop is left at which it could be ended.
COMPUTE = """(module
  (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "init_execution_context" (func $init (param i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
  (memory (export "memory") 8)
  (data (i32.const 0) "slow")
  (data (i32.const 16) "\\00\\01\\00\\00\\00\\01\\00\\00")
  (data (i32.const 32) "\\10\\00\\00\\00\\02\\00\\00\\00\\01\\00\\00\\00\\00\\10\\00\\00\\00\\00\\04\\00")
  (func (export "_start")
    (drop (call $load (i32.const 0) (i32.const 4) (i32.const 8)))
    (drop (call $init (i32.const 0) (i32.const 12)))
    (drop (call $set (i32.const 0) (i32.const 0) (i32.const 32)))
    (drop (call $compute (i32.const 0)))))"""


def test_a_compute_that_the_deadline_ended_is_named_whatever_the_guest_does_then(host: wasinn.Host) -> None:
    host.preload("slow")
    result = host.run(COMPUTE.encode(), deadline=0.4)
    assert result.stats.calls["compute"] == 1
    assert result.stats.failures == 1, "the compute did not end by itself"
    assert result.limit == "deadline"


def test_a_sleep_lasts_as_long_as_it_says(host: wasinn.Host) -> None:
    start = time.monotonic()
    assert host.run("@limits", ["sleep", "0.25"], deadline=30).exit_code == 0
    assert 0.25 <= time.monotonic() - start < 5


def in_process(code: str, **options: Any) -> str:
    """The stderr of Python code, with `host` there, in a process whose stdin stays open."""
    text = "import wasinn, time, sys\nhost = wasinn.Host()\n" + textwrap.dedent(code)
    process = subprocess.Popen(
        [sys.executable, "-c", text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        process.stdin.write(options.get("input", ""))
        process.stdin.flush()
        # Neither stdin is closed nor stdout read until the process has ended.
        assert process.wait(60) == 0, process.stderr.read()
        return process.stderr.read()
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@pytest.mark.parametrize(
    ("arguments", "streams"),
    [(["cat", "-"], 'stdin="inherit"'), (["print", "forever"], 'stdout="inherit", max_output=1 << 40')],
    ids=["stdin", "stdout"],
)
@pytest.mark.parametrize("given", ["", "a line\n"])
def test_a_stream_that_blocks_ends_at_the_deadline(arguments: list[str], streams: str, given: str) -> None:
    """A stdin that never ends, and a stdout that nobody reads."""
    said = in_process(
        f"""
        host.guest("@limits")
        over = []
        for attempt in range({ATTEMPTS}):
            start = time.monotonic()
            result = host.run("@limits", {arguments}, {streams}, deadline=0.3)
            over.append(time.monotonic() - start - 0.3)
            assert (result.limit, result.exit_code) == ("deadline", None), result
            if over[-1] < {SOON}:
                break
        print(min(over), file=sys.stderr)
        """,
        input=given,
    )
    assert -0.01 < float(said) < SOON


@pytest.mark.parametrize("far", ["float('inf')", "1e12", "1e300"])
def test_a_deadline_far_away_leaves_the_others_alone(far: str) -> None:
    said = in_process(f"""
        assert host.run("@limits", ["sleep", "0.1"], deadline={far}).exit_code == 0
        print(host.run("@limits", ["sleep", "2"], deadline=0.2).limit, file=sys.stderr)
    """)
    assert said == "deadline\n"


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), True, "soon"])
def test_a_deadline_that_is_none_is_an_error(host: wasinn.Host, deadline: Any) -> None:
    with pytest.raises(ConfigError, match=r"limits\.deadline must be seconds above 0"):
        host.run("@limits", ["args"], deadline=deadline)


def test_the_deadline_of_one_guest_is_not_that_of_another(host: wasinn.Host, inputs: Path) -> None:
    """Beside guests that are ended all the time, others spin, sleep and compute to their end."""
    stop = threading.Event()

    def be_ended() -> int:
        count = 0
        while not stop.is_set():
            assert host.run("@limits", ["spin"], deadline=0.02).limit == "deadline"
            count += 1
        return count

    command = ["--name", "small", "--input", "0:f32:1x4:/in/small", "--repeat", "20000"]
    busy = b"""(module (func (export "_start") (local $n i32)
      (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $n) (i32.const 300000000))))))"""
    with ThreadPoolExecutor(4) as pool:
        ended = pool.submit(be_ended)
        others = [
            pool.submit(host.run, "@infer", command, dirs={"/in": inputs}),
            pool.submit(host.run, busy, deadline=100),
            pool.submit(host.run, "@limits", ["sleep", "1"], deadline=100),
        ]
        results = [other.result() for other in others]
        stop.set()
        assert ended.result() > 2
    assert [(result.exit_code, result.trap) for result in results] == [(0, None)] * 3
    assert results[2].total_seconds >= 1


def test_many_deadlines_are_kept_in_any_order(host: wasinn.Host) -> None:
    deadlines = [0.1 + 0.05 * (number * 7 % 12) for number in range(12)]

    def run(deadline: float) -> float:
        start = time.monotonic()
        assert host.run("@limits", ["sleep", "60"], deadline=deadline).limit == "deadline"
        return time.monotonic() - start

    with ThreadPoolExecutor(12) as pool:
        for deadline, took in zip(deadlines, pool.map(run, deadlines), strict=True):
            assert deadline - 0.01 < took < deadline + 5


def test_an_instance_s_deadline_counts_from_its_making(host: wasinn.Host) -> None:
    with host.instantiate("@limits", ["limits", "sleep", "60"], limits=Limits(deadline=0.3)) as instance:
        time.sleep(0.2)
        start = time.monotonic()
        with pytest.raises(GuestTrap) as caught:
            instance.call("_start")
        assert caught.value.limit == "deadline"
        assert time.monotonic() - start < 0.25


# -- the stack ----------------------------------------------------------------------------------------


def test_endless_recursion_is_the_limit_of_the_stack(host: wasinn.Host) -> None:
    result = host.run("@limits", ["recurse"], deadline=10)
    assert (result.limit, result.exit_code) == ("stack", None)
    assert result.trap is not None
    assert "recursion" in result.trap.message
    assert host.run("@limits", ["args"]).exit_code == 0


# -- memory -------------------------------------------------------------------------------------------

MEGABYTE = 1 << 20


@pytest.mark.parametrize("limit", [8 * MEGABYTE, 64 * MEGABYTE])
def test_endless_growth_is_the_limit_of_memory(host: wasinn.Host, limit: int) -> None:
    result = host.run("@limits", ["grow"], max_memory=limit, deadline=30)
    assert (result.limit, result.exit_code) == ("memory", None)
    assert result.trap is not None
    assert str(limit) in result.trap.message


def growing(body: str) -> bytes:
    return f'(module (memory (export "memory") 1) (func (export "_start") (local $n i32) {body}))'.encode()


def test_a_guest_that_ignores_each_refusal_is_ended(host: wasinn.Host) -> None:
    guest = growing("(loop $l (drop (memory.grow (i32.const 10))) (br $l))")
    assert host.run(guest, max_memory=MEGABYTE, deadline=30).limit == "memory"


def test_a_guest_that_traps_at_a_refusal_is_at_its_limit(host: wasinn.Host) -> None:
    guest = growing("(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))")
    assert host.run(guest, max_memory=MEGABYTE).limit == "memory"
    assert host.run(guest, max_memory=100 * MEGABYTE).exit_code == 0


def test_a_guest_that_asks_for_less_after_a_refusal_is_left_alone(host: wasinn.Host) -> None:
    """As the allocators of AssemblyScript do: double what there is, or else what is needed."""
    guest = growing("""
      (loop $l
        (if (i32.eq (memory.grow (memory.size)) (i32.const -1))
          (then (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))))
        (br_if $l (i32.lt_u (memory.size) (i32.const 1600))))
      (loop $m
        (drop (memory.grow (i32.const 100)))
        (drop (memory.grow (i32.const 0)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $m (i32.lt_u (local.get $n) (i32.const 5000))))""")
    result = host.run(guest, max_memory=1600 * 65536)
    assert (result.exit_code, result.trap, result.limit) == (0, None, None)


@pytest.mark.parametrize(
    "memory",
    [
        '(memory (export "memory") 100)',
        "(memory 100)",
    ],
    ids=["exported", "of its own"],
)
def test_a_guest_that_starts_above_its_limit_does_not_start(host: wasinn.Host, memory: str) -> None:
    guest = f'(module {memory} (func (export "_start")))'.encode()
    assert host.run(guest, max_memory=MEGABYTE).limit == "memory"
    assert host.run(guest, max_memory=100 * 65536).exit_code == 0


@pytest.mark.parametrize("size", ["64M", "lots", -1, True])
def test_a_size_is_read_or_refused(host: wasinn.Host, size: Any) -> None:
    if size == "64M":
        assert host.run("@limits", ["grow"], max_memory=size).limit == "memory"
    else:
        with pytest.raises(ConfigError, match=r"limits\.max_memory"):
            host.run("@limits", ["args"], max_memory=size)


# -- output -------------------------------------------------------------------------------------------


def test_endless_output_is_the_limit_of_output(host: wasinn.Host) -> None:
    result = host.run("@limits", ["print", "forever"], max_output=100_000, deadline=30)
    assert result.limit == "output"
    assert len(result.stdout) == 100_000


def test_output_up_to_the_limit_passes(host: wasinn.Host) -> None:
    result = host.run("@limits", ["print", "100000"], max_output=100_000)
    assert (result.exit_code, result.limit, len(result.stdout)) == (0, None, 100_000)
    assert host.run("@limits", ["print", "100001"], max_output=100_000).limit == "output"


def test_output_has_a_limit_unless_it_is_taken_away() -> None:
    host = wasinn.Host()
    assert host.run("@limits", ["print", "forever"], deadline=60).limit == "output"
    host = wasinn.Host(limits=Limits(max_output=None))
    result = host.run("@limits", ["print", str(70 << 20)], deadline=60)
    assert (result.exit_code, len(result.stdout)) == (0, 70 << 20)


# -- fuel ---------------------------------------------------------------------------------------------


def test_fuel_is_a_limit(host: wasinn.Host) -> None:
    result = host.run("@limits", ["spin"], fuel=100_000, deadline=30)
    assert (result.limit, result.exit_code) == ("fuel", None)
    assert result.trap is not None
    assert "100000" in result.trap.message
    assert host.run("@limits", ["args"], fuel=10**7).exit_code == 0
    assert host.run("@limits", ["args"]).exit_code == 0, "and none is needed without a limit"


def test_the_same_work_takes_the_same_fuel(host: wasinn.Host) -> None:
    def enough(fuel: int) -> bool:
        return host.run("@limits", ["args"], fuel=fuel).exit_code == 0

    low, high = 0, 10**6
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    assert all(enough(high) and not enough(low) for _ in range(3))


# -- below all of them ----------------------------------------------------------------------------------


def test_a_guest_below_its_limits_is_not_disturbed(host: wasinn.Host, inputs: Path) -> None:
    command = ["--name", "small", "--input", "0:f32:1x4:/in/small", "--repeat", "1000"]
    limits: dict[str, Any] = {"deadline": 60, "max_memory": 64 * MEGABYTE, "max_output": 1000}
    for _ in range(20):
        result = host.run("@infer", command, dirs={"/in": inputs}, **limits)
        assert (result.exit_code, result.trap, result.limit) == (0, None, None)
        assert result.stats.computes == 1000
