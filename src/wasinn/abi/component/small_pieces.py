# SPDX-License-Identifier: Apache-2.0
"""The text coding of `bulk.py` for small pieces: the same text, made of whole numbers.

Each step of NumPy's costs a microsecond, whatever the size. A piece of a hundred bytes as one integer takes
a tenth of one.
"""

from __future__ import annotations

import functools

from wasinn.abi.component.bulk import PLANES, high_size
from wasinn.abi.component.values import FEW_BYTES

#: The most bytes of a small piece: the steps take time by the square of the size.
MOST = FEW_BYTES


def encode(data: bytes | memoryview) -> bytes:
    """The piece `data`, at most MOST bytes, as one string of ASCII.

    With one bit in each byte, the number is the sum of plane k times B ** k, B being 256 ** q. Modulo B - 2,
    where B is 2, each plane is shifted by its k bits.
    """
    if not data:
        return b""
    ones, modulus, low, shift, size = _for_encoding(len(data))
    number = int.from_bytes(data, "little")
    return ((number & low) | (((number >> 7) & ones) % modulus << shift)).to_bytes(size, "little")


def decode(low: bytes, high: bytes) -> bytes:
    """The bytes of a piece, at most MOST; `high` has the size that belongs to that of `low`.

    A product with one bit for each plane brings bit k of each character to the top of the byte that it is
    of; what else is in the product lies in the seven bits below.
    """
    size = len(low)
    characters, spread, tops = _for_decoding(size)
    found = (int.from_bytes(high, "little") & characters) * spread & tops
    return (found | int.from_bytes(low, "little")).to_bytes(size, "little")


@functools.cache
def _for_encoding(size: int) -> tuple[int, int, int, int, int]:
    """A 1 in each byte, the modulus, the low bits of each byte, the bits before `high`, the text's size."""
    rows = high_size(size)
    return _repeated(0x01, size), (1 << 8 * rows) - 2, _repeated(0x7F, size), 8 * size, size + rows


@functools.cache
def _for_decoding(size: int) -> tuple[int, int, int]:
    """The bits of `high` that count, the factor, and the highest bit of each byte."""
    rows = high_size(size)
    spread = sum(1 << 8 * plane * rows + 7 - plane for plane in range(PLANES))
    return _repeated(0x7F, rows), spread, _repeated(0x80, size)


def _repeated(byte: int, count: int) -> int:
    return int.from_bytes(bytes([byte]) * count, "little")
