# SPDX-License-Identifier: Apache-2.0
"""The pairs of a backend and an encoding that are tested, and on which recipes.

What an encoding cannot say and what a backend refuses stand here as data. Tests are made only for what is
left, so that nothing is skipped; `test_cases.py` holds that each entry is true.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import wasinn
from conformance.recipes import RECIPES, Array, Arrays
from wasinn.backends import lookup
from wasinn.spec import Encoding
from zoo import Builders

# -- pairs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A backend, an encoding that it serves, and the form of its files where the encoding has several.

    `isolated`: its graphs live in a worker process. `target`: where they compute.
    """

    backend: str
    encoding: Encoding
    form: str = ""
    isolated: bool = False
    target: str = "cpu"

    def __str__(self) -> str:
        name = self.pair if self.target == "cpu" else f"{self.pair}-{self.target}"
        return f"{name}-isolated" if self.isolated else name

    @property
    def pair(self) -> str:
        """The backend, the encoding and the form."""
        return f"{self.backend}-{self.format}"

    @property
    def format(self) -> str:
        """The encoding and the form."""
        return f"{self.encoding.label}-{self.form}" if self.form else self.encoding.label

    def builders(self, recipe: str) -> Builders:
        """The model of a recipe that the format has."""
        found = builders(self.encoding, self.form, recipe)
        assert found is not None, f"the zoo has no {recipe} in {self.format}"
        return found

    def source(self, recipe: str, **options: Any) -> wasinn.GraphSource:
        return self.source_of(*self.builders(recipe), **options)

    def source_of(self, *content: bytes, **options: Any) -> wasinn.GraphSource:
        """Any content under the encoding's label, for this backend and in this process, or in a worker if
        the case is isolated. An option that is None is not given."""
        given = {key: value for key, value in options.items() if value is not None}
        given.setdefault("isolation", "process" if self.isolated else "none")
        given.setdefault("target", self.target)
        return wasinn.GraphSource.from_bytes(
            *content, encoding=self.encoding.label, backend=self.backend, **given
        )


@functools.cache
def builders(encoding: Encoding, form: str, recipe: str) -> Builders | None:
    """The model of a recipe, made once; None where the encoding has no such model."""
    made = RECIPES[recipe]
    make = getattr(importlib.import_module(f"zoo.{encoding.label}"), made.function)
    found: Builders | None = make(*made.arguments, **({"form": form} if form else {}))
    return found


#: The forms of an encoding's files, where it has several, as the zoo names them. The models of ggml take
#: prompts, not tensors.
FORMS: Mapping[Encoding, tuple[str, ...]] = {
    Encoding.PYTORCH: ("torchscript", "exported"),
    Encoding.GGML: (),
}

#: The pair that is tested in a worker process too: a graph around a graph keeps the same promises.
ISOLATED = Case("tract", Encoding.ONNX, isolated=True)
#: What of it, for starting a worker takes long.
ISOLATED_RECIPES = frozenset({"identity", "rows", "add", "addrows", "mixed", "nonzero", "halves"})

IN_PROCESS = [
    Case(backend.name, encoding, form)
    for backend in lookup.all_backends()
    for encoding in sorted(backend.encodings)
    for form in FORMS.get(encoding, ("",))
]
#: WASINN_GPU names the backends that are tested on a GPU too, as in WASINN_GPU=onnxruntime,torch.
ON_GPU = frozenset(filter(None, os.environ.get("WASINN_GPU", "").split(",")))
IN_PROCESS += [replace(case, target="gpu") for case in IN_PROCESS if case.backend in ON_GPU]
CASES = [*IN_PROCESS, ISOLATED]

# -- what is missing ----------------------------------------------------------------------------------

#: Recipes that a format cannot say: the zoo has None.
LACKS: Mapping[str, frozenset[str]] = {
    "openvino": frozenset({"anyrank", "f8e4m3fnuz", "f8e5m2fnuz"}),
    "pytorch-exported": frozenset({"anyrank"}),
    "tensorflowlite": frozenset({"f8e4m3fnuz", "f8e5m2fnuz"}),
}

#: What a backend refuses to load, and why, as a pattern for the reason.
REFUSED: Mapping[str, Mapping[str, str]] = {
    "litert-tensorflowlite": {"bf16": "binding cannot reach its bytes"},
    "openvino-onnx": {
        "anyrank": "no fixed rank",
        "f8e4m3fnuz": "Unsupported data type FLOAT8E4M3FNUZ",
        "f8e5m2fnuz": "Unsupported data type FLOAT8E5M2FNUZ",
    },
    "openvino-tensorflow": {
        "anyrank": "no fixed rank",
        **dict.fromkeys(("f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz"), "openvino would take for f32"),
    },
    "openvino-tensorflowlite": {
        "anyrank": "no fixed rank",
        "bf16": "BFLOAT16",
        "f8e4m3fn": "Unexpected type",
        "f8e5m2": "Unexpected type",
    },
    "tract-onnx": {
        "bf16": "Unknown DatumType Bfloat16",
        "f8e4m3fn": "Unknown DatumType Float8e4m3fn",
        "f8e4m3fnuz": "Unknown DatumType Float8e4m3fnuz",
        "f8e5m2": "Unknown DatumType Float8e5m2",
        "f8e5m2fnuz": "Unknown DatumType Float8e5m2fnuz",
    },
}

#: What a backend computes in fewer bits than the model says. The inputs that would come out wrong are
#: refused; of f64 only the digits beyond those of f32 are lost. `test_types.py` has a test for these.
NARROWED: Mapping[str, frozenset[str]] = {
    "openvino-onnx": frozenset({"f64", "i64", "u32", "u64"}),
    "openvino-tensorflowlite": frozenset({"f64", "i64", "u32", "u64"}),
}

#: What a backend computes in a wider type, by which signalling NaNs become quiet ones.
QUIETS: Mapping[str, frozenset[str]] = {"openvino-tensorflowlite": frozenset({"f16"})}

#: The cases whose runtime reads and writes at addresses of ours, so that contexts of fixed shape become
#: hot; and what keeps it from some recipes.
BINDS: Mapping[str, frozenset[str]] = {
    "litert-tensorflowlite": frozenset({"identity", "add"}),
    "onnxruntime-onnx": frozenset({"identity", "add"}),
    "openvino-onnx": frozenset({"identity", "add"}),
    # An input that is also an output is copied: there is nothing in between to read and write.
    "openvino-openvino": frozenset({"add"}),
    "openvino-tensorflow": frozenset({"add"}),
    "openvino-tensorflowlite": frozenset({"identity", "add"}),
    "torch-pytorch-exported": frozenset({"identity", "add"}),
}

#: The cases whose number of threads is the process's, and is fixed by the first graph.
THREADS_OF_PROCESS = frozenset({"tensorflow-tensorflow"})


def one_thread(case: Case) -> int | None:
    """The option `threads` for computes on one thread, where it can be had."""
    return None if case.pair in THREADS_OF_PROCESS else 1


def may_crash(case: Case) -> bool:
    """Whether files or tensors have been seen to end or to block the backend's process: guests' files go to
    worker processes by default, and so do those of the tests of broken files."""
    return lookup.by_name(case.backend).isolation != "never"


def binds(case: Case, recipe: str) -> bool:
    """Whether a context of a recipe becomes hot. A graph in a worker process binds whatever the backend
    does there."""
    return case.isolated or recipe in BINDS.get(case.pair, ())


def has(case: Case, recipe: str) -> bool:
    """Whether a case can be tested on a recipe."""
    if case.isolated and recipe not in ISOLATED_RECIPES:
        return False
    missing: tuple[Mapping[str, Container[str]], ...] = (REFUSED, NARROWED)
    return recipe not in LACKS.get(case.format, ()) and not any(
        recipe in each.get(case.pair, ()) for each in missing
    )


def on(*recipes: str, cases: Sequence[Case] | None = None) -> pytest.MarkDecorator:
    """A test of `case` and `recipe` for every case that has the recipe; of `case` alone if there is one."""
    chosen = [
        (case, recipe)
        for case, recipe in itertools.product(CASES if cases is None else cases, recipes)
        if has(case, recipe)
    ]
    if len(recipes) == 1:
        return pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case, _ in chosen])
    values = [pytest.param(case, recipe, id=f"{case}-{recipe}") for case, recipe in chosen]
    return pytest.mark.parametrize(("case", "recipe"), values)


#: A test of every case.
EVERY = on("identity")

#: The files of the digits network that come with wasinn, for each encoding; those with an 8 are quantized.
DIGITS: Mapping[Encoding, Sequence[tuple[str, ...]]] = {
    Encoding.OPENVINO: [("@digits.xml", "@digits.bin")],
    Encoding.ONNX: [("@digits.onnx",), ("@digits_batch.onnx",)],
    Encoding.TENSORFLOW: [("@digits.pb",), ("@digits_saved_model",)],
    Encoding.PYTORCH: [("@digits.pt",), ("@digits.pt2",)],
    Encoding.TENSORFLOWLITE: [("@digits.tflite",), ("@digits_u8.tflite",), ("@digits_i8.tflite",)],
}

# -- names ----------------------------------------------------------------------------------------------

#: The names of the zoo's ports.
_NAMES = {
    "identity": (("x",), ("y",)),
    "add": (("a", "b"), ("sum", "difference")),
    "mixed": (("pixels", "weights", "ids"), ("ids_out", "pixels_out", "weights_out")),
}

#: The names of outputs in formats that have none of the author's.
_OUTPUT_NAMES = {
    "pytorch-torchscript": {
        "identity": ("output",),
        "add": ("output_0", "output_1"),
        "mixed": ("output_0", "output_1", "output_2"),
    },
    "pytorch-exported": {"identity": ("x",), "add": ("add", "sub"), "mixed": ("ids", "pixels", "neg")},
}
#: Formats that keep no order of outputs: the runtimes take them sorted by name.
SORTED_OUTPUTS = frozenset({"tensorflow"})


def names_of(case: Case, recipe: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a recipe's inputs and of its outputs."""
    function = RECIPES[recipe].function
    inputs, outputs = _NAMES[function]
    if case.format in _OUTPUT_NAMES:
        outputs = _OUTPUT_NAMES[case.format][function]
    if case.format in SORTED_OUTPUTS:
        outputs = tuple(sorted(outputs))
    return inputs, outputs


def expected(case: Case, recipe: str, inputs: Sequence[Array]) -> Arrays:
    """What NumPy makes of a recipe's inputs, in the order of the case's outputs."""
    made = RECIPES[recipe]
    assert made.expected is not None
    outputs = list(made.expected(*inputs))
    if recipe in QUIETS.get(case.pair, ()):
        outputs = [_quieted(each) for each in outputs]
    if case.format in SORTED_OUTPUTS and len(outputs) > 1:
        names = _NAMES[made.function][1]
        outputs = [outputs[names.index(name)] for name in sorted(names)]
    return outputs


def _quieted(bits: Array) -> Array:
    """The bits of f16 numbers, with the NaNs quiet."""
    return np.where((bits & 0x7C00 == 0x7C00) & (bits & 0x3FF != 0), bits | 0x200, bits).astype(bits.dtype)


# -- declarations ---------------------------------------------------------------------------------------

#: What the inputs of some recipes are declared as.
_DECLARED = {
    "identity": ["f32 [1,4]"],
    "scalar": ["f32 []"],
    "rows": ["f32 [?,3]"],
    "halves": ["f32 [?,?]"],
    "halves4": ["f32 [?,2,?,?]"],
    "anyrank": ["f32 [...]"],
    "add": ["f32 [1,4]", "f32 [1,4]"],
    "mixed": ["u8 [4]", "f32 [2]", "i64 [1]"],
}
#: Where a format says less: a trace leaves the first of several dimensions open, a script all of them.
_DECLARED_ELSE = {
    "pytorch-torchscript": {
        "identity": ["f32 [?,4]"],
        "add": ["f32 [?,4]", "f32 [?,4]"],
        "halves": ["any type [...]"],
        "halves4": ["any type [...]"],
        "anyrank": ["any type [...]"],
    }
}


def declared(case: Case, recipe: str) -> list[str]:
    """The inputs' types and dims."""
    return _DECLARED_ELSE.get(case.format, {}).get(recipe) or _DECLARED[recipe]


def declaring(recipe: str) -> list[Case]:
    """The cases whose format says all of a recipe's dims."""
    return [case for case in CASES if declared(case, recipe) == _DECLARED[recipe]]
