# SPDX-License-Identifier: Apache-2.0
"""The tensors of a request as files in a folder, for a guest that was made to read files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from wasinn.oip.messages import WireTensor
from wasinn.serve.errors import ServeError
from wasinn.serve.guest_messages import strings

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
    if tensor.datatype != "BYTES":
        return tensor.data
    found = strings(tensor.data, 2)
    if len(found) != 1:
        count = 1
        for dim in tensor.shape:
            count *= dim
        raise ServeError(
            400,
            f"the input {tensor.name!r} is of {count} elements of BYTES, and this guest reads one as a file",
        )
    return found[0]


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
