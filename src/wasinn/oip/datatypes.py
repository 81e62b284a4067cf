# SPDX-License-Identifier: Apache-2.0
"""The protocol's datatypes: which tensor types they are, and whether the bytes of a tensor are as many as its
shape says."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from wasinn.oip.errors import OipError, shown
from wasinn.oip.messages import DATATYPES
from wasinn.spec import TensorType

#: The datatype of each tensor type that the protocol has one for: all but the f8.
DATATYPE_OF: dict[TensorType, str] = {
    TensorType.F16: "FP16",
    TensorType.F32: "FP32",
    TensorType.F64: "FP64",
    TensorType.BF16: "BF16",
    TensorType.U8: "UINT8",
    TensorType.U16: "UINT16",
    TensorType.U32: "UINT32",
    TensorType.U64: "UINT64",
    TensorType.I8: "INT8",
    TensorType.I16: "INT16",
    TensorType.I32: "INT32",
    TensorType.I64: "INT64",
    TensorType.BOOL: "BOOL",
}

#: The tensor type of each datatype but BYTES.
TYPE_OF: dict[str, TensorType] = {datatype: kind for kind, datatype in DATATYPE_OF.items()}

#: NumPy's types; there is none for BF16 and BYTES.
NUMPY_OF: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}

#: No runtime takes more dimensions, nor larger ones.
MAX_RANK = 32
_MAX_DIM = (1 << 63) - 1

_LENGTH = struct.Struct("<I")


def check_head(what: str, name: object, datatype: object, shape: object) -> tuple[int, ...]:
    """The shape, if these are a tensor's name, datatype and shape. `what` is "input" or "output". Raises
    OipError."""
    if type(name) is not str or not name:
        raise OipError(f'an {what} has no "name", a text that is not empty; got {shown(name)}')
    if type(datatype) is not str or datatype not in DATATYPES:
        raise OipError(
            f"{what} {shown(name)}: the datatype must be one of {', '.join(DATATYPES)}; got {shown(datatype)}"
        )
    # A tuple is what a caller of ours has checked; JSON makes lists.
    if not isinstance(shape, list | tuple):
        raise OipError(f"{what} {shown(name)}: the shape must be a list of numbers; got {shown(shape)}")
    if len(shape) > MAX_RANK:
        raise OipError(f"{what} {shown(name)}: a shape has at most {MAX_RANK} dimensions; got {len(shape)}")
    for dim in shape:
        if type(dim) is not int or not 0 <= dim <= _MAX_DIM:
            raise OipError(
                f"{what} {shown(name)}: the shape must be whole numbers from 0 on (what is sent has no "
                f"dynamic dimension); got {shown(list(shape))}"
            )
    return tuple(shape)


def count(shape: Iterable[int]) -> int:
    """The number of elements; 1 for a scalar."""
    result = 1
    for dim in shape:
        result *= dim
    return result


def check_data(what: str, name: str, datatype: str, shape: Sequence[int], data: bytes | memoryview) -> None:
    """That there are as many bytes as the shape says; of BYTES, as many elements. Raises OipError."""
    wanted = count(shape)
    size = DATATYPES[datatype]
    if size is not None:
        if len(data) != wanted * size:
            raise OipError(
                f"{what} {shown(name)}: {datatype} {list(shape)} is {wanted * size} bytes; got {len(data)}"
            )
        return
    found = 0
    try:
        for _ in walk_bytes(data):
            found += 1
    except OipError as error:
        raise OipError(f"{what} {shown(name)}: {error}") from None
    if found != wanted:
        raise OipError(
            f"{what} {shown(name)}: BYTES {list(shape)} has {wanted} elements; the data has {found}"
        )


def walk_bytes(data: bytes | memoryview) -> Iterable[memoryview]:
    """The elements of a BYTES tensor, as views of its data. Raises OipError where that is cut short."""
    view = memoryview(data)
    at, end = 0, len(view)
    while at < end:
        if end - at < 4:
            raise OipError(
                f"an element of BYTES begins with its length in 4 bytes; at byte {at} only {end - at} follow"
            )
        (length,) = _LENGTH.unpack_from(view, at)
        at += 4
        if length > end - at:
            raise OipError(
                f"an element of BYTES at byte {at - 4} says that it has {length} bytes, and {end - at} follow"
            )
        yield view[at : at + length]
        at += length


def unpack_bytes(data: bytes | memoryview) -> list[bytes]:
    """The elements of a BYTES tensor. Raises OipError."""
    return [bytes(each) for each in walk_bytes(data)]


def pack_bytes(elements: Iterable[bytes | memoryview]) -> bytes:
    """The data of a BYTES tensor: each element behind its length. Raises OipError for one of 4 GiB."""
    parts: list[bytes | memoryview] = []
    for element in elements:
        if len(element) >= 1 << 32:
            raise OipError(f"an element of BYTES has less than 4 GiB; this one has {len(element)} bytes")
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)
