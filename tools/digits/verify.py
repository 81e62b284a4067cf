# SPDX-License-Identifier: Apache-2.0
"""Hold what another script wrote against `digits.onnx`, on the digits that no training has seen.

Needs scikit-learn and onnxruntime. Every script that writes the network in another encoding runs
its file in a runtime of that encoding and hands the answers to `report`.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped,unused-ignore]
from dataset import load_split
from numpy.typing import NDArray

MODELS = Path(__file__).parents[2] / "src" / "wasinn" / "shipped" / "models"

#: One image, f32 [1, 1, 8, 8] or [1, 8, 8, 1], to its probabilities, f32 of ten elements.
Classify = Callable[[NDArray[np.float32]], NDArray[np.float32]]

TOLERANCE = 1e-5


def report(path: Path, classify: Classify, layout: str = "NCHW", quantized: bool = False) -> None:
    """Print the size of `path` (with what lies in it, for a directory), its accuracy and how far it is
    from ONNX. Ends the script where a float model differs by more than TOLERANCE, or a quantized one
    sees another digit in more than one case of a hundred."""
    _, held_out = load_split()
    images = held_out.images if layout == "NCHW" else held_out.images.transpose(0, 2, 3, 1)
    found = np.array([classify(np.ascontiguousarray(image[np.newaxis])).reshape(10) for image in images])
    wanted = _onnx(held_out.images)
    accuracy = float((found.argmax(1) == held_out.labels).mean())
    agreement = float((found.argmax(1) == wanted.argmax(1)).mean())
    difference = float(np.abs(found - wanted).max())
    print(
        f"{path.name:18} {_size(path):6} bytes   accuracy, held out {accuracy:.4f}"
        f"   same digit as ONNX {agreement:.4f}   largest difference {difference:.1e}"
    )
    if agreement < 0.99 if quantized else not difference <= TOLERANCE:
        raise SystemExit(f"{path.name} is not the network of digits.onnx")


def _onnx(images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(MODELS / "digits_batch.onnx", providers=["CPUExecutionProvider"])
    probabilities: NDArray[np.float32] = session.run(None, {"image": images})[0]
    return probabilities


def _size(path: Path) -> int:
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files)
