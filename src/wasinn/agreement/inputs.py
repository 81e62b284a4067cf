# SPDX-License-Identifier: Apache-2.0
"""What `wasinn compare` gives to every side: pictures, folders of them, and tensors from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wasinn.errors import ConfigError
from wasinn.runtime.feeds import kind_of

#: The names of picture files; in a folder everything else is passed over.
PICTURE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)


@dataclass(frozen=True)
class Input:
    """A file, and the name under which it is reported. `picture` False is a tensor, given as it is."""

    name: str
    path: Path
    picture: bool


def gather(texts: Sequence[str]) -> list[Input]:
    """The inputs that were named, in that order; of a folder its pictures, sorted by name, without its
    folders. Raises ConfigError for what is not there, and for a folder without pictures."""
    found: list[tuple[Path, bool]] = []
    for text in texts:
        path = Path(text)
        if path.is_dir():
            inside = sorted(
                each for each in path.iterdir() if each.suffix.lower() in PICTURE_SUFFIXES and each.is_file()
            )
            if not inside:
                known = ", ".join(sorted(suffix[1:] for suffix in PICTURE_SUFFIXES))
                raise ConfigError(f"the folder {text!r} has no pictures ({known})")
            found += [(each, True) for each in inside]
        else:
            found.append((path, kind_of(path) == "picture"))
    seen: dict[str, int] = {}
    for path, _ in found:
        seen[path.name] = seen.get(path.name, 0) + 1
    # A name that comes twice is told apart by its folder.
    return [Input(path.name if seen[path.name] == 1 else str(path), path, kind) for path, kind in found]
