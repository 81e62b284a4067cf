# SPDX-License-Identifier: Apache-2.0
"""The Python SDK by itself, without a component: it is the same code, and runs a hundred times as fast here.

What all languages share is in the other files of this folder; a few runs of the component are at the end.
"""

from __future__ import annotations

import io
import json
import math
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

import component_python
import wasinn
from sdk.pictures import COLOUR_TYPES, MODES, Made, pictures
from sdk.test_preprocess import Pair, compare, contracts, plain
from wasinn import shipped
from wasinn.contracts.quantization import dequantize as host_dequantize
from wasinn.contracts.quantization import quantize as host_quantize
from wasinn.imaging import masks as host_masks
from wasinn.imaging.resize import resize as host_resize
from wasinn.spec import TensorType as HostType
from wasinn.tensors import Quantization as HostQuantization

sys.path.insert(0, str(component_python.SDK))
import build_guest
import wasinn_guest as sdk
from wasinn_guest import pixels as sdk_pixels
from wasinn_guest import resize as sdk_resize

ROOT = component_python.SDK.parents[1]
Array = np.ndarray[Any, Any]


def array_of(image: sdk.Image) -> Array:
    return np.frombuffer(image.rgb, np.uint8).reshape(image.height, image.width, 3)


def resized(array: Array, height: int, width: int, filter: str, antialias: bool) -> Array:
    image = sdk.Image.from_rgb(array.shape[1], array.shape[0], array.tobytes())
    planes = sdk_resize.resize(image, width, height, filter, antialias)
    return np.stack([np.frombuffer(plane, np.uint8).reshape(height, width) for plane in planes], -1)


# -- pictures -----------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(pictures())
def test_pictures_are_decoded_as_the_host_does(made: Made) -> None:
    from wasinn.imaging.decode import read_picture

    np.testing.assert_array_equal(array_of(sdk.Image.decode(made.content)), read_picture(made.content))


FORMS = [(kind, mode) for kind, modes in MODES.items() for mode in modes] + [
    ("PNG", f"{colour}-{depth}-{interlace}")
    for colour, (_, depths) in COLOUR_TYPES.items()
    for depth in depths
    for interlace in (0, 1)
]


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_no_damaged_file_does_more_than_be_refused(
    kind: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are changed, cut off or put in; checksums made good again, so that what is behind them is
    reached."""
    monkeypatch.setattr(sdk_pixels, "MOST_PIXELS", 1 << 16)
    chance = random.Random(f"{kind} {form}")
    good = Made(kind, form, 13, 9, 1).content
    reasons: set[str] = set()
    for _ in range(400):
        content = damaged(good, chance)
        try:
            picture = sdk.Image.decode(content)
        except sdk.NnError as error:
            reasons.add(str(error))
        else:
            assert len(picture.rgb) == 3 * picture.width * picture.height
    assert reasons
    assert all(10 < len(reason) < 300 for reason in reasons)


def damaged(good: bytes, chance: random.Random) -> bytes:
    content = bytearray(good)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = (
            chance.randrange(len(content))
            if chance.random() < 0.5
            else chance.randrange(min(64, len(content)))
        )
        match chance.randrange(5):
            case 0:
                content[at] = chance.randrange(256)
            case 1:
                content[at] ^= 1 << chance.randrange(8)
            case 2:
                content[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
            case 3:
                del content[at : at + chance.randrange(1, 9)]
            case _:
                content[at:at] = chance.randbytes(chance.randrange(1, 5))
        if len(content) < 8:
            break
    if chance.random() < 0.2:
        del content[chance.randrange(len(content)) :]
    return checked(bytes(content)) if chance.random() < 0.7 else bytes(content)


def checked(content: bytes) -> bytes:
    """A PNG with its checksums made good, as far as its chunks go."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    result, at = bytearray(content), 8
    while at + 12 <= len(result):
        (size,) = struct.unpack_from(">I", result, at)
        if at + 12 + size > len(result):
            break
        crc = zlib.crc32(result[at + 4 : at + 8 + size])
        result[at + 8 + size : at + 12 + size] = struct.pack(">I", crc)
        at += 12 + size
    return bytes(result)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"hello, this is no picture", "format is not known"),
        (b"\xff\xd8\xff\xe0 JFIF", "it is a JPEG"),
        (b"\x89PNG\r\n\x1a\n", "ends too early"),
        (b"P5 70000 70000 255\n", "too large"),
        (b"P5 0 4 255\n", "no pixels"),
        (b"P6 4 4 255\nabc", "ends before its pixels"),
        (b"P3 1 1 255 1 2 999", "999"),
        (b"BM" + bytes(10), "header"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(content: bytes, words: str) -> None:
    with pytest.raises(sdk.NnError, match=words):
        sdk.Image.decode(content)


def test_a_small_file_that_claims_many_pixels_costs_nothing() -> None:
    header = struct.pack(">IIBBBBB", 8192, 8192, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    with pytest.raises(sdk.NnError, match="fewer pixels than its header says"):
        sdk.Image.decode(content)


def test_pixels_of_one_s_own(tmp_path: Path) -> None:
    assert sdk.Image.from_rgb(2, 1, bytearray(6)).rgb == bytes(6)
    with pytest.raises(sdk.NnError, match="are 6 bytes, and 5 are given"):
        sdk.Image.from_rgb(2, 1, bytes(5))
    with pytest.raises(sdk.NnError, match=r"gone\.png: No such file"):
        sdk.Image.open(tmp_path / "gone.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    with pytest.raises(sdk.NnError, match=r"bad\.png: its PNG signature"):
        sdk.Image.open(tmp_path / "bad.png")


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 256), st.randoms(use_true_random=False))
def test_a_palette_picture_is_read_back(width: int, height: int, count: int, chance: random.Random) -> None:
    pixels = bytes(chance.randrange(count) for _ in range(width * height))
    colours = sdk.palette(count)
    assert colours == [tuple(each) for each in host_masks.palette(count).tolist()]
    content = sdk.encode_palette(width, height, pixels, colours)
    with Pillow.open(io.BytesIO(content)) as opened:
        assert (opened.mode, opened.size, opened.tobytes()) == ("P", (width, height), pixels)
    wanted = np.array(colours, np.uint8)[np.frombuffer(pixels, np.uint8)].reshape(height, width, 3)
    np.testing.assert_array_equal(array_of(sdk.Image.decode(content)), wanted)


def test_a_palette_picture_that_cannot_be() -> None:
    with pytest.raises(sdk.NnError, match="pixels up to 2 need 3 colours"):
        sdk.encode_palette(1, 1, b"\2", [(0, 0, 0)] * 2)
    with pytest.raises(sdk.NnError, match="are 2 bytes"):
        sdk.encode_palette(1, 2, b"\2", [(0, 0, 0)] * 3)


# -- preprocessing
# --------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(pictures(), contracts())
def test_any_picture_under_any_contract(made: Made, contract: Any) -> None:
    pair = Pair(made, contract)
    wanted = pair.expected()
    given_contract = sdk.InputContract.from_json(json.dumps(pair.document))
    if wanted is None:
        with pytest.raises(sdk.NnError):
            sdk.preprocess(sdk.Image.decode(made.content), given_contract)
        return
    tensor = sdk.preprocess(sdk.Image.decode(made.content), given_contract)
    assert tensor.dims == wanted.shape
    compare(pair, np.frombuffer(tensor.data, wanted.dtype).reshape(wanted.shape), wanted, exact=False)


@settings(max_examples=300, deadline=None)
@given(
    st.tuples(*[st.integers(1, 60)] * 4),
    st.sampled_from(["bilinear", "nearest", "area"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_resizing_is_the_host_s_up_to_a_level(
    sizes: tuple[int, int, int, int], filter: str, antialias: bool, seed: int
) -> None:
    h, w, height, width = sizes
    array = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    found = resized(array, height, width, filter, antialias).astype(int)
    assert np.abs(found - host_resize(array, (height, width), filter, antialias)).max() <= 1


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(40, 30), (24, 32), (100, 100), (48, 11)])
def test_bicubic(size: tuple[int, int], antialias: bool) -> None:
    """Slopes and an edge: how far it overshoots and where it is cut."""
    array = np.zeros((48, 64, 3), np.uint8)
    array[..., 0] = np.linspace(0, 255, 64)
    array[10:30, 20:40, 1] = 255
    array[..., 2] = np.linspace(255, 0, 48)[:, None]
    found = resized(array, *size, "bicubic", antialias).astype(int)
    assert np.abs(found - host_resize(array, size, "bicubic", antialias)).max() <= 1


def test_a_picture_of_one_column_whose_crop_is_not_resized_whole() -> None:
    made = Made("PNG", "RGB", 1, 3000, 4)
    pair = Pair(made, plain(size=(90, 90), fit="crop"))
    wanted = pair.expected()
    assert wanted is not None
    contract = sdk.InputContract.from_json(json.dumps(pair.document))
    tensor = sdk.preprocess(sdk.Image.decode(made.content), contract)
    compare(pair, np.frombuffer(tensor.data, "<f4").reshape(wanted.shape), wanted, exact=False)


@pytest.mark.parametrize("kind", ["u16", "i16", "u32", "u64", "i64", "f64"])
def test_types_that_few_models_take(kind: str) -> None:
    made = Made("PNG", "RGB", 9, 8, 1)
    image = {"layout": "NCHW", "size": [8, 9], "range": [0, 1000]}
    contract = sdk.InputContract.from_json({"type": kind, "image": image})
    tensor = sdk.preprocess(sdk.Image.decode(made.content), contract)
    levels = array_of(sdk.Image.decode(made.content)).transpose(2, 0, 1).reshape(-1) * (1000 / 255)
    wanted = levels if kind == "f64" else np.floor(levels + 0.5)
    np.testing.assert_allclose(list(tensor.values()), wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "cannot be read"),
        ('{"type": "f32", "image": {"layout": "NCHW"}}', "lacks 'size'"),
        ('{"type": "float", "image": {"layout": "NCHW", "size": [1, 1]}}', "no tensor type 'float'"),
        ('{"image": {"layout": "CNHW", "size": [1, 1]}}', "no layout 'CNHW'"),
        ('{"image": {"layout": "NCHW", "size": [0, 1]}}', "size is"),
        ('{"image": {"layout": "NCHW", "size": [1, 1], "std": [1, 0, 1]}}', "std has a 0"),
        ('{"image": {"layout": "NCHW", "size": [1, 1], "mean": [1, 0]}}', "mean has 2 numbers"),
        ('{"image": {"layout": "HW", "size": [1, 1]}}', "no channels"),
    ],
)
def test_a_contract_that_cannot_be_read(document: str, words: str) -> None:
    with pytest.raises(sdk.NnError, match=words):
        sdk.InputContract.from_json(document)


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        ({"type": "f32"}, "is no picture"),
        ({"type": "bf16", "image": {}}, "takes bf16"),
        ({"image": {"resize": "lanczos"}}, "no resize filter 'lanczos'; there are bilinear"),
        ({"image": {"fit": "cover"}}, "no fit 'cover'"),
        ({"image": {"fit": "crop", "crop": 3}}, "too small to cut"),
        ({"type": "u8", "quantization": {"scale": [1, 2]}, "image": {}}, "2 scales"),
    ],
)
def test_a_contract_that_cannot_be_met(contract: dict[str, Any], words: str) -> None:
    if "image" in contract:
        contract = contract | {"image": {"layout": "NCHW", "size": [4, 4], **contract["image"]}}
    with pytest.raises(sdk.NnError, match=words):
        sdk.preprocess(sdk.Image.from_rgb(8, 8, bytes(192)), sdk.InputContract.from_json(contract))


# -- tensors and numbers
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [each.value for each in sdk.TensorType])
def test_tensors_hold_their_numbers(kind: str) -> None:
    numbers = [0, 1, 5, 100] if kind[0] in "ub" and kind != "bf16" else [-2, 0, 1, 100]
    tensor = sdk.Tensor.of(numbers, kind, [2, 2])
    assert list(tensor.values()) == numbers
    assert tensor.count == 4
    assert len(tensor.data) == 4 * sdk.TensorType.of(kind).size
    assert [list(row.values()) for row in tensor.rows()] == [numbers[:2], numbers[2:]]
    assert sdk.Tensor.of([], kind).values() is not None
    assert list(sdk.Tensor(kind, [0, 3], b"").values()) == []


def test_the_interfaces_are_the_host_s() -> None:
    theirs = ROOT / "src" / "wasinn" / "shipped" / "wit"
    shared = [path for path in (component_python.SDK / "wit").glob("*.wit") if (theirs / path.name).exists()]
    assert {path.name for path in shared} == {"wasi-nn-2024-10-28.wit", "wasinn-nn.wit"}
    for path in shared:
        assert path.read_text() == (theirs / path.name).read_text(), path.name


def test_a_bmp_whose_masks_are_beyond_its_pixels_has_none_of_the_colour() -> None:
    masks = (0xFF000000, 0x00FF0000, 0x1F)
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 0, 0, 0, 0, 0)
    content = b"BM" + struct.pack("<IHHI", 0, 0, 0, 66) + header + struct.pack("<III", *masks) + b"\xff" * 4
    assert sdk.Image.decode(content).rgb == bytes((0, 0, 255)) * 2


def test_contracts_and_metadata_that_cannot_be() -> None:
    for layout, more in (
        ("XYZ", {}),
        ("NHW", {}),
        ("NCHW", {"colour": "CMYK"}),
        ("NCHW", {"fill": (0, 0, 300)}),
    ):
        with pytest.raises(sdk.NnError):
            sdk.ImageContract(layout, (8, 8), **more)
    image = sdk.Image.from_rgb(2, 1, bytes(6))
    for size in ((0, 5), (70000, 70000)):
        contract = sdk.InputContract(
            "x", sdk.TensorType.F32, sdk.ImageContract("NCHW", size, fit="letterbox")
        )
        with pytest.raises(sdk.NnError, match="picture"):
            sdk.preprocess(image, contract)
    for text in ("", "[]", "{}", '{"inputs": [{}], "outputs": []}', '{"inputs": 1, "outputs": 2}'):
        with pytest.raises(sdk.NnError, match="the graph's metadata"):
            sdk.Metadata.from_json(text)
    with pytest.raises(sdk.NnError, match="2 scales"):
        sdk.Quantization((1.0, 2.0))


def test_mistakes_with_tensors() -> None:
    with pytest.raises(sdk.NnError, match=r"dims \[1,4\] of f32 are 16 bytes, but the data has 15"):
        sdk.Tensor("f32", [1, 4], bytes(15))
    with pytest.raises(sdk.NnError, match="no tensor type 'float32'; there are f16, f32"):
        sdk.Tensor("float32", [1], bytes(4))
    with pytest.raises(sdk.NnError, match="whole numbers"):
        sdk.Tensor("f32", [-1], bytes(4))
    with pytest.raises(sdk.NnError, match="are no u8"):
        sdk.Tensor.of([256], "u8")
    with pytest.raises(sdk.NnError, match="not integers"):
        sdk.Tensor.of([1.5]).integers()
    with pytest.raises(sdk.NnError, match="the buffer has 3 bytes, and f32"):
        sdk.Tensor.of([1.5]).copy_to(bytearray(3))
    buffer = bytearray(6)
    assert sdk.Tensor.of([1.5]).copy_to(buffer) == 4
    assert buffer == struct.pack("<f", 1.5) + bytes(2)


def test_batches() -> None:
    rows = [sdk.Tensor.of([at, at + 1], dims=[1, 2]) for at in range(3)]
    batch = sdk.stack(rows)
    assert (batch.dims, list(batch.values())) == ((3, 2), [0, 1, 1, 2, 2, 3])
    with pytest.raises(sdk.NnError, match="equal tensors"):
        sdk.stack([rows[0], sdk.Tensor.of([1], dims=[1, 1])])
    with pytest.raises(sdk.NnError, match="at least one"):
        sdk.stack([])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, width=32), min_size=6, max_size=6),
    st.sampled_from(["u8", "i8", "i16", "u16"]),
    st.sampled_from([None, 0, 1]),
    st.lists(st.sampled_from([0.5, 0.25, 2.0, 1.0]), min_size=3, max_size=3),
    st.integers(0, 100),
)
def test_quantization_is_the_host_s(
    values: list[float], kind: str, axis: int | None, scales: list[float], point: int
) -> None:
    count = {None: 1, 0: 2, 1: 3}[axis]
    chosen, points = tuple(scales[:count]), (point,) * count
    host = HostQuantization(chosen, points, axis)
    host_type = next(each for each in HostType if each.label == kind)
    wanted = host_quantize(np.array(values, np.float32).reshape(2, 3), host, host_type)
    mine = sdk.Quantization(chosen, points, axis)
    found = sdk.quantize(values, mine, kind, [2, 3])
    assert list(found.values()) == wanted.reshape(-1).tolist()
    np.testing.assert_array_equal(sdk.dequantize(found, mine), host_dequantize(wanted, host).reshape(-1))


def test_scores() -> None:
    assert sdk.top_k([0.1, math.nan, 0.7, 0.7], 3) == [(2, 0.7), (3, 0.7), (0, 0.1)]
    assert sdk.top_k([1.0], 5) == [(0, 1.0)]
    assert sum(sdk.softmax([1000.0, 999.0, -1000.0])) == pytest.approx(1)
    assert sdk.softmax([math.inf, 0.0, math.inf]) == [0.5, 0, 0.5]
    assert sdk.softmax([]) == []
    assert sdk.are_probabilities([0, 1.0005])
    assert not sdk.are_probabilities([0, math.nan])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["NCHW", "NHWC", "CHW", "HWC", "NHW", "HW"]),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 99),
)
def test_masks_are_the_host_s(layout: str, channels: int, has_nan: bool, seed: int) -> None:
    from wasinn.contracts.contract import OutputContract

    sizes = {"N": 1, "C": channels, "H": 4, "W": 7}
    dims = [sizes[letter] for letter in layout]
    values = np.random.default_rng(seed).integers(0, 3, dims).astype("<f4")
    if has_nan and "C" in layout:
        values.reshape(-1)[::5] = np.nan
    wanted = host_masks.class_map(values, OutputContract("mask", layout=layout))
    contract = sdk.OutputContract("mask", "mask", layout)
    mask = sdk.class_map(sdk.Tensor("f32", dims, values.tobytes()), contract)
    assert (mask.height, mask.width) == wanted.shape
    assert list(mask.classes) == wanted.reshape(-1).tolist()
    assert sum(mask.counts().values()) == 28


# -- metadata
# -----------------------------------------------------------------------------------------------------

METADATA = {
    "name": "m",
    "inputs": [
        {"name": "a", "datatype": "FP32", "shape": [1, 4]},
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, 32, 48, 3], "aliases": ["pixels:0"]},
    ],
    "outputs": [{"name": "y", "datatype": "INT8", "shape": [1, 10], "quantization": {"scale": [0.5]}}],
}
CONTRACT = {
    "inputs": [
        {
            "name": "image",
            "port": "pixels",
            "index": 1,
            "type": "u8",
            "dims": [-1, 32, 48, 3],
            "image": {"layout": "NHWC", "size": [32, 48], "range": [0, 255]},
        }
    ],
    "outputs": [
        {
            "name": "classes",
            "port": "y",
            "index": 0,
            "kind": "logits",
            "labels": ["a", "b"],
            "label_offset": -1,
        }
    ],
}


def test_metadata_with_a_contract() -> None:
    metadata = sdk.Metadata.from_json(json.dumps(METADATA | {"contract": CONTRACT}))
    image = metadata.input_contract()
    assert (image.name, image.index, image.image and image.image.size) == ("image", 1, (32, 48))
    for name in ("image", "pixels", "pixels:0", 1, "1"):
        assert metadata.input_contract(name) == image
    classes = metadata.output_contract()
    assert (classes.kind, classes.label(0), classes.label(1), classes.label(9)) == ("logits", "", "a", "")
    assert metadata.output_contract(kind="mask") == classes
    with pytest.raises(sdk.NnError, match=r"no input 'x'; it has: 0 'a' \(f32 \[1,4\]\), 1 'pixels' "):
        metadata.input_index("x")


def test_metadata_without_a_contract() -> None:
    metadata = sdk.Metadata.from_json(json.dumps(METADATA))
    assert metadata.input_contract().image is None
    image = metadata.input_contract("pixels").image
    assert image is not None
    assert (image.layout, image.size, image.colour, image.range) == ("NHWC", (32, 48), "RGB", (0.0, 255.0))
    output = metadata.output_contract()
    assert (output.kind, output.quantization) == ("raw", sdk.Quantization((0.5,), (0,)))


def test_outside_of_a_component_calls_say_so() -> None:
    with pytest.raises(sdk.NnError, match="this Python is not in a component") as raised:
        sdk.Graph.by_name("default")
    assert raised.value.code is sdk.ErrorCode.UNSUPPORTED_OPERATION
    with pytest.raises(sdk.NnError, match="no encoding 'onx'; there are openvino"):
        sdk.Graph.from_bytes(b"", encoding="onx")


# -- the package
# ------------------------------------------------------------------------------------------------


def test_the_sdk_has_the_shipped_interfaces() -> None:
    for name in ("wasi-nn-2024-10-28.wit", "wasinn-nn.wit"):
        mine, shipped_file = component_python.SDK / "wit" / name, shipped.ROOT / "wit" / name
        assert mine.read_bytes() == shipped_file.read_bytes(), name


def test_types_are_checked_outside_of_a_component(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    sources = [component_python.SDK / "wasinn_guest", ROOT / "guests" / "python" / "segment" / "app.py"]
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nstrict = true\nmypy_path = {component_python.SDK}:{component_python.SDK / 'stubs'}\n"
        "explicit_package_bases = true\npython_version = 3.11\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file", str(tmp_path / "mypy.ini")]
    command += ["--cache-dir", str(ROOT / "build" / "mypy-sdk"), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


# -- in the component
# -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guests() -> Path:
    return component_python.every_guest()


def test_a_photograph_in_the_component(guests: Path, tmp_path: Path) -> None:
    """The very bytes that this Python makes."""
    chance = np.random.default_rng(3)
    smooth = np.cumsum(chance.integers(-4, 5, (300, 400, 3)), 1) % 256
    Pillow.fromarray(smooth.astype(np.uint8)).save(tmp_path / "p.png")
    documents = [
        {"type": "f32", "image": {"layout": "NCHW", "size": [224, 224], "mean": [0.4, 0.5, 0.6], "fit": fit}}
        for fit in ("stretch", "crop", "letterbox")
    ]
    documents.append({"type": "u8", "image": {"layout": "NHWC", "size": [96, 96], "range": [0, 255]}})
    documents.append({"type": "f16", "image": {"layout": "CHW", "size": [50, 60], "antialias": False}})
    arguments = [word for each in documents for word in (json.dumps(each), "/t/p.png")]
    result = wasinn.Host().run(guests, ["tensor", *arguments], dirs={"/t": tmp_path}, deadline=120)
    assert (result.exit_code, result.stderr) == (0, b"")
    image, wanted = sdk.Image.open(tmp_path / "p.png"), b""
    for each in documents:
        data = bytes(sdk.preprocess(image, sdk.InputContract.from_json(each)).data)
        wanted += struct.pack("<I", len(data)) + data
    assert result.stdout == wanted


def test_nothing_of_the_host_s_is_left(guests: Path) -> None:
    host = wasinn.Host(graphs={"default": "onnx:@digits"})
    pictures = {"/p": shipped.ROOT / "pictures"}
    result = host.run(guests, ["classify", "/p/two.png", "/p/three.bmp"], dirs=pictures, deadline=60)
    assert result.exit_code == 0, result.stderr
    assert result.stats.computes == 2


def test_a_guest_for_any_host_says_that_there_is_no_metadata(guests: Path, tmp_path: Path) -> None:
    target = guests.parent / "portable.wasm"  # of the same sources
    app = tmp_path / "app.py"
    app.write_text(
        "from wasinn_guest import Graph, NnError, Tensor, command\n"
        "def main(arguments):\n"
        "    with Graph.by_name('default') as graph, graph.context() as context:\n"
        "        context.set_input('x', Tensor.of([1, 2, 3, 4], 'f32', [1, 4]))\n"
        "        context.compute()\n"
        "        print(list(context.output().values()), list(context.output('y').values()))\n"
        "        graph.metadata()\n"
        "Run = command(main, 'portable')\n"
    )
    if not target.exists():
        build_guest.build(app, tmp_path / "portable.wasm", build_guest.PORTABLE).replace(target)
    result = wasinn.Host(graphs={"default": "onnx:@identity"}).run(target)
    assert result.exit_code == 1
    assert result.stdout == b"[1.0, 2.0, 3.0, 4.0] [1.0, 2.0, 3.0, 4.0]\n"
    assert b"graph-metadata: this guest was built for a world without" in result.stderr
