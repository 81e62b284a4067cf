# SPDX-License-Identifier: Apache-2.0
"""Inputs are the context's own, outputs stay as they are read, contexts and graphs end apart."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from calls import BOTH
from conformance.cases import IN_PROCESS, Case, on, one_thread
from conformance.guests import INVALID, RUNTIME, expected_bytes, opened
from conformance.recipes import RECIPES
from conftest import MakeDriver
from driver import HEAP
from wasinn.graphs.loader import Loader
from wasinn.tensors import Tensor

COMPUTED = "identity", "add", "rows", "mixed"


@BOTH
@on("add", "mixed", "rows")
def test_contexts_of_one_graph_keep_their_own_tensors(
    drive: MakeDriver, case: Case, recipe: str, hot: bool
) -> None:
    first = opened(drive, case, recipe, hot)
    guests = [first, *(first.another() for _ in range(7))]
    if hot:
        for guest in guests:
            for seed in range(3):
                guest.infer(seed)
    inputs = [guest.give(100 + seed) for seed, guest in enumerate(guests)]
    for guest in reversed(guests):
        assert guest.compute() == 0
    for guest, arrays in zip(guests, inputs, strict=True):
        guest.is_right(arrays)
    # One goes on while the outputs of the others stay.
    for seed in range(5):
        guests[3].infer(seed)
    inputs[3] = RECIPES[recipe].inputs(4)
    for guest, arrays in zip(guests, inputs, strict=True):
        guest.is_right(arrays)


@BOTH
@on(*COMPUTED)
def test_inputs_stay_for_the_next_compute(drive: MakeDriver, case: Case, recipe: str, hot: bool) -> None:
    guest = opened(drive, case, recipe, hot)
    inputs = guest.give(5)
    for _ in range(3):
        assert guest.compute() == 0
        guest.is_right(inputs)


@BOTH
@on(*COMPUTED)
def test_the_guest_s_memory_may_change_after_set_input(
    drive: MakeDriver, case: Case, recipe: str, hot: bool
) -> None:
    guest = opened(drive, case, recipe, hot)
    inputs = guest.give(6)
    scratch = guest.driver.instance.memory
    scratch[HEAP : HEAP + 4096] = b"\xff" * 4096
    assert guest.compute() == 0
    scratch[HEAP : HEAP + 4096] = b"\xee" * 4096
    guest.is_right(inputs)


@BOTH
@on(*COMPUTED, "nonzero")
def test_outputs_are_the_same_each_time_they_are_read(
    drive: MakeDriver, case: Case, recipe: str, hot: bool
) -> None:
    guest = opened(drive, case, recipe, hot)
    inputs = guest.give(7)
    assert guest.compute() == 0
    count = len(expected_bytes(case, recipe, inputs))
    first = guest.outputs(count)
    assert [guest.outputs(count) for _ in range(3)] == [first] * 3
    assert [guest.outputs(count)[index] for index in reversed(range(count))] == first[::-1]


@BOTH
@on(*COMPUTED)
def test_a_context_of_an_unloaded_graph_can_still_be_read(
    drive: MakeDriver, case: Case, recipe: str, hot: bool
) -> None:
    guest = opened(drive, case, recipe, hot)
    inputs = guest.give(8)
    assert guest.compute() == 0
    assert guest.driver.call("unload", 0) == 0
    guest.is_right(inputs)
    assert guest.compute() == INVALID
    assert guest.set(0, inputs[0]) == INVALID
    guest.is_right(inputs)
    again = guest.another()
    again.infer(9)
    guest.is_right(inputs)
    assert guest.driver.call("finalize_execution_context", guest.context) == 0
    assert guest.read()[0] == INVALID
    again.infer(10)


@BOTH
@on(*COMPUTED, "nonzero")
def test_a_new_context_has_nothing_of_the_one_before_it(
    drive: MakeDriver, case: Case, recipe: str, hot: bool
) -> None:
    for seed in range(4):
        guest = opened(drive, case, recipe, hot and seed % 2 == 1)
        if not hot:
            assert guest.compute() == INVALID
            assert guest.read()[0] == RUNTIME
        guest.infer(seed)
        assert guest.driver.call("finalize_execution_context", guest.context) == 0
        following = guest.another()
        assert following.read()[0] == RUNTIME
        assert following.compute() == INVALID
        assert following.set(0, RECIPES[recipe].inputs(seed)[0]) == 0
        assert following.read()[0] == RUNTIME
        following.infer(seed + 50)


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
@on("large", cases=IN_PROCESS)
def test_memory_does_not_grow_with_loads(case: Case) -> None:
    """A context of this model holds 512 KiB of tensors: leaking them would show."""
    source = case.source("large", threads=one_thread(case))
    values = Tensor.of(RECIPES["large"].inputs(0)[0])

    def turn() -> None:
        graph = Loader().load(source).graph
        executions = [graph.open() for _ in range(2)]
        for execution in executions:
            execution.set_input(0, values)
            execution.compute()
            assert len(execution.output(0).data) == 1 << 18
            execution.close()

    for _ in range(3):
        turn()
    gc.collect(1)
    before = resident()
    for _ in range(30):
        turn()
    gc.collect(1)
    assert resident() - before < 24 << 20, "30 loads and 60 contexts"


@needs_proc
@on("halves")
def test_memory_does_not_grow_with_contexts_and_shapes(drive: MakeDriver, case: Case) -> None:
    guest = opened(drive, case, "halves")

    def turns(count: int) -> None:
        for turn in range(count):
            other = guest.another()
            for rows in (1, 40 + turn % 7, 3):
                values = np.full((rows, 2000), turn, "<f4")
                assert other.set(0, values) == 0
                assert other.compute() == 0
                assert other.read(size=values.nbytes) == (0, (values / 2).tobytes())
            assert other.driver.call("finalize_execution_context", other.context) == 0

    turns(10)
    gc.collect(1)
    before = resident()
    turns(60)
    gc.collect(1)
    assert resident() - before < 20 << 20, "60 contexts with 640 KB of tensors"
