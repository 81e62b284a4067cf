# SPDX-License-Identifier: Apache-2.0
"""Reading a record's tensors, whoever wrote them: nothing is believed before it is held against the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.spec import TensorType
from wasinn.tensors import MAX_RANK, Tensor, element_count, format_dims

Array = np.ndarray[Any, Any]


def text(table: Mapping[str, Any], key: str) -> str:
    """The text under `key`. Raises ValueError."""
    value = table.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is {value!r}, not text")
    return value


def read_tensor(folder: Path, row: Mapping[str, Any]) -> tuple[str, TensorType, Array]:
    """The name, type and numbers of a tensor, as a row of `record.json` says. Raises ValueError, OSError."""
    name, kind, file = text(row, "name"), TensorType.parse(text(row, "type")), text(row, "file")
    if Path(file).name != file or file in ("", ".", ".."):
        raise ValueError(f"file {file!r} is not the name of a file in the folder")
    dims = row.get("dims")
    if not isinstance(dims, list) or len(dims) > MAX_RANK:
        raise ValueError(f"dims {dims!r} are not a list of numbers")
    if not all(type(dim) is int and dim >= 0 for dim in dims):
        raise ValueError(f"dims {dims!r} are not whole numbers from 0")
    place = folder / file
    if not place.is_file():
        raise ValueError(f"there is no file {file}")
    size = place.stat().st_size
    if element_count(dims) * kind.size > size:  # before NumPy makes room for what is not there
        raise ValueError(f"{file} has {size} bytes, too few for {kind.label} {format_dims(dims)}")
    try:
        array = np.load(place, allow_pickle=False)
    except Exception as error:  # a header that was damaged gives errors of many kinds, tokenize's too
        raise ValueError(f"{file} is not a .npy file that can be read: {error}") from None
    wanted = Tensor((0,), kind, memoryview(b"")).numpy().dtype
    if not isinstance(array, np.ndarray) or array.dtype != wanted or array.shape != tuple(dims):
        found = f"{array.dtype} {format_dims(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"{file} holds {found}, not {wanted} {format_dims(dims)}")
    return name, kind, array
