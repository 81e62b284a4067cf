# SPDX-License-Identifier: Apache-2.0
"""`adapting`: a picture of 224x224 in bytes, NHWC, to normalised f32, NCHW, against NumPy by hand.

By hand is how one writes it who minds the time: the bytes transposed and made floats in one copy, one scale
and one offset for each channel, in place. The usual way is the formula as it stands in every tutorial.
Both get a new array; ours is one for all calls of an execution.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from measures.bed import BenchmarkError, in_thread
from measures.pairs import Effort, Kind, Pair, Row, timed
from wasinn.contracts.affine import Buffers
from wasinn.contracts.contract import ImageContract, InputContract
from wasinn.contracts.conversion import Conversion
from wasinn.spec import TensorType

Array = np.ndarray[Any, Any]

SIZE = (224, 224)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MEANS, STDS = np.array(MEAN, np.float32), np.array(STD, np.float32)
SCALE, OFFSET = (1 / (255 * STDS)).reshape(3, 1, 1), (-MEANS / STDS).reshape(3, 1, 1)


def by_hand(picture: Array) -> Array:
    values = picture.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    values *= SCALE
    values += OFFSET
    return values


def as_usual(picture: Array) -> Array:
    values = (picture.astype(np.float32) / 255 - MEANS) / STDS
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def measure(effort: Effort) -> list[Row]:
    return in_thread(lambda: _measure(effort))


def _measure(effort: Effort) -> list[Row]:
    guest = InputContract("image", None, TensorType.U8, ImageContract("NHWC", SIZE, range=(0.0, 255.0)))
    own = InputContract("image", None, TensorType.F32, ImageContract("NCHW", SIZE, mean=MEAN, std=STD))
    conversion, buffers = Conversion(guest, own), Buffers()
    picture = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
    for reference in (by_hand, as_usual):
        if not np.allclose(conversion(picture, buffers), reference(picture), atol=1e-5):
            raise BenchmarkError(f"adapting: another result than {reference.__name__}")
    calls = effort.calls(300)
    turns = [
        (
            timed(lambda: by_hand(picture), calls, calls // 10),
            timed(lambda: as_usual(picture), calls // 4, 3),
            timed(lambda: conversion(picture, buffers), calls, calls // 10),
        )
        for _ in range(effort.rounds)
    ]
    title = "adapting u8 NHWC to f32 NCHW"
    hand = tuple(Pair(first, ours) for first, _, ours in turns)
    usual = tuple(Pair(second, ours) for _, second, ours in turns)
    return [
        Row(title, "Conversion", "NumPy by hand", Kind.RATIO, 1.2, hand),
        Row(title, "Conversion", "NumPy as usual", Kind.RATIO, None, usual),
    ]
