# SPDX-License-Identifier: Apache-2.0
"""Simple pictures in pure Python: PNG of 8 bits, PGM and PPM (binary), and BMP without compression."""

import struct
import zlib
from array import array

PNG = b"\x89PNG\r\n\x1a\n"
#: How many bytes a PNG's pixel has, by its colour type: gray, RGB, palette, gray and alpha, RGB and alpha.
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def is_picture(content: bytes) -> bool:
    return content[:2] in (b"P5", b"P6", b"BM") or content.startswith(PNG)


def to_tensor(content: bytes, dims: list[int], as_bytes: bool) -> bytes:
    """The picture as the tensor [1, C, H, W] or [1, H, W, C], by where the 1 or 3 is.

    It has the nearest pixels, as f32 in 0..1 or as bytes. Raises ValueError, saying why.
    """
    if len(dims) != 4 or (dims[1] not in (1, 3) and dims[3] not in (1, 3)):
        raise ValueError(f"a model with the input {dims} takes no pictures")
    planar = dims[1] in (1, 3)
    channels, height, width = (dims[1], dims[2], dims[3]) if planar else (dims[3], dims[1], dims[2])
    pixels = resized(*decode(content), width, height)
    if channels == 1:
        pixels = [[(299 * r + 587 * g + 114 * b) // 1000] for r, g, b in pixels]
    if planar:
        values = [pixel[channel] for channel in range(channels) for pixel in pixels]
    else:
        values = [value for pixel in pixels for value in pixel]
    return bytes(values) if as_bytes else array("f", (value / 255 for value in values)).tobytes()


def resized(columns: int, rows: int, rgb: bytes, width: int, height: int) -> list[bytes]:
    """`width` x `height` pixels of three bytes, row by row."""
    pixels = []
    for y in range(height):
        row = y * rows // height * columns
        for x in range(width):
            place = 3 * (row + x * columns // width)
            pixels.append(rgb[place : place + 3])
    return pixels


def decode(content: bytes) -> tuple[int, int, bytes]:
    """Width, height, and the bytes of RGB."""
    if content.startswith(PNG):
        return decode_png(content)
    return decode_bmp(content) if content[:2] == b"BM" else decode_pnm(content)


def decode_png(content: bytes) -> tuple[int, int, bytes]:
    header, palette, packed = b"", b"", b""
    place = len(PNG)
    while place + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, place)
        name, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + size]
        if name == b"IHDR":
            header = data
        elif name == b"PLTE":
            palette = data
        elif name == b"IDAT":
            packed += data
        place += size + 12
    if len(header) != 13:
        raise ValueError("the file is cut off")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if bits != 8 or interlaced or colour not in PNG_CHANNELS:
        raise ValueError(f"a PNG of {bits} bits{', interlaced' if interlaced else ''} is not read")
    try:
        rows = zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(f"the picture cannot be unpacked: {error}") from None
    channels = PNG_CHANNELS[colour]
    stride = width * channels
    if len(rows) < height * (stride + 1):
        raise ValueError("the file is cut off")
    rgb, above = bytearray(), bytes(stride)
    for start in range(0, height * (stride + 1), stride + 1):
        above = unfiltered(rows[start], rows[start + 1 : start + 1 + stride], above, channels)
        for x in range(0, stride, channels):
            if colour == 3:
                rgb += palette[3 * above[x] : 3 * above[x] + 3]
            else:
                rgb += above[x : x + 3] if channels > 2 else above[x : x + 1] * 3
    if len(rgb) != 3 * width * height:
        raise ValueError("a colour is not in the palette")
    return width, height, bytes(rgb)


def unfiltered(kind: int, row: bytes, above: bytes, step: int) -> bytes:
    """A row of a PNG as it was before it was filtered; `above` is the row before it."""
    if kind > 4:
        raise ValueError(f"there is no filter {kind}")
    found = bytearray(row)
    for place in range(len(found)):
        left = found[place - step] if place >= step else 0
        up = above[place]
        corner = above[place - step] if place >= step else 0
        guess = (0, left, up, (left + up) // 2, paeth(left, up, corner))[kind]
        found[place] = (found[place] + guess) & 0xFF
    return bytes(found)


def paeth(left: int, up: int, corner: int) -> int:
    """Whichever of the three is nearest to left + up - corner."""
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def decode_pnm(content: bytes) -> tuple[int, int, bytes]:
    words: list[int] = []
    place = 2
    while len(words) < 3:
        while content[place : place + 1].isspace():
            place += 1
        if content[place : place + 1] == b"#":
            place = content.index(b"\n", place)
            continue
        end = place
        while content[end : end + 1].isdigit():
            end += 1
        words.append(int(content[place:end]))
        place = end
    width, height, largest = words
    if largest != 255:
        raise ValueError(f"values up to {largest} are not read, only up to 255")
    channels = 1 if content[:2] == b"P5" else 3
    data = content[place + 1 : place + 1 + width * height * channels]
    if len(data) != width * height * channels:
        raise ValueError("the file is cut off")
    return width, height, data if channels == 3 else bytes(value for each in data for value in (each,) * 3)


def decode_bmp(content: bytes) -> tuple[int, int, bytes]:
    try:
        (start,) = struct.unpack_from("<I", content, 10)
        header, width, height, _, bits, compression = struct.unpack_from("<IiiHHI", content, 14)
        palette_size = struct.unpack_from("<I", content, 46)[0]
    except struct.error:
        raise ValueError("the file is cut off") from None
    if compression or bits not in (8, 24, 32) or width <= 0:
        raise ValueError(f"a BMP of {bits} bits with compression {compression} is not read")
    stride = (width * bits // 8 + 3) // 4 * 4
    rows = abs(height)
    if len(content) < start + stride * rows:
        raise ValueError("the file is cut off")
    palette = content[14 + header : 14 + header + 4 * (palette_size or 256)] if bits == 8 else b""
    rgb = bytearray()
    for y in range(rows):
        # A positive height counts from the bottom.
        place = start + stride * (rows - 1 - y if height > 0 else y)
        for x in range(width):
            at = place + x * bits // 8
            blue, green, red = palette[4 * content[at] :][:3] if bits == 8 else content[at : at + 3]
            rgb += bytes((red, green, blue))
    return width, rows, bytes(rgb)
