# SPDX-License-Identifier: Apache-2.0
"""A classifier's output: probabilities, and the best classes with their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scored:
    """A class: its index in the output, its label (None without one) and its score."""

    index: int
    label: str | None
    score: float

    @property
    def name(self) -> str:
        """The label, or "class 7"."""
        return self.label if self.label else f"class {self.index}"


def softmax(values: Any, axis: int = -1) -> Array:
    """exp(x) / sum(exp(x)) along `axis`, in f64, without overflow.

    -inf gets 0. Where the limit is not a number the result is none either, in its whole row: a row with a
    NaN, and a row that is all -inf. Of a row with +inf these share 1 and the others get 0.
    """
    x = np.asarray(values, np.float64)
    if x.size == 0:
        return x.copy()
    largest = x.max(axis=axis, keepdims=True)
    infinite = np.isposinf(largest)
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = np.where(infinite, np.where(np.isposinf(x), 0.0, -np.inf), x - largest)
        powers = np.exp(shifted)
        result: Array = powers / powers.sum(axis=axis, keepdims=True)
    return result


def class_scores(values: Any, name: str = "output") -> Array:
    """An output as one list of scores, [classes]: dims of 1 before the classes (a batch) and after them (what
    is left of a pooled picture, [1, classes, 1, 1]) go.

    Raises ConfigError for more than one list of scores.
    """
    array = np.asarray(values)
    if sum(dim != 1 for dim in array.shape) > 1:
        shape = list(array.shape)
        hint = f"; it looks like a batch of {shape[0]}: give one element" if len(shape) == 2 else ""
        raise ConfigError(
            f"{name}: the scores of one picture were wanted, [classes] with dims of 1 around, and the output "
            f"is {shape}{hint}. Is its kind in the contract right?"
        )
    return array.reshape(-1)


def probabilities(values: Any, contract: OutputContract) -> Array:
    """A classifier's output as f64 [classes]: logits through softmax, a single one through the sigmoid
    function, probabilities and raw numbers as they are. `values` are real numbers (already dequantized).
    Raises ConfigError as `class_scores` does."""
    flat = class_scores(values, f"output {contract.name!r}").astype(np.float64)
    if contract.kind != "logits":
        return flat
    # Softmax of one number is 1 whatever it is. Next to a 0, it is the sigmoid.
    return softmax(np.append(flat, 0.0))[:1] if flat.size == 1 else softmax(flat)


def order(scores: Any) -> Array:
    """The indices of [classes] scores from the best to the weakest: of equal ones the lower index first, and
    NaN last."""
    array = np.asarray(scores)
    if array.dtype.kind == "f":
        # NumPy sorts NaN last, also among negated numbers.
        return np.argsort(-array, kind="stable")
    # -x of an unsigned or the least signed integer is not smaller than 0.
    return (array.size - 1 - np.argsort(array[::-1], kind="stable"))[::-1]


def top_k(values: Any, contract: OutputContract, k: int = 5) -> list[Scored]:
    """The `k` best classes (all, where there are fewer), best first, with their `probabilities`.

    Ties go to the lower index; NaN comes last. Raises ConfigError for a `k` below 1 and as `class_scores`
    does.

    A single logit or probability with two labels is yes or no, as in a mask of one channel: that of class 1;
    class 0 has what is left.
    """
    if k < 1:
        raise ConfigError(f"top {k}: the number of classes to show starts at 1")
    scores = probabilities(values, contract)
    two = contract.label(1) is not None and contract.label(2) is None
    if scores.size == 1 and two and contract.kind in ("logits", "probabilities"):
        values = scores = np.array([1.0 - scores[0], scores[0]])
    # Sorted by the output itself: softmax makes equals of very small and very near numbers.
    best = order(class_scores(values, f"output {contract.name!r}"))[:k]
    return [Scored(int(index), contract.label(int(index)), float(scores[index])) for index in best]
