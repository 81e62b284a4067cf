# SPDX-License-Identifier: Apache-2.0
"""A classifier's scores."""

from __future__ import annotations

import math
from collections.abc import Sequence


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities of logits; the sum is 1, whatever their size. NaN makes all of them NaN."""
    if not scores:
        return []
    most = max(scores)
    if math.isinf(most):  # the infinite ones share all
        weights = [1.0 if score == most else 0.0 for score in scores]
    else:
        weights = [math.exp(score - most) for score in scores]
    total = sum(weights)
    return [weight / total for weight in weights]


def top_k(scores: Sequence[float], count: int) -> list[tuple[int, float]]:
    """(class, score) of the `count` largest, best first; of equal ones the lower class, NaN last."""
    order = sorted(range(len(scores)), key=lambda at: (math.isnan(scores[at]), -scores[at]))
    return [(at, scores[at]) for at in order[: max(0, count)]]


def are_probabilities(scores: Sequence[float]) -> bool:
    """Whether each is 0 to 1, with room for what rounding adds. The sum says nothing: quantized scores miss
    1, and independent classes have no sum to keep."""
    return all(0 <= score <= 1.001 for score in scores)
