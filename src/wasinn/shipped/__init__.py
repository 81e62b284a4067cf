# SPDX-License-Identifier: Apache-2.0
"""What comes with wasinn: small guests, models and pictures, named `@NAME` on a command line.

NAME is a file's name, a directory's, or either without its ending. Where several files differ in the
ending alone, the bare name means the ONNX one: `@digits` is digits.onnx, `@digits.pb` is named in full.

And what `wasinn new` copies: `templates`, a folder for each language, and `sdk`, the guest SDKs. In a
checkout the latter is a link to the folder of that name at the top.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent

#: The SDKs, a folder for each language. Where a checkout has no links, the folder itself.
SDK = ROOT / "sdk" if (ROOT / "sdk").is_dir() else ROOT.parents[2] / "sdk"
TEMPLATES = ROOT / "templates"

#: The ending that a bare name means where several files share it.
_FIRST = ".onnx"
#: What lies beside a model has no bare name, and is not listed.
_BESIDE = ".contract.toml"


def resolve(text: str, kind: str) -> Path:
    """The path `text`, or for `@NAME` the shipped file or directory of that name in the folder `kind`.

    Raises FileNotFoundError, with the list of names, for an `@NAME` that is not shipped.
    """
    if not text.startswith("@"):
        return Path(text)
    names = _names(kind)
    found = names.get(text[1:])
    if found is None:
        listed = ", ".join("@" + name for name in _shortest(names))
        raise FileNotFoundError(f"wasinn ships no {kind[:-1]} {text!r}; it ships: {listed}")
    return found


def _names(kind: str) -> dict[str, Path]:
    """Every name that can be typed: the full ones, and the bare ones that mean one file."""
    paths = [path for path in sorted((ROOT / kind).iterdir()) if path.suffix not in (".md", ".py")]
    bare: dict[str, list[Path]] = {}
    for path in paths:
        if not path.name.endswith(_BESIDE):
            bare.setdefault(path.stem, []).append(path)
    names = {path.name: path for path in paths}
    for stem, found in bare.items():
        meant = found if len(found) == 1 else [path for path in found if path.suffix == _FIRST]
        if len(meant) == 1:
            names.setdefault(stem, meant[0])
    return names


def _shortest(names: dict[str, Path]) -> list[str]:
    """The shortest name of each file, sorted."""
    short: dict[Path, str] = {}
    for name, path in names.items():
        if name.endswith(_BESIDE):
            continue
        if len(name) < len(short.get(path, name + ".")):
            short[path] = name
    return sorted(short.values())
