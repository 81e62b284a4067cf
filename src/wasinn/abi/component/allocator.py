# SPDX-License-Identifier: Apache-2.0
"""Keeps freed memory in the process, which bulk data through a component needs three times a call.

A tensor on its way to the host is in strings of the runtime's and in an array of ours, all freed at
once. glibc gives such memory back to the system, by default from 128 KiB on, and each new piece then
costs a page fault for every 4 KiB: measured 1.6 ms instead of 0.65 for a tensor of 602,112 bytes.

**It is a setting of the whole process**, and so of an embedder's too. It is made when the first component
is linked, not before: who runs core modules alone never has it. What it does is what glibc comes to by
itself once a piece of 32 MiB was freed: pieces below 32 MiB come from malloc's heaps, and each heap (of
the main thread, of some threads) keeps up to 64 MiB that are free at its end. glibc no longer adapts
either number then. Nothing is kept that is in use, and nothing grows with the number of calls.

It is not made where the operator says so (WASINN_KEEP_FREED_MEMORY=0) or has chosen otherwise
(`MALLOC_...` or `GLIBC_TUNABLES` in the environment), and where the C library is another.
"""

from __future__ import annotations

import ctypes
import functools
import os

# From malloc.h: pieces of at least so many bytes are mapped by themselves; so much at the heap's end stays.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MAPPED_FROM = 32 << 20
_KEPT = 64 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Does so, once; whether it did."""
    if os.environ.get("WASINN_KEEP_FREED_MEMORY") == "0":
        return False
    chosen = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_"
    if any(name in os.environ for name in chosen):
        return False
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        library = ctypes.CDLL(None)
        set_option = library.mallopt
        library.gnu_get_libc_version  # noqa: B018 - another library's mallopt may mean something else
    except (OSError, TypeError, AttributeError):
        return False
    set_option.restype, set_option.argtypes = ctypes.c_int, (ctypes.c_int, ctypes.c_int)
    mapped = set_option(_M_MMAP_THRESHOLD, _MAPPED_FROM)
    return bool(mapped and set_option(_M_TRIM_THRESHOLD, _KEPT))
