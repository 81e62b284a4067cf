# SPDX-License-Identifier: Apache-2.0
"""The export `wasi:cli/run`: what makes a component a command; and bytes to its stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable

from . import bindings
from .errors import NnError
from .tensor import Bytes


def command(main: Callable[[list[str]], int | None], name: str = "guest") -> type:
    """The class that componentize-py looks for: write `Run = command(main)` in the guest's module.

    `main` gets the arguments after the program's name; what it returns other than 0 and None ends the
    guest with exit code 1 (wasi:cli/run knows no other). So does an NnError, after its text on stderr.
    """

    class Run:
        def run(self) -> None:
            try:
                failed = bool(main(list(bindings.environment.get_arguments()[1:])))
            except NnError as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed = True
            sys.stdout.flush()
            sys.stderr.flush()
            if failed:
                raise bindings.Err(None)

    return Run


def write_stdout(data: Bytes) -> None:
    """Writes all of the bytes. `sys.stdout.buffer.write` writes only some of many: Python's stdout has no
    buffer in a component, and a stream takes a few kilobytes at a time."""
    sys.stdout.flush()
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()
