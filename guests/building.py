# SPDX-License-Identifier: Apache-2.0
"""The command line of the scripts that build guests: names, and where the files go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def command_line(
    language: str,
    names: Sequence[str],
    build: Callable[[str, Path], Path],
    unavailable: Callable[[], str | None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Build the guests that the arguments name, all of `names` by default; 0, or 1 where one cannot be built.

    `build(name, out)` gives the path of the file, or raises RuntimeError; `unavailable()` why nothing can be
    built here."""
    parser = argparse.ArgumentParser(description=f"Build the guests in {language}.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(names)}")
    parser.add_argument("--out", type=Path, default=Path("."), help="default: the current directory")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in names:
            parser.error(f"there is no guest {name!r}: there are {', '.join(names)}")
    reason = unavailable()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    try:
        for name in options.names or names:
            path = build(name, options.out)
            print(f"{path.stat().st_size:8} {path}")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
