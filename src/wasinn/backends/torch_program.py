# SPDX-License-Identifier: Apache-2.0
"""What TorchScript and exported programs have in common: a module, its ports, and how to call it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wasinn.tensors import TensorSpec


@dataclass(frozen=True)
class Program:
    """A loaded model.

    `call(module, tensors)` computes from one tensor for each input; `flatten(result)` has one for each
    output, and raises WasiNNError where the result is not what the model declares. `writes`: whether
    any operation writes in place, so that an input could change. `stateful`: whether the module itself
    changes when it computes.
    """

    module: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    call: Callable[[Any, Sequence[Any]], Any]
    flatten: Callable[[Any], list[Any]]
    writes: bool
    stateful: bool


def output_names(names: Sequence[str]) -> list[str]:
    """Each output's name, made up where that is empty: `output`, or `output_0` and so on."""
    if list(names) == [""]:
        return ["output"]
    return [name if name and names.count(name) == 1 else f"output_{i}" for i, name in enumerate(names)]
