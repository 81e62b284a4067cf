# SPDX-License-Identifier: Apache-2.0
"""The signals by which wasmtime catches traps, kept from other libraries.

An access outside of a guest's memory is a SIGSEGV that wasmtime's handler makes a trap of; a division by zero
and `unreachable` come likewise. A library that installs handlers of its own later (Ray does, for its crash
reports, in `ray.init`) would end the process at a guest's next trap. So the handlers are looked at before
each instance is made, and put back: wasmtime's own passes on what is not a guest's to those that were there
before it.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import signal
import sys
import threading

logger = logging.getLogger("wasinn.host")

_NAMES = ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE")
#: struct sigaction, whose first field is the handler on Linux; 152 bytes with glibc.
_SIZE = 256


class TrapSignals:
    """The handlers as they were when the first engine had been made."""

    def __init__(self) -> None:
        self._kept: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self._lock = threading.Lock()
        if sys.platform != "linux":
            return
        self._sigaction = ctypes.CDLL(None).sigaction
        self._sigaction.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        for name in _NAMES:
            number = int(getattr(signal, name))
            kept = ctypes.create_string_buffer(_SIZE)
            if self._sigaction(number, None, kept) == 0:
                self._kept[number] = kept
        self._handler = self._kept[int(signal.SIGSEGV)].raw[:8]
        self._now = threading.local()

    def hold(self) -> None:
        """Puts the handlers back if another library has taken SIGSEGV. Costs a microsecond."""
        if not self._kept:
            return
        now = getattr(self._now, "buffer", None)
        if now is None:
            now = self._now.buffer = ctypes.create_string_buffer(_SIZE)
        self._sigaction(_SIGSEGV, None, now)
        if now.raw[:8] == self._handler:
            return
        with self._lock:
            logger.warning(
                "another library has taken the signals by which guests' traps are caught (SIGSEGV and "
                "others), and they are taken back: else the next trap would end the process"
            )
            for number, kept in self._kept.items():
                self._sigaction(number, kept, None)


_SIGSEGV = int(signal.SIGSEGV)


@functools.cache
def trap_signals() -> TrapSignals:
    """The process's; to be asked for first when there is an engine, which installs the handlers."""
    return TrapSignals()
