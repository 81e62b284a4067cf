# SPDX-License-Identifier: Apache-2.0
"""What can be wrong between a picture and an answer, as changes of an assumption.

An assumption is how one side makes its tensor and reads its output: two contracts, and what code can do
wrong that no contract can say (`slips`). A hypothesis is one change of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from wasinn.contracts.contract import RESIZES, InputContract, OutputContract
from wasinn.spec import TensorType
from wasinn.tensors import INTEGERS, Quantization, TensorSpec

#: What code does to a finished picture or tensor that no contract can say.
TRANSPOSED = "transposed"  # height and width changed places
SIZE_SWAPPED = "size swapped"  # the picture was made width by height, and the bytes passed as they were
CAST = "cast"  # real numbers were cut to whole ones, 0 to 255
TWICE = "twice"  # quantized again what was quantized already

#: Means and deviations in use, of a picture in 0..1, RGB: torchvision's and TensorFlow's ImageNet models,
#: OpenAI's CLIP, and the halves that make -1..1 of 0..1.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_NONE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
#: Caffe's: levels of 0..255, no deviation (Keras' imagenet_utils, mode "caffe").
_CAFFE = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
_SETS = {
    "no mean and std": _NONE,
    "ImageNet's mean and std": _IMAGENET,
    "CLIP's mean and std": _CLIP,
    "mean and std of 0.5": _HALVES,
    "Caffe's means": _CAFFE,
}
_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))


@dataclass(frozen=True)
class Assumption:
    """How one side makes the tensor of a picture, and reads an output."""

    input: InputContract
    output: OutputContract
    slips: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Hypothesis:
    """One change. `key` is what it is about, `value` the words for what it becomes, `lines` the contract's
    lines that say so, `slip` what code did that no contract can say."""

    key: str
    value: str
    side: str = "input"
    image: tuple[tuple[str, Any], ...] = ()
    fields: tuple[tuple[str, Any], ...] = ()
    slip: str | None = None

    def apply(self, assumption: Assumption) -> Assumption:
        if self.slip is not None:
            return replace(assumption, slips=assumption.slips ^ {self.slip})
        if self.side == "output":
            return replace(assumption, output=replace(assumption.output, **dict(self.fields)))
        changed = replace(assumption.input, **dict(self.fields))
        if self.image and changed.image is not None:
            changed = replace(changed, image=replace(changed.image, **dict(self.image)))
        return replace(assumption, input=changed)

    @property
    def lines(self) -> list[str]:
        """The contract's lines, without their table."""
        found = []
        for key, value in (*self.image, *self.fields):
            if value is None:
                continue  # a key that is left out
            if key in ("mean", "std", "range"):
                value = "[" + ", ".join(str(float(each)) for each in value) + "]"
            elif isinstance(value, TensorType):
                value = f'"{value.label}"'
            elif isinstance(value, Quantization):
                value = '"model"'
            elif isinstance(value, bool):
                value = str(value).lower()
            elif isinstance(value, str):
                value = f'"{value}"'
            elif isinstance(value, tuple):
                value = str(list(value))
            found.append(f"{key} = {value}")
        return found


def input_hypotheses(base: Assumption, spec: TensorSpec, picture: bool = True) -> list[Hypothesis]:
    """Every single change of how an image is sent to a port. `picture` False: its pixels are given, and
    nothing about resizing can be tried."""
    image = base.input.image
    if image is None:
        return []
    found = [*_layouts(base, spec), *_colours(base), *_levels(base), *_types(base, spec)]
    if image.invert or image.colour == "GRAY":
        found.append(
            Hypothesis(
                "invert",
                "inverted levels" if not image.invert else "levels not inverted",
                image=(("invert", not image.invert),),
            )
        )
    found.append(Hypothesis("transposed", "height and width transposed", slip=TRANSPOSED))
    if picture:
        found += _resizes(base)
        if image.size[0] != image.size[1]:
            found.append(Hypothesis("transposed", "size given as width, height", slip=SIZE_SWAPPED))
    return found


def _layouts(base: Assumption, spec: TensorSpec) -> Iterator[Hypothesis]:
    image = base.input.image
    assert image is not None
    if image.channels > 1:
        batch = "N" if image.layout.startswith("N") else ""
        other = f"{batch}HWC" if image.layout.endswith("HW") else f"{batch}CHW"
        yield Hypothesis("layout", other, image=(("layout", other),))
    if spec.dims is not None and len(spec.dims) != len(image.layout):
        with_batch = "N" + image.layout.lstrip("N")
        layout = with_batch if len(spec.dims) > len(image.layout) else image.layout.lstrip("N")
        if layout != image.layout and len(layout) == len(spec.dims):
            yield Hypothesis("batch", f"layout {layout}", image=(("layout", layout),))


def _colours(base: Assumption) -> Iterator[Hypothesis]:
    image = base.input.image
    assert image is not None
    if image.colour != "GRAY":
        other = "BGR" if image.colour == "RGB" else "RGB"
        yield Hypothesis("colour", other, image=(("colour", other),))


def _levels(base: Assumption) -> Iterator[Hypothesis]:
    """Other ranges, and other means and deviations in the contract's own range."""
    image = base.input.image
    assert image is not None
    if base.input.type in INTEGERS and base.input.quantization == "none":
        return  # whole numbers hold 0..255 as it is; what else was sent is a cast
    for low, high in _RANGES:
        if (low, high) != image.range:
            yield Hypothesis("range", f"{low:g}..{high:g}", image=(("range", (low, high)),))
    for name, (mean, std) in _SETS.items():
        for mean_set, std_set, words in _ordered(mean, std, image.colour, image.channels, name):
            if (mean_set, std_set) != (image.mean, image.std):
                yield Hypothesis("mean and std", words, image=(("mean", mean_set), ("std", std_set)))


def _ordered(
    mean: tuple[float, ...], std: tuple[float, ...], colour: str, channels: int, name: str
) -> Iterator[tuple[tuple[float, ...], tuple[float, ...], str]]:
    """A set in the tensor's channel order, and in the wrong one."""
    if channels == 1:
        yield (sum(mean) / 3,), (sum(std) / 3,), name
        return
    orders = [(mean, std), (mean[::-1], std[::-1])]
    if colour == "BGR":
        orders.reverse()
    yield (*orders[0], name)
    if mean != mean[::-1]:
        yield (*orders[1], f"{name} in the other channel order")


def _types(base: Assumption, spec: TensorSpec) -> Iterator[Hypothesis]:
    if base.input.type is not spec.type and not spec.any_type:
        yield Hypothesis("type", spec.type.label, fields=(("type", spec.type),))
    if base.input.type not in INTEGERS or base.input.quantization == "none":
        yield Hypothesis("type", "numbers cast to u8", slip=CAST)
    if isinstance(base.input.quantization, Quantization):
        yield Hypothesis("quantization", "not quantized", fields=(("quantization", "none"),))
        yield Hypothesis("quantization", "quantized twice", slip=TWICE)
    elif spec.quantization is not None and base.input.type in INTEGERS:
        yield Hypothesis("quantization", "quantized", fields=(("quantization", spec.quantization),))
        yield Hypothesis("quantization", "quantized twice", slip=TWICE)


def _resizes(base: Assumption) -> Iterator[Hypothesis]:
    image = base.input.image
    assert image is not None
    for name in RESIZES:
        for antialias in (True, False):
            if name in ("nearest", "area") and not antialias:
                continue  # the same as with it
            if (name, antialias) == (image.resize, image.antialias):
                continue
            if name == image.resize and name in ("nearest", "area"):
                continue
            changes: tuple[tuple[str, Any], ...] = (("resize", name), ("antialias", antialias))
            words = name if antialias or name in ("nearest", "area") else f"{name} without antialiasing"
            yield Hypothesis("resize", words, image=changes)
    for fit in ("stretch", "crop", "letterbox"):
        if fit != image.fit:
            yield Hypothesis("fit", fit, image=(("fit", fit), ("crop", None)))
    if image.fit == "crop" or image.size == (224, 224):
        side = round(max(image.size) / 0.875)  # torchvision's 256 for 224
        if image.crop != side:
            yield Hypothesis("fit", f"crop from {side}", image=(("fit", "crop"), ("crop", side)))


def output_hypotheses(base: Assumption) -> list[Hypothesis]:
    """Every single change of how an output is read."""
    output = base.output
    found = []
    if output.kind in ("logits", "probabilities", "raw"):
        for kind in ("logits", "probabilities"):
            if kind != output.kind:
                found.append(Hypothesis("kind", kind, "output", fields=(("kind", kind),)))
        for offset in (output.label_offset - 1, output.label_offset + 1):
            if output.labels is not None and len(output.labels) - offset < (output.classes or 0):
                continue  # the labels would end before the classes: no contract could say so
            found.append(
                Hypothesis("label_offset", str(offset), "output", fields=(("label_offset", offset),))
            )
    return found


def readings(base: Assumption) -> list[tuple[Hypothesis, ...]]:
    """Every change of how the output is read, and every pair."""
    singles = output_hypotheses(base)
    both = [(a, b) for at, a in enumerate(singles) for b in singles[at + 1 :] if a.key != b.key]
    return [*((each,) for each in singles), *both]


def pairs(hypotheses: Sequence[Hypothesis]) -> Iterator[tuple[Hypothesis, ...]]:
    """Two changes of different things."""
    for first, second in combinations(hypotheses, 2):
        if first.key != second.key:
            yield first, second
