# SPDX-License-Identifier: Apache-2.0
"""Tensors as values: a type, dims and bytes. There is no handle in them, so nothing to close."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, TypeAlias

from .errors import ErrorCode, NnError, invalid

Bytes: TypeAlias = "bytes | bytearray | memoryview | array[Any]"
"""What has bytes: `array` with its numbers in little-endian order, as in every guest."""


class TensorType(Enum):
    """What an element is. `wasi:nn` names seven types; the others pass as one of the same size (`wire`)."""

    F16 = "f16"
    F32 = "f32"
    F64 = "f64"
    BF16 = "bf16"
    U8 = "u8"
    I32 = "i32"
    I64 = "i64"
    I8 = "i8"
    BOOL = "bool"
    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    U64 = "u64"

    @classmethod
    def of(cls, name: TensorType | str) -> TensorType:
        """The type of a name such as "f32"; raises NnError with the names that there are."""
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(each.value for each in cls)
            raise invalid(f"there is no tensor type {name!r}; there are {known}") from None

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return struct.calcsize("<" + _FORMATS[self])

    @property
    def is_float(self) -> bool:
        return self in _FLOATS

    @property
    def wire(self) -> TensorType:
        """The type of `wasi:nn` under which the bytes pass."""
        return _WIRE.get(self, self)


_FORMATS = {
    TensorType.F16: "e",
    TensorType.F32: "f",
    TensorType.F64: "d",
    TensorType.BF16: "H",
    TensorType.U8: "B",
    TensorType.I32: "i",
    TensorType.I64: "q",
    TensorType.I8: "b",
    TensorType.BOOL: "B",
    TensorType.U16: "H",
    TensorType.I16: "h",
    TensorType.U32: "I",
    TensorType.U64: "Q",
}
_FLOATS = (TensorType.F16, TensorType.F32, TensorType.F64, TensorType.BF16)
_WIRE = {
    TensorType.I8: TensorType.U8,
    TensorType.BOOL: TensorType.U8,
    TensorType.U16: TensorType.F16,
    TensorType.I16: TensorType.F16,
    TensorType.U32: TensorType.I32,
    TensorType.U64: TensorType.I64,
}


class Tensor:
    """A tensor: `type`, `dims` (outermost first, () for a scalar) and `data`, elements in row-major order.

    `data` is kept as it is given, not copied. Raises NnError where dims and bytes do not fit.
    """

    __slots__ = ("data", "dims", "type")

    def __init__(self, type: TensorType | str, dims: Iterable[int], data: Bytes) -> None:
        self.type = TensorType.of(type)
        self.dims = tuple(dims)
        self.data = memoryview(data).cast("B")
        if not all(isinstance(dim, int) and 0 <= dim < 1 << 32 for dim in self.dims):
            raise invalid(f"dims are whole numbers from 0 to 4294967295, not {list(self.dims)}", "Tensor")
        wanted = math.prod(self.dims) * self.type.size
        if wanted != len(self.data):
            raise invalid(
                f"dims {_text(self.dims)} of {self.type.value} are {wanted} bytes, but the data has "
                f"{len(self.data)}; give {math.prod(self.dims)} elements of {self.type.size} bytes, or other "
                "dims",
                "Tensor",
            )

    @classmethod
    def of(
        cls,
        values: Iterable[float],
        type: TensorType | str = TensorType.F32,
        dims: Iterable[int] | None = None,
    ) -> Tensor:
        """A tensor of numbers; without `dims` a row of them. Raises NnError for a number that the type does
        not hold."""
        kind = TensorType.of(type)
        numbers = list(values)
        try:
            if kind is TensorType.BF16:
                data = b"".join(_bf16(value) for value in numbers)
            else:
                data = struct.pack(f"<{len(numbers)}{_FORMATS[kind]}", *numbers)
        except (struct.error, OverflowError, TypeError) as error:
            raise invalid(f"the values are no {kind.value}: {error}", "Tensor") from None
        return cls(kind, (len(numbers),) if dims is None else dims, data)

    @property
    def count(self) -> int:
        """How many elements."""
        return math.prod(self.dims)

    def values(self) -> Sequence[float]:
        """The elements, flat: a view without a copy where Python has the type, else a new array."""
        if self.type is TensorType.BF16:
            halves = self.data.cast("H")
            return array("f", struct.pack(f"<{len(halves)}I", *(half << 16 for half in halves)))
        if self.type is TensorType.F16:
            return array("f", struct.unpack(f"<{self.count}e", self.data))
        view: Sequence[float] = _view(self.data, _FORMATS[self.type])
        return view

    def integers(self) -> Sequence[int]:
        """As `values`, of an integer type; raises NnError for floats."""
        if self.type.is_float:
            raise invalid(f"the elements are {self.type.value}, not integers: take values()", "Tensor")
        view: Sequence[int] = _view(self.data, _FORMATS[self.type])
        return view

    def copy_to(self, buffer: bytearray | memoryview | array[Any]) -> int:
        """Copies the bytes into a buffer of yours, which may be larger; returns how many they are. Raises
        NnError (too-large) for a smaller one, and then writes nothing."""
        target = memoryview(buffer).cast("B")
        if len(target) < len(self.data):
            raise NnError(
                ErrorCode.TOO_LARGE,
                f"the buffer has {len(target)} bytes, and {self} has {len(self.data)}: give one of "
                f"{len(self.data)} bytes or more",
                "copy_to",
            )
        target[: len(self.data)] = self.data
        return len(self.data)

    def as_type(self, type: TensorType) -> Tensor:
        """The same bytes under another type of the same size."""
        return Tensor(type, self.dims, self.data)

    def rows(self) -> list[Tensor]:
        """A batch's elements: tensors of the dims after the first; a scalar is one."""
        if not self.dims:
            return [self]
        step = len(self.data) // self.dims[0] if self.dims[0] else 0
        return [
            Tensor(self.type, self.dims[1:], self.data[at * step : (at + 1) * step])
            for at in range(self.dims[0])
        ]

    def __str__(self) -> str:
        return f"{self.type.value} {_text(self.dims)}"

    def __repr__(self) -> str:
        return f"<Tensor {self}>"


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """One batch of tensors [1, ...] of one type and shape: [N, ...]. Raises NnError where they differ."""
    if not tensors:
        raise invalid("a batch needs at least one tensor", "stack")
    first = tensors[0]
    for each in tensors:
        if (each.type, each.dims) != (first.type, first.dims) or not each.dims or each.dims[0] != 1:
            raise invalid(f"a batch is of equal tensors [1, ...]; here are {first} and {each}", "stack")
    return Tensor(first.type, (len(tensors), *first.dims[1:]), b"".join(each.data for each in tensors))


def _view(data: memoryview, code: str) -> Any:
    try:
        return data.cast(code)  # type: ignore[call-overload]
    except TypeError:  # empty views cannot be cast
        return array(code)


def _bf16(value: float) -> bytes:
    """Rounded to the nearest, halves to even."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    if math.isnan(value):
        return b"\xc0\x7f"
    return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


def _text(dims: Iterable[int]) -> str:
    return "[" + ",".join(map(str, dims)) + "]"
