# SPDX-License-Identifier: Apache-2.0
"""Broken model files, and what a backend answers to each: in this process, or in one that may die.

Some parsers crash, or loop for ever, on some files (FACTS.md, LiteRT and torch). Their files are loaded by
a worker of ours, many by one, which is watched and replaced.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.cases import Case
from wasinn.errors import WasiNNError
from wasinn.graphs.loader import Loader
from wasinn.tensors import Tensor, element_count
from zoo import Builders

#: How long one file may take, in seconds; importing a runtime may take long on a busy machine.
PATIENCE = 60.0
#: Bytes of an input that is computed on. A changed file may say anything.
_MOST = 1 << 20


@dataclass(frozen=True)
class Broken:
    """A file, and how it was made from a good one."""

    how: str
    content: Builders
    truncated: bool = False


@dataclass(frozen=True)
class Answer:
    """`what`: "refused" (with a code and a reason), "computed", "failed" (it loaded, but does not compute),
    "died" or "hung"."""

    what: str
    code: int = 0
    reason: str = ""


def truncated(content: Builders) -> Iterator[Broken]:
    """Each part cut at twelve places: its first and last bytes, and between."""
    for part, whole in enumerate(content):
        size = len(whole)
        places = {0, 1, 4, 8, size // 3, size - 1, size - 4, size - 8}
        places |= {size * tenth // 10 for tenth in (1, 2, 4, 5, 7, 9)}
        for place in sorted(each for each in places if 0 <= each < size):
            parts = list(content)
            parts[part] = whole[:place]
            yield Broken(f"part {part} of {size} bytes cut at {place}", tuple(parts), truncated=True)


def noise(content: Builders, seed: int = 1) -> Iterator[Broken]:
    """Bytes that are no model, also behind the first bytes of one."""
    randomness = random.Random(seed)
    for size in (3, 64, 5000):
        yield Broken(f"{size} random bytes", (randomness.randbytes(size), *content[1:]))
    yield Broken("zeros", (bytes(5000), *content[1:]))
    yield Broken("text", (b"this is no model at all\n" * 50, *content[1:]))
    for size in (8, 40, len(content[0]) // 2):
        yield Broken(f"random after {size}", (content[0][:size] + randomness.randbytes(5000), *content[1:]))


def flipped(content: Builders, count: int, seed: int = 2) -> Iterator[Broken]:
    """Some bits of the first part changed."""
    randomness = random.Random(seed)
    for number in range(count):
        data = bytearray(content[0])
        bits = [randomness.randrange(8 * len(data)) for _ in range(1 << number % 5)]
        for bit in bits:
            data[bit // 8] ^= 1 << bit % 8
        yield Broken(f"bits {bits} flipped", (bytes(data), *content[1:]))


def answer(case: Case, content: Builders, options: dict[str, Any]) -> Answer:
    """Loads `content`, and if that succeeds computes once on zeros."""
    try:
        graph = Loader().load(case.source_of(*content, **options)).graph
    except WasiNNError as error:
        return Answer("refused", error.code, error.reason)
    try:
        execution = graph.open()
        for index, spec in enumerate(graph.inputs):
            dims = tuple(1 if dim is None else dim for dim in spec.dims or ())
            size = element_count(dims) * spec.type.size
            if size > _MOST:
                return Answer("computed", reason="its inputs are too large to try")
            execution.set_input(index, Tensor(dims, spec.type, memoryview(bytes(size))))
        execution.compute()
        for index in range(len(graph.outputs)):
            bytes(execution.output(index).data)
        execution.close()
    except WasiNNError as error:
        return Answer("failed", error.code, error.reason)
    return Answer("computed")


class Worker:
    """A process that loads one file after the other. A file that kills it or takes too long costs only it."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._connection: Any = None

    def answer(self, case: Case, content: Builders) -> Answer:
        if self._process is None:
            self._start()
        self._connection.send((case, content))
        try:
            if not self._connection.poll(PATIENCE):
                self.close()
                return Answer("hung")
            found: Answer = self._connection.recv()
        except EOFError:
            self.close()
            return Answer("died")
        return found

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


def _serve(connection: Any) -> None:
    # What a runtime says while it dies is for nobody.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    while True:
        try:
            case, content = connection.recv()
        except EOFError:
            return
        try:
            connection.send(answer(case, content, {}))
        except Exception as error:
            connection.send(Answer("raised", reason=repr(error)))


def wrong(broken: Broken, found: Answer) -> str | None:
    """What is wrong with an answer, or None."""
    if found.what == "refused":
        return None if found.reason and found.code else f"{broken.how}: refused without a reason"
    if found.what == "failed" and not broken.truncated:
        return None if found.reason else f"{broken.how}: failed without a reason"
    if found.what == "computed":
        return None
    return f"{broken.how}: {found.what} {found.reason}"


def complaints(pairs: Sequence[tuple[Broken, Answer]]) -> list[str]:
    """What is wrong with the answers to several files."""
    return [said for broken, found in pairs if (said := wrong(broken, found)) is not None]
