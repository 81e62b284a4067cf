# SPDX-License-Identifier: Apache-2.0
"""Each SDK makes of a picture the tensor that wasinn.imaging makes of it: the same picture and contract go
through the guest `tensor` and through the host.

A run of the guest does many pairs of a contract and a picture; it writes the tensors one after another, each
after its length, and a length of 0 for a pair that it refuses.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from sdk.answers import FILES, PICTURES
from sdk.conftest import Run
from sdk.languages import Language
from sdk.pictures import COLOUR_TYPES, MODES, Made, pictures
from wasinn import ConfigError, TensorType
from wasinn.contracts.contract import IMAGE_LAYOUTS, ImageContract, InputContract
from wasinn.contracts.transforms import numbers
from wasinn.imaging.decode import read_picture
from wasinn.imaging.preprocess import preprocess
from wasinn.tensors import Quantization

pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency")

#: So many pairs go through one run of a guest.
AT_ONCE = 24
DTYPES = {"f32": "<f4", "f16": "<f2", "u8": "u1", "i8": "i1", "i32": "<i4"}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pair:
    """A picture, made or a file, and what is to become of it."""

    picture: Made | Path
    contract: InputContract

    @property
    def document(self) -> dict[str, Any]:
        """The contract as the host says it to guests, in an element of contract.inputs."""
        image, quantization = self.contract.image, self.contract.quantization
        assert image is not None
        result: dict[str, Any] = {"name": "image", "type": self.contract.type.label}
        result["dims"] = list(image.dims)
        if isinstance(quantization, Quantization):
            result["quantization"] = quantization.as_dict()
        return result | {"image": {**vars(image)}}

    def expected(self) -> Array | None:
        """The host's tensor; None where it refuses."""
        content = self.picture.content if isinstance(self.picture, Made) else self.picture
        try:
            tensor = preprocess(content, self.contract)
        except ConfigError:
            return None
        return tensor.numpy()

    def steps(self) -> Array:
        """For each channel, how far a number may be off: one level of 255, and a number of the type."""
        scale, offset, _ = numbers(self.contract)
        step = np.abs(scale)
        if self.contract.type.label.startswith("f"):
            # What is rounded to the type may fall to either side.
            epsilon = float(np.finfo(DTYPES[self.contract.type.label]).eps)
            return np.asarray(step + epsilon * (np.abs(offset) + 255 * step) + 1e-7)
        return np.asarray(np.maximum(1, np.ceil(step)))


def check(run: Run, pairs: Sequence[Pair], exact: bool = False) -> None:
    """Holds all pairs against the host; `exact`: the very numbers, up to the rounding of floats."""
    expected = [pair.expected() for pair in pairs]
    with tempfile.TemporaryDirectory() as folder:
        tensors, errors = guest_tensors(run, pairs, Path(folder), any(each is None for each in expected))
    for pair, wanted, content in zip(pairs, expected, tensors, strict=True):
        if wanted is None:
            assert content == b"", f"the host refuses {pair}"
            continue
        assert content != b"", f"{pair} is refused: {errors}"
        found = np.frombuffer(content, DTYPES[pair.contract.type.label])
        assert found.size == wanted.size, pair
        compare(pair, found.reshape(wanted.shape), wanted, exact)


def guest_tensors(run: Run, pairs: Sequence[Pair], folder: Path, fails: bool) -> tuple[list[bytes], str]:
    """What the guest writes for each pair, and to stderr."""
    args = []
    for number, pair in enumerate(pairs):
        (folder / f"{number}.json").write_text(json.dumps(pair.document), encoding="utf-8")
        name = f"{number}.{pair.picture.kind.lower()}" if isinstance(pair.picture, Made) else str(number)
        if isinstance(pair.picture, Made):
            (folder / name).write_bytes(pair.picture.content)
        else:
            shutil.copyfile(pair.picture, folder / name)
        # Half of them on the command line itself.
        json_text = (folder / f"{number}.json").read_text(encoding="utf-8")
        args += [f"@/t/{number}.json" if number % 2 else json_text, f"/t/{name}"]
    result = run({}, "tensor", *args, dirs={"/t": folder})
    errors = result.stderr.decode()
    tensors, rest = [], result.stdout
    while rest:
        (size,) = struct.unpack("<I", rest[:4])
        tensors.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    assert len(tensors) == len(pairs), errors
    refused = sum(each == b"" for each in tensors)
    assert len(errors.splitlines()) == refused, errors
    assert result.exit_code == (1 if refused else 0), errors
    assert fails or not refused, errors
    return tensors, errors


def compare(pair: Pair, found: Array, wanted: Array, exact: bool) -> None:
    image = pair.contract.image
    assert image is not None
    difference = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    if "C" in image.layout:
        difference = np.moveaxis(difference, image.layout.index("C"), -1)
    else:
        difference = difference[..., None]
    allowed = pair.steps()
    if exact:
        # Of floats, some of the last bits.
        allowed = allowed * 1e-3 if pair.contract.type.label.startswith("f") else np.zeros_like(allowed)
        if pair.contract.type is TensorType.F16:
            allowed = pair.steps() - np.abs(numbers(pair.contract)[0])
    worst = np.unravel_index(int((difference - allowed).argmax()), difference.shape)
    assert (difference <= allowed).all(), (
        f"{pair}\nat {worst} of {difference.shape} (channels last): {difference[worst]:g} off, and "
        f"{allowed[worst[-1]]:g} are allowed; {(difference > allowed).mean():.1%} of the numbers are worse"
    )


# -- what is drawn by chance ------------------------------------------------------------------------------


@st.composite
def contracts(draw: st.DrawFn, size: tuple[int, int] | None = None) -> InputContract:
    """A contract of any kind, for a picture of `size` (height, width) if it is given."""
    colour = draw(st.sampled_from(["RGB", "BGR", "GRAY"]))
    layouts = [each for each in IMAGE_LAYOUTS if "C" in each or colour == "GRAY"]
    side = st.integers(1, 40)
    if size is None:
        size = draw(side), draw(side)
    channels = 1 if colour == "GRAY" else 3
    kind = draw(st.sampled_from(sorted(DTYPES)))
    limits = draw(st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-128.0, 127.0), (0.5, 0.0)]))
    width = abs(limits[1] - limits[0])
    shares = st.floats(0, 1, width=16)
    mean = [min(limits) + draw(shares) * width for _ in range(channels)]
    std = [draw(st.floats(0.125, 4, width=16)) * width / 2 for _ in range(channels)]
    normalised = draw(st.booleans())
    fit = draw(st.sampled_from(["stretch", "crop", "letterbox"]))
    image = ImageContract(
        layout=draw(st.sampled_from(layouts)),
        size=size,
        colour=colour,
        range=limits,
        mean=tuple(mean) if normalised else (0.0,) * channels,
        std=tuple(std) if normalised else (1.0,) * channels,
        resize=draw(st.sampled_from(["bilinear", "bilinear", "nearest"])),
        antialias=draw(st.booleans()),
        fit=fit,
        crop=draw(st.none() | st.integers(max(1, max(size) - 3), 60)) if fit == "crop" else None,
        fill=draw(st.tuples(*[st.integers(0, 255)] * 3)),
        invert=draw(st.booleans()),
    )
    tensor_type = next(each for each in TensorType if each.label == kind)
    quantized = kind in {"u8", "i8"} and draw(st.booleans())
    quantization = draw(quantizations(kind, image)) if quantized else "none"
    return InputContract("image", None, tensor_type, image, None, quantization)


@st.composite
def quantizations(draw: st.DrawFn, kind: str, image: ImageContract) -> Quantization:
    """Of the whole tensor, or of each channel; about as fine as the levels of the picture."""
    low = 0 if kind == "u8" else -128
    axis = image.layout.index("C") if "C" in image.layout and draw(st.booleans()) else None
    count = 1 if axis is None else image.channels
    step = abs(image.range[1] - image.range[0]) / 255 / min(image.std)
    scales = [step * draw(st.floats(0.5, 3, width=16)) for _ in range(count)]
    points = [draw(st.integers(low, low + 255)) for _ in range(count)]
    return Quantization(tuple(scales), tuple(points), axis)


@st.composite
def resized(draw: st.DrawFn) -> Pair:
    return Pair(draw(pictures()), draw(contracts()))


@st.composite
def as_it_is(draw: st.DrawFn) -> Pair:
    """A picture of the contract's own size, which no filter changes."""
    picture = draw(pictures(40))
    contract = draw(contracts((picture.height, picture.width)))
    assert contract.image is not None
    if contract.image.crop is not None:
        contract = draw(
            contracts((picture.height, picture.width)).filter(lambda each: each.image.crop is None)
        )
    return Pair(picture, contract)


def chance(language: Language, examples: int) -> Any:
    """The settings: so many runs of a guest, fewer of a slow one; more with HYPOTHESIS_PROFILE=soak."""
    more = max(1, settings().max_examples // 100)
    return settings(
        max_examples=max(2, examples * more // language.slow),
        # A pair fails alone, and the assertion names it: the list it came in need not be shortened, or shown.
        phases=[Phase.reuse, Phase.generate],
        verbosity=Verbosity.quiet,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )


def test_any_picture_under_any_contract(run: Run, language: Language) -> None:
    @chance(language, 16)
    @given(st.lists(resized(), min_size=AT_ONCE, max_size=AT_ONCE))
    def hold(pairs: list[Pair]) -> None:
        check(run, pairs)

    hold()


def test_what_needs_no_resizing_is_the_same_to_the_bit(run: Run, language: Language) -> None:
    @chance(language, 8)
    @given(st.lists(as_it_is(), min_size=AT_ONCE, max_size=AT_ONCE))
    def hold(pairs: list[Pair]) -> None:
        check(run, pairs, exact=True)

    hold()


# -- what is known ----------------------------------------------------------------------------------------


def plain(kind: str = "f32", **image: Any) -> InputContract:
    tensor_type = next(each for each in TensorType if each.label == kind)
    return InputContract("image", None, tensor_type, ImageContract(**{"layout": "NCHW", **image}))


#: PNM as text, and with levels that do not end at 255.
PNM = {
    "P1": b"P1\n# bits may stand together\n4 2\n0 1 1 0\n1011\n",
    "P2": b"P2 3 2 15\n0 1 2\n 13 14 15\n",
    "P3": b"P3\n2 1 # two pixels\n100\n0 50 100 1 2 3\n",
    "P5-100": b"P5\n5 2\n100\n" + bytes([0, 1, 49, 50, 51, 98, 99, 100, 33, 66]),
    "P5-1000": b"P5 3 1 1000\n" + struct.pack(">3H", 0, 500, 1000),
    "P6-7": b"P6 2 1 7\n" + bytes([0, 1, 2, 3, 6, 7]),
}


def test_levels_of_pnm_are_brought_to_bytes(run: Run, tmp_path: Path) -> None:
    pairs = []
    for name, content in PNM.items():
        (tmp_path / name).write_bytes(content)
        height, width = read_picture(content).shape[:2]
        pairs.append(Pair(tmp_path / name, plain("u8", size=(height, width), range=(0.0, 255.0))))
    check(run, pairs)


def test_every_kind_of_file_is_decoded(run: Run) -> None:
    forms = [(kind, mode) for kind, modes in MODES.items() for mode in modes]
    forms += [
        ("PNG", f"{colour}-{depth}-{interlace}")
        for colour, (_, depths) in COLOUR_TYPES.items()
        for depth in depths
        for interlace in (0, 1)
    ]
    pairs = []
    for number, (kind, form) in enumerate(forms):
        for width, height in ((1, 1), (9, 14), (3, 2)):
            contract = plain("u8", size=(height, width), range=(0.0, 255.0))
            pairs.append(Pair(Made(kind, form, width, height, number), contract))
    check(run, pairs, exact=True)


@pytest.mark.parametrize("size", [(8, 8), (5, 11), (31, 17)])
def test_the_shipped_pictures(run: Run, size: tuple[int, int]) -> None:
    check(
        run,
        [
            Pair(PICTURES / file, plain(size=size, colour=colour))
            for file in FILES
            for colour in ("GRAY", "BGR")
        ],
    )


def test_pictures_of_real_models(run: Run, language: Language, data: Path) -> None:
    files = [
        *(data / "mnist").glob("*.png"),
        *(data / "mnist").glob("*.bmp"),
        *(data / "images").glob("*.bmp"),
    ]
    assert len(files) >= 6
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    contracts = [
        plain(size=(28, 28), colour="GRAY", range=(0.0, 255.0)),
        plain(size=(224, 224), mean=mean, std=std, fit="crop", crop=256),
        plain("u8", size=(224, 224), layout="NHWC", range=(0.0, 255.0), antialias=False),
        plain(
            "i8", size=(96, 160), layout="NHWC", range=(-128.0, 127.0), fit="letterbox", fill=(114, 114, 114)
        ),
    ]
    chosen = contracts if language.slow == 1 else contracts[:2]
    check(run, [Pair(file, contract) for file in files for contract in chosen])


def test_levels_are_saturated_and_rounded_away_from_zero(run: Run) -> None:
    """A slope of all levels, so that each half and each limit is met."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slope.pgm"
        path.write_bytes(b"P5\n# all levels\n256 1\n255\n" + bytes(range(256)))
        gray = {"size": (1, 256), "colour": "GRAY"}
        ranges = [(0.0, 127.5), (-127.5, 127.5), (-600.0, 600.0), (127.5, -127.5), (0.0, 1.0), (-3.0, 2.0)]
        pairs = [
            Pair(path, plain(kind, range=each, **gray)) for kind in ("u8", "i8", "i32") for each in ranges
        ]
        scales = [(1 / 255, 0), (1 / 127.5, -128), (2 / 255, 3), (0.1, 127)]
        for scale, point in scales:
            contract = plain("i8", range=(-1.0, 1.0), **gray)
            quantization = Quantization((scale,), (point,), None)
            pairs.append(
                Pair(path, InputContract("image", None, contract.type, contract.image, None, quantization))
            )
        check(run, pairs, exact=True)


def test_keys_that_are_absent_have_the_contract_s_defaults(run: Run) -> None:
    picture = Made("PNG", "RGB", 12, 7, 5)
    short = {"type": "f32", "image": {"layout": "NCHW", "size": [6, 9]}}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.png").write_bytes(picture.content)
        result = run({}, "tensor", json.dumps(short), "/t/a.png", dirs={"/t": folder})
    assert (result.exit_code, result.stderr) == (0, b"")
    pair = Pair(picture, plain(size=(6, 9)))
    wanted = pair.expected()
    assert wanted is not None
    found = np.frombuffer(result.stdout[4:], "<f4").reshape(wanted.shape)
    compare(pair, found, wanted, exact=False)


@pytest.mark.parametrize("resize", ["bicubic", "area"])
def test_a_filter_is_done_right_or_refused_by_name(run: Run, resize: str) -> None:
    pairs = [
        Pair(Made("PNG", "RGB", 30, 20, seed), plain(size=(9, 11), resize=resize, antialias=antialias))
        for seed in range(3)
        for antialias in (True, False)
    ]
    with tempfile.TemporaryDirectory() as folder:
        tensors, errors = guest_tensors(run, pairs, Path(folder), fails=True)
    refused = tensors.count(b"")
    assert [resize in line for line in errors.splitlines()] == [True] * refused, errors
    for pair, content in zip(pairs, tensors, strict=True):
        wanted = pair.expected()
        assert wanted is not None
        if content:
            compare(pair, np.frombuffer(content, "<f4").reshape(wanted.shape), wanted, exact=False)


def test_a_size_that_no_crop_gives_is_refused_as_by_the_host(run: Run) -> None:
    pair = Pair(Made("PNG", "RGB", 50, 20, 0), plain(size=(40, 40), fit="crop", crop=30))
    good = Pair(Made("PNG", "RGB", 50, 20, 0), plain(size=(40, 40), fit="crop", crop=40))
    assert pair.expected() is None
    with tempfile.TemporaryDirectory() as folder:
        tensors, errors = guest_tensors(run, [pair, good], Path(folder), fails=True)
    assert tensors[0] == b""
    assert len(tensors[1]) == 4 * 3 * 40 * 40
    assert "crop" in errors
    assert "40" in errors


def test_the_scale_of_a_tall_picture_is_that_of_the_host(run: Run) -> None:
    """Lengths whose rounding matters: halves, and sides of a single pixel."""
    sizes = [(1, 64), (64, 1), (3, 64), (64, 3), (33, 63), (5, 2), (2, 5), (7, 7), (1, 1)]
    pairs = [
        Pair(Made("PNG", "RGB", width, height, 3), plain(size=size, fit=fit, resize="nearest"))
        for width, height in sizes
        for size in ((8, 8), (5, 12), (12, 5), (1, 1), (2, 1))
        for fit in ("letterbox", "crop")
    ]
    check(run, pairs)


def test_errors_of_pictures_name_the_file(run: Run, tmp_path: Path) -> None:
    text = json.dumps(Pair(Made("PNG", "L", 1, 1, 0), plain(size=(2, 2))).document)
    (tmp_path / "cut.png").write_bytes(Made("PNG", "RGB", 20, 20, 0).content[:200])
    good = PICTURES / "two.png"
    shutil.copyfile(good, tmp_path / "good.png")
    args = [text, "/t/cut.png", text, "/t/none.png", text, "/t/good.png", "{", "/t/good.png"]
    result = run({}, "tensor", *args, dirs={"/t": tmp_path})
    assert result.exit_code == 1
    sizes, rest = [], result.stdout
    while rest:
        sizes.append(struct.unpack("<I", rest[:4])[0])
        rest = rest[4 + sizes[-1] :]
    assert sizes == [0, 0, math.prod((1, 3, 2, 2)) * 4, 0]
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 3
    assert "/t/cut.png: " in lines[0]
    assert "/t/none.png: " in lines[1]
    assert "JSON" in lines[2] or "contract" in lines[2]
