# SPDX-License-Identifier: Apache-2.0
"""Pictures from files, in pure Python: PNG of every kind, BMP without compression, PBM, PGM and PPM.

Alpha and transparent colours are dropped: a transparent pixel has the colour that is stored with it. 16-bit
levels keep their upper byte.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from . import bmp, png, pnm
from .errors import ErrorCode, NnError, invalid
from .pixels import check_size


@dataclass(frozen=True)
class Image:
    """`rgb` has three bytes a pixel, row by row from the top left."""

    width: int
    height: int
    rgb: bytes

    @classmethod
    def from_rgb(cls, width: int, height: int, pixels: bytes | bytearray | memoryview) -> Image:
        """A picture of pixels that you have. Raises NnError where their number does not fit."""
        check_size(width, height)
        if len(pixels) != 3 * width * height:
            raise invalid(
                f"{width}x{height} pixels of RGB are {3 * width * height} bytes, and {len(pixels)} are given"
            )
        return cls(width, height, bytes(pixels))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Image:
        """The picture of a file. Raises NnError, with the path."""
        try:
            with open(path, "rb") as file:
                content = file.read()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise NnError(
                ErrorCode.NOT_FOUND, f"{path}: {reason} (a guest sees only what --dir gives it)"
            ) from None
        try:
            return cls.decode(content)
        except NnError as error:
            raise NnError(error.code, f"{path}: {error.reason}") from None

    @classmethod
    def decode(cls, content: bytes) -> Image:
        """The picture of a file's content. Raises NnError for what is none, or is damaged."""
        try:
            if content.startswith(b"\x89PNG"):
                return cls(*png.decode(content))
            if content.startswith(b"BM"):
                return cls(*bmp.decode(content))
            if content[:1] == b"P" and content[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6"):
                return cls(*pnm.decode(content))
        except MemoryError:
            raise NnError(
                ErrorCode.TOO_LARGE, "there is not enough memory for the picture: make it smaller"
            ) from None
        if content.startswith(b"\xff\xd8"):
            raise NnError(
                ErrorCode.UNSUPPORTED_OPERATION,
                "it is a JPEG, which is not read: convert it to PNG, BMP or PPM, or give its pixels to "
                "from_rgb",
            )
        if not content:
            raise invalid("the file is empty")
        raise invalid("the format is not known; PNG, BMP, PBM, PGM and PPM are: convert it")
