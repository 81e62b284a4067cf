# SPDX-License-Identifier: Apache-2.0
"""From a picture to an input's tensor, with the host's own arithmetic (src/wasinn/imaging/preprocess.py).

A picture has 256 levels, so each channel's numbers are computed once for each level; the tensor is then
looked up, a byte at a time, at the speed of C.
"""

from __future__ import annotations

import math
import struct

from .errors import ErrorCode, NnError, invalid
from .image import Image
from .metadata import ImageContract, InputContract
from .pixels import check_size
from .quantization import LIMITS, rounded
from .resize import Planes, resize
from .tensor import Tensor, TensorType

#: A picture that is to be cut is resized whole first, unless that takes more pixels.
_MOST_PIXELS = 1 << 24
_PACKED = {
    TensorType.F16: "e",
    TensorType.F32: "f",
    TensorType.F64: "d",
    TensorType.U8: "B",
    TensorType.I8: "b",
    TensorType.U16: "H",
    TensorType.I16: "h",
    TensorType.U32: "I",
    TensorType.I32: "i",
    TensorType.U64: "Q",
    TensorType.I64: "q",
}


def preprocess(image: Image, contract: InputContract) -> Tensor:
    """The tensor that an input's contract makes of a picture, with a batch of 1 where the layout has an N.

    Raises NnError for an input that is no picture, a type or a resize that cannot be made, and a `crop` that
    is too small for the size.
    """
    picture = contract.image
    if picture is None:
        raise invalid(
            f"input {contract.name!r} is no picture in what is known of it: give the model a contract with "
            "a layout and a size, or make an InputContract with an ImageContract"
        )
    try:
        return _made(image, contract, picture)
    except MemoryError:
        text = f"there is not enough memory for a tensor of {picture.size[0]}x{picture.size[1]} pixels"
        raise NnError(ErrorCode.TOO_LARGE, text) from None


def _made(image: Image, contract: InputContract, picture: ImageContract) -> Tensor:
    planes = _fitted(image, picture)
    if picture.colour == "GRAY":
        channels: list[bytes] = [gray(planes)]
    else:
        channels = list(planes if picture.colour == "RGB" else planes[::-1])
    size = contract.type.size
    data = bytearray(size * len(channels) * len(channels[0]))
    last = picture.layout.endswith("C")
    for index, (plane, table) in enumerate(zip(channels, _tables(contract, picture), strict=True)):
        for byte in range(size):
            levels = table[byte::size]
            if last:
                data[index * size + byte :: size * len(channels)] = plane.translate(levels)
            else:
                start = index * size * len(plane)
                data[start + byte : start + size * len(plane) : size] = plane.translate(levels)
    return Tensor(contract.type, picture.dims, data)


def gray(planes: Planes) -> bytes:
    """ITU-R 601 luma, with 16 bits of fraction, rounded."""
    wide = bytearray(4 * len(planes[0]))
    wide[1::4] = b"\x80" * len(planes[0])  # a half
    total = int.from_bytes(wide, "little")
    for plane, weight in zip(planes, (19595, 38470, 7471), strict=True):
        wide = bytearray(4 * len(plane))
        wide[::4] = plane
        total += int.from_bytes(wide, "little") * weight
    return total.to_bytes(4 * len(planes[0]), "little")[2::4]


# -- the size
# ----------------------------------------------------------------------------------------------------


def _fitted(image: Image, picture: ImageContract) -> Planes:
    height, width = picture.size
    check_size(width, height)
    if picture.fit == "stretch":
        return resize(image, width, height, picture.resize, picture.antialias)
    if picture.fit == "crop":
        return _cropped(image, picture)
    if picture.fit == "letterbox":
        return _letterboxed(image, picture)
    raise NnError(
        ErrorCode.UNSUPPORTED_OPERATION,
        f"there is no fit {picture.fit!r}; there are stretch, crop, letterbox",
    )


def _cropped(image: Image, picture: ImageContract) -> Planes:
    height, width = picture.size
    w, h = image.width, image.height
    if picture.crop is not None:
        longer = max(w, h) * picture.crop // min(w, h)
        whole_h, whole_w = (picture.crop, longer) if w > h else (longer, picture.crop)
        if whole_h < height or whole_w < width:
            raise invalid(
                f"a picture of {w}x{h} pixels with crop = {picture.crop} becomes {whole_w}x{whole_h}, too "
                f"small to cut {width}x{height} out of it: crop must be {max(height, width)} or more, or be "
                "left out"
            )
    elif height * w >= width * h:  # the height needs the larger scale
        whole_h, whole_w = height, w * height // h
    else:
        whole_h, whole_w = h * width // w, width
    top, left = round((whole_h - height) / 2), round((whole_w - width) / 2)
    if whole_h * whole_w <= _MOST_PIXELS:
        cut = (left, top, width, height)
        return resize(image, whole_w, whole_h, picture.resize, picture.antialias, cut=cut)
    scale_x, scale_y = whole_w / w, whole_h / h
    across = (left / scale_x, min((left + width) / scale_x, float(w)))
    down = (top / scale_y, min((top + height) / scale_y, float(h)))
    return resize(image, width, height, picture.resize, picture.antialias, across, down)


def _letterboxed(image: Image, picture: ImageContract) -> Planes:
    height, width = picture.size
    w, h = image.width, image.height
    scale = min(height / h, width / w)
    inner_h, inner_w = max(1, round(h * scale)), max(1, round(w * scale))
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    inner = resize(image, inner_w, inner_h, picture.resize, picture.antialias)
    planes = []
    for plane, fill in zip(inner, picture.fill, strict=True):
        colour = bytes([fill])
        before, after = colour * left, colour * (width - left - inner_w)
        rows = [before + plane[at : at + inner_w] + after for at in range(0, len(plane), inner_w)]
        bars = (colour * (width * top), colour * (width * (height - top - inner_h)))
        planes.append(bars[0] + b"".join(rows) + bars[1])
    return planes[0], planes[1], planes[2]


# -- the numbers
# -------------------------------------------------------------------------------------------------


def _tables(contract: InputContract, picture: ImageContract) -> list[bytes]:
    """For each channel of the tensor the elements of levels 0 to 255, one after another."""
    kind, quantization = contract.type, contract.quantization
    if kind not in _PACKED:
        raise NnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"input {contract.name!r} takes {kind.value}, which no picture is made into",
        )
    low, high = picture.range
    scale, offset = (high - low) / 255.0, low
    if picture.invert:
        scale, offset = -scale, high
    channels = picture.channels
    steps, points = [1.0] * channels, [0] * channels
    if quantization is not None:
        along = quantization.axis is None or (
            "C" in picture.layout and quantization.axis == picture.layout.index("C")
        )
        if not along or len(quantization.scales) not in (1, channels):
            raise invalid(
                f"input {contract.name!r}: a quantization with {len(quantization.scales)} scales along axis "
                f"{quantization.axis} is neither one for the whole tensor nor one for each channel"
            )
        if 0.0 in quantization.scales:
            raise invalid(f"input {contract.name!r}: a scale of its quantization is 0, and is divided by")
        steps = list(quantization.scales) * (channels // len(quantization.scales))
        points = list(quantization.zero_points) * (channels // len(quantization.zero_points))
    means, stds = _each(picture.mean, channels, "mean"), _each(picture.std, channels, "std")
    maps = [
        (_exact(scale / std / step, 1.0), _exact((offset - mean) / std / step, 0.0), point)
        for mean, std, step, point in zip(means, stds, steps, points, strict=True)
    ]
    if kind in LIMITS and all(
        one == 1.0 and abs(more - round(more)) < 1e-6 for one, more, _ in maps
    ):  # whole numbers throughout: nothing to round
        maps = [(one, 0.0, point + round(more)) for one, more, point in maps]
    return [_table(kind, *each) for each in maps]


def _table(kind: TensorType, scale: float, offset: float, point: int) -> bytes:
    # 32 bits, as the host does it, except where these do not hold the numbers.
    narrow = kind is TensorType.F16 or kind is TensorType.F32 or (kind in LIMITS and kind.size <= 2)
    half = 0.4999999701976776 if narrow else 0.49999999999999994
    elements = []
    for level in range(256):
        if narrow:
            value = _f32(_f32(level * _f32(scale)) + _f32(offset))
        else:
            value = level * scale + offset
        if kind in LIMITS:
            low, high = LIMITS[kind]
            if math.isfinite(value):
                moved = value + math.copysign(half, value)
                whole = int(_f32(moved) if narrow else moved)
            else:
                whole = rounded(value, low, high)
            elements.append(struct.pack("<" + _PACKED[kind], min(max(whole + point, low), high)))
            continue
        try:
            elements.append(struct.pack("<" + _PACKED[kind], value))
        except OverflowError:
            elements.append(struct.pack("<" + _PACKED[kind], math.copysign(math.inf, value)))
    return b"".join(elements)


def _f32(value: float) -> float:
    """Rounded to 32 bits."""
    try:
        found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return found


def _exact(value: float, wanted: float) -> float:
    """Without what rounding errors made, so that bytes that need no arithmetic stay as they are."""
    return wanted if abs(value - wanted) < 1e-9 else value


def _each(numbers: tuple[float, ...], channels: int, key: str) -> tuple[float, ...]:
    if len(numbers) not in (1, channels) or (key == "std" and 0.0 in numbers):
        raise invalid(f"{key} {list(numbers)} does not fit {channels} channels (std is never 0)")
    return numbers if len(numbers) == channels else numbers * channels
