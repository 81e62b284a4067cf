# SPDX-License-Identifier: Apache-2.0
"""What comes with wasinn: small guests, models and pictures, named `@NAME` on a command line."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent


def resolve(text: str, kind: str) -> Path:
    """The path `text`, or for `@NAME` the shipped file of that name (or stem) in the folder `kind`.

    Raises FileNotFoundError, with the list of names, for an `@NAME` that is not shipped.
    """
    if not text.startswith("@"):
        return Path(text)
    known = {path.name: path for path in sorted((ROOT / kind).iterdir()) if path.suffix != ".md"}
    stems = {path.stem: path for path in known.values()}
    found = known.get(text[1:]) or stems.get(text[1:])
    if found is None:
        names = ", ".join("@" + stem for stem in sorted(stems))
        raise FileNotFoundError(f"wasinn ships no {kind[:-1]} {text!r}; it ships: {names}")
    return found
