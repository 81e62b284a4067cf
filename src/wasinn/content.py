# SPDX-License-Identifier: Apache-2.0
"""A model's content to read from: bytes, or a file of any size of which only the needed part is read.

Files are read, not mapped: a mapped file that someone shortens meanwhile would end the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol


class Content(Protocol):
    """What can be sliced as bytes can: a slice that reaches beyond the end is cut there."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> bytes: ...


class FileContent:
    """A file as Content. Small slices come from a window, so that neighbours cost one read."""

    _WINDOW = 8192

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._start = 0
        self._window = b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self._size)
        if stop - start > self._WINDOW:
            return self._read(start, stop - start)
        first = start - self._start
        if first < 0 or stop - self._start > len(self._window):
            self._start, first = start, 0
            self._window = self._read(start, self._WINDOW)
        return self._window[first : first + max(stop - start, 0)]

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)


def number(data: Content, start: int, size: int) -> int:
    """The unsigned little-endian number in `size` bytes. Raises ValueError beyond the end."""
    found = data[start : start + size]
    if start < 0 or len(found) != size:
        raise ValueError(f"no number of {size} bytes at {start}")
    return int.from_bytes(found, "little")


@contextmanager
def opened(source: Path | bytes) -> Iterator[Content]:
    """The content of a file, or `source` itself if it is bytes. Raises OSError."""
    if not isinstance(source, Path):
        yield source
        return
    with source.open("rb", buffering=0) as file:
        yield FileContent(file)
