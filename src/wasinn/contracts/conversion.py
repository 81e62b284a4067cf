# SPDX-License-Identifier: Apache-2.0
"""From the tensor that a guest sends to the one that a model takes, by the contracts of both.

For pictures everything that changes numbers is one scale and one offset for each channel: range, mean, std,
invert and the quantization of both sides. The rest is the order in which they lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wasinn.contracts import transforms
from wasinn.contracts.affine import NO_BUFFERS, Affine, Buffers, planes
from wasinn.contracts.bound import dims_fit
from wasinn.contracts.contract import ImageContract, InputContract
from wasinn.contracts.quantization import dequantize
from wasinn.errors import ConfigError
from wasinn.tensors import FLOATS, INTEGERS, NUMPY, Quantization, SpecDims, format_dims

Array = np.ndarray[Any, Any]

#: ITU-R 601 luma of R, G, B, in the fractions that Pillow has (`transforms.to_gray`).
LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)


class Conversion:
    """Turns arrays of the contract `guest` into arrays of the contract `own`, the model's.

    Both name their quantization ("model" is resolved). `dims` are those of the model's port, None where
    unknown. `guest_dims` are then the dims that guests are to send. `notes` says what cannot be undone: it
    is for the log.

    Raises ConfigError, naming the key of both, where there is no conversion.
    """

    def __init__(self, guest: InputContract, own: InputContract, dims: SpecDims | None = None) -> None:
        self.type = own.type
        self.notes: tuple[str, ...] = ()
        self.guest_dims: SpecDims | None
        where = f"[input.{guest.name}]"
        if (guest.image is None) != (own.image is None):
            kinds = ["tensor" if each.image is None else "image" for each in (guest, own)]
            raise ConfigError(
                f'{where}: kind is "{kinds[0]}" for guests and "{kinds[1]}" for the model; one of the two '
                "contracts is wrong, or they are of different inputs"
            )
        if guest.image is not None and own.image is not None:
            image = _ImageConversion(guest, own, dims)
            self.notes = image_notes(guest.image, own.image)
            self.guest_dims = image.guest_dims
            self._convert: _ImageConversion | _TensorConversion = image
        else:
            tensor = _TensorConversion(guest, own, dims)
            self.guest_dims = tensor.guest_dims
            self._convert = tensor

    def __call__(self, array: Array, buffers: Buffers = NO_BUFFERS) -> Array:
        """The model's tensor; `array` itself, or a view of it, where nothing changes. With `buffers`, it is
        good until the next call with them."""
        return self._convert(array, buffers)


def image_notes(guest: ImageContract, own: ImageContract) -> tuple[str, ...]:
    """How guests make pictures otherwise than the model's contract says, where the host cannot change it."""
    notes = []
    for key in ("fit", "crop", "fill", "resize", "antialias"):
        mine, theirs = getattr(own, key), getattr(guest, key)
        matters = key != "fill" or "letterbox" in (guest.fit, own.fit)
        if mine != theirs and matters:
            notes.append(f"{key} is {_word(theirs)} for guests and {_word(mine)} for the model")
    if guest.colour == "GRAY" != own.colour:
        notes.append(f"colour is GRAY for guests and {own.colour} for the model: all channels get the gray")
    return tuple(notes)


def _word(value: Any) -> str:
    return {None: "not set", True: "true", False: "false"}.get(value, str(value))


class _ImageConversion:
    def __init__(self, guest: InputContract, own: InputContract, dims: SpecDims | None) -> None:
        theirs, mine = guest.image, own.image
        assert theirs is not None
        assert mine is not None
        if theirs.size != mine.size:
            raise ConfigError(
                f"[input.{guest.name}]: size is {list(theirs.size)} for guests and {list(mine.size)} for the "
                "model; the host does not resize what a guest has made: give both the same size"
            )
        self._layout = theirs.layout
        batch = dims[0] if dims is not None and "N" in mine.layout else 1
        if "N" not in theirs.layout and batch not in (1, None):
            raise ConfigError(
                f"[input.{guest.name}]: layout is {theirs.layout} for guests, one picture without N, and the "
                f"model takes a batch of {batch}; give guests a layout with N"
            )
        sizes = {"N": batch, "C": theirs.channels, "H": theirs.size[0], "W": theirs.size[1]}
        self.guest_dims: SpecDims = tuple(sizes[letter] for letter in theirs.layout)
        scale, offset, points = (np.array(each, np.float64) for each in transforms.numbers(guest))
        offset = offset + points  # number = scale * p + offset
        to_scale, to_offset, to_points = transforms.numbers(own)
        zero_point = [int(each) for each in to_points]
        self._colours = (theirs.colour, mine.colour)
        self._factors: tuple[float, ...] = ()
        if mine.colour == "GRAY" != theirs.colour:
            # gray = sum of weight * p; each p from its own channel.
            order = LUMA if theirs.colour == "RGB" else LUMA[::-1]
            factors = np.array(order) * to_scale[0] / scale
            self._factors = tuple(float(each / factors[0]) for each in factors)
            slope, start = factors[:1], to_offset - np.sum(factors * offset)
        else:
            if theirs.colour == "GRAY":
                scale, offset = scale.repeat(mine.channels), offset.repeat(mine.channels)
            elif theirs.colour != mine.colour:
                scale, offset = scale[::-1], offset[::-1]
            slope = to_scale / scale
            start = to_offset - offset * slope
            # What cancels leaves a rounding error in the size of what it was.
            start = np.where(np.abs(start) < 1e-12 * np.abs(to_offset), 0.0, start)
        self._affine = Affine(guest.type, own.type, mine.layout, slope, start, zero_point)

    def __call__(self, array: Array, buffers: Buffers) -> Array:
        source = planes(array, self._layout)
        theirs, mine = self._colours
        if self._factors:
            parts: list[tuple[Array, float]] = [
                (source[:, at : at + 1], factor) for at, factor in enumerate(self._factors)
            ]
            return self._affine.run(parts, buffers)
        if theirs == "GRAY" != mine:
            source = np.broadcast_to(source, (source.shape[0], 3, *source.shape[2:]))
        elif theirs != mine:
            source = source[:, ::-1]
        return self._affine(source, buffers)


class _TensorConversion:
    """Of an input that is no picture: type, quantization and the batch dimension."""

    def __init__(self, guest: InputContract, own: InputContract, dims: SpecDims | None) -> None:
        self._guest, self._own = guest, own
        wanted = dims if dims is not None else own.dims
        self.guest_dims: SpecDims | None = guest.dims if guest.dims is not None else wanted
        self._rank: int | None = None
        if self.guest_dims is not None and wanted is not None and not dims_fit(wanted, self.guest_dims):
            if len(wanted) == len(self.guest_dims) + 1 and wanted[0] in (1, None):
                fits, self._rank = dims_fit(wanted[1:], self.guest_dims), len(wanted)
            else:
                fits = self.guest_dims[:1] == (1,) and dims_fit(wanted, self.guest_dims[1:])
                self._rank = len(wanted)
            if not fits:
                raise ConfigError(
                    f"[input.{guest.name}]: dims are {format_dims(self.guest_dims)} for guests and "
                    f"{format_dims(wanted)} for the model; only a leading batch dimension of 1 is added or "
                    "taken away"
                )
        self._same = guest.type is own.type and guest.quantization == own.quantization
        check_numbers(self._same, f"[input.{guest.name}]", guest.type, own.type)

    def __call__(self, array: Array, buffers: Buffers) -> Array:
        if self._rank is not None:
            array = array[None] if array.ndim < self._rank else array[0]
        if self._same:
            return array
        given, wanted = self._guest.quantization, self._own.quantization
        if isinstance(given, Quantization):
            array = dequantize(array, given)
        return real_to_type(array, self._own, isinstance(wanted, Quantization))


def check_numbers(same: bool, where: str, guest: Any, own: Any) -> None:
    """That both types have numbers to compute with. Raises ConfigError."""
    if not same:
        for each in (guest, own):
            if each not in (*FLOATS, *INTEGERS):
                raise ConfigError(
                    f"{where}: type is {guest.label} for guests and {own.label} for the model; {each.label} "
                    "is not converted"
                )


def real_to_type(array: Array, contract: InputContract, quantized: bool) -> Array:
    """Real numbers or plain integers in the contract's type. Integers become other ones without a float."""
    if not quantized and array.dtype.kind in "iu" and contract.type in INTEGERS:
        target = NUMPY[contract.type]
        limits, own = np.iinfo(target), np.iinfo(array.dtype)
        low, high = max(limits.min, own.min), min(limits.max, own.max)
        return np.clip(array, low, high).astype(target, copy=False)
    if array.dtype.kind in "iu" and quantized:
        array = array.astype(np.float64 if array.dtype.itemsize > 2 else np.float32)
    return transforms.to_type(array, contract)
