# SPDX-License-Identifier: Apache-2.0
"""What several backends need: buffers with an address, the choice of a device, errors in one line."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from wasinn.backends.base import Model
from wasinn.errors import WasiNNError, unsupported
from wasinn.spec import ErrorCode, Target

#: Runtimes read and write at this alignment without copying to another place first.
ALIGNMENT = 64


class Buffer:
    """Uninitialised bytes: a view of `size` of them, and an address (64-byte aligned) even where that
    is 0. `array` is the same memory as u8."""

    __slots__ = ("address", "array", "view")

    def __init__(self, size: int) -> None:
        raw: Any = np.empty(max(size, 1) + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        self.address: int = raw.ctypes.data + start
        self.array: Any = raw[start : start + size]
        self.view = memoryview(self.array)  # keeps `raw` alive


def view_at(address: int, size: int, owner: Any) -> memoryview:
    """`size` bytes at `address`, as a view that keeps `owner` alive."""
    if size == 0:
        return memoryview(b"")
    pointer: Any = (ctypes.c_ubyte * size).from_address(address)
    pointer._owner = owner
    return memoryview(pointer).cast("B")


def choose_target(backend: str, devices: Mapping[Target, str], target: Target, why_not: str = "") -> Target:
    """The target that is served: `target`, or for AUTO the best one there is (tpu, gpu, cpu).

    Raises WasiNNError (unsupported_operation) with the list of what is there, and `why_not` more: never
    another one.
    """
    if target is Target.AUTO:
        for each in (Target.TPU, Target.GPU):
            if each in devices:
                return each
        return Target.CPU
    if target not in devices:
        able = ", ".join(f"{each.label} ({name})" for each, name in devices.items())
        reason = f"; {why_not}" if why_not else ""
        raise unsupported(f"{backend} here cannot serve the target {target.label}; it has: {able}{reason}")
    return target


def check_builders(model: Model, what: str, least: int = 1, most: int = 1) -> None:
    """That a model has as many builders (or files) as its encoding wants.

    Raises WasiNNError (invalid_argument): "an ONNX model is one builder (its bytes), got 2".
    """
    count = len(model.files or model.builders)
    if not least <= count <= most:
        if model.files:
            what = what.replace("builders (their bytes)", "files").replace("builder (its bytes)", "file")
        raise WasiNNError(ErrorCode.INVALID_ARGUMENT, f"{what}, got {count}")


def not_a(what: str, reason: str) -> WasiNNError:
    return WasiNNError(ErrorCode.INVALID_ENCODING, f"this is not {what}: {reason}")


def one_line(error: BaseException | str, limit: int = 400) -> str:
    """A runtime's message in one printable line; it may quote names of the model, and those may hold
    what a terminal obeys."""
    text = " ".join(str(error).split())[:limit]
    return text if text.isprintable() else text.encode("unicode_escape").decode()


#: A worker process turns it off: what its runtimes say last is the reason of its death.
hold_stderr = True


@contextlib.contextmanager
def stderr_without(unwanted: Callable[[bytes], bool]) -> Iterator[None]:
    """Keeps back what is written to stderr meanwhile, also by native code, and writes it afterwards but
    for the lines that are `unwanted`. For a moment that comes once in a process."""
    try:
        saved = os.dup(2) if hold_stderr else -1
    except OSError:  # there is no stderr
        saved = -1
    if saved < 0:
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            kept.seek(0)
            for line in kept:
                if not unwanted(line):
                    os.write(2, line)


def installed_version(module: str, *distributions: str) -> str | None:
    """The version of the first installed distribution; None where `module` is not there. Imports
    nothing."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:  # any folder of that name is a package without an origin
        return None
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return str(importlib.import_module(module).__version__)
