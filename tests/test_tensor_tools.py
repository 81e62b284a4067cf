# SPDX-License-Identifier: Apache-2.0
"""`wasinn tensor` and `wasinn show`: from a picture to a tensor, and what is in one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wasinn
from conftest import Run, require_backend
from contract_texts import DIGIT_INPUT, MOBILENET_INPUT
from wasinn import shipped
from wasinn.cli.looks import looks
from wasinn.cli.statistics import histogram, statistics
from wasinn.contracts.parse import read_contract
from wasinn.graphs.recorded import FolderRecorder, Record, Recorded
from wasinn.imaging.preprocess import preprocess
from wasinn.spec import TensorType

PICTURE = MOBILENET_INPUT.replace("[224, 224]", "[24, 32]")
BYTES = """
[input.image]
port = 3
type = "u8"
layout = "NHWC"
size = [24, 32]
colour = "BGR"
"""
SEVEN = shipped.ROOT / "pictures" / "seven.png"


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A smooth picture of all three colours, each of which goes another way: 48 rows of 64 pixels."""
    y, x = np.mgrid[0:48, 0:64]
    pixels = np.stack([4 * x, 5 * y, 255 - 2 * (x + y)], axis=2).astype(np.uint8)
    path = tmp_path / "scene.png"
    Image.fromarray(pixels).save(path)
    return path


def contract(tmp_path: Path, text: str, name: str = "contract.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


# -- tensor -------------------------------------------------------------------------------------------


def test_raw_bytes_and_npy_are_what_preprocess_makes(run: Run, scene: Path, tmp_path: Path) -> None:
    path = contract(tmp_path, PICTURE)
    expected = preprocess(scene, read_contract(path))
    text = run("tensor", scene, "--contract", path, "-o", tmp_path / "x.tensor")
    assert (tmp_path / "x.tensor").read_bytes() == bytes(expected.data)
    assert f"--input 0:f32:1x3x24x32:{tmp_path / 'x.tensor'}" in text
    run("tensor", scene, "--contract", path, "-o", tmp_path / "x.npy")
    array = np.load(tmp_path / "x.npy")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, expected.numpy())


def test_the_description_says_what_the_tensor_is(run: Run, scene: Path, tmp_path: Path) -> None:
    path, file = contract(tmp_path, BYTES), tmp_path / "x.bin"
    printed = json.loads(run("tensor", scene, "--contract", path, "-o", file, "--json"))
    description = json.loads((tmp_path / "x.bin.json").read_text())
    assert printed == description
    assert description["type"] == "u8"
    assert description["dims"] == [1, 24, 32, 3]
    assert (description["layout"], description["colour"]) == ("NHWC", "BGR")
    assert description["range"] == [0, 255]
    assert description["bytes"] == 24 * 32 * 3
    assert description["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert description["contract"] == str(path)
    assert description["picture"] == str(scene)
    # The contract names the port by its index.
    assert "--input 3:u8:1x24x32x3:" in run("tensor", scene, "--contract", path, "-o", file)


def test_the_guest_takes_what_was_written(run: Run, tmp_path: Path) -> None:
    text = run(
        "tensor", SEVEN, "--contract", contract(tmp_path, DIGIT_INPUT), "-o", tmp_path / "seven.tensor"
    )
    (spelling,) = (line.split()[-1] for line in text.splitlines() if "for a guest" in line)
    spelling = spelling.replace(str(tmp_path), "t")
    with wasinn.Host(graphs={"digits": wasinn.GraphSource.from_files("@digits")}) as host:
        arguments = ["--name", "digits", "--input", spelling, "--top", "1"]
        result = host.run("@infer", arguments, dirs=[f"{tmp_path}::t"])
    assert result.stdout.splitlines()[1].split()[0] == b"7"


def test_the_model_gives_the_contract_and_the_scale(run: Run, tmp_path: Path) -> None:
    require_backend("litert")
    text = DIGIT_INPUT.replace("NCHW", "NHWC") + 'type = "i8"\nquantization = "model"\n'
    path, file = contract(tmp_path, text), tmp_path / "x.npy"
    error = run("tensor", SEVEN, "--contract", path, "-o", file, fails=2)
    assert "give --model MODEL as well" in error
    run("tensor", SEVEN, "--contract", path, "--model", "@digits_i8.tflite", "-o", file)
    assert np.load(file).dtype == np.int8
    assert np.load(file).shape == (1, 8, 8, 1)
    scale = json.loads((tmp_path / "x.npy.json").read_text())["quantization"]["scale"]
    assert scale == pytest.approx([1 / 255])


def test_the_contract_beside_the_model_is_enough(run: Run, tmp_path: Path) -> None:
    run("tensor", SEVEN, "--model", "@digits", "-o", tmp_path / "x.npy")
    assert np.load(tmp_path / "x.npy").shape == (1, 1, 8, 8)


def test_mistakes_with_tensor(run: Run, scene: Path, tmp_path: Path) -> None:
    path, out = contract(tmp_path, PICTURE), ("-o", tmp_path / "x.npy")
    assert "Give --contract FILE, or --model MODEL" in run("tensor", scene, *out, fails=2)
    assert "no input 'picture' is a picture; give --input with one of: 'image'" in run(
        "tensor", scene, "--contract", path, "--input", "picture", *out, fails=2
    )
    assert "is the picture itself" in run("tensor", scene, "--contract", path, "-o", scene, fails=2)
    assert Image.open(scene).size == (64, 48)
    missing = tmp_path / "missing.png"
    assert "missing.png" in run("tensor", missing, "--contract", path, *out, fails=2)
    assert "cannot write" in run("tensor", scene, "--contract", path, "-o", tmp_path / "no" / "x", fails=2)
    both = contract(tmp_path, PICTURE + PICTURE.replace("input.image", "input.other"), "both.toml")
    assert "several inputs are pictures" in run("tensor", scene, "--contract", both, *out, fails=2)


# -- show ---------------------------------------------------------------------------------------------


def test_statistics_and_distribution(run: Run, tmp_path: Path) -> None:
    values = np.array([0, 1, 2, 3, 4, np.nan, np.inf, -np.inf], np.float32)
    np.save(tmp_path / "x.npy", values)
    report = json.loads(run("show", tmp_path / "x.npy", "--json"))
    found = report["statistics"]
    assert (found["minimum"], found["maximum"], found["mean"]) == (0, 4, 2)
    assert found["std"] == pytest.approx(np.sqrt(2))
    assert (found["zeros"], found["nan"], found["infinite"], found["count"]) == (1, 1, 2, 8)
    assert report["first"] == [0, 1, 2, 3, 4, None, None, None]
    assert sum(each["count"] for each in report["distribution"]) == 5
    text = run("show", tmp_path / "x.npy")
    assert "0 to 4, mean 2, deviation 1.4142, 1 NaN, 2 infinite" in text
    assert "1 of 8" in text


@pytest.mark.parametrize(
    "values", [np.array([], np.float32), np.array(7, np.int64), np.full(3, np.nan, np.float32)]
)
def test_tensors_without_a_distribution(run: Run, tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", values)
    text = run("show", tmp_path / "x.npy")
    assert "distribution" not in text
    report = json.loads(run("show", tmp_path / "x.npy", "--json"))
    assert report["statistics"]["count"] == values.size


def test_raw_bytes_need_to_be_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.raw"
    np.arange(12, dtype="<f4").tofile(file)
    error = run("show", file, fails=2)
    assert "--type f32 --dims 1x3x224x224" in error
    report = json.loads(run("show", file, "--type", "f32", "--dims", "3x4", "--json"))
    assert (report["dims"], report["statistics"]["maximum"]) == ([3, 4], 11)
    assert json.loads(run("show", file, "--type", "i64", "--json"))["dims"] == [6]
    assert "has 48 bytes, and --dims says 60 bytes (f32 [3,5])" in run(
        "show", file, "--type", "f32", "--dims", "3,5", fails=2
    )
    assert "needs --type" in run("show", file, "--dims", "3x4", fails=2)
    assert "unknown tensor type" in run("show", file, "--type", "float", fails=2)
    assert "is written as in" in run("show", file, "--type", "f32", "--dims", "3xfour", fails=2)
    assert "is a picture" in run("show", SEVEN, fails=2)
    assert "there is no file" in run("show", tmp_path / "missing", fails=2)


def test_a_written_tensor_is_shown_as_what_it_is_and_drawn(run: Run, scene: Path, tmp_path: Path) -> None:
    path, file = contract(tmp_path, PICTURE), tmp_path / "x.tensor"
    run("tensor", scene, "--contract", path, "-o", file)
    expected = np.asarray(Image.open(scene).resize((32, 24), Image.Resampling.BILINEAR), int)
    bare = tmp_path / "bare.npy"
    np.save(bare, np.fromfile(file, np.float32).reshape(1, 3, 24, 32))
    for tensor, under, how in (
        (file, ("--contract", path), "the picture, by [input.image]"),
        (file, (), "the picture, by the description beside it"),
        (bare, (), "a guess by its numbers"),
    ):
        text = run("show", tensor, *under, "-o", tmp_path / "back.png")
        assert "as normalised by ImageNet's mean and deviation, channels in the order RGB" in text
        assert how in text
        back = np.asarray(Image.open(tmp_path / "back.png"), int)
        assert np.abs(back - expected).max() <= 1


def test_what_a_bgr_picture_looks_like(run: Run, scene: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    run("tensor", scene, "--contract", contract(tmp_path, BYTES), "-o", file)
    report = json.loads(run("show", file, "--json"))
    assert report["looks_like"] == [
        "dims of a picture, NHWC (channels last, interleaved)",
        "values as of a picture in 0..255",
    ]
    assert len(report["channels"]) == 3
    expected = np.asarray(Image.open(scene).resize((32, 24), Image.Resampling.BILINEAR), int)
    inverted = contract(tmp_path, BYTES + "invert = true\n", "inverted.toml")
    for how in (("--contract", contract(tmp_path, BYTES)), ()):
        run("show", file, *how, "-o", tmp_path / "back.png")
        assert np.abs(np.asarray(Image.open(tmp_path / "back.png"), int) - expected).max() <= 1
    run("tensor", scene, "--contract", inverted, "-o", file)
    run("show", file, "-o", tmp_path / "back.png")
    assert np.abs(np.asarray(Image.open(tmp_path / "back.png"), int) - expected).max() <= 1
    description = tmp_path / "x.npy.json"
    description.write_text(description.read_text().replace('"NHWC"', '"HWC"'))
    assert "has the layout HWC" in run("show", file, "-o", tmp_path / "back.png", fails=2)


def test_a_mask_becomes_a_picture_of_its_classes(run: Run, tmp_path: Path) -> None:
    classes = np.array([[0, 1, 2], [2, 2, 1]])
    scores = np.eye(3, dtype=np.float32)[classes].transpose(2, 0, 1)[None]
    np.save(tmp_path / "scores.npy", scores)
    labels = contract(tmp_path, '[output.road]\nkind = "mask"\nlabels = ["sky", "road", "kerb"]\n')
    text = run("show", tmp_path / "scores.npy", "--mask", "-o", tmp_path / "m.png")
    assert "a mask of layout NCHW, by its dims; pixels by class: class 0 1, class 1 2, class 2 3" in text
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "m.png")), classes)
    text = run("show", tmp_path / "scores.npy", "--mask", "--contract", labels, "-o", tmp_path / "m.png")
    assert "by the contract; pixels by class: sky 1, road 2, kerb 3" in text


def test_what_cannot_be_drawn(run: Run, scene: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 10), np.float32))
    out = ("-o", tmp_path / "p.png")
    assert "does not look like a picture" in run("show", tmp_path / "x.npy", *out, fails=2)
    path = contract(tmp_path, PICTURE)
    assert "has the layout NCHW" in run("show", tmp_path / "x.npy", "--contract", path, *out, fails=2)
    assert "Give --name with one of: 'image'" in run(
        "show", tmp_path / "x.npy", "--contract", path, "--name", "x", *out, fails=2
    )


def test_a_recorded_compute_is_shown_whole_and_by_file(run: Run, tmp_path: Path) -> None:
    half = np.array([0x3F00, 0x4000], np.uint16)  # 0.5 and 2 as bf16
    record = Record(
        "g",
        "onnx",
        "onnxruntime",
        "guest.wasm",
        0.001,
        (Recorded("x", TensorType.BF16, half),),
        (Recorded("y", TensorType.F32, np.array([3.0], np.float32)),),
    )
    FolderRecorder(tmp_path / "r").record(record)
    reports = json.loads(run("show", tmp_path / "r" / "0000", "--json"))
    assert [each["first"] for each in reports] == [[0.5, 2], [3]]
    report = json.loads(run("show", tmp_path / "r" / "0000" / "input-0.npy", "--json"))
    assert (report["type"], report["first"]) == ("bf16", [0.5, 2])
    assert "input x" in run("show", tmp_path / "r" / "0000")
    error = run("show", tmp_path / "r", fails=2)
    assert f"holds the records of 1 compute: name one, as in wasinn show {tmp_path}/r/0000" in error
    assert "not one that" in run("show", tmp_path, fails=2)


def test_one_number_is_shown_once(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([3.25], np.float32))
    text = run("show", tmp_path / "x.npy")
    assert text.count("3.25") == 1
    assert "  number  3.25\n" in text


def test_a_picture_that_is_not_there_is_said_as_everywhere(run: Run, tmp_path: Path) -> None:
    arguments = ("nope.bmp", "--contract", contract(tmp_path, PICTURE), "-o", tmp_path / "x.npy")
    assert "there is no file 'nope.bmp'" in run("tensor", *arguments, fails=2)


# -- guesses ------------------------------------------------------------------------------------------


def test_numbers_that_lie_in_the_other_layout_are_noticed(scene: Path) -> None:
    pixels = np.asarray(Image.open(scene), np.float32)
    planar = pixels.transpose(2, 0, 1)[None]
    assert not looks(planar).swapped
    assert not looks(pixels[None]).swapped
    assert looks(pixels.reshape(1, 3, 48, 64)).swapped
    assert looks(np.ascontiguousarray(planar).reshape(1, 48, 64, 3)).swapped
    noise = np.random.default_rng(5).uniform(0, 255, (1, 3, 48, 64))
    assert not looks(noise).swapped


@pytest.mark.parametrize(
    ("scale", "offset", "expected"),
    [(1.0, 0.0, (0, 255)), (1 / 255, 0.0, (0, 1)), (2 / 255, -1.0, (-1, 1)), (1.0, -128.0, (-128, 127))],
)
def test_the_usual_ranges(scene: Path, scale: float, offset: float, expected: tuple[int, int]) -> None:
    values = np.asarray(Image.open(scene), np.float32)[None] * np.float32(scale) + np.float32(offset)
    assert looks(values).range == expected


def test_small_whole_numbers_are_a_mask_s() -> None:
    classes = np.repeat(np.arange(4), 64).reshape(16, 16)
    for values in (classes, classes[None].astype(np.float32), classes.astype(np.uint8)):
        assert looks(values).sentences()[-1] == "few small whole numbers, as of a mask (--mask)"
    assert not looks(classes + 0.5).mask
    assert not looks(classes * 60).mask
    assert not looks(np.arange(16).reshape(4, 4)).mask


def test_other_numbers_are_called_nothing() -> None:
    assert looks(np.array([[0.2, 0.3, 0.5]], np.float32)).sums_to_one
    assert looks(np.array([[3.0, -8.0, 12.0]], np.float32)).sentences() == []
    assert looks(np.full((1, 3, 8, 8), 1e6, np.float32)).range is None


def test_statistics_of_the_largest_numbers() -> None:
    found = statistics(np.array([1.7e308, 1.7e308]))
    assert (found.maximum, found.mean) == (1.7e308, None)
    assert histogram(np.array([-1.7e308, 1.7e308])) == [(-1.7e308, 1.7e308, 2)]
    assert histogram(np.array([3, 3, 5], np.int64)) == [(3, 3, 2), (5, 5, 1)]
