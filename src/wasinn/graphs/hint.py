# SPDX-License-Identifier: Apache-2.0
"""What a model's file says of the meaning of its inputs and outputs. Each hint comes with where it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

#: More inputs, outputs and files of a model are not looked at.
MOST = 64


@dataclass(frozen=True)
class Hint(Generic[T]):
    """A value, and what says so, as a comment tells it."""

    value: T
    why: str


@dataclass
class InputHints:
    """Of one input. `raw`: the model makes the numbers that it wants of a picture's levels, 0 to 255, itself.
    `mean` and `std` are of levels as well. `is_image`: the file says that it is a picture."""

    is_image: bool = False
    layout: Hint[str] | None = None
    colour: Hint[str] | None = None
    range: Hint[tuple[float, float]] | None = None
    mean: Hint[tuple[float, ...]] | None = None
    std: Hint[tuple[float, ...]] | None = None
    raw: str | None = None


@dataclass
class OutputHints:
    """Of one output: its labels, and the operator that made it, as `Softmax`."""

    labels: Hint[tuple[str, ...]] | None = None
    operator: str | None = None


@dataclass
class Hints:
    """By a port's index, or by its name where the file has no order of its own."""

    inputs: dict[int | str, InputHints] = field(default_factory=dict)
    outputs: dict[int | str, OutputHints] = field(default_factory=dict)

    def input(self, key: int | str) -> InputHints:
        return self.inputs.setdefault(key, InputHints())

    def output(self, key: int | str) -> OutputHints:
        return self.outputs.setdefault(key, OutputHints())
