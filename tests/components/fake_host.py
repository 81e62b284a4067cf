# SPDX-License-Identifier: Apache-2.0
"""A host of the private functions for the rewriter's tests: it keeps what it is given, and gives it back."""

from __future__ import annotations

from typing import Any

import numpy as np
import wasmtime
from wasmtime.component import Component, Instance, Linker, ResourceHost, ResourceType

from wasinn.abi.component import bulk

TENSOR, GRAPH, ERROR = ResourceType.host(1), ResourceType.host(2), ResourceType.host(3)


class FakeHost:
    """Written for the public API of wasmtime: a guest of one snapshot, and one instance."""

    def __init__(self, version: str, *, enum_error: bool = False) -> None:
        self.version = version
        self.enum_error = enum_error
        self.tensors: dict[int, tuple[list[int], str, np.ndarray[Any, Any]]] = {}
        self.loaded: list[list[bytes]] = []
        #: How many times each private function was called.
        self.calls: list[str] = []
        self.dropped: list[int] = []
        #: What load answers: a graph unless an error is wanted.
        self.fail = False
        #: The call before which to trap.
        self.trap_at = ""
        self._buffers: list[tuple[np.ndarray[Any, Any], int]] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.trap_at:
            raise RuntimeError("the host traps, as the test wants")

    def begin(self, store: Any, size: int) -> None:
        self._call("begin")
        assert all(filled == data.size for data, filled in self._buffers)
        self._buffers.append((np.empty(size, np.uint8), 0))

    def push(self, store: Any, low: str, high: str) -> None:
        self._call("push")
        data, filled = self._buffers.pop()
        assert 0 < len(low) <= bulk.PIECE
        bulk.decode_into(_bytes(low), _bytes(high), data[filled : filled + len(low)])
        self._buffers.append((data, filled + len(low)))

    def tensor(self, store: Any, dims: list[int], kind: str, low: str, high: str) -> ResourceHost:
        self._call("tensor")
        if self._buffers:
            self.push(store, low, high)
            ((data, filled),) = self._buffers
            assert filled == data.size
            self._buffers.clear()
        else:
            data = np.empty(len(low), np.uint8)
            bulk.decode_into(_bytes(low), _bytes(high), data)
        number = len(self.tensors) + 1
        self.tensors[number] = dims, kind, data
        return ResourceHost.own(number, 1)

    def data(self, store: Any, tensor: Any, start: int) -> str:
        self._call("data")
        number = tensor.to_host(store).rep
        return bulk.encode(self.tensors[number][2][start : start + bulk.PIECE]).decode()

    def size(self, store: Any, tensor: Any) -> int:
        self._call("size")
        return int(self.tensors[tensor.to_host(store).rep][2].size)

    def load(self, store: Any, encoding: str, target: str) -> Any:
        self._call("load")
        assert (encoding, target) == ("onnx", "tpu")
        assert all(filled == data.size for data, filled in self._buffers)
        self.loaded.append([data.tobytes() for data, _ in self._buffers])
        self._buffers.clear()
        if not self.fail:
            graph = ResourceHost.own(1, 2)
            return graph if self.enum_error else wasmtime.component.Variant("ok", graph)
        return "b" if self.enum_error else wasmtime.component.Variant("err", ResourceHost.own(1, 3))

    def dimensions(self, store: Any, tensor: Any) -> list[int]:
        return self.tensors[tensor.to_host(store).rep][0]

    def define(self, linker: Linker) -> None:
        with linker.root() as root:
            with root.add_instance(f"wasi:nn/errors{self.version}") as errors:
                if not self.enum_error:
                    errors.add_resource("error", ERROR, lambda store, rep: None)
                    errors.add_func("[method]error.data", lambda store, error: "reason")
            with root.add_instance(f"wasi:nn/tensor{self.version}") as tensor:
                tensor.add_resource("tensor", TENSOR, lambda store, rep: self.dropped.append(rep))
                for name in ("begin", "push", "tensor", "data", "size"):
                    tensor.add_func(f"wasinn-{name}", getattr(self, name))
                tensor.add_func("[method]tensor.dimensions", self.dimensions)
                for name in ("[constructor]tensor", "[method]tensor.data"):
                    tensor.add_func(name, _never)
            with root.add_instance(f"wasi:nn/graph{self.version}") as graph:
                graph.add_resource("graph", GRAPH, lambda store, rep: None)
                if not self.enum_error:
                    graph.add_resource("error", ERROR, lambda store, rep: None)
                for name in ("begin", "push", "load"):
                    graph.add_func(f"wasinn-{name}", getattr(self, name))
                graph.add_func("load", _never)
                graph.add_func("load-by-name", _never)


def _never(store: Any, *arguments: Any) -> None:
    raise AssertionError("a function with list<u8> was called")


def _bytes(text: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(text.encode(), np.uint8)


class Running:
    """A guest of `wat_guest` that is instantiated."""

    def __init__(
        self, engine: wasmtime.Engine, component: bytes, host: FakeHost, memory_limit: int | None = None
    ) -> None:
        self.store = wasmtime.Store(engine)
        if memory_limit is not None:
            self.store.set_limits(memory_size=memory_limit)
        linker = Linker(engine)
        host.define(linker)
        self.instance: Instance = linker.instantiate(self.store, Component(engine, component))

    def call(self, name: str, *arguments: Any) -> Any:
        function = self.instance.get_func(self.store, name)
        assert function is not None
        result = function(self.store, *arguments)
        function.post_return(self.store)
        return result
