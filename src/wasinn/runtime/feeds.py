# SPDX-License-Identifier: Apache-2.0
"""What an input is fed from: a picture, made a tensor by the contract; a .npy; or raw bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.contracts import transforms
from wasinn.contracts.contract import InputContract
from wasinn.errors import ConfigError
from wasinn.imaging.decode import Picture
from wasinn.imaging.preprocess import Prepared, prepare
from wasinn.runtime.tensor_files import (
    NPY_MAGIC,
    described,
    head,
    read_bytes,
    read_description,
    read_npy,
    read_raw,
)
from wasinn.spec import TensorType
from wasinn.tensors import Tensor, TensorSpec, element_count

Array = np.ndarray[Any, Any]

#: How picture files begin: PNG, JPEG, GIF, BMP, TIFF (both orders), JPEG 2000, icons of Photoshop.
_MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"\x00\x00\x00\x0cjP  ",
    b"8BPS",
)
#: Formats without such bytes, or less common ones, by their names.
_SUFFIXES = {
    ".avif", ".bmp", ".gif", ".heic", ".ico", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
    ".tga", ".tif", ".tiff", ".webp",
}  # fmt: skip

_HOW = (
    "write one with `wasinn inspect --contract MODEL > MODEL.contract.toml`, correct what it guessed, and it "
    "is found beside the model"
)


@dataclass(frozen=True)
class Feed:
    """A tensor for the input `index`. `kind`: what it came from, "picture", "npy", "raw" or "tensor".
    `prepared`: the picture at the model's size, and where it lies in it."""

    index: int
    tensor: Tensor
    kind: str = "tensor"
    path: Path | None = None
    prepared: Prepared | None = None


def kind_of(path: Path) -> str:
    """What a file is: "npy", "picture" or "raw", by how it begins, else by its name; what has a description
    beside it is no picture. Raises ConfigError for one that cannot be read."""
    begin = head(path)
    if begin.startswith(NPY_MAGIC):
        return "npy"
    if read_description(path):
        return "raw"
    return "picture" if _is_picture(begin) or path.suffix.lower() in _SUFFIXES else "raw"


def _is_picture(begin: bytes) -> bool:
    if begin.startswith(_MAGIC):
        return True
    if begin[:4] == b"RIFF" and begin[8:12] == b"WEBP":
        return True
    if begin[4:12] in (b"ftypavif", b"ftypheic"):
        return True
    return begin[:1] == b"P" and begin[1:2] in b"123456" and begin[2:3].isspace()


def feed_picture(
    index: int, pictures: Picture | Sequence[Picture], contract: InputContract, spec: TensorSpec
) -> Feed:
    """A picture as the tensor of an input, by its contract; several as one batch.

    Raises ConfigError for what is no picture, and for a batch of an input that has no batch dimension.
    """
    image = contract.image
    assert image is not None
    several = [pictures] if isinstance(pictures, str | Path | bytes | np.ndarray) else list(pictures)
    if not several:
        raise ConfigError(f"input {contract.name!r}: a batch needs at least one picture")
    prepared = [prepare(picture, image) for picture in several]
    contract = _as_the_port_takes(contract, spec)
    arrays = [transforms.encode(each.pixels, contract) for each in prepared]
    if len(arrays) > 1:
        if not image.layout.startswith("N"):
            raise ConfigError(
                f"input {contract.name!r}: a batch of {len(arrays)} pictures, but its layout {image.layout} "
                "has no N; give one at a time"
            )
        array = np.concatenate(arrays)
    else:
        array = arrays[0]
    path = Path(several[0]) if isinstance(several[0], str | Path) else None
    return Feed(index, Tensor.of(array, contract.type), "picture", path, prepared[0])


def _as_the_port_takes(contract: InputContract, spec: TensorSpec) -> InputContract:
    """With the graph's option quantization = "affine" the port takes real numbers for the contract's
    integers."""
    if spec.type is contract.type or spec.type is not TensorType.F32 or spec.any_type:
        return contract
    if contract.quantization == "none":
        raise ConfigError(
            f'input {contract.name!r}: the graph\'s quantization = "affine" wants real numbers, and the '
            f"contract makes {contract.type.label} of a picture; leave the option out"
        )
    return replace(contract, type=spec.type, quantization="none")


def feed_file(
    index: int,
    path: Path,
    spec: TensorSpec,
    contract: InputContract | None,
    graph: str,
    how: str = _HOW,
) -> Feed:
    """An input's tensor from a file of any kind. `how`: what an error says of getting a contract. Raises
    ConfigError.

    A .npy of f64 goes to f32 and f16 ports as those: f64 is what NumPy makes unasked. Raw bytes have the dims
    of their description, of the contract or of the port, where one dynamic dimension is what the size gives.
    """
    where = f"graph {graph!r}, input {spec.name!r}"
    kind = kind_of(path)
    if kind == "picture":
        if contract is None or contract.image is None:
            raise ConfigError(f"{where}: {no_contract(path, contract, how)}")
        return feed_picture(index, path, contract, spec)
    found = described(path, read_description(path))
    if kind == "npy":
        tensor = read_npy(path, found[0] if found else spec.type)
        return Feed(index, _as_the_port_is(tensor, spec, path, where), kind, path)
    if found is None:
        known = TensorType.U8 if spec.any_type else spec.type
        if spec.any_type and contract is not None:
            known = contract.type
        dims = _raw_dims(path, known, spec, contract, where)
        what = f"input {spec.name!r} of graph {graph!r} takes"
        return Feed(index, read_raw(path, known, dims, what), kind, path)
    return Feed(index, read_raw(path, *found, "its description says"), kind, path)


def no_contract(path: Path | str, contract: InputContract | None, how: str = _HOW) -> str:
    """Why a picture cannot be made a tensor, and how that is cured."""
    if contract is not None:
        return (
            f"the contract does not say how a tensor is made of a picture ({path}): give "
            f"[input.{contract.name}] a layout and a size"
        )
    return f"{path} is a picture, and no contract says how to make a tensor of it; {how}"


def _as_the_port_is(tensor: Tensor, spec: TensorSpec, path: Path, where: str) -> Tensor:
    """A .npy's tensor in the port's type. The bytes of another type, which a guest may pass for types that it
    has no names for, are no mistake that NumPy's own types would leave open."""
    if tensor.type is TensorType.F64 and spec.type in (TensorType.F32, TensorType.F16):
        kind = np.float32 if spec.type is TensorType.F32 else np.float16
        with np.errstate(over="ignore"):
            return Tensor.of(tensor.numpy().astype(kind))
    if tensor.type is TensorType.U8 and spec.type is TensorType.BOOL:
        return Tensor(tensor.dims, spec.type, tensor.data)
    if tensor.type is not spec.type and tensor.type is spec.type.wire:
        raise ConfigError(
            f"{where}: {path} is {tensor.type.label}, and {spec.type.label} is wanted; convert it in NumPy "
            f"({_numpy_hint(spec.type)})"
        )
    return tensor


def _numpy_hint(tensor_type: TensorType) -> str:
    if tensor_type.label[0] in "iu":
        kind = "int" if tensor_type.label[0] == "i" else "uint"
        return f"array.astype(numpy.{kind}{8 * tensor_type.size})"
    return f"its bits as numpy.uint{8 * tensor_type.size}"


def _raw_dims(
    path: Path, kind: TensorType, spec: TensorSpec, contract: InputContract | None, where: str
) -> tuple[int, ...]:
    """The dims of raw bytes that nothing describes. Raises ConfigError."""
    dims = spec.dims
    if spec.any_size:
        return (len(read_bytes(path)) // kind.size,)
    if spec.static_dims is not None:
        return spec.static_dims
    if contract is not None and contract.image is not None:
        # A batch of any size where the port takes one; the rest is the contract's.
        letters = zip(contract.image.layout, contract.image.dims, dims or contract.image.dims, strict=False)
        dims = tuple(None if letter == "N" and dim is None else fixed for letter, fixed, dim in letters)
    elif contract is not None:
        dims = contract.dims or dims
    count = len(read_bytes(path)) // kind.size
    open_at = [at for at, dim in enumerate(dims or ()) if dim is None]
    if dims is not None and len(open_at) <= 1:
        fixed = element_count([dim for dim in dims if dim is not None])
        guess = max(1, count // fixed) if fixed else 1
        return tuple(guess if dim is None else dim for dim in dims)
    raise ConfigError(
        f"{where}: {path} is raw bytes, and the model does not fix its dims ({spec}); give a .npy, or a "
        "contract with dims, or a description beside it (`wasinn tensor` writes one)"
    )
