# SPDX-License-Identifier: Apache-2.0
"""wasinn's own module, `wasinn`: what a graph's inputs and outputs are, so that a guest need not
hard-code shapes (the wish of WebAssembly/wasi-nn#37), and why its last call failed, which an errno cannot
say. Guests import it or not, as they like.
"""

from __future__ import annotations

from wasinn.abi.core.memory import GuestMemory
from wasinn.abi.core.state import Function, InstanceState
from wasinn.errors import WasiNNError
from wasinn.spec import ErrorCode

MODULE = "wasinn"


def graph_metadata(
    state: InstanceState, memory: GuestMemory, graph: int, buffer: int, size: int, written: int
) -> None:
    target = _target(memory, buffer, size, written)
    _answer(memory, target, state.host.graph_metadata(graph), written, "the metadata has")


def last_error(state: InstanceState, memory: GuestMemory, buffer: int, size: int, written: int) -> None:
    """The reason of the instance's last call that failed, in UTF-8: the words of the log after the errno.
    None where none has failed. No call of this function changes it, also none that fails itself."""
    target = _target(memory, buffer, size, written)
    # A lone surrogate, of a file's name say, is text that nobody can write.
    _answer(memory, target, state.last_error.encode("utf-8", "replace"), written, "the last error has")


def _target(memory: GuestMemory, buffer: int, size: int, written: int) -> memoryview:
    memory.check_u32(written, "the place for the number of bytes written")
    return memory.view(buffer, size, "the buffer")


def _answer(memory: GuestMemory, target: memoryview, text: bytes, written: int, what: str) -> None:
    memory.write_u32(written, len(text))
    if len(text) > len(target):
        raise WasiNNError(
            ErrorCode.TOO_LARGE,
            f"{what} {len(text)} bytes, and the buffer {len(target)}; the needed size was written back",
        )
    target[: len(text)] = text


FUNCTIONS = (
    Function(MODULE, "graph_metadata", "graph buffer size written", graph_metadata),
    Function(MODULE, "last_error", "buffer size written", last_error, remembered=False),
)
