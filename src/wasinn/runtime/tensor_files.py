# SPDX-License-Identifier: Apache-2.0
"""Tensors in files: NumPy's .npy, or raw bytes; a description in JSON beside either."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.errors import ConfigError
from wasinn.graphs.recorded import RECORD_FILE
from wasinn.spec import TensorType
from wasinn.tensors import MAX_RANK, Tensor, element_count, format_dims

Array = np.ndarray[Any, Any]

#: The first bytes of NumPy's format, version 1 to 3 (numpy.lib.format).
NPY_MAGIC = b"\x93NUMPY"
_MAX_DESCRIPTION = 1 << 20


def description_path(path: Path) -> Path:
    """Where a tensor's description lies: FILE.json beside FILE."""
    return path.with_name(path.name + ".json")


def head(path: Path, size: int = 32) -> bytes:
    """The first bytes of a file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise _unreadable(path, error) from error


def write_tensor(path: Path, tensor: Tensor, more: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a tensor (.npy by its name, raw little-endian bytes otherwise) and its description, which is
    given back: type, dims, `more`, bytes and sha256 (of the elements). Raises ConfigError.

    NumPy has no bf16 and no f8: their bits are kept as unsigned integers, and the description has the type.
    """
    description = {
        "type": tensor.type.label,
        "dims": list(tensor.dims),
        **more,
        "bytes": len(tensor.data),
        "sha256": hashlib.sha256(tensor.data).hexdigest(),
    }
    try:
        with path.open("wb") as file:
            if path.suffix.lower() == ".npy":
                np.save(file, tensor.numpy(), allow_pickle=False)
            else:
                file.write(tensor.data)
        description_path(path).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return description


def read_description(path: Path) -> dict[str, Any]:
    """What is known of a tensor in a file: the description beside it, or its row in the record that it is
    part of (`wasinn run --record`); {} where there is neither. Raises ConfigError for JSON that cannot be
    read."""
    found = _read_json(description_path(path))
    # Another program's JSON may lie there.
    if {"type", "dims"} <= found.keys():
        return found
    record = _read_json(path.with_name(RECORD_FILE))
    for side in ("input", "output"):
        rows = record.get(f"{side}s")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and row.get("file") == path.name and {"type", "dims"} <= row.keys():
                return {"type": row["type"], "dims": row["dims"], side: row.get("name")}
    return {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_DESCRIPTION:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the description {path}: {error}") from error
    return found if isinstance(found, dict) else {}


def described(path: Path, description: Mapping[str, Any]) -> tuple[TensorType, tuple[int, ...]] | None:
    """The type and dims that a description tells; None for an empty one. Raises ConfigError."""
    if not description:
        return None
    beside = f"the description of {path}"
    dims = description["dims"]
    if (
        not isinstance(dims, list)
        or len(dims) > MAX_RANK
        or not all(isinstance(dim, int) and not isinstance(dim, bool) and dim >= 0 for dim in dims)
    ):
        raise ConfigError(f"{beside}: dims must be a list of sizes, not {dims!r}")
    try:
        return TensorType.parse(str(description["type"])), tuple(dims)
    except ValueError as error:
        raise ConfigError(f"{beside}: {error}") from None


def read_npy(path: Path, tensor_type: TensorType | None = None) -> Tensor:
    """A tensor of NumPy's format. `tensor_type` tells bf16 and f8 from the integers as which NumPy has
    them. Raises ConfigError."""
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, EOFError, MemoryError) as error:
        raise ConfigError(f"{path} is not an array that NumPy reads: {_short(error)}") from error
    if not isinstance(array, np.ndarray):
        raise ConfigError(f"{path} is an archive (.npz), and one array (.npy) was wanted")
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if tensor_type is not None and _same_bits(array.dtype, tensor_type):
        return Tensor.of(array, tensor_type)
    try:
        return Tensor.of(array)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; save it as float32, uint8 or another type of numbers") from None


def _same_bits(dtype: np.dtype[Any], tensor_type: TensorType) -> bool:
    return dtype.kind == "u" and dtype.itemsize == tensor_type.size and _is_small_float(tensor_type)


def _is_small_float(tensor_type: TensorType) -> bool:
    return tensor_type is TensorType.BF16 or tensor_type.label.startswith("f8")


def read_raw(path: Path, tensor_type: TensorType, dims: tuple[int, ...], what: str = "") -> Tensor:
    """A tensor of bytes as they are. `what` says in an error what wants it, with its verb. Raises ConfigError
    with the size that came and the one that was wanted."""
    data = read_bytes(path)
    wanted = element_count(dims) * tensor_type.size
    if len(data) != wanted:
        raise ConfigError(
            f"{path} has {len(data)} bytes, and {what or 'the tensor has'} {wanted} bytes "
            f"({tensor_type.label} {format_dims(dims)}){_size_hint(data, dims)}"
        )
    return Tensor(dims, tensor_type, memoryview(data))


def read_bytes(path: Path) -> bytes:
    """A file's content. Raises ConfigError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _size_hint(data: bytes, dims: tuple[int, ...]) -> str:
    count, size = element_count(dims), len(data)
    if count and size % count == 0 and (width := size // count) in (1, 2, 4, 8):
        return f"; that is {width} {'byte' if width == 1 else 'bytes'} an element: is it of another type?"
    if data and _is_text(data[:1024]):
        return "; is it text, not a tensor?"
    if size and size * 8 < count:
        return "; is it a picture, not a tensor?"
    return ""


def _is_text(begin: bytes) -> bool:
    try:
        letters = begin.decode("utf-8", errors="strict" if len(begin) < 1024 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\t\r\n" for letter in letters)


def _unreadable(path: Path, error: OSError) -> ConfigError:
    if isinstance(error, FileNotFoundError):
        return ConfigError(f"there is no file {str(path)!r}")
    if isinstance(error, IsADirectoryError):
        return ConfigError(f"{str(path)!r} is a folder; give the files in it, as in {path}/*.png")
    return ConfigError(f"cannot read {path}: {error.strerror}")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
