# SPDX-License-Identifier: Apache-2.0
"""What the server and a guest that is served say to each other: tensors in a row of bytes.

A message is little-endian, and starts at a multiple of 8:

    "wnt1", u32 number of tensors, then for each tensor
        u32 length of the name, u32 length of the datatype, u32 rank, u32 0, u64 length of the data
        u64 for each dim
        the name and the datatype, zeros up to a multiple of 8
        the data, zeros up to a multiple of 8

so the data can be used where it lies. A guest that refuses a request answers "wne1", u32 length, UTF-8 text.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from wasinn.errors import Error
from wasinn.oip.datatypes import check_data
from wasinn.oip.errors import OipError
from wasinn.oip.messages import DATATYPES, WireTensor

MAGIC = b"wnt1"
REFUSAL = b"wne1"

#: A guest's answer of more tensors or dims than these is taken for a mistake.
MOST_TENSORS = 4096
MOST_DIMS = 32

_HEAD = struct.Struct("<4sI")
_TENSOR = struct.Struct("<IIIIQ")
_PADDING = tuple(bytes(-size % 8) for size in range(8))


class MessageError(Error):
    """A guest's answer is no message; the text says where it is wrong."""


class Refusal(Error):
    """A guest refused the request; the text is the guest's."""


def encode(tensors: Sequence[WireTensor]) -> tuple[list[bytes | memoryview], int]:
    """The parts of a message, in order, and their length together. Data is not copied."""
    parts: list[bytes | memoryview] = [_HEAD.pack(MAGIC, len(tensors))]
    total = _HEAD.size
    for each in tensors:
        name, datatype = each.name.encode(), each.datatype.encode()
        data, rank = each.data, len(each.shape)
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        head = b"".join(
            (
                _TENSOR.pack(len(name), len(datatype), rank, 0, size),
                struct.pack(f"<{rank}Q", *each.shape),
                name,
                datatype,
                _PADDING[(len(name) + len(datatype)) % 8],
            )
        )
        padding = _PADDING[size % 8]
        parts += (head, data, padding) if padding else (head, data)
        total += len(head) + size + len(padding)
    return parts, total


def write(parts: Sequence[bytes | memoryview], memory: memoryview, at: int) -> None:
    """Copies the parts of a message into `memory`, which has room for them from the byte `at`."""
    for part in parts:
        size = part.nbytes if isinstance(part, memoryview) else len(part)
        memory[at : at + size] = part.cast("B") if isinstance(part, memoryview) else part
        at += size


def is_message(data: bytes) -> bool:
    """Whether bytes begin as a message or a refusal does."""
    return data[:4] in (MAGIC, REFUSAL)


def decode(data: bytes) -> list[WireTensor]:
    """The tensors of a guest's answer; their data are views of `data`.

    Raises MessageError for what is no message, and Refusal for a refusal.
    """
    if len(data) < _HEAD.size:
        raise MessageError(f"it has {len(data)} bytes, and a message at least {_HEAD.size}")
    magic, count = _HEAD.unpack_from(data)
    if magic == REFUSAL:
        raise _refusal(data, count)
    if magic != MAGIC:
        raise MessageError(f'it begins with {bytes(magic)!r}, and not with "wnt1" or "wne1"')
    if count > MOST_TENSORS:
        raise MessageError(f"it claims {count} tensors; {MOST_TENSORS} are the most")
    view = memoryview(data)
    tensors: list[WireTensor] = []
    names: set[str] = set()
    at = _HEAD.size
    for index in range(count):
        tensor, at = _tensor(view, at, f"tensor {index}")
        if tensor.name in names:
            raise MessageError(f"it has two tensors {tensor.name!r}")
        names.add(tensor.name)
        tensors.append(tensor)
    if at != len(data):
        raise MessageError(f"its {count} tensors end at byte {at}, and it has {len(data)} bytes")
    return tensors


def _refusal(data: bytes, length: int) -> Error:
    if length != len(data) - _HEAD.size:
        return MessageError(
            f"it is a refusal of {length} bytes of text, and {len(data) - _HEAD.size} bytes follow"
        )
    # What a guest quotes of a request, or cuts off, may be no UTF-8.
    return Refusal(data[_HEAD.size :].decode(errors="replace"))


def _tensor(view: memoryview, at: int, where: str) -> tuple[WireTensor, int]:
    """The tensor whose head is at the byte `at`, and where the next one is."""
    total = len(view)
    if total - at < _TENSOR.size:
        raise MessageError(f"it ends in the head of {where}, at byte {total}")
    name_length, datatype_length, rank, reserved, size = _TENSOR.unpack_from(view, at)
    at += _TENSOR.size
    if reserved:
        raise MessageError(f"{where}: the word before the data's length is {reserved}, and must be 0")
    if rank > MOST_DIMS:
        raise MessageError(f"{where} has {rank} dims; {MOST_DIMS} are the most")
    words = at + 8 * rank
    text = words + name_length
    end = text + datatype_length
    start = end + -end % 8
    stop = start + size
    following = stop + -stop % 8
    if following > total:
        raise MessageError(f"{where} ends at byte {following}, and the message at {total}")
    shape = struct.unpack_from(f"<{rank}Q", view, at)
    name, datatype = _text(view[words:text], where, "name"), _text(view[text:end], where, "datatype")
    if not name:
        raise MessageError(f"{where} has no name")
    if datatype not in DATATYPES:
        raise MessageError(
            f"{where} ({name!r}): there is no datatype {datatype!r}; there are {', '.join(DATATYPES)}"
        )
    data = view[start:stop]
    try:
        check_data(where, name, datatype, shape, data)
    except OipError as error:
        raise MessageError(str(error)) from None
    return WireTensor(name, datatype, shape, data), following


def _text(data: memoryview, where: str, what: str) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise MessageError(f"the {what} of {where} is not UTF-8: {bytes(data[:40])!r}") from None
