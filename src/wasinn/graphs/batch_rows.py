# SPDX-License-Identifier: Apache-2.0
"""Rows of several requests as one tensor, and back; and whether a model keeps them apart.

Rows are the first dimension. Tensors are row-major, so that those of a request lie together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from wasinn.backends.base import Execution
from wasinn.backends.common import Buffer
from wasinn.errors import WasiNNError
from wasinn.spec import TensorType
from wasinn.tensors import FLOATS, NUMPY, Tensor, element_count, format_dims


@runtime_checkable
class Roomy(Protocol):
    """An execution whose input can be written where its runtime reads it: a copy less."""

    def input_room(self, index: int, dims: tuple[int, ...], tensor_type: TensorType) -> memoryview:
        """The memory of an input of such dims, for the caller to write; the input counts as set."""


def rows_of(inputs: Sequence[Tensor | None]) -> tuple[int, object | None]:
    """How many rows a request has, and what others must have alike to share a batch with it: all dims but
    the first, and the types. None if it cannot share one: its inputs have no rows, or not as many each."""
    given = [each for each in inputs if each is not None]
    counts = {each.dims[0] if each.dims else 0 for each in given}
    rows = next(iter(counts), 0)
    if len(counts) != 1 or rows < 1:
        return max(rows, 1), None
    return rows, tuple(None if each is None else (each.dims[1:], each.type) for each in inputs)


class Joiner:
    """Gives an execution the rows of several requests. What they are joined in serves again."""

    def __init__(self, execution: Execution, inputs: int) -> None:
        self._execution = execution
        self._roomy = execution if isinstance(execution, Roomy) else None
        self._buffers: list[Buffer | None] = [None] * inputs

    def give(self, index: int, tensors: Sequence[Tensor]) -> None:
        """Sets an input to the rows of `tensors`, one after the other."""
        first = tensors[0]
        if len(tensors) == 1:
            self._execution.set_input(index, first)
            return
        dims = (sum(each.dims[0] for each in tensors), *first.dims[1:])
        size = element_count(dims) * first.type.size
        room = None
        if self._roomy is not None and first.type is not TensorType.BOOL:  # booleans are looked at
            room = self._roomy.input_room(index, dims, first.type)
        view = self._buffer(index, size) if room is None else room
        start = 0
        for each in tensors:
            end = start + len(each.data)
            view[start:end] = each.data
            start = end
        if room is None:
            self._execution.set_input(index, Tensor(dims, first.type, view))

    def _buffer(self, index: int, size: int) -> memoryview:
        buffer = self._buffers[index]
        if buffer is None or not size <= len(buffer.view) <= 4 * size:
            buffer = self._buffers[index] = Buffer(size)
        return buffer.view[:size]


class NoRows(Exception):
    """An output has not a row for each that was given. Its index and dims."""

    def __init__(self, index: int, dims: tuple[int, ...]) -> None:
        super().__init__(index, dims)
        self.index, self.dims = index, dims


def check_rows(outputs: Sequence[Tensor | WasiNNError], rows: int) -> None:
    """Raises NoRows where an output has another number of rows."""
    for index, output in enumerate(outputs):
        if not isinstance(output, WasiNNError) and output.dims[:1] != (rows,):
            raise NoRows(index, output.dims)


def split(outputs: Sequence[Tensor | WasiNNError], counts: Sequence[int]) -> list[list[Tensor | WasiNNError]]:
    """For each of so many rows its part of every output, copied: who keeps one keeps no more than that. An
    output without a value is that for all. One request has all of it, rows or not. Raises NoRows."""
    if len(counts) > 1:
        check_rows(outputs, sum(counts))
    parts: list[list[Tensor | WasiNNError]] = [[] for _ in counts]
    for output in outputs:
        if isinstance(output, WasiNNError) or len(counts) == 1:
            for part in parts:
                part.append(
                    output if isinstance(output, WasiNNError) else _copy(output.dims, output, output.data)
                )
            continue
        size, start = len(output.data) // sum(counts), 0
        for part, count in zip(parts, counts, strict=True):
            end = start + count * size
            part.append(_copy((count, *output.dims[1:]), output, output.data[start:end]))
            start = end
    return parts


def _copy(dims: tuple[int, ...], tensor: Tensor, data: memoryview) -> Tensor:
    return Tensor(dims, tensor.type, memoryview(bytes(data)))


#: How far a row may be from what it is alone, as a part of the largest number: kernels for several rows add
#: up in another order (an estimate, far above what was seen and far below what mixed rows make).
_TOLERANCE = {TensorType.F16: 2e-2, TensorType.BF16: 5e-2, TensorType.F32: 1e-3, TensorType.F64: 1e-6}


def difference(together: Sequence[Tensor | WasiNNError], alone: Sequence[Tensor | WasiNNError]) -> str | None:
    """In which output the rows of a request differ from what they are when it is computed alone, in words."""
    for index, (one, other) in enumerate(zip(together, alone, strict=True)):
        if isinstance(one, WasiNNError) or isinstance(other, WasiNNError):
            if type(one) is not type(other):
                return f"output {index} has no value in one of them"
            continue
        if one.dims != other.dims or one.type is not other.type:
            return f"output {index} is {one.type.label} {format_dims(one.dims)} in a batch and " + (
                f"{other.type.label} {format_dims(other.dims)} alone"
            )
        if one.data == other.data:
            continue
        if not _close(one, other):
            return f"the numbers of output {index} depend on the other rows of a batch"
    return None


def _close(one: Tensor, other: Tensor) -> bool:
    kind = one.type
    if kind is TensorType.BF16:
        numbers = [np.frombuffer(each.data, "<u2").astype("<u4") << 16 for each in (one, other)]
        a, b = (each.view("<f4") for each in numbers)
    elif kind not in NUMPY:
        return True  # of f8 nothing is known here
    else:
        a, b = one.numpy(), other.numpy()
    if kind in FLOATS or kind is TensorType.BF16:
        a, b = a.astype(np.float64), b.astype(np.float64)
        finite = np.abs(b[np.isfinite(b)])
        room = _TOLERANCE[kind] * max(float(finite.max()) if finite.size else 0.0, 1e-6)
        return bool(np.allclose(a, b, rtol=0.0, atol=room, equal_nan=True))
    # A quantized number may be rounded the other way.
    room = 1 if kind in (TensorType.U8, TensorType.I8) else 0
    return bool(np.all(np.abs(a.astype(np.int64) - b.astype(np.int64)) <= room)) if room else False
