# SPDX-License-Identifier: Apache-2.0
"""What fails has a reason, shows nothing stale and leaves the context as it was."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from calls import BOTH, reason
from conformance.cases import Case, on
from conformance.guests import INVALID, RUNTIME, TOO_LARGE, opened
from conformance.recipes import code_of
from conftest import MakeDriver
from wasinn.spec import TensorType

F32 = code_of(TensorType.F32)


@on("identity", "add")
def test_a_context_without_inputs_computes_nothing(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, recipe: str
) -> None:
    guest = opened(drive, case, recipe)
    for _ in range(2):
        assert guest.compute() == INVALID
        assert "call set_input first" in reason(caplog)
        assert guest.read()[0] == RUNTIME
        assert "call compute first" in reason(caplog)
    guest.infer()


@BOTH
@on("identity", "add")
def test_an_input_takes_the_outputs_away(drive: MakeDriver, case: Case, recipe: str, hot: bool) -> None:
    guest = opened(drive, case, recipe, hot)
    for seed in range(3):
        inputs = guest.give(seed)
        assert guest.read()[0] == RUNTIME
        assert guest.compute() == 0
        guest.is_right(inputs)


@on("addrows")
def test_a_compute_that_fails_takes_the_outputs_away(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    guest = opened(drive, case, "addrows")
    guest.infer()
    two, three = np.ones((2, 2), "<f4"), np.ones((3, 2), "<f4")
    for _ in range(2):
        assert guest.set(0, two) == 0
        assert guest.set(1, three) == 0
        for _ in range(2):
            assert guest.compute() == RUNTIME
            assert case.backend in reason(caplog).lower()
            assert [guest.read(index)[0] for index in range(2)] == [RUNTIME] * 2
            caplog.clear()
        assert guest.set(0, three) == 0
        assert guest.compute() == 0
        guest.is_right([three, three])
    guest.infer(7)


@BOTH
@on("identity", "add")
def test_a_buffer_that_is_too_small_is_told_the_size(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, recipe: str, hot: bool
) -> None:
    guest = opened(drive, case, recipe, hot)
    inputs = guest.give(3)
    assert guest.compute() == 0
    for size in (0, 1, 15):
        buffer, written = guest.driver.put(b"\xaa" * 16), guest.driver.out()
        assert guest.driver.call("get_output", guest.context, 0, buffer, size, written) == TOO_LARGE
        assert guest.driver.u32(written) == 16
        assert guest.driver.get(buffer, 16) == b"\xaa" * 16
        assert f"the buffer has {size} bytes" in reason(caplog)
    assert guest.read(size=16)[0] == 0
    guest.is_right(inputs)


@BOTH
@on("identity", "add")
def test_an_input_that_is_refused_leaves_the_one_before_and_the_outputs(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, recipe: str, hot: bool
) -> None:
    guest = opened(drive, case, recipe, hot)
    inputs = guest.give(4)
    assert guest.compute() == 0
    driver, context = guest.driver, guest.context
    for dims, data in (((2, 2), bytes(16)), ((1, 4), bytes(15)), ((1, 4), bytes(64)), ((1, 4), b"")):
        assert driver.set_input(context, 0, dims, F32, data) == INVALID
        assert reason(caplog)
        guest.is_right(inputs)
    assert driver.set_input(context, 0, (1, 4), 6, bytes(16)) == INVALID
    assert guest.compute() == 0
    guest.is_right(inputs)


@BOTH
@on("identity", "add")
def test_a_context_works_on_after_every_error(drive: MakeDriver, case: Case, recipe: str, hot: bool) -> None:
    guest = opened(drive, case, recipe, hot)
    driver, context, end = guest.driver, guest.context, len(guest.driver.instance.memory)
    wrong: list[Callable[[], int]] = [
        lambda: driver.set_input(context, 9, (1, 4), F32, bytes(16)),
        lambda: driver.set_input(context, 0, (4,), F32, bytes(16)),
        lambda: driver.set_input(context, 0, (1, 4), 4, bytes(16)),
        lambda: driver.set_input(context, 0, (1, 4), F32, bytes(12)),
        lambda: driver.call("set_input", context, 0, end - 4),
        lambda: driver.set_input(context + 1, 0, (1, 4), F32, bytes(16)),
        lambda: driver.compute(context + 1),
        lambda: guest.read(9)[0],
        lambda: guest.read(size=4)[0],
        lambda: driver.call("get_output", context, 0, end - 4, 16, driver.out()),
        lambda: driver.call("get_output", context, 0, driver.put(bytes(16)), 16, end - 2),
        lambda: driver.context(99)[0],
    ]
    for seed, fail in enumerate(wrong):
        guest.infer(seed)
        assert fail() != 0
        guest.infer(seed + 100)
