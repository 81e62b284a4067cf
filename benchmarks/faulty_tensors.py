# SPDX-License-Identifier: Apache-2.0
"""Tensors as guests make them, right and wrong, in plain Pillow and NumPy.

Nothing of wasinn is used here: what `diagnose` is to find out is not made by the code that it tries with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Recipe:
    """How a guest makes its tensor of a picture. `scale` and `zero_point` quantize to `dtype`."""

    height: int
    width: int
    planes: bool = True  # all of one channel, then all of the next
    order: str = "RGB"  # or BGR, or L
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    invert: bool = False
    dtype: str = "float32"
    scale: float | None = None
    zero_point: int = 0
    resample: int = Image.Resampling.BILINEAR
    transposed: bool = False
    swapped: bool = False  # width and height change places in the resizing
    cast: bool = False  # floats are cut to bytes before they are used
    twice: bool = False  # quantized again
    not_quantized: bool = False  # real numbers cast to the integer type


def make(path: Path, recipe: Recipe) -> Array:
    """The tensor with a batch dimension, [1, channels, height, width] or [1, height, width, channels]."""
    size = (recipe.height, recipe.width) if recipe.swapped else (recipe.width, recipe.height)
    with Image.open(path) as opened:
        picture = opened.convert("RGB").resize(size, Image.Resampling(recipe.resample))
        if recipe.order == "L":
            picture = picture.convert("L")
    levels = np.asarray(picture, np.float32)
    if levels.ndim == 2:
        levels = levels[:, :, None]
    if recipe.order == "BGR":
        levels = levels[:, :, ::-1]
    if recipe.transposed:
        levels = levels.swapaxes(0, 1)
    if recipe.invert:
        levels = 255.0 - levels
    channels = levels.shape[2]
    values = levels / 255.0 * (recipe.high - recipe.low) + recipe.low
    mean, std = np.array(recipe.mean[:channels], "f4"), np.array(recipe.std[:channels], "f4")
    values = (values - mean) / std
    if recipe.cast:
        values = np.clip(values, 0, 255).astype(np.uint8)
    elif recipe.scale is not None and not recipe.not_quantized:
        values = _quantized(values, recipe)
        if recipe.twice:
            values = _quantized(values, recipe)
    elif recipe.dtype != "float32":
        values = np.rint(values)
        if recipe.twice:
            values = _quantized(values, replace(recipe, scale=1 / 128, zero_point=128))
    if recipe.planes:
        values = values.transpose(2, 0, 1)
    result: Array = np.ascontiguousarray(values[None]).astype(recipe.dtype)
    return result


def _quantized(values: Array, recipe: Recipe) -> Array:
    limits = np.iinfo(recipe.dtype)
    assert recipe.scale is not None
    whole = np.floor(values.astype(np.float32) / np.float32(recipe.scale) + 0.5) + recipe.zero_point
    result: Array = np.clip(whole, limits.min, limits.max)
    return result


_IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_NO_MEAN: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def faults(right: Recipe) -> dict[str, tuple[str, Recipe]]:
    """Every single mistake that a guest can make with this recipe: its words, the cause that is to be named,
    and the recipe with it. "batch" changes no number: the caller leaves the first dimension out."""
    found: dict[str, tuple[str, Recipe]] = {"no batch dimension": ("batch", right)}
    real = right.dtype == "float32"
    whole_levels = not real and right.scale is None

    def add(words: str, cause: str, **changes: Any) -> None:
        found[words] = (cause, replace(right, **changes))

    if right.order != "L":
        add("NHWC for NCHW" if right.planes else "NCHW for NHWC", "layout", planes=not right.planes)
        other = "BGR" if right.order == "RGB" else "RGB"
        add(f"{other} for {right.order}", "colour", order=other)
    else:
        add("dark and light swapped", "invert", invert=not right.invert)
    if not whole_levels:
        for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
            # Levels far outside what an integer's scale can hold all saturate, which says nothing.
            if (low, high) != (right.low, right.high) and (real or high < 2):
                add(f"{low:g}..{high:g} for {right.low:g}..{right.high:g}", "range", low=low, high=high)
        if any(right.mean):
            add("mean and std left out", "mean and std", **_NO_MEAN)
            add("mean and std in the other order", "mean and std", mean=right.mean[::-1], std=right.std[::-1])
        elif real:
            mean = sum(_IMAGENET["mean"]) / 3
            std = sum(_IMAGENET["std"]) / 3
            gray = {"mean": (mean,) * 3, "std": (std,) * 3}
            order = {key: value[::-1] for key, value in _IMAGENET.items()}
            chosen = gray if right.order == "L" else order if right.order == "BGR" else _IMAGENET
            add("ImageNet's mean and std for none", "mean and std", **chosen)
    for name in ("NEAREST", "BICUBIC", "BOX"):
        add(f"resized {name.lower()} for bilinear", "resize", resample=Image.Resampling[name])
    add("height and width transposed", "transposed", transposed=True)
    if right.height != right.width:
        add("size given as width, height", "transposed", swapped=True)
    if real and right.high <= 1:
        add("floats cast to u8", "type", cast=True)
    if whole_levels:
        add("0..1 floats cast to u8", "type", low=0.0, high=1.0, cast=True)
        add("quantized once more", "quantization", twice=True)
    if right.scale is not None:
        add("quantized twice", "quantization", twice=True)
        add("not quantized", "quantization", not_quantized=True)
    return found
