# SPDX-License-Identifier: Apache-2.0
"""`wasinn new NAME --lang LANGUAGE`: makes the folder of a new guest, from a template and the SDK."""

from __future__ import annotations

import argparse
import keyword
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from wasinn import shipped
from wasinn.cli.common import Subparsers
from wasinn.errors import ConfigError

LANGUAGES = {"c": "C", "rust": "Rust", "python": "Python", "assemblyscript": "AssemblyScript"}

#: What stands for the name in a template's files and in their names.
_PLACE = "@NAME@"
#: A name that is a crate, a package of npm, a file and a C identifier once its dashes are underscores.
_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_MAX_NAME = 60
#: Names that mean something else to Cargo, to npm or in the folder itself.
_TAKEN = frozenset({"sdk", "wasinn", "build", "target", "deps", "examples", "incremental", "node_modules"})
#: Rust's keywords and its own crates, which no crate may be called.
_RUST = (
    "abstract alloc as async await become box break const continue core crate do dyn else enum extern false "
    "final fn for gen if impl in let loop macro match mod move mut override priv proc_macro pub ref return "
    "self static std struct super test trait true try type typeof unsafe unsized use virtual where while "
    "yield"
)
#: What building and testing leave in a checkout, and the SDK's own tests.
_LEFT_OUT = frozenset(
    {"node_modules", "target", "build", "dist", "__pycache__", ".git", ".pytest_cache", "Cargo.lock"}
)
_ENDINGS = (".wasm", ".o", ".a", ".pyc", ".egg-info")

_EPILOG = """\
NAME is the folder to make; its last part is the guest's name: small letters, digits, and - or _ between
them, from a letter on. The folder holds a guest that classifies a picture, a test of it, and the SDK.

examples:
  wasinn new digits --lang c
  wasinn new guests/street-signs --lang rust
"""


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "new",
        help="start a guest: a folder that builds, with the SDK",
        description="Makes the folder of a new guest, from a template and the guest SDK of its language.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("name", metavar="NAME", help="the folder to make, called as the guest")
    parser.add_argument("--lang", required=True, choices=LANGUAGES, help="the guest's language")


def run(options: argparse.Namespace) -> int:
    folder = Path(options.name)
    make(folder, options.lang)
    print(f"made {folder}, a guest in {LANGUAGES[options.lang]}; what to do next is in its README.md:\n")
    print(f"    cd {folder}")
    for line in next_steps(folder):
        print(f"    {line}")
    return 0


def make(folder: Path, language: str) -> None:
    """Makes a guest's folder, or fills an empty one. Raises ConfigError, and then nothing was made but for
    what an error of the file system left."""
    name = folder.name
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise ConfigError(
            f"{name!r} cannot be a guest's name: that is made of small letters and digits, with - or _ "
            f"between them, begins with a letter and has {_MAX_NAME} characters at most; as in street-signs"
        )
    if name in _TAKEN or keyword.iskeyword(name) or name in _RUST.split():
        raise ConfigError(f"{name!r} cannot be a guest's name: it means something to a compiler; add a word")
    template, sdk = shipped.TEMPLATES / language, shipped.SDK / language
    for each in (template, sdk):
        if not each.is_dir():
            raise ConfigError(f"this installation of wasinn is incomplete: it has no {each}")
    try:
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise ConfigError(f"{folder} is there already, and not an empty folder: nothing was changed")
        if not folder.parent.is_dir():
            raise ConfigError(f"there is no folder {folder.parent} in which to make {name}")
        folder.mkdir(exist_ok=True)
        for source in _files(template):
            _copy(source, folder / str(source.relative_to(template)).replace(_PLACE, name), name)
        for source in _files(sdk):
            # The SDK's tests need the project around them.
            place = source.relative_to(sdk)
            if place.parts[0] != "tests":
                _copy(source, folder / "sdk" / place, None)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror or error}: {error.filename}") from error


def next_steps(folder: Path) -> list[str]:
    """The commands to type in a guest's new folder: those of its README, up to the block that runs it."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except OSError:
        return []
    steps: list[str] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        # What stands behind no prompt is what comes out.
        steps += [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
        if any(line.startswith("wasinn run") for line in steps):
            break
    return steps


def _files(root: Path) -> Iterator[Path]:
    """The files below a folder that are its source, sorted."""
    for path in sorted(root.iterdir()):
        if path.name in _LEFT_OUT or path.name.endswith(_ENDINGS):
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path


def _copy(source: Path, target: Path, name: str | None) -> None:
    """Copies a file with its mode; with a `name`, that stands in it for the template's place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    content = source.read_bytes()
    if name is not None:
        content = content.replace(_PLACE.encode(), name.encode())
    target.write_bytes(content)
    shutil.copymode(source, target)
    # An installed file may be read-only, and a guest's author is to edit it.
    target.chmod(target.stat().st_mode | 0o200)
