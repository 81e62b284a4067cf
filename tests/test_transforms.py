# SPDX-License-Identifier: Apache-2.0
"""From pixels to tensors and back, and from one contract's tensor to another's, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wasinn.contracts import transforms
from wasinn.contracts.affine import Buffers
from wasinn.contracts.contract import COLOURS, IMAGE_LAYOUTS, ImageContract, InputContract
from wasinn.contracts.conversion import Conversion
from wasinn.errors import ConfigError
from wasinn.imaging.preprocess import preprocess
from wasinn.spec import TensorType
from wasinn.tensors import Quantization

Array = np.ndarray[Any, Any]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def contract(
    kind: str = "f32", layout: str = "NCHW", quantization: Any = "none", size: Any = (4, 5), **image: Any
) -> InputContract:
    return InputContract(
        "image",
        None,
        TensorType.parse(kind),
        ImageContract(layout, size, **image),
        quantization=quantization,
    )


def by_definition(pixels: Array, of: InputContract) -> Array:
    """The order of contracts/contract.py, step by step, in f64; before rounding."""
    image = of.image
    assert image is not None
    values = 255.0 - pixels if image.invert else pixels.astype(np.float64)
    if image.colour == "GRAY":
        gray = np.asarray(Image.fromarray(pixels).convert("L"), np.float64)
        values = (255 - gray if image.invert else gray)[..., None]
    elif image.colour == "BGR":
        values = values[..., ::-1]
    low, high = image.range
    values = (low + values / 255 * (high - low) - np.array(image.mean)) / np.array(image.std)
    if isinstance(of.quantization, Quantization):
        values = values / of.quantization.scales[0]
    for before, after in (("NCHW", (2, 0, 1)), ("CHW", (2, 0, 1))):
        if image.layout == before:
            values = values.transpose(after)
    if "C" not in image.layout:
        values = values[..., 0]
    return values[None] if "N" in image.layout else values


# -- encode ---------------------------------------------------------------------------------------------

IMAGES = st.builds(
    dict,
    colour=st.sampled_from(COLOURS),
    range=st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (1.0, 0.0), (16.0, 235.0)]),
    invert=st.booleans(),
    layout=st.sampled_from(IMAGE_LAYOUTS),
    normalised=st.booleans(),
)


def made(options: dict[str, Any], kind: str, quantization: Any = "none") -> InputContract:
    options = dict(options)
    if "C" not in options["layout"]:
        options["colour"] = "GRAY"
    count = 1 if options["colour"] == "GRAY" else 3
    scale = max(map(abs, options["range"]))
    if options.pop("normalised"):
        options["mean"] = tuple(scale * each for each in MEAN[:count])
        options["std"] = STD[:count]
    else:
        options["mean"], options["std"] = (0.0,) * count, (1.0,) * count
    return contract(kind, quantization=quantization, **options)


@given(IMAGES, st.sampled_from(["f16", "f32", "f64"]), st.integers(0, 99))
def test_encode_is_the_definition(options: dict[str, Any], kind: str, seed: int) -> None:
    of, pixels = made(options, kind), picture(4, 5, seed)
    found = transforms.encode(pixels, of)
    expected = by_definition(pixels, of)
    assert (found.shape, found.dtype.name) == (expected.shape, {"f": "float"}["f"] + kind[1:])
    assert found.flags.c_contiguous
    tolerance = 2e-3 if kind == "f16" else 1e-6
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


@given(IMAGES, st.sampled_from(["u8", "i8", "u16", "i16", "i32", "i64"]), st.integers(0, 99))
def test_integers_are_rounded_and_saturated(options: dict[str, Any], kind: str, seed: int) -> None:
    of, pixels = made(options, kind), picture(4, 5, seed)
    found = transforms.encode(pixels, of)
    limits = np.iinfo(found.dtype)
    expected = np.clip(by_definition(pixels, of), limits.min, limits.max)
    assert np.abs(found - expected).max() <= 0.5 + 1e-4 * np.abs(expected).max() / 255


@pytest.mark.parametrize("layout", ["HWC", "NHWC"])
def test_raw_bytes_stay_as_they_are_without_a_copy(layout: str) -> None:
    pixels = picture(4, 5)
    of = contract("u8", layout, range=(0.0, 255.0))
    found = transforms.encode(pixels, of)
    assert found.tobytes() == pixels.tobytes()
    assert np.shares_memory(found, pixels)


@pytest.mark.parametrize("kind", ["u8", "i16", "i32", "i64", "u16"])
def test_every_level_is_itself_in_every_integer(kind: str) -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    of = contract(kind, "HWC", size=(16, 16), range=(0.0, 255.0))
    assert transforms.encode(pixels, of).tolist() == pixels.tolist()


def test_bytes_of_a_quantized_model_that_stand_for_their_pixels_stay() -> None:
    """Scale 1/128 and zero point 128: byte p stands for (p - 128) / 128."""
    pixels = picture(16, 16)
    of = contract("u8", "HWC", Quantization((1 / 128,), (128,)), (16, 16), range=(-1.0, 127 / 128))
    assert transforms.encode(pixels, of).tolist() == pixels.tolist()
    signed = contract("i8", "HWC", Quantization((1 / 255,), (-128,)), (16, 16))
    assert (transforms.encode(pixels, signed).astype(int) + 128).tolist() == pixels.tolist()


@pytest.mark.parametrize("axis", [None, 3])
def test_a_quantization_for_each_channel(axis: int | None) -> None:
    pixels = picture(4, 5)
    count = 1 if axis is None else 3
    quantization = Quantization((1 / 255, 1 / 100, 1 / 50)[:count], (0, 10, -20)[:count], axis)
    found = transforms.encode(pixels, contract("i16", "NHWC", quantization))
    scales, points = np.array(quantization.scales), np.array(quantization.zero_points)
    expected = pixels[None] / 255 / scales + points
    assert np.abs(found - expected).max() <= 0.501
    with pytest.raises(ConfigError, match="along dimension 1"):
        transforms.encode(pixels, contract("u8", "NHWC", Quantization((1.0,) * 4, (0,) * 4, 1)))


def test_halves_go_away_from_zero_and_nan_is_zero() -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, np.nan, np.inf, -np.inf, 1e30], "f4")
    found = transforms.to_type(values.copy(), contract("i8"))
    assert found.tolist() == [1, 2, 3, -1, -2, 0, 0, 127, -128, 127]
    assert transforms.to_type(values.copy(), contract("u8")).tolist() == [1, 2, 3, 0, 0, 0, 0, 255, 0, 255]
    found = transforms.to_type(values.astype("f8"), contract("i64"))
    assert found.tolist()[-4:] == [0, 2**63 - 1, -(2**63), 2**63 - 1]
    found = transforms.to_type(values.astype("f8"), contract("i32"))
    assert found.tolist()[-4:] == [0, 2**31 - 1, -(2**31), 2**31 - 1]
    quantized = contract("u8", quantization=Quantization((1.0,), (7,)))
    assert transforms.to_type(values.copy(), quantized).tolist()[:7] == [8, 9, 10, 6, 5, 7, 7]


@given(IMAGES, st.sampled_from(["f32", "f64", "u16"]), st.integers(0, 99))
def test_decode_is_the_way_back(options: dict[str, Any], kind: str, seed: int) -> None:
    quantization = Quantization((1 / 4096,), (20000,)) if kind == "u16" else "none"
    if kind == "u16":
        options = {**options, "range": (0.0, 1.0), "normalised": False}
    of, pixels = made(options, kind, quantization), picture(4, 5, seed)
    assert of.image is not None
    found = transforms.decode(transforms.encode(pixels, of), of)
    if of.image.colour == "GRAY":
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None].repeat(3, 2)
    assert found.shape == (4, 5, 3)
    np.testing.assert_allclose(found, pixels, atol=0.05)


# -- from one contract to another -----------------------------------------------------------------------


@given(IMAGES, IMAGES, st.data(), st.integers(0, 99))
def test_a_converted_tensor_is_what_the_other_contract_makes(
    one: dict[str, Any], two: dict[str, Any], data: st.DataObject, seed: int
) -> None:
    """For any two image contracts, within a level of 255."""
    kinds = [("f32", "none"), ("f64", "none"), ("u8", Quantization((1 / 255,), (0,)))]
    kinds += [("i8", Quantization((1 / 255,), (-128,))), ("u8", "none"), ("i32", "none"), ("f16", "none")]
    contracts = []
    for options in (one, two):
        kind, quantization = data.draw(st.sampled_from(kinds))
        if quantization != "none":
            options = {**options, "range": (0.0, 1.0), "normalised": False}
        elif kind[0] != "f":
            options = {**options, "range": (0.0, 255.0), "normalised": False}
        contracts.append(made(options, kind, quantization))
    guest, own = contracts
    assert guest.image is not None
    assert own.image is not None
    pixels = picture(4, 5, seed)
    if guest.image.colour == "GRAY":
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None].repeat(3, 2)
    sent, expected = transforms.encode(pixels, guest), transforms.encode(pixels, own)
    for buffers in (Buffers(), Buffers()):
        found = Conversion(guest, own)(sent, buffers)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert found.flags.c_contiguous
        level, _, _ = transforms.numbers(own)
        steps = 1.1 + (0.5 if guest.type is TensorType.F16 or own.type is TensorType.F16 else 0)
        gap = np.abs(found.astype("f8") - expected.astype("f8")).max()
        assert gap <= steps * np.abs(level).max() + (1 if own.type.label[0] != "f" else 0)
    assert sent.tobytes() == transforms.encode(pixels, guest).tobytes()  # a guest's memory is not written to


def test_a_quantization_that_only_the_model_says_is_refused() -> None:
    of = InputContract("image", None, TensorType.U8, ImageContract("NHWC", (4, 5)), quantization="model")
    for call in (
        lambda: preprocess(picture(4, 5), of),
        lambda: transforms.encode(picture(4, 5), of),
        lambda: transforms.decode(np.zeros((1, 4, 5, 3), np.uint8), of),
        lambda: transforms.to_type(np.zeros(3, "f4"), tensor("i8", "model")),
    ):
        with pytest.raises(ConfigError, match=r'quantization is "model".*write quantization = \{ scale'):
            call()


def test_what_is_the_same_is_not_copied() -> None:
    sent = transforms.encode(picture(4, 5), contract())
    assert np.shares_memory(Conversion(contract(), contract())(sent), sent)
    # A batch dimension, and a channel dimension of 1, are nothing that lies in memory.
    gray = {"colour": "GRAY", "mean": (0.0,), "std": (1.0,)}
    sent = transforms.encode(picture(4, 5), contract(layout="HW", **gray))
    found = Conversion(contract(layout="HW", **gray), contract(layout="NCHW", **gray))(sent)
    assert found.shape == (1, 1, 4, 5)
    assert np.shares_memory(found, sent)


def test_a_layout_alone_keeps_every_bit() -> None:
    rng = np.random.default_rng(1)
    sent = rng.integers(0, 1 << 32, (2, 4, 5, 3), np.uint32).view(np.float32)  # NaN payloads as well
    found = Conversion(contract(layout="NHWC"), contract(layout="NCHW", colour="BGR"), (None, 3, 4, 5))(sent)
    expected = np.ascontiguousarray(sent[..., ::-1].transpose(0, 3, 1, 2))
    assert found.tobytes() == expected.tobytes()


def test_a_batch_passes_through() -> None:
    guest = contract("u8", "NHWC", range=(0.0, 255.0))
    own = contract("f32", "NCHW", mean=MEAN, std=STD)
    pictures = [picture(4, 5, seed) for seed in range(3)]
    conversion = Conversion(guest, own, (None, 3, 4, 5))
    assert conversion.guest_dims == (None, 4, 5, 3)
    found = conversion(np.stack(pictures))
    expected = np.concatenate([transforms.encode(each, own) for each in pictures])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_bytes_come_back_from_every_normalisation() -> None:
    bytes_ = contract("u8", "NHWC", range=(0.0, 255.0))
    pixels = picture(4, 5)[None]
    for options in ({"mean": MEAN, "std": STD}, {"range": (-1.0, 1.0)}, {"invert": True, "colour": "BGR"}):
        there = Conversion(bytes_, contract(**options))
        back = Conversion(contract(**options), bytes_)
        assert back(there(pixels)).tolist() == pixels.tolist()


def test_nan_and_infinity_become_bytes_without_a_warning() -> None:
    sent = np.full((1, 3, 4, 5), np.nan, np.float32)
    sent[0, 0], sent[0, 1] = np.inf, -np.inf
    found = Conversion(contract(), contract("u8", "NHWC", range=(0.0, 255.0)))(sent)
    assert found[0, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("guest", "dims", "reason"),
    [
        (
            contract(size=(8, 8)),
            None,
            r"size is \[8, 8\] for guests and \[4, 5\] for the model; the host does",
        ),
        (contract(layout="CHW"), (4, 3, 4, 5), r"layout is CHW .* takes a batch of 4"),
        (InputContract("image"), None, 'kind is "tensor" for guests and "image" for the model'),
    ],
)
def test_what_cannot_be_converted_is_refused(guest: InputContract, dims: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Conversion(guest, contract(), dims)


def test_what_cannot_be_undone_is_noted() -> None:
    guest = contract(
        resize="nearest", fit="letterbox", fill=(1, 2, 3), colour="GRAY", mean=(0.0,), std=(1.0,)
    )
    notes = Conversion(guest, contract()).notes
    assert [note.split(" is ")[0] for note in notes] == ["fit", "fill", "resize", "colour"]
    assert notes[0] == "fit is letterbox for guests and stretch for the model"


# -- inputs that are no picture -------------------------------------------------------------------------


def tensor(kind: str, quantization: Any = "none", dims: Any = None) -> InputContract:
    return InputContract("x", None, TensorType.parse(kind), None, dims, quantization)


def test_numbers_change_type_and_quantization() -> None:
    values = np.array([[-1.0, 0.0, 0.5, 300.0]], "f4")
    q = Quantization((0.5,), (10,))
    assert Conversion(tensor("f32"), tensor("u8", q))(values).tolist() == [[8, 10, 11, 255]]
    assert Conversion(tensor("u8", q), tensor("f32"))(np.array([8, 11], "u1")).tolist() == [-1.0, 0.5]
    i8 = tensor("i8", Quantization((1.0,), (-3,)))
    assert Conversion(tensor("u8", q), i8)(np.array([8, 14], "u1")).tolist() == [-4, -1]
    large = np.array([2**62 + 1, -5, 2**33], np.int64)
    assert Conversion(tensor("i64"), tensor("i32"))(large).tolist() == [2**31 - 1, -5, 2**31 - 1]
    assert Conversion(tensor("i64"), tensor("u64"))(large).tolist() == [2**62 + 1, 0, 2**33]
    assert np.shares_memory(Conversion(tensor("i64"), tensor("i64"))(large), large)


def test_a_batch_dimension_is_added_and_taken_away() -> None:
    added = Conversion(tensor("f32", dims=(3,)), tensor("f32"), (1, 3))
    assert (added.guest_dims, added(np.zeros(3, "f4")).shape) == ((3,), (1, 3))
    taken = Conversion(tensor("f32", dims=(1, 3)), tensor("f32"), (3,))
    assert taken(np.zeros((1, 3), "f4")).shape == (3,)
    with pytest.raises(ConfigError, match=r"dims are \[4\] for guests and \[1,3\] for the model"):
        Conversion(tensor("f32", dims=(4,)), tensor("f32"), (1, 3))
    with pytest.raises(ConfigError, match="bf16 is not converted"):
        Conversion(tensor("f32"), tensor("bf16"))
