# SPDX-License-Identifier: Apache-2.0
"""The guests in C: they are built from their sources, classify pictures, and survive bad ones."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
import wasinn
from wasinn import RunResult, shipped

ROOT = Path(__file__).parents[1]
PICTURES = shipped.ROOT / "pictures"
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
#: What the digits model takes.
OPTIONS = ["--size", "8x8", "--colour", "gray", "--top", "1", "--tsv"]
MISSING = "No such file or directory (a guest sees only what --dir gives it)"


def picture_of(digit: str) -> Path:
    (path,) = PICTURES.glob(f"{digit}.*")
    return path


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    graphs = {"default": "onnx:@digits", "same": wasinn.GraphSource.from_bytes(models.identity())}
    return wasinn.Host(graphs=graphs)


def classify(host: wasinn.Host, folder: Path, *arguments: str, **options: Any) -> RunResult:
    return host.run("@classify", arguments, dirs={"/p": folder}, deadline=30, **options)


def test_the_shipped_guests_are_what_their_sources_give() -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang is not installed")
    command = [sys.executable, str(ROOT / "guests" / "build.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# -- classify -----------------------------------------------------------------------------------------


def test_the_ten_pictures_are_the_ten_digits(host: wasinn.Host) -> None:
    names = [f"/p/{picture_of(digit).name}" for digit in DIGITS]
    result = classify(host, PICTURES, *OPTIONS, *names)
    assert (result.exit_code, result.stderr) == (0, b"")
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [row[0] for row in rows] == names
    assert [(row[1], row[2], row[4]) for row in rows] == [("1", str(digit), "") for digit in range(10)]
    assert all(0.5 < float(row[3]) <= 1 for row in rows)
    assert result.stats.calls["load_by_name"] == result.stats.calls["init_execution_context"] == 1
    assert result.stats.computes == 10


def test_a_model_from_a_file_and_one_by_name_answer_alike(host: wasinn.Host) -> None:
    arguments = [*OPTIONS[:-3], "--top", "10", "--tsv", "/p/seven.png"]
    by_name = classify(host, PICTURES, *arguments)
    model = shipped.ROOT / "models"
    by_bytes = host.run(
        "@classify", ["--model", "/m/digits.onnx", *arguments], dirs={"/p": PICTURES, "/m": model}
    )
    assert by_name.exit_code == by_bytes.exit_code == 0
    assert by_name.stdout == by_bytes.stdout
    assert by_bytes.stats.calls["load"] == 1


def test_the_best_few_are_printed_best_first_with_labels(host: wasinn.Host, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("none\n" + "\r\n".join(DIGITS))
    (tmp_path / "x.png").write_bytes(picture_of("four").read_bytes())
    arguments = [
        "--labels",
        "/p/labels",
        "--label-offset",
        "1",
        *OPTIONS[:-3],
        "--top=4",
        "--tsv",
        "/p/x.png",
    ]
    result = classify(host, tmp_path, *arguments)
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [row[1] for row in rows] == ["1", "2", "3", "4"]
    scores = [float(row[3]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert [row[4] for row in rows] == [DIGITS[int(row[2])] for row in rows]
    assert rows[0][4] == "four"


def test_without_tsv_a_person_reads_it(host: wasinn.Host) -> None:
    result = classify(host, PICTURES, *OPTIONS[:-1], "/p/nine.png")
    lines = result.stdout.decode().splitlines()
    assert lines[0] == "/p/nine.png"
    assert lines[1].split()[:3] == ["1", "class", "9"]
    assert lines[1].endswith("%")


def test_a_bad_picture_leaves_the_others(host: wasinn.Host, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(picture_of("one").read_bytes())
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    result = classify(host, tmp_path, *OPTIONS, "/p/bad.png", "/p/good.png", "/p/none.png")
    assert result.exit_code == 1
    assert [line.split(b"\t")[2] for line in result.stdout.splitlines()] == [b"1"]
    errors = result.stderr.decode().splitlines()
    assert [line.split(": ")[:2] for line in errors] == [
        ["classify", "/p/bad.png"],
        ["classify", "/p/none.png"],
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["/p/none.png"], 1, f"classify: /p/none.png: {MISSING}"),
        (["/elsewhere/one.png"], 1, f"classify: /elsewhere/one.png: {MISSING}"),
        (
            ["--name", "none", "/p/one.png"],
            1,
            "load_by_name answered not_found (8): no graph is called 'none'",
        ),
        (["--model", "/p/one.png", "/p/one.png"], 1, "load answered invalid_encoding (2)"),
        (["--model", "/p/none", "/p/one.png"], 1, f"classify: /p/none: {MISSING}"),
        (["--labels", "/p/none", "/p/one.png"], 1, f"classify: /p/none: {MISSING}"),
        (["--size", "9x8", "/p/one.png"], 1, "set_input answered invalid_argument (1)"),
        (["--colour", "rgb", "/p/one.png"], 1, "set_input answered invalid_argument (1)"),
        (["--type", "u8", "/p/one.png"], 1, "set_input answered invalid_argument (1)"),
        ([], 2, "no picture is given"),
        (["--size", "8", "/p/one.png"], 2, "--size takes HEIGHTxWIDTH"),
        (["--size", "0x8", "/p/one.png"], 2, "--size takes HEIGHTxWIDTH"),
        (
            ["--encoding", "none", "/p/one.png"],
            2,
            "tensorflow pytorch tensorflowlite autodetect ggml, not 'none'",
        ),
        (["--colour", "red", "/p/one.png"], 2, "--colour is one of rgb bgr gray, not 'red'"),
        (["--top", "0", "/p/one.png"], 2, "--top has a number that is not allowed"),
        (["--nonsense", "1", "/p/one.png"], 2, "--nonsense is not an option"),
        (["/p/one.png", "--top"], 2, "--top needs a value"),
        (["--name", "a", "--model", "b", "/p/one.png"], 2, "--model and --name exclude each other"),
        (["--type", "u8", "--mean", "1", "/p/one.png"], 2, "--type u8 sends bytes as they are"),
        (["--std", "0", "/p/one.png"], 2, "--std cannot be 0"),
        (["--crop", "4", "/p/one.png"], 2, "--crop must not be smaller than --size"),
    ],
)
def test_a_mistake_is_named_and_gives_the_exit_code(
    host: wasinn.Host, arguments: list[str], code: int, message: str
) -> None:
    result = classify(host, PICTURES, *OPTIONS, *arguments)
    assert (result.exit_code, result.trap) == (code, None)
    assert message in result.stderr.decode()
    assert result.stdout == b""


@pytest.mark.parametrize(
    ("word", "number"),
    [("openvino", 0), ("tf", 2), ("torch", 3), ("tflite", 4), ("tensorflowlite", 4), ("gguf", 6)],
)
def test_an_encoding_may_have_its_short_name(
    host: wasinn.Host, caplog: pytest.LogCaptureFixture, word: str, number: int
) -> None:
    for guest in ("@classify", "@infer"):
        caplog.clear()
        more = ["/p/one.png"] if guest == "@classify" else []
        arguments = ["--model", "/p/one.png", "--encoding", word, *more]
        assert host.run(guest, arguments, dirs={"/p": PICTURES}).exit_code == 1
        assert f"encoding {number}," in caplog.text


def test_help_is_an_answer(host: wasinn.Host) -> None:
    result = host.run("@classify", ["--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith(b"usage: classify")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the format is not known"),
        (b"\xff\xd8\xff\xe0", "it is a JPEG"),
        (b"P6\n0 5\n255\n", "empty"),
        (b"P6\n99999 99999\n255\n", "ends before its pixels|too large"),
        (b"P5\n4 4\n255\n123", "ends before its pixels"),
        (b"P5\n4 4\n0\n" + bytes(16), "header is damaged"),
        (b"BM" + bytes(100), "damaged|does not know"),
        (b"GIF89a" + bytes(20), "the format is not known"),
    ],
)
def test_a_picture_that_cannot_be_read_says_why(
    host: wasinn.Host, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "x").write_bytes(content)
    result = classify(host, tmp_path, *OPTIONS, "/p/x")
    assert (result.exit_code, result.trap) == (1, None)
    assert any(part in result.stderr.decode() for part in message.split("|"))


# -- damaged pictures -----------------------------------------------------------------------------------

SAMPLES = [picture_of(digit).read_bytes() for digit in ("zero", "three", "five")]


@settings(max_examples=150, deadline=None)
@given(
    sample=st.sampled_from(SAMPLES),
    cut=st.one_of(st.none(), st.integers(0, 400), st.integers(0, 30_000)),
    changes=st.lists(
        st.tuples(st.one_of(st.integers(0, 70), st.integers(0, 30_000)), st.integers(0, 255)), max_size=12
    ),
)
def test_a_damaged_picture_never_traps(
    sample: bytes, cut: int | None, changes: list[tuple[int, int]], host: wasinn.Host, folder: Path
) -> None:
    content = bytearray(sample[:cut])
    for position, value in changes:
        if position < len(content):
            content[position] = value
    (folder / "x").write_bytes(content)
    result = classify(host, folder, *OPTIONS, "/p/x", max_memory=512 << 20)
    assert (result.trap, result.limit) == (None, None)
    assert result.exit_code in (0, 1)
    assert bool(result.stderr) == (result.exit_code == 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


# -- preprocessing ----------------------------------------------------------------------------------------

SHOWN = 24  # the output is what the model was given: its size is at most SHOWN x SHOWN x 3


def echo_host(channels: int, height: int, width: int) -> wasinn.Host:
    """A model that answers with its picture, so that the scores are what preprocessing made."""
    nodes = [helper.make_node("Flatten", ["x"], ["y"])]
    count = channels * height * width
    model = models.onnx_model(
        nodes,
        [("x", TensorProto.FLOAT, [1, channels, height, width])],
        [("y", TensorProto.FLOAT, [1, count])],
    )
    return wasinn.Host(graphs={"echo": wasinn.GraphSource.from_bytes(model)})


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    to=st.tuples(st.integers(1, SHOWN), st.integers(1, SHOWN)),
    gray=st.booleans(),
    resize=st.sampled_from(["bilinear", "nearest"]),
    kind=st.sampled_from(["PNG", "BMP", "PPM"]),
    seed=st.integers(0, 1000),
)
def test_preprocessing_is_pillow_s_within_a_step(
    size: tuple[int, int],
    to: tuple[int, int],
    gray: bool,
    resize: str,
    kind: str,
    seed: int,
    folder: Path,
) -> None:
    image_module = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    picture = image_module.fromarray(pixels)
    picture.save(folder / "x", format=kind)
    height, width = to
    filters = {
        "bilinear": image_module.Resampling.BILINEAR,
        "nearest": image_module.Resampling.NEAREST,
    }
    resized = picture.resize((width, height), filters[resize])
    wanted = np.asarray(resized.convert("L") if gray else resized, int)
    wanted = wanted[None] if gray else wanted.transpose(2, 0, 1)
    colour = "gray" if gray else "rgb"
    command = ["--size", f"{height}x{width}", "--colour", colour, "--range", "0,255", "--resize", resize]
    command += ["--softmax", "no", "--top", str(wanted.size), "--tsv", "--name", "echo", "/p/x"]
    result = classify(echo_host(1 if gray else 3, height, width), folder, *command)
    assert result.exit_code == 0, result.stderr
    found = np.zeros(wanted.size)
    for line in result.stdout.decode().splitlines():
        _, _, index, value, _ = line.split("\t")
        found[int(index)] = float(value)
    assert np.abs(found.reshape(wanted.shape) - wanted).max() <= 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--range", "0,1"], [200 / 255, 100 / 255, 0.0]),
        (["--range", "-1,1"], [200 / 127.5 - 1, 100 / 127.5 - 1, -1.0]),
        (["--range", "0,255", "--colour", "bgr"], [0, 100, 200]),
        (["--range", "0,255", "--invert"], [55, 155, 255]),
        (["--mean", "0.5,0.25,0", "--std", "0.5,1,2"], [(200 / 255 - 0.5) * 2, 100 / 255 - 0.25, 0]),
    ],
    ids=["unit", "signed", "bgr", "inverted", "mean and std"],
)
def test_the_range_the_colours_and_the_normalisation_are_as_said(
    tmp_path: Path, options: list[str], expected: list[float]
) -> None:
    (tmp_path / "x").write_bytes(b"P6\n1 1\n255\n" + bytes([200, 100, 0]))
    command = ["--size", "1x1", "--softmax", "no", "--top", "3", "--tsv", "--name", "echo", *options, "/p/x"]
    result = classify(echo_host(3, 1, 1), tmp_path, *command)
    found = {
        int(row.split("\t")[2]): float(row.split("\t")[3]) for row in result.stdout.decode().splitlines()
    }
    assert [found[index] for index in range(3)] == pytest.approx(expected, abs=1e-5)


# -- scores -----------------------------------------------------------------------------------------------


def scores_of(
    folder: Path, values: np.ndarray[Any, Any], onnx_type: int, *options: str
) -> tuple[RunResult, list[float]]:
    """What classify makes of a model with this one output, by class; the pictures are not looked at."""
    node = helper.make_node(
        "Constant",
        [],
        ["y"],
        value=helper.make_tensor("y", onnx_type, values.shape, values.tobytes(), raw=True),
    )
    model = models.onnx_model(
        [node], [("x", TensorProto.FLOAT, [1, 3, 1, 1])], [("y", onnx_type, list(values.shape))]
    )
    (folder / "x").write_bytes(b"P6\n1 1\n255\n\0\0\0")
    host = wasinn.Host(graphs={"m": wasinn.GraphSource.from_bytes(model)})
    command = ["--name", "m", "--size", "1x1", "--top", "1000", "--tsv", *options, "/p/x"]
    result = classify(host, folder, *command)
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    return result, [float(row[3]) for row in sorted(rows, key=lambda row: int(row[2]))]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([0.25, 0.75], True),
        ([0.0, 0.7421875, 0.0625], True),
        ([0.9, 0.8, 0.95], True),
        ([1.0000001, 0.0], True),
        ([0.5, 1.5], False),
        ([0.5, -0.5], False),
    ],
    ids=["sum of 1", "quantized", "independent classes", "rounding", "above 1", "below 0"],
)
def test_scores_from_0_to_1_are_left_as_they_are(tmp_path: Path, values: list[float], kept: bool) -> None:
    logits = np.array([values], "<f4")
    shares = np.exp(logits) / np.exp(logits).sum()
    for softmax, expected in (("auto", logits if kept else shares), ("yes", shares), ("no", logits)):
        result, found = scores_of(tmp_path, logits, TensorProto.FLOAT, "--softmax", softmax)
        assert (result.exit_code, result.stderr) == (0, b"")
        assert found == pytest.approx(expected[0].tolist(), abs=1e-5)


def test_bytes_are_not_taken_for_floats(tmp_path: Path) -> None:
    scores = np.zeros((1, 10), "u1")
    scores[0, 3] = 255
    result, _ = scores_of(tmp_path, scores, TensorProto.UINT8)
    assert (result.exit_code, result.stdout) == (1, b"")
    text = "output 0 has 10 bytes, which are no f32 numbers: is it of another type (--output-type u8)?"
    assert result.stderr.decode() == f"classify: {text}\n"
    result, found = scores_of(tmp_path, scores, TensorProto.UINT8, "--output-type", "u8")
    assert (result.stderr, found) == (b"", (scores[0] / 255).tolist())


@pytest.mark.parametrize("best", range(4))
def test_bytes_that_could_be_floats_by_their_number_are_told(tmp_path: Path, best: int) -> None:
    scores = np.zeros((1, 1000), "u1")
    scores[0, 500 + best] = 255
    scores[0, 4] = 1
    result, _ = scores_of(tmp_path, scores, TensorProto.UINT8)
    text = "output 0 does not look like f32 numbers: is it of another type (--output-type u8)?"
    assert result.stderr.decode() == f"classify: {text}\n"
    assert scores_of(tmp_path, scores, TensorProto.UINT8, "--output-type", "f32")[0].stderr == b""


# -- identity and infer -----------------------------------------------------------------------------------


def test_identity_returns_what_it_sent(host: wasinn.Host, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(models.identity())
    for result in (
        host.run("@identity", ["same"]),
        host.run("@identity", ["/p/m.onnx"], dirs={"/p": tmp_path}),
    ):
        assert (result.exit_code, result.stdout, result.stderr) == (0, b"16 bytes: 1 2 3 4\n", b"")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "usage: identity"),
        (["none"], 1, "load_by_name answered not_found"),
        (["default"], 1, "set_input answered invalid_argument"),
        (["none.onnx"], 1, "none.onnx cannot be opened: is its directory given"),
    ],
)
def test_identity_says_what_failed(host: wasinn.Host, arguments: list[str], code: int, message: str) -> None:
    result = host.run("@identity", arguments)
    assert result.exit_code == code
    assert message in result.stderr.decode()


def test_infer_gives_any_model_any_tensor(tmp_path: Path) -> None:
    (tmp_path / "add.onnx").write_bytes(models.add((2, 2)))
    (tmp_path / "a").write_bytes(np.array([1, 2, 3, 4], "<f4").tobytes())
    (tmp_path / "b").write_bytes(np.array([0.5, 0, 0, -4], "<f4").tobytes())
    command = ["--model", "/p/add.onnx", "--input", "0:f32:2x2:/p/a", "--input", "1:f32:2x2:/p/b"]
    command += ["--output", "1", "--output", "0:f32", "--save", "/p/out", "--repeat", "3"]
    result = wasinn.Host().run("@infer", command, dirs=[f"{tmp_path}::/p:rw"])
    assert (result.exit_code, result.stderr) == (0, b"")
    assert result.stdout == b"output 1: 16 bytes\n0.5 2 3 8\noutput 0: 16 bytes\n1.5 2 3 0\n"
    saved = np.frombuffer((tmp_path / "out").read_bytes(), "<f4")
    assert saved.tolist() == [0.5, 2, 3, 8, 1.5, 2, 3, 0]
    assert result.stats.computes == 3


@pytest.mark.parametrize(
    ("kind", "onnx_type", "data", "printed"),
    [
        ("f16", TensorProto.FLOAT16, np.array([0.5, -2], "<f2"), "0.5 -2"),
        ("f64", TensorProto.DOUBLE, np.array([1e300, 0.1], "<f8"), "1e+300 0.1"),
        ("u8", TensorProto.UINT8, np.array([0, 255], "u1"), "0 255"),
        ("i32", TensorProto.INT32, np.array([-7, 2**20], "<i4"), "-7 1048576"),
        ("i64", TensorProto.INT64, np.array([-1, 2**20], "<i8"), "-1 1048576"),
    ],
)
def test_infer_reads_and_prints_every_type(
    tmp_path: Path, kind: str, onnx_type: int, data: np.ndarray, printed: str
) -> None:
    (tmp_path / "x").write_bytes(data.tobytes())
    host = wasinn.Host(graphs={"m": wasinn.GraphSource.from_bytes(models.identity(onnx_type, [2]))})
    command = ["--name", "m", "--input", f"0:{kind}:2:/p/x", "--output", f"0:{kind}"]
    result = host.run("@infer", command, dirs={"/p": tmp_path})
    assert result.stdout.decode() == f"output 0: {data.nbytes} bytes\n{printed}\n"


@pytest.mark.parametrize(
    ("onnx_type", "data", "option", "message"),
    [
        (TensorProto.UINT8, np.arange(965).astype("u1"), "0", "has 965 bytes, which are no f32 numbers"),
        (TensorProto.UINT8, np.arange(9).astype("u1"), "0:i64", "has 9 bytes, which are no i64 numbers"),
        (TensorProto.UINT8, np.arange(1000).astype("u1"), "0", "does not look like f32 numbers"),
        (TensorProto.INT64, np.array([281], "<i8"), "0", "does not look like f32 numbers"),
        (TensorProto.FLOAT, np.array([0, np.nan, np.inf, 1e9, 1e-9], "<f4"), "0", ""),
        (TensorProto.FLOAT, np.zeros(4, "<f4"), "0", ""),
        (TensorProto.UINT8, np.arange(1000).astype("u1"), "0:u8", ""),
    ],
)
def test_infer_doubts_a_type_that_does_not_fit(
    tmp_path: Path, onnx_type: int, data: np.ndarray, option: str, message: str
) -> None:
    (tmp_path / "x").write_bytes(data.tobytes())
    names = {"u1": "u8", "i8": "i64", "f4": "f32"}
    kind = names[data.dtype.str[1:]]
    host = wasinn.Host(graphs={"m": wasinn.GraphSource.from_bytes(models.identity(onnx_type, ["n"]))})
    command = ["--name", "m", "--input", f"0:{kind}:{data.size}:/p/x", "--output", option, "--save", "/p/y"]
    result = host.run("@infer", command, dirs=[f"{tmp_path}::/p:rw"])
    other = ": is it of another type (--output INDEX:TYPE)?\n"
    assert result.stderr.decode() == (f"infer: output 0 {message}{other}" if message else "")
    assert result.exit_code == ("bytes" in message)
    assert (tmp_path / "y").read_bytes() == data.tobytes()


def test_an_output_of_usual_size_fits_the_first_buffer(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(64_000))
    host = wasinn.Host(graphs={"m": wasinn.GraphSource.from_bytes(models.identity(dims=["n"]))})
    result = host.run("@infer", ["--name", "m", "--input", "0:f32:16000:/p/x"], dirs={"/p": tmp_path})
    assert result.stats.calls["get_output"] == 1


def test_infer_grows_its_buffer_to_the_output(tmp_path: Path) -> None:
    values = np.arange(100_000, dtype="<f4")
    (tmp_path / "x").write_bytes(values.tobytes())
    host = wasinn.Host(graphs={"m": wasinn.GraphSource.from_bytes(models.identity(dims=["n"]))})
    command = ["--name", "m", "--input", "0:f32:100000:/p/x", "--top", "2"]
    result = host.run("@infer", command, dirs={"/p": tmp_path})
    assert result.stdout == b"output 0: 400000 bytes\n99999 99999.000\n99998 99998.000\n"


NO_TYPE = "none of f16 f32 f64 u8 i32 i64; i8 passes as u8"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "one of --model and --name is needed"),
        (["--name", "same", "--input", "0:f32:1x4"], 2, "--input takes INDEX:TYPE:DIMS:FILE"),
        (["--name", "same", "--input", "0:i8:1x4:/p/x"], 2, f"--input has a type that is {NO_TYPE}"),
        (["--name", "same", "--output", "0:f99"], 2, f"--output has a type that is {NO_TYPE}"),
        (["--name", "same", "--output", "0f32"], 2, "--output takes INDEX[:TYPE]"),
        (["--name", "same", "--encoding", "none"], 2, "--encoding is not known"),
        (["--name", "same", "--input", "0:f32:ax4:/p/x"], 2, "dimensions that are not like"),
        (["--name", "same", "--input", "0:f32:1x4:/p/none"], 1, f"infer: /p/none: {MISSING}"),
        (["--name", "same", "--input", "0:f32:1x5:/p/x"], 1, "f32 [1,5] takes 20 bytes, and 16 were given"),
        (["--name", "same", "--input", "3:f32:1x4:/p/x"], 1, "set_input answered invalid_argument"),
        (["--name", "same"], 1, "compute answered invalid_argument"),
        (["--name", "same", "--input", "0:f32:1x4:/p/x", "--output", "9"], 1, "get_output answered invalid"),
        (["--name", "same", "--input", "0:f32:1x4:/p/x", "--save", "/p/y"], 1, "/p/y cannot be written"),
    ],
)
def test_infer_says_what_failed(
    host: wasinn.Host, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "x").write_bytes(bytes(16))
    result = host.run("@infer", arguments, dirs={"/p": tmp_path})
    assert (result.exit_code, result.trap) == (code, None)
    assert message in result.stderr.decode()
