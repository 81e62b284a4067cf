# SPDX-License-Identifier: Apache-2.0
"""Write ten pictures of digits, in the formats that guests meet, and check them.

    python tools/digits/write_pictures.py

Needs scikit-learn, Pillow and onnxruntime, and the model that `write_onnx.py` writes.
Each picture is a digit that the network has not seen in training, drawn large: 96x96,
smooth, white on black. It is read back as a user reads it (`classify`), and must come
out right with a probability above 0.9. The same libraries write the same bytes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped,unused-ignore]
from dataset import load_split
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

SHIPPED = Path(__file__).parents[2] / "src" / "wasinn" / "shipped"
MODEL = SHIPPED / "models" / "digits.onnx"
PICTURES = SHIPPED / "pictures"
SIZE = 96

# File name and Pillow mode: L is 8-bit gray, P a palette (of the 256 grays). There is no
# 16-bit PNG: Pillow's convert("L") clips those at 255 where it should divide by 257.
FILES = (
    ("zero.png", "L"),
    ("one.png", "RGB"),
    ("two.png", "P"),
    ("three.bmp", "RGB"),
    ("four.png", "L"),
    ("five.ppm", "RGB"),
    ("six.png", "L"),
    ("seven.png", "L"),
    ("eight.png", "L"),
    ("nine.png", "L"),
)


def draw(digit: NDArray[np.float32]) -> Image.Image:
    """Return a digit [8, 8], 0 to 1, as a gray picture of SIZE x SIZE pixels."""
    small = Image.fromarray(np.round(digit * 255).astype(np.uint8))
    large = np.asarray(small.resize((SIZE, SIZE), Resampling.BICUBIC)) / 255.0
    # Bicubic leaves a blur; a steep curve through middle gray makes strokes of it.
    curve = np.tanh(6.0 * (large - 0.5))
    low, high = curve.min(), curve.max()
    return Image.fromarray(np.round(255 * (curve - low) / (high - low)).astype(np.uint8))


def classify(
    session: ort.InferenceSession,
    picture: Image.Image,
    filter_: Resampling = Resampling.BILINEAR,
) -> NDArray[np.float32]:
    """Return the ten probabilities, f32 [10], of a picture of any size and mode."""
    small = picture.convert("L").resize((8, 8), filter_)
    image = np.asarray(small, np.float32)[np.newaxis, np.newaxis] / np.float32(255)
    probabilities: NDArray[np.float32] = session.run(None, {"image": image})[0][0]
    return probabilities


def choose(session: ort.InferenceSession, pictures: Sequence[Image.Image], label: int) -> Image.Image:
    """Return the picture that is most surely `label`.

    The surest by the worse of two resizes, the one that averages and the one that takes
    single pixels, since a guest's own may be anything in between.
    """

    def certainty(picture: Image.Image) -> float:
        filters = (Resampling.BILINEAR, Resampling.NEAREST)
        return min(float(classify(session, picture, each)[label]) for each in filters)

    return max(pictures, key=certainty)


def main() -> None:
    """Write the pictures, then read each back and print its probability and size."""
    session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    _, held_out = load_split()
    PICTURES.mkdir(parents=True, exist_ok=True)
    for label, (name, mode) in enumerate(FILES):
        path = PICTURES / name
        pictures = [draw(image[0]) for image in held_out.images[held_out.labels == label]]
        choose(session, pictures, label).convert(mode).save(path)
        with Image.open(path) as picture:
            probability = float(classify(session, picture)[label])
            print(f"{name:10} {picture.mode:3} {probability:.4f} {path.stat().st_size:6} bytes")
        if probability <= 0.9:
            raise SystemExit(f"{name} is not surely a {label}")


if __name__ == "__main__":
    main()
