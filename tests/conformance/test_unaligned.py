# SPDX-License-Identifier: Apache-2.0
"""A guest's data, dims, structs and buffers may lie at any address."""

from __future__ import annotations

import struct

from calls import BOTH
from conformance.cases import Case, on
from conformance.guests import Guest, expected_bytes, opened
from conformance.recipes import RECIPES, Array, code_of, type_of
from conftest import MakeDriver
from driver import Driver

BORDER = b"\xa5" * 16


def put(driver: Driver, data: bytes, shift: int) -> int:
    """Puts `data` at an address that is `shift` past a multiple of 64."""
    driver._next = (driver._next + 63) // 64 * 64 + shift
    return driver.put(data)


def give(guest: Guest, index: int, array: Array, shift: int) -> None:
    driver, data = guest.driver, array.tobytes()
    dims = put(driver, struct.pack(f"<{array.ndim}I", *array.shape), shift)
    values = put(driver, data, shift)
    code = code_of(type_of(array, guest.recipe))
    tensor = put(driver, struct.pack("<IIIII", dims, array.ndim, code, values, len(data)), shift)
    assert driver.call("set_input", guest.context, index, tensor) == 0


def read(guest: Guest, index: int, size: int, shift: int) -> bytes:
    """An output into a buffer of exactly its size; nothing beside it is written."""
    driver = guest.driver
    border = put(driver, BORDER + bytes(size) + BORDER, shift)
    written = put(driver, b"\xff" * 4, shift)
    buffer = border + len(BORDER)
    assert driver.call("get_output", guest.context, index, buffer, size, written) == 0
    assert driver.u32(written) == size
    found = driver.get(border, size + 2 * len(BORDER))
    assert found[: len(BORDER)] == found[len(found) - len(BORDER) :] == BORDER
    return found[len(BORDER) : -len(BORDER)]


@BOTH
@on("add", "mixed", "halves", "long", "double")
def test_tensors_may_lie_anywhere(drive: MakeDriver, case: Case, recipe: str, hot: bool) -> None:
    guest = opened(drive, case, recipe, hot)
    for seed, shift in enumerate([1, 2, 3, 7, 13, 1]):
        inputs = RECIPES[recipe].inputs(seed)
        for index, array in enumerate(inputs):
            give(guest, index, array, shift)
        assert guest.compute() == 0
        wanted = expected_bytes(case, recipe, inputs)
        assert [read(guest, index, len(data), shift) for index, data in enumerate(wanted)] == wanted


@BOTH
@on("add")
def test_tensors_may_lie_at_the_very_end_of_the_memory(drive: MakeDriver, case: Case, hot: bool) -> None:
    guest = opened(drive, case, "add", hot)
    driver, end = guest.driver, len(guest.driver.instance.memory)
    inputs = RECIPES["add"].inputs(1)
    for index, array in enumerate(inputs):
        driver._next = end - 16
        driver.instance.memory[end - 16 : end] = array.tobytes()
        driver._next = 1024
        dims = driver.put(struct.pack("<2I", 1, 4))
        tensor = driver.put(struct.pack("<IIIII", dims, 2, 1, end - 16, 16))
        assert driver.call("set_input", guest.context, index, tensor) == 0
    assert guest.compute() == 0
    written = driver.out()
    assert driver.call("get_output", guest.context, 0, end - 16, 16, written) == 0
    assert driver.get(end - 16, 16) == expected_bytes(case, "add", inputs)[0]
