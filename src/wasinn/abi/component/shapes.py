# SPDX-License-Identifier: Apache-2.0
"""What each function takes and returns, held against every call.

wasmtime gives a host function that is defined as ours whatever type the guest declared for it, and the
readers trust the kinds: a number would be taken for an address. The runtime writes the kinds, so they can be
believed.
"""

from __future__ import annotations

from typing import Any

from wasinn.abi.component import capi, values

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
    "load": (((_BUILDERS, _ENUM, _ENUM),), 1),
    "load-by-name": (((_TEXT,),), 1),
    "[method]graph.init-execution-context": (((_HANDLE,),), 1),
    "wasinn-load": (((_ENUM, _ENUM),), 1),
    "graph-metadata": (((_HANDLE,),), 1),
    "[method]graph-execution-context.set-input": (((_HANDLE, _TEXT, _HANDLE),), 1),
    "[method]graph-execution-context.compute": (((_HANDLE,), (_HANDLE, _PAIRS)), 1),
    "[method]graph-execution-context.get-output": (((_HANDLE, _TEXT),), 1),
}


def fits(shape: tuple[tuple[Shape, ...], int], arguments: int, count: int, results: int) -> bool:
    """Whether the values are of the kinds that the function reads, and its result has a place."""
    alternatives, made = shape
    return results == made and any(
        len(each) == count
        and all(_is(kind, arguments + at * capi.VALUE_SIZE) for at, kind in enumerate(each))
        for each in alternatives
    )


def _is(kind: Shape, address: int) -> bool:
    if values.kind_of(address) != kind[0]:
        return False
    if len(kind) == 1:
        return True
    size, first = values.items(address)
    if kind[0] == capi.TUPLE:
        return size == len(kind) - 1 and all(
            _is(part, first + at * capi.VALUE_SIZE) for at, part in enumerate(kind[1:])
        )
    # The items of a list have one type: where that is no list again, the first stands for all.
    deep = len(kind[1]) > 1 and kind[1][0] == capi.LIST
    return all(_is(kind[1], first + at * capi.VALUE_SIZE) for at in range(size if deep else min(size, 1)))
