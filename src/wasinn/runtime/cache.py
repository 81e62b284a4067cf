# SPDX-License-Identifier: Apache-2.0
"""Compiled guests, kept in a directory that only their user can write.

A cache file is native code: it is loaded only from a directory that belongs to this user and that
nobody else can write. The key is everything that changes the code; wasmtime itself refuses code of
another version or for other processor features, and then the guest is compiled anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import platform
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import wasmtime
import wasmtime.component

from wasinn.runtime import forked

logger = logging.getLogger("wasinn.host")

Compiled = TypeVar("Compiled", wasmtime.Module, wasmtime.component.Component)

#: When the directory grows beyond this many bytes, the files used longest ago go.
MAX_BYTES = 1 << 30


def default_directory() -> Path:
    """`$WASINN_CACHE_DIR`, else `wasinn` below the user's cache directory."""
    chosen = os.environ.get("WASINN_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wasinn"


class CompileCache:
    """Compiles modules and components, and remembers. `directory` None means: compile every time."""

    def __init__(self, directory: Path | None, engine_key: str) -> None:
        self._directory = directory
        self._engine_key = (
            f"{engine_key} wasmtime-{importlib.metadata.version('wasmtime')} {platform.machine()}"
        )
        self._checked = False

    def module(self, engine: wasmtime.Engine, wasm: bytes) -> wasmtime.Module:
        """The module of `wasm`, from the cache or compiled. Raises wasmtime.WasmtimeError."""
        return self._get(
            self._path("", wasm),
            lambda path: wasmtime.Module.deserialize_file(engine, path),
            lambda: wasmtime.Module(engine, wasm),
        )

    def component(
        self,
        engine: wasmtime.Engine,
        wasm: bytes,
        variant: str,
        compile_component: Callable[[], wasmtime.component.Component],
    ) -> wasmtime.component.Component:
        """The component of `wasm`, from the cache or by `compile_component`, whose result depends on the
        engine, `wasm` and what `variant` names. Raises wasmtime.WasmtimeError."""
        return self._get(
            self._path(f"component {variant}", wasm),
            lambda path: wasmtime.component.Component.deserialize_file(engine, path),
            compile_component,
        )

    def _get(
        self, path: Path | None, load: Callable[[str], Compiled], make: Callable[[], Compiled]
    ) -> Compiled:
        if path is not None and path.exists():
            with contextlib.suppress(wasmtime.WasmtimeError):
                compiled = load(str(path))
                with contextlib.suppress(OSError):
                    os.utime(path)
                return compiled
        forked.use(forked.COMPILING)
        compiled = make()
        if path is not None:
            self._store(path, compiled)
        return compiled

    def _path(self, variant: str, wasm: bytes) -> Path | None:
        directory = self._usable_directory()
        if directory is None:
            return None
        digest = hashlib.sha256(f"{self._engine_key} {variant}".rstrip().encode() + b"\0")
        digest.update(wasm)
        return directory / f"{digest.hexdigest()}.cwasm"

    def _usable_directory(self) -> Path | None:
        if self._directory is None or self._checked:
            return self._directory
        self._checked = True
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._directory.stat()
            if hasattr(os, "getuid") and (
                found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            ):
                raise OSError("others can write to it, and it would hold native code")
        except (OSError, RuntimeError) as error:
            logger.warning("the compile cache %s is not used: %s", self._directory, error)
            self._directory = None
        return self._directory

    def _store(self, path: Path, compiled: wasmtime.Module | wasmtime.component.Component) -> None:
        written: str | None = None
        try:
            code = compiled.serialize()
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                written = file.name
                file.write(code)
            os.replace(written, path)
        except (OSError, wasmtime.WasmtimeError) as error:
            logger.warning("could not keep a compiled guest in %s: %s", path.parent, error)
            if written is not None:
                with contextlib.suppress(OSError):
                    os.unlink(written)
            return
        # Another process may prune the same directory: what it took is gone already.
        with contextlib.suppress(OSError):
            _prune(path.parent)


def _prune(directory: Path) -> None:
    files = sorted(
        (entry.stat().st_mtime, entry.stat().st_size, entry) for entry in directory.glob("*.cwasm")
    )
    total = sum(size for _, size, _ in files)
    for _, size, entry in files:
        if total <= MAX_BYTES:
            return
        entry.unlink(missing_ok=True)
        total -= size
