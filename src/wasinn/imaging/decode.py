# SPDX-License-Identifier: Apache-2.0
"""Pictures from files: any format and mode that Pillow reads, as 8-bit RGB.

What becomes of pixels that are no 8-bit RGB:

- Alpha and the transparent colour of a palette are dropped: a transparent pixel has the colour that is
  stored with it, as in the C guests (sdk/c/image_png.c) and in Pillow's own convert("RGB").
- 16-bit levels keep their upper byte, as in the C guests. (Pillow's convert("RGB") would clip them.)
- Levels of 32-bit integers are taken as 16 bits, which is what Pillow makes of 16-bit PGM and, before
  Pillow 11, of PNG; where one is outside, the picture is refused.
- Levels of 32-bit floats are 0 to 1 where none is above 1, else 0 to 255; others are refused.
- Colours of CMYK, YCbCr, LAB and HSV are converted as Pillow does it; embedded profiles do not count.
- Of an animation or of several pages, the first.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.errors import ConfigError

Pixels = np.ndarray[Any, Any]
Picture = str | Path | bytes | Pixels

_EXIF_ORIENTATION = 0x0112
_CONVERT = "is it damaged? Convert it to PNG with another program, or take another picture"
_LEVELS = "give it as an array of u8 [height, width], scaled to 0..255"


def pillow() -> Any:
    """Pillow's module PIL.Image. Raises ConfigError where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError('pictures need Pillow: pip install "wasinn[imaging]"') from error
    return Image


def read_picture(picture: Picture) -> Pixels:
    """u8 [height, width, 3] RGB of a file, of a file's content, or of an array.

    A file is turned as its EXIF orientation says. An array is u8 [height, width], [height, width, 1] (gray),
    [height, width, 3] (RGB) or [height, width, 4] (RGBA; alpha is dropped); where it is RGB already, it comes
    back itself. The result may be read-only.

    Raises ConfigError for what is no picture, is damaged or empty, has more pixels than Pillow's
    Image.MAX_IMAGE_PIXELS (89 million), or for levels that cannot be brought to 8 bits.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if not isinstance(picture, str | Path | bytes):
        raise ConfigError(
            f"a picture is a path, a file's bytes or a NumPy array, but a {type(picture).__name__} came"
        )
    name = f"picture of {len(picture)} bytes" if isinstance(picture, bytes) else f"picture {picture}"
    return _from_file(_content(picture, name), name)


def _content(picture: str | Path | bytes, name: str) -> bytes:
    if isinstance(picture, bytes):
        content = picture
    else:
        try:
            content = Path(picture).read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"{name} cannot be read: {reason}") from error
    if not content:
        raise ConfigError(f"{name} is empty (0 bytes)")
    return content


def _from_array(array: Pixels) -> Pixels:
    gray = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    if array.dtype != np.uint8 or not (gray or (array.ndim == 3 and array.shape[2] in {3, 4})):
        raise ConfigError(
            f"an array of {array.dtype} {list(array.shape)} is no picture: wanted is u8 [height, width], or "
            "[height, width, channels] with 1, 3 (RGB) or 4 (RGBA) channels and levels 0 to 255"
        )
    if array.size == 0:
        raise ConfigError(f"an array of {list(array.shape)} is no picture: it has no pixels")
    if gray:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(array[..., :3])


def _from_file(content: bytes, name: str) -> Pixels:
    image_module = pillow()
    try:
        with image_module.open(io.BytesIO(content)) as image:
            if image.format == "EPS":
                # A program in PostScript, which Pillow would hand to Ghostscript to run.
                raise ConfigError(f"{name} is EPS, which is not read; {_CONVERT}")
            limit = image_module.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise ConfigError(_too_large(name, f"{image.width}x{image.height} pixels", limit))
            image.load()
            pixels = _to_rgb(image, name)
            return _turned(pixels, _orientation(image))
    except ConfigError:
        raise
    except (image_module.DecompressionBombError, image_module.DecompressionBombWarning) as error:
        raise ConfigError(_too_large(name, str(error), image_module.MAX_IMAGE_PIXELS)) from error
    except MemoryError as error:
        raise ConfigError(f"{name}: there is not enough memory for its pixels; make it smaller") from error
    except image_module.UnidentifiedImageError as error:
        raise ConfigError(
            f"{name} is of no format that Pillow {_version()} reads (PNG, JPEG, BMP, WebP, TIFF, GIF and "
            "others are); a raw tensor or a .npy file is no picture"
        ) from error
    # Pillow's decoders raise many kinds for damaged files: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        raise ConfigError(f"{name} cannot be decoded ({error}): {_CONVERT}") from error


def _too_large(name: str, size: str, limit: int | None) -> str:
    return (
        f"{name} is too large ({size}; at most {limit} are read): make it smaller, or raise "
        "PIL.Image.MAX_IMAGE_PIXELS if the file is to be trusted"
    )


def _version() -> str:
    import PIL

    return str(PIL.__version__)


def _to_rgb(image: Any, name: str) -> Pixels:
    mode: str = image.mode
    if image.width == 0 or image.height == 0:
        raise ConfigError(f"{name} has no pixels ({image.width}x{image.height})")
    if mode == "I" or mode.startswith("I;16"):
        return _gray(_from_integers(np.asarray(image), name))
    if mode == "F":
        return _gray(_from_floats(np.asarray(image), name))
    if mode == "La":  # alpha is multiplied in already; Pillow converts this mode to LA only
        image = image.convert("LA")
    return np.asarray(image.convert("RGB"))


def _gray(levels: Pixels) -> Pixels:
    return np.repeat(levels[..., None], 3, axis=2)


def _from_integers(levels: Pixels, name: str) -> Pixels:
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > 65535:
        raise ConfigError(f"{name} has levels from {low} to {high}, which are not of 16 bits: {_LEVELS}")
    return (levels >> 8).astype(np.uint8)


def _from_floats(levels: Pixels, name: str) -> Pixels:
    low, high = float(levels.min()), float(levels.max())  # NaN where one of them is
    if not 0.0 <= low <= high <= 255.0:
        raise ConfigError(f"{name} has levels from {low:g} to {high:g}, not 0..1 or 0..255: {_LEVELS}")
    return np.rint(levels * np.float32(255.0 if high <= 1.0 else 1.0)).astype(np.uint8)


def _orientation(image: Any) -> int:
    """EXIF's 1 to 8; 1 where it has none, or one that cannot be read: viewers show such files as they are."""
    # Asked after load(), because Pillow turns TIFF files itself and removes the tag.
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:
        return 1


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """`orientation` says what the stored first row and column are (Exif 2.3, tag 274): 1 top and left, 2 top
    and right, 3 bottom and right, 4 bottom and left, 5 left and top, 6 right and top, 7 right and bottom, 8
    left and bottom."""
    if not 2 <= orientation <= 8:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
