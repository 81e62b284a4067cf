# SPDX-License-Identifier: Apache-2.0
"""The PNM family: P1 to P3 are text, P4 to P6 the same in binary; bitmap, gray and colour."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable

from .errors import invalid
from .pixels import Pixels, bits_table, check_size, interleaved

_SPACE = rb"(?:[ \t-\r]|#[^\n]*(?:\n|$))*"
_NUMBER = re.compile(_SPACE + rb"([0-9]{1,9})")
_COMMENT = re.compile(rb"#[^\n]*")


def decode(content: bytes) -> Pixels:
    """Raises NnError for a damaged file."""
    kind = content[1] - 48
    binary, bitmap, colour = kind >= 4, kind % 3 == 1, kind % 3 == 0
    numbers: list[int] = []
    at = 2
    for _ in range(2 if bitmap else 3):
        found = _NUMBER.match(content, at)
        if found is None:
            raise invalid("its header is damaged")
        numbers.append(int(found[1]))
        at = found.end()
    width, height = numbers[:2]
    most = 1 if bitmap else numbers[2]
    if not 1 <= most <= 65535 or not content[at : at + 1].isspace():
        raise invalid("its header is damaged")
    check_size(width, height)
    at += 1  # one space exactly: the next byte may be a pixel that looks like one
    count = width * height * (3 if colour else 1)
    if count // (8 if binary and bitmap else 1) > len(content):
        raise invalid("the file ends before its pixels do")
    if bitmap:
        samples = _bits(content, at, width, height) if binary else _text_bits(content, at, count)
    elif binary:
        samples = _binary(content, at, count, most, _levels(most, colour))
    else:
        samples = _text(content, at, count, most, _levels(most, colour))
    if not colour:
        return width, height, interleaved(samples, samples, samples)
    return width, height, samples


def _levels(most: int, colour: bool) -> Callable[[int], int]:
    """From 0..most to 0..255 as the host does it: gray of 16 bits keeps the upper byte."""
    if most > 255 and not colour:
        return lambda value: round(min(value, most) / most * 65535) >> 8
    return lambda value: round(min(value, most) / most * 255)


def _binary(content: bytes, at: int, count: int, most: int, level: Callable[[int], int]) -> bytes:
    data = content[at : at + count * (2 if most > 255 else 1)]
    if len(data) < count * (2 if most > 255 else 1):
        raise invalid("the file ends before its pixels do")
    if most == 255:
        return data
    if most < 255:
        return data.translate(bytes(map(level, range(256))))
    levels = array("H", data)
    levels.byteswap()
    return bytes(map(level, levels))


def _bits(content: bytes, at: int, width: int, height: int) -> bytes:
    """Eight pixels in a byte, rows padded to whole bytes, 1 is black."""
    size = (width + 7) // 8
    if len(content) - at < size * height:
        raise invalid("the file ends before its pixels do")
    table = [bytes(0 if bit else 255 for bit in bits) for bits in bits_table(1)]
    return b"".join(
        b"".join(map(table.__getitem__, content[row : row + size]))[:width]
        for row in range(at, at + size * height, size)
    )


def _text_bits(content: bytes, at: int, count: int) -> bytes:
    """Bits need no space between them."""
    bits = b"".join(_COMMENT.sub(b"", content[at:]).split())[:count]
    if len(bits) < count or bits.strip(b"01"):
        raise invalid("its pixels are damaged, or the file ends before they do")
    return bits.translate(bytes(0 if value == 49 else 255 for value in range(256)))


def _text(content: bytes, at: int, count: int, most: int, level: Callable[[int], int]) -> bytes:
    words = _COMMENT.sub(b"", content[at:]).split(None, count)[:count]
    if len(words) < count or not all(word.isdigit() and len(word) <= 9 for word in words):
        raise invalid("its pixels are damaged, or the file ends before they do")
    values = list(map(int, words))
    if max(values) > most:
        raise invalid(f"a pixel is {max(values)}, and its header says at most {most}")
    return bytes(map(level, values))
