# SPDX-License-Identifier: Apache-2.0
"""The data of a tensor as JSON: nested lists or a flat one, numbers, booleans or texts.

Numbers are held against the datatype: NumPy would read the text "1.5" as a number, cut 1.5 to an integer and
make 300 a byte of 44.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from wasinn.oip.datatypes import NUMPY_OF, count, pack_bytes, walk_bytes
from wasinn.oip.errors import OipError, shown
from wasinn.oip.messages import WireTensor

#: The types that JSON has no numbers for.
ONLY_BINARY = ("FP16", "BF16")

_FP32_MAX = float(np.finfo(np.float32).max)


def read_data(name: str, datatype: str, shape: Sequence[int], data: object) -> bytes | memoryview:
    """The bytes of a tensor from what JSON says. Raises OipError."""
    if datatype in ONLY_BINARY:
        raise OipError(
            f"tensor {shown(name)}: {datatype} cannot be written as JSON; send binary data "
            "(binary_data_size), or FP32 if the model takes it"
        )
    if type(data) is not list:
        raise OipError(f"tensor {shown(name)}: data must be a list; got {shown(data)}")
    flat = _flat(name, shape, data)
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        return _texts(name, flat, kinds)
    if datatype == "BOOL":
        return _bools(name, flat, kinds)
    if datatype in ("FP32", "FP64"):
        return _floats(name, datatype, flat, kinds)
    return _integers(name, datatype, flat, kinds)


def _flat(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    """The elements in their order. Lists within lists are held against the shape, level by level: a ragged
    one would come out in another order than was meant. Raises OipError."""
    wanted = count(shape)
    level = 0
    while data and type(data[0]) is list:
        if level >= len(shape) or len(data) != count(shape[: level + 1]):
            raise _misshapen(name, shape)
        if set(map(type, data)) != {list}:
            raise _misshapen(name, shape)
        level += 1
        size = shape[level] if level < len(shape) else -1
        if any(len(each) != size for each in data):
            raise _misshapen(name, shape)
        data = list(chain.from_iterable(data))
    if level and level != len(shape) - 1 and wanted:
        raise _misshapen(name, shape)
    if len(data) != wanted:
        raise OipError(
            f"tensor {shown(name)}: shape {list(shape)} has {wanted} elements; the data has {len(data)}"
        )
    return data


def _misshapen(name: str, shape: Sequence[int]) -> OipError:
    return OipError(
        f"tensor {shown(name)}: the lists in data are not nested as the shape {list(shape)} says; nest them "
        "so, or give one flat list in row-major order"
    )


def _stranger(name: str, datatype: str, wanted: str, flat: list[Any], able: Sequence[type]) -> OipError:
    value = next(each for each in flat if type(each) not in able)
    return OipError(f"tensor {shown(name)}: {datatype} is {wanted}; got {shown(value)}")


def _texts(name: str, flat: list[Any], kinds: set[type]) -> bytes:
    if not kinds <= {str}:
        raise _stranger(name, "BYTES", "texts (other bytes need binary data)", flat, (str,))
    try:
        return pack_bytes(text.encode() for text in flat)
    except UnicodeEncodeError:
        raise OipError(
            f"tensor {shown(name)}: a text has half of a surrogate pair; send such bytes as binary data"
        ) from None


def _bools(name: str, flat: list[Any], kinds: set[type]) -> bytes:
    if not kinds <= {bool, int}:
        raise _stranger(name, "BOOL", "true and false", flat, (bool, int))
    try:
        data = bytes(flat)
    except ValueError:
        data = b"\x02"
    if data and max(data) > 1:
        raise OipError(f"tensor {shown(name)}: BOOL is true and false (or 1 and 0); there is another number")
    return data


def _floats(name: str, datatype: str, flat: list[Any], kinds: set[type]) -> memoryview:
    if not kinds <= {int, float}:
        raise _stranger(name, datatype, "numbers", flat, (int, float))
    try:
        array = np.array(flat, "<f8")
    except OverflowError:  # an integer past every float
        raise OipError(f"tensor {shown(name)}: a number is too large for {datatype}") from None
    if datatype == "FP32":
        finite = array[np.isfinite(array)]
        if finite.size and np.abs(finite).max() > _FP32_MAX:
            raise OipError(f"tensor {shown(name)}: a number is too large for FP32")
        array = array.astype("<f4")
    return _view(array)


def _integers(name: str, datatype: str, flat: list[Any], kinds: set[type]) -> memoryview:
    if not kinds <= {int}:
        raise _stranger(name, datatype, "whole numbers", flat, (int,))
    dtype = NUMPY_OF[datatype]
    if flat:
        limits = np.iinfo(dtype)
        low, high = min(flat), max(flat)
        if low < limits.min or high > limits.max:
            outside = low if low < limits.min else high
            raise OipError(
                f"tensor {shown(name)}: {datatype} is from {limits.min} to {limits.max}; got {shown(outside)}"
            )
    return _view(np.array(flat, dtype))


def _view(array: np.ndarray[Any, Any]) -> memoryview:
    data: Any = array.view(np.uint8)
    return memoryview(data)


def write_data(tensor: WireTensor) -> list[Any]:
    """The elements of a tensor for JSON, flat. Raises OipError for what JSON cannot say."""
    if tensor.datatype == "BYTES":
        try:
            return [str(each, "utf-8") for each in walk_bytes(tensor.data)]
        except UnicodeDecodeError:
            raise OipError(
                f"tensor {shown(tensor.name)}: its bytes are no UTF-8 text, so JSON cannot say them; ask for "
                "it as binary data (binary_data: true)"
            ) from None
    if tensor.datatype in ONLY_BINARY:
        raise OipError(
            f"tensor {shown(tensor.name)}: {tensor.datatype} cannot be written as JSON; ask for it as binary "
            "data (binary_data: true)"
        )
    if tensor.datatype == "BOOL":  # a byte that is neither 0 nor 1 is true
        array: Any = np.frombuffer(tensor.data, np.uint8) != 0
    else:
        array = np.frombuffer(tensor.data, NUMPY_OF[tensor.datatype])
    values: list[Any] = array.tolist()
    return values
