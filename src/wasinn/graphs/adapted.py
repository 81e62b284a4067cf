# SPDX-License-Identifier: Apache-2.0
"""A graph around a graph for guests that were written for another contract than the model's."""

from __future__ import annotations

from wasinn.backends.base import Execution, Graph
from wasinn.contracts.bound import Bound
from wasinn.contracts.contract import Contract


class AdaptedGraph:
    """`graph`, whose own contract is `own`, as a graph of the contract `guests`."""

    def __init__(self, graph: Graph, own: Bound, guests: Contract) -> None:
        self._graph = graph
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self.bound = own

    def open(self) -> Execution:
        return self._graph.open()
