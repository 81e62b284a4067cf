# SPDX-License-Identifier: Apache-2.0
"""One kind of output made of another: class ids, probabilities, logits."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def class_ids(scores: Array) -> Array:
    """The class of each pixel, [N, H, W], of scores [N, C, H, W], as `imaging.masks.class_map` has it: the
    lowest of the largest, never a NaN; a single channel is the probability of class 1."""
    if scores.shape[1] == 1:
        return (scores[:, 0] > 0.5).astype(np.int32)
    if scores.dtype.kind == "f" and np.isnan(scores).any():
        scores = np.where(np.isnan(scores), -np.inf, scores)
    ids: Array = scores.argmax(axis=1)
    return ids


def probabilities(logits: Array, axis: int) -> Array:
    """Softmax, in f32, without overflow. What is no number makes none. Of a single one: sigmoid."""
    with np.errstate(all="ignore"):
        if logits.shape[axis] == 1:
            single: Array = 1 / (1 + np.exp(-logits.astype(np.float32)))
            return single
        powers = logits.astype(np.float32, copy=True)
        powers -= powers.max(axis=axis, keepdims=True)
        np.exp(powers, out=powers)
        powers /= powers.sum(axis=axis, keepdims=True)
    return powers


def logarithms(shares: Array, axis: int) -> Array:
    """Logits whose softmax is these probabilities: their logarithms, -inf for 0. Of a single one, the inverse
    of the sigmoid function."""
    with np.errstate(all="ignore"):
        shares = np.maximum(shares.astype(np.float32, copy=False), 0)
        values: Array = np.log(shares)
        if shares.shape[axis] == 1:
            values -= np.log1p(-np.minimum(shares, 1))
    return values
