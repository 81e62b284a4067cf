# SPDX-License-Identifier: Apache-2.0
"""How long handles, inputs and outputs live: each row of docs/lifetimes.md is a test here."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import models
import wasinn
from calls import BOTH, VALUES, WAMR, Call, heat, infer, opened, reason, rewound
from conftest import MakeDriver
from driver import Driver
from wasinn.runtime.engine import FUNCTIONS

INVALID, RUNTIME, TOO_LARGE, NOT_FOUND = 1, 5, 7, 8
OLD = [1.0, 2.0, 3.0, 4.0]
NEW = np.array([[5, 6, 7, 8]], "<f4")


def unload(driver: Driver, graph: int) -> int:
    return driver.call("unload", graph)


def finalize(driver: Driver, context: int) -> int:
    return driver.call("finalize_execution_context", context)


def computed(drive: MakeDriver, hot: bool) -> tuple[Driver, int]:
    """A driver and a context of graph 0 that has computed."""
    driver, context = opened(drive, models.identity(), hot)
    infer(driver, context)
    return driver, context


# -- handles ----------------------------------------


def test_handles_count_up_from_zero_graphs_and_contexts_apart(drive: MakeDriver) -> None:
    driver = drive({"a": models.identity(), "b": models.identity()})
    assert driver.load_by_name("a") == (0, 0)
    assert driver.context(0) == (0, 0)
    assert driver.load_by_name("b") == (0, 1)
    assert driver.load(models.identity()) == (0, 2)
    assert [driver.context(graph) for graph in (2, 1, 0)] == [(0, 1), (0, 2), (0, 3)]


@BOTH
def test_a_freed_handle_is_never_given_again(drive: MakeDriver, hot: bool) -> None:
    driver, context = computed(drive, hot)
    assert finalize(driver, context) == 0
    assert driver.context(0) == (0, 1)
    assert unload(driver, 0) == 0
    assert driver.load_by_name("model") == (0, 1)
    assert driver.load(models.identity()) == (0, 2)
    assert driver.context(1) == (0, 2)


def test_a_call_that_fails_takes_no_handle(drive: MakeDriver) -> None:
    driver = drive({"model": models.identity(), "broken": b"this is no model at all"})
    assert driver.load(b"this is no model either")[0] != 0
    assert driver.load_by_name("broken")[0] != 0
    assert driver.load_by_name("unknown")[0] == NOT_FOUND
    assert driver.load_by_name("model") == (0, 0)
    assert driver.context(1)[0] == INVALID
    assert driver.context(0) == (0, 0)


def test_a_call_that_fails_leaves_its_out_parameter_alone(drive: MakeDriver) -> None:
    driver = drive()
    assert driver.load(b"this is no model") == (2, 0xDEADBEEF)
    assert driver.load_by_name("unknown") == (NOT_FOUND, 0xDEADBEEF)
    assert driver.context(7) == (INVALID, 0xDEADBEEF)


# -- names ----------------------------------------


def test_a_name_gives_the_same_handle_until_it_is_unloaded(drive: MakeDriver) -> None:
    driver = drive({"model": models.identity()})
    assert [driver.load_by_name("model") for _ in range(3)] == [(0, 0)] * 3
    assert unload(driver, 0) == 0
    assert [driver.load_by_name("model") for _ in range(3)] == [(0, 1)] * 3


def test_bytes_give_a_new_handle_each_time(drive: MakeDriver) -> None:
    driver = drive()
    assert [driver.load(models.identity())[1] for _ in range(3)] == [0, 1, 2]


# -- graphs after unload ----------------------------------------


@BOTH
def test_unloading_twice_is_an_invalid_argument(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool
) -> None:
    driver, _ = computed(drive, hot)
    assert unload(driver, 0) == 0
    for _ in range(2):
        assert unload(driver, 0) == INVALID
        assert "graph 0 was freed" in reason(caplog)


def test_an_unloaded_graph_makes_no_context_and_has_no_metadata(drive: MakeDriver) -> None:
    driver, _ = computed(drive, False)
    assert unload(driver, 0) == 0
    assert driver.context(0)[0] == INVALID
    assert driver.call("graph_metadata", 0, driver.put(bytes(512)), 512, driver.out()) == INVALID


@BOTH
def test_a_context_of_an_unloaded_graph_can_still_be_read(drive: MakeDriver, hot: bool) -> None:
    driver, context = computed(drive, hot)
    assert unload(driver, 0) == 0
    for _ in range(3):
        assert driver.get_f32(context, 0) == OLD
    assert driver.get_output(context, 0, 3) == (TOO_LARGE, b"", 16)


@BOTH
def test_a_context_of_an_unloaded_graph_takes_no_input_and_computes_no_more(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool
) -> None:
    driver, context = computed(drive, hot)
    assert unload(driver, 0) == 0
    assert driver.set_f32(context, 0, NEW) == INVALID
    assert "the graph of context 0 was unloaded: the context takes no more input" in reason(caplog)
    assert driver.compute(context) == INVALID
    assert "computes no more" in reason(caplog)
    assert driver.get_f32(context, 0) == OLD


@BOTH
def test_a_context_of_an_unloaded_graph_that_has_not_computed_never_will(
    drive: MakeDriver, hot: bool
) -> None:
    driver, _ = computed(drive, hot)
    waiting = driver.open("model")
    assert driver.set_f32(waiting, 0, NEW) == 0
    assert unload(driver, 0) == 0
    assert driver.compute(waiting) == INVALID
    assert driver.get_output(waiting, 0)[0] == RUNTIME


@BOTH
def test_loading_the_name_again_does_not_wake_the_old_contexts(drive: MakeDriver, hot: bool) -> None:
    driver, old = computed(drive, hot)
    assert unload(driver, 0) == 0
    new = driver.open("model")
    assert infer(driver, new) == OLD
    assert driver.compute(old) == INVALID
    assert driver.get_f32(old, 0) == OLD
    if hot:
        heat(driver, new)


@BOTH
def test_unloading_one_graph_leaves_the_others(drive: MakeDriver, hot: bool) -> None:
    driver, context = computed(drive, hot)
    code, other = driver.load(models.identity())
    assert code == 0
    assert unload(driver, other) == 0
    assert unload(driver, 77) == INVALID
    assert driver.set_f32(context, 0, NEW) == 0
    assert driver.compute(context) == 0
    assert driver.get_f32(context, 0) == [5, 6, 7, 8]


@BOTH
def test_a_context_of_an_unloaded_graph_is_finalized_as_any(drive: MakeDriver, hot: bool) -> None:
    driver, context = computed(drive, hot)
    assert unload(driver, 0) == 0
    assert finalize(driver, context) == 0
    assert driver.get_output(context, 0)[0] == INVALID


# -- contexts after finalize ----------------------------------------


@BOTH
def test_a_finalized_context_refuses_every_use(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool
) -> None:
    driver, context = computed(drive, hot)
    assert finalize(driver, context) == 0
    users = [each for each in FUNCTIONS if "context" in each.parameters and each.module != WAMR]
    assert len(users) >= 6
    for function in users:
        assert Call(driver, function, 0, context).run() == INVALID, function.name
        assert "context 0 was freed" in reason(caplog)


@BOTH
def test_finalizing_one_context_leaves_the_others(drive: MakeDriver, hot: bool) -> None:
    driver, first = computed(drive, hot)
    second = driver.open("model")
    if hot:
        heat(driver, second)
    assert driver.set_f32(second, 0, NEW) == 0
    assert finalize(driver, first) == 0
    third = driver.open("model")
    assert infer(driver, third) == OLD
    assert driver.compute(second) == 0
    assert driver.get_f32(second, 0) == [5, 6, 7, 8]


@BOTH
def test_a_new_context_has_nothing_of_the_one_before_it(drive: MakeDriver, hot: bool) -> None:
    driver, first = computed(drive, hot)
    assert finalize(driver, first) == 0
    second = driver.open("model")
    assert driver.get_output(second, 0)[0] == RUNTIME
    assert driver.compute(second) == INVALID


# -- inputs ----------------------------------------


@BOTH
def test_an_input_stays_until_it_is_set_again(drive: MakeDriver, hot: bool) -> None:
    driver, context = opened(drive, models.add(), hot, inputs=2)
    assert driver.set_f32(context, 0, NEW) == 0
    assert driver.set_f32(context, 1, VALUES) == 0
    for _ in range(3):
        assert driver.compute(context) == 0
        assert driver.get_f32(context, 0) == [6, 8, 10, 12]
    assert driver.set_f32(context, 1, NEW) == 0
    assert driver.compute(context) == 0
    assert driver.get_f32(context, 0) == [10, 12, 14, 16]


@BOTH
def test_the_guests_memory_may_change_once_set_input_is_back(drive: MakeDriver, hot: bool) -> None:
    driver, context = opened(drive, models.identity(), hot)
    tensor = driver.tensor([1, 4], 1, NEW.tobytes())
    assert driver.call("set_input", context, 0, tensor) == 0
    driver.instance.memory[1024 : driver._next] = b"\xff" * (driver._next - 1024)
    assert driver.compute(context) == 0
    assert driver.get_f32(context, 0) == [5, 6, 7, 8]


@BOTH
def test_a_refused_input_changes_nothing_not_even_the_outputs(drive: MakeDriver, hot: bool) -> None:
    driver, context = computed(drive, hot)
    assert driver.set_f32(context, 0, np.ones((2, 2))) == INVALID
    assert driver.set_f32(context, 3, NEW) == INVALID
    assert driver.get_f32(context, 0) == OLD
    assert driver.compute(context) == 0
    assert driver.get_f32(context, 0) == OLD


# -- outputs ----------------------------------------


@BOTH
def test_outputs_can_be_read_again_and_again(drive: MakeDriver, hot: bool) -> None:
    driver, context = opened(drive, models.add(), hot, inputs=2)
    infer(driver, context, 2)
    for _ in range(3):
        assert driver.get_f32(context, 1) == [0, 0, 0, 0]
        assert driver.get_f32(context, 0) == [2, 4, 6, 8]


@BOTH
def test_an_input_takes_the_outputs_away(drive: MakeDriver, hot: bool) -> None:
    driver, context = computed(drive, hot)
    assert driver.set_f32(context, 0, NEW) == 0
    assert driver.get_output(context, 0, 64)[0] == RUNTIME
    assert driver.compute(context) == 0
    assert driver.get_f32(context, 0) == [5, 6, 7, 8]


@BOTH
def test_a_failed_compute_takes_the_outputs_away(drive: MakeDriver, hot: bool) -> None:
    float_, int64 = TensorProto.FLOAT, TensorProto.INT64
    gather = helper.make_node("Gather", ["table", "x"], ["y"])
    table = {"table": np.arange(4, dtype=np.float32)}
    model = models.onnx_model([gather], [("x", int64, (1,))], [("y", float_, (1,))], table)
    driver = drive({"model": model}, hot=hot)
    context = driver.open("model")
    for index, code, read in ((1, 0, 0), (2, 0, 0), (3, 0, 0), (99, RUNTIME, RUNTIME), (1, 0, 0)):
        with rewound(driver):
            assert driver.set_input(context, 0, [1], 5, struct.pack("<q", index)) == 0
        assert driver.compute(context) == code
        assert driver.get_output(context, 0, 64)[0] == read


@BOTH
def test_a_buffer_that_was_too_small_leaves_the_output_to_be_read(drive: MakeDriver, hot: bool) -> None:
    driver, context = computed(drive, hot)
    assert driver.get_output(context, 0, 4) == (TOO_LARGE, b"", 16)
    assert driver.get_f32(context, 0) == OLD


@BOTH
def test_an_output_is_the_guests_own_copy(drive: MakeDriver, hot: bool) -> None:
    driver, context = computed(drive, hot)
    buffer, written = driver.put(bytes(16)), driver.out()
    assert driver.call("get_output", context, 0, buffer, 16, written) == 0
    assert driver.set_f32(context, 0, NEW) == 0
    assert driver.compute(context) == 0
    assert driver.get(buffer, 16) == VALUES.tobytes()


# -- instances ----------------------------------------


@BOTH
def test_the_end_of_an_instance_leaves_its_graphs_to_the_others(drive: MakeDriver, hot: bool) -> None:
    host = wasinn.Host(graphs={"model": wasinn.GraphSource.from_bytes(models.identity())})
    first, second = drive(host=host, hot=hot), drive(host=host, hot=hot)
    contexts = first.open("model"), second.open("model")
    for driver, context in zip((first, second), contexts, strict=True):
        infer(driver, context)
    first.close()
    assert infer(second, contexts[1]) == OLD


# -- the page ----------------------------------------


def test_every_test_that_the_page_names_is_here() -> None:
    page = (Path(__file__).parents[1] / "docs" / "lifetimes.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    here = {name for name in globals() if name.startswith("test_")}
    assert named == here - {"test_every_test_that_the_page_names_is_here"}
