# SPDX-License-Identifier: Apache-2.0
"""What LiteRT's Python binding does not tell of a TensorFlow Lite model, read from the file itself.

The binding describes a tensor by a NumPy type: i8, f8, int4 and int2 are all `int8` there, and bf16 is
an exception. It does not say whether a shape of [] is a scalar or no shape at all, whether an input is a
constant of the model (a view of it is a writable view of the model's bytes), whether operators write
into an input, or whether the model keeps state from one run to the next. Names of signatures come
without the tensors that they stand for.

Numbers of fields and enums are those of schema.fbs (tflite/schema in google-ai-edge/LiteRT), the layout
that of flatbuffers.dev/internals. The runtime has verified the file before it is read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.tensors import Quantization, SpecDims

#: More tensors or operators than any model has; a small file can repeat one of them without end.
_MOST = 200_000

#: BuiltinOperator: CALL_ONCE, HASHTABLE and its users, VAR_HANDLE, READ_ and ASSIGN_VARIABLE, and the
#: random ones: what they hold outlives a run.
_STATEFUL = {129, 136, 137, 138, 139, 142, 143, 144, 146, 148, 149}
_CUSTOM = 32


@dataclass(frozen=True)
class Port:
    """An input or output. `names`: the signatures' for it, then the tensor's; `kind` is a TensorType of
    schema.fbs; `dims` None where the model does not fix the rank."""

    tensor: int
    names: tuple[str, ...]
    kind: int
    dims: SpecDims | None
    quantization: Quantization | None
    constant: bool


@dataclass(frozen=True)
class ModelFile:
    """The primary subgraph's ports, in the file's order, and what is to be known of the whole model."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    stateful: bool
    writes_inputs: bool
    custom_ops: tuple[str, ...]


def read(data: bytes) -> ModelFile:
    """Reads a model. Raises ValueError for what is not one."""
    try:
        return _read(_Table(data, *struct.unpack_from("<I", data)))
    except (struct.error, IndexError, RecursionError) as error:
        raise ValueError(f"not a FlatBuffer of a model: {error}") from error


def _read(model: _Table) -> ModelFile:
    subgraphs = list(model.tables(2))
    main = subgraphs[0]
    tensors = list(main.tables(0))
    inputs, outputs = main.integers(1), main.integers(2)
    codes = list(model.tables(1))
    operators = [max(code.number(0, "b"), code.number(3, "i")) for code in codes]
    ranked = any(tensor.number(8, "B") for tensor in tensors)
    signatures = [each for each in model.tables(7) if each.number(4, "I") == 0]
    return ModelFile(
        tuple(_port(model, tensors, index, _names(signatures, 0), ranked) for index in inputs),
        tuple(_port(model, tensors, index, _names(signatures, 1), ranked) for index in outputs),
        stateful=bool(_STATEFUL & set(operators)) or any(_has_variables(each) for each in subgraphs),
        writes_inputs=any(set(inputs) & set(operator.integers(2)) for operator in main.tables(3)),
        custom_ops=tuple(
            code.text(1) for code, number in zip(codes, operators, strict=True) if number == _CUSTOM
        ),
    )


def _has_variables(subgraph: _Table) -> bool:
    return any(tensor.number(5, "B") for tensor in subgraph.tables(0))


def _names(signatures: list[_Table], field: int) -> dict[int, list[str]]:
    """The signatures' names of the inputs (field 0) or outputs (1), by tensor."""
    names: dict[int, list[str]] = {}
    for signature in signatures:
        for entry in signature.tables(field):
            names.setdefault(entry.number(1, "I"), []).append(entry.text(0))
    return names


def _port(
    model: _Table, tensors: list[_Table], index: int, names: dict[int, list[str]], ranked: bool
) -> Port:
    if not 0 <= index < len(tensors):
        raise ValueError(f"there is no tensor {index}")
    tensor = tensors[index]
    dims = tensor.integers(7) or tensor.integers(0)
    # Files of older converters never say that a tensor has a rank: there [] is a scalar.
    shapeless = not dims and ranked and not tensor.number(8, "B")
    return Port(
        index,
        tuple(dict.fromkeys([*names.get(index, ()), tensor.text(3)])),
        tensor.number(1, "b"),
        None if shapeless else tuple(dim if dim >= 0 else None for dim in dims),
        _quantization(tensor.table(4)),
        _has_content(model, tensor.number(2, "I")) or bool(tensor.number(10, "I")),
    )


def _quantization(parameters: _Table | None) -> Quantization | None:
    if parameters is None:
        return None
    scales = tuple(float(scale) for scale in parameters.vector(2, "<f4"))
    zero_points = parameters.integers(3, "<i8")
    if not scales or len(scales) != len(zero_points):
        return None  # the runtime has seen to it that there are as many, and as many as channels
    return Quantization(scales, zero_points, parameters.number(6, "i") if len(scales) > 1 else None)


def _has_content(model: _Table, index: int) -> bool:
    buffer = model.item(4, index)
    # `size` above 1: the content lies behind the FlatBuffer, which is how models above 2 GB have it.
    return len(buffer.vector(0, "u1")) > 0 or buffer.number(2, "Q") > 1


class _Table:
    """A table of a FlatBuffer: fields by their number in the schema."""

    __slots__ = ("_at", "_data", "_size", "_vtable")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - struct.unpack_from("<i", data, at)[0]
        if self._vtable < 0:
            raise ValueError("a vtable before the file's beginning")
        (self._size,) = struct.unpack_from("<H", data, self._vtable)

    def _field(self, field: int) -> int:
        """Where a field stands; 0 where the table does not have it."""
        slot = 4 + 2 * field
        if slot + 2 > self._size:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, self._vtable + slot)
        return self._at + int(offset) if offset else 0

    def _target(self, field: int) -> int:
        """What a field's offset leads to; 0 where the table does not have it."""
        at = self._field(field)
        return at + int(struct.unpack_from("<I", self._data, at)[0]) if at else 0

    def number(self, field: int, kind: str) -> int:
        """A number of struct's format `kind`; 0 where the table does not have it."""
        at = self._field(field)
        return int(struct.unpack_from("<" + kind, self._data, at)[0]) if at else 0

    def vector(self, field: int, dtype: str) -> Any:
        """A vector of numbers, as an array over the file; empty where the table does not have it."""
        at = self._target(field)
        if not at:
            return np.empty(0, dtype)
        (count,) = struct.unpack_from("<I", self._data, at)
        return np.frombuffer(self._data, dtype, count, at + 4) if count else np.empty(0, dtype)

    def integers(self, field: int, dtype: str = "<i4") -> tuple[int, ...]:
        return tuple(self.vector(field, dtype).tolist())

    def text(self, field: int) -> str:
        return bytes(self.vector(field, "u1")).decode("utf-8", "replace")

    def table(self, field: int) -> _Table | None:
        at = self._target(field)
        return _Table(self._data, at) if at else None

    def tables(self, field: int) -> Iterator[_Table]:
        """The tables of a vector. Raises ValueError if they are more than any model has."""
        at = self._target(field)
        if not at:
            return
        (count,) = struct.unpack_from("<I", self._data, at)
        if count > _MOST:
            raise ValueError(f"{count} entries in one vector")
        for index in range(count):
            yield self._entry(at + 4 + 4 * index)

    def item(self, field: int, index: int) -> _Table:
        """One table of a vector. Raises ValueError where there is none."""
        at = self._target(field)
        if not at or index >= struct.unpack_from("<I", self._data, at)[0]:
            raise ValueError(f"there is no entry {index}")
        return self._entry(at + 4 + 4 * index)

    def _entry(self, at: int) -> _Table:
        return _Table(self._data, at + int(struct.unpack_from("<I", self._data, at)[0]))
