# SPDX-License-Identifier: Apache-2.0
"""From a picture to a tensor: decoding, resizing, fitting, and the answers that real models then give."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
import wasinn
from conftest import require_backend
from wasinn import ConfigError, GraphSource, TensorType
from wasinn.contracts.contract import FITS, RESIZES, Contract, ImageContract, InputContract
from wasinn.contracts.transforms import encode
from wasinn.graphs.recorded import MemoryRecorder
from wasinn.imaging.decode import read_picture
from wasinn.imaging.preprocess import Placement, prepare, preprocess
from wasinn.imaging.resize import resize
from wasinn.runtime.direct import DirectGraph

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

Array = np.ndarray[Any, Any]


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def file_of(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


# -- decoding -----------------------------------------------------------------------------------------


def test_a_path_its_text_its_bytes_and_its_array_are_one_picture(tmp_path: Path) -> None:
    pixels = noise(5, 7)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    for picture in (path, str(path), path.read_bytes(), pixels):
        np.testing.assert_array_equal(read_picture(picture), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_every_orientation_is_turned_upright(orientation: int, kind: str) -> None:
    # The picture has its brightest quarter at the left top, its second at the right top. `stored` is how a
    # camera keeps it that was held so: the way back of what Exif defines for this orientation.
    shown = np.zeros((16, 32, 3), np.uint8)
    shown[:8, :16], shown[:8, 16:] = 240, 120
    transpose = Image.Transpose
    kept = {
        2: transpose.FLIP_LEFT_RIGHT,
        3: transpose.ROTATE_180,
        4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE,
        6: transpose.ROTATE_90,  # shown after a quarter to the right, so stored a quarter to the left
        7: transpose.TRANSVERSE,
        8: transpose.ROTATE_270,
    }
    image = Image.fromarray(shown)
    stored = image.transpose(kept[orientation]) if orientation > 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    found = read_picture(file_of(stored, kind, exif=exif, **options))
    assert np.abs(found.astype(int) - shown).max() <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_none(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    pixels = noise(3, 4)
    np.testing.assert_array_equal(read_picture(file_of(Image.fromarray(pixels), exif=exif)), pixels)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_hide_the_picture() -> None:
    pixels = noise(3, 4)
    content = file_of(Image.fromarray(pixels), exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    np.testing.assert_array_equal(read_picture(content), pixels)


LEVELS = [0, 1, 100, 254, 255]
RED = [200, 100, 50]


def image_in(mode: str) -> Any:
    """5x1 pixels in gray LEVELS, or 1x1 in RED, in a mode of Pillow's."""
    gray = np.array([LEVELS], np.uint8)
    if mode in {"L", "1"}:
        return Image.fromarray(gray).convert(mode)
    if mode in {"I", "F", "I;16"}:
        kinds = {"I": (np.int32, 257), "I;16": (np.uint16, 257), "F": (np.float32, 1)}
        kind, factor = kinds[mode]
        return Image.fromarray(gray.astype(kind) * kind(factor))
    if mode in {"LA", "La"}:
        image = Image.fromarray(np.stack([gray, np.full_like(gray, 255)], axis=-1), "LA")
        return image.convert(mode)
    red = Image.new("RGB", (1, 1), tuple(RED))
    if mode == "PA":
        return red.convert("P").convert("PA")
    if mode == "P":
        image = Image.new("P", (1, 1), 0)
        image.putpalette(RED)
        return image
    if mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(red, *profiles, outputMode="LAB")
    return red.convert("RGBA").convert(mode) if mode == "RGBa" else red.convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind", "within"),
    [
        ("1", "PNG", 0),
        ("L", "PNG", 0),
        ("LA", "PNG", 0),
        ("I;16", "PNG", 0),
        ("I;16", "TIFF", 0),
        ("I", "TIFF", 0),
        ("F", "TIFF", 0),
        ("P", "PNG", 0),
        ("P", "GIF", 0),
        ("RGBA", "PNG", 0),
        ("CMYK", "TIFF", 1),
        ("CMYK", "JPEG", 3),
        ("YCbCr", "JPEG", 3),
        ("YCbCr", "TIFF", 2),
        ("LAB", "TIFF", 3),
    ],
)
def test_files_of_every_mode_are_rgb(mode: str, kind: str, within: int) -> None:
    found = read_picture(file_of(image_in(mode), kind))
    assert found.dtype == np.uint8
    if found.shape == (1, 5, 3):
        wanted = [0, 0, 0, 255, 255] if mode == "1" else LEVELS
        assert found[0].tolist() == [[level] * 3 for level in wanted]
    else:
        assert found.shape == (1, 1, 3)
        assert np.abs(found[0, 0].astype(int) - RED).max() <= within


@pytest.mark.parametrize("mode", ["PA", "HSV", "RGBX", "RGBa", "La"])
def test_modes_that_few_files_have_are_rgb(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # No format that Pillow writes keeps these; what Pillow's reader gives is put in its place.
    image = image_in(mode)
    assert image.mode == mode
    monkeypatch.setattr(Image, "open", lambda stream: image)
    found = read_picture(b"any")
    wanted = np.array([[[level] * 3 for level in LEVELS]] if mode == "La" else [[RED]])
    assert found.shape == wanted.shape
    # A palette of "PA" has 6 levels for each channel, HSV is rounded.
    assert np.abs(found.astype(int) - wanted).max() <= {"PA": 26, "HSV": 2}.get(mode, 0)


@pytest.mark.parametrize(
    ("levels", "wanted"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 0.5, 1.5, 254.6, 255.0], [0, 0, 2, 255, 255]),
        ([0.0], [0]),
    ],
)
def test_floats_are_of_1_or_of_255(levels: list[float], wanted: list[int]) -> None:
    content = file_of(Image.fromarray(np.array([levels], np.float32)), "TIFF")
    assert read_picture(content)[0, :, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (np.array([[-1, 5]], np.int32), "levels from -1 to 5, which are not of 16 bits"),
        (np.array([[0, 70000]], np.int32), "levels from 0 to 70000, which are not of 16 bits"),
        (np.array([[0, 300]], np.float32), "levels from 0 to 300, not 0..1 or 0..255"),
        (np.array([[-0.5, 0.5]], np.float32), "levels from -0.5 to 0.5"),
        (np.array([[np.nan, 1]], np.float32), "levels from nan to"),
        (np.array([[np.inf, 1]], np.float32), "levels from 1 to inf"),
    ],
)
def test_levels_of_no_known_range_are_refused(levels: Array, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_picture(file_of(Image.fromarray(levels), "TIFF"))
    assert "scaled to 0..255" in str(caught.value)


def transparent_png(kind: str) -> bytes:
    """A picture of which every pixel is transparent, and has the colour RED, or its gray."""
    if kind == "palette":
        return file_of(image_in("P"), transparency=0)
    if kind == "colour":  # tRNS of an RGB picture: this colour is the transparent one
        return file_of(Image.new("RGB", (1, 1), tuple(RED)), transparency=tuple(RED))
    if kind == "gray":
        return file_of(Image.new("LA", (1, 1), (77, 0)))
    return file_of(Image.new("RGBA", (1, 1), (*RED, 0)))


@pytest.mark.parametrize("kind", ["palette", "colour", "gray", "alpha"])
def test_alpha_is_dropped(kind: str) -> None:
    wanted = [77] * 3 if kind == "gray" else RED
    assert read_picture(transparent_png(kind)).tolist() == [[wanted]]


def test_of_an_animation_it_is_the_first_frame() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert read_picture(content)[0, 0].tolist() == [255, 0, 0], kind


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 3), (3, 4, 4)])
def test_arrays_are_taken_as_they_are(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = read_picture(array)
    assert found.shape == (3, 4, 3)
    wanted = array.reshape(3, 4, -1)[..., :3]
    np.testing.assert_array_equal(found, np.broadcast_to(wanted, found.shape))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((3, 4, 3), np.float32), r"an array of float32 \[3, 4, 3\] is no picture"),
        (np.zeros((3, 4), bool), "array of bool"),
        (np.zeros((3, 3, 4, 3), np.uint8), r"\[3, 3, 4, 3\]"),
        (np.zeros((3, 4, 2), np.uint8), r"\[3, 4, 2\]"),
        (np.zeros(4, np.uint8), r"\[4\]"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint8), "no pixels"),
        (b"", "empty"),
        (b"no picture at all", "of no format that Pillow"),
        (None, "a NoneType came"),
        (7, "an int came|a int came"),
        ("no/such/file.png", "no/such/file.png cannot be read: No such file"),
        ("nul\0.png", "cannot be read"),
        (Path(__file__).parent, "cannot be read: Is a directory"),
        (Path(__file__), "test_preprocess.py is of no format that Pillow"),
    ],
)
def test_what_is_no_picture_is_refused(picture: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_picture(picture)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_file_cut_short_is_refused(kind: str, tmp_path: Path) -> None:
    content = file_of(Image.fromarray(noise(40, 40)), kind)
    path = tmp_path / "cut"
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ConfigError, match=r"cut cannot be decoded \(.*is it damaged\?|of no format"):
        read_picture(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about what is damaged
@settings(max_examples=150)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"]),
    cut=st.one_of(st.none(), st.integers(0, 900)),
    changes=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=8),
)
def test_a_damaged_file_is_a_picture_or_refused(
    kind: str, cut: int | None, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(file_of(Image.fromarray(noise(12, 12)), kind)[:cut])
    for at, value in changes:
        if at < len(content):
            content[at] = value
    try:
        found = read_picture(bytes(content))
    except ConfigError:
        return
    assert (found.dtype, found.ndim, found.shape[2]) == (np.uint8, 3, 3)


def png_of_size(width: int, height: int) -> bytes:
    """The start of a PNG that says to be so large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 20_000, 2_000_000_000])
def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(side: int) -> None:
    with pytest.raises(ConfigError, match=r"too large .*MAX_IMAGE_PIXELS|cannot be decoded"):
        read_picture(png_of_size(side, side))


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_warning_that_is_made_an_error_is_the_same_refusal() -> None:
    with pytest.raises(ConfigError, match="too large"):
        read_picture(png_of_size(9_500, 9_500))


def test_without_pillow_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    content = file_of(Image.new("RGB", (1, 1)))
    monkeypatch.setitem(sys.modules, "PIL", None)
    for call in (lambda: read_picture(content), lambda: resize(noise(3, 3), (2, 2))):
        with pytest.raises(ConfigError, match=r'pip install "wasinn\[imaging\]"'):
            call()
    # An array and a filter of NumPy's need none.
    assert resize(read_picture(noise(3, 3)), (2, 2), antialias=False).shape == (2, 2, 3)


# -- resizing -----------------------------------------------------------------------------------------

SIZES = [((50, 70), (20, 33)), ((7, 9), (30, 41)), ((1, 1), (5, 4)), ((100, 3), (10, 10)), ((9, 80), (40, 7))]


@pytest.mark.parametrize(("size", "to"), SIZES)
@pytest.mark.parametrize("filter", RESIZES)
def test_with_antialias_it_is_pillow_s_bit_by_bit(
    size: tuple[int, int], to: tuple[int, int], filter: str
) -> None:
    pixels = noise(*size)
    name = "BOX" if filter == "area" else filter.upper()
    wanted = Image.fromarray(pixels).resize((to[1], to[0]), Image.Resampling[name])
    np.testing.assert_array_equal(resize(pixels, to, filter), np.asarray(wanted))


@pytest.mark.parametrize(("size", "to"), SIZES)
@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
def test_without_antialias_it_is_pytorch_s_within_its_rounding(
    size: tuple[int, int], to: tuple[int, int], filter: str
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pixels = noise(*size)
    given = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    wanted = torch.nn.functional.interpolate(given, to, mode=filter, align_corners=False)[0]
    wanted = wanted.permute(1, 2, 0).numpy().clip(0, 255)
    found = resize(pixels, to, filter, antialias=False)
    assert np.abs(found - wanted).max() <= 0.501  # half a level, and the sums in f32


@pytest.mark.parametrize(
    ("filter", "to", "wanted"),
    [
        # Worked out by hand for the row 0 100 200 40. Samples lie at 0.5 and 2.5 (of pixel centres).
        ("bilinear", 2, [50, 120]),
        # -0.75 cubic at the middle of two: weights -3/32, 19/32, 19/32, -3/32, the border repeated.
        ("bicubic", 2, [41, 129]),
        ("nearest", 2, [100, 40]),
        ("area", 2, [50, 120]),
        # Thirds of 4 are 4/3 pixels each: (0 + 100/3) / (4/3), (200/3 + 400/3) / (4/3), (200/3 + 40) / (4/3).
        ("area", 3, [25, 150, 80]),
        # Enlarged, each of 5 parts is of one pixel or two: shares 1; 1/4, 3/4; 1/2, 1/2; 3/4, 1/4; 1.
        ("area", 5, [0, 75, 150, 160, 40]),
        ("bilinear", 8, [0, 25, 75, 125, 175, 160, 80, 40]),
    ],
)
def test_without_antialias_it_is_what_the_documentation_says(filter: str, to: int, wanted: list[int]) -> None:
    row = np.array([[0, 100, 200, 40]], np.uint8)
    for pixels, size in ((row, (1, to)), (row.T, (to, 1))):
        found = resize(np.repeat(pixels[..., None], 3, axis=2), size, filter, antialias=False)
        assert found[..., 1].ravel().tolist() == wanted


def test_area_is_pillow_s_box_where_the_sizes_divide() -> None:
    pixels = noise(60, 80)
    found = resize(pixels, (15, 40), "area", antialias=False)
    # Pillow rounds between its two passes.
    assert np.abs(found.astype(int) - resize(pixels, (15, 40), "area")).max() <= 1
    means = pixels.reshape(15, 4, 40, 2, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(found, np.floor(means + 0.5))


def test_a_mean_over_very_many_pixels_does_not_overflow() -> None:
    white = np.full((70_000, 300, 3), 255, np.uint8)
    assert (resize(white, (1, 1), "area", antialias=False) == 255).all()


@settings(max_examples=80)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    filter=st.sampled_from(RESIZES),
    antialias=st.booleans(),
    level=st.integers(0, 255),
)
def test_a_constant_picture_stays_constant(
    size: tuple[int, int], to: tuple[int, int], filter: str, antialias: bool, level: int
) -> None:
    pixels = np.full((*size, 3), level, np.uint8)
    pixels[..., 1] = 255 - level
    found = resize(pixels, to, filter, antialias)
    assert (found.shape, found.dtype) == ((*to, 3), np.uint8)
    assert (found == pixels[0, 0]).all()


@settings(max_examples=80)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    to=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    filter=st.sampled_from(RESIZES),
    seed=st.integers(0, 99),
)
def test_a_transposed_picture_gives_the_transposed_result(
    size: tuple[int, int], to: tuple[int, int], filter: str, seed: int
) -> None:
    # Not so with antialias: Pillow cuts to 8 bits between its passes, whose order depends on the shape.
    pixels = noise(*size, seed=seed)
    found = resize(pixels, to, filter, antialias=False).astype(int)
    turned = resize(np.ascontiguousarray(pixels.swapaxes(0, 1)), to[::-1], filter, antialias=False)
    assert np.abs(found - turned.swapaxes(0, 1)).max() <= 1


def test_a_size_or_a_filter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="no resize filter 'lanczos'; there are bilinear"):
        resize(noise(2, 2), (1, 1), "lanczos")
    with pytest.raises(ConfigError, match="cannot be resized to 0x3"):
        resize(noise(2, 2), (0, 3))


# -- fitting ------------------------------------------------------------------------------------------


def contract(size: tuple[int, int] = (8, 8), layout: str = "HWC", **options: Any) -> InputContract:
    if options.get("colour") == "GRAY":  # one number for its one channel, as a contract's file gives it
        options = {"mean": (0.0,), "std": (1.0,), **options}
    image = ImageContract(layout=layout, size=size, **{"range": (0.0, 255.0), **options})
    return InputContract("image", image=image)


def image_of(**options: Any) -> ImageContract:
    image = contract(**options).image
    assert image is not None
    return image


@pytest.mark.parametrize(
    ("picture", "crop", "size", "whole", "top_left"),
    [
        # As torchvision 0.20: Resize(256), CenterCrop(224), by its _compute_resized_output_size and
        # center_crop: int(256 * 640 / 480) = 341, round((341 - 224) / 2) = round(58.5) = 58.
        ((480, 640), 256, (224, 224), (256, 341), (16, 58)),
        ((640, 480), 256, (224, 224), (341, 256), (58, 16)),
        # int(256 * 500 / 375) = 341; int(256 * 333 / 250) = 340; round(59.5) = 60.
        ((375, 500), 256, (224, 224), (256, 341), (16, 58)),
        ((257, 344), 257, (224, 225), (257, 344), (16, 60)),
        ((10, 10), 256, (224, 224), (256, 256), (16, 16)),
        ((480, 640), None, (224, 224), (224, 298), (0, 37)),
        ((640, 480), None, (224, 224), (298, 224), (37, 0)),
        ((100, 100), None, (20, 60), (60, 60), (20, 0)),
        ((100, 100), None, (60, 20), (60, 60), (0, 20)),
        ((20, 60), None, (20, 60), (20, 60), (0, 0)),
    ],
)
def test_crop_has_torchvision_s_rounding(
    picture: tuple[int, int],
    crop: int | None,
    size: tuple[int, int],
    whole: tuple[int, int],
    top_left: tuple[int, int],
) -> None:
    pixels = noise(*picture)
    found = prepare(pixels, image_of(size=size, fit="crop", crop=crop))
    resized = np.asarray(Image.fromarray(pixels).resize(whole[::-1], Image.Resampling.BILINEAR))
    top, left = top_left
    np.testing.assert_array_equal(found.pixels, resized[top : top + size[0], left : left + size[1]])
    scales = whole[1] / picture[1], whole[0] / picture[0]
    assert found.placement == Placement(picture, size, *scales, float(-left), float(-top))


def test_a_crop_that_is_smaller_than_the_size_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="becomes 266x200, too small to cut 224x224 out of it: crop must be 224"
    ):
        prepare(noise(480, 640), image_of(size=(224, 224), fit="crop", crop=200))


@pytest.mark.parametrize(
    ("picture", "size", "inner", "top_left"),
    [
        # As Ultralytics' LetterBox(auto=False): r = min(...), round(side * r), top = round(rest / 2 - 0.1).
        ((480, 640), (640, 640), (480, 640), (80, 0)),
        ((720, 1280), (640, 640), (360, 640), (140, 0)),
        ((1280, 721), (640, 640), (640, 360), (0, 140)),
        ((479, 640), (640, 640), (479, 640), (80, 0)),  # 161 rows of bars: 80 above, 81 below
        ((335, 500), (640, 640), (429, 640), (105, 0)),  # 428.8; 211 rows of bars
        ((3, 5), (640, 640), (384, 640), (128, 0)),
        ((1, 1000), (64, 64), (1, 64), (31, 0)),
        ((1000, 1), (64, 32), (64, 1), (0, 15)),
        ((5, 5), (5, 5), (5, 5), (0, 0)),
    ],
)
def test_letterbox_has_ultralytics_rounding(
    picture: tuple[int, int], size: tuple[int, int], inner: tuple[int, int], top_left: tuple[int, int]
) -> None:
    pixels = noise(*picture)
    image = image_of(size=size, fit="letterbox", fill=(114, 1, 2), antialias=False)
    found = prepare(pixels, image)
    top, left = top_left
    wanted = np.empty((*size, 3), np.uint8)
    wanted[:] = (114, 1, 2)
    wanted[top : top + inner[0], left : left + inner[1]] = resize(pixels, inner, antialias=False)
    np.testing.assert_array_equal(found.pixels, wanted)
    assert found.placement.covered == (left, top, left + inner[1], top + inner[0])
    assert found.placement.shown == (0, 0, picture[1], picture[0])


def test_a_placement_leads_to_the_spot_and_back() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[30:40, 110:130] = 255
    for fit, crop in (("stretch", None), ("letterbox", None), ("crop", None), ("crop", 90)):
        found = prepare(pixels, image_of(size=(80, 80), fit=fit, crop=crop))
        rows, columns = np.nonzero(found.pixels[..., 0] > 127)
        x, y = found.placement.to_input(np.array([110, 130]), np.array([30, 40]))
        assert np.abs([columns.min() - x[0], columns.max() + 1 - x[1]]).max() <= 0.75
        assert np.abs([rows.min() - y[0], rows.max() + 1 - y[1]]).max() <= 0.75
        np.testing.assert_allclose(found.placement.to_picture(x, y), [[110, 130], [30, 40]])


def test_what_a_crop_shows_is_said() -> None:
    placement = prepare(noise(100, 200), image_of(size=(50, 50), fit="crop")).placement
    assert placement.covered == (0, 0, 50, 50)
    left, top, right, bottom = placement.shown
    assert (left, top, right, bottom) == (50.0, 0.0, 150.0, 100.0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (10_000, 1), (1, 10_000), (2, 3000)])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("antialias", [True, False])
def test_pictures_of_any_shape_fit(shape: tuple[int, int], fit: str, antialias: bool) -> None:
    pixels = np.full((*shape, 3), (10, 200, 90), np.uint8)
    for filter in RESIZES:
        crop = 256 if fit == "crop" else None
        image = image_of(size=(224, 224), fit=fit, crop=crop, resize=filter, antialias=antialias)
        found = prepare(pixels, image)
        assert (found.pixels.shape, found.pixels.dtype) == ((224, 224, 3), np.uint8)
        left, top, right, bottom = found.placement.covered
        assert right > left
        assert bottom > top
        assert (found.pixels[top:bottom, left:right] == (10, 200, 90)).all()


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("filter", RESIZES)
def test_a_crop_too_large_to_make_whole_is_that_of_the_whole_inside(
    filter: str, antialias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = image_of(size=(40, 40), fit="crop", crop=50, resize=filter, antialias=antialias)
    pixels = noise(90, 150)
    whole = prepare(pixels, image)
    monkeypatch.setattr("wasinn.imaging.preprocess._MOST_PIXELS", 0)
    part = prepare(pixels, image)
    assert part.placement == whole.placement
    difference = np.abs(part.pixels.astype(int) - whole.pixels)
    # Of bicubic, 2 pixels of the result on each side have weights from beyond the cut.
    edge = 2 if antialias else 0
    assert difference[edge : 40 - edge, edge : 40 - edge].max() <= 1


@settings(max_examples=120)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    to=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"]),
    fit=st.sampled_from(FITS),
    filter=st.sampled_from(RESIZES),
    antialias=st.booleans(),
    more=st.one_of(st.none(), st.integers(0, 20)),
    seed=st.integers(0, 99),
)
def test_any_picture_fits_any_contract(
    size: tuple[int, int],
    to: tuple[int, int],
    mode: str,
    fit: str,
    filter: str,
    antialias: bool,
    more: int | None,
    seed: int,
) -> None:
    pixels = noise(*size, seed=seed)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * np.uint16(256))
    else:
        image = Image.fromarray(pixels).convert(mode)
    crop = max(to) + more if fit == "crop" and more is not None else None
    chosen = image_of(size=to, fit=fit, crop=crop, resize=filter, antialias=antialias, fill=(1, 2, 3))
    found = prepare(file_of(image, "TIFF"), chosen)
    assert (found.pixels.shape, found.pixels.dtype) == ((*to, 3), np.uint8)
    placement = found.placement
    assert (placement.picture, placement.size) == (size, to)
    left, top, right, bottom = placement.covered
    assert 0 <= left < right <= to[1]
    assert 0 <= top < bottom <= to[0]
    bars = np.ones(to, bool)
    bars[top:bottom, left:right] = False
    assert (found.pixels[bars] == (1, 2, 3)).all()
    if fit != "letterbox":
        assert not bars.any()
        assert placement.shown[2] - placement.shown[0] == pytest.approx(to[1] / placement.scale_x)
    x, y = np.array([0.0, size[1] / 3, size[1]]), np.array([0.0, size[0] / 2, size[0]])
    np.testing.assert_allclose(placement.to_picture(*placement.to_input(x, y)), [x, y], atol=1e-9)


# -- the tensor ---------------------------------------------------------------------------------------


def test_a_tensor_is_what_the_contract_says() -> None:
    pixels = noise(8, 8)
    image = contract(layout="NCHW", colour="BGR", range=(0.0, 1.0), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    tensor = preprocess(pixels, image)
    assert (tensor.dims, tensor.type) == ((1, 3, 8, 8), TensorType.F32)
    wanted = (pixels[..., ::-1] / 255 - [0.1, 0.2, 0.3]) / [1, 2, 4]
    np.testing.assert_allclose(tensor.numpy()[0], wanted.transpose(2, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(tensor.numpy(), encode(pixels, image))


def test_the_input_is_found_in_a_contract_or_named() -> None:
    one, two = contract(size=(2, 2)), contract(size=(3, 3))
    other = InputContract("length")
    pixels = noise(5, 5)
    assert preprocess(pixels, Contract({"a": one, "length": other})).dims == (2, 2, 3)
    both = Contract({"a": one, "b": two, "length": other}, source="two.toml")
    assert preprocess(pixels, both, "b").dims == (3, 3, 3)
    for name, message in (
        (None, "two.toml: 2 inputs are pictures \\('a', 'b'\\): name one"),
        ("length", "two.toml: input 'length' is no picture; pictures are 'a', 'b'"),
        ("c", "two.toml: input 'c' does not exist; pictures are 'a', 'b'"),
    ):
        with pytest.raises(ConfigError, match=message):
            preprocess(pixels, both, name)
    with pytest.raises(ConfigError, match="no input is a picture"):
        preprocess(pixels, Contract({"length": other}))
    with pytest.raises(ConfigError, match="input 'length' is no picture"):
        preprocess(pixels, other)


@pytest.mark.parametrize(
    ("size", "picture", "options", "chosen"),
    [
        ((24, 31), (60, 91), {}, []),
        ((24, 31), (13, 9), {"colour": "BGR"}, ["--colour", "bgr"]),
        ((28, 28), (60, 91), {"colour": "GRAY", "invert": True}, ["--colour", "gray", "--invert"]),
        ((28, 28), (60, 91), {"resize": "nearest"}, ["--resize", "nearest"]),
        ((28, 28), (60, 90), {"fit": "crop", "crop": 32}, ["--crop", "32"]),
        (
            (28, 28),
            (60, 91),
            {"mean": (10.0, 20.0, 30.0), "std": (1.0, 2.0, 0.5)},
            ["--mean", "10,20,30", "--std", "1,2,0.5"],
        ),
    ],
    ids=["bilinear", "enlarged BGR", "gray", "nearest", "crop", "normalised"],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16"])
def test_the_guest_in_c_sends_the_same(
    size: tuple[int, int],
    picture: tuple[int, int],
    options: dict[str, Any],
    chosen: list[str],
    mode: str,
    tmp_path: Path,
) -> None:
    require_backend("onnxruntime")
    pixels = noise(*picture)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * np.uint16(256) + pixels[..., 1])
    elif mode == "RGBA":
        image = Image.fromarray(np.concatenate([pixels, pixels[..., :1]], axis=2))
    else:
        image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / "x.png", **({"transparency": 3} if mode == "P" else {}))
    given = contract(size=size, layout="NCHW", **options)
    wanted = preprocess(tmp_path / "x.png", given).numpy()

    nodes = [helper.make_node("Flatten", ["x"], ["y"])]
    echo = models.onnx_model(
        nodes,
        [("x", TensorProto.FLOAT, list(wanted.shape))],
        [("y", TensorProto.FLOAT, [1, wanted.size])],
    )
    recorder = MemoryRecorder()
    command = ["--name", "echo", "--size", f"{size[0]}x{size[1]}", "--range", "0,255", *chosen, "/p/x.png"]
    host = wasinn.Host(graphs={"echo": GraphSource.from_bytes(echo)})
    result = host.run("@classify", command, dirs={"/p": tmp_path}, record=recorder)
    assert (result.exit_code, result.stderr) == (0, b"")
    (record,) = recorder.records
    (sent,) = record.inputs
    assert sent.array.shape == wanted.shape
    step = np.reshape(1 / np.array(options.get("std", (1.0,))), (1, -1, 1, 1))
    assert (np.abs(sent.array - wanted) <= step + 1e-4).all()


# -- real models --------------------------------------------------------------------------------------

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "range": (0.0, 1.0)}
U8 = InputContract("image", type=TensorType.U8, image=ImageContract("NHWC", (224, 224), range=(0.0, 255.0)))


def answer(source: GraphSource, picture: Path, given: InputContract) -> Array:
    with DirectGraph("g", source) as graph:
        return graph.infer({0: preprocess(picture, given)}).outputs[0]


def test_birds_sees_the_mandarin_duck(data: Path) -> None:
    require_backend("litert")
    source = GraphSource.from_files(data / "birds" / "aiy_vision_classifier_birds_V1_3.tflite")
    scores = answer(source, data / "birds" / "bird.jpg", U8).ravel()
    assert scores.argmax() == 166
    assert 187 <= scores[166] <= 194
    assert np.sort(scores)[-2] <= 3


@pytest.mark.parametrize(
    ("picture", "index", "least", "most"),
    [("cat", 286, 191, 208), ("grace_hopper", 653, 234, 243), ("bird", 20, 250, 255)],
)
@pytest.mark.parametrize("artifact", ["quant", "onnx", "bgr"])
def test_mobilenet_s_artifacts_agree_each_with_its_contract(
    data: Path, artifact: str, picture: str, index: int, least: int, most: int
) -> None:
    folder = data / "mobilenet_v2"
    path = data / "images" / f"{picture}.bmp"
    if artifact == "quant":
        require_backend("litert")
        scores = answer(GraphSource.from_files(folder / "mobilenet_v2_1.0_224_quant.tflite"), path, U8)[0]
        assert scores.argmax() == index
        assert least <= scores[index] <= most
    elif artifact == "onnx":  # 1000 classes: the background is left out
        require_backend("onnxruntime")
        given = contract(size=(224, 224), layout="NCHW", **IMAGENET)
        scores = answer(GraphSource.from_files(folder / "mobilenet_v2.onnx"), path, given)[0]
        assert scores.argmax() == index - 1
    else:
        require_backend("openvino")
        given = contract(size=(224, 224), layout="NCHW", colour="BGR")
        files = [folder / f"mobilenet_v2_bgr_nchw.{end}" for end in ("xml", "bin")]
        scores = answer(GraphSource.from_files(*files), path, given)[0]
        assert scores.argmax() == index


def test_mobilenet_in_bgr_sees_the_banana(data: Path) -> None:
    require_backend("openvino")
    files = [data / "mobilenet_v2" / f"mobilenet_v2_bgr_nchw.{end}" for end in ("xml", "bin")]
    given = contract(size=(224, 224), layout="NCHW", colour="BGR")
    scores = answer(GraphSource.from_files(*files), data / "images" / "input.jpg", given)[0]
    assert scores.argmax() == 955
    assert scores[955] == pytest.approx(0.996, abs=0.002)


def test_the_road_has_its_four_classes(data: Path) -> None:
    require_backend("openvino")
    files = [data / "roadseg" / f"road-segmentation-adas-0001.{end}" for end in ("xml", "bin")]
    given = contract(size=(512, 896), layout="NCHW", colour="BGR")
    source = GraphSource.from_files(*files, precision="f32")
    scores = answer(source, data / "roadseg" / "empty_road_mapillary.jpg", given)
    counts = np.bincount(scores[0].argmax(axis=0).ravel(), minlength=4)
    # To the pixel where this was written; a processor that adds in another order may move a few.
    assert np.abs(counts - [356434, 88052, 9992, 4274]).max() <= 20


@pytest.mark.parametrize(("name", "digit"), [("sample3.png", 3), ("sample7.png", 7), ("mnist_nine.bmp", 9)])
def test_mnist_reads_the_digit(data: Path, name: str, digit: int) -> None:
    require_backend("onnxruntime")
    given = contract(size=(28, 28), layout="NCHW", colour="GRAY")
    scores = answer(GraphSource.from_files(data / "mnist" / "mnist.onnx"), data / "mnist" / name, given)
    assert scores.argmax() == digit


def test_postscript_is_not_run(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    with pytest.raises(ConfigError, match="EPS"):
        read_picture(tmp_path / "a.eps")
