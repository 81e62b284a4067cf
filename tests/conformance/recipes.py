# SPDX-License-Identifier: Apache-2.0
"""The models that the cases are tested on, with inputs for them and what NumPy makes of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.spec import WITX_TYPES, TensorType

Array = np.ndarray[Any, Any]
Arrays = list[Array]


@dataclass(frozen=True)
class Recipe:
    """A model of the zoo: the function and its arguments, inputs for a seed, and what NumPy makes of them.

    `type` is that of the ports where the arrays are only bits of it. `expected` is None where the zoo
    leaves open what exactly is computed.
    """

    function: str
    arguments: tuple[Any, ...]
    inputs: Callable[[int], Arrays]
    expected: Callable[..., Sequence[Array]] | None
    type: TensorType | None = None


def _same(*arrays: Array) -> Arrays:
    return list(arrays)


def _floats(*dims: int) -> Callable[[int], Array]:
    return lambda seed: (np.random.default_rng(seed).integers(-1000, 1000, dims) / 8).astype("<f4")


def _each(*makers: Callable[[int], Array]) -> Callable[[int], Arrays]:
    return lambda seed: [make(seed * 10 + place) for place, make in enumerate(makers)]


def _sum_and_difference(a: Array, b: Array) -> Arrays:
    return [a + b, a - b]


def _mixed(pixels: Array, weights: Array, ids: Array) -> Arrays:
    return [ids, pixels, -weights]


def _sparse(seed: int) -> Array:
    return (np.random.default_rng(seed).random(6) < 0.5).astype("<f4") * 2.5


def _halves(x: Array) -> Arrays:
    return [x / 2]


#: Values that a conversion, a comparison or a float register would change, as their bits.
AWKWARD: dict[TensorType, Array] = {
    TensorType.F16: np.array([0x7D01, 0xFE55, 0x8000, 0x0001, 0x83FF, 0x7C00, 0xFC00, 0x7BFF], "<u2"),
    TensorType.BF16: np.array([0x7F81, 0xFFC1, 0x8000, 0x0001, 0x807F, 0x3F80, 0xFF80, 0x7F7F], "<u2"),
    TensorType.F32: np.array([0x7FA00001, 0xFFC12345, 1 << 31, 1, 0x807FFFFF, 0x7F800000, 0xFF7FFFFF], "<u4"),
    TensorType.F64: np.array(
        [0x7FF4 << 48 | 1, 1 << 63, 1, 0xFFF8 << 48, 0x7FEF << 48 | 9, 0x3FF << 52 | 1], "<u8"
    ),
    TensorType.I32: np.array([-(2**31), 2**31 - 1, -1, 0, 2**24 + 1], "<i4"),
    TensorType.I64: np.array([2**40, -(2**63), 2**63 - 1, 2**53 + 1, -1], "<i8"),
    TensorType.I16: np.array([-(2**15), 2**15 - 1, -1, 255], "<i2"),
    TensorType.U16: np.array([0, 2**16 - 1, 2**15, 255], "<u2"),
    TensorType.U32: np.array([0, 2**32 - 1, 2**31, 2**24 + 1], "<u4"),
    TensorType.U64: np.array([0, 2**64 - 1, 2**63, 2**53 + 1], "<u8"),
    TensorType.BOOL: np.array([0, 1, 1, 0, 1], "u1"),
    TensorType.I8: np.roll(np.arange(256), 128).astype("u1"),
} | {
    each: np.arange(256, dtype="u1")
    for each in TensorType
    if each.size == 1 and each not in (TensorType.I8, TensorType.BOOL)
}


def _awkward(tensor_type: TensorType) -> Recipe:
    values = AWKWARD[tensor_type]

    def inputs(seed: int) -> Arrays:
        return [np.roll(values, seed)]

    return Recipe("identity", (tensor_type, values.shape), inputs, _same, type=tensor_type)


F32 = TensorType.F32

RECIPES: dict[str, Recipe] = {
    "identity": Recipe("identity", (F32, (1, 4)), _each(_floats(1, 4)), _same),
    "scalar": Recipe("identity", (F32, ()), _each(_floats()), _same),
    "rows": Recipe("identity", (F32, (None, 3)), _each(_floats(2, 3)), _same),
    "anyrank": Recipe("identity", (F32, None), _each(_floats(2, 3)), _same),
    "add": Recipe("add", ((1, 4),), _each(_floats(1, 4), _floats(1, 4)), _sum_and_difference),
    "addrows": Recipe("add", ((None, 2),), _each(_floats(3, 2), _floats(3, 2)), _sum_and_difference),
    "mixed": Recipe(
        "mixed",
        (),
        _each(
            lambda seed: np.random.default_rng(seed).integers(0, 256, 4).astype("u1"),
            _floats(2),
            lambda seed: np.array([(1 << 30) + seed], "<i8"),
        ),
        _mixed,
    ),
    "nonzero": Recipe("nonzero", (), _each(_sparse), lambda x: [np.flatnonzero(x)]),
    "halves": Recipe("halves", ((None, None),), _each(_floats(3, 5)), _halves),
    "halves4": Recipe("halves", ((None, 2, None, None),), _each(_floats(1, 2, 4, 3)), _halves),
    "double": Recipe(
        "identity", (TensorType.F64, (2, 3)), _each(lambda seed: _floats(2, 3)(seed).astype("<f8")), _same
    ),
    "long": Recipe(
        "identity", (TensorType.I64, (2, 3)), _each(lambda seed: _floats(2, 3)(seed).astype("<i8")), _same
    ),
    "large": Recipe("halves", ((256, 256),), _each(_floats(256, 256)), _halves),
    "slow": Recipe("slow", (3,), _each(lambda seed: _floats(256, 256)(seed) / 1000), None),
} | {f"{each.label}": _awkward(each) for each in TensorType}

#: The names of the recipes of `identity` for each type.
TYPES = [each.label for each in TensorType]


_CODES = {tensor_type: code for code, tensor_type in WITX_TYPES.items()}
_NUMPY = {"float32": F32, "float64": TensorType.F64, "uint8": TensorType.U8, "int64": TensorType.I64}


def type_of(array: Array, recipe: str) -> TensorType:
    """The tensor type of a recipe's array."""
    return RECIPES[recipe].type or _NUMPY[array.dtype.name]


def code_of(tensor_type: TensorType) -> int:
    """The number under which witx passes a type's bytes."""
    return _CODES[tensor_type.wire]
