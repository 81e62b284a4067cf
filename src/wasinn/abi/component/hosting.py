# SPDX-License-Identifier: Apache-2.0
"""Defines `wasi:nn` in a component linker: every snapshot, once for all instances of an engine.

The functions find the instance that calls by the thread it runs on. An exception never crosses a
callback, which would crash the process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from threading import get_ident
from typing import Any

from wasmtime.component import Linker, LinkerInstance, ResourceType

from wasinn.abi.component import (
    capi,
    graph_functions,
    inference_functions,
    streaming_functions,
    tensor_functions,
)
from wasinn.abi.component.allocator import keep_freed_memory
from wasinn.abi.component.calls import CONTEXT, ERROR, GRAPH, TENSOR, Call, Function, answer, trap
from wasinn.abi.component.resources import ComponentState
from wasinn.abi.component.shapes import checker
from wasinn.abi.component.snapshots import INTROSPECTION, SNAPSHOTS, STREAMING

__all__ = ["define", "explain_trap", "find_running", "running"]

Find = Callable[[], ComponentState]

#: The instance that each thread is running: thread identifier -> state.
running: dict[int, ComponentState] = {}


def find_running() -> ComponentState:
    """The state of the instance that this thread runs. Whoever calls into one sets it in `running`."""
    return running[get_ident()]


#: Each interface: its resource, the type's number and what a drop does, and its functions.
_INTERFACES = (
    ("errors", "error", ERROR, ComponentState.drop_error, tensor_functions.ERRORS),
    ("tensor", "tensor", TENSOR, ComponentState.drop_tensor, tensor_functions.TENSORS),
    ("graph", "graph", GRAPH, ComponentState.drop_graph, graph_functions.GRAPHS),
    (
        "inference",
        "graph-execution-context",
        CONTEXT,
        ComponentState.drop_context,
        inference_functions.INFERENCE,
    ),
)


#: The host's own interfaces, which have no resource of their own.
_OWN: tuple[tuple[str, tuple[Function, ...]], ...] = (
    (INTROSPECTION, graph_functions.INTROSPECTION),
    (STREAMING, streaming_functions.STREAMING),
)


def define(linker: Linker, find: Find = find_running) -> list[object]:
    """Defines every snapshot, and the host's own interfaces, in `linker`.

    `find` gives the state of the instance that calls. What is returned must live as long as the linker
    and everything instantiated by it. Raises wasmtime.WasmtimeError if the linker has one of them.
    """
    keep_freed_memory()
    keep: list[object] = []
    with linker.root() as root:
        for name, resource, number, drop, table in _INTERFACES:
            kind = ResourceType.host(number)
            destructor = _make_destructor(drop, find)
            callbacks = [(function.name, _make_callback(function, find)) for function in table]
            keep += [kind, destructor, *(callback for _, callback in callbacks)]
            for snapshot in SNAPSHOTS:
                with root.add_instance(f"wasi:nn/{name}{snapshot}") as instance:
                    capi.define_resource(instance, resource, kind, destructor)
                    _define(instance, callbacks)
        for interface, functions in _OWN:
            callbacks = [(each.name, _make_callback(each, find)) for each in functions]
            keep += [callback for _, callback in callbacks]
            with root.add_instance(interface) as instance:
                _define(instance, callbacks)
    return keep


def _define(instance: LinkerInstance, callbacks: list[tuple[str, Any]]) -> None:
    for name, callback in callbacks:
        capi.define_function(instance, name, callback)


def _make_callback(function: Function, find: Find) -> Any:
    fits = checker(function.name)

    def callback(
        _env: int, context: int, kind: int, arguments: int, count: int, result: int, results: int
    ) -> int:
        try:
            if not fits(arguments, count, results):
                return trap(f"{function.name} was imported with another type than wasi:nn gives it")
            return answer(function, Call(find(), context, kind, arguments, count, result))
        except BaseException as error:
            return _escape(error, find)

    return capi.CALLBACK(callback)


def _make_destructor(drop: Callable[[ComponentState, int], None], find: Find) -> Any:
    def destructor(_env: int, _context: int, rep: int) -> int:
        try:
            drop(find(), rep)
            return 0
        except BaseException as error:
            return _escape(error, find)

    return capi.DESTRUCTOR(destructor)


def _escape(error: BaseException, find: Find) -> int:
    """Keeps an exception for whoever runs the instance; a trap ends the guest."""
    with contextlib.suppress(BaseException):  # where there is no instance, the trap alone says it
        find().exception = error
    try:
        return trap(f"wasinn: {type(error).__name__} in the host")
    except BaseException:
        return trap("wasinn: an error in the host")


#: What wasmtime says, and what it means here.
_EXPLANATIONS = (
    (
        "fuel allocated for hostcalls has been exhausted",
        "the runtime copies a list of some 2.79 million elements, or a string of 128 MiB. The bytes of "
        "tensors and models are such lists where the component is run without the adapter, and the host's "
        "log says why it is. Then load a large model by name (load-by-name, and --graph NAME=FILE for the "
        "host), and keep each tensor below 2.79 MB",
    ),
    (
        "type mismatch: expected u32, found resource",
        "the component was built for the wasi:nn of before November 2023, whose handles are numbers; build "
        "it with a newer WIT, such as 0.2.0-rc-2024-10-28",
    ),
    ("unknown handle index", "a handle was used after it was dropped, or given away by a call"),
    # Functions of the shims, in the backtrace.
    ("list-content-out-of-bounds", "list content out-of-bounds: a list does not lie in the guest's memory"),
    ("pointer-not-aligned", "a pointer to a list of numbers is no multiple of four"),
    ("realloc-out-of-bounds", "the guest's realloc gave a place that does not lie in its memory"),
    ("adapter_out_of_memory", "the memory limit leaves no room for wasinn's copy of a list"),
)


def explain_trap(message: str) -> str | None:
    """What the author of a guest can do about a trap with this message; None where it speaks for itself."""
    for text, explanation in _EXPLANATIONS:
        if text in message:
            return explanation
    return None
