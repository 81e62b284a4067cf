# SPDX-License-Identifier: Apache-2.0
"""What each function takes and returns, held against every call.

wasmtime gives a host function that is defined as ours whatever type the guest declared for it, and the
readers trust the kinds: a number would be taken for an address. The runtime writes the kinds, so they can be
believed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from wasinn.abi.component import capi

#: A kind, and what is in it: (LIST, the items' shape), (TUPLE, each part's).
Shape = tuple[Any, ...]

_U32, _TEXT, _ENUM, _HANDLE = ((each,) for each in (capi.U32, capi.STRING, capi.ENUM, capi.RESOURCE))
_BYTES, _NUMBERS = (capi.LIST, (capi.U8,)), (capi.LIST, _U32)
_BUILDERS = (capi.LIST, _BYTES)
_PAIRS = (capi.LIST, (capi.TUPLE, _TEXT, _HANDLE))

#: By name: the parameters (several alternatives), and the number of results.
SHAPES: dict[str, tuple[tuple[Shape, ...], int]] = {
    "[constructor]error": (((_ENUM, _TEXT),), 1),
    "[method]error.code": (((_HANDLE,),), 1),
    "[method]error.data": (((_HANDLE,),), 1),
    "[constructor]tensor": (((_NUMBERS, _ENUM, _BYTES),), 1),
    "[method]tensor.dimensions": (((_HANDLE,),), 1),
    "[method]tensor.ty": (((_HANDLE,),), 1),
    "[method]tensor.data": (((_HANDLE,),), 1),
    "wasinn-begin": (((_U32,),), 0),
    "wasinn-push": (((_TEXT, _TEXT),), 0),
    "wasinn-tensor": (((_NUMBERS, _ENUM, _TEXT, _TEXT),), 1),
    "wasinn-data": (((_HANDLE, _U32),), 1),
    "wasinn-size": (((_HANDLE,),), 1),
    "load": (((_BUILDERS, _ENUM, _ENUM),), 1),
    "load-by-name": (((_TEXT,),), 1),
    "[method]graph.init-execution-context": (((_HANDLE,),), 1),
    "wasinn-load": (((_ENUM, _ENUM),), 1),
    "graph-metadata": (((_HANDLE,),), 1),
    "start": (((_HANDLE, _TEXT, _TEXT),), 1),
    "next": (((_HANDLE,),), 1),
    "metadata": (((_HANDLE,),), 1),
    "finish": (((_HANDLE,),), 1),
    "[method]graph-execution-context.set-input": (((_HANDLE, _TEXT, _HANDLE),), 1),
    "[method]graph-execution-context.compute": (((_HANDLE,), (_HANDLE, _PAIRS)), 1),
    "[method]graph-execution-context.get-output": (((_HANDLE, _TEXT),), 1),
}


#: Whether the value at an address is of some kind.
_Check = Callable[[int], bool]
_SPACE = capi.ADDRESS_SPACE
_items_at = struct.Struct(f"<{capi.PAYLOAD}xQQ").unpack_from


def checker(name: str) -> Callable[[int, int, int], bool]:
    """A function of the arguments' address, their number and that of the results: whether the values are of
    the kinds that the function `name` reads, and its result has a place."""
    alternatives, made = SHAPES[name]
    checks = {len(each): _values(each) for each in alternatives}
    wanted, only = next(iter(checks.items()))

    def check(arguments: int, count: int, results: int) -> bool:
        return count == wanted and results == made and only(arguments)

    def check_any(arguments: int, count: int, results: int) -> bool:
        found = checks.get(count)
        return found is not None and results == made and found(arguments)

    return check if len(checks) == 1 else check_any


def _values(shapes: tuple[Shape, ...]) -> _Check:
    """For values that lie one after the other: all their kinds in one step, then what is in them."""
    kinds_at, kinds = _kinds(shapes)

    def check_kinds(address: int) -> bool:
        return kinds_at(_SPACE, address) == kinds

    inner = [
        (number * capi.VALUE_SIZE, _list(each) if each[0] == capi.LIST else _tuple(each))
        for number, each in enumerate(shapes)
        if len(each) > 1
    ]

    def check(address: int) -> bool:
        if kinds_at(_SPACE, address) != kinds:
            return False
        for offset, fits in inner:  # noqa: SIM110 - quicker than a generator
            if not fits(address + offset):
                return False
        return True

    return check if inner else check_kinds


def _kinds(shapes: tuple[Shape, ...]) -> tuple[Callable[[memoryview, int], tuple[int, ...]], tuple[int, ...]]:
    """A function that reads the kinds of so many values, and what they should be."""
    layout = struct.Struct(f"B{capi.VALUE_SIZE - 1}x" * len(shapes))
    return layout.unpack_from, tuple(each[0] for each in shapes)


def _list(shape: Shape) -> _Check:
    """The items of a list have one type: the first stands for all, but where that is a list again."""
    item = shape[1]
    if item[0] == capi.LIST:
        one = _values((item,))

        def check_every(address: int) -> bool:
            count, first = _items_at(_SPACE, address)
            return all(one(first + number * capi.VALUE_SIZE) for number in range(count))

        return check_every
    kind, fits = item[0], _tuple(item) if len(item) > 1 else None

    def check(address: int) -> bool:
        count, first = _items_at(_SPACE, address)
        return not count or (_SPACE[first] == kind and (fits is None or fits(first)))

    return check


def _tuple(shape: Shape) -> _Check:
    """A tuple has nothing in it but values whose kind is all there is to know of them."""
    assert all(len(part) == 1 for part in shape[1:])
    parts = len(shape) - 1
    kinds_at, kinds = _kinds(shape[1:])

    def check(address: int) -> bool:
        count, first = _items_at(_SPACE, address)
        return count == parts and kinds_at(_SPACE, first) == kinds

    return check
