# SPDX-License-Identifier: Apache-2.0
"""A component built from Python (guests/python/classify on its SDK): pictures, tensors of all types, errors,
bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import component_python
import models
import wasinn
from conformance.recipes import RECIPES, type_of
from wasinn import RunResult, shipped
from wasinn.abi.component.snapshots import type_name
from wasinn.abi.component.values import Case
from zoo import onnx as zoo

PICTURES = shipped.ROOT / "pictures"
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
CHOSEN = ["identity", "scalar", "rows", "mixed", "add", "nonzero", "f16", "u8", "i32", "i64", "f64"]


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    graphs = {"default": wasinn.GraphSource.parse("onnx:@digits")}
    for recipe in CHOSEN:
        made = RECIPES[recipe]
        graphs[recipe] = wasinn.GraphSource.from_bytes(*getattr(zoo, made.function)(*made.arguments))
    graphs["tiny"] = wasinn.GraphSource.from_bytes(models.identity())
    return wasinn.Host(graphs=graphs)


@pytest.fixture(scope="module")
def guest(host: wasinn.Host) -> Any:
    return host.guest(component_python.every_guest())


@pytest.fixture
def instance(host: wasinn.Host, guest: Any) -> Iterator[Any]:
    with host.instantiate(guest) as instance:
        yield instance
        state = instance.state
        assert [len(each) for each in (state.tensors, state.graphs, state.contexts, state.errors)] == [0] * 4


def run(host: wasinn.Host, guest: Any, *arguments: str) -> RunResult:
    return host.run(guest, ["classify", *arguments], dirs={"/p": PICTURES}, deadline=60)


def value(name: str, array: Any, recipe: str) -> dict[str, Any]:
    kind = type_name(type_of(array, recipe))
    return {
        "name": name,
        "dims": list(array.shape),
        "ty": kind,
        "data": np.ascontiguousarray(array).tobytes(),
    }


# -- the command ----------------------------------------------------------------------------------------


def test_the_ten_pictures_are_the_ten_digits(host: wasinn.Host, guest: Any) -> None:
    files = [f"/p/{path.name}" for digit in DIGITS for path in PICTURES.glob(f"{digit}.*")]
    result = run(host, guest, "--top", "1", "--tsv", *files)
    assert (result.exit_code, result.stderr) == (0, b"")
    lines = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [line[0] for line in lines] == files
    assert [int(line[2]) for line in lines] == list(range(10))
    assert result.stats.computes == 10


def test_for_people_it_prints_percentages(host: wasinn.Host, guest: Any) -> None:
    result = run(host, guest, "--top", "2", "/p/seven.png")
    assert re.fullmatch(r"/p/seven\.png\n  1  7   9\d\.\d\d%\n  2  \d    \d\.\d\d%\n", result.stdout.decode())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no picture is given"),
        (["--nonsense"], "--nonsense is no option"),
        (["/p/nobody.png"], "No such file or directory"),
        (["/etc/passwd"], "a guest sees only what --dir gives it"),
        (["--name", "nobody", "/p/two.png"], "no graph is called 'nobody'"),
        (["--name", "tiny", "/p/two.png"], "is no picture in what is known of it"),
    ],
)
def test_what_is_wrong_is_said(host: wasinn.Host, guest: Any, arguments: list[str], words: str) -> None:
    result = run(host, guest, *arguments)
    assert (result.exit_code, result.stdout, result.trap) == (1, b"", None)
    assert result.stderr.decode().startswith("classify: ")
    assert words in result.stderr.decode()


def test_mobilenet(guest: Any, data: Path) -> None:
    folder = data / "mobilenet_v2"
    host = wasinn.Host(graphs={"default": f"onnx:{folder / 'mobilenet_v2.onnx'}"})
    with host.instantiate(guest) as instance:
        for file, index, score in (("kitten.tensor", 281, 13.693), ("000000062808.rgb", 963, 15.001)):
            tensor = np.fromfile(folder / file, "<f4").reshape(1, 3, 224, 224)
            answer = instance.call("infer", "default", [value("0", tensor, "identity")])
            scores = np.frombuffer(answer.value[0]["data"], "<f4")
            assert (int(scores.argmax()), float(scores.max())) == (index, pytest.approx(score, abs=1e-3))


# -- the function, and the promises of every dialect --------------------------------------------------------


@pytest.mark.parametrize("recipe", CHOSEN)
def test_tensors_come_back_bit_for_bit(instance: Any, recipe: str) -> None:
    made = RECIPES[recipe]
    assert made.expected is not None
    for seed in range(3):
        arrays = made.inputs(seed)
        given = [value(str(number), each, recipe) for number, each in enumerate(arrays)]
        outputs = instance.call("infer", recipe, given)
        assert outputs.name == "ok", outputs.value
        wanted = [np.ascontiguousarray(each).tobytes() for each in made.expected(*arrays)]
        assert [each["data"] for each in outputs.value] == wanted


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        ("nobody", [], "no graph is called"),
        ("tiny", [], "not given"),
        ("tiny", [("0", (1, 4), "FP32", 15)], "15"),
        ("tiny", [("0", (1, 4), "I32", 16)], "wanted f32"),
        ("tiny", [("0", (0xFFFFFFFF,) * 4, "FP32", 16)], "dims"),
        ("tiny", [("nobody", (1, 4), "FP32", 16), ("0", (1, 4), "FP32", 16)], "no input 'nobody'"),
        ("tiny", [("0", (1, 4), "FP32", 16), ("0", (1, 4), "FP32", 16)], "twice"),
    ],
)
def test_the_reason_comes_to_the_guest_and_it_works_on(
    instance: Any, model: str, given: list[tuple[str, tuple[int, ...], str, int]], words: str
) -> None:
    inputs = [
        {"name": name, "dims": list(dims), "ty": kind, "data": bytes(size)}
        for name, dims, kind, size in given
    ]
    for _ in range(2):
        answer = instance.call("infer", model, inputs)
        assert (answer.name, words in answer.value) == ("err", True), answer.value
        good = np.array([[1, 2, 3, 4]], "<f4")
        (output,) = instance.call("infer", "tiny", [value("0", good, "identity")]).value
        assert output["data"] == good.tobytes()


def test_instances_are_apart(host: wasinn.Host, guest: Any) -> None:
    names = ("two.png", "three.bmp")
    results = [run(host, guest, "--top", "1", "--tsv", f"/p/{name}") for name in names]
    assert [result.stdout.decode().split("\t")[2] for result in results] == ["2", "3"]


def test_rows_that_are_none(instance: Any) -> None:
    empty = np.zeros((0, 3), "<f4")
    answer = instance.call("infer", "rows", [value("0", empty, "rows")])
    assert answer == Case("ok", [{**answer.value[0], "dims": [0, 3], "data": b""}])
