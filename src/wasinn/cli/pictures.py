# SPDX-License-Identifier: Apache-2.0
"""What `wasinn infer` writes to files: masks, drawings and the outputs themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.contracts import transforms
from wasinn.errors import ConfigError
from wasinn.imaging import draw
from wasinn.imaging.decode import read_picture
from wasinn.imaging.preprocess import Placement
from wasinn.runtime.decoded import Decoded
from wasinn.runtime.direct import DirectGraph
from wasinn.runtime.feeds import Feed
from wasinn.runtime.tensor_files import write_tensor
from wasinn.tensors import Tensor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Saving:
    """Where a mask, a drawing and the outputs go; None for those that were not asked for. `several`: there
    is more than one compute, and a file's name gets that of its input inserted."""

    mask: str | None
    drawing: str | None
    outputs: str | None
    several: bool = False

    def save(self, graph: DirectGraph, feeds: Sequence[Feed], decoded: Sequence[Decoded]) -> list[str]:
        """Writes what was asked for; the paths. Raises ConfigError."""
        written = []
        if self.mask is not None:
            path = self._path(self.mask, feeds)
            save_mask(path, _the_mask(decoded))
            written.append(str(path))
        if self.drawing is not None:
            path = self._path(self.drawing, feeds)
            draw.save(_drawing(graph, feeds, decoded), path)
            written.append(str(path))
        if self.outputs is not None:
            written += self._save_outputs(Path(self.outputs), graph, feeds, decoded)
        return written

    def _path(self, text: str, feeds: Sequence[Feed]) -> Path:
        path = Path(text)
        return path.with_name(f"{path.stem}-{_stem(feeds)}{path.suffix}") if self.several else path

    def _save_outputs(
        self, folder: Path, graph: DirectGraph, feeds: Sequence[Feed], decoded: Sequence[Decoded]
    ) -> list[str]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from error
        start = f"{_stem(feeds)}-" if self.several else ""
        written = []
        for each in decoded:
            path = folder / f"{start}{_plain(each.name)}.npy"
            if str(path) in written:  # two names that differ in what a file's name cannot have
                path = folder / f"{start}{_plain(each.name)}-{each.index}.npy"
            facts = {"output": each.name, "graph": graph.name, "backend": graph.backend}
            write_tensor(path, Tensor.of(each.array, each.spec.type), facts)
            written.append(str(path))
        return written


def _stem(feeds: Sequence[Feed]) -> str:
    path = feeds[0].path
    return path.stem if path is not None else "input"


def _plain(name: str) -> str:
    """An output's name as a file's: models call them what they like, also `../a:0`."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:100] or "output"


def save_mask(path: Path, classes: Array) -> None:
    """A picture whose values are the classes, or a .npy. Raises ConfigError."""
    if path.suffix.lower() == ".npy":
        try:
            np.save(path, classes, allow_pickle=False)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    else:
        draw.save(draw.mask_picture(classes), path)


def _the_mask(decoded: Sequence[Decoded]) -> Array:
    for each in decoded:
        if each.classes is not None:
            return each.classes
    kinds = ", ".join(f"{each.name!r} is {each.contract.kind}" for each in decoded)
    raise ConfigError(f'--save-mask needs an output whose kind in the contract is "mask"; here {kinds}')


def _drawing(graph: DirectGraph, feeds: Sequence[Feed], decoded: Sequence[Decoded]) -> Array:
    """The picture with the first answer that can be drawn: a mask, boxes or classes."""
    pixels, placement = _picture(graph, feeds)
    for each in decoded:
        if each.classes is not None:
            return draw.draw_mask(pixels, each.classes, each.contract, placement=placement)
    for each in decoded:
        if each.kind == "boxes":
            return draw.draw_boxes(pixels, each.boxes)
    for each in decoded:
        if each.kind == "classes":
            return draw.draw_scores(pixels, each.scored)
    raise ConfigError(
        "--draw needs an output that the contract says is logits, probabilities, a mask or boxes"
    )


def _picture(graph: DirectGraph, feeds: Sequence[Feed]) -> tuple[Array, Placement | None]:
    """The picture that was given, or the one that a tensor shows by the contract."""
    for each in feeds:
        if each.prepared is not None and each.path is not None:
            return read_picture(each.path), each.prepared.placement
    for each in feeds:
        contract = graph.input_contract(each.index)
        if contract is not None and contract.image is not None:
            values = transforms.decode(each.tensor.numpy(), contract)
            return as_pixels(values), None
    raise ConfigError("--draw needs a picture as an input, or a contract that says how a tensor shows one")


def as_pixels(values: Array) -> Array:
    """Real numbers 0 to 255 as u8; what is outside is cut off, NaN is black."""
    pixels: Array = np.clip(np.nan_to_num(np.rint(values)), 0, 255).astype(np.uint8)
    return pixels
