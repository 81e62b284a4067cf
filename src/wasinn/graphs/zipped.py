# SPDX-License-Identifier: Apache-2.0
"""The entries of a zip archive, read so that a hostile one costs no more than a good one.

`zipfile` reads a central directory of any size into memory, and makes an object for each entry; here
both are bounded, and nothing is decompressed beyond what is asked for. Layouts and numbers are those
of PKWARE's APPNOTE.TXT, sections 4.3.7 to 4.3.16 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from wasinn.content import Content, number

MAGIC = b"PK\x03\x04"

#: Each weight and each module of a model is an entry: thousands, in large ones.
_MAX_ENTRIES = 50_000
_MAX_DIRECTORY = 16 << 20
#: Extra fields of an entry that are looked at.
_MAX_EXTRAS = 16
#: The end record is 22 bytes and a comment of at most 65535.
_END, _END_SIZE, _MAX_COMMENT = b"PK\x05\x06", 22, 65535
_END64, _LOCATOR64, _LOCATOR64_SIZE = b"PK\x06\x06", b"PK\x06\x07", 20
_LOCAL_SIZE = 30
#: Of an entry of the central directory: signature, method, packed size, size, the lengths of name, extra
#: and comment, and where the local header is.
_ENTRY = struct.Struct("<4s6xH8xIIHHH8xI")
_IN_EXTRA = 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True)
class Entry:
    """A file in an archive: `size` is of its content, `packed` of what stands for it in the archive."""

    name: str
    method: int
    packed: int
    size: int
    offset: int


def entries(data: Content) -> dict[str, Entry]:
    """The first 50,000 entries by name. Raises ValueError where there is no central directory: the
    archive is cut short, or is none."""
    found: dict[str, Entry] = {}
    position, end = _directory(data)
    while position < end and len(found) < _MAX_ENTRIES:
        head = data[position : position + _ENTRY.size]
        if len(head) < _ENTRY.size or head[:4] != b"PK\x01\x02":
            raise ValueError("a central directory that breaks off")
        _, method, packed, size, length, extra, comment, offset = _ENTRY.unpack(head)
        position += _ENTRY.size
        name = data[position : position + length].decode("utf-8", "replace")
        position += length
        if _IN_EXTRA in (size, packed, offset):
            size, packed, offset = _wide(data[position : position + extra], size, packed, offset)
        found[name] = Entry(name, method, packed, size, offset)
        position += extra + comment
    return found


def read(data: Content, entry: Entry, limit: int) -> bytes:
    """The first `limit` bytes of an entry's content. Raises ValueError for what cannot be read."""
    start = entry.offset + _LOCAL_SIZE + sum(number(data, entry.offset + at, 2) for at in (26, 28))
    if entry.method == _STORED:
        return data[start : start + min(limit, entry.packed)]
    if entry.method != _DEFLATED:
        raise ValueError(f"{entry.name} is packed by method {entry.method}")
    # What does not get smaller is stored in blocks by deflate, with a few bytes for each.
    packed = data[start : start + min(entry.packed, limit + 1024)]
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit)
    except zlib.error as error:
        raise ValueError(f"{entry.name}: {error}") from error


def read_end(data: Content, entry: Entry, limit: int) -> bytes:
    """The last `limit` bytes of an entry that is stored as it is, else as `read`."""
    if entry.method != _STORED or entry.packed <= limit:
        return read(data, entry, limit)
    start = entry.offset + _LOCAL_SIZE + sum(number(data, entry.offset + at, 2) for at in (26, 28))
    return data[start + entry.packed - limit : start + entry.packed]


def _directory(data: Content) -> tuple[int, int]:
    """Where the central directory begins and ends."""
    base = max(len(data) - _END_SIZE - _MAX_COMMENT, 0)
    tail = data[base : len(data)]
    at = tail.rfind(_END)
    if at < 0 or at + _END_SIZE > len(tail):
        raise ValueError("no end record")
    size, start = number(tail, at + 12, 4), number(tail, at + 16, 4)
    locator = base + at - _LOCATOR64_SIZE
    if locator >= 0 and data[locator : locator + 4] == _LOCATOR64:
        record = number(data, locator + 8, 8)
        if data[record : record + 4] == _END64:
            size, start = number(data, record + 40, 8), number(data, record + 48, 8)
    if start + size > len(data):
        raise ValueError("a central directory beyond the end")
    return start, start + min(size, _MAX_DIRECTORY)


def _wide(extra: bytes, *values: int) -> list[int]:
    """The values, of which those that do not fit 32 bits stand in the extra field 1, in their order."""
    wide = b""
    position = 0
    for _ in range(_MAX_EXTRAS):
        if position + 4 > len(extra):
            break
        kind, length = number(extra, position, 2), number(extra, position + 2, 2)
        position += 4
        if kind == 1:
            wide = extra[position : position + length]
            break
        position += length
    result = []
    for value in values:
        if value == _IN_EXTRA and len(wide) >= 8:
            value, wide = number(wide, 0, 8), wide[8:]
        result.append(value)
    return result
