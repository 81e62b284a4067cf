# SPDX-License-Identifier: Apache-2.0
"""Calls that work, with every pointer and length in them, for tests that bend one at a time.

What a parameter is shows in its name, so that a new function is covered as soon as `FUNCTIONS` has it; one
with a parameter that this file does not know fails with a KeyError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import models
from conftest import MakeDriver
from driver import PAGES, Driver
from wasinn.abi.core.state import Function

WITX, WAMR = "wasi_ephemeral_nn", "wasi_nn"
MEMORY_SIZE = PAGES * 65536
VALUES = np.array([[1, 2, 3, 4]], "<f4")
#: f32, in every numbering.
F32 = 1
OUTPUT_SIZE = 4096
#: On graphs that do not stream these are refused whatever else is right.
STREAMING = ("get_output_single", "compute_single", "fini_single")


@dataclass
class Place:
    """Where a call has a pointer or a length: in an argument, or at an address in the guest's memory.

    `need` is how many bytes a pointer must have.
    """

    what: str
    need: int = 0
    argument: int | None = None
    address: int = 0


@dataclass
class Call:
    """A call of `function` that works: loads `models.identity()`, or uses `graph` and `context` of it."""

    driver: Driver
    function: Function
    graph: int = 0
    context: int = 0
    name: str = "model"
    arguments: list[int] = field(default_factory=list)
    pointers: list[Place] = field(default_factory=list)
    lengths: list[Place] = field(default_factory=list)

    def __post_init__(self) -> None:
        for position, parameter in enumerate(self.function.parameters):
            self.arguments.append(self._argument(position, parameter))

    @property
    def legacy(self) -> bool:
        return self.function.module == WAMR

    def _argument(self, position: int, parameter: str) -> int:
        numbers = {"graph": self.graph, "context": self.context, "index": 0, "encoding": 1, "target": 0}
        if parameter in numbers:
            return numbers[parameter]
        lengths = {"length": len(self.name), "config_length": 2, "count": 1, "size": OUTPUT_SIZE}
        if parameter in lengths and not (self.legacy and parameter == "size"):
            self.lengths.append(Place(parameter, argument=position))
            return lengths[parameter]
        address, need = {
            "out": self._out,
            "written": self._out,
            "name": lambda: (self.driver.put(self.name.encode()), len(self.name)),
            "config": lambda: (self.driver.put(b"{}"), 2),
            "buffer": lambda: (self.driver.put(bytes(OUTPUT_SIZE)), OUTPUT_SIZE),
            "size": self._capacity,
            "builders": self._builders,
            "tensor": self._tensor,
        }[parameter]()
        self.pointers.append(Place(parameter, need, argument=position))
        return address

    def _out(self) -> tuple[int, int]:
        return self.driver.out(), 4

    def _capacity(self) -> tuple[int, int]:
        address = self.driver.put(struct.pack("<I", OUTPUT_SIZE // 4))
        self.lengths.append(Place("the number of elements", address=address))
        return address, 4

    def _builders(self) -> tuple[int, int]:
        model = models.identity()
        builder = self.driver.put(struct.pack("<II", self.driver.put(model), len(model)))
        self.pointers.append(Place("a builder's bytes", len(model), address=builder))
        self.lengths.append(Place("a builder's length", address=builder + 4))
        if not self.legacy:
            return builder, 8
        array = self.driver.put(struct.pack("<II", builder, 1))
        self.pointers.append(Place("the list of builders", 8, address=array))
        self.lengths.append(Place("the number of builders", address=array + 4))
        return array, 8

    def _tensor(self) -> tuple[int, int]:
        data = VALUES.tobytes()
        dims, values = self.driver.put(struct.pack("<II", *VALUES.shape)), self.driver.put(data)
        if not self.legacy:
            tensor = self.driver.put(struct.pack("<IIIII", dims, 2, F32, values, len(data)))
            self.pointers += [Place("dims", 8, address=tensor), Place("data", 16, address=tensor + 12)]
            self.lengths += [Place("rank", address=tensor + 4), Place("length", address=tensor + 16)]
            return tensor, 20
        dims_struct = self.driver.put(struct.pack("<II", dims, 2))
        tensor = self.driver.put(struct.pack("<III", dims_struct, F32, values))
        self.pointers += [
            Place("the struct of dims", 8, address=tensor),
            Place("dims", 8, address=dims_struct),
            Place("data", 16, address=tensor + 8),
        ]
        self.lengths.append(Place("rank", address=dims_struct + 4))
        return tensor, 12

    def value(self, place: Place) -> int:
        return self.driver.u32(place.address) if place.argument is None else self.arguments[place.argument]

    def set(self, place: Place, value: int) -> None:
        if place.argument is None:
            self.driver.instance.memory[place.address : place.address + 4] = struct.pack("<I", value)
        else:
            self.arguments[place.argument] = value

    def run(self) -> int:
        return self.driver.call(self.function.name, *self.arguments)


def heat(driver: Driver, context: int, inputs: int = 1) -> None:
    """Three good inferences, after which the context's calls no longer come to Python."""
    for _ in range(3):
        infer(driver, context, inputs)
    path = driver.instance.state.hot_path
    assert path is not None
    assert context in path._records


def infer(driver: Driver, context: int, inputs: int = 1) -> list[float]:
    """A good inference on VALUES; what output 0 is."""
    with rewound(driver):
        for index in range(inputs):
            assert driver.set_f32(context, index, VALUES) == 0
        assert driver.compute(context) == 0
        code, data, _ = driver.get_output(context, 0, 256)
        assert code == 0
        return [float(value) for value in np.frombuffer(data, "<f4")]


class rewound:
    """Gives back what a test puts into the driver's memory, so that a loop does not fill it."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self._next = driver, driver._next

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._driver._next = self._next


def opened(
    drive: MakeDriver, model: bytes, hot: bool = False, inputs: int = 1, **options: Any
) -> tuple[Driver, int]:
    """A driver of the graph `model` and a context of it; a hot one has computed three times."""
    driver = drive({"model": model}, hot=hot, **options)
    context = driver.open("model")
    if hot:
        heat(driver, context, inputs)
    return driver, context


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about the guest that were logged since the last call of this."""
    lines = [record.getMessage() for record in caplog.records if record.name == "wasinn.guest"]
    caplog.clear()
    return lines


def reason(caplog: pytest.LogCaptureFixture) -> str:
    """The one line that a failure writes."""
    lines = reasons(caplog)
    assert len(lines) == 1, lines
    return lines[0]


#: For tests that hold both of a context that Python answers and of one that the hot path does.
BOTH = pytest.mark.parametrize("hot", [False, True], ids=["cold", "hot"])
