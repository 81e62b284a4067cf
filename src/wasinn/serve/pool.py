# SPDX-License-Identifier: Apache-2.0
"""The executions of a served graph, which serve one request after another."""

from __future__ import annotations

from wasinn.backends.base import Execution, Graph

#: Executions that are kept for the next requests.
_MAX_IDLE = 16


class Pool:
    """Used on the event loop's thread, but for `open`.

    What an execution was given stays in it. So those of a graph with optional inputs are not kept: the next
    request could get an answer to what this one has sent. Nor are a language model's, which hold much memory.
    """

    def __init__(self, graph: Graph, keeps: bool) -> None:
        self._graph = graph
        self._most = _MAX_IDLE if keeps and not any(spec.optional for spec in graph.inputs) else 0
        self._idle: list[Execution] = []
        self._closed = False
        #: Executions that requests hold, and those that were given up and still compute.
        self.used = 0
        self.given_up = 0

    @property
    def idle(self) -> int:
        """Executions that wait for a request."""
        return len(self._idle)

    def take(self) -> Execution | None:
        """One that is there, or None: then `open` makes one."""
        self.used += 1
        return self._idle.pop() if self._idle else None

    def open(self) -> Execution:
        """A new execution. For any thread. Raises WasiNNError."""
        return self._graph.open()

    def put_back(self, execution: Execution | None, good: bool) -> None:
        """Takes one back. It is closed unless it is `good`: its last compute went well."""
        self.used -= 1
        if execution is None:
            return
        if good and not self._closed and len(self._idle) < self._most:
            self._idle.append(execution)
        else:
            execution.close()

    def close(self) -> None:
        """Closes what is idle now, and all that come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
