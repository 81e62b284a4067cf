# SPDX-License-Identifier: Apache-2.0
"""The promises of the other files, kept towards a component built from C, by every backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

import component_c
from calls import reasons
from conformance.cases import Case, names_of, on
from conformance.guests import expected_bytes, host_of
from conformance.recipes import RECIPES, TYPES, Array, Arrays, type_of
from wasinn import GuestTrap
from wasinn.abi.component.snapshots import type_name
from wasinn.spec import Encoding

pytestmark = pytest.mark.usefixtures("drivers")
_opened: list[component_c.Driver] = []


@pytest.fixture(name="drivers")
def close_drivers() -> Iterator[None]:
    yield
    for driver in _opened:
        driver.close()
    _opened.clear()


class Component:
    """An instance of the driver and a context of a recipe's graph in it."""

    def __init__(self, case: Case, recipe: str, driver: component_c.Driver | None = None) -> None:
        if driver is None:
            driver = component_c.Driver(host_of(case, recipe))
            _opened.append(driver)
        self.driver = driver
        self.case = case
        self.recipe = recipe
        self.context = driver.open("model")

    def another(self) -> Component:
        """One more context of the same graph in the same instance."""
        return Component(self.case, self.recipe, self.driver)

    def give(self, arrays: Sequence[Array], names: Sequence[str] | None = None) -> list[tuple[str, int]]:
        """Tensors of the arrays, under numbers if no names are given."""
        chosen = names or [str(index) for index in range(len(arrays))]
        types = [type_of(array, self.recipe) for array in arrays]
        made = [self.driver.tensor_of(array, each) for array, each in zip(arrays, types, strict=True)]
        return list(zip(chosen, made, strict=True))

    def compute(self, inputs: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """The outputs of a compute that succeeds."""
        kind, outputs = self.driver.compute(self.context, inputs)
        assert kind == "ok", outputs
        return list(outputs)

    def is_right(self, outputs: Sequence[tuple[str, int]], inputs: Sequence[Array]) -> None:
        """That outputs are what NumPy makes of `inputs`, bit for bit."""
        found = [self.driver.read(tensor)[2] for _, tensor in outputs]
        assert found == expected_bytes(self.case, self.recipe, inputs)

    def infer(self, seed: int = 0) -> None:
        """One good inference, after which nothing of it is held."""
        arrays = RECIPES[self.recipe].inputs(seed)
        outputs = self.compute(self.give(arrays))
        self.is_right(outputs, arrays)
        self.driver.drop(*(tensor for _, tensor in outputs))


def inputs_of(recipe: str, seed: int = 0) -> Arrays:
    return RECIPES[recipe].inputs(seed)


# -- types and ports ----------------------------------------------------------------------------------


@on(*TYPES)
def test_every_type_comes_back_bit_for_bit(case: Case, recipe: str) -> None:
    guest = Component(case, recipe)
    for seed in range(3):
        arrays = inputs_of(recipe, seed)
        outputs = guest.compute(guest.give(arrays))
        guest.is_right(outputs, arrays)
        ((_, tensor),) = outputs
        dims, kind, _ = guest.driver.read(tensor)
        assert (dims, kind) == (arrays[0].shape, type_name(type_of(arrays[0], recipe)))
        guest.driver.drop(tensor)
    assert guest.driver.held == (0, 0, 1, 0)


@on("add", "mixed")
def test_tensors_go_by_name_in_any_order(case: Case, recipe: str) -> None:
    guest = Component(case, recipe)
    names, outputs = names_of(case, recipe)
    arrays = inputs_of(recipe, 3)
    found = guest.compute(list(reversed(guest.give(arrays, names))))
    assert [name for name, _ in found] == list(outputs)
    guest.is_right(found, arrays)


@on("rows", "halves", "nonzero", "scalar")
def test_shapes_may_change_from_one_compute_to_the_next(case: Case, recipe: str) -> None:
    guest = Component(case, recipe)
    for seed in range(4):
        guest.infer(seed)
    if recipe == "rows":
        for rows in (1, 7, 2):
            arrays = [np.full((rows, 3), rows, "<f4")]
            guest.is_right(guest.compute(guest.give(arrays)), arrays)


# -- lifetimes ----------------------------------------------------------------------------------------


@on("add", "mixed", "rows")
def test_contexts_of_one_graph_are_apart_and_outlive_it(case: Case, recipe: str) -> None:
    guest = Component(case, recipe)
    guests = [guest, *(guest.another() for _ in range(4))]
    assert guest.driver.held == (0, 0, 5, 0)
    given = [inputs_of(recipe, seed) for seed in range(5)]
    made = [each.compute(each.give(arrays)) for each, arrays in zip(guests, given, strict=True)]
    for each in guests[1:]:
        each.driver.call("context-drop", each.context)
    guest.infer(9)
    for outputs, arrays in zip(reversed(made), reversed(given), strict=True):
        guest.is_right(outputs, arrays)


@on("identity", "add", "mixed")
def test_outputs_stay_as_they_are(case: Case, recipe: str) -> None:
    """An output is the guest's own: a later compute and the context's end leave it alone."""
    guest = Component(case, recipe)
    arrays = inputs_of(recipe, 5)
    outputs = guest.compute(guest.give(arrays))
    for seed in range(3):
        guest.infer(seed)
        guest.is_right(outputs, arrays)
    guest.driver.call("context-drop", guest.context)
    guest.is_right(outputs, arrays)
    guest.driver.drop(*(tensor for _, tensor in outputs))
    assert guest.driver.held == (0, 0, 0, 0)


@on("identity")
def test_an_input_is_given_away_even_if_the_compute_fails(case: Case) -> None:
    guest = Component(case, "identity")
    outputs = guest.compute(guest.give(inputs_of("identity")))
    assert guest.driver.held == (1, 0, 1, 0)
    guest.driver.drop(outputs[0][1])
    ((_, tensor),) = guest.give(inputs_of("identity"))
    kind, _ = guest.driver.compute(guest.context, [("nobody", tensor)])
    assert (kind, guest.driver.held) == ("invalid-argument", (0, 0, 1, 0))
    with pytest.raises(GuestTrap, match="handle"):
        guest.driver.read(tensor)


@on("identity", "add")
def test_nothing_stays_from_the_compute_before(case: Case, recipe: str) -> None:
    guest = Component(case, recipe)
    guest.infer(1)
    kind, reason = guest.driver.compute(guest.context, [])
    assert kind == "invalid-argument"
    assert "not given" in reason
    guest.infer(2)


# -- errors -------------------------------------------------------------------------------------------


@on("add")
def test_what_is_wrong_is_said_and_the_context_works_on(caplog: pytest.LogCaptureFixture, case: Case) -> None:
    guest = Component(case, "add")
    (a, b), _ = names_of(case, "add")
    row, other = np.ones((1, 4), "<f4"), np.ones((2, 2), "<f4")
    wrong = [
        ([a], [row], b),
        ([a, a], [row, row], "twice"),
        ([a, "nobody"], [row, row], "no input 'nobody'"),
        ([a, "2"], [row, row], "no input '2'"),
        ([a, b], [row, other], "[2,2]"),
    ]
    for number, (names, arrays, words) in enumerate(wrong):
        guest.infer(number)
        kind, reason = guest.driver.compute(guest.context, guest.give(arrays, names))
        assert kind == "invalid-argument"
        assert words in reason
        # What the guest is told, the log says too, once.
        (line,) = reasons(caplog)
        assert reason in line
    guest.infer(99)
    assert guest.driver.held == (0, 0, 1, 0)


@on("identity")
def test_a_tensor_whose_bytes_do_not_fit_its_dims_is_refused(case: Case) -> None:
    guest = Component(case, "identity")
    for dims, kind, size in (
        ((1, 4), "FP32", 15),
        ((1, 4), "FP32", 0),
        ((1, 4), "FP32", 64),
        ((1, 4), "I32", 16),
        ((0xFFFFFFFF,) * 4, "FP32", 16),
        ((1,) * 200, "FP32", 4),
        ((4,), "FP32", 16),
    ):
        tensor = guest.driver.tensor(dims, kind, bytes(size))
        code, reason = guest.driver.compute(guest.context, [("0", tensor)])
        assert (code, bool(reason)) == ("invalid-argument", True)
        guest.infer()
    assert guest.driver.held == (0, 0, 1, 0)


@on("addrows")
def test_a_compute_that_fails_in_the_backend_is_a_runtime_error(case: Case) -> None:
    guest = Component(case, "addrows")
    for seed in range(2):
        inputs = guest.give([np.ones((2, 2), "<f4"), np.ones((3, 2), "<f4")])
        code, reason = guest.driver.compute(guest.context, inputs)
        assert code == "runtime-error"
        assert case.backend in reason.lower()
        guest.infer(seed)


@on("identity")
def test_models_come_as_bytes_and_broken_ones_are_refused(case: Case) -> None:
    guest = Component(case, "identity")
    content = case.builders("identity")
    kind, graph = guest.driver.load(*content, encoding=case.encoding.label)
    if case.encoding is Encoding.PYTORCH:  # runs code: only an operator may load it
        assert (kind, "--graph" in graph) == ("unsupported-operation", True)
        return
    assert kind == "ok", graph
    guest.driver.call("graph-drop", graph)
    first = content[0]
    for broken in (first[: len(first) // 2], b"\0" * len(first), b""):
        kind, reason = guest.driver.load(broken, *content[1:], encoding=case.encoding.label)
        assert kind in ("invalid-argument", "invalid-encoding", "runtime-error"), (kind, broken[:20])
        assert reason
    assert guest.driver.held == (0, 0, 1, 0)
    guest.infer()
