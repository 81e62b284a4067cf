# SPDX-License-Identifier: Apache-2.0
"""Pictures from files: any format and mode that Pillow reads, as 8-bit RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

Pixels = np.ndarray[Any, Any]
Picture = str | Path | bytes | Pixels


def read_picture(picture: Picture) -> Pixels:
    """u8 [height, width, 3] RGB, turned as its EXIF orientation says."""
    if isinstance(picture, np.ndarray):
        return picture
    import io

    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
