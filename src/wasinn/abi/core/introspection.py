# SPDX-License-Identifier: Apache-2.0
"""wasinn's own module, `wasinn`: what a graph's inputs and outputs are, so that a guest need not
hard-code shapes (the wish of WebAssembly/wasi-nn#37). Guests import it or not, as they like.
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
    memory.check_u32(written, "the place for the number of bytes written")
    target = memory.view(buffer, size, "the buffer")
    text = state.host.graph_metadata(graph)
    memory.write_u32(written, len(text))
    if len(text) > size:
        raise WasiNNError(
            ErrorCode.TOO_LARGE,
            f"the metadata has {len(text)} bytes, and the buffer {size}; the needed size was written back",
        )
    target[: len(text)] = text


FUNCTIONS = (Function(MODULE, "graph_metadata", "graph buffer size written", graph_metadata),)
