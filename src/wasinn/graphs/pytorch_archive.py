# SPDX-License-Identifier: Apache-2.0
"""The zip archives of PyTorch: which of them are models, and where things are in them.

torch.jit.save writes `NAME/code/...` and `NAME/constants.pkl`; torch.save, which writes weights and
pickled objects, never does. torch.export.save writes `NAME/archive_format` and `NAME/models/model.json`
(torch/export/pt2_archive/constants.py), and before PyTorch 2.7 `serialized_exported_program.json`.
"""

from __future__ import annotations

from collections.abc import Iterable

OLD_PROGRAM = "serialized_exported_program.json"


def kind(names: Iterable[str]) -> str | None:
    """`TorchScript` or `exported program`, by the names of an archive's entries, or None."""
    inner = set()
    for name in names:
        if name == OLD_PROGRAM:
            return "exported program"
        folder, _, rest = name.partition("/")
        if folder:
            inner.add(rest)
    if "archive_format" in inner:
        return "exported program" if any(map(is_program, inner)) else None
    if "data.pkl" in inner and ("constants.pkl" in inner or any(each.startswith("code/") for each in inner)):
        return "TorchScript"
    return None


def is_program(inner: str) -> bool:
    """Whether an entry, without the archive's own folder, is an exported program."""
    return inner.startswith("models/") and inner.endswith(".json")
