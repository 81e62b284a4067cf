# SPDX-License-Identifier: Apache-2.0
"""What the decoders of pictures have in common."""

from __future__ import annotations

from .errors import ErrorCode, NnError, invalid

#: More are refused before anything is allocated.
MOST_PIXELS = 64 << 20

#: A decoded picture: width, height, and three bytes (RGB) a pixel, row by row from the top left.
Pixels = tuple[int, int, bytes]


def check_size(width: int, height: int) -> None:
    """Raises NnError for a picture without pixels or with too many."""
    if width <= 0 or height <= 0:
        raise invalid(f"the picture has no pixels ({width}x{height})")
    if width * height > MOST_PIXELS:
        raise NnError(
            ErrorCode.TOO_LARGE,
            f"the picture is too large: {width}x{height} pixels, and at most {MOST_PIXELS} are read",
        )


def interleaved(red: bytes, green: bytes, blue: bytes) -> bytes:
    """Three planes as RGB."""
    rgb = bytearray(3 * len(red))
    rgb[0::3], rgb[1::3], rgb[2::3] = red, green, blue
    return bytes(rgb)


def bits_table(bits: int) -> list[bytes]:
    """For each byte the samples of 1, 2 or 4 bits in it, the upper ones first."""
    mask = (1 << bits) - 1
    return [bytes(value >> shift & mask for shift in range(8 - bits, -1, -bits)) for value in range(256)]
