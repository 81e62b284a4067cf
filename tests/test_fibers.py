# SPDX-License-Identifier: Apache-2.0
"""Guests as fibers on one event loop: the same answers, in turns, each with its own end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import struct
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import wasinn
from driver import HEAP, driver_wat
from wasinn import GuestError, GuestExit, Limits
from wasinn.graphs.timing import Timing
from wasinn.runtime import fiber
from wasinn.runtime.engine import get_engine
from wasinn.runtime.fiber import FiberInstance
from wasinn.runtime.lanes import Lanes, lanes_of_loop, set_lanes
from wasinn.runtime.limits import controls

ROWS = 4


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    graphs = {
        "add": wasinn.GraphSource.from_bytes(models.add(), threads=1),
        "slow": wasinn.GraphSource.from_bytes(models.slow(100_000), threads=1),
        "batched": wasinn.GraphSource.from_bytes(models.add(["n", ROWS]), threads=1, batch=True),
        "isolated": wasinn.GraphSource.from_bytes(models.add(), threads=1, isolation="process"),
    }
    return wasinn.Host(graphs=graphs)


def in_loop(work: Callable[[], Awaitable[Any]], main: bool = False) -> Any:
    """What `work()` gives on an event loop, which has a thread of its own unless `main`."""

    async def begin() -> Any:
        return await asyncio.wait_for(work(), 60)

    if main:
        return asyncio.run(begin())
    found: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(asyncio.run(begin()))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


class Fiber:
    """The driver's calls, awaited."""

    def __init__(self, instance: FiberInstance) -> None:
        self.instance = instance
        self._next = HEAP

    @classmethod
    async def make(cls, host: wasinn.Host, limits: Limits | None = None) -> Fiber:
        return cls(await host.instantiate_async(driver_wat(), limits=limits))

    def put(self, data: bytes) -> int:
        address = self._next
        self._next = (address + len(data) + 15) // 8 * 8
        self.instance.memory[address : address + len(data)] = data
        return address

    def u32(self, address: int) -> int:
        return int(struct.unpack_from("<I", self.instance.memory, address)[0])

    async def open(self, name: str) -> int:
        out = self.put(bytes(4))
        assert await self.instance.call("load_by_name", self.put(name.encode()), len(name), out) == 0
        return await self.context(self.u32(out))

    async def context(self, graph: int) -> int:
        out = self.put(bytes(4))
        assert await self.instance.call("init_execution_context", graph, out) == 0
        return self.u32(out)

    async def give(self, context: int, index: int, array: Any) -> int:
        values = np.asarray(array, "<f4")
        dims = self.put(struct.pack(f"<{values.ndim}I", *values.shape))
        data = self.put(values.tobytes())
        tensor = self.put(struct.pack("<IIIII", dims, values.ndim, 1, data, values.nbytes))
        return int(await self.instance.call("set_input", context, index, tensor))

    async def compute(self, context: int) -> int:
        return int(await self.instance.call("compute", context))

    async def take(self, context: int, index: int) -> list[float]:
        buffer, written = self.put(bytes(4096)), self.put(bytes(4))
        assert await self.instance.call("get_output", context, index, buffer, 4096, written) == 0
        count = self.u32(written)
        return np.frombuffer(bytes(self.instance.memory[buffer : buffer + count]), "<f4").tolist()

    async def add(self, name: str, value: float, rows: int = 1, turns: int = 1) -> None:
        """Adds one to `value`, and looks at both outputs."""
        context = await self.open(name)
        start = self._next
        for turn in range(turns):
            self._next = start
            assert await self.give(context, 0, np.full((rows, ROWS), value + turn)) == 0
            assert await self.give(context, 1, np.ones((rows, ROWS))) == 0
            assert await self.compute(context) == 0
            assert await self.take(context, 0) == [value + turn + 1] * (rows * ROWS)
            assert await self.take(context, 1) == [value + turn - 1] * (rows * ROWS)


# -- the same answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("main", [False, True], ids=["thread", "main thread"])
@pytest.mark.parametrize("name", ["add", "batched", "isolated"])
def test_a_fiber_infers(host: wasinn.Host, name: str, main: bool) -> None:
    async def work() -> None:
        fiber = await Fiber.make(host)
        async with fiber.instance:
            await fiber.add(name, 5, turns=3)
        assert fiber.instance.stats.computes == 3

    in_loop(work, main)


def test_a_run_gives_what_it_gives_in_a_thread(host: wasinn.Host) -> None:
    arguments = ["exit", "7"]
    wanted = host.run("@limits", arguments)

    async def work() -> wasinn.RunResult:
        return await host.run_async("@limits", arguments)

    found = in_loop(work)
    assert (found.exit_code, found.stdout, found.stderr) == (7, wanted.stdout, wanted.stderr)


def test_a_guest_reads_its_files_and_stdin(host: wasinn.Host, tmp_path: Path) -> None:
    source = wasinn.GraphSource.from_bytes(models.identity())
    (tmp_path / "x").write_bytes(struct.pack("<4f", 1, 2, 3, 4))
    mine = wasinn.Host(graphs={"identity": source})
    arguments = ["--name", "identity", "--input", f"0:f32:1x4:{tmp_path / 'x'}"]
    wanted = mine.run("@infer", arguments, dirs=[tmp_path])

    async def work() -> wasinn.RunResult:
        read = await mine.run_async("@limits", ["cat", "-"], stdin=b"from stdin")
        assert read.stdout == b"from stdin"
        return await mine.run_async("@infer", arguments, dirs=[tmp_path])

    found = in_loop(work)
    assert found.exit_code == 0, found.stderr
    assert found.stdout == wanted.stdout


def test_a_component_runs_on_the_loop_as_well(host: wasinn.Host) -> None:
    component = b"""(component
      (component $c (core module $m (func (export "run") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run"))) (export "run" (func $run)))
      (instance $r (instantiate $c)) (export "wasi:cli/run@0.2.0" (instance $r)))"""

    async def work() -> wasinn.RunResult:
        return await host.run_async(component)

    assert in_loop(work).exit_code == 0

    async def alone() -> None:
        await host.instantiate_async(component)

    with pytest.raises(GuestError, match="is a component"):
        in_loop(alone)


def test_a_start_section_infers() -> None:
    """AssemblyScript's guests do all their work there, before there is an instance to ask."""
    text = """(module
      (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
      (import "wasi_ephemeral_nn" "init_execution_context" (func $init (param i32 i32) (result i32)))
      (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
      (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 8) "NAME") (data (i32.const 16) "\\01\\00\\00\\00\\04\\00\\00\\00")
      (data (i32.const 32) "\\10\\00\\00\\00\\02\\00\\00\\00\\01\\00\\00\\00\\80\\00\\00\\00\\10\\00\\00\\00")
      (func $start (local $code i32)
        (local.set $code (i32.or (call $load (i32.const 8) (i32.const LENGTH) (i32.const 0))
          (call $init (i32.const 0) (i32.const 4))))
        (local.set $code (i32.or (local.get $code) (call $set (i32.const 0) (i32.const 0) (i32.const 32))))
        (local.set $code (i32.or (local.get $code) (call $compute (i32.const 0))))
        (if (local.get $code) (then unreachable)))
      (start $start))"""

    async def work() -> None:
        for name, isolation in (("near", "none"), ("away", "process")):
            source = wasinn.GraphSource.from_bytes(models.identity(), isolation=isolation)
            guest = text.replace("NAME", name).replace("LENGTH", str(len(name))).encode()
            async with await wasinn.Host(graphs={name: source}).instantiate_async(guest) as instance:
                assert instance.stats.computes == 1

    in_loop(work)


# -- taking turns -----------------------------------------------------------------------------------


def test_a_guest_that_sleeps_holds_nobody_up(host: wasinn.Host) -> None:
    async def work() -> None:
        sleeper = asyncio.create_task(host.run_async("@limits", ["sleep", "30"]))
        await asyncio.sleep(0.05)
        fiber = await Fiber.make(host)
        await fiber.add("add", 1)
        assert not sleeper.done()
        sleeper.cancel()

    in_loop(work)


def test_an_endless_loop_takes_turns_and_ends_at_its_deadline(host: wasinn.Host) -> None:
    async def work() -> None:
        spinners = [asyncio.create_task(host.run_async("@limits", ["spin"], deadline=0.5)) for _ in range(3)]
        await asyncio.sleep(0.02)
        fiber = await Fiber.make(host)
        for value in range(8):
            await fiber.add("add", value)
        assert not any(each.done() for each in spinners)
        for each in spinners:
            result = await each
            assert (result.limit, result.exit_code) == ("deadline", None)

    in_loop(work)


def test_the_ticking_needs_no_thread_and_ends_when_nothing_runs(host: wasinn.Host) -> None:
    ticker = host.guest("@limits").engine.ticker
    assert get_engine() is get_engine(False)
    assert ticker.native

    async def work() -> None:
        await host.run_async("@limits", ["exit", "0"])
        assert ticker.on

    in_loop(work)
    for _ in range(100):
        if not ticker.on:
            break
        time.sleep(0.05)
    assert not ticker.on


def test_a_long_compute_holds_nobody_up_and_ends_at_its_deadline(host: wasinn.Host) -> None:
    async def work() -> None:
        slow = await Fiber.make(host, Limits(deadline=0.5))
        context = await slow.open("slow")
        slow.instance.memory[65536:131072] = bytes(65536)
        dims = slow.put(struct.pack("<2I", 256, 256))
        tensor = slow.put(struct.pack("<IIIII", dims, 2, 1, 65536 * 2, 256 * 256 * 4))
        assert await slow.instance.call("set_input", context, 0, tensor) == 0
        long = asyncio.create_task(slow.compute(context))
        quick = await Fiber.make(host)
        await quick.add("add", 1)
        assert not long.done()
        assert await long == int(wasinn.ErrorCode.RUNTIME_ERROR)
        assert slow.instance.limit == "deadline"
        assert not quick.instance.limit

    in_loop(work)


def test_many_guests_in_any_order_get_their_own_answers(host: wasinn.Host) -> None:
    randoms = random.Random(7)

    async def one(number: int) -> None:
        await asyncio.sleep(randoms.random() * 0.05)
        fiber = await Fiber.make(host)
        async with fiber.instance:
            name = randoms.choice(["add", "batched", "batched", "isolated"])
            rows = randoms.randint(1, 5) if name == "batched" else 1
            await fiber.add(name, number * 100, rows, turns=5)

    async def work() -> None:
        set_lanes(Lanes(2))
        await asyncio.gather(*[one(number) for number in range(60)])

    in_loop(work)


def test_what_waits_for_a_graph_is_computed_together() -> None:
    """While a batch computes, those that come are the next one."""
    source = wasinn.GraphSource.from_bytes(models.add(["n", ROWS]), threads=1, batch=True)
    mine = wasinn.Host(graphs={"batched": source})
    mine.preload()
    graph = mine.registry.loaded("batched")
    assert graph is not None
    sizes: list[int] = []
    graph.graph.on_batch = sizes.append  # type: ignore[attr-defined]

    async def work() -> None:
        fibers = [await Fiber.make(mine) for _ in range(16)]
        await asyncio.gather(*[fiber.add("batched", at * 10, turns=4) for at, fiber in enumerate(fibers)])

    in_loop(work)
    assert sum(sizes) == 64
    assert len(sizes) < 64


# -- ends -------------------------------------------------------------------------------------------

TRAPS = {
    "unreachable": ("unreachable", '(module (func (export "_start") unreachable))'),
    "bounds": (
        "out_of_bounds",
        '(module (memory 1) (func (export "_start") (drop (i32.load (i32.const 99999)))))',
    ),
    "stack": ("stack", '(module (func $f (export "_start") (call $f)))'),
}


@pytest.mark.parametrize("name", list(TRAPS))
def test_a_trap_is_a_result(host: wasinn.Host, name: str) -> None:
    kind, text = TRAPS[name]

    async def work() -> wasinn.RunResult:
        return await host.run_async(text.encode())

    found = in_loop(work)
    assert found.exit_code is None
    assert found.trap is not None
    assert found.trap.kind == kind


def test_limits_hold(host: wasinn.Host) -> None:
    async def work() -> None:
        memory = await host.run_async("@limits", ["grow"], max_memory=16 << 20)
        assert memory.limit == "memory" or memory.exit_code != 0
        sleep = await host.run_async("@limits", ["sleep", "60"], deadline=0.2)
        assert sleep.limit == "deadline"
        fuel = await host.run_async("@limits", ["spin"], fuel=100_000)
        assert fuel.limit == "fuel"

    in_loop(work)


def test_a_cancelled_guest_ends_and_frees_what_it_held(host: wasinn.Host) -> None:
    async def work() -> None:
        for arguments in (["spin"], ["sleep", "60"]):
            task = asyncio.create_task(host.run_async("@limits", arguments))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        fiber = await Fiber.make(host)
        context = await fiber.open("isolated")
        assert await fiber.give(context, 0, np.ones((1, 4))) == 0
        assert await fiber.give(context, 1, np.ones((1, 4))) == 0
        computing = asyncio.create_task(fiber.compute(context))
        await asyncio.sleep(0)
        computing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await computing
        with pytest.raises(GuestError, match="closed"):
            await fiber.compute(context)
        fiber.instance.close()
        fiber.instance.close()

    in_loop(work)


def test_misuse_is_an_error(host: wasinn.Host) -> None:
    exits = b"""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (func (export "go") (call $exit (i32.const 200))))"""

    async def work() -> None:
        fiber = await Fiber.make(host)
        with pytest.raises(GuestError, match="no function"):
            await fiber.instance.call("nothing")
        with pytest.raises(GuestError, match="takes 1 arguments"):
            await fiber.instance.call("compute")
        with pytest.raises(GuestError, match="not an i32"):
            await fiber.instance.call("compute", 1.5)
        assert await fiber.instance.call("compute", 0xFFFFFFFF) == 1
        sleeper = asyncio.create_task(host.run_async("@limits", ["sleep", "30"]))
        sleeper.cancel()
        async with await host.instantiate_async(exits) as instance:
            with pytest.raises(GuestExit) as ended:
                await instance.call("go")
            assert ended.value.code == 200
        with pytest.raises(GuestError, match="closed"):
            await instance.call("go")

    in_loop(work)


def test_guests_load_models_without_holding_up_the_loop(
    host: wasinn.Host, caplog: pytest.LogCaptureFixture
) -> None:
    model = models.add()

    async def work() -> None:
        fiber = await Fiber.make(host)
        pair = fiber.put(struct.pack("<II", fiber.put(model), len(model)))
        out = fiber.put(bytes(4))
        assert await fiber.instance.call("load", pair, 1, 1, 0, out) == 0
        context = await fiber.context(fiber.u32(out))
        assert await fiber.compute(context) == 1
        assert await fiber.give(context, 0, np.ones((1, 3))) == 1
        assert await fiber.give(context, 0, np.ones((1, 4))) == 0

    with caplog.at_level(logging.WARNING, "wasinn.guest"):
        in_loop(work)
    assert "not set were" in caplog.text


def test_lanes_compute_in_as_many_threads_as_they_are() -> None:
    names: set[str] = set()

    async def work() -> None:
        lanes = Lanes(2)
        set_lanes(lanes)
        assert lanes_of_loop() is lanes

        def note() -> None:
            names.add(threading.current_thread().name + str(threading.get_ident()))
            time.sleep(0.01)

        await asyncio.gather(*[lanes.start_compute(note) for _ in range(10)])
        with pytest.raises(ZeroDivisionError):
            await lanes.block(lambda: 1 // 0)
        lanes.close()

    in_loop(work)
    assert len(names) == 2


# -- instances that are closed, forgotten, or too many ---------------------------------------------------

WAITS = b"""(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $sleep (export "sleep") (param i64) (result i32)
    (i64.store (i32.const 24) (local.get 0))
    (i32.store (i32.const 16) (i32.const 1))
    (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))
  (func (export "spin") (loop (br 0)))
  (func (export "one") (result i32) (i32.const 1))
  (func (export "_start") (drop (call $sleep (i64.const 30000000000)))))"""


@pytest.mark.parametrize("by", ["task", "thread"])
@pytest.mark.parametrize("main", [False, True], ids=["thread", "main thread"])
@pytest.mark.parametrize("call", [("sleep", 30 * 10**9), ("spin",)], ids=["sleep", "spin"])
def test_closing_ends_a_call_that_another_task_awaits(
    host: wasinn.Host, call: tuple[Any, ...], main: bool, by: str
) -> None:
    async def work() -> None:
        instance = await host.instantiate_async(WAITS)
        calling = asyncio.create_task(instance.call(*call))
        await asyncio.sleep(0.01)
        with pytest.raises(GuestError, match="one call at a time"):
            await instance.call("one")
        if by == "task":
            instance.close()
        else:
            await asyncio.to_thread(instance.close)
        with pytest.raises(wasinn.GuestTrap, match="interrupted"):
            await calling
        with pytest.raises(GuestError, match="closed"):
            await instance.call("one")

    in_loop(work, main)


def test_closing_waits_for_a_compute_in_another_thread(host: wasinn.Host) -> None:
    async def work() -> None:
        slow = await Fiber.make(host)
        context = await slow.open("slow")
        dims = slow.put(struct.pack("<2I", 256, 256))
        tensor = slow.put(struct.pack("<IIIII", dims, 2, 1, 65536 * 2, 256 * 256 * 4))
        assert await slow.instance.call("set_input", context, 0, tensor) == 0
        computing = asyncio.create_task(slow.compute(context))
        await asyncio.sleep(0.05)
        slow.instance.close()
        assert await computing == int(wasinn.ErrorCode.RUNTIME_ERROR)

    in_loop(work)


def test_an_instance_belongs_to_its_loop(host: wasinn.Host) -> None:
    async def make() -> FiberInstance:
        return await host.instantiate_async(WAITS)

    instance = in_loop(make)

    async def work() -> None:
        with pytest.raises(GuestError, match="event loop"):
            await instance.call("one")

    in_loop(work)
    instance.close()


@pytest.mark.parametrize("fibers", [True, False])
def test_an_instance_that_nobody_has_is_freed(host: wasinn.Host, fibers: bool) -> None:
    async def work() -> None:
        if fibers:
            (await host.instantiate_async(WAITS)).close()
        else:
            host.instantiate(WAITS).close()

    async def forget() -> None:
        for _ in range(20):
            _ = await host.instantiate_async(WAITS) if fibers else host.instantiate(WAITS)

    gc.collect()
    in_loop(work)
    before = len(controls)
    in_loop(forget)
    gc.collect()
    in_loop(work)  # the next one frees them
    assert len(controls) <= before


def test_too_many_instances_are_a_clear_error(host: wasinn.Host) -> None:
    async def work() -> None:
        guest = host.guest(WAITS)
        instances: list[FiberInstance] = []

        async def make() -> None:
            while len(instances) < 4000:
                instances.append(await host.instantiate_async(guest))

        with pytest.raises(GuestError, match="instances open"):
            await make()
        for each in instances:
            each.close()
        async with await host.instantiate_async(guest) as instance:
            assert await instance.call("one") == 1

    in_loop(work)


def test_the_threads_of_a_loop_end_with_it(host: wasinn.Host) -> None:
    def threads() -> int:
        return sum(each.name in ("wasinn-lane", "wasinn-blocking") for each in threading.enumerate())

    async def work() -> None:
        await lanes_of_loop().block(lambda: None)

    gc.collect()
    before = threads()
    for _ in range(5):
        in_loop(work)
    gc.collect()
    for _ in range(100):
        if threads() <= before:
            break
        time.sleep(0.02)
    assert threads() <= before


def test_a_start_that_a_limit_ends_is_a_result(host: wasinn.Host) -> None:
    large = b'(module (memory (export "memory") 100) (func (export "_start")))'

    async def work() -> None:
        assert (await host.run_async(large, max_memory=65536)).limit == "memory"
        late = await host.run_async(WAITS, deadline=0.05)
        assert (late.limit, late.exit_code) == ("deadline", None)

    in_loop(work)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_read_that_never_ends_holds_nobody_up(
    host: wasinn.Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fiber, "_PATIENCE", 0.05)
    os.mkfifo(tmp_path / "pipe")

    async def work() -> None:
        reading = host.run_async("@limits", ["cat", "/d/pipe"], dirs={"/d": tmp_path}, deadline=0.2)
        task = asyncio.create_task(reading)
        await asyncio.sleep(0.05)
        quick = await Fiber.make(host)
        await quick.add("add", 1)
        assert not task.done()
        assert (await task).limit == "deadline"

    try:
        in_loop(work)
    finally:
        os.close(os.open(tmp_path / "pipe", os.O_RDWR))  # lets the thread go


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_is_forked_while_guests_run_goes_on(host: wasinn.Host) -> None:
    async def work() -> int:
        async with await host.instantiate_async(WAITS) as instance:
            await instance.call("one")
            child = os.fork()
            if child == 0:
                instance.guest.engine.ticker.tick()
                os._exit(7)
            for _ in range(500):
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    return os.waitstatus_to_exitcode(status)
                await asyncio.sleep(0.02)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1

    assert in_loop(work) == 7


def test_a_larger_input_than_any_is_not_known_to_be_quick() -> None:
    timing = Timing()
    assert not timing.quick_for(4)
    timing.add(20e-6, 1000)
    assert timing.quick_for(1000)
    assert not timing.quick_for(1001)
    timing.add(0.05, 10**6)
    assert not timing.quick_for(1000)
    for _ in range(30):
        timing.add(20e-6, 1000)
    assert timing.quick_for(1000)
    assert not timing.quick_for(10**6)
