# SPDX-License-Identifier: Apache-2.0
"""What guests send held against the contract: the cause is named, and no real picture is suspected."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

import models
import wasinn
from conftest import MakeDriver
from wasinn.backends.base import Bindable
from wasinn.contracts import transforms
from wasinn.contracts.bound import bind
from wasinn.contracts.contract import ImageContract, InputContract
from wasinn.contracts.parse import parse_contract
from wasinn.contracts.suspicion import Finding, examiner
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs.checked import CheckedGraph
from wasinn.graphs.loader import Loader
from wasinn.graphs.registry import Registry
from wasinn.shipped import ROOT
from wasinn.spec import TensorType
from wasinn.tensors import Quantization, SpecDims, Tensor, TensorSpec

Array = np.ndarray[Any, Any]

SIZE = (32, 32)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def contract(
    kind: str = "f32", layout: str = "NCHW", quantization: Any = "none", **image: Any
) -> InputContract:
    return InputContract(
        "image", None, TensorType.parse(kind), ImageContract(layout, SIZE, **image), quantization=quantization
    )


UNIT = contract()
SIGNED = contract(range=(-1.0, 1.0))
BYTES = contract(range=(0.0, 255.0))
NORMALISED = contract(mean=MEAN, std=STD)
U8 = contract("u8", "NHWC", range=(0.0, 255.0))
QUANTIZED = contract("u8", "NHWC", Quantization((1 / 128,), (128,)), range=(-1.0, 1.0))
I8 = contract("i8", "NHWC", Quantization((1 / 255,), (-128,)))
CONTRACTS = {
    "0..1": UNIT,
    "-1..1": SIGNED,
    "0..255": BYTES,
    "mean and std": NORMALISED,
    "inverted": contract(invert=True),
    "mean alone": contract(range=(0.0, 255.0), mean=(123.7, 116.8, 103.9), colour="BGR"),
    "u8": U8,
    "quantized": QUANTIZED,
    "i8": I8,
    "f16": contract("f16", "HWC", mean=MEAN, std=STD),
    "gray": contract(layout="HW", colour="GRAY", mean=(0.1307,), std=(0.3081,)),
}


def examine(of: InputContract, values: Array) -> Finding | None:
    examine = examiner(of)
    assert examine is not None
    return examine(Tensor.of(values))


def pictures() -> Iterator[tuple[str, Array]]:
    """Real pictures, and the kinds of them that come nearest to mistakes."""
    rng = np.random.default_rng(0)
    for path in sorted((ROOT / "pictures").iterdir()):
        if path.suffix != ".md":
            with Image.open(path) as image:
                yield path.name, np.asarray(image.convert("RGB").resize(SIZE))
    noise = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    yield "noise", noise
    yield "dark noise", noise // 8
    yield "bright noise", 255 - noise // 8
    yield "no contrast", 120 + noise // 16
    yield "upper half", 128 + noise // 2
    yield "lower half", noise // 2
    yield "gradient", np.linspace(0, 255, SIZE[0]).astype(np.uint8)[:, None, None].repeat(32, 1).repeat(3, 2)
    for level in (0, 1, 2, 127, 128, 254, 255):
        yield f"all {level}", np.full((*SIZE, 3), level, np.uint8)
    for at, name in enumerate(("red", "green", "blue")):
        colour = np.zeros((*SIZE, 3), np.uint8)
        colour[..., at] = 255
        yield name, colour
    letterbox = noise.copy()
    letterbox[:8] = letterbox[-8:] = 114
    yield "letterbox", letterbox
    yield "black and white", np.where(noise > 127, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("name", CONTRACTS)
def test_no_picture_is_suspected(name: str) -> None:
    of = CONTRACTS[name]
    found = {kind: examine(of, transforms.encode(pixels, of)) for kind, pixels in pictures()}
    # A picture whose brightest level is 1 of 255 can be nothing else than suspect; it is not refused.
    assert all(not finding.certain for finding in (found.pop("all 1"),) if finding is not None)
    assert {kind: finding for kind, finding in found.items() if finding is not None} == {}


def test_photographs_are_not_suspected(data: Path) -> None:
    for path in [*sorted((data / "images").iterdir()), data / "birds/bird.jpg"]:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC))
        for of in CONTRACTS.values():
            assert examine(of, transforms.encode(pixels, of)) is None, (path, of)


def test_resizing_with_floats_may_overshoot() -> None:
    pixels = np.zeros((8, 8), np.float32)
    pixels[2:6, 2:6] = 1
    large = np.asarray(Image.fromarray(pixels).resize(SIZE, Image.Resampling.LANCZOS))
    assert large.max() > 1.1
    assert examine(UNIT, large[None, None].repeat(3, 1)) is None


def photograph() -> Array:
    """A picture with all levels from 0 to 255 in each channel."""
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3), np.uint8)


MISTAKES = [
    (UNIT, BYTES, True, "0..255", "divide by 255"),
    (SIGNED, BYTES, True, "0..255", "divide by 127.5 and subtract 1"),
    (NORMALISED, BYTES, True, "0..255", "divide by 255, then subtract mean"),
    (UNIT, SIGNED, True, "-1..1", "add 1 and divide by 2"),
    (UNIT, NORMALISED, True, "mean and std", "leave them out"),
    (SIGNED, UNIT, False, "0..1", "bring it to the range"),
    (NORMALISED, UNIT, False, "0..1", "mean and std were not applied"),
    (NORMALISED, SIGNED, False, "-1..1", "mean and std were not applied"),
    (BYTES, UNIT, False, "0..1", "multiply by 255"),
    (CONTRACTS["mean alone"], SIGNED, False, "-1..1", "multiply by 127.5"),
    (NORMALISED, CONTRACTS["mean alone"], True, "scaled", "divide by 255 first"),
    (BYTES, SIGNED, False, "-1..1", "add 1 and multiply by 127.5"),
    (BYTES, NORMALISED, False, "mean and std", "were applied"),
    (CONTRACTS["mean alone"], NORMALISED, False, "mean and std", "were applied"),
]


@pytest.mark.parametrize(("wanted", "sent", "certain", "cause", "remedy"), MISTAKES)
def test_the_cause_is_named(
    wanted: InputContract, sent: InputContract, certain: bool, cause: str, remedy: str
) -> None:
    finding = examine(wanted, transforms.encode(photograph(), sent))
    assert finding is not None
    assert (finding.cause, finding.certain) == (cause, certain)
    assert remedy in finding.text


def in_floats(path: Path) -> Array:
    """A picture resized with floats: f32 [3, height, width], 0 to 255, no whole levels."""
    with Image.open(path) as image:
        channels = [np.asarray(each).astype("f4") for each in image.convert("RGB").split()]
    planes = [Image.fromarray(each).resize(SIZE, Image.Resampling.BICUBIC) for each in channels]
    return np.stack([np.asarray(each) for each in planes])


def as_floats(levels: Array, of: InputContract) -> Array:
    scale, offset = transforms.levels(of.image) if of.image is not None else (np.ones(3), np.zeros(3))
    return (levels * scale[:, None, None] + offset[:, None, None])[None].astype("f4")


FLOATS = [CONTRACTS[name] for name in ("0..1", "-1..1", "0..255", "mean and std", "inverted", "mean alone")]


def float_pictures(data: Path) -> Iterator[tuple[str, Array]]:
    for path in [*sorted((data / "images").iterdir()), data / "birds/bird.jpg"]:
        levels = in_floats(path)
        yield path.name, levels
        yield f"{path.name}, clipped", levels.clip(0, 255)
        yield f"{path.name}, dark", levels / 16
        yield f"{path.name}, bright", 127.3 + levels / 2
        yield f"{path.name}, without contrast", 110.2 + levels / 20
        yield f"{path.name}, full contrast", 255 * (levels - levels.min()) / (levels.max() - levels.min())


def test_photographs_resized_with_floats_are_not_suspected(data: Path) -> None:
    for name, levels in float_pictures(data):
        for of in FLOATS:
            # That a picture of the upper half alone is 0..1 of -1..1 cannot be told.
            if "bright" not in name or of is not SIGNED:
                assert examine(of, as_floats(levels, of)) is None, (name, of)


@pytest.mark.parametrize(
    ("wanted", "sent", "cause"),
    [
        (BYTES, SIGNED, "-1..1"),
        (BYTES, NORMALISED, "mean and std"),
        (BYTES, UNIT, "0..1"),
        (NORMALISED, UNIT, "0..1"),
        (CONTRACTS["mean alone"], NORMALISED, "mean and std"),
    ],
)
def test_mistakes_with_photographs(
    wanted: InputContract, sent: InputContract, cause: str, data: Path
) -> None:
    paths = list((data / "images").iterdir())
    found = [examine(wanted, as_floats(in_floats(path).clip(0, 255), sent)) for path in paths]
    # What is neither dark nor bright anywhere can be a picture that was normalised.
    assert len([each for each in found if each is not None]) >= len(paths) - (wanted is NORMALISED)
    assert all((each.cause, each.certain) == (cause, False) for each in found if each is not None)


def test_zero_to_one_is_not_suspected_to_be_zero_to_one() -> None:
    values = np.random.default_rng(0).uniform(0.003, 0.997, (1, 3, *SIZE)).astype("f4")
    assert examine(UNIT, values) is None


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, *SIZE), "f4"),
        np.zeros((1, 3, 32, 31), "f4"),
        np.zeros((1, *SIZE, 3), "f4"),
        np.zeros((), "f4"),
        np.zeros((1, 3, *SIZE), "f8"),
        np.zeros((1, 3, *SIZE), np.bool_),
    ],
)
@pytest.mark.parametrize("layout", ["NCHW", "CHW"])
def test_another_form_is_a_finding_and_no_error(values: Array, layout: str) -> None:
    if values.ndim == 3 and layout == "CHW":
        values = values[0]
    finding = examine(contract(layout=layout), values)
    assert finding is not None
    assert finding.cause == ("dims" if values.dtype == "f4" else "type")
    assert finding.certain


@pytest.mark.parametrize("wanted", [SIGNED, NORMALISED])
def test_a_picture_without_black_shows_by_its_steps_that_it_was_not_normalised(wanted: InputContract) -> None:
    """Multiples of 1/255 are what bytes become when they are divided by 255, and nothing else."""
    finding = examine(wanted, transforms.encode(40 + photograph() // 2, UNIT))
    assert finding is not None
    assert finding.cause == "0..1"


def test_bytes_that_cannot_be_right_are_named() -> None:
    unit = (photograph() / 255).astype(np.uint8)[None]  # a picture of 0..1, cast
    finding = examine(U8, unit)
    assert finding is not None
    assert (finding.cause, finding.certain) == ("cast", False)
    twice = np.clip(photograph()[None].astype("f4") * 128 + 128, 0, 255).astype(np.uint8)
    finding = examine(QUANTIZED, twice)
    assert finding is not None
    assert finding.cause == "saturated"
    assert "quantized twice, or from 0..255 in the place of -1..1" in finding.text


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "CHW", "HWC"])
@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_what_is_no_number_is_named(layout: str, value: float, what: str) -> None:
    of = contract(layout=layout)
    values = transforms.encode(photograph(), of)
    values.reshape(-1)[777] = value
    finding = examine(of, values)
    assert finding is not None
    assert finding.certain
    assert what in finding.text


def test_a_tensor_that_was_never_filled() -> None:
    finding = examine(NORMALISED, np.zeros((1, 3, *SIZE), "f4"))
    assert finding is not None
    assert (finding.cause, finding.certain) == ("zeros", False)
    assert examine(UNIT, np.zeros((1, 3, *SIZE), "f4")) is None  # a black picture


def test_of_other_tensors_only_nan_is_wrong() -> None:
    tensor = InputContract("x", None, TensorType.F32)
    assert examine(tensor, np.array([1e30, -np.inf], "f4")) is None
    finding = examine(tensor, np.array([1, np.nan], "f4"))
    assert finding is not None
    assert finding.certain
    assert examiner(InputContract("x", None, TensorType.I64)) is None


# -- as a graph -----------------------------------------------------------------------------------------

OWN = "[input.image]\nlayout = 'NCHW'\nsize = [32, 32]\n"


def source(text: str = OWN, **options: Any) -> wasinn.GraphSource:
    model = models.identity(TensorProto.FLOAT, [1, 3, *SIZE])
    parsed = parse_contract(tomllib.loads(text), Path(), "own.toml", text)
    return wasinn.GraphSource.from_bytes(model, contract=parsed, **options)


WRONG = transforms.encode(photograph(), BYTES)
RIGHT = transforms.encode(photograph(), UNIT)


def test_a_warning_once_for_each_cause(caplog: pytest.LogCaptureFixture) -> None:
    graph = Loader().load(source()).graph
    nan = RIGHT.copy()
    nan[0, 0, 0, 0] = np.nan
    for _ in range(2):
        execution = graph.open()
        for values in (WRONG, nan, WRONG, RIGHT):
            execution.set_input(0, Tensor.of(values))
        execution.compute()
        assert np.array_equal(execution.output(0).numpy(), RIGHT)
    assert [record.getMessage() for record in caplog.records if record.name == "wasinn.graph"] == [
        "input 'image' has values 0 to 255, and the contract gives a picture 0 to 1; it looks like 0..255: "
        "divide by 255",
        "input 'image' has values that are no numbers (NaN)",
    ]


def test_strict_refuses_and_keeps_the_input_before(drive: MakeDriver) -> None:
    driver = drive({"m": source(strict="true")})
    context = driver.open("m")
    assert driver.set_f32(context, 0, RIGHT) == 0
    assert driver.set_f32(context, 0, WRONG) == 1  # invalid_argument
    assert driver.compute(context) == 0
    assert driver.get_f32(context, 0) == RIGHT.ravel().tolist()
    execution = Loader().load(source(strict="true")).graph.open()
    with pytest.raises(WasiNNError, match=r"^invalid_argument: input 'image' has values 0 to 255"):
        execution.set_input(0, Tensor.of(WRONG))
    assert not isinstance(execution, Bindable)


def test_strict_does_not_refuse_what_is_only_unlikely(caplog: pytest.LogCaptureFixture) -> None:
    text = OWN + "range = [0, 255]\n"
    execution = Loader().load(source(text, strict="true")).graph.open()
    execution.set_input(0, Tensor.of(RIGHT))
    assert "it looks like 0..1: multiply by 255" in caplog.text


def test_strict_is_of_what_guests_speak(caplog: pytest.LogCaptureFixture) -> None:
    guests = OWN + "range = [0, 255]\n"
    parsed = parse_contract(tomllib.loads(guests), Path(), "guests.toml", guests)
    execution = Loader().load(source(strict="true", guests=parsed)).graph.open()
    execution.set_input(0, Tensor.of(WRONG))
    execution.compute()
    np.testing.assert_allclose(execution.output(0).numpy(), RIGHT, atol=1e-6)
    with pytest.raises(WasiNNError, match="values"):
        execution.set_input(0, Tensor.of(WRONG * 2))


class AnyGraph:
    """A graph that leaves open what it takes, as TorchScript does."""

    def __init__(self, dims: SpecDims | None = None) -> None:
        self.inputs = (TensorSpec("x", TensorType.F32, dims, any_type=True),)
        self.outputs: tuple[TensorSpec, ...] = ()

    def open(self) -> AnyExecution:
        return AnyExecution()


class AnyExecution:
    def set_input(self, index: int, tensor: Tensor) -> None:
        pass

    def compute(self) -> None:
        pass

    def output(self, index: int) -> Tensor:
        raise AssertionError

    def close(self) -> None:
        pass


NUMBERS = "[input.x]\ntype = 'i64'\ndims = [-1, 4]\n"


def checked(text: str, strict: bool, dims: SpecDims | None = None) -> CheckedGraph:
    graph = AnyGraph(dims)
    parsed = parse_contract(tomllib.loads(text), Path(), "own.toml", text)
    return CheckedGraph(graph, bind(parsed, graph.inputs, graph.outputs), strict)


@pytest.mark.parametrize(
    ("text", "dims", "narrowed"),
    [
        (OWN, None, "f32 [?,3,32,32]"),
        (OWN, (None, None, None, None), "f32 [?,3,32,32]"),
        (OWN, (1, 3, None, None), "f32 [1,3,32,32]"),
        (OWN.replace("NCHW", "HWC"), None, "f32 [32,32,3]"),
        (NUMBERS, None, "i64 [?,4]"),
        (NUMBERS, (2, None), "i64 [2,4]"),
        ("[input.x]\ntype = 'u8'\n", None, "u8 [...]"),
    ],
)
def test_strict_holds_what_the_model_leaves_open_against_the_contract(
    text: str, dims: SpecDims | None, narrowed: str
) -> None:
    assert [str(spec) for spec in checked(text, True, dims).inputs] == [narrowed]
    assert checked(text, False, dims).inputs == AnyGraph(dims).inputs


def test_without_strict_another_form_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    for text in (OWN, NUMBERS):
        execution = checked(text, False).open()
        for values in (np.zeros((4, 4), "f4"), np.zeros(3, "i8"), np.zeros((), "u1")):
            execution.set_input(0, Tensor.of(values))
    assert [record.getMessage() for record in caplog.records] == [
        "input 'image' is f32 [4,4] (64 bytes), and the contract says dims [?,3,32,32]",
        "input 'image' is i64 [3] (24 bytes), and the contract says f32",
        "input 'x' is f32 [4,4] (64 bytes), and the contract says i64",
        "input 'x' is i64 [3] (24 bytes), and the contract says dims [?,4]",
    ]


def test_strict_refuses_what_the_model_leaves_open(drive: MakeDriver) -> None:
    model = models.identity(TensorProto.FLOAT, ["a", "b", "c", "d"])
    parsed = parse_contract(tomllib.loads(OWN), Path(), "own.toml", OWN)
    for strict, code in (("true", 1), ("false", 0)):
        driver = drive({"m": wasinn.GraphSource.from_bytes(model, contract=parsed, strict=strict)})
        context = driver.open("m")
        assert driver.set_f32(context, 0, RIGHT) == 0
        assert driver.set_f32(context, 0, RIGHT.transpose(0, 2, 3, 1)) == code
        assert driver.set_f32(context, 0, RIGHT[:, :, 1:]) == code


def test_the_log_says_where_strict_looks_at_no_values(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wasinn.graph")
    checked(NUMBERS, True)
    assert "input 'x': strict holds its type and dims against the contract, and no values" in caplog.text


@pytest.mark.parametrize("option", ["strict", "guests"])
def test_strict_and_guests_need_a_contract_when_a_graph_is_loaded(option: str) -> None:
    parsed = parse_contract(tomllib.loads(OWN), Path(), "own.toml", OWN)
    chosen = {"strict": "true", "guests": parsed}[option]
    model = models.identity(TensorProto.FLOAT, [1, 3, *SIZE])
    bare = wasinn.GraphSource.from_bytes(model, **{option: chosen})
    with pytest.raises(WasiNNError, match=r"runtime_error: .*give contract as well"):
        Loader().load(bare)
    with pytest.raises(ConfigError, match=r"graph 'm': .*give contract as well"):
        Registry({"m": bare})
    later = replace(bare, contract=parsed)
    assert Loader().load(later).bound is not None
    assert "m" in Registry({"m": later})


def test_the_hot_path_stays_open_without_strict() -> None:
    assert isinstance(Loader().load(source()).graph.open(), Bindable)
    bare = parse_contract(tomllib.loads("[output.y]\n"), Path(), "own.toml")
    model = models.identity(TensorProto.FLOAT, [1, 4])
    plain = wasinn.GraphSource.from_bytes(model, contract=bare, strict="true")
    assert isinstance(Loader().load(plain).graph.open(), Bindable)
