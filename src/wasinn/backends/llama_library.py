# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's C library, brought up once in a process, and its log.

The library has one log for all that it does. Each line comes on the thread that caused it (those of its
own compute threads are nobody's, and are dropped), so what a call says can be told from what others say:
its errors become the reason of a WasiNNError, and the rest goes to the logger `wasinn.llama` where the
options of that call ask for it.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from wasinn.backends.common import one_line

logger = logging.getLogger("wasinn.llama")

#: ggml.h, enum ggml_log_level; 5 goes on with the line before.
_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
_CONTINUES = 5

#: Errors of one call that are kept for its reason.
_MAX_ERRORS = 8


class _Said(threading.local):
    """What is done with the lines of this thread's call: the least level that is logged (none where
    None), and its errors so far."""

    def __init__(self) -> None:
        self.level: int | None = None
        self.errors: list[str] = []
        self.last = logging.INFO


_said = _Said()
_kept: list[Any] = []  # callbacks that the library holds


@functools.cache
def library() -> Any:
    """The module `llama_cpp.llama_cpp`: the functions of llama.h, with their types."""
    # Else it starts a debugger on itself before it ends the process over an assertion.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    from llama_cpp import llama_cpp

    callback = llama_cpp.llama_log_callback(_on_line)
    _kept.append(callback)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


def _on_line(level: int, text: bytes, _: Any) -> None:
    # Nothing may escape a ctypes callback, and at exit there may be no interpreter left to log with.
    if sys is None or sys.is_finalizing():
        return
    said = _said
    number = said.last if level == _CONTINUES else _LEVELS.get(level, logging.DEBUG)
    said.last = number
    line = one_line(text.decode("utf-8", "replace"))
    if not line:
        return
    if number >= logging.ERROR and len(said.errors) < _MAX_ERRORS:
        if level == _CONTINUES and said.errors:
            said.errors[-1] += f" {line}"
        else:
            said.errors.append(line)
    if said.level is not None and number >= said.level and _has_room():
        logger.log(number, "%s", line)


#: A guest may ask for the log, and open contexts as often as it likes: so many lines a minute are shown.
_MAX_LINES = 2000
_shown: collections.deque[float] = collections.deque(maxlen=_MAX_LINES)


def _has_room() -> bool:
    now = time.monotonic()
    if len(_shown) == _MAX_LINES and now - _shown[0] < 60:
        return False
    _shown.append(now)
    return True


@contextlib.contextmanager
def listening(level: int | None = None) -> Iterator[list[str]]:
    """What the library says on this thread meanwhile: its errors are in the list, and what is of `level`
    or above is logged."""
    before = (_said.level, _said.errors)
    _said.level, _said.errors = level, []
    try:
        yield _said.errors
    finally:
        _said.level, _said.errors = before


def swap_listener(listener: tuple[int | None, list[str]]) -> tuple[int | None, list[str]]:
    """`listening` by hand, for each token: sets the level and the errors' list, and gives those."""
    before = (_said.level, _said.errors)
    _said.level, _said.errors = listener
    return before


def in_words(errors: list[str], otherwise: str) -> str:
    """llama.cpp's own reason, without the names of its functions; `otherwise` where it gave none."""
    seen = dict.fromkeys(line.partition(": ")[2] if _is_function(line) else line for line in errors)
    return one_line("; ".join(each for each in seen if each) or otherwise)


def _is_function(line: str) -> bool:
    head, colon, _ = line.partition(": ")
    return bool(colon) and head.replace("_", "").isalnum() and "_" in head


@functools.cache
def ggml_commit() -> str:
    """The commit that the library was built from, as its build says ("unknown" where it could not)."""
    return _ggml_text("ggml_commit") or "unknown"


def _ggml_text(name: str) -> str:
    """What a function of ggml.h without arguments says; the Python package has no declarations of it."""
    library()
    try:
        from llama_cpp import _ggml

        function = getattr(_ggml.libggml, name)
    except (ImportError, OSError, AttributeError):
        return ""
    function.argtypes, function.restype = [], ctypes.c_char_p
    return (function() or b"").decode("utf-8", "replace")


@functools.cache
def gpus() -> tuple[str, ...]:
    """The names of the GPUs that the library can compute on; empty where its build has no support."""
    llama = library()
    if not llama.llama_supports_gpu_offload():
        return ()
    try:
        from llama_cpp import _ggml

        ggml = _ggml.libggml
        ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
        ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
        ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
        ggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
        ggml.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
        ggml.ggml_backend_dev_description.restype = ctypes.c_char_p
        devices = [ggml.ggml_backend_dev_get(index) for index in range(ggml.ggml_backend_dev_count())]
        graphic = [each for each in devices if ggml.ggml_backend_dev_type(each) in _GPU_TYPES]
        names = [(ggml.ggml_backend_dev_description(each) or b"GPU").decode() for each in graphic]
    except (ImportError, OSError, AttributeError):
        names = []
    return tuple(names) or ("GPU",)


#: ggml-backend.h, enum ggml_backend_dev_type: GPU, and GPU that shares the CPU's memory.
_GPU_TYPES = (1, 2)


def abort_when_set() -> Any:
    """A function for `llama_set_abort_callback` whose data is one byte and a 0 after it: not 0 ends the
    computation.

    The library calls it after each operation of a compute, which is no place for Python. C's strlen does
    just that: the length of a string is 0 or 1.
    """
    llama = library()
    strlen: Any = ctypes.CDLL(None).strlen
    return ctypes.cast(strlen, llama.ggml_abort_callback)
