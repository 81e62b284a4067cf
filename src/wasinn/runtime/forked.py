# SPDX-License-Identifier: Apache-2.0
"""What a process cannot do that was forked from one that did it.

wasmtime has threads of its own: to compile, and to serve WASI's streams and files. They start with the first
use and stay behind at a fork, while the child takes them for there: it would wait for them for good, and no
deadline would end that. So it is refused.
"""

from __future__ import annotations

import os

from wasinn.errors import GuestError

COMPILING = "compiled a guest", "compile another"
STREAMS = "run a guest with WASI's streams or files", "run another"

#: The process that started the threads of each.
_started: dict[tuple[str, str], int] = {}


def use(what: tuple[str, str]) -> None:
    """Before anything that is `what`, COMPILING or STREAMS. Raises GuestError in a child that lacks the
    threads."""
    process = os.getpid()
    if _started.setdefault(what, process) != process:
        done, wanted = what
        raise GuestError(
            f"this process was forked from one that had {done}, and cannot {wanted}: the runtime's threads "
            "did not come with it. Start worker processes before the first guest, or with spawn (of "
            "multiprocessing)"
        )
