# SPDX-License-Identifier: Apache-2.0
"""A guest with a context of a recipe's graph, and what it does with it."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

import wasinn
from calls import rewound
from conformance.cases import Case, expected, one_thread
from conformance.recipes import RECIPES, Array, Arrays, code_of, type_of
from conftest import MakeDriver
from driver import Driver
from wasinn.host import GuestHost
from wasinn.spec import ErrorCode
from wasinn.tensors import TensorSpec

INVALID = ErrorCode.INVALID_ARGUMENT
RUNTIME = ErrorCode.RUNTIME_ERROR
TOO_LARGE = ErrorCode.TOO_LARGE
UNSUPPORTED = ErrorCode.UNSUPPORTED_OPERATION


@functools.cache
def host_of(case: Case, recipe: str, single: bool = True) -> wasinn.Host:
    """A host with a recipe's graph as `model`, on one thread or on as many as the runtime likes.

    Shared by the tests: loading takes longest.
    """
    threads = one_thread(case) if single else None
    return wasinn.Host(graphs={"model": case.source(recipe, threads=threads)})


class Guest:
    """An instance of the driver and a context in it."""

    def __init__(self, driver: Driver, case: Case, recipe: str) -> None:
        self.driver = driver
        self.case = case
        self.recipe = recipe
        self.context = driver.open("model")

    def another(self) -> Guest:
        """One more context of the same graph in the same instance."""
        return Guest(self.driver, self.case, self.recipe)

    # -- calls; what they put into the guest's memory is not kept --------------------------------------

    def set(self, index: int, array: Array, code: int | None = None) -> int:
        """set_input of an array, under its own type's code if none is given."""
        found = code_of(type_of(array, self.recipe)) if code is None else code
        with rewound(self.driver):
            return self.driver.set_input(self.context, index, array.shape, found, array.tobytes())

    def compute(self) -> int:
        return self.driver.compute(self.context)

    def read(self, index: int = 0, size: int = 1 << 18) -> tuple[int, bytes]:
        """The errno of get_output and, on success, the bytes."""
        with rewound(self.driver):
            return self.driver.get_output(self.context, index, size)[:2]

    # -- several calls, asserted to succeed ------------------------------------------------------------

    def give(self, seed: int = 0) -> Arrays:
        """Sets every input of the recipe; what they are."""
        inputs = RECIPES[self.recipe].inputs(seed)
        self.give_these(*inputs)
        return inputs

    def give_these(self, *arrays: Array) -> None:
        for index, array in enumerate(arrays):
            assert self.set(index, array) == 0

    def outputs(self, count: int = 1) -> list[bytes]:
        found = [self.read(index) for index in range(count)]
        assert [code for code, _ in found] == [0] * count
        return [data for _, data in found]

    def is_right(self, inputs: Sequence[Array]) -> None:
        """That the outputs are what NumPy makes of `inputs`, bit for bit."""
        wanted = expected_bytes(self.case, self.recipe, inputs)
        assert self.outputs(len(wanted)) == wanted

    def infer(self, seed: int = 0) -> None:
        """One good inference."""
        inputs = self.give(seed)
        assert self.compute() == 0
        self.is_right(inputs)

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        return self.driver.instance.state.host.context(self.context).graph.graph.outputs

    @property
    def is_hot(self) -> bool:
        path = self.driver.instance.state.hot_path
        return path is not None and self.context in path._records


def expected_bytes(case: Case, recipe: str, inputs: Sequence[Array]) -> list[bytes]:
    return [np.ascontiguousarray(each).tobytes() for each in expected(case, recipe, inputs)]


def opened(drive: MakeDriver, case: Case, recipe: str, hot: bool = False) -> Guest:
    """A guest with a context; a hot one of a recipe with fixed shapes has computed three times."""
    guest = Guest(drive(host=host_of(case, recipe), hot=hot), case, recipe)
    if hot:
        warm_up(guest)
    return guest


def warm_up(guest: Guest) -> None:
    for seed in range(3):
        guest.infer(seed)


# -- without a guest, where tensors go by name ---------------------------------------------------------


def guest_host(case: Case, recipe: str) -> tuple[GuestHost, int]:
    """The host's own calls, by which a component names its tensors, and a context."""
    host = GuestHost(host_of(case, recipe)._shared)
    return host, host.init_execution_context(host.load_by_name("model"))
