# SPDX-License-Identifier: Apache-2.0
"""The operators at a model's ends: what made an output, and whether an input is normalized by the model."""

from __future__ import annotations

#: What changes the form of a tensor, not its numbers.
_FORM = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Convert", "Transpose", "Dropout"}
#: What makes other numbers of a picture's levels before all else, in words. A product or a sum may as well
#: undo a normalization.
_NORMALIZES = {
    "Sub": "subtracts",
    "Subtract": "subtracts",
    "Div": "divides",
    "Divide": "divides",
    "ConvertToBytes": "makes bytes of it",
}
#: How many operators are followed from an end.
_STEPS = 8


class Operators:
    """A model's operators by their tensors' names."""

    def __init__(self) -> None:
        self._makers: dict[str, tuple[str, str]] = {}
        self._users: dict[str, list[tuple[str, str]]] = {}

    def add(self, operator: str, inputs: list[str], outputs: list[str]) -> None:
        first = inputs[0] if inputs else ""
        for name in outputs:
            self._makers[name] = (operator, first)
        for name in inputs:
            self._users.setdefault(name, []).append((operator, outputs[0] if outputs else ""))

    def maker(self, name: str) -> str | None:
        """The operator that made the numbers of an output."""
        operator = None
        for _ in range(_STEPS):
            operator, name = self._makers.get(name, (operator, ""))
            if operator not in _FORM or not name:
                break
        return operator

    def normalizes(self, name: str) -> str | None:
        """What the model does to an input before all else that makes its own numbers of a picture's levels,
        in words; None where it does nothing of the kind."""
        for _ in range(_STEPS):
            users = self._users.get(name, [])
            if len(users) != 1:
                return None
            operator, name = users[0]
            if operator in _NORMALIZES:
                return f"the model itself {_NORMALIZES[operator]} first"
            if operator not in _FORM:
                return None
        return None
