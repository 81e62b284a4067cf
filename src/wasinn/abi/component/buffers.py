# SPDX-License-Identifier: Apache-2.0
"""The host's side of the bulk protocol (`bulk.py`): byte buffers that an adapter fills piece by piece.

A buffer is a bytes object, which is what the runtimes load a model from: it needs no copy. Python's C API
lets whoever makes one fill it before anyone else sees it.
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from wasinn.abi.component import bulk, capi

Bytes = NDArray[np.uint8]

#: (None, size) -> bytes that are not filled yet; and where the bytes of an object lie.
_new_bytes = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)
_address_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(("PyBytes_AsString", ctypes.pythonapi))

#: More buffers than any encoding has builders; further ones are counted, and not kept.
_MAX_KEPT = 64


class ProtocolError(Exception):
    """The private functions were called otherwise than `bulk.py` says: no adapter of ours does that."""


class Buffers:
    """The buffers of one interface of one instance.

    `limit`: the bytes that they may hold together. What is beyond it is counted, and not kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: The buffers, if none of them is too much, and the memory of the last one of them.
        self._kept: list[bytes] = []
        self._last: Bytes | None = None
        self._filled = 0
        self._size = 0
        #: How many there are, and how many bytes they have or would have, and have.
        self.count = 0
        self.total = 0
        self.held = 0

    def begin(self, size: int, limit: int | None = None) -> None:
        """Appends a buffer of `size` bytes. `limit` lowers that of the whole for this buffer. Raises
        ProtocolError if the one before it is not full."""
        self.check_full()
        self.count += 1
        self.total += size
        most = self._limit if limit is None else min(limit, self._limit)
        self._size, self._filled = size, 0
        if self.count > _MAX_KEPT or self.total > most:
            # What these are for is refused anyway: what came before is of no more use.
            self._kept.clear()
            self._last, self.held = None, 0
        else:
            made, self._last = new_buffer(size)
            self._kept.append(made)
            self.held += size

    def push(self, low: Bytes, high: Bytes) -> None:
        """Decodes a piece into the last buffer. Raises ProtocolError."""
        size = len(low)
        if len(high) != bulk.high_size(size):
            raise ProtocolError(f"a piece of {size} bytes with {len(high)} characters of high bits")
        if not self.count:
            raise ProtocolError("a piece without a buffer")
        start, end = self._filled, self._filled + size
        if end > self._size:
            raise ProtocolError(f"{end} bytes for a buffer of {self._size}")
        if self._last is not None:
            bulk.decode_into(low, high, self._last[start:end])
        self._filled = end

    def check_full(self) -> None:
        """Raises ProtocolError if bytes of the last buffer are missing."""
        if self.count and self._filled != self._size:
            raise ProtocolError(f"{self._filled} bytes came for a buffer of {self._size}")

    def take(self) -> list[bytes] | None:
        """The buffers, which are no longer here; None if they were too many or too large to keep.
        Raises ProtocolError."""
        self.check_full()
        kept = self._kept if len(self._kept) == self.count else None
        self.clear()
        return kept

    def clear(self) -> None:
        self._kept = []
        self._last = None
        self._filled = self._size = self.count = self.total = self.held = 0


def new_buffer(size: int) -> tuple[bytes, Bytes]:
    """Bytes that are yet to be filled, all of them, and their memory, good as long as the bytes are kept."""
    if not size:
        return b"", np.empty(0, np.uint8)  # Python has only one of that size
    made = _new_bytes(None, size)
    start = _address_of(made)
    return made, np.frombuffer(capi.ADDRESS_SPACE[start : start + size], np.uint8)
