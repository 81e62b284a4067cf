# SPDX-License-Identifier: Apache-2.0
"""From TOML to a contract; every mistake is an error with the line, what came, and the remedy."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wasinn.contracts.contract import (
    BOX_FORMATS,
    BOX_FORMS,
    COLOURS,
    FITS,
    IMAGE_LAYOUTS,
    MASK_LAYOUTS,
    OUTPUT_KINDS,
    RESIZES,
    BoxesContract,
    Contract,
    ImageContract,
    InputContract,
    Key,
    OutputContract,
)
from wasinn.contracts.lines import line_of
from wasinn.errors import ConfigError
from wasinn.spec import TensorType
from wasinn.tensors import Quantization, SpecDims

#: A side of a picture, in pixels; more is a typing error, and gigabytes of memory.
MAX_SIDE = 16384
_MAX_LABELS = 1 << 20
_MAX_LABEL_FILE = 64 << 20

_IMAGE_KEYS = (
    "layout",
    "size",
    "colour",
    "range",
    "mean",
    "std",
    "resize",
    "antialias",
    "fit",
    "crop",
    "fill",
    "invert",
)
INPUT_KEYS = ("port", "kind", "type", "dims", "quantization", *_IMAGE_KEYS)
_BOX_KEYS = (
    "form",
    "format",
    "relative",
    "scores",
    "class_port",
    "count",
    "objectness",
    "threshold",
    "iou",
)
OUTPUT_KEYS = (
    "port",
    "kind",
    "type",
    "labels",
    "label_offset",
    "classes",
    "layout",
    "quantization",
    *_BOX_KEYS,
)
#: American spelling is understood.
_SPELLINGS = {"color": "colour"}


def read_contract(path: Path) -> Contract:
    """Reads a contract's file. Raises ConfigError that names the file, the line and the remedy."""
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the contract {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return parse_contract(document, path.parent, path, text)


def parse_contract(
    document: Mapping[str, Any],
    folder: Path,
    source: Path | str = "contract",
    text: str | None = None,
    prefix: tuple[str, ...] = (),
) -> Contract:
    """A contract from the tables of a TOML document.

    `folder` is where the label files are. `text` is the document itself, for line numbers, and `prefix`
    the table in it that is the contract. Raises ConfigError.
    """
    reader = _Reader(source, text, prefix)
    for key, value in document.items():
        if key not in ("input", "output"):
            raise reader.error(
                (key,),
                f"unknown key {key!r}{_did_you_mean(key, ('input', 'output'))}; a "
                "contract has tables [input.NAME] and [output.NAME]",
            )
        if not isinstance(value, dict):
            raise reader.error((key,), f"{key} must be tables, [{key}.NAME]")
        for name, table in value.items():
            if not isinstance(table, dict):
                raise reader.error(
                    (key, name), f"{key}.{name} is not in a table: a name is missing, as in [{key}.image]"
                )
    inputs = {name: _input(reader, name, table) for name, table in document.get("input", {}).items()}
    outputs = {
        name: _output(reader, name, table, folder) for name, table in document.get("output", {}).items()
    }
    if not inputs and not outputs:
        raise reader.error((), "an empty contract: it needs an [input.NAME] or an [output.NAME]")
    return Contract(inputs, outputs, source)


class _Reader:
    """Makes errors with lines, and reads values of one kind each."""

    def __init__(self, source: Path | str, text: str | None, prefix: tuple[str, ...]) -> None:
        self._source, self._text, self._prefix = source, text, prefix

    def error(self, path: tuple[str, ...], message: str) -> ConfigError:
        line = None if self._text is None else line_of(self._text, (*self._prefix, *path))
        where = f"{self._source}, line {line}" if line is not None else str(self._source)
        table = f" [{'.'.join(path[:2])}]:" if len(path) > 1 else ""
        return ConfigError(f"{where}:{table} {message}")


class _Table:
    """One table of a contract: typed access to its keys."""

    def __init__(
        self, reader: _Reader, path: tuple[str, str], table: Mapping[str, Any], known: Sequence[str]
    ):
        self._reader, self._path = reader, path
        self._values = {_SPELLINGS.get(key, key): value for key, value in table.items()}
        for key in table:
            if _SPELLINGS.get(key, key) not in known:
                raise self.error(
                    key, f"unknown key {key!r}{_did_you_mean(key, known)}; known: {', '.join(known)}"
                )

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def error(self, key: str, message: str) -> ConfigError:
        return self._reader.error((*self._path, key), message)

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def word(self, key: str, known: Sequence[str], default: str) -> str:
        value = self.get(key, default)
        for each in known:
            if isinstance(value, str) and value.lower() == each.lower():
                return each
        listed = ", ".join(f'"{each}"' for each in known)
        if key == "colour" and str(value).lower() in ("grey", "grayscale", "greyscale", "l"):
            return "GRAY"
        raise self.error(key, f"{key} is one of {listed}, not {value!r}")

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"{key} is true or false, not {value!r}")
        return value

    def number(self, key: str, default: float, low: float = -math.inf, high: float = math.inf) -> float:
        value = self.get(key, default)
        if not _is_number(value) or not low <= value <= high:
            raise self.error(key, f"{key} is a number from {low:g} to {high:g}, not {value!r}")
        return float(value)

    def integer(self, key: str, default: int | None, low: int, high: int) -> int | None:
        value = self.get(key, default)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, f"{key} is a whole number from {low} to {high}, not {value!r}")
        return value

    def port(self, key: str, default: Key | None) -> Key | None:
        value = self.get(key, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
            raise self.error(key, f"{key} is a port of the model, its name or its index, not {value!r}")
        if isinstance(value, int) and value < 0:
            raise self.error(key, f"{key} is an index from 0 on, not {value}")
        return value

    def tensor_type(self, default: TensorType | None) -> TensorType | None:
        value = self.get("type")
        if value is None:
            return default
        try:
            return TensorType.parse(str(value))
        except ValueError as error:
            raise self.error("type", str(error)) from None

    def per_channel(self, key: str, channels: int, default: float, colour: str) -> tuple[float, ...]:
        """A number for each channel; one for all may stand alone."""
        value = self.get(key, default)
        numbers = [value] * channels if _is_number(value) else value
        if not isinstance(numbers, list) or not all(_is_number(each) for each in numbers):
            raise self.error(key, f"{key} is a number, or one for each channel, not {value!r}")
        if len(numbers) != channels:
            raise self.error(
                key,
                f"{key} has {len(numbers)} numbers, and the colour {colour} has {channels} "
                f"channel{'s' if channels > 1 else ''}; give {channels}, or one for all",
            )
        return tuple(float(each) for each in numbers)

    def quantization(self, default: str) -> Quantization | Any:
        value = self.get("quantization", default)
        if value in ("none", "model"):
            return value
        if (
            not isinstance(value, dict)
            or set(value) - {"scale", "zero_point", "axis"}
            or "scale" not in value
        ):
            raise self.error(
                "quantization",
                'quantization is "none", "model" (what the file has), or { scale = S, zero_point = Z }, '
                f"not {value!r}",
            )
        scales = value["scale"] if isinstance(value["scale"], list) else [value["scale"]]
        points = value.get("zero_point", 0)
        points = points if isinstance(points, list) else [points] * len(scales)
        axis = value.get("axis")
        if not scales or not all(_is_number(each) and each > 0 for each in scales):
            raise self.error("quantization", f"a scale is a number above 0, not {value['scale']!r}")
        if not all(isinstance(each, int) and not isinstance(each, bool) for each in points):
            raise self.error(
                "quantization", f"a zero_point is a whole number, not {value.get('zero_point')!r}"
            )
        if len(points) != len(scales):
            raise self.error("quantization", f"{len(scales)} scales and {len(points)} zero points")
        if axis is not None and (not isinstance(axis, int) or isinstance(axis, bool) or axis < 0):
            raise self.error("quantization", f"axis is a dimension's index from 0 on, not {axis!r}")
        if axis is None and len(scales) > 1:
            raise self.error("quantization", "several scales need an axis, the dimension that they are for")
        return Quantization(tuple(float(each) for each in scales), tuple(points), axis)


def _input(reader: _Reader, name: str, values: Mapping[str, Any]) -> InputContract:
    table = _Table(reader, ("input", name), values, INPUT_KEYS)
    picture = any(key in table for key in _IMAGE_KEYS)
    kind = table.word("kind", ("image", "tensor"), "image" if picture else "tensor")
    tensor_type = table.tensor_type(TensorType.F32) or TensorType.F32
    port = table.port("port", None)
    quantization = table.quantization("none")
    if quantization != "none" and tensor_type not in _QUANTIZED:
        known = ", ".join(each.label for each in _QUANTIZED)
        raise table.error(
            "quantization", f"quantization is for integers ({known}), and type is {tensor_type.label}"
        )
    image = None
    if kind == "image":
        if "dims" in table:
            raise table.error("dims", "the dims of an image follow from its layout and size; leave dims out")
        image = _image(table, tensor_type, quantization)
    elif picture:
        key = next(each for each in _IMAGE_KEYS if each in table)
        raise table.error(key, f'{key} is of images, and kind is "tensor"; leave one of the two out')
    return InputContract(name, port, tensor_type, image, _dims(table), quantization)


_QUANTIZED = (TensorType.U8, TensorType.I8, TensorType.U16, TensorType.I16, TensorType.I32)
_IMAGE_TYPES = (
    TensorType.F16,
    TensorType.F32,
    TensorType.F64,
    TensorType.U8,
    TensorType.I8,
    TensorType.U16,
    TensorType.I16,
    TensorType.I32,
    TensorType.I64,
)


def _image(table: _Table, tensor_type: TensorType, quantization: Any) -> ImageContract:
    if tensor_type not in _IMAGE_TYPES:
        known = ", ".join(each.label for each in _IMAGE_TYPES)
        raise table.error("type", f"an image is of one of {known}, not {tensor_type.label}")
    for key, example in (("layout", '"NCHW"'), ("size", "[224, 224]  (height, width)")):
        if key not in table:
            raise table.error(key, f"{key} is missing: an image needs {key} = {example}")
    layout = table.word("layout", IMAGE_LAYOUTS, "")
    colour = table.word("colour", COLOURS, "GRAY" if "C" not in layout else "RGB")
    channels = 1 if colour == "GRAY" else 3
    if "C" not in layout and channels != 1:
        raise table.error(
            "layout",
            f'layout {layout} has no C, and colour is {colour}; write colour = "GRAY", or a layout with C',
        )
    whole = tensor_type not in (TensorType.F16, TensorType.F32, TensorType.F64) and quantization == "none"
    low, high = _pair(table, "range", (0.0, 255.0) if whole else (0.0, 1.0))
    if low == high:
        raise table.error(
            "range", f"range is what 0 and 255 become, two different numbers, not {low:g} twice"
        )
    std = table.per_channel("std", channels, 1.0, colour)
    if 0 in std:
        raise table.error("std", "std divides: it cannot be 0")
    fit = table.word("fit", FITS, "stretch")
    height, width = _size(table)
    crop = table.integer("crop", None, 1, MAX_SIDE)
    if crop is not None and (fit != "crop" or crop < max(height, width)):
        why = (
            f"is smaller than size [{height}, {width}]"
            if fit == "crop"
            else f'needs fit = "crop", not "{fit}"'
        )
        raise table.error(
            "crop", f"crop is what the shorter side becomes before the middle is cut out; {crop} {why}"
        )
    return ImageContract(
        layout=layout,
        size=(height, width),
        colour=colour,
        range=(low, high),
        mean=table.per_channel("mean", channels, 0.0, colour),
        std=std,
        resize=table.word("resize", RESIZES, "bilinear"),
        antialias=table.flag("antialias", True),
        fit=fit,
        crop=crop,
        fill=_fill(table),
        invert=table.flag("invert", False),
    )


def _size(table: _Table) -> tuple[int, int]:
    value = table.get("size")
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(isinstance(each, int) and not isinstance(each, bool) for each in value)
    ):
        raise table.error("size", f"size is [height, width] in pixels, as in [224, 224], not {value!r}")
    if not all(1 <= each <= MAX_SIDE for each in value):
        raise table.error("size", f"size is [height, width], each from 1 to {MAX_SIDE} pixels, not {value}")
    return value[0], value[1]


def _pair(table: _Table, key: str, default: tuple[float, float]) -> tuple[float, float]:
    value = table.get(key, list(default))
    if not isinstance(value, list) or len(value) != 2 or not all(_is_number(each) for each in value):
        raise table.error(key, f"{key} is two numbers, as in [0.0, 1.0], not {value!r}")
    return float(value[0]), float(value[1])


def _fill(table: _Table) -> tuple[int, int, int]:
    value = table.get("fill", 0)
    levels = [value] * 3 if isinstance(value, int) else value
    if (
        not isinstance(levels, list)
        or len(levels) != 3
        or not all(
            isinstance(each, int) and not isinstance(each, bool) and 0 <= each <= 255 for each in levels
        )
    ):
        raise table.error("fill", f"fill is a level from 0 to 255, or [red, green, blue], not {value!r}")
    return levels[0], levels[1], levels[2]


def _dims(table: _Table) -> SpecDims | None:
    value = table.get("dims")
    if value is None:
        return None
    if not isinstance(value, list) or not all(
        isinstance(each, int) and not isinstance(each, bool) and each >= -1 for each in value
    ):
        raise table.error("dims", f"dims is a list of sizes, with -1 for any, as in [1, 10], not {value!r}")
    return tuple(None if each == -1 else each for each in value)


def _output(reader: _Reader, name: str, values: Mapping[str, Any], folder: Path) -> OutputContract:
    table = _Table(reader, ("output", name), values, OUTPUT_KEYS)
    kind = table.word("kind", OUTPUT_KINDS, "raw")
    for key in _BOX_KEYS:
        if key in table and kind != "boxes":
            raise table.error(key, f'{key} is of boxes, and kind is "{kind}"; leave it out')
    if "layout" in table and kind != "mask":
        raise table.error("layout", f'layout is of masks, and kind is "{kind}"; leave it out')
    offset = table.integer("label_offset", 0, -(1 << 20), 1 << 20) or 0
    port = table.port("port", None)
    return OutputContract(
        name=name,
        port=port,
        kind=kind,
        type=table.tensor_type(None),
        labels=_labels(table, folder),
        label_offset=offset,
        classes=table.integer("classes", None, 1, 1 << 24),
        layout=table.word("layout", MASK_LAYOUTS, "NCHW"),
        boxes=_boxes(table) if kind == "boxes" else None,
        quantization=table.quantization("model"),
    )


def _boxes(table: _Table) -> BoxesContract:
    form = table.word("form", BOX_FORMS, "separate")
    scores = table.port("scores", None)
    if form == "separate" and scores is None:
        raise table.error(
            "scores", "scores is missing: boxes whose form is separate need the port of their scores"
        )
    for key in ("scores", "class_port", "count"):
        if form != "separate" and key in table:
            raise table.error(key, f'{key} is another port, and form = "{form}" has all in one; leave it out')
    return BoxesContract(
        form=form,
        format=table.word("format", BOX_FORMATS, "cxcywh" if form == "yolo" else "xyxy"),
        relative=table.flag("relative", form != "yolo"),
        scores=scores,
        classes=table.port("class_port", None),
        count=table.port("count", None),
        objectness=table.flag("objectness", False),
        threshold=table.number("threshold", 0.5, 0.0, 1.0),
        iou=table.number("iou", 0.45, 0.0, 1.0),
    )


def _labels(table: _Table, folder: Path) -> tuple[str, ...] | None:
    value = table.get("labels")
    if value is None:
        return None
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return tuple(value)
    if not isinstance(value, str) or not value:
        raise table.error("labels", f"labels is a file with a label on each line, or a list, not {value!r}")
    path = folder / value
    try:
        if path.stat().st_size > _MAX_LABEL_FILE:
            raise table.error("labels", f"{path} is larger than 64 MiB; is it a label file?")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise table.error(
            "labels",
            f"cannot read the labels {str(path)!r}: {error.strerror}; paths are relative to the contract",
        ) from error
    except UnicodeDecodeError as error:
        raise table.error("labels", f"{path} is not UTF-8 text: {error.reason}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or len(lines) > _MAX_LABELS:
        raise table.error("labels", f"{path} has {len(lines)} labels; from 1 to {_MAX_LABELS} are read")
    return tuple(line.strip() for line in lines)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _did_you_mean(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f" (is it {close[0]!r}?)" if close else ""
