# SPDX-License-Identifier: Apache-2.0
"""BMP without compression: palettes of 1, 4 and 8 bits, 16, 24 and 32 bits, and bit masks."""

from __future__ import annotations

import struct
from array import array

from .errors import NnError, invalid
from .pixels import Pixels, bits_table, check_size, interleaved

_FILE_HEADER = 14
_PLAIN, _MASKS, _ALPHA_MASKS = 0, 3, 6


def decode(content: bytes) -> Pixels:
    """Raises NnError for a damaged file, or one of a kind that is not read."""
    try:
        return _decode(content)
    except struct.error:
        raise invalid("its header is damaged: the file ends in it") from None


def _decode(content: bytes) -> Pixels:
    (start,) = struct.unpack_from("<I", content, 10)
    (header,) = struct.unpack_from("<I", content, _FILE_HEADER)
    compression, colours, entry = _PLAIN, 0, 4
    if header == 12:  # the oldest, from OS/2
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        entry = 3
    elif header >= 40:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
        (colours,) = struct.unpack_from("<I", content, 46)
    else:
        raise invalid(f"its header has {header} bytes, a kind that is not known")
    masked = compression in (_MASKS, _ALPHA_MASKS)
    if compression != _PLAIN and not masked:
        raise invalid("it is compressed, which is not read: save it without compression, or as PNG")
    if bits not in (1, 4, 8, 16, 24, 32) or (masked and bits not in (16, 32)):
        raise invalid(f"it has {bits} bits a pixel{' with bit masks' if masked else ''}, which is not read")
    rows = abs(height)
    check_size(width, rows)
    stride = (width * bits + 31) // 32 * 4
    if start < _FILE_HEADER + 12 or start > len(content) or stride * rows > len(content) - start:
        raise invalid("the file ends before its pixels do")

    # A positive height, the usual, counts from the bottom.
    order = range(rows - 1, -1, -1) if height > 0 else range(rows)
    used = (width * bits + 7) // 8
    data = b"".join(content[start + y * stride : start + y * stride + used] for y in order)
    after = _FILE_HEADER + header
    if bits <= 8:
        return width, rows, _with_palette(content, data, width, bits, (after, start, colours, entry))
    if bits == 24:
        return width, rows, interleaved(data[2::3], data[1::3], data[0::3])
    if masked:
        masks = struct.unpack_from("<III", content, _FILE_HEADER + 40)
    else:
        masks = (0x7C00, 0x3E0, 0x1F) if bits == 16 else (0xFF0000, 0xFF00, 0xFF)
    pixels = array("H" if bits == 16 else "I", data)
    return width, rows, interleaved(*(_masked(pixels, data, mask) for mask in masks))


def _with_palette(
    content: bytes, data: bytes, width: int, bits: int, place: tuple[int, int, int, int]
) -> bytes:
    at, start, colours, entry = place
    most = 1 << bits
    count = colours if 0 < colours <= most else most
    # A file may stop its palette early by starting the pixels; colours that it lacks are black.
    count = max(0, min(count, (start - at) // entry))
    table = content[at : at + count * entry]
    if len(table) < count * entry:
        raise invalid("the file ends in its palette")
    blue, green, red = (table[channel::entry].ljust(256, b"\0") for channel in range(3))
    if bits < 8:
        samples, size = bits_table(bits), (width * bits + 7) // 8
        data = b"".join(
            b"".join(map(samples.__getitem__, data[row : row + size]))[:width]
            for row in range(0, len(data), size)
        )
    return interleaved(data.translate(red), data.translate(green), data.translate(blue))


def _masked(pixels: array[int], data: bytes, mask: int) -> bytes:
    """One colour of each pixel, brought to 0 to 255; black where the file has no such colour."""
    if not mask:
        return bytes(len(pixels))
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    if most & (most + 1):
        raise _scattered(mask)
    if most == 255 and shift % 8 == 0 and shift < 8 * pixels.itemsize:
        return data[shift // 8 :: pixels.itemsize]
    return bytes([(pixel >> shift & most) * 255 // most for pixel in pixels])


def _scattered(mask: int) -> NnError:
    return invalid(f"the bits of its mask {mask:#x} are not side by side")
