# SPDX-License-Identifier: Apache-2.0
"""What a guest can do wrong in a call: each is an errno and one line that says why, and the host goes on.

The pointers, lengths, handles and indices of every function are found by the names of its parameters,
so that a new function is tested as soon as it is listed in `FUNCTIONS`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import models
from conftest import MakeDriver
from driver import PAGES, Driver
from wasinn.abi.core.state import Function

WITX, WAMR = "wasi_ephemeral_nn", "wasi_nn"
END = PAGES * 65536
VALUES = np.array([[1, 2, 3, 4]], "<f4")
F32 = 1

BOTH = pytest.mark.parametrize("hot", [False, True], ids=["cold", "hot"])


def identity_graphs() -> dict[str, bytes]:
    return {"id": models.identity()}


def heat(driver: Driver, context: int, inputs: int = 1) -> None:
    """Three good inferences, after which the context must have left Python."""
    for _ in range(3):
        for index in range(inputs):
            assert driver.set_f32(context, index, VALUES) == 0
        assert driver.compute(context) == 0
        assert driver.get_output(context, 0, 16)[0] == 0
    assert context in driver.instance.state.hot_path._records


def opened(drive: MakeDriver, model: bytes, hot: bool, inputs: int = 1, **options: Any) -> tuple[Driver, int]:
    """A driver with a context of `model` that has not computed; hot ones have, three times."""
    driver = drive({"model": model}, hot=hot, **options)
    context = driver.open("model")
    if hot:
        heat(driver, context, inputs)
    return driver, context


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about the guest since the last call of this."""
    lines = [record.getMessage() for record in caplog.records if record.name == "wasinn.guest"]
    caplog.clear()
    return lines


def reason(caplog: pytest.LogCaptureFixture) -> str:
    """The one line that a failure wrote."""
    lines = reasons(caplog)
    assert len(lines) == 1, lines
    return lines[0]


# -- every pointer and length of every function ---------------------------------------------------


@dataclass
class Place:
    """Where a call has a pointer or a length: an argument, or a field in the guest's memory."""

    what: str
    need: int = 0
    argument: int | None = None
    address: int = 0


class Call:
    """A call that works, and every pointer and length in it."""

    def __init__(self, driver: Driver, function: Function, graph: int, context: int) -> None:
        self.driver = driver
        self.function = function
        self.pointers: list[Place] = []
        self.lengths: list[Place] = []
        self._handles = {"graph": graph, "context": context}
        self._legacy = function.module == WAMR
        self.arguments: list[int] = []
        for position, parameter in enumerate(function.parameters):
            self.arguments.append(self._argument(position, parameter))

    def _argument(self, position: int, parameter: str) -> int:
        put, name, config, model = self.driver.put, b"id", b"{}", models.identity()
        numbers = {**self._handles, "index": 0, "encoding": 1, "target": 0}
        lengths = {"length": len(name), "config_length": len(config), "count": 1, "size": 4096}
        if parameter in numbers:
            return numbers[parameter]
        if parameter in lengths and not (parameter == "size" and self._legacy):
            self.lengths.append(Place(parameter, argument=position))
            return lengths[parameter]
        makers = {
            "out": lambda: (self.driver.out(), 4),
            "written": lambda: (self.driver.out(), 4),
            "name": lambda: (put(name), len(name)),
            "config": lambda: (put(config), len(config)),
            "buffer": lambda: (put(bytes(4096)), 4096),
            "size": self._capacity,
            "builders": lambda: self._builders(model),
            "tensor": self._tensor,
        }
        address, need = makers[parameter]()
        self.pointers.append(Place(parameter, need, argument=position))
        return address

    def _capacity(self) -> tuple[int, int]:
        address = self.driver.put(struct.pack("<I", 1024))
        self.lengths.append(Place("the number of elements", address=address))
        return address, 4

    def _builders(self, model: bytes) -> tuple[int, int]:
        builder = self.driver.put(struct.pack("<II", self.driver.put(model), len(model)))
        self.pointers.append(Place("a builder's data", len(model), address=builder))
        self.lengths.append(Place("a builder's length", address=builder + 4))
        if not self._legacy:
            return builder, 8
        array = self.driver.put(struct.pack("<II", builder, 1))
        self.pointers.append(Place("the list of builders", 8, address=array))
        self.lengths.append(Place("the number of builders", address=array + 4))
        return array, 8

    def _tensor(self) -> tuple[int, int]:
        put, data = self.driver.put, VALUES.tobytes()
        dims = put(struct.pack("<II", *VALUES.shape))
        if not self._legacy:
            tensor = put(struct.pack("<IIIII", dims, 2, F32, put(data), len(data)))
            self.lengths += [Place("the rank", address=tensor + 4), Place("data length", address=tensor + 16)]
            self.pointers += [Place("dims", 8, address=tensor), Place("data", 16, address=tensor + 12)]
            return tensor, 20
        dims_struct = put(struct.pack("<II", dims, 2))
        tensor = put(struct.pack("<III", dims_struct, 0, put(data)).replace(b"\0\0\0\0", b"\0\0\0\0", 1))
        self.driver.instance.memory[tensor + 4] = 0
        tensor_type = 0
        self.driver.instance.memory[tensor + 4 : tensor + 8] = struct.pack("<I", F32 + tensor_type)
        self.lengths.append(Place("the rank", address=dims_struct + 4))
        self.pointers += [
            Place("the dims struct", 8, address=tensor),
            Place("dims", 8, address=dims_struct),
            Place("data", 16, address=tensor + 8),
        ]
        return tensor, 12

    def value(self, place: Place) -> int:
        return self.driver.u32(place.address) if place.argument is None else self.arguments[place.argument]

    def put(self, place: Place, value: int) -> None:
        if place.argument is None:
            self.driver.instance.memory[place.address : place.address + 4] = struct.pack("<I", value)
        else:
            self.arguments[place.argument] = value

    def run(self) -> int:
        return self.driver.call(self.function.name, *self.arguments)


