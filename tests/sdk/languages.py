# SPDX-License-Identifier: Apache-2.0
"""The languages that have an SDK, and their guests, each built once for all processes of the tests."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "sdk"
WIT = ROOT / "src" / "wasinn" / "shipped" / "wit"
BUILT = ROOT / "build" / "sdk"

#: The guests of `guests/`, and those of the tests.
COMMANDS = ("classify", "segment", "batch", "serve")
TEST_COMMANDS = ("tensor", "mistakes", "echo")
#: The guests of language models, which are built together apart from the others: they import more.
TALKING_COMMANDS = ("chat", "embed")
#: What builds leave behind, and what is no source.
_NO_SOURCES = {"__pycache__", "node_modules", "target", "build", "Cargo.lock"}


@dataclass(frozen=True)
class Language:
    """A language: the name of its folders in `sdk`, `guests` and `tests/sdk`, and the module in `guests` that
    builds.

    `together`: all guests are in one file, and the first argument says which is to run; a component with an
    interpreter in it takes half a minute to build. `deadline`: seconds that a guest may run. `slow`: how much
    fewer cases the tests with chance take.
    """

    name: str
    builder: str
    together: bool = False
    deadline: float = 60
    slow: int = 1

    def __str__(self) -> str:
        return self.name

    def unavailable(self) -> str | None:
        """Why guests cannot be built here; None where they can."""
        reason: str | None = _builder(self.builder).unavailable()
        return reason

    def require(self) -> None:
        """Skips where guests cannot be built; fails where all is to be tested (WASINN_REQUIRE_GUESTS)."""
        reason = _unavailable(self)
        if reason is None:
            return
        if os.environ.get("WASINN_REQUIRE_GUESTS"):
            pytest.fail(reason)
        pytest.skip(reason)

    def command(self, name: str) -> tuple[Path, list[str]]:
        """The guest, from `build/` if it is there for the sources as they are, and its first arguments."""
        if self.together:
            return _build(self, "talking" if name in TALKING_COMMANDS else "guests"), [name]
        return _build(self, name), []

    def source(self, name: str) -> Path:
        """The file or the folder of a guest of the tests. Raises FileNotFoundError."""
        folder = HERE / self.name
        found = sorted(each for each in folder.glob("*") if each.stem == name)
        if not found:
            raise FileNotFoundError(f"{self.name} has no guest {name!r} in {folder}")
        return found[0]


LANGUAGES = (
    Language("c", "build"),
    Language("rust", "build_rust"),
    Language("python", "build_python", together=True, deadline=300, slow=4),
    Language("assemblyscript", "build_assemblyscript"),
)


@functools.cache
def _builder(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "guests"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "guests"))


@functools.cache
def _unavailable(language: Language) -> str | None:
    return language.unavailable()


@functools.cache
def _build(language: Language, name: str) -> Path:
    target = BUILT / f"{language.name}-{_digest(language)}" / f"{name}.wasm"
    if target.exists():
        return target
    with _locked(language.name):
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        # Aside and then moved: whoever is interrupted leaves no half of a guest.
        with tempfile.TemporaryDirectory(dir=BUILT) as aside:
            _made(language, name, Path(aside)).replace(target)
    return target


def _made(language: Language, name: str, out: Path) -> Path:
    builder: Any = _builder(language.builder)
    if language.together and name == "talking":
        sources = {each: ROOT / "guests" / language.name / each for each in TALKING_COMMANDS}
        return Path(builder.build_together(sources, out / f"{name}.wasm"))
    if language.together:
        sources = {each: ROOT / "guests" / language.name / each for each in COMMANDS}
        sources |= {each: language.source(each) for each in TEST_COMMANDS}
        return Path(builder.build_together(sources, out / f"{name}.wasm"))
    if name in COMMANDS + TALKING_COMMANDS:
        return Path(builder.build(name, out))
    return Path(builder.build_file(language.source(name), out))


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Holds the lock of a language: what is built is built by one process, and the others wait for it."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(language: Language) -> str:
    """Of all that the guests of a language are made from, so that none of them is older than its sources."""
    digest = hashlib.sha256()
    for file in _sources(language):
        digest.update(f"{file.relative_to(ROOT)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _sources(language: Language) -> list[Path]:
    folders = [ROOT / part / language.name for part in ("sdk", "guests", "tests/sdk")]
    found = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    found = [file for file in found if not _NO_SOURCES & set(file.relative_to(ROOT).parts)]
    return sorted([*found, *(ROOT / "guests").glob("*.py"), *WIT.glob("*.wit")])
