# SPDX-License-Identifier: Apache-2.0
"""A guest's linear memory: every pointer and length of a guest goes through here.

`memory.grow` changes the size, and where the engine is not ours it may move the base: then both are
asked for on every call. Nothing is read or written before its whole range has been held against the size.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any

from wasinn.abi.core import capi
from wasinn.errors import WasiNNError, invalid_argument
from wasinn.spec import ErrorCode
from wasinn.tensors import MAX_RANK

U32 = struct.Struct("<I")
TENSOR = struct.Struct("<IIIII")
PAIR = struct.Struct("<II")
TRIPLE = struct.Struct("<III")


#: Bytes of a name or a config.
MAX_TEXT = 1 << 20


class GuestMemory:
    """The memory that a guest exports, in one store."""

    __slots__ = ("_context", "_handle", "_reference", "base", "fixed", "size")

    def __init__(self, context: int, handle: Any, fixed: bool = False) -> None:
        """`context`: the wasmtime_context_t*; `handle`: a ctypes buffer with a wasmtime_memory_t.

        `fixed` says that the engine reserves 4 GiB for each memory, so that growing never moves it;
        then only the size is asked for, and only when what is known of it is not enough.
        """
        self._context = context
        self.fixed = fixed
        self._handle = handle
        self._reference = ctypes.addressof(handle)
        self.base = 0
        self.size = 0
        self.refresh()

    @classmethod
    def of_caller(cls, caller: int) -> GuestMemory:
        """The memory of the module that made the call. Raises WasiNNError (missing_memory)."""
        slots = capi.Slots()
        if not capi.caller_export_get(caller, b"memory", 6, slots.extern):
            raise WasiNNError(
                ErrorCode.MISSING_MEMORY, "the guest exports no memory called 'memory', so no call can work"
            )
        if slots.extern_kind() != capi.EXTERN_MEMORY:
            raise WasiNNError(ErrorCode.MISSING_MEMORY, "the guest's export 'memory' is not a plain memory")
        return cls(capi.caller_context(caller), slots.payload(capi.MEMORY_SIZE))

    @property
    def handle(self) -> Any:
        return self._handle

    def refresh(self) -> None:
        """Asks the runtime where the memory is now, and how large."""
        self.base = capi.memory_data(self._context, self._reference) or 0
        self.size = capi.memory_data_size(self._context, self._reference)

    def view(self, pointer: int, length: int, what: str) -> memoryview:
        """A view of guest memory, good until the guest runs again. Raises WasiNNError."""
        self._check(pointer, length, what)
        start = self.base + pointer
        return capi.ADDRESS_SPACE[start : start + length]

    def unpack(self, layout: struct.Struct, pointer: int, what: str) -> tuple[Any, ...]:
        """The fields of a struct in guest memory. Raises WasiNNError (invalid_argument)."""
        self._check(pointer, layout.size, what)
        return layout.unpack_from(capi.ADDRESS_SPACE, self.base + pointer)

    def write_u32(self, pointer: int, value: int) -> None:
        """Writes a u32 at a pointer that `check` has passed."""
        U32.pack_into(capi.ADDRESS_SPACE, self.base + pointer, value)

    def check_u32(self, pointer: int, what: str) -> None:
        """That a u32 can be written at `pointer`, before anything is done that it reports."""
        self._check(pointer, 4, what)

    def text(self, pointer: int, length: int, what: str) -> str:
        """UTF-8 text. Raises WasiNNError: too_large before it is read, invalid_argument."""
        data = self.view(pointer, length, what)
        if length > MAX_TEXT:
            raise WasiNNError(ErrorCode.TOO_LARGE, f"{what} has {length} bytes; at most {MAX_TEXT} are read")
        try:
            return bytes(data).decode()
        except UnicodeDecodeError as error:
            raise invalid_argument(f"{what} is not UTF-8: {error}") from None

    def dims(self, pointer: int, rank: int) -> tuple[int, ...]:
        """A tensor's dims. Raises WasiNNError (invalid_argument)."""
        if rank > MAX_RANK:
            raise invalid_argument(f"a tensor of {rank} dims; at most {MAX_RANK} are taken")
        if rank == 0:
            return ()
        self._check(pointer, rank * 4, "the list of dims")
        return struct.unpack_from(f"<{rank}I", capi.ADDRESS_SPACE, self.base + pointer)

    def _check(self, pointer: int, length: int, what: str) -> None:
        if pointer + length > self.size:
            if self.fixed:
                self.refresh()
                if pointer + length <= self.size:
                    return
            raise invalid_argument(
                f"{what} at 0x{pointer:x} with {length} bytes lies outside the guest's memory "
                f"of {self.size} bytes"
            )
