# SPDX-License-Identifier: Apache-2.0
"""What a PyTorch file is, by the entries of its archive, before PyTorch reads it.

TorchScript and exported programs (.pt2) are zip archives, and so is what `torch.save` writes; only the
first two hold a graph. A pickle is never run: neither that of a state_dict or a module, which are refused,
nor those that an exported program may have inside. `torch.export.load` falls back to unpickling without
limits where the safe way fails (measured with a crafted file, which ran a command), so every pickle
inside is first read the safe way, with the reader that PyTorch will use, and the file refused if that
fails.

That is no sandbox. An exported program has expressions that PyTorch evaluates as Python (a guard ran a
command, measured), and TorchScript can read and write files: a PyTorch file is trusted, or it is not
loaded. Guests' bytes are refused by default for this reason (graphs/permissions.py).
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from wasinn.backends.common import one_line
from wasinn.errors import WasiNNError, unsupported
from wasinn.spec import ErrorCode

Source = Path | bytes

TORCHSCRIPT, EXPORTED = "TorchScript", "an exported program"

_CONVERT = (
    "save the model with its graph: torch.jit.save(torch.jit.trace(model, inputs), path), or "
    "torch.export.save(torch.export.export(model, inputs), path)"
)

#: The entry that only the format of PyTorch 2.7 and older has.
_OLD_PROGRAM = "serialized_exported_program.json"
_PROGRAM = "models/model.json"
_PICKLES = ("data/sample_inputs/model.pt", "data/weights/model.pt", "data/constants/model.pt")
_WEIGHTS, _CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"


def opened(source: Source) -> BinaryIO:
    """A file object over a model. Raises OSError."""
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def kind(source: Source) -> str:
    """TORCHSCRIPT or EXPORTED.

    Raises WasiNNError: invalid_encoding for what is no PyTorch archive or has no graph in it, with the way
    to convert it; unsupported_operation for a compiled package. OSError for a file that cannot be read.
    """
    entries = entries_of(source)
    names = {entry.partition("/")[2] for entry in entries}
    if any(name.startswith("data/aotinductor/") for name in names):
        raise unsupported(
            "this .pt2 is a package of AOTInductor: native code for one kind of machine, which no check "
            "could hold; load the exported program that it was compiled from"
        )
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return TORCHSCRIPT
    if _PROGRAM in names or _OLD_PROGRAM in entries:
        return EXPORTED
    if "data.pkl" in names:
        raise _no_graph("this is a pickle that torch.save wrote (a state_dict, or a whole module)")
    raise _no_graph("this zip archive has neither TorchScript's entries nor an exported program's")


def entries_of(source: Source) -> frozenset[str]:
    """The names in the archive. Raises WasiNNError (invalid_encoding) for what is none."""
    with opened(source) as file:
        head = file.read(4)
        if head[:2] == b"\x80\x02":  # protocol 2: torch.save before PyTorch 1.6
            raise _no_graph("this is a pickle (an old torch.save)")
        if head != b"PK\x03\x04":
            raise WasiNNError(
                ErrorCode.INVALID_ENCODING,
                f"this is no PyTorch model, which would be a zip archive: it begins with {head!r}",
            )
        try:
            with zipfile.ZipFile(file) as archive:
                return frozenset(archive.namelist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise WasiNNError(
                ErrorCode.INVALID_ENCODING,
                f"this zip archive is damaged, or cut off at its end: {one_line(error)}",
            ) from error


def _no_graph(what: str) -> WasiNNError:
    return WasiNNError(
        ErrorCode.INVALID_ENCODING, f"{what}: it holds no graph, and is not unpickled; {_CONVERT}"
    )


# -- exported programs ------------------------------------------------------------------------------


def check_pickles(source: Source) -> None:
    """That every pickle which `torch.export.load` would read can be read without running code.

    Raises WasiNNError (unsupported_operation), naming the entry.
    """
    import torch

    with opened(source) as file:
        if _OLD_PROGRAM in entries_of(source):
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    if name.endswith(".pt"):
                        _check_pickle(name, archive.read(name))
            return
        # Two readers of zip archives may find different entries in a crafted one: ask PyTorch's own.
        reader: Any = torch._C.PyTorchFileReader(file)  # type: ignore[arg-type,unused-ignore]
        if [name for name in reader.get_all_records() if name.startswith("models/")] != [_PROGRAM]:
            raise unsupported("this .pt2 has several programs; save one with torch.export.save")
        for name in _PICKLES:
            if reader.has_record(name):
                _check_pickle(name, reader.get_record(name))
        for name in (_WEIGHTS, _CONSTANTS):
            if reader.has_record(name):
                _check_payloads(name, json.loads(reader.get_record(name)))


def _check_payloads(name: str, config: Any) -> None:
    """That weights or constants are numbers, each in an entry of its own."""
    for key, payload in config.get("config", {}).items():
        path = str(payload.get("path_name", ""))
        if name == _CONSTANTS and path.startswith("custom_obj_"):
            continue  # an object of a C++ class: what reads its pickle is C++, and knows no Python
        if payload.get("use_pickle") or path.startswith("opaque_obj_"):
            raise unsupported(
                f"{one_line(key)!r} of {name!r} is of a Python class, which only a pickle can make; export "
                "the model with plain tensors"
            )


def _check_pickle(name: str, data: bytes) -> None:
    import torch

    if not data:
        return
    try:
        torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:
        raise unsupported(
            f"the entry {name!r} is a pickle that could run code, and is not unpickled: "
            f"{type(error).__name__}; export the model anew, with tensors alone as example inputs"
        ) from error
