# SPDX-License-Identifier: Apache-2.0
"""PNG: every colour type and depth, interlaced or not, and files with a palette written."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from .errors import invalid
from .pixels import Pixels, bits_table, check_size, interleaved

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Samples of a pixel and the depths that are allowed, by colour type.
_KINDS = {0: (1, (1, 2, 4, 8, 16)), 2: (3, (8, 16)), 3: (1, (1, 2, 4, 8)), 4: (2, (8, 16)), 6: (4, (8, 16))}
_PALETTE = 3
#: Adam7 sends seven small pictures: pass k has the pixels (x + i * dx, y + j * dy).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True)
class _Header:
    width: int
    height: int
    bits: int
    colour: int
    interlaced: bool
    palette: bytes = b""

    @property
    def channels(self) -> int:
        return _KINDS[self.colour][0]

    def row_bytes(self, width: int) -> int:
        return (width * self.channels * self.bits + 7) // 8


def decode(content: bytes) -> Pixels:
    """Raises NnError for a damaged file."""
    header, packed = _read_chunks(content)
    check_size(header.width, header.height)
    passes = _ADAM7 if header.interlaced else ((0, 0, 1, 1),)
    sizes = [
        (max(0, -((x - header.width) // dx)), max(0, -((y - header.height) // dy))) for x, y, dx, dy in passes
    ]
    total = sum((header.row_bytes(w) + 1) * h for w, h in sizes if w)
    # Deflate cannot shrink by more than 1032: a small file that claims many pixels is refused at once.
    if total // 1032 > len(packed):
        raise invalid("its compressed data holds fewer pixels than its header says: is the file cut off?")
    data = _unpacked(packed, total)
    if not header.interlaced:
        rows = _unfiltered(data, 0, header, header.width, header.height)
        return header.width, header.height, interleaved(*_planes(header, rows, header.width))
    rgb = bytearray(3 * header.width * header.height)
    at = 0
    for (x, y, dx, dy), (width, height) in zip(passes, sizes, strict=True):
        if not width or not height:
            continue
        rows = _unfiltered(data, at, header, width, height)
        at += (header.row_bytes(width) + 1) * height
        planes = _planes(header, rows, width)
        for row in range(height):
            start = 3 * ((y + row * dy) * header.width + x)
            end = 3 * (y + row * dy + 1) * header.width
            for channel, plane in enumerate(planes):
                rgb[start + channel : end : 3 * dx] = plane[row * width : (row + 1) * width]
    return header.width, header.height, bytes(rgb)


def encode_palette(
    width: int, height: int, pixels: bytes | bytearray, colours: Sequence[tuple[int, int, int]]
) -> bytes:
    """A PNG whose pixel values are `pixels`, one byte each, shown in `colours` (RGB, at most 256). Raises
    NnError where their number does not fit, or a pixel has no colour."""
    if width < 1 or height < 1 or len(pixels) != width * height:
        raise invalid(f"{width}x{height} pixels are {width * height} bytes, and {len(pixels)} are given")
    if not 1 <= len(colours) <= 256 or max(pixels) >= len(colours):
        raise invalid(
            f"pixels up to {max(pixels)} need {max(pixels) + 1} colours (at most 256), not {len(colours)}"
        )
    rows = b"".join(b"\0" + pixels[at : at + width] for at in range(0, len(pixels), width))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _PALETTE, 0, 0, 0)),
            (b"PLTE", b"".join(map(bytes, colours))),
            (b"IDAT", zlib.compress(rows)),
            (b"IEND", b""),
        )
    )


def _read_chunks(content: bytes) -> tuple[_Header, bytes]:
    if not content.startswith(SIGNATURE):
        raise invalid("its PNG signature is damaged")
    header: _Header | None = None
    palette, packed = b"", []
    at = len(SIGNATURE)
    while len(content) - at >= 12:
        (size,) = struct.unpack_from(">I", content, at)
        name, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        if size > len(content) - at - 12:
            break
        # An upper-case first letter means that the picture cannot be understood without the chunk.
        critical = not name[0] & 0x20
        if (
            critical
            and zlib.crc32(body, zlib.crc32(name)) != struct.unpack_from(">I", content, at + 8 + size)[0]
        ):
            raise invalid("a checksum in it does not match: the file is damaged")
        at += size + 12
        if (header is None) != (name == b"IHDR"):
            raise invalid("its header is not where it must be")
        if header is None:
            header = _read_header(body)
        elif name == b"PLTE":
            if size % 3 or size > 768:
                raise invalid("its palette has an impossible size")
            palette = body
        elif name == b"IDAT":
            packed.append(body)
        elif name == b"IEND":
            if header.colour == _PALETTE and not palette:
                raise invalid("its palette is missing")
            return (
                _Header(
                    header.width, header.height, header.bits, header.colour, header.interlaced,
                    palette.ljust(768, b"\0"),
                ),
                b"".join(packed),
            )  # fmt: skip
        elif critical:
            raise invalid("it has a chunk of a kind that is not known")
    raise invalid("the file ends too early")


def _read_header(body: bytes) -> _Header:
    if len(body) != 13:
        raise invalid("its header is damaged")
    width, height, bits, colour, packing, filtering, interlace = struct.unpack(">IIBBBBB", body)
    if colour not in _KINDS or bits not in _KINDS[colour][1]:
        raise invalid(f"it has colour type {colour} with {bits} bits, which PNG does not allow")
    if packing or filtering or interlace > 1:
        raise invalid("its header is damaged")
    return _Header(width, height, bits, colour, interlace == 1)


def _unpacked(packed: bytes, size: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, size)
        if len(data) == size and not unpacker.eof:
            unpacker.decompress(unpacker.unconsumed_tail, 1)  # the checksum is looked at here
    except zlib.error as error:
        raise invalid(f"its compressed data is damaged ({error})") from None
    if len(data) != size:
        raise invalid("its compressed data holds fewer pixels than its header says: is the file cut off?")
    return data


def _unfiltered(data: bytes, at: int, header: _Header, width: int, height: int) -> bytes:
    """The rows as they were before they were filtered, without the filters' bytes."""
    size, step = header.row_bytes(width), max(1, header.channels * header.bits // 8)
    above = bytes(size)
    rows = []
    low, high = int.from_bytes(b"\x7f" * size, "little"), int.from_bytes(b"\x80" * size, "little")
    for start in range(at, at + (size + 1) * height, size + 1):
        kind, row = data[start], data[start + 1 : start + 1 + size]
        if kind == 1:
            found = bytearray(size)
            for channel in range(step):
                found[channel::step] = bytes(map((255).__and__, accumulate(row[channel::step])))
            row = bytes(found)
        elif kind == 2:
            # Byte by byte without carries, all at once.
            a, b = int.from_bytes(row, "little"), int.from_bytes(above, "little")
            row = (((a & low) + (b & low)) ^ ((a ^ b) & high)).to_bytes(size, "little")
        elif kind in (3, 4):
            undo = _average if kind == 3 else _paeth
            found = bytearray(size)
            for channel in range(step):
                found[channel::step] = undo(row[channel::step], above[channel::step])
            row = bytes(found)
        elif kind:
            raise invalid(f"it uses the row filter {kind}, which PNG does not have")
        rows.append(row)
        above = row
    return b"".join(rows)


def _average(row: bytes, above: bytes) -> bytes:
    left = 0
    found = []
    for value, up in zip(row, above, strict=True):
        left = value + (left + up >> 1) & 255
        found.append(left)
    return bytes(found)


def _paeth(row: bytes, above: bytes) -> bytes:
    left = corner = 0
    found = []
    for value, up in zip(row, above, strict=True):
        # The distances of left + up - corner to left, up and corner.
        to_left, to_up = up - corner, left - corner
        to_corner = to_left + to_up
        if to_left < 0:
            to_left = -to_left
        if to_up < 0:
            to_up = -to_up
        if to_corner < 0:
            to_corner = -to_corner
        if to_left <= to_up and to_left <= to_corner:
            left = value + left & 255
        elif to_up <= to_corner:
            left = value + up & 255
        else:
            left = value + corner & 255
        found.append(left)
        corner = up
    return bytes(found)


def _planes(header: _Header, rows: bytes, width: int) -> tuple[bytes, bytes, bytes]:
    """Red, green and blue, a byte a pixel."""
    if header.bits < 8:
        size = header.row_bytes(width)
        table = bits_table(header.bits)
        rows = b"".join(
            b"".join(map(table.__getitem__, rows[at : at + size]))[:width] for at in range(0, len(rows), size)
        )
    elif header.bits == 16:
        rows = rows[::2]
    if header.colour == _PALETTE:
        red, green, blue = (header.palette[channel::3] for channel in range(3))
        return rows.translate(red), rows.translate(green), rows.translate(blue)
    if header.channels >= 3:
        step = header.channels
        return rows[0::step], rows[1::step], rows[2::step]
    gray = rows[:: header.channels]
    if header.bits < 8:
        spread = 255 // ((1 << header.bits) - 1)
        gray = gray.translate(bytes(value * spread & 255 for value in range(256)))
    return gray, gray, gray
