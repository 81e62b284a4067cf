# SPDX-License-Identifier: Apache-2.0
"""Pictures in every form that the SDKs read: by Pillow, and PNG of the kinds that Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

#: Pillow's formats and the modes that it writes into them.
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB", "I;16"),
}
#: PNG's colour types: channels, and the bit depths that they have.
COLOUR_TYPES = {
    0: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    3: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}
#: Adam7: x and y of the first pixel, and the steps.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Made:
    """A picture that was made from a seed. `form` is a format and a mode of Pillow's, or "PNG" and
    "COLOURTYPE-DEPTH-INTERLACE"."""

    kind: str
    form: str
    width: int
    height: int
    seed: int

    @property
    def content(self) -> bytes:
        random = np.random.default_rng(self.seed)
        if "-" in self.form:
            colour, depth, interlace = map(int, self.form.split("-"))
            return raw_png(self.width, self.height, colour, depth, bool(interlace), random)
        stream = io.BytesIO()
        image_in(self.form, levels(self.width, self.height, random), random).save(stream, self.kind)
        return stream.getvalue()


def levels(width: int, height: int, random: np.random.Generator) -> Array:
    """u8 [height, width, 4]: noise, or slopes with an edge, by chance."""
    if random.random() < 0.5:
        return random.integers(0, 256, (height, width, 4), np.uint8)
    rows, columns = np.mgrid[0:height, 0:width]
    slopes = random.uniform(-12, 12, (2, 4))
    values = rows[..., None] * slopes[0] + columns[..., None] * slopes[1] + random.uniform(0, 255, 4)
    values[columns > width * random.random()] += 90
    return (values % 256).astype(np.uint8)


def image_in(mode: str, pixels: Array, random: np.random.Generator) -> Any:
    if mode == "RGBA":
        return Image.fromarray(pixels)
    if mode == "LA":
        return Image.fromarray(np.ascontiguousarray(pixels[..., :2]), "LA")
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 256 + pixels[..., 1])
    if mode == "P":
        colours = int(random.integers(1, 257))
        return Image.fromarray(np.ascontiguousarray(pixels[..., :3])).quantize(colours)
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3])).convert(mode)


def raw_png(
    width: int, height: int, colour: int, depth: int, interlaced: bool, random: np.random.Generator
) -> bytes:
    """A PNG of a colour type and depth, each row with a filter by chance, with a palette where it needs one
    and transparency where chance wants it."""
    channels, _ = COLOUR_TYPES[colour]
    colours = int(random.integers(1, 2 ** min(depth, 8) + 1)) if colour == 3 else 1 << depth
    values = random.integers(0, colours, (height, width, channels), np.uint32)
    if random.random() < 0.5:
        values = np.sort(values, axis=0)  # so that filters have something to do
    areas = [values[y::down, x::right] for x, y, right, down in PASSES] if interlaced else [values]
    rows = b"".join(filtered(each, depth, random) for each in areas if each.size)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header)]
    if colour == 3:
        chunks.append((b"PLTE", random.bytes(3 * colours)))
    if random.random() < 0.5 and colour in (0, 2, 3):
        chunks.append((b"tRNS", transparency(colour, depth, colours, random)))
    packed = zlib.compress(rows, int(random.integers(0, 10)))
    cut = int(random.integers(0, len(packed) + 1))  # the data may come in several chunks
    chunks += [(b"IDAT", packed[:cut]), (b"IDAT", packed[cut:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in chunks)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def transparency(colour: int, depth: int, colours: int, random: np.random.Generator) -> bytes:
    if colour == 3:
        return random.bytes(int(random.integers(1, colours + 1)))
    count = 1 if colour == 0 else 3
    return random.integers(0, 1 << depth, count).astype(">u2").tobytes()


def filtered(values: Array, depth: int, random: np.random.Generator) -> bytes:
    """The rows of u32 [height, width, channels] as PNG packs and filters them (RFC 2083, 6)."""
    height, width, channels = values.shape
    flat = values.reshape(height, width * channels)
    if depth == 16:
        packed = flat.astype(">u2").view(np.uint8).reshape(height, -1)
    elif depth == 8:
        packed = flat.astype(np.uint8)
    else:
        bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        packed = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    step = max(1, channels * depth // 8)
    above = np.zeros(packed.shape[1], np.int32)
    result = bytearray()
    for row in packed.astype(np.int32):
        left, above_left = np.zeros_like(row), np.zeros_like(row)
        left[step:], above_left[step:] = row[:-step], above[:-step]
        kind = int(random.integers(0, 5))
        guess = (0, left, above, (left + above) // 2, paeth(left, above, above_left))[kind]
        result.append(kind)
        result += ((row - guess) & 255).astype(np.uint8).tobytes()
        above = row
    return bytes(result)


def paeth(left: Array, above: Array, above_left: Array) -> Array:
    about = left + above - above_left
    far = [np.abs(about - each) for each in (left, above, above_left)]
    near_left = (far[0] <= far[1]) & (far[0] <= far[2])
    return np.where(near_left, left, np.where(far[1] <= far[2], above, above_left))


@st.composite
def pictures(draw: st.DrawFn, largest: int = 64) -> Made:
    """A picture of 1 to `largest` pixels a side."""
    kind = draw(st.sampled_from(["PNG", "PNG", "PNG", "BMP", "PPM"]))
    forms = list(MODES[kind])
    if kind == "PNG" and draw(st.booleans()):
        forms = [
            f"{colour}-{depth}-{interlace}"
            for colour, (_, depths) in COLOUR_TYPES.items()
            for depth in depths
            for interlace in (0, 1)
        ]
    side = st.integers(1, largest)
    return Made(kind, draw(st.sampled_from(forms)), draw(side), draw(side), draw(st.integers(0, 2**32 - 1)))
