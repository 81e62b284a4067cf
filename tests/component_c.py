# SPDX-License-Identifier: Apache-2.0
"""The driver component in C (tests/c/component_driver.c): built, instantiated, and called by tests.

Its calls take the whole way of a real guest's: compiled C, the canonical ABI, the adapter, the host, the
backend.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wasinn
from wasinn.abi.component.snapshots import type_name
from wasinn.abi.component.values import Case
from wasinn.spec import TensorType

TESTS = Path(__file__).parent
GUESTS = TESTS.parent / "guests"

TYPES = ["FP16", "FP32", "FP64", "BF16", "U8", "I32", "I64"]
CODES = (
    "invalid-argument invalid-encoding timeout runtime-error unsupported-operation too-large not-found "
    "security unknown"
)
ENCODINGS = ["openvino", "onnx", "tensorflow", "pytorch", "tensorflowlite", "ggml", "autodetect"]
#: What `set-realloc` takes, in the order of the C enum.
REALLOC = ["good", "no shrink", "misaligned", "far away", "traps"]

_HANDLE = '(param "handle" u32)'
_FAULT = "(error (tuple u32 string))"
_MADE = f"(result (result u32 {_FAULT}))"
EXPORTS = {
    "tensor-new": '(param "dims" (list u32)) (param "type" u32) (param "data" (list u8)) (result u32)',
    "tensor-raw": '(param "dims" u32) (param "rank" u32) (param "type" u32) (param "data" u32) '
    '(param "size" u32) (result u32)',
    "tensor-dims": f"{_HANDLE} (result (list u32))",
    "tensor-type": f"{_HANDLE} (result u32)",
    "tensor-data": f"{_HANDLE} (result (list u8))",
    "tensor-drop": _HANDLE,
    "load": '(param "builders" (list (list u8))) (param "encoding" u32) (param "target" u32) ' + _MADE,
    "load-padded": '(param "bytes" (list u8)) (param "size" u32) (param "encoding" u32) ' + _MADE,
    "load-by-name": f'(param "name" string) {_MADE}',
    "graph-context": f"{_HANDLE} {_MADE}",
    "graph-drop": _HANDLE,
    "compute": f'{_HANDLE} (param "inputs" (list (tuple string u32))) '
    f"(result (result (list (tuple string u32)) {_FAULT}))",
    "context-drop": _HANDLE,
    "fail": '(param "name" string) (result u32)',
    "error-code": f"{_HANDLE} (result u32)",
    "error-drop": _HANDLE,
    "round-trip": '(param "size" u32) (result u32)',
    "trap-holding": '(param "name" string)',
    "set-realloc": '(param "mode" u32)',
}


@functools.cache
def driver_wasm() -> bytes:
    """The driver, built once; skips where there is no compiler."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed")
    sys.path.insert(0, str(GUESTS))
    try:
        import build
    finally:
        sys.path.remove(str(GUESTS))
    sources = [TESTS / "c" / "component_driver.c", GUESTS / "c" / "component" / "no_wasi.c"]
    flags = [*build.REACTOR_FLAGS, "-I", str(GUESTS / "c" / "component")]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "driver.wasm"
        build.build_component(sources, flags, EXPORTS, target)
        return target.read_bytes()


@functools.cache
def _compiled() -> Any:
    """The driver as a guest of every host: all have one engine."""
    return wasinn.Host().guest(driver_wasm())


Answer = tuple[str, Any]
"""("ok", value), or (the error's code, its reason)."""


class Driver:
    """An instance of the driver. Handles are the numbers that the guest sees."""

    def __init__(self, host: wasinn.Host, **options: Any) -> None:
        self.instance = host.instantiate(_compiled(), **options)

    def close(self) -> None:
        self.instance.close()

    def call(self, name: str, *arguments: Any) -> Any:
        return self.instance.call(name, *arguments)

    def answer(self, name: str, *arguments: Any) -> Answer:
        found = self.call(name, *arguments)
        assert isinstance(found, Case)
        if found.name == "ok":
            return "ok", found.value
        code, reason = found.value
        return CODES.split()[code], reason

    @property
    def held(self) -> tuple[int, int, int, int]:
        """How many tensors, graphs, contexts and errors the host holds for this instance."""
        state = self.instance.state
        return len(state.tensors), len(state.graphs), len(state.contexts), len(state.errors)

    # -- calls --------------------------------------------------------------------------------------

    def tensor(self, dims: Sequence[int], kind: str, data: bytes) -> int:
        return int(self.call("tensor-new", list(dims), TYPES.index(kind), data))

    def tensor_of(self, array: np.ndarray[Any, Any], tensor_type: TensorType) -> int:
        return self.tensor(array.shape, type_name(tensor_type), np.ascontiguousarray(array).tobytes())

    def read(self, tensor: int) -> tuple[tuple[int, ...], str, bytes]:
        """A tensor's dims, type and bytes."""
        kind = TYPES[self.call("tensor-type", tensor)]
        return tuple(self.call("tensor-dims", tensor)), kind, self.call("tensor-data", tensor)

    def load(self, *builders: bytes, encoding: str = "onnx", target: int = 0) -> Answer:
        return self.answer("load", list(builders), ENCODINGS.index(encoding), target)

    def load_by_name(self, name: str) -> Answer:
        return self.answer("load-by-name", name)

    def open(self, name: str) -> int:
        """A context of the graph `name`, whose own handle is dropped."""
        kind, graph = self.load_by_name(name)
        assert kind == "ok", graph
        kind, context = self.answer("graph-context", graph)
        assert kind == "ok", context
        self.call("graph-drop", graph)
        return int(context)

    def compute(self, context: int, inputs: Sequence[tuple[str, int]]) -> Answer:
        return self.answer("compute", context, list(inputs))

    def drop(self, *tensors: int) -> None:
        for tensor in tensors:
            self.call("tensor-drop", tensor)
