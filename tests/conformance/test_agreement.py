# SPDX-License-Identifier: Apache-2.0
"""The backends of one encoding give one answer, and the digits network knows its digits in every encoding."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from PIL import Image

import wasinn
from conformance.cases import DIGITS, IN_PROCESS, QUIETS, Case, has
from conformance.guests import opened
from conformance.recipes import RECIPES, Array
from conftest import MakeDriver, require_backend
from wasinn import shipped
from wasinn.graphs.loader import Loader
from wasinn.graphs.registry import Registry
from wasinn.host import GuestHost, Shared
from wasinn.tensors import Tensor

FORMATS = sorted({case.format for case in IN_PROCESS})
#: Two backends of one format, and a recipe that both take.
PAIRS = [
    pytest.param(one, other, recipe, id=f"{one}-{other.backend}-{recipe}")
    for format in FORMATS
    for one, other in itertools.combinations([case for case in IN_PROCESS if case.format == format], 2)
    for recipe in RECIPES
    if has(one, recipe)
    and has(other, recipe)
    and (recipe in QUIETS.get(one.pair, ())) == (recipe in QUIETS.get(other.pair, ()))
]


@pytest.mark.parametrize(("case", "other", "recipe"), PAIRS)
def test_two_backends_of_an_encoding_agree(drive: MakeDriver, case: Case, other: Case, recipe: str) -> None:
    require_backend(other.backend)
    answers = []
    for each in (case, other):
        guest = opened(drive, each, recipe)
        found = []
        for seed in range(3):
            guest.give(seed)
            assert guest.compute() == 0
            found += guest.outputs(len(guest.output_specs))
        answers.append((guest, found))
    (guest, ours), (_, theirs) = answers
    for index, (one, two) in enumerate(zip(ours, theirs, strict=True)):
        spec = guest.output_specs[index % len(guest.output_specs)]
        if spec.type.label == "f32" and RECIPES[recipe].type is None:
            np.testing.assert_allclose(np.frombuffer(one, "<f4"), np.frombuffer(two, "<f4"), 1e-4, 1e-5)
        else:
            assert one == two


# -- digits ---------------------------------------------------------------------------------------------

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@functools.cache
def pictures() -> list[Array]:
    """The shipped digit of each name, in order: f32 [64], 0 to 1, white on black."""
    folder = shipped.resolve("@zero", "pictures").parent
    paths = [next(folder.glob(f"{name}.*")) for name in NAMES]
    small = (Image.open(path).convert("L").resize((8, 8), Image.Resampling.BILINEAR) for path in paths)
    return [np.asarray(each, "<f4").reshape(64) / np.float32(255) for each in small]


def classify(source: wasinn.GraphSource) -> Array:
    """The probabilities, f32 [10,10], of the ten pictures. Integers are what the model's scale says."""
    host = GuestHost(Shared(Registry({"digits": source})))
    context = host.init_execution_context(host.load_by_name("digits"))
    spec = host.input_spec(context, 0)[1]
    found = []
    for picture in pictures():
        values = picture.reshape([dim or 1 for dim in spec.dims or ()])
        if spec.quantization is not None:
            (scale,), (zero,) = spec.quantization.scales, spec.quantization.zero_points
            values = np.round(values / scale + zero).astype({"u8": "u1", "i8": "i1"}[spec.type.label])
        host.set_input(context, 0, Tensor.of(values))
        host.compute(context)
        answer = host.output(context, 0).numpy().astype("f4").reshape(10)
        output = host.context(context).graph.graph.outputs[0]
        if output.quantization is not None:
            answer = (answer - output.quantization.zero_points[0]) * output.quantization.scales[0]
        found.append(answer)
    host.close()
    return np.array(found)


@functools.cache
def reference() -> Array:
    require_backend("onnxruntime")
    return classify(wasinn.GraphSource.from_files("@digits.onnx", backend="onnxruntime"))


ARTIFACTS = [
    pytest.param(case, files, id=f"{case.backend}-{files[0]}")
    for case in {(case.backend, case.encoding): case for case in IN_PROCESS}.values()
    for files in DIGITS[case.encoding]
]


@pytest.mark.parametrize(("case", "files"), ARTIFACTS)
def test_the_digits_are_known_in_every_encoding(case: Case, files: tuple[str, ...]) -> None:
    source = wasinn.GraphSource.from_files(*files, encoding=case.encoding.label, backend=case.backend)
    found = classify(source)
    assert found.argmax(1).tolist() == list(range(10))
    quantized = "8" in files[0]
    np.testing.assert_allclose(found, reference(), 1e-4, 0.05 if quantized else 1e-5)


@pytest.mark.parametrize(("case", "files"), ARTIFACTS)
def test_a_shipped_model_is_recognised_by_its_content(case: Case, files: tuple[str, ...]) -> None:
    source = wasinn.GraphSource.from_files(*files, backend=case.backend)
    assert Loader().load(source).encoding is case.encoding
