# SPDX-License-Identifier: Apache-2.0
"""Softmax and the best classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError
from wasinn.imaging.scores import Scored, probabilities, softmax, top_k

LOGITS = OutputContract("scores", kind="logits")
SHARES = OutputContract("scores", kind="probabilities")


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=50), st.floats(-1e4, 1e4))
def test_softmax_is_a_distribution_and_does_not_see_a_shift(values: list[float], shift: float) -> None:
    found = softmax(values)
    assert found.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(softmax(np.array(values) + shift), found, rtol=1e-6, atol=1e-12)
    exact = [math.exp(each - max(values)) for each in values]
    np.testing.assert_allclose(found, np.array(exact) / math.fsum(exact), rtol=1e-12)


def test_softmax_at_the_ends_of_the_numbers() -> None:
    assert softmax(np.array([1e30, 1e30], np.float32)).tolist() == [0.5, 0.5]
    assert softmax([-np.inf, 0.0]).tolist() == [0.0, 1.0]
    assert softmax([np.inf, 0.0, np.inf]).tolist() == [0.5, 0.0, 0.5]
    assert np.isnan(softmax([-np.inf, -np.inf])).all()
    assert np.isnan(softmax([np.nan, 1.0])).all()
    assert softmax(np.array([200, 200], np.uint8)).tolist() == [0.5, 0.5]
    assert softmax([]).shape == (0,)


def test_softmax_keeps_to_its_axis() -> None:
    values = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(softmax(values, 0), softmax(values.T).T)
    rows = softmax(np.array([[np.nan, 0.0], [0.0, 0.0]]))
    assert np.isnan(rows[0]).all()
    assert rows[1].tolist() == [0.5, 0.5]


def test_only_logits_go_through_softmax() -> None:
    values = np.array([[0.25, 0.75]], np.float32)
    assert probabilities(values, SHARES).tolist() == [0.25, 0.75]
    assert probabilities(values, OutputContract("o", kind="raw")).tolist() == [0.25, 0.75]
    assert probabilities(values, LOGITS)[1] == pytest.approx(1 / (1 + math.exp(-0.5)))


@pytest.mark.parametrize("shape", [(4,), (1, 4), (1, 1, 4), (1, 4, 1, 1)])
def test_dims_of_one_around_the_classes_go(shape: tuple[int, ...]) -> None:
    assert probabilities(np.arange(4.0).reshape(shape), SHARES).shape == (4,)


@pytest.mark.parametrize("shape", [(2, 4), (1, 2, 2, 1), (0, 5)])
def test_a_batch_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"output 'scores': the scores of one picture were wanted"):
        top_k(np.zeros(shape), SHARES)


def test_ties_go_to_the_lower_index_and_nan_comes_last() -> None:
    values = [0.5, float("nan"), 0.9, 0.5, 0.9, float("-inf")]
    assert [each.index for each in top_k(values, SHARES, 6)] == [2, 4, 0, 3, 5, 1]
    integers = np.array([3, 0, 255, 3, 255], np.uint8)
    assert [each.index for each in top_k(integers, SHARES, 9)] == [2, 4, 0, 3, 1]
    least = np.array([-128, 127, -128], np.int8)
    assert [each.index for each in top_k(least, SHARES, 3)] == [1, 0, 2]


def test_a_single_logit_is_not_sure_of_everything() -> None:
    assert probabilities([[-7.0]], LOGITS)[0] == pytest.approx(1 / (1 + math.exp(7)))
    assert probabilities([[2.0]], LOGITS)[0] == pytest.approx(1 / (1 + math.exp(-2)))
    assert probabilities([[-1e30]], LOGITS).tolist() == [0]
    assert math.isnan(probabilities([float("nan")], LOGITS)[0])


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_one_number_with_two_labels_is_yes_or_no(kind: str) -> None:
    contract = OutputContract("o", kind=kind, labels=("no", "yes"))
    value = math.log(0.2 / 0.8) if kind == "logits" else 0.2
    found = top_k([[value]], contract, 5)
    assert [(each.index, each.label) for each in found] == [(0, "no"), (1, "yes")]
    assert [each.score for each in found] == pytest.approx([0.8, 0.2])
    assert [each.label for each in top_k([[-value + 1]], contract, 1)] == ["yes"]
    one = OutputContract("o", kind=kind, labels=("cat",))
    assert [each.name for each in top_k([[value]], one, 5)] == ["cat"]


def test_logits_that_softmax_cannot_tell_apart_keep_their_order() -> None:
    # exp(-800) and exp(-900) are both 0.
    assert [each.index for each in top_k([-900.0, 0.0, -800.0], LOGITS, 3)] == [1, 2, 0]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(1, 40))
def test_top_k_is_the_sorted_list(values: list[int], k: int) -> None:
    wanted = sorted(range(len(values)), key=lambda index: (-values[index], index))[:k]
    for array in (np.array(values, np.float32), np.array(values, np.int8)):
        assert [each.index for each in top_k(array, SHARES, k)] == wanted


def test_labels_have_their_offset() -> None:
    contract = OutputContract("scores", kind="probabilities", labels=("cat", "dog"), label_offset=-1)
    assert top_k([0.2, 0.7, 0.1], contract, 3) == [
        Scored(1, "cat", 0.7),
        Scored(0, None, 0.2),
        Scored(2, "dog", 0.1),
    ]
    assert top_k([0.2, 0.7], contract, 2)[1].name == "class 0"


def test_k_starts_at_one() -> None:
    with pytest.raises(ConfigError, match="starts at 1"):
        top_k([1.0], SHARES, 0)
