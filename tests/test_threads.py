# SPDX-License-Identifier: Apache-2.0
"""Many guests in many threads on one host: right answers throughout, and no more memory."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import models
import wasinn
from driver import Driver, driver_wat


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    graphs = {
        "add": wasinn.GraphSource.from_bytes(models.add(), threads=1),
        "any": wasinn.GraphSource.from_bytes(models.identity(dims=["n"]), threads=1),
        "tiny": wasinn.GraphSource.from_bytes(models.identity(dims=[1, 16]), threads=1),
    }
    return wasinn.Host(graphs=graphs)


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """`work(number)` in `count` threads that begin together."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> None:
        barrier.wait()
        work(number)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(begin, range(count)))


@pytest.mark.parametrize("hot", [False, True], ids=["python", "hot path"])
@pytest.mark.parametrize("count", [2, 8])
def test_guests_on_one_graph_get_their_own_answers(host: wasinn.Host, count: int, hot: bool) -> None:
    def work(number: int) -> None:
        guest = Driver(host, hot=hot)
        context = guest.open("add")
        start = guest._next
        for turn in range(300):
            guest._next = start  # the same places each time, as a guest in a loop has it
            value = number * 1000 + turn
            assert guest.set_f32(context, 0, [[value] * 4]) == 0
            assert guest.set_f32(context, 1, [[1] * 4]) == 0
            assert guest.compute(context) == 0
            assert guest.get_f32(context, 0) == [value + 1] * 4
            assert guest.get_f32(context, 1) == [value - 1] * 4
        guest.close()

    in_threads(count, work)


def test_shapes_that_change_in_one_thread_do_not_change_in_another(host: wasinn.Host) -> None:
    def work(number: int) -> None:
        random = np.random.default_rng(number)
        for _ in range(20):
            guest = Driver(host)
            context = guest.open("any")
            for _ in range(5):
                values = random.random(int(random.integers(0, 50))).astype("<f4")
                assert guest.set_f32(context, 0, values) == 0
                assert guest.compute(context) == 0
                assert guest.get_output(context, 0)[1] == values.tobytes()
            guest.close()

    in_threads(4, work)


def request_of(number: int) -> bytes:
    return (np.arange(16, dtype="<f4") + number).tobytes() + bytes(3000)


def answer(host: wasinn.Host, compiled: wasinn.Guest, number: int) -> None:
    """One request to a fresh instance of the shipped request handler."""
    request = request_of(number)
    with host.instantiate(compiled) as instance:
        place = instance.call("alloc", len(request))
        instance.memory[place : place + len(request)] = request
        assert instance.call("handle", place, len(request)) == 64
        found = instance.call("answer")
        assert bytes(instance.memory[found : found + 64]) == request[:64]


def test_fresh_instances_from_four_threads_answer_right(host: wasinn.Host) -> None:
    compiled = host.guest("@request")
    in_threads(4, lambda number: [answer(host, compiled, number * 1000 + turn) for turn in range(50)])


def test_runs_from_several_threads_keep_their_streams_apart(host: wasinn.Host) -> None:
    def work(number: int) -> None:
        for turn in range(10):
            said = f"{number} {turn} " * 1000
            result = host.run("@limits", ["cat", "-"], stdin=said.encode())
            assert (result.exit_code, result.stdout.decode()) == (0, said)
            assert host.run("@limits", ["exit", str(number + 100)]).exit_code == number + 100

    in_threads(4, work)


def test_a_guest_that_traps_in_one_thread_does_not_disturb_others(host: wasinn.Host) -> None:
    """Each way to end goes on in a thread of its own, beside one whose guest has work to do."""
    compiled = host.guest("@request")

    def work(number: int) -> None:
        for turn in range(40):
            if number == 0:
                answer(host, compiled, turn)
            elif number == 1:
                result = host.run("@limits", ["abort"])
                assert result.trap is not None
                assert (result.trap.kind, result.exit_code) == ("unreachable", None)
            elif number == 2:
                assert host.run("@limits", ["exit", "99"]).exit_code == 99
            else:
                assert host.run("@limits", ["recurse"]).limit == "stack"

    in_threads(4, work)


def test_one_guest_is_compiled_in_several_threads_at_once(tmp_path: Path) -> None:
    host = wasinn.Host(graphs={}, cache=tmp_path)
    guests = [None] * 6

    def work(number: int) -> None:
        guests[number] = host.guest(driver_wat())  # type: ignore[call-overload]
        assert host.run("@limits", ["exit", "5"]).exit_code == 5

    in_threads(6, work)
    assert all(guest is not None for guest in guests)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".cwasm"] * 2, "and nothing half written"


def resident() -> int:
    """The process's memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="there is no /proc to read the process's memory from"
)


@needs_proc
def test_memory_does_not_grow_with_fresh_instances(host: wasinn.Host) -> None:
    compiled = host.guest("@request")
    for number in range(500):
        answer(host, compiled, number)
    gc.collect()
    before = resident()
    for number in range(3000):
        answer(host, compiled, number)
    gc.collect()
    # An instance that stayed would keep its memory of 64 KiB and more: 200 MB.
    assert resident() - before < 30 << 20


@needs_proc
def test_memory_does_not_grow_with_runs_that_trap_and_contexts_that_stay_open(host: wasinn.Host) -> None:
    compiled = host.guest("@limits")

    def turn() -> None:
        host.run(compiled, ["abort"])
        host.run(compiled, ["cat", "-"], stdin=bytes(100_000), deadline=30)
        guest = Driver(host, hot=True)
        for _ in range(3):
            context = guest.open("tiny")
            for _ in range(3):
                assert guest.set_f32(context, 0, np.ones((1, 16))) == 0
                assert guest.compute(context) == 0
        guest.close()

    for _ in range(100):
        turn()
    gc.collect()
    before = resident()
    for _ in range(500):
        turn()
    gc.collect()
    assert resident() - before < 40 << 20
