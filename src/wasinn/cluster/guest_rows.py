# SPDX-License-Identifier: Apache-2.0
"""Rows answered by a guest: a fresh run for each, with the row in its arguments, its stdin or files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wasinn.cluster.rows import Answer, Column, Failure, Row
from wasinn.errors import ConfigError
from wasinn.graphs.permissions import Permissions
from wasinn.graphs.source import GraphSource
from wasinn.runtime.embedding import Host
from wasinn.runtime.limits import Limits
from wasinn.runtime.outcome import RunResult
from wasinn.runtime.wasi import Directory

#: Where a guest finds the files of its row.
ROW_FOLDER = "/row"
#: `{column}` in an argument, and the two ways to write a brace.
_PLACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
#: So much of what a guest wrote to stderr is kept, in characters; its end says why it failed.
_MOST_STDERR = 4000


@dataclass(frozen=True)
class GuestJob:
    """A guest and what it runs with; it can be sent to another process.

    `wasm` is the guest's content and `name` what it is called. `args` may have `{column}` in them, `stdin` is
    a column, and `files` maps names in the folder /row to columns. `output`: whether stdout becomes text or
    bytes.
    """

    wasm: bytes
    name: str
    graphs: Mapping[str, GraphSource] = field(default_factory=dict)
    permissions: Permissions | None = None
    backends: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    args: tuple[str, ...] = ()
    stdin: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    dirs: tuple[Directory, ...] = ()
    output: Literal["text", "bytes"] = "text"

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if not all(isinstance(each, str) for each in self.args):
            raise ConfigError(f"args is a list of texts, not {self.args!r}")
        for text in self.args:
            _columns_of(text)
        for name in self.files:
            if not name or name in (".", "..") or "/" in name or "\0" in name:
                raise ConfigError(f"files: {name!r} is no name of a file; each comes to lie in {ROW_FOLDER}")
        if self.output not in ("text", "bytes"):
            raise ConfigError(f'output must be "text" or "bytes", got {self.output!r}')

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that it reads."""
        named = [column for text in self.args for column in _columns_of(text)]
        return tuple(dict.fromkeys([*named, *([self.stdin] if self.stdin else []), *self.files.values()]))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that it adds."""
        return (Column("exit_code", "int"), Column("stdout", self.output), Column("stderr", "text"))


class GuestRows:
    """Answers rows with one guest, compiled once, on graphs that are loaded once. Used by one thread.

    Raises GuestError for what is no guest, WasiNNError for a graph that cannot be loaded, and ConfigError.
    """

    def __init__(self, job: GuestJob) -> None:
        self.columns, self.needed = job.columns, job.needed
        self._job = job
        for directory in job.dirs:
            if not directory.host.is_dir():
                raise ConfigError(f"there is no directory {str(directory.host)!r}")
        self._host = Host(job.graphs, job.permissions, job.backends, job.limits)
        self._host.preload()
        self._guest = self._host.guest(job.wasm, fuel=job.limits.fuel is not None)
        self._guest.name = job.name

    def close(self) -> None:
        self._host.close()

    def answer(self, rows: Sequence[Row]) -> list[tuple[Answer, Failure | None]]:
        if not self._job.files:
            return [self._answer(row, None) for row in rows]
        # A folder for each call: Ray ends its actors without a word, and none is to be left behind.
        with tempfile.TemporaryDirectory(prefix="wasinn-rows-") as folder:
            return [self._answer(row, Path(folder)) for row in rows]

    def _answer(self, row: Row, folder: Path | None) -> tuple[Answer, Failure | None]:
        job = self._job
        try:
            args = [_filled(text, row) for text in job.args]
            stdin = b"" if job.stdin is None else _content(job.stdin, row)
            dirs = job.dirs
            if folder is not None:
                dirs = (*dirs, Directory(folder, ROW_FOLDER))
                for name, column in job.files.items():
                    (folder / name).write_bytes(_content(column, row))
            # Only the row's own texts can be wrong here: the rest was checked when it was made.
            result = self._host.run(self._guest, args, dirs=dirs, env=job.env, stdin=stdin)
        except ConfigError as error:
            return {}, Failure("input", str(error))
        return self._values(result), _failure_of(result)

    def _values(self, result: RunResult) -> Answer:
        text = self._job.output == "text"
        return {
            "exit_code": result.exit_code,
            "stdout": result.stdout.decode(errors="replace") if text else result.stdout,
            "stderr": result.stderr.decode(errors="replace")[-_MOST_STDERR:],
        }


def guest_job(job: GuestJob, threads: int) -> GuestJob:
    """With so many threads for each graph that says nothing of them."""
    graphs = {name: with_threads(source, threads) for name, source in job.graphs.items()}
    return replace(job, graphs=graphs)


def with_threads(source: GraphSource, threads: int) -> GraphSource:
    """A graph whose compute keeps to the cores of its actor, unless its options say otherwise."""
    if source.options.threads is not None:
        return source
    return replace(source, options=replace(source.options, threads=threads))


def _failure_of(result: RunResult) -> Failure | None:
    if result.trap is not None:
        return Failure(result.limit or result.trap.kind, str(result.trap))
    if result.exit_code:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        return Failure("exit", f"exit code {result.exit_code}" + (f": {said[-1]}" if said else ""))
    return None


def _columns_of(text: str) -> list[str]:
    """The columns that an argument names. Raises ConfigError for a brace that stands alone."""
    found = []
    for match in _PLACES.finditer(text):
        if match[0] in ("{", "}") or match[1] == "":
            raise ConfigError(f"the argument {text!r} has a brace without a column; {{{{ is a brace itself")
        if match[1] is not None:
            found.append(match[1])
    return found


def _filled(text: str, row: Row) -> str:
    def value(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else _text(match[1], row)

    return _PLACES.sub(value, text)


def _text(column: str, row: Row) -> str:
    value = row[column]
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ConfigError(
                f"column {column!r} is {len(value)} bytes that are no text; give them as stdin or a file"
            ) from None
    if isinstance(value, bool | int | float | np.generic):
        return str(value)
    raise ConfigError(f"column {column!r} has {_said(value)}, which is no argument")


def _content(column: str, row: Row) -> bytes:
    """What stdin or a file gets: bytes, text as UTF-8, or an array's numbers, row-major and little-endian.
    Raises ConfigError."""
    value: Any = row[column]
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
    raise ConfigError(
        f"column {column!r} has {_said(value)}; wanted are bytes, a text or an array of numbers"
    )


def _said(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    kind = f" of {value.dtype}" if isinstance(value, np.ndarray) else ""
    return f"a {type(value).__name__}{kind}"
