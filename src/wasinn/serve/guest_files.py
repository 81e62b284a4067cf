# SPDX-License-Identifier: Apache-2.0
"""The tensors of a request as files in a folder, for a guest that was made to read files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from wasinn.oip.datatypes import count, walk_bytes
from wasinn.oip.messages import WireTensor
from wasinn.serve.errors import ServeError

#: Where the guest sees the folder.
FOLDER = "/request"
_LONGEST_NAME = 255


def check_names(tensors: Sequence[WireTensor]) -> None:
    """Whether each tensor's name can be that of a file. Raises ServeError."""
    for each in tensors:
        name = each.name
        if name in ("", ".", "..") or "/" in name or not name.isprintable():
            raise ServeError(400, f"the input {name!r} cannot be the name of a file, which this guest reads")
        if len(name.encode(errors="replace")) > _LONGEST_NAME:
            raise ServeError(400, f"the name of an input is longer than {_LONGEST_NAME} bytes")


def write_files(tensors: Sequence[WireTensor]) -> Path:
    """A new folder with a file for each tensor: raw bytes, or of BYTES the content of its one element.

    Raises ServeError. `remove` deletes it.
    """
    folder = Path(tempfile.mkdtemp(prefix="wasinn-request-"))
    try:
        for each in tensors:
            (folder / each.name).write_bytes(_content(each))
    except BaseException:
        remove(folder)
        raise
    return folder


def _content(tensor: WireTensor) -> bytes | memoryview:
    """What its file holds. The data of a request were held against its shape when it was decoded."""
    if tensor.datatype != "BYTES":
        return tensor.data
    elements = count(tensor.shape)
    if elements != 1:
        raise ServeError(
            400,
            f"the input {tensor.name!r} is of {elements} elements of BYTES, and this guest reads one as a "
            "file",
        )
    return next(iter(walk_bytes(tensor.data)))


def remove(folder: Path) -> None:
    """Deletes a folder of `write_files`, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
