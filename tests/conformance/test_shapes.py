# SPDX-License-Identifier: Apache-2.0
"""Fixed dimensions hold, dynamic ones grow and shrink, scalars and tensors without elements are tensors."""

from __future__ import annotations

import numpy as np
import pytest

from calls import BOTH, reason
from conformance.cases import Case, declared, declaring, expected, on
from conformance.guests import INVALID, RUNTIME, UNSUPPORTED, Guest, guest_host, opened
from conformance.recipes import RECIPES
from conftest import MakeDriver
from wasinn.tensors import Tensor


def infer(guest: Guest, *dims: int) -> None:
    """One inference on an input of `dims`, for recipes of one input."""
    values = (np.random.default_rng(sum(dims)).integers(-99, 99, dims) / 4).astype("<f4")
    guest.give_these(values)
    assert guest.compute() == 0
    guest.is_right([values])


@on("rows")
def test_a_dynamic_dimension_grows_and_shrinks_between_computes(drive: MakeDriver, case: Case) -> None:
    guest = opened(drive, case, "rows")
    for rows in (1, 7, 3, 7, 1, 64, 2):
        infer(guest, rows, 3)


@on("halves")
def test_two_dynamic_dimensions_change_apart(drive: MakeDriver, case: Case) -> None:
    guest = opened(drive, case, "halves")
    for dims in ((1, 1), (3, 5), (5, 3), (1, 15), (15, 1), (2, 2), (40, 30), (1, 1)):
        infer(guest, *dims)


@on("halves4", cases=declaring("halves4"))
def test_a_fixed_dimension_among_dynamic_ones_stays_fixed(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    guest = opened(drive, case, "halves4")
    for dims in ((1, 2, 1, 1), (2, 2, 4, 3), (1, 2, 9, 8), (1, 2, 1, 1)):
        infer(guest, *dims)
    for wrong in ((1, 3, 4, 3), (2, 1, 4, 3), (2, 4, 3), (1, 2, 4, 3, 1)):
        assert guest.set(0, np.zeros(wrong, "<f4")) == INVALID
        assert "wanted f32 [?,2,?,?]" in reason(caplog)
    infer(guest, 1, 2, 3, 3)


@BOTH
@on("identity")
def test_fixed_dimensions_hold(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, hot: bool
) -> None:
    guest = opened(drive, case, "identity", hot)
    inputs = guest.give(5)
    for wrong in ((4, 1), (4,), (1, 3), (1, 1, 4), ()):
        assert guest.set(0, np.ones(wrong, "<f4")) == INVALID
        assert f"wanted {declared(case, 'identity')[0]}" in reason(caplog)
    assert guest.compute() == 0
    guest.is_right(inputs)


@BOTH
@on("identity", cases=declaring("identity"))
def test_a_fixed_first_dimension_holds(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, hot: bool
) -> None:
    guest = opened(drive, case, "identity", hot)
    inputs = guest.give(5)
    for rows in (0, 2, 64):
        assert guest.set(0, np.ones((rows, 4), "<f4")) == INVALID
        assert "wanted f32 [1,4]" in reason(caplog)
    assert guest.compute() == 0
    guest.is_right(inputs)


@on("anyrank")
def test_a_port_without_a_rank_takes_any_rank(drive: MakeDriver, case: Case) -> None:
    guest = opened(drive, case, "anyrank")
    for dims in ((2, 3), (5,), (1, 1, 1, 4), (), (6, 1), (2, 3)):
        infer(guest, *dims)


@BOTH
@on("scalar")
def test_a_scalar_takes_no_dims_and_one_dim_of_one(drive: MakeDriver, case: Case, hot: bool) -> None:
    guest = opened(drive, case, "scalar", hot)
    for dims in ((), (1,), (1,), ()):
        values = np.full(dims, 2.5 + len(dims), "<f4")
        assert guest.set(0, values) == 0
        assert guest.compute() == 0
        assert guest.outputs() == [values.tobytes()]
    assert guest.set(0, np.zeros((1, 1), "<f4")) == INVALID
    assert guest.set(0, np.zeros(2, "<f4")) == INVALID


@on("halves")
def test_a_tensor_without_elements_is_a_tensor_or_refused_with_a_reason(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    guest = opened(drive, case, "halves")
    for dims in ((0, 4), (3, 0), (0, 0), (0, 4)):
        infer(guest, 2, 2)
        code = guest.set(0, np.zeros(dims, "<f4"))
        if code == 0:
            code = guest.compute()
        if code == 0:
            assert guest.read() == (0, b"")
        else:
            assert code in (INVALID, RUNTIME, UNSUPPORTED)
            assert reason(caplog)
    infer(guest, 3, 3)


@on("nonzero")
def test_an_output_is_as_long_as_the_data_makes_it(drive: MakeDriver, case: Case) -> None:
    for _ in range(2):  # the second context may get the buffers of the first
        guest = opened(drive, case, "nonzero")
        for values in ([1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 9, 0], [1] * 6, [0] * 6, [1, 1, 1, 0, 0, 0]):
            guest.give_these(np.array(values, "<f4"))
            assert guest.compute() == 0
            guest.is_right([np.array(values)])
        assert guest.driver.call("finalize_execution_context", guest.context) == 0


@on(*(name for name, recipe in RECIPES.items() if recipe.expected is not None))
def test_outputs_have_the_dims_that_numpy_gives_them(case: Case, recipe: str) -> None:
    host, context = guest_host(case, recipe)
    inputs = RECIPES[recipe].inputs(1)
    for index, array in enumerate(inputs):
        spec = host.input_spec(context, index)[1]
        host.set_input(context, index, Tensor(array.shape, spec.type, memoryview(array.tobytes())))
    host.compute(context)
    answers = expected(case, recipe, inputs)
    found = [host.output(context, index) for index in range(len(answers))]
    wanted = [each.shape for each in answers]
    if recipe == "nonzero" and len(found[0].dims) == 2:
        wanted = [(count, 1) for (count,) in wanted]  # in some encodings an index is a row of its own
    assert [each.dims for each in found] == wanted
    host.close()


@on("identity", "scalar", "rows", "halves", "halves4", "anyrank", "add", "mixed")
def test_ports_are_known_by_what_the_model_says_of_them(case: Case, recipe: str) -> None:
    host, context = guest_host(case, recipe)
    assert [str(spec) for spec in host.context(context).graph.graph.inputs] == declared(case, recipe)
    host.close()
