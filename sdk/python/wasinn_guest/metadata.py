# SPDX-License-Identifier: Apache-2.0
"""What a graph takes and gives: the model metadata of the Open Inference Protocol as wasinn tells it, with
the graph's contract where it has one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .errors import NnError, invalid
from .quantization import Quantization
from .tensor import TensorType

#: The datatypes of the Open Inference Protocol.
OIP_TYPES = {
    "FP16": TensorType.F16,
    "FP32": TensorType.F32,
    "FP64": TensorType.F64,
    "BF16": TensorType.BF16,
    "UINT8": TensorType.U8,
    "UINT16": TensorType.U16,
    "UINT32": TensorType.U32,
    "UINT64": TensorType.U64,
    "INT8": TensorType.I8,
    "INT16": TensorType.I16,
    "INT32": TensorType.I32,
    "INT64": TensorType.I64,
    "BOOL": TensorType.BOOL,
}

LAYOUTS = ("NCHW", "NHWC", "CHW", "HWC", "NHW", "HW")
COLOURS = ("RGB", "BGR", "GRAY")


@dataclass(frozen=True)
class Port:
    """An input or output of a model. `type` and `dims` are None where the model leaves them open; a dynamic
    dimension is -1."""

    name: str
    type: TensorType | None
    dims: tuple[int, ...] | None
    quantization: Quantization | None = None
    aliases: tuple[str, ...] = ()

    def fits(self, type: TensorType, dims: tuple[int, ...]) -> bool:
        """Whether a tensor is as the model says."""
        if self.type is not None and self.type.wire is not type.wire:
            return False
        if self.dims is None:
            return True
        return len(self.dims) == len(dims) and all(
            wanted in (-1, dim) for wanted, dim in zip(self.dims, dims, strict=True)
        )

    def __str__(self) -> str:
        kind = self.type.value if self.type else "any type"
        dims = "of any shape" if self.dims is None else "[" + ",".join(map(str, self.dims)) + "]"
        return f"{self.name!r} ({kind} {dims})"


@dataclass(frozen=True)
class ImageContract:
    """A picture as a tensor; docs/contracts.md has each key. `size` is (height, width); `mean` and `std` have
    one number a channel, in the units of `range`."""

    layout: str
    size: tuple[int, int]
    colour: str = "RGB"
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resize: str = "bilinear"
    antialias: bool = True
    fit: str = "stretch"
    crop: int | None = None
    fill: tuple[int, int, int] = (0, 0, 0)
    invert: bool = False

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise invalid(f"there is no layout {self.layout!r}; there are {', '.join(LAYOUTS)}")
        if self.colour not in COLOURS:
            raise invalid(f"there is no colour {self.colour!r}; there are {', '.join(COLOURS)}")
        if "C" not in self.layout and self.colour != "GRAY":
            raise invalid(
                f"the layout {self.layout} has no channels, so the colour is GRAY and not {self.colour}"
            )
        if not all(0 <= level <= 255 for level in self.fill) or len(self.fill) != 3:
            raise invalid(f"fill is three levels from 0 to 255, not {list(self.fill)}")

    @property
    def channels(self) -> int:
        return 1 if self.colour == "GRAY" else 3

    @property
    def dims(self) -> tuple[int, ...]:
        """The tensor's dims, with a batch of 1."""
        sizes = {"N": 1, "C": self.channels, "H": self.size[0], "W": self.size[1]}
        return tuple(sizes[letter] for letter in self.layout)


@dataclass(frozen=True)
class InputContract:
    """What an input means. `index` is the port's place in the model; `quantization` is there where numbers
    are to be quantized; `image` is None for a tensor that is no picture; `dims` may have -1, or be None."""

    name: str
    type: TensorType
    image: ImageContract | None = None
    quantization: Quantization | None = None
    dims: tuple[int, ...] | None = None
    port: str = ""
    index: int = 0

    @classmethod
    def from_json(cls, text: str | dict[str, Any]) -> InputContract:
        """One element of the metadata's contract.inputs, as JSON or as what JSON is read to. Raises NnError,
        naming the key."""
        try:
            value = json.loads(text) if isinstance(text, str) else text
            image = value.get("image")
            return cls(
                str(value.get("name", "image")),
                TensorType.of(value.get("type", "f32")),
                None if image is None else _image(image),
                _quantization(value),
                None if value.get("dims") is None else tuple(map(int, value["dims"])),
                str(value.get("port", "")),
                int(value.get("index", 0)),
            )
        except KeyError as error:
            raise invalid(f"the input's contract lacks {error}") from None
        except json.JSONDecodeError as error:
            raise invalid(f"the input's contract is no JSON: {error}") from None
        except NnError as error:
            raise invalid(f"the input's contract cannot be read: {error.reason}") from None
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise invalid(f"the input's contract cannot be read: {error}") from None


@dataclass(frozen=True)
class OutputContract:
    """What an output means: `kind` is logits, probabilities, mask, boxes or raw; `layout` is a mask's. Class
    i is called `labels[i + label_offset]`."""

    name: str
    kind: str = "raw"
    layout: str | None = None
    labels: tuple[str, ...] = ()
    label_offset: int = 0
    classes: int | None = None
    quantization: Quantization | None = None
    port: str = ""
    index: int = 0
    raw: dict[str, Any] = field(default_factory=dict, compare=False)
    """All keys, also those of boxes, as JSON has them."""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> OutputContract:
        return cls(
            str(value.get("name", "")),
            str(value.get("kind", "raw")),
            value.get("layout"),
            tuple(map(str, value.get("labels") or ())),
            int(value.get("label_offset") or 0),
            value.get("classes"),
            _quantization(value),
            str(value.get("port", "")),
            int(value.get("index", 0)),
            value,
        )

    def label(self, index: int) -> str:
        """What a class is called; "" where it has no name."""
        at = index + self.label_offset
        return self.labels[at] if 0 <= at < len(self.labels) else ""


@dataclass(frozen=True)
class Contract:
    """What the operator of the host wrote down about a model, bound to it."""

    inputs: tuple[InputContract, ...] = ()
    outputs: tuple[OutputContract, ...] = ()


@dataclass(frozen=True)
class Metadata:
    """A graph's inputs and outputs, in the model's order. `raw` is all that the host said."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    contract: Contract | None = None
    raw: dict[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_json(cls, text: str) -> Metadata:
        """What a host says of a graph. Raises NnError for what cannot be read."""
        try:
            value = json.loads(text)
            found = value.get("contract")
            contract = None
            if found is not None:
                contract = Contract(
                    tuple(InputContract.from_json(each) for each in found.get("inputs", ())),
                    tuple(OutputContract.from_json(each) for each in found.get("outputs", ())),
                )
            return cls(
                str(value.get("name", "")),
                tuple(map(_port, value["inputs"])),
                tuple(map(_port, value["outputs"])),
                contract,
                value,
            )
        except KeyError as error:
            raise invalid(f"the graph's metadata lack {error}") from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise invalid(f"the graph's metadata cannot be read: {error}") from None

    def input_index(self, name: str | int) -> int:
        """The place of an input by its name (the model's, an alias, or the contract's) or number. Raises
        NnError with what there is."""
        return _index(name, self.inputs, self.contract.inputs if self.contract else (), "input")

    def output_index(self, name: str | int) -> int:
        """As `input_index`, of an output."""
        return _index(name, self.outputs, self.contract.outputs if self.contract else (), "output")

    def input_contract(self, name: str | int | None = None) -> InputContract:
        """What an input means: by the contract, or else by what its shape and type tell. Without a name the
        first input that the contract calls a picture, or the model's first.

        Without a contract the channels are where the 1 or 3 is, floats are 0 to 1 and bytes as they are.
        Raises NnError for an input that does not exist.
        """
        named = self.contract.inputs if self.contract else ()
        if name is None:
            pictures = [each for each in named if each.image is not None]
            if pictures:
                return pictures[0]
            name = 0
        index = self.input_index(name)
        for each in named:
            if each.index == index:
                return each
        return derived_input(self.inputs[index], index)

    def output_contract(self, name: str | int | None = None, kind: str | None = None) -> OutputContract:
        """What an output means; one of kind "raw" where no contract says. Without a name the first that the
        contract has (of `kind`), or the model's first."""
        named = self.contract.outputs if self.contract else ()
        if name is None:
            found = [each for each in named if each.kind == kind] or list(named)
            if found:
                return found[0]
            name = 0
        index = self.output_index(name)
        for known in named:
            if known.index == index:
                return known
        port = self.outputs[index]
        return OutputContract(port.name, quantization=port.quantization, port=port.name, index=index)


def derived_input(port: Port, index: int = 0) -> InputContract:
    """What a port's shape and type tell; without an image where they tell of none."""
    kind = port.type or TensorType.F32
    layout, dims = None, port.dims
    if dims is not None and 3 <= len(dims) <= 4:
        # A dimension that the model leaves open is no channel, and a side that it leaves open no size.
        letters = {4: ("NCHW", "NHWC"), 3: ("CHW", "HWC")}[len(dims)]
        layout = next((each for each in letters if dims[each.index("C")] in (1, 3)), None)
    image = None
    if layout is not None and dims is not None:
        size = (dims[layout.index("H")], dims[layout.index("W")])
        if min(size) > 0:
            levels = (0.0, 255.0) if kind is TensorType.U8 else (0.0, 1.0)
            colour = "GRAY" if dims[layout.index("C")] == 1 else "RGB"
            image = ImageContract(layout, size, colour, levels)
    quantization = None if kind is TensorType.U8 or kind.is_float else port.quantization
    return InputContract(port.name, kind, image, quantization, dims, port.name, index)


def _port(value: dict[str, Any]) -> Port:
    shape = value.get("shape")
    return Port(
        str(value["name"]),
        OIP_TYPES.get(str(value.get("datatype"))),
        None if shape is None else tuple(map(int, shape)),
        _quantization(value),
        tuple(value.get("aliases", ())),
    )


def _quantization(value: dict[str, Any]) -> Quantization | None:
    found = value.get("quantization")
    return Quantization.from_json(found) if isinstance(found, dict) else None


def _image(value: dict[str, Any]) -> ImageContract:
    layout, colour = str(value["layout"]).upper(), str(value.get("colour", "RGB")).upper()
    height, width = map(int, value["size"])
    if not (1 <= height <= 16384 and 1 <= width <= 16384):
        raise ValueError(f"size is [height, width], each from 1 to 16384, not {[height, width]}")
    channels = 1 if colour == "GRAY" else 3
    low, high = map(float, value.get("range", (0.0, 1.0)))
    red, green, blue = (min(max(int(each), 0), 255) for each in value.get("fill", (0, 0, 0)))
    crop = value.get("crop")
    return ImageContract(
        layout,
        (height, width),
        colour,
        (low, high),
        _each_channel(value, "mean", 0.0, channels),
        _each_channel(value, "std", 1.0, channels),
        str(value.get("resize", "bilinear")),
        bool(value.get("antialias", True)),
        str(value.get("fit", "stretch")),
        None if crop is None else int(crop),
        (red, green, blue),
        bool(value.get("invert", False)),
    )


def _each_channel(value: dict[str, Any], key: str, default: float, channels: int) -> tuple[float, ...]:
    found = value.get(key, default)
    numbers = tuple(map(float, found)) if isinstance(found, list | tuple) else (float(found),)
    if len(numbers) not in (1, channels):
        raise ValueError(f"{key} has {len(numbers)} numbers, and there are {channels} channels")
    if key == "std" and 0.0 in numbers:
        raise ValueError("std has a 0, and is divided by")
    return numbers if len(numbers) == channels else numbers * channels


def _index(name: str | int, ports: tuple[Port, ...], named: tuple[Any, ...], kind: str) -> int:
    if isinstance(name, str):
        for index, port in enumerate(ports):
            if name == port.name or name in port.aliases:
                return index
        for each in named:
            if name in (each.name, each.port):
                return int(each.index)
    if (isinstance(name, int) or name.isdecimal()) and 0 <= int(name) < len(ports):
        return int(name)
    known = ", ".join(f"{index} {port}" for index, port in enumerate(ports))
    shown = repr(name) if isinstance(name, str) else name
    raise invalid(f"the model has no {kind} {shown}; it has: {known or 'none'}")
