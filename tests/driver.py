# SPDX-License-Identifier: Apache-2.0
"""A guest that does what a test says: every function of a dialect, re-exported beside a memory.

Calls made through it take the whole way of a real guest's: wasm, trampoline, dialect, host, backend.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

import wasinn
from wasinn.runtime.engine import FUNCTIONS

#: Where tests put what they pass; below it lies nothing.
HEAP = 1024
PAGES = 64


def driver_wat(module: str = "wasi_ephemeral_nn", pages: int = PAGES) -> bytes:
    """The driver's text for one import module (and `wasinn`, for graph_metadata)."""
    imports, exports = [], []
    for function in FUNCTIONS:
        if function.module not in (module, "wasinn"):
            continue
        kinds = " i32" * function.arity
        imports.append(
            f'(import "{function.module}" "{function.name}" '
            f"(func ${function.name} (param{kinds}) (result i32)))"
        )
        exports.append(
            f'(func (export "{function.name}") (param{kinds}) (result i32) (call ${function.name} '
            + " ".join(f"(local.get {number})" for number in range(function.arity))
            + "))"
        )
    text = "\n".join([*imports, f'(memory (export "memory") {pages})', *exports])
    return f"(module {text})".encode()


class Driver:
    """An instance of the driver, with the marshalling that a guest's compiler would do."""

    def __init__(
        self, host: wasinn.Host, module: str = "wasi_ephemeral_nn", hot: bool = False, **options: Any
    ) -> None:
        self.instance = host.instantiate(driver_wat(module), long_lived=hot, **options)
        self._next = HEAP

    def close(self) -> None:
        self.instance.close()

    # -- memory ---------------------------------------------------------------------------------

    def put(self, data: bytes) -> int:
        """Copies `data` into the guest's memory; its address."""
        address = self._next
        self._next = (address + len(data) + 15) // 8 * 8
        self.instance.memory[address : address + len(data)] = data
        return address

    def get(self, address: int, size: int) -> bytes:
        return bytes(self.instance.memory[address : address + size])

    def u32(self, address: int) -> int:
        return int(struct.unpack("<I", self.get(address, 4))[0])

    def out(self) -> int:
        """A place for an out parameter, filled with a value that no call writes."""
        return self.put(struct.pack("<I", 0xDEADBEEF))

    # -- calls, as (errno, value) -----------------------------------------------------------------

    def call(self, name: str, *arguments: int) -> int:
        return int(self.instance.call(name, *arguments))

    def load(self, *builders: bytes, encoding: int = 1, target: int = 0) -> tuple[int, int]:
        pairs = b"".join(struct.pack("<II", self.put(each), len(each)) for each in builders)
        out = self.out()
        return self.call("load", self.put(pairs), len(builders), encoding, target, out), self.u32(out)

    def load_by_name(self, name: str) -> tuple[int, int]:
        out, text = self.out(), name.encode()
        return self.call("load_by_name", self.put(text), len(text), out), self.u32(out)

    def context(self, graph: int) -> tuple[int, int]:
        out = self.out()
        return self.call("init_execution_context", graph, out), self.u32(out)

    def open(self, name: str) -> int:
        """A context of the registry's graph `name`; asserts that it works."""
        code, graph = self.load_by_name(name)
        assert code == 0
        code, context = self.context(graph)
        assert code == 0
        return context

    def tensor(self, dims: Sequence[int], code: int, data: bytes) -> int:
        """A tensor in the guest's memory, with garbage in the padding of its type; its address."""
        dims_address = self.put(struct.pack(f"<{len(dims)}I", *dims))
        word = code | 0xABCDEF00
        return self.put(struct.pack("<IIIII", dims_address, len(dims), word, self.put(data), len(data)))

    def set_input(self, context: int, index: int, dims: Sequence[int], code: int, data: bytes) -> int:
        return self.call("set_input", context, index, self.tensor(dims, code, data))

    def set_f32(self, context: int, index: int, array: Any) -> int:
        values = np.asarray(array, "<f4")
        return self.set_input(context, index, values.shape, 1, values.tobytes())

    def compute(self, context: int) -> int:
        return self.call("compute", context)

    def get_output(self, context: int, index: int, size: int = 65536) -> tuple[int, bytes, int]:
        """(errno, the bytes written, what `written` says)."""
        buffer, written = self.put(bytes(size)), self.out()
        code = self.call("get_output", context, index, buffer, size, written)
        count = self.u32(written)
        return code, self.get(buffer, count) if code == 0 else b"", count

    def get_f32(self, context: int, index: int) -> list[float]:
        code, data, _ = self.get_output(context, index)
        assert code == 0
        return [float(value) for value in np.frombuffer(data, "<f4")]
