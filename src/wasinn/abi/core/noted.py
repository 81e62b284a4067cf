# SPDX-License-Identifier: Apache-2.0
"""What an instance does with its graph, for who wants to know."""

from __future__ import annotations

from wasinn.handles import Context, GraphHandle
from wasinn.spec import TensorType


class Noted:
    """The inputs and outputs of the last compute of an instance that has one context."""

    def __init__(self) -> None:
        #: Dims, type and bytes of each input that was set, as the guest said them, by index.
        self.inputs: dict[int, tuple[tuple[int, ...], TensorType, int]] = {}
        #: The graph, once it has computed, and the bytes of each output; None of one without a value.
        self.graph: GraphHandle | None = None
        self.outputs: tuple[int | None, ...] = ()

    def computed(self, context: Context) -> None:
        """After a compute that succeeded."""
        self.graph = None
        if context.streaming is None:
            count = len(context.graph.graph.outputs)
            self.outputs = tuple(_size(context, index) for index in range(count))
            self.graph = context.graph


def _size(context: Context, index: int) -> int | None:
    try:
        return len(context.execution.output(index).data)
    except Exception:  # whoever reads it is told why
        return None
