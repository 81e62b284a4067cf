# SPDX-License-Identifier: Apache-2.0
"""WASI-NN in a linker of wasmtime-py: other people's engines, stores and instances."""

from __future__ import annotations

import gc
import logging
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import wasmtime

import models
import wasinn
from driver import HEAP, Driver, driver_wat

DRIVER = driver_wat().decode()


class Exports:
    """An instance in somebody's store, with what `Driver` uses of an instance of ours."""

    def __init__(self, store: wasmtime.Store, instance: wasmtime.Instance) -> None:
        self._store = store
        self._exports: Any = instance.exports(store)
        self.memory = _Memory(store, self._exports["memory"])

    def call(self, name: str, *arguments: int) -> int:
        return int(self._exports[name](self._store, *arguments))


class _Memory:
    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory) -> None:
        self._store, self._memory = store, memory

    def __getitem__(self, part: slice) -> bytes:
        return bytes(self._memory.read(self._store, part.start, part.stop))

    def __setitem__(self, part: slice, data: bytes) -> None:
        self._memory.write(self._store, data, part.start)


class ForeignDriver(Driver):
    """The driver in a store that is not ours."""

    def __init__(self, linker: wasmtime.Linker, module: wasmtime.Module, store: wasmtime.Store) -> None:
        self.instance: Any = Exports(store, linker.instantiate(store, module))
        self._next = HEAP


class Embedder:
    """An engine, a linker with WASI-NN in it, and the compiled driver."""

    def __init__(self, host: wasinn.Host, config: wasmtime.Config | None = None) -> None:
        self.engine = wasmtime.Engine(config) if config else wasmtime.Engine()
        self.linker = wasmtime.Linker(self.engine)
        host.add_to_linker(self.linker)
        self.module = wasmtime.Module(self.engine, DRIVER)

    def driver(self, store: wasmtime.Store | None = None) -> ForeignDriver:
        return ForeignDriver(self.linker, self.module, store or wasmtime.Store(self.engine))


@pytest.fixture
def host() -> wasinn.Host:
    return wasinn.Host(graphs={"add": wasinn.GraphSource.from_bytes(models.add())})


def states(host: wasinn.Host) -> int:
    """How many instances of other people the host remembers."""
    return sum(len(instances._states) for instances in host._foreign)


def add(guest: Driver, context: int, number: float) -> list[float]:
    assert guest.set_f32(context, 0, [[number] * 4]) == 0
    assert guest.set_f32(context, 1, [[1] * 4]) == 0
    assert guest.compute(context) == 0
    return guest.get_f32(context, 0)


def test_a_module_in_its_own_store_infers(host: wasinn.Host) -> None:
    guest = Embedder(host).driver()
    context = guest.open("add")
    for number in range(5):
        assert add(guest, context, number) == [number + 1] * 4
    code, graph = guest.load(models.identity())
    assert (code, graph) == (0, 1)


def test_every_dialect_is_in_the_linker(host: wasinn.Host) -> None:
    embedder = Embedder(host)
    module = wasmtime.Module(embedder.engine, driver_wat("wasi_nn").decode())
    store = wasmtime.Store(embedder.engine)
    guest = ForeignDriver(embedder.linker, module, store)
    out = guest.out()
    assert guest.call("load_by_name", guest.put(b"add"), 3, out) == 0
    assert guest.u32(out) == 0


def test_two_stores_share_the_graph_and_no_handles(host: wasinn.Host) -> None:
    embedder = Embedder(host)
    one, two = embedder.driver(), embedder.driver()
    assert one.load_by_name("add") == (0, 0)
    assert one.context(0) == (0, 0)
    assert two.context(0)[0] == 1, "the first one's graph means nothing here"
    assert two.compute(0) == 1
    assert two.load_by_name("add") == (0, 0)
    assert two.context(0) == (0, 0)
    assert one.context(0) == (0, 1)
    assert (add(one, 0, 10), add(two, 0, 20), add(one, 1, 30)) == ([11] * 4, [21] * 4, [31] * 4)
    assert one.get_f32(0, 0) == [11] * 4


def test_two_instances_in_one_store_share_no_handles(host: wasinn.Host) -> None:
    embedder = Embedder(host)
    store = wasmtime.Store(embedder.engine)
    one, two = embedder.driver(store), embedder.driver(store)
    assert one.load_by_name("add") == (0, 0)
    assert two.context(0)[0] == 1
    assert two.load_by_name("add") == (0, 0)
    assert states(host) == 2


def test_when_a_store_goes_its_handles_go(host: wasinn.Host) -> None:
    embedder = Embedder(host)
    kept, dropped = embedder.driver(), embedder.driver()
    for guest in (kept, dropped):
        guest.open("add")
        assert guest.load(models.identity())[0] == 0
    instances = host._foreign[0]
    graphs = [weakref.ref(state.host._graphs[1].graph) for state in instances._states.values()]
    assert states(host) == 2
    del dropped, guest
    gc.collect()
    assert states(host) == 1
    assert sorted(graph() is None for graph in graphs) == [False, True]
    assert add(kept, 0, 1) == [2] * 4


def test_a_new_store_begins_with_no_handles_wherever_it_lies_in_memory(host: wasinn.Host) -> None:
    embedder = Embedder(host)
    for _ in range(100):
        guest = embedder.driver()
        assert guest.context(0)[0] == 1
        assert guest.load_by_name("add") == (0, 0)
        assert guest.context(0) == (0, 0)
        del guest
    gc.collect()
    assert states(host) == 0


def test_close_frees_the_handles_of_every_store(host: wasinn.Host) -> None:
    embedder = Embedder(host)
    guest = embedder.driver()
    context = guest.open("add")
    host.close()
    assert states(host) == 0
    assert guest.compute(context) == 1
    assert guest.open("add") == 0, "who calls afterwards begins anew"
    assert add(guest, 0, 1) == [2] * 4
    host.close()
    host.close()


def test_a_host_may_be_a_context(host: wasinn.Host) -> None:
    with host:
        guest = Embedder(host).driver()
        guest.open("add")
    assert states(host) == 0


def test_hosts_and_engines_do_not_know_each_other(host: wasinn.Host) -> None:
    other = wasinn.Host(graphs={"other": wasinn.GraphSource.from_bytes(models.identity())})
    one, two = Embedder(host).driver(), Embedder(other).driver()
    assert one.load_by_name("add")[0] == 0
    assert one.load_by_name("other")[0] == 8
    assert two.load_by_name("other")[0] == 0
    assert host.run("@limits", ["exit", "7"]).exit_code == 7, "nor the engine of our own runs"


def test_the_names_are_defined_once(host: wasinn.Host) -> None:
    linker = Embedder(host).linker
    with pytest.raises(wasmtime.WasmtimeError, match="defined twice"):
        host.add_to_linker(linker)


def test_wasi_stays_the_embedder_s(host: wasinn.Host, tmp_path: Any) -> None:
    embedder = Embedder(wasinn.Host(graphs={"same": wasinn.GraphSource.from_bytes(models.identity())}))
    embedder.linker.define_wasi()
    config = wasmtime.WasiConfig()
    config.argv = ["identity", "same"]
    config.stdout_file = str(tmp_path / "out")
    store = wasmtime.Store(embedder.engine)
    store.set_wasi(config)
    module = wasmtime.Module.from_file(embedder.engine, str(wasinn.shipped.resolve("@identity", "guests")))
    start: Any = embedder.linker.instantiate(store, module).exports(store)["_start"]
    start(store)
    del start, store
    gc.collect()
    assert (tmp_path / "out").read_bytes() == b"16 bytes: 1 2 3 4\n"


def test_a_guest_without_a_memory_is_told_so(host: wasinn.Host, caplog: pytest.LogCaptureFixture) -> None:
    embedder = Embedder(host)
    text = """(module (import "wasi_ephemeral_nn" "compute" (func $c (param i32) (result i32)))
      (func (export "go") (result i32) (call $c (i32.const 0))))"""
    store = wasmtime.Store(embedder.engine)
    instance = embedder.linker.instantiate(store, wasmtime.Module(embedder.engine, text))
    go: Any = instance.exports(store)["go"]
    with caplog.at_level(logging.WARNING, "wasinn.guest"):
        assert go(store) == 3
    assert "memory" in caplog.text


def test_a_memory_that_moves_when_it_grows_is_found_again(host: wasinn.Host) -> None:
    config = wasmtime.Config()
    config.memory_reservation = 0
    config.memory_guard_size = 0
    config.memory_reservation_for_growth = 0
    guest = Embedder(host, config).driver()
    context = guest.open("add")
    exports = guest.instance
    for number in range(20):
        memory = exports.memory._memory
        before = memory.size(exports._store)
        assert memory.grow(exports._store, 50) == before
        guest._next = before * 65536 + 8  # only the new pages are used from here
        assert add(guest, context, number) == [number + 1] * 4


def test_a_pointer_beyond_a_foreign_memory_is_refused(host: wasinn.Host) -> None:
    guest = Embedder(host).driver()
    context = guest.open("add")
    for pointer in (64 * 65536 - 19, 2**31 - 4, -1, -(2**31)):
        assert guest.call("set_input", context, 0, pointer) == 1
    assert add(guest, context, 3) == [4] * 4


def test_stores_in_several_threads_do_not_disturb_each_other(host: wasinn.Host) -> None:
    embedder = Embedder(host)

    def work(seed: int) -> bool:
        for turn in range(30):
            guest = embedder.driver()
            context = guest.open("add")
            number = seed * 1000 + turn
            if add(guest, context, number) != [number + 1] * 4:
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    gc.collect()
    assert states(host) == 0


def test_output_of_any_size_comes_through(host: wasinn.Host) -> None:
    guest = Embedder(host).driver()
    size = 200_000
    code, graph = guest.load(models.identity(dims=["n"]))
    assert code == 0
    _, context = guest.context(graph)
    values = np.arange(size, dtype="<f4")
    assert guest.set_f32(context, 0, values) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0, size * 4)[1] == values.tobytes()
    assert guest.get_output(context, 0, 16)[::2] == (7, size * 4)
