# SPDX-License-Identifier: Apache-2.0
"""A contract to start from: what a model's file says of its inputs and outputs, and what is likely.

What is a guess is marked so in the notes, by the path of its key: {("input", "image", "layout"): "guessed:
dim 1 is 3"}. What the file says is noted as well. A file that says nothing, or cannot be read, gets guesses
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from wasinn.backends.base import Graph, Model
from wasinn.content import Content
from wasinn.contracts.contract import (
    IMAGE_LAYOUTS,
    Contract,
    ImageContract,
    InputContract,
    OutputContract,
)
from wasinn.contracts.keys import IMAGE_TYPES, LARGEST, MAX_DIM, MAX_SIDE, QUANTIZED, SMALLEST
from wasinn.graphs import detect, hints_onnx, hints_openvino, hints_tflite
from wasinn.graphs.hint import Hint, Hints, InputHints, OutputHints
from wasinn.graphs.suggest_outputs import Notes, port_of, suggest_output, unused_name
from wasinn.spec import Encoding, TensorType
from wasinn.tensors import FLOATS, MAX_RANK, Quantization, SpecDims, TensorSpec

T = TypeVar("T")

_READERS: dict[Encoding, Callable[[Content, Hints], None]] = {
    Encoding.TENSORFLOWLITE: hints_tflite.read,
    Encoding.ONNX: hints_onnx.read,
    Encoding.OPENVINO: hints_openvino.read,
}
#: A side that is shorter is no picture's.
_SHORTEST = 8
_USUAL_SIZE = 224


def suggest(model: Model, encoding: Encoding, graph: Graph) -> tuple[Contract, Notes]:
    """A contract that `graph`, loaded from `model`, fits, and why its lines are as they are. Never raises
    for what is in the model's file."""
    hints = read_hints(model, encoding)
    notes: Notes = {}
    inputs: dict[str, InputContract] = {}
    outputs: dict[str, OutputContract] = {}
    for index, spec in enumerate(graph.inputs):
        known = _of(hints.inputs, index, spec) or InputHints()
        one = _input(index, spec, known, notes, graph.inputs, inputs)
        inputs[one.name] = one
    pictures = [each.image for each in inputs.values() if each.image is not None]
    for index, spec in enumerate(graph.outputs):
        made = _of(hints.outputs, index, spec) or OutputHints()
        picture = pictures[0] if len(pictures) == 1 else None
        out = suggest_output(index, graph.outputs, made, notes, picture, outputs)
        outputs[out.name] = out
    return Contract(inputs, outputs, "the suggested contract"), notes


def read_hints(model: Model, encoding: Encoding) -> Hints:
    """What a model's file says; nothing of what cannot be read."""
    hints = Hints()
    reader = _READERS.get(encoding)
    # A hostile file can make any of these of the readers, which stop there.
    stops = (OSError, ValueError, LookupError, OverflowError, RecursionError)
    with suppress(*stops), detect.contents(model) as parts:
        if reader is not None and parts and not isinstance(parts[0], Path):
            reader(parts[0], hints)
    return hints


def _of(hints: dict[int | str, T], index: int, spec: TensorSpec) -> T | None:
    """The hints to a port, which are by its index or by one of its names."""
    keys = (index, spec.name, *spec.aliases)
    return next((hints[key] for key in keys if key in hints), None)


def _input(
    index: int,
    spec: TensorSpec,
    hints: InputHints,
    notes: Notes,
    specs: Sequence[TensorSpec],
    taken: Container[str],
) -> InputContract:
    layout = _layout(spec, hints)
    name = unused_name(taken, "image" if layout else spec.name, index)
    path = ("input", name)
    tensor_type = TensorType.F32 if spec.any_type else spec.type
    if spec.any_type:
        notes[*path, "type"] = "guessed: the model does not tell its type"
    port = port_of(index, specs)
    quantized = spec.quantization is not None and tensor_type in QUANTIZED
    if layout is None or spec.dims is None or tensor_type not in IMAGE_TYPES:
        dims = spec.dims
        if dims is not None and (
            len(dims) > MAX_RANK or any(dim is not None and dim > MAX_DIM for dim in dims)
        ):
            dims = None  # which no contract can say, and no tensor can have
        return InputContract(name, port, tensor_type, None, dims, "model" if quantized else "none")
    notes[*path, "layout"] = layout[1]
    found = dict(zip(layout[0], spec.dims, strict=True))
    size = []
    for side in "HW":
        length = found[side]
        if length is None:
            notes[*path, "size"] = "guessed: the model takes any size"
        size.append(_USUAL_SIZE if length is None else length)
    gray = found.get("C", 1) == 1
    colour = "GRAY" if gray else "RGB"
    if hints.colour is not None and (hints.colour.value == "GRAY") == gray:
        colour = hints.colour.value
        notes[*path, "colour"] = hints.colour.why
    elif not gray:
        notes[*path, "colour"] = "guessed: most networks take RGB; BGR where OpenCV read the pictures"
    levels, mean, std = _numbers(spec, tensor_type, hints, 1 if gray else 3, path, notes)
    image = ImageContract(
        layout=layout[0], size=(size[0], size[1]), colour=colour, range=levels, mean=mean, std=std
    )
    # The bytes of a picture are not quantized again, whatever they stand for.
    quantized = quantized and tensor_type is not TensorType.U8
    return InputContract(name, port, tensor_type, image, None, "model" if quantized else "none")


def _layout(spec: TensorSpec, hints: InputHints) -> tuple[str, str] | None:
    """The layout of a picture and why; None for a tensor that is none."""
    dims = spec.dims
    if dims is None or spec.type is TensorType.BOOL:
        return None
    if hints.layout is not None and _can_be(dims, hints.layout.value, shortest=1):
        return hints.layout.value, hints.layout.why
    for layout in ("NCHW", "NHWC", "CHW", "HWC"):
        if _can_be(dims, layout, shortest=1 if hints.is_image else _SHORTEST):
            at = layout.index("C")
            return layout, f"guessed: dim {at} is {dims[at]}, as many as a picture has channels"
    return None


def _can_be(dims: SpecDims, layout: str, shortest: int) -> bool:
    if len(dims) != len(layout) or layout not in IMAGE_LAYOUTS:
        return False
    found = dict(zip(layout, dims, strict=True))
    sides = (found["H"], found["W"])
    return (
        found.get("N", 1) in (1, None)
        and found.get("C", 1) in (1, 3)
        and all(side is None or shortest <= side <= MAX_SIDE for side in sides)
    )


def _numbers(
    spec: TensorSpec,
    tensor_type: TensorType,
    hints: InputHints,
    channels: int,
    path: tuple[str, str],
    notes: Notes,
) -> tuple[tuple[float, float], tuple[float, ...], tuple[float, ...]]:
    """Range, mean and std of a picture."""
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    if tensor_type is TensorType.U8:
        notes[*path, "range"] = "guessed: the bytes of the picture as they are"
        return (0.0, 255.0), zeros, ones
    quantized = spec.quantization is not None and tensor_type in QUANTIZED
    mean, std = _each(hints.mean, channels, 0.0), _each(hints.std, channels, 1.0)
    told = (hints.mean or hints.std) and mean and std and min(std) >= SMALLEST
    if told and (quantized or tensor_type in FLOATS):
        notes[*path, "range"] = "as mean and std have it: levels from 0 to 255"
        for key, hint in (("mean", hints.mean), ("std", hints.std)):
            if hint is not None:
                notes[*path, key] = hint.why
        return (0.0, 255.0), mean, std
    if quantized and spec.quantization is not None:
        levels, why = _guessed_range(spec.quantization, tensor_type)
        notes[*path, "range"] = why
        return levels, zeros, ones
    if tensor_type not in FLOATS:
        notes[*path, "range"] = "guessed: whole numbers, so the picture's levels"
        return ((-128.0, 127.0) if tensor_type is TensorType.I8 else (0.0, 255.0)), zeros, ones
    if hints.range is not None:
        notes[*path, "range"] = hints.range.why
        return hints.range.value, zeros, ones
    if hints.raw is not None:
        notes[*path, "range"] = hints.raw if hints.raw.startswith("guessed") else f"guessed: {hints.raw}"
        return (0.0, 255.0), zeros, ones
    notes[*path, "range"] = "guessed: 0 to 1 is common; also [-1.0, 1.0] and [0.0, 255.0]"
    if channels == 3:
        notes[*path, "mean"] = "guessed: ImageNet's would be [0.485, 0.456, 0.406]"
        notes[*path, "std"] = "guessed: ImageNet's would be [0.229, 0.224, 0.225]"
    return (0.0, 1.0), zeros, ones


def _each(hint: Hint[tuple[float, ...]] | None, channels: int, default: float) -> tuple[float, ...]:
    """A number for each channel; none where the hint has another count, or what no arithmetic can use."""
    numbers = (default,) if hint is None else hint.value
    if len(numbers) == 1:
        numbers *= channels
    return numbers if len(numbers) == channels and all(abs(each) <= LARGEST for each in numbers) else ()


def _guessed_range(quantization: Quantization, tensor_type: TensorType) -> tuple[tuple[float, float], str]:
    """What the 256 values of an 8-bit input stand for is what a picture's levels are."""
    scale, point = quantization.scales[0], quantization.zero_points[0]
    least = -128 if tensor_type is TensorType.I8 else 0
    low, high = (scale * (end - point) for end in (least, least + 255))
    for limits in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        furthest = max(abs(low - limits[0]), abs(high - limits[1]))
        if furthest <= 0.02 * (limits[1] - limits[0]):
            return limits, f"guessed from the quantization ({quantization})"
    if not low < high or max(abs(low), abs(high)) > LARGEST:
        return (0.0, 1.0), f"guessed: the quantization ({quantization}) does not tell"
    return (float(f"{low:.4g}"), float(f"{high:.4g}")), f"guessed from the quantization ({quantization})"
