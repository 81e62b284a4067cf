# SPDX-License-Identifier: Apache-2.0
"""A component that does what a test says: each import of `wasi:nn`, lowered and exported as it is.

A test passes addresses in the component's memory and raw handles, as a guest's compiler would, and so
may also pass those that no compiler would. Calls take the whole way: wasm, callback, host, backend.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from threading import get_ident
from typing import Any

import numpy as np
import wasmtime
from wasmtime.component import Component, Linker

from component_wat import SNAPSHOTS, TYPES, Snapshot, driver_wat
from wasinn.abi.component import hosting, rewrite
from wasinn.abi.component.resources import ComponentState
from wasinn.graphs.permissions import Permissions
from wasinn.graphs.registry import Registry
from wasinn.graphs.source import GraphSource
from wasinn.host import GuestHost, Shared

HEAP = 1024


class Engine:
    """An engine and a linker with all of `wasi:nn`: one for all drivers, as it must be."""

    def __init__(self) -> None:
        self.engine = wasmtime.Engine()
        self.linker = Linker(self.engine)
        self.keep = hosting.define(self.linker)
        self._components: dict[tuple[Snapshot, bool, bool], Component] = {}

    def component(self, snapshot: Snapshot, private: bool, rewritten: bool) -> Component:
        key = snapshot, private, rewritten
        if key not in self._components:
            binary = bytes(wasmtime.wat2wasm(driver_wat(snapshot, private)))
            if rewritten:
                binary, before = rewrite.rewrite(binary), binary
                assert binary != before
            self._components[key] = Component(self.engine, binary)
        return self._components[key]


class ComponentDriver:
    """An instance of the driver, with the marshalling that a guest's compiler would do."""

    def __init__(
        self,
        engine: Engine,
        snapshot: Snapshot = SNAPSHOTS[0],
        graphs: dict[str, bytes] | None = None,
        permissions: Permissions | None = None,
        private: bool = True,
        trace: bool = False,
        rewritten: bool = False,
    ) -> None:
        """`private`: with the functions of the bulk protocol, and introspection. `rewritten`: with the
        adapter between it and the host; not both."""
        self.snapshot = snapshot
        allowed = permissions or Permissions()
        registry = Registry({name: GraphSource.from_bytes(each) for name, each in (graphs or {}).items()})
        shared = Shared(registry=registry, permissions=allowed)
        self.state = ComponentState(GuestHost(shared), "driver", allowed, trace)
        self.store = wasmtime.Store(engine.engine)
        self.instance = engine.linker.instantiate(self.store, engine.component(snapshot, private, rewritten))
        self._functions: dict[str, Any] = {}
        self._next = HEAP

    def close(self) -> None:
        self.state.close()
        self.store.close()

    # -- memory ---------------------------------------------------------------------------------

    def put(self, data: bytes) -> int:
        """Copies `data` into the component's memory; its address."""
        address = self._next
        self._next = (address + len(data) + 15) // 8 * 8
        for start in range(0, len(data), 1 << 16):
            self.call("poke", address + start, data[start : start + (1 << 16)])
        return address

    def get(self, address: int, size: int) -> bytes:
        return bytes(self.call("peek", address, size))

    def words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.get(address, count * 4))

    def out(self) -> int:
        """A place for a result, filled with what no call writes."""
        return self.put(b"\xdd" * 16)

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls an export of the driver. Raises what the host would be given."""
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self.instance.get_func(self.store, name)
            assert function is not None, name
        before = hosting.running.get(get_ident())
        hosting.running[get_ident()] = self.state
        try:
            result = function(self.store, *arguments)
            function.post_return(self.store)
        finally:
            if before is None:
                del hosting.running[get_ident()]
            else:
                hosting.running[get_ident()] = before
        return result

    # -- results --------------------------------------------------------------------------------

    def result(self, out: int, align: int = 4) -> tuple[str, Any]:
        """("ok", payload word) or (case, reason), where an error resource is read and dropped."""
        kind = self.get(out, 1)[0]
        if not kind:
            return "ok", self.words(out + 4, 1)[0]
        if self.snapshot.enum:
            return self.snapshot.codes[self.get(out + align, 1)[0]], None
        (error,) = self.words(out + 4, 1)
        found = self.snapshot.codes[self.call("error-code", error)], self.text("error-data", error)
        self.call("drop-errors", error)
        return found

    def text(self, name: str, *arguments: int) -> str:
        return self.data(name, *arguments).decode()

    def data(self, name: str, *arguments: int) -> bytes:
        """What a function that returns a list of bytes or a string gives."""
        out = self.out()
        self.call(name, *arguments, out)
        pointer, size = self.words(out, 2)
        return self.get(pointer, size) if size else b""

    def string(self, text: str | bytes) -> tuple[int, int]:
        data = text.encode() if isinstance(text, str) else text
        return self.put(data), len(data)

    # -- calls ----------------------------------------------------------------------------------

    def tensor(self, dims: Sequence[int], data: bytes, kind: str = "FP32") -> int:
        place = self.put(struct.pack(f"<{len(dims)}I", *dims))
        return int(self.call("tensor-new", place, len(dims), TYPES.index(kind), self.put(data), len(data)))

    def tensor_of(self, array: np.ndarray[Any, Any]) -> int:
        kind = {"f": "FP", "u": "U", "i": "I"}[array.dtype.kind] + str(array.dtype.itemsize * 8)
        return self.tensor(array.shape, array.tobytes(), kind)

    def read_tensor(self, tensor: int) -> tuple[tuple[int, ...], str, bytes]:
        out = self.out()
        self.call("tensor-dimensions", tensor, out)
        pointer, rank = self.words(out, 2)
        dims = self.words(pointer, rank) if rank else ()
        return dims, TYPES[self.call("tensor-ty", tensor)], self.data("tensor-data", tensor)

    def load(self, *builders: bytes, encoding: str = "onnx", target: int = 0) -> tuple[str, Any]:
        pairs = b"".join(struct.pack("<II", self.put(each), len(each)) for each in builders)
        out = self.out()
        self.call(
            "load", self.put(pairs), len(builders), self.snapshot.encodings.index(encoding), target, out
        )
        return self.result(out)

    def load_by_name(self, name: str) -> tuple[str, Any]:
        out = self.out()
        self.call("load-by-name", *self.string(name), out)
        return self.result(out)

    def init(self, graph: int) -> tuple[str, Any]:
        out = self.out()
        self.call("init-execution-context", graph, out)
        return self.result(out)

    def context(self, name: str) -> int:
        """A context of the graph `name`, whose handle is dropped."""
        kind, graph = self.load_by_name(name)
        assert kind == "ok", graph
        kind, context = self.init(graph)
        assert kind == "ok", context
        self.call("drop-graph", graph)
        return int(context)

    def compute(self, context: int, *inputs: tuple[str, int]) -> tuple[str, Any]:
        """One compute, in the snapshot's way; of the older ones after `set-input` of each."""
        if not self.snapshot.named:
            for name, tensor in inputs:
                kind, reason = self.set_input(context, name, tensor)
                if kind != "ok":
                    return kind, reason
            return self.run(context)
        rows = b"".join(struct.pack("<III", *self.string(name), tensor) for name, tensor in inputs)
        out = self.out()
        self.call("compute", context, self.put(rows), len(inputs), out)
        kind, value = self.result(out)
        if kind != "ok":
            return kind, value
        count = self.words(out + 8, 1)[0]
        found = {}
        for number in range(count):
            pointer, size, tensor = self.words(value + 12 * number, 3)
            found[self.get(pointer, size).decode()] = tensor
        return "ok", found

    def run(self, context: int) -> tuple[str, Any]:
        out = self.out()
        self.call("compute", context, out)
        return self.result(out, 1)

    def set_input(self, context: int, name: str, tensor: int) -> tuple[str, Any]:
        out = self.out()
        self.call("set-input", context, *self.string(name), tensor, out)
        return self.result(out, 1)

    def get_output(self, context: int, name: str) -> tuple[str, Any]:
        out = self.out()
        self.call("get-output", context, *self.string(name), out)
        return self.result(out)

    def infer(self, context: int, inputs: dict[str, Any], output: str) -> np.ndarray[Any, Any]:
        """Computes; the output as f32. Every handle made is dropped."""
        kind, value = self.compute(context, *((name, self.tensor_of(each)) for name, each in inputs.items()))
        assert kind == "ok", value
        if self.snapshot.named:
            tensor = value[output]
            for name, each in value.items():
                if name != output:
                    self.call("drop-tensor", each)
        else:
            kind, tensor = self.get_output(context, output)
            assert kind == "ok", tensor
        dims, kind, data = self.read_tensor(tensor)
        assert kind == "FP32"
        self.call("drop-tensor", tensor)
        return np.frombuffer(data, np.float32).reshape(dims)
