# SPDX-License-Identifier: Apache-2.0
"""Rows that end the process which answers them.

A process that is killed is started again and gets the same rows. Were one of these to blame (a picture too
large for the memory, a model that crashes its runtime), that would go on for ever. So what is being worked on
is noted in files that outlive the process: rows during which it died twice are answered one by one, and one
during which it died twice more is a failure of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wasinn.cluster.rows import Answer, Answering, Column, Failure, Row

#: So often a process may die during the same rows before they are looked at one by one, and during one row
#: before that is given up.
MOST = 2


class Guarded:
    """What answers rows, with an eye on those that end the process. `job` names the job, the same in each of
    its processes on this machine."""

    def __init__(self, answering: Answering, job: str) -> None:
        self._answering = answering
        self._folder = Path(tempfile.gettempdir()) / f"wasinn-{job}"

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._answering.columns

    @property
    def needed(self) -> tuple[str, ...]:
        return self._answering.needed

    def close(self) -> None:
        self._answering.close()

    def answer(self, rows: Sequence[Row]) -> list[tuple[Answer, Failure | None]]:
        if not rows:
            return []
        digests = [_digest(row) for row in rows]
        batch = "rows-" + hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()
        marks = [batch]
        try:
            if self._begun(batch) < MOST:
                self._begin(batch)
                return self._answering.answer(rows)
            answers: list[tuple[Answer, Failure | None]] = []
            for row, digest in zip(rows, digests, strict=True):
                mark = f"row-{digest}"
                marks.append(mark)
                if self._begun(mark) >= MOST:
                    answers.append(({}, _crash()))
                    continue
                self._begin(mark)
                answers += self._answering.answer([row])
                self._end([mark])
            return answers
        finally:
            self._end(marks)  # also where an exception ends the job; not where the process dies

    def _begun(self, mark: str) -> int:
        """How often work under this mark was begun and not ended."""
        try:
            return (self._folder / mark).stat().st_size
        except FileNotFoundError:
            return 0

    def _begin(self, mark: str) -> None:
        while True:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            # Another process may have ended its last mark, and the folder with it, in between.
            with contextlib.suppress(FileNotFoundError), (self._folder / mark).open("ab") as file:
                file.write(b".")
                return

    def _end(self, marks: Sequence[str]) -> None:
        for mark in marks:
            (self._folder / mark).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.rmdir(self._folder)


def _crash() -> Failure:
    return Failure(
        "crash",
        f"the process died {2 * MOST} times while it was at this row (its memory, or the ML runtime: the log "
        "of Ray says more); with ?isolation=process after the graph a crash there ends one compute only",
    )


def _digest(row: Row) -> str:
    """What tells a row from others, the same in every process."""
    found = hashlib.blake2b(digest_size=16)
    for column, value in row.items():
        found.update(f"{column}:{type(value).__name__}:".encode())
        found.update(_content(value))
    return found.hexdigest()


def _content(value: Any) -> bytes | memoryview:
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray) and value.dtype != object:
        return np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
    return repr(value).encode(errors="surrogatepass")
