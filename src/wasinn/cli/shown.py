# SPDX-License-Identifier: Apache-2.0
"""The picture or the mask that a tensor shows, for `wasinn show -o`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.backends.common import one_line
from wasinn.cli.looks import Looks
from wasinn.cli.pictures import as_pixels, save_mask
from wasinn.contracts import transforms
from wasinn.contracts.contract import Contract, InputContract, OutputContract
from wasinn.contracts.parse import parse_contract
from wasinn.errors import ConfigError
from wasinn.imaging import draw
from wasinn.imaging.masks import class_counts, class_map
from wasinn.spec import TensorType
from wasinn.tensors import Quantization, Tensor, format_dims

Array = np.ndarray[Any, Any]

#: What a description has of a contract.
_DESCRIBED = ("layout", "colour", "range", "mean", "std", "invert", "quantization")


@dataclass(frozen=True)
class Shown:
    """A tensor, and what is known of it. `real` are its numbers, of bf16 and f8 as f32."""

    name: str
    tensor: Tensor
    real: Array
    description: Mapping[str, Any]
    looks: Looks


def write_picture(path: Path, shown: Shown, contract: Contract | None, chosen: str | None, mask: bool) -> str:
    """Writes the picture; how it was made."""
    name = chosen or shown.description.get("output") or shown.description.get("input")
    output = None if contract is None else _output(contract, name, mask)
    if mask or (output is not None and output.kind == "mask"):
        return _write_mask(path, shown, output)
    each, how = _input(shown, contract, name, chosen is not None)
    values = transforms.decode(shown.tensor.numpy(), each)
    draw.save(as_pixels(values), path)
    outside = float(np.mean((values < -0.5) | (values > 255.5))) if values.size else 0.0
    more = f"; {100 * outside:.1f} % of the values are beyond a picture's and cut off" if outside > 0 else ""
    return how + more


def _output(contract: Contract, name: str | None, mask: bool) -> OutputContract | None:
    if name in contract.outputs:
        return contract.outputs[name]
    masks = [each for each in contract.outputs.values() if each.kind == "mask"]
    if mask and len(masks) == 1:
        return masks[0]
    return None


def _write_mask(path: Path, shown: Shown, output: OutputContract | None) -> str:
    values = shown.real
    how = "the mask, by the contract"
    if output is None or output.kind != "mask":
        layout = _mask_layout(values.shape)
        output = OutputContract("mask", kind="mask", layout=layout)
        how = f"a mask of layout {layout}, by its dims"
    classes = class_map(values, output)
    save_mask(path, classes)
    counts = class_counts(classes, output.classes)
    rows = [(at, output.label(at) or f"class {at}", count) for at, count in enumerate(counts) if count]
    listed = ", ".join(f"{one_line(label, 40)} {count}" for _, label, count in rows[:12])
    more = f" and {len(rows) - 12} more" if len(rows) > 12 else ""
    return f"{how}; pixels by class: {listed}{more}"


def _mask_layout(dims: tuple[int, ...]) -> str:
    """The layout of a mask of `dims`: the fewer channels are those, and one channel is the class itself."""
    if len(dims) == 2:
        return "HW"
    if len(dims) == 3:
        return "NHW" if dims[0] == 1 else "CHW" if dims[0] <= dims[2] else "HWC"
    if len(dims) == 4:
        return "NCHW" if dims[1] <= dims[3] else "NHWC"
    raise ConfigError(f"a mask has 2 to 4 dims, and this is {format_dims(dims)}")


def _input(
    shown: Shown, contract: Contract | None, name: str | None, named: bool
) -> tuple[InputContract, str]:
    tensor = shown.tensor
    if contract is not None:
        each = contract.inputs.get(name or "") or (None if named else contract.image_input)
        if each is None or each.image is None:
            known = ", ".join(repr(key) for key, value in contract.inputs.items() if value.image is not None)
            raise ConfigError(
                f"{contract.source}: which input is the tensor? Give --name with one of: {known or 'none'}"
            )
        if len(tensor.dims) != len(each.image.layout):
            raise ConfigError(
                f"{shown.name} is {tensor}, and [input.{each.name}] has the layout {each.image.layout}"
            )
        return _with_scale(each, tensor, shown.description), f"the picture, by [input.{each.name}]"
    if "layout" in shown.description:
        return _described(shown), "the picture, by the description beside it"
    image = shown.looks.image(tensor.dims)
    if image is None:
        raise ConfigError(
            f"{shown.name} is {tensor}, which does not look like a picture; give --contract, or --mask, or "
            "its --dims"
        )
    floats = (TensorType.F16, TensorType.F32, TensorType.F64)
    kind = tensor.type if tensor.type in floats else TensorType.F32
    low, high = image.range
    normalised = ", normalised by ImageNet's mean and deviation" if shown.looks.normalised else ""
    how = f"{image.layout}, {image.colour}, {low:g}..{high:g}{normalised}: a guess by its numbers"
    return InputContract("tensor", type=kind, image=image), how + "; --contract says it"


def _described(shown: Shown) -> InputContract:
    """What the description beside a tensor (`wasinn tensor` writes it) says of the picture in it."""
    description, dims = shown.description, shown.tensor.dims
    layout = str(description["layout"])
    if len(layout) != len(dims):
        raise ConfigError(
            f"{shown.name} is {shown.tensor}, and the description beside it has the layout {layout}; give "
            "--contract"
        )
    sizes = dict(zip(layout.upper(), dims, strict=True))
    table = {key: description[key] for key in _DESCRIBED if key in description}
    table |= {"type": shown.tensor.type.label, "size": [sizes.get("H", 1), sizes.get("W", 1)]}
    source = f"the description of {shown.name}"
    return parse_contract({"input": {"image": table}}, Path(), source).inputs["image"]


def _with_scale(each: InputContract, tensor: Tensor, description: Mapping[str, Any]) -> InputContract:
    """With the scale of the description where the contract leaves it to the model's file."""
    if each.quantization != "model":
        return each
    found = description.get("quantization")
    try:
        assert isinstance(found, dict)
        scales, points = tuple(map(float, found["scale"])), tuple(map(int, found["zero_point"]))
        return replace(each, quantization=Quantization(scales, points, found.get("axis")))
    except (AssertionError, KeyError, TypeError, ValueError):
        raise ConfigError(
            f'[input.{each.name}] quantization is "model", and the scale is in the model\'s file; write it '
            "into the contract, as in quantization = { scale = 0.0078125, zero_point = 128 }"
        ) from None
