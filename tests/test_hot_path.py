# SPDX-License-Identifier: Apache-2.0
"""The hot path answers what Python would: the same errnos, bytes and counts, only sooner."""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
import wasinn
from calls import VALUES, heat, infer, opened, rewound
from conftest import MakeDriver
from driver import HEAP, Driver, driver_wat

F32, U8, I64 = 1, 3, 5
RUNTIME = 5


def gather() -> bytes:
    """y = table[x], which fails for an x out of range."""
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    ports = [("x", TensorProto.INT64, (1,))], [("y", TensorProto.FLOAT, (1,))]
    return models.onnx_model([node], *ports, {"table": np.arange(4, dtype=np.float32)})


def liar() -> bytes:
    """y = x in the shape that an input says, declared as [1,4] whatever that is."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    inputs = [("x", TensorProto.FLOAT, (1, 4)), ("shape", TensorProto.INT64, (2,))]
    return models.onnx_model([node], inputs, [("y", TensorProto.FLOAT, (1, 4))])


def selector() -> bytes:
    """y = the first `count` of x, declared as [4]."""
    node = helper.make_node("Slice", ["x", "zero", "count"], ["y"])
    inputs = [("x", TensorProto.FLOAT, (4,)), ("count", TensorProto.INT64, (1,))]
    return models.onnx_model(
        [node], inputs, [("y", TensorProto.FLOAT, (4,))], {"zero": np.zeros(1, dtype=np.int64)}
    )


@dataclass(frozen=True)
class Case:
    """A model, and a good input for each port: (dims, type code, bytes) from a seed."""

    model: Callable[[], bytes]
    inputs: Callable[[int], list[tuple[tuple[int, ...], int, bytes]]]


def _floats(*dims: int) -> Callable[[int], tuple[tuple[int, ...], int, bytes]]:
    def make(seed: int) -> tuple[tuple[int, ...], int, bytes]:
        count = int(np.prod(dims))
        return dims, F32, (np.arange(count, dtype="<f4") + seed).tobytes()

    return make


def _i64(*values: int) -> tuple[tuple[int, ...], int, bytes]:
    return (len(values),), I64, struct.pack(f"<{len(values)}q", *values)


CASES: dict[str, Case] = {
    "identity": Case(models.identity, lambda seed: [_floats(1, 4)(seed)]),
    "add": Case(models.add, lambda seed: [_floats(1, 4)(seed), _floats(1, 4)(2 * seed)]),
    "bytes": Case(
        lambda: models.identity(TensorProto.UINT8, (2, 3)),
        lambda seed: [((2, 3), (2, U8)[seed % 2], bytes([seed % 256] * 6))],
    ),
    "scalar": Case(
        lambda: models.identity(dims=()), lambda seed: [_floats(*((), (1,))[seed % 5 == 0])(seed)]
    ),
    "empty": Case(lambda: models.identity(dims=(0, 4)), lambda seed: [((0, 4), F32, b"")]),
    "dynamic": Case(lambda: models.identity(dims=("n", 2)), lambda seed: [_floats(1 + seed % 3, 2)(seed)]),
    "gather": Case(gather, lambda seed: [_i64(9 if seed % 7 == 0 else seed % 4)]),
    "liar": Case(liar, lambda seed: [_floats(1, 4)(seed), _i64(*((1, 4) if seed % 3 else (seed % 5, 4)))]),
    "selector": Case(selector, lambda seed: [_floats(4)(seed), _i64(4 if seed % 3 else seed % 5)]),
}
NAMES = list(CASES)


def new_host() -> wasinn.Host:
    return wasinn.Host(
        graphs={name: wasinn.GraphSource.from_bytes(case.model()) for name, case in CASES.items()}
    )


#: Shared where a test has many examples: loading the models takes longer than they do.
host = functools.cache(new_host)


# -- the same as Python, whatever is called ----------------------------------------------------------


class Player:
    """Plays steps on a driver, and keeps what the guest saw."""

    def __init__(self, hot: bool, own_host: bool = False) -> None:
        self.driver = Driver(new_host() if own_host else host(), hot=hot)
        self.seen: list[Any] = []
        self.cases: list[Case] = []
        self.hottest = 0

    def play(self, step: tuple[Any, ...]) -> None:
        with rewound(self.driver):
            self.seen.append((step, getattr(self, step[0])(*step[1:])))
        path = self.driver.instance.state.hot_path
        if path is not None:
            self.hottest = max(self.hottest, len(path._records))

    def _context(self, pick: int) -> tuple[int, Case]:
        if not self.cases:
            return 0, CASES["identity"]
        context = pick % len(self.cases)
        return context, self.cases[context]

    def open(self, name: str) -> Any:
        code, graph = self.driver.load_by_name(name)
        opened = self.driver.context(graph)
        if opened[0] == 0:
            self.cases.append(CASES[name])
        return code, graph, opened

    def infer(self, pick: int, seed: int, times: int) -> Any:
        return [
            (
                self.feed(pick, seed + each, 0),
                self.compute(pick),
                self.read(pick, 0, 64),
                self.read(pick, 1, 64),
            )
            for each in range(times)
        ]

    def feed(self, pick: int, seed: int, bend: int) -> Any:
        """set_input of every port; `bend` says what is wrong with the tensor."""
        context, case = self._context(pick)
        codes = []
        for index, (dims, code, data) in enumerate(case.inputs(seed)):
            tensor = self.driver.tensor(dims, code, data)
            memory = self.driver.instance.memory
            words = list(struct.unpack("<5I", memory[tensor : tensor + 20]))
            end = len(memory)
            changes = {
                1: (0, end - 4 * len(dims) + 1),
                2: (0, 0xFFFFFFFF),
                3: (1, len(dims) + 1),
                4: (1, 0),
                5: (2, words[2] + 1),
                6: (2, words[2] | 0xFF),
                7: (3, end - len(data) + 1),
                8: (3, 0xFFFFFFF0),
                9: (4, len(data) + 4),
                10: (4, 0),
                11: (4, 0xFFFFFFFF),
                12: (2, 2),
                13: (2, 3),
                14: (0, words[0] + 4),
            }
            if bend in changes:
                word, value = changes[bend]
                words[word] = value % (1 << 32)
            memory[tensor : tensor + 20] = struct.pack("<5I", *words)
            if bend == 15:
                tensor = end - 19
            codes.append(self.driver.call("set_input", context, index + (bend == 16), tensor))
        return codes

    def compute(self, pick: int) -> int:
        return self.driver.compute(self._context(pick)[0])

    def read(self, pick: int, index: int, size: int) -> Any:
        return self.driver.get_output(self._context(pick)[0], index, size)

    def read_at(self, pick: int, shift: int, size: int, written: int) -> Any:
        """get_output into the last bytes of the memory."""
        end = len(self.driver.instance.memory)
        context = self._context(pick)[0]
        code = self.driver.call("get_output", context, 0, end - 64 + shift, size, end - 100 + written)
        return code, self.driver.get(end - 128, 128)

    def finalize(self, pick: int) -> int:
        return self.driver.call("finalize_execution_context", self._context(pick)[0])

    def unload(self, graph: int) -> int:
        return self.driver.call("unload", graph)

    def totals(self) -> Any:
        stats = self.driver.instance.stats
        calls = {name: count for name, count in stats.calls.items() if count}
        return calls, stats.failures, stats.bytes_in, stats.bytes_out, stats.computes


pick, seed = st.integers(0, 5), st.integers(0, 1000)
steps = st.one_of(
    st.tuples(st.just("open"), st.sampled_from(NAMES)),
    st.tuples(st.just("infer"), pick, seed, st.integers(1, 4)),
    st.tuples(st.just("infer"), pick, seed, st.integers(1, 4)),
    st.tuples(st.just("feed"), pick, seed, st.integers(0, 16)),
    st.tuples(st.just("compute"), pick),
    st.tuples(st.just("read"), pick, st.integers(0, 2), st.sampled_from([0, 1, 4, 15, 16, 17, 64])),
    st.tuples(
        st.just("read_at"), pick, st.integers(0, 70), st.integers(0, 80), st.sampled_from([0, 97, 200])
    ),
    st.tuples(st.just("finalize"), pick),
    st.tuples(st.just("unload"), st.integers(0, 4)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
    rest=st.lists(steps, min_size=1, max_size=25),
)
def test_a_guest_cannot_tell_the_hot_path_from_python(names: list[str], rest: list[tuple[Any, ...]]) -> None:
    cold, hot = Player(False), Player(True)
    try:
        script: list[tuple[Any, ...]] = [("open", name) for name in names]
        script += [("infer", number, 1, 2) for number in range(len(names))]
        for step in script + rest:
            cold.play(step)
            hot.play(step)
            assert hot.seen[-1] == cold.seen[-1]
        assert hot.totals() == cold.totals()
        assert hot.hottest or not {"identity", "add", "bytes", "scalar", "empty"} & set(names)
    finally:
        cold.driver.close()
        hot.driver.close()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "dynamic"])
def test_a_context_of_fixed_shape_is_hot_after_its_second_compute(name: str) -> None:
    player = Player(True, own_host=True)
    player.play(("open", name))
    for number in range(3):
        player.play(("infer", 0, 1, 1))
        records = player.driver.instance.state.hot_path._records  # type: ignore[union-attr]
        assert (0 in records) == (number >= 1)
    player.driver.close()


def test_shapes_that_were_odd_in_one_context_do_not_keep_the_next_from_being_hot() -> None:
    player = Player(True, own_host=True)
    driver = player.driver
    context = driver.open("liar")
    assert driver.set_f32(context, 0, VALUES) == 0
    assert driver.set_input(context, 1, *_i64(2, 2)) == 0
    assert driver.compute(context) == 0
    assert driver.call("finalize_execution_context", context) == 0
    player.play(("open", "liar"))
    player.cases.insert(0, CASES["liar"])
    player.play(("infer", 1, 1, 2))
    driver.close()
    assert player.hottest == 1


# -- many contexts ------------------------------------------------------------------------------------


def test_contexts_side_by_side_keep_their_own_bytes(drive: MakeDriver) -> None:
    driver, _ = opened(drive, models.add(), hot=True, inputs=2)
    contexts = [driver.open("model") for _ in range(20)]
    for context in contexts:
        heat(driver, context, 2)
    for context in contexts:
        with rewound(driver):
            assert driver.set_f32(context, 0, np.full((1, 4), context)) == 0
            assert driver.set_f32(context, 1, np.full((1, 4), 100)) == 0
    for context in reversed(contexts):
        assert driver.compute(context) == 0
    for context in contexts:
        with rewound(driver):
            assert driver.get_f32(context, 0) == [context + 100] * 4
            assert driver.get_f32(context, 1) == [context - 100] * 4


def test_more_contexts_than_the_directory_has_all_work(drive: MakeDriver) -> None:
    permissions = wasinn.Permissions(max_contexts=1100)
    driver = drive({"model": models.identity()}, permissions, hot=True)
    graph = driver.load_by_name("model")[1]
    for number in range(1100):
        with rewound(driver):
            assert driver.context(graph) == (0, number)
    for context in (0, 1022, 1023, 1024, 1025, 1099):
        for _ in range(3):
            assert infer(driver, context) == [1, 2, 3, 4]
    records = driver.instance.state.hot_path._records  # type: ignore[union-attr]
    assert set(records) == {0, 1022, 1023}


def own_memory(driver: Driver) -> int:
    """How far the hot path's memory is used."""
    return int(driver.instance.state.hot_path._end)  # type: ignore[union-attr]


def test_contexts_that_come_and_go_do_not_grow_the_memory(drive: MakeDriver) -> None:
    driver, first = opened(drive, models.identity(), hot=True)
    used = own_memory(driver)
    assert driver.call("finalize_execution_context", first) == 0
    for _ in range(100):
        context = driver.open("model")
        with rewound(driver):
            heat(driver, context)
        driver._next = 4096
        assert driver.call("finalize_execution_context", context) == 0
    assert own_memory(driver) <= used


def test_contexts_of_many_sizes_that_come_and_go_do_not_grow_the_memory_for_ever(drive: MakeDriver) -> None:
    sizes = [16, 1000, 3000, 7000, 20_000]
    driver = drive({str(size): models.identity(TensorProto.UINT8, (size,)) for size in sizes}, hot=True)
    generator = random.Random(4)
    live: list[tuple[int, int]] = []
    peaks = []
    for _ in range(600):
        with rewound(driver):
            size = generator.choice(sizes)
            context = driver.open(str(size))
            tensor = driver.tensor([size], U8, bytes(size))
            for _ in range(2):
                assert driver.call("set_input", context, 0, tensor) == 0
                assert driver.compute(context) == 0
            live.append((context, size))
            if len(live) > 4:
                freed, _ = live.pop(generator.randrange(len(live)))
                assert driver.call("finalize_execution_context", freed) == 0
        peaks.append(own_memory(driver))
    assert peaks[-1] < 10 * 2 * max(sizes)


def test_a_finalized_context_leaves_nothing_behind(drive: MakeDriver) -> None:
    driver = drive({"model": models.identity()}, hot=True)
    for _ in range(50):
        with rewound(driver):
            context = driver.open("model")
            infer(driver, context)
            assert driver.call("finalize_execution_context", context) == 0
    path: Any = driver.instance.state.hot_path
    assert not path._computes
    assert not path._types


def test_a_finalized_hot_context_leaves_its_place_clean(drive: MakeDriver) -> None:
    driver, first = opened(drive, models.identity(), hot=True)
    assert driver.call("finalize_execution_context", first) == 0
    second = driver.open("model")
    with rewound(driver):
        assert driver.get_output(second, 0, 64)[0] == RUNTIME
        assert driver.set_f32(second, 0, VALUES) == 0
        assert driver.get_output(second, 0, 64)[0] == RUNTIME
    heat(driver, second)
    assert driver.get_f32(second, 0) == [1, 2, 3, 4]


def test_unloading_one_graph_leaves_the_contexts_of_others_hot(drive: MakeDriver) -> None:
    driver, context = opened(drive, models.identity(), hot=True)
    other = driver.load(models.identity())[1]
    assert driver.call("unload", other) == 0
    assert driver.call("unload", 99) == 1
    infer(driver, context)
    heat(driver, context)


def test_an_unload_that_concerns_others_changes_no_answer() -> None:
    player = Player(True, own_host=True)
    driver = player.driver
    context = driver.open("liar")
    for shape in ((1, 4), (1, 4), (2, 2)):
        driver.call("unload", 99)
        assert driver.set_f32(context, 0, VALUES) == 0
        assert driver.set_input(context, 1, *_i64(*shape)) == 0
        assert driver.compute(context) == 0
    driver.close()


# -- large tensors and little memory ----------------------------------------------------------------------


def large(size: int) -> bytes:
    return models.identity(TensorProto.UINT8, (size,))


def test_tensors_larger_than_its_memory_grow_it(drive: MakeDriver) -> None:
    driver = drive({"model": large(700_000)}, hot=True)
    contexts = [driver.open("model") for _ in range(3)]
    generator = np.random.default_rng(5)
    for _ in range(4):
        for context in contexts:
            data = generator.bytes(700_000)
            with rewound(driver):
                assert driver.set_input(context, 0, [700_000], U8, data) == 0
                assert driver.compute(context) == 0
                assert driver.get_output(context, 0, 700_000) == (0, data, 700_000)
    assert set(driver.instance.state.hot_path._records) == set(contexts)  # type: ignore[union-attr]
    assert own_memory(driver) > 3 * 2 * 700_000


def test_a_memory_limit_that_its_buffers_do_not_fit_leaves_python_to_answer(drive: MakeDriver) -> None:
    size = 1_500_000
    limits = wasinn.Limits(max_memory=4 << 20)
    driver = drive({"model": large(size), "small": models.identity()}, hot=True, limits=limits)
    contexts = [driver.open("model") for _ in range(3)]
    for number in range(4):
        for context in contexts:
            data = bytes([context + number]) * size
            with rewound(driver):
                assert driver.set_input(context, 0, [size], U8, data) == 0
                assert driver.compute(context) == 0
                assert driver.get_output(context, 0, size) == (0, data, size)
    path: Any = driver.instance.state.hot_path
    assert len(path._records) == 1
    heat(driver, driver.open("small"))


class GrowingDriver(Driver):
    """A driver whose guest can grow its memory."""

    def __init__(self, host: wasinn.Host) -> None:
        grow = b'(func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))'
        self.instance = host.instantiate(driver_wat(pages=1).rstrip()[:-1] + grow, long_lived=True)
        self._next = HEAP


def test_a_guest_that_grows_its_memory_stays_hot_and_may_use_what_it_got() -> None:
    driver = GrowingDriver(host())
    context = driver.open("identity")
    heat(driver, context)
    written, tensor = driver.out(), driver.tensor([1, 4], F32, VALUES.tobytes())
    high = driver.put(driver.get(tensor, 12) + struct.pack("<II", 65536 * 3, 16))
    assert driver.call("set_input", context, 0, high) == 1
    assert driver.call("get_output", context, 0, 65536, 16, written) == 1
    assert driver.instance.call("grow", 5) == 1
    driver.instance.memory[65536 * 3 : 65536 * 3 + 16] = VALUES.tobytes()
    assert driver.call("set_input", context, 0, high) == 0
    assert driver.compute(context) == 0
    assert driver.call("get_output", context, 0, 65536, 16, written) == 0
    assert driver.get(65536, 16) == VALUES.tobytes()
    assert driver.call("get_output", context, 0, 65536 * 6 - 8, 16, written) == 1
    assert context in driver.instance.state.hot_path._records  # type: ignore[union-attr]
    driver.close()


# -- models that lie, and statistics ------------------------------------------------------------------------


@pytest.mark.parametrize("hot", [False, True], ids=["cold", "hot"])
def test_a_model_whose_output_shape_is_not_the_declared_one_still_answers(hot: bool) -> None:
    player = Player(hot, own_host=True)
    driver = player.driver
    context = driver.open("liar")
    for shape in [(1, 4)] * 3 + [(2, 2), (4, 1), (1, 4)]:
        with rewound(driver):
            assert driver.set_f32(context, 0, VALUES) == 0
            assert driver.set_input(context, 1, *_i64(*shape)) == 0
            assert driver.compute(context) == 0
            assert driver.get_output(context, 0, 64) == (0, VALUES.tobytes(), 16)
    with rewound(driver):
        assert driver.set_input(context, 1, *_i64(3, 3)) == 0
        assert driver.compute(context) == RUNTIME
        assert driver.get_output(context, 0, 64)[0] == RUNTIME
    driver.close()


@pytest.mark.parametrize("hot", [False, True], ids=["cold", "hot"])
def test_an_output_shorter_than_declared_has_no_stale_bytes(hot: bool) -> None:
    player = Player(hot, own_host=True)
    driver = player.driver
    context = driver.open("selector")
    for count in (4, 4, 4, 2, 0, 1, 4):
        with rewound(driver):
            assert driver.set_input(context, 0, [4], F32, VALUES.tobytes()) == 0
            assert driver.set_input(context, 1, *_i64(count)) == 0
            assert driver.compute(context) == 0
            assert driver.get_output(context, 0, 64) == (0, VALUES.tobytes()[: 4 * count], 4 * count)
    driver.close()


def test_the_statistics_count_what_python_never_saw(drive: MakeDriver) -> None:
    driver, context = opened(drive, models.identity(), hot=True)
    for _ in range(100):
        infer(driver, context)
    stats = driver.instance.stats
    assert {name: stats.calls[name] for name in ("set_input", "compute", "get_output")} == {
        "set_input": 103,
        "compute": 103,
        "get_output": 103,
    }
    assert (stats.computes, stats.bytes_in, stats.bytes_out) == (103, 103 * 16, 103 * 16)
    assert stats.compute_seconds > 0
    assert driver.instance.stats.computes == 103  # asking twice counts once
