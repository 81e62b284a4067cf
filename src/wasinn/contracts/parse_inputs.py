# SPDX-License-Identifier: Apache-2.0
"""The tables [input.NAME] of a contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from wasinn.contracts.contract import COLOURS, FITS, IMAGE_LAYOUTS, RESIZES, ImageContract, InputContract
from wasinn.contracts.keys import (
    IMAGE_KEYS,
    IMAGE_TYPES,
    INPUT_KEYS,
    INPUT_KINDS,
    MAX_DIM,
    MAX_SIDE,
    QUANTIZED,
)
from wasinn.contracts.reading import Reader, Table, is_divisor, is_integer
from wasinn.contracts.shown import shown
from wasinn.spec import TensorType
from wasinn.tensors import FLOATS, MAX_RANK, Quantization, SpecDims

AnyQuantization = Quantization | Literal["none", "model"]


def parse_input(reader: Reader, name: str, values: Mapping[str, Any]) -> InputContract:
    """One input. Raises ConfigError."""
    table = Table(reader, ("input", name), values, INPUT_KEYS)
    picture = next((key for key in IMAGE_KEYS if key in table), None)
    kind = table.word("kind", INPUT_KINDS, "image" if picture else "tensor")
    if kind == "tensor" and picture:
        raise table.error(picture, f'{picture} is of images, and kind is "tensor"; leave one of the two out')
    tensor_type = table.tensor_type() or TensorType.F32
    quantization = parse_quantization(table, "none", tensor_type)
    image = None
    if kind == "image":
        if "dims" in table:
            raise table.error("dims", "the dims of an image follow from its layout and size; leave dims out")
        image = _image(table, tensor_type, quantization)
    return InputContract(name, table.port("port"), tensor_type, image, _dims(table), quantization)


def _image(table: Table, tensor_type: TensorType, quantization: AnyQuantization) -> ImageContract:
    if tensor_type not in IMAGE_TYPES:
        known = ", ".join(each.label for each in IMAGE_TYPES)
        raise table.error("type", f"the type of an image is one of {known}, not {tensor_type.label}")
    for key, example in (("layout", '"NCHW"'), ("size", "[224, 224]  (height, width)")):
        if key not in table:
            raise table.error(key, f"{key} is missing: an image needs {key}, as in {key} = {example}")
    layout = table.word("layout", IMAGE_LAYOUTS, "")
    colour = table.word("colour", COLOURS, "GRAY" if "C" not in layout else "RGB")
    channels = 1 if colour == "GRAY" else 3
    if "C" not in layout and channels != 1:
        raise table.error(
            "layout",
            f'layout {layout} has no C, and colour is {colour}; write colour = "GRAY", or a layout with C',
        )
    fit = table.word("fit", FITS, "stretch")
    size = _size(table)
    mean, std = table.per_channel("mean", 0.0, colour, channels), _std(table, colour, channels)
    if "fill" in table and fit != "letterbox":
        raise table.error(
            "fill", f'fill is the colour of bars, which fit = "{fit}" does not make; leave it out'
        )
    return ImageContract(
        layout=layout,
        size=size,
        colour=colour,
        range=_range(table, tensor_type, quantization, mean, std),
        mean=mean,
        std=std,
        resize=table.word("resize", RESIZES, "bilinear"),
        antialias=table.flag("antialias", True),
        fit=fit,
        crop=_crop(table, fit, size),
        fill=_fill(table),
        invert=table.flag("invert", False),
    )


def _range(
    table: Table,
    tensor_type: TensorType,
    quantization: AnyQuantization,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[float, float]:
    """`range`; an integer type without a quantization has to hold the numbers that it makes."""
    whole = tensor_type not in FLOATS and quantization == "none"
    low, high = table.pair("range", (0.0, 255.0) if whole else (0.0, 1.0))
    if low == high:
        raise table.error(
            "range", f"range is what 0 and 255 become: two different numbers, not {low:g} twice"
        )
    furthest = max(mean, key=abs)
    # A mean that far out is of levels, where the range is of shares: the picture would be all but one number.
    if abs(furthest) > 2 * max(abs(low), abs(high)):
        raise table.error(
            "mean",
            f"mean {furthest:g} lies outside range [{low:g}, {high:g}], whose units it is in; with mean and "
            "std in levels write range = [0.0, 255.0], else divide both by 255",
        )
    if not whole:
        return low, high
    limits = np.iinfo(f"{'u' if tensor_type.label[0] == 'u' else ''}int{8 * tensor_type.size}")
    made = [(end - mean[at]) / std[at] for end in (low, high) for at in range(len(mean))]
    if min(made) < limits.min - 0.5 or max(made) > limits.max + 0.5:
        why = f"which {tensor_type.label} cannot hold ({limits.min} to {limits.max})"
    elif max(made) - min(made) <= 1.5:
        why = f"and {tensor_type.label} holds whole numbers alone"
    else:
        return low, high
    fitting = "[-128.0, 127.0]" if tensor_type is TensorType.I8 else "[0.0, 255.0]"
    raise table.error(
        "range",
        f"with this range, mean and std a picture becomes {min(made):g} to {max(made):g}, {why}; write "
        f"range = {fitting} where the bytes are the picture's own, or a quantization "
        '("model", or { scale = S, zero_point = Z })',
    )


def _std(table: Table, colour: str, channels: int) -> tuple[float, ...]:
    std = table.per_channel("std", 1.0, colour, channels)
    if not all(is_divisor(each) for each in std):
        raise table.error("std", f"std divides: it is above 0, not {shown(table.get('std'))}")
    return std


def _size(table: Table) -> tuple[int, int]:
    value = table.get("size")
    if not isinstance(value, list) or len(value) != 2 or not all(is_integer(each) for each in value):
        raise table.error("size", f"size is [height, width] in pixels, as in [224, 224], not {shown(value)}")
    if not all(1 <= each <= MAX_SIDE for each in value):
        raise table.error(
            "size", f"size is [height, width], each from 1 to {MAX_SIDE} pixels, not {shown(value)}"
        )
    return value[0], value[1]


def _crop(table: Table, fit: str, size: tuple[int, int]) -> int | None:
    crop = table.integer("crop", 1, MAX_SIDE)
    if crop is None:
        return None
    what = "crop is what the shorter side becomes before the middle is cut out"
    if fit != "crop":
        raise table.error(
            "crop", f'{what}, which needs fit = "crop", not "{fit}"; write it, or leave crop out'
        )
    if crop < max(size):
        raise table.error("crop", f"{what}: at least {max(size)} for this size, not {crop}")
    return crop


def _fill(table: Table) -> tuple[int, int, int]:
    value = table.get("fill", 0)
    levels = [value] * 3 if is_integer(value) else value
    if (
        not isinstance(levels, list)
        or len(levels) != 3
        or not all(is_integer(each) and 0 <= each <= 255 for each in levels)
    ):
        raise table.error("fill", f"fill is a level from 0 to 255, or [red, green, blue], not {shown(value)}")
    return levels[0], levels[1], levels[2]


def _dims(table: Table) -> SpecDims | None:
    value = table.get("dims")
    if value is None:
        return None
    if not isinstance(value, list) or not all(is_integer(each) and -1 <= each <= MAX_DIM for each in value):
        raise table.error(
            "dims", f"dims is a list of sizes, with -1 for any, as in [1, 10], not {shown(value)}"
        )
    if len(value) > MAX_RANK:
        raise table.error("dims", f"dims has {len(value)} dimensions, and no tensor more than {MAX_RANK}")
    return tuple(None if each == -1 else each for each in value)


def parse_quantization(
    table: Table, default: Literal["none", "model"], tensor_type: TensorType | None
) -> AnyQuantization:
    """`quantization`; `tensor_type` is what it has to fit, or None. Raises ConfigError."""
    value = table.get("quantization", default)
    if value == "none":
        return "none"
    if tensor_type not in (None, *QUANTIZED) and "quantization" in table:
        known = ", ".join(each.label for each in QUANTIZED)
        raise table.error(
            "quantization",
            f"a quantization is of integers ({known}), and type is {tensor_type.label}; leave one of the two "
            "out",
        )
    if value == "model":
        return "model"
    if not isinstance(value, dict) or set(value) - {"scale", "zero_point", "axis"} or "scale" not in value:
        raise table.error(
            "quantization",
            'quantization is "none", "model" (what the file has), or { scale = S, zero_point = Z }, '
            f"not {shown(value)}",
        )
    scales = value["scale"] if isinstance(value["scale"], list) else [value["scale"]]
    points = value.get("zero_point", 0)
    points = points if isinstance(points, list) else [points] * len(scales)
    if not scales or not all(is_divisor(each) for each in scales):
        raise table.error("quantization", f"a scale is a number above 0, not {shown(value['scale'])}")
    limits = np.iinfo(np.int32)
    if tensor_type is not None:
        limits = np.iinfo(f"{'u' if tensor_type.label[0] == 'u' else ''}int{8 * tensor_type.size}")
    if not all(is_integer(each) and limits.min <= each <= limits.max for each in points):
        raise table.error(
            "quantization",
            f"a zero_point is a whole number from {limits.min} to {limits.max}, "
            f"not {shown(value.get('zero_point'))}",
        )
    if len(points) != len(scales):
        raise table.error(
            "quantization", f"{len(scales)} scales and {len(points)} zero points; give as many, or one point"
        )
    axis = value.get("axis")
    if axis is not None and (not is_integer(axis) or not 0 <= axis < MAX_RANK):
        raise table.error("quantization", f"axis is a dimension's index from 0 on, not {shown(axis)}")
    if axis is None and len(scales) > 1:
        raise table.error("quantization", "several scales need an axis, the dimension that they are for")
    return Quantization(tuple(float(each) for each in scales), tuple(points), axis)
