# SPDX-License-Identifier: Apache-2.0
"""A graph around a graph that computes what several callers ask at once as one batch (`batch = true`).

The first dimension of every input and output must be open, and the rows independent of each other. Requests
that have all but the number of rows alike share a compute. An error in a batch is nobody's yet: each request
is computed again alone, so that a bad one costs itself.

That rows are independent is the operator's word. It is checked once, on the first batch whose requests
differ: one of them is computed alone as well. A model that does not keep rows apart is computed one request
at a time from then on, with a warning.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from wasinn.backends.base import Configurable, Execution, Graph
from wasinn.backends.common import Buffer
from wasinn.errors import WasiNNError, runtime_error, unsupported
from wasinn.graphs.batch_compute import Batches
from wasinn.graphs.batch_jobs import Job, Outputs
from wasinn.graphs.batch_rows import rows_of
from wasinn.graphs.batching import Queue
from wasinn.tensors import Tensor, TensorSpec

#: The rows of a batch where the operator says no number.
DEFAULT_ROWS = 64


class BatchedGraph:
    """`graph`, whose contexts compute together. Raises WasiNNError (unsupported_operation) where its ports
    do not allow that.

    `on_batch` is called with the rows of each compute, from any thread.
    """

    def __init__(self, graph: Graph, max_batch: int = DEFAULT_ROWS, lanes: int = 1) -> None:
        """`max_batch`: rows of a batch; a request of more is computed alone. `lanes`: batches at once."""
        check_batch(graph)
        self.inputs: tuple[TensorSpec, ...] = graph.inputs
        self.outputs: tuple[TensorSpec, ...] = graph.outputs
        self.max_batch = max_batch
        self._batches = Batches(graph)
        self._queue = Queue(self._batches.compute, max_batch, lanes)
        # Threads that wait for work hold the queue, and so the graph inside.
        weakref.finalize(self, self._queue.close)

    @property
    def on_batch(self) -> Callable[[int], None] | None:
        return self._batches.on_batch

    @on_batch.setter
    def on_batch(self, hook: Callable[[int], None] | None) -> None:
        self._batches.on_batch = hook

    @property
    def batching(self) -> bool:
        """False once the model was seen to mix rows."""
        return self._batches.batching

    @property
    def waiting(self) -> int:
        """Requests that wait for a lane."""
        return self._queue.waiting

    def open(self) -> Execution:
        return BatchedExecution(self, self._batches, self._queue)


def check_batch(graph: Graph) -> None:
    """That several requests may be one compute, as far as the ports tell. Raises WasiNNError
    (unsupported_operation)."""
    if isinstance(graph, Configurable):
        raise unsupported("batch: a language model's contexts are not computed together")
    for direction, specs in (("input", graph.inputs), ("output", graph.outputs)):
        if not specs:
            raise unsupported(f"batch: the graph has no {direction}s")
        for spec in specs:
            if spec.dims is None:
                continue  # what comes shows it
            if not spec.dims or spec.dims[0] is not None:
                why = f"its first dimension is {spec.dims[0]}" if spec.dims else "it has no dimensions"
                raise unsupported(
                    f"batch: the {direction} {spec.name!r} is {spec}, and {why}; a batch needs an open first "
                    "dimension in every input and output: export the model with a dynamic batch axis, or "
                    "leave batch out"
                )


class BatchedExecution:
    """One context. Its compute can be begun (`begin`), and then `compute` takes the result."""

    def __init__(self, graph: BatchedGraph, batches: Batches, queue: Queue) -> None:
        self._graph: BatchedGraph | None = graph
        self._batches = batches
        self._queue = queue
        self._inputs: list[Tensor | None] = [None] * len(graph.inputs)
        self._buffers: list[Buffer | None] = [None] * len(graph.inputs)
        self._job: Job | None = None
        self._outputs: Outputs = ()
        self._interrupted = False
        self._lock = threading.Lock()

    @property
    def batched(self) -> BatchedExecution:
        """What can be begun: the executions around this one have it too."""
        return self

    def set_input(self, index: int, tensor: Tensor) -> None:
        buffer, size = self._buffers[index], len(tensor.data)
        if buffer is None or len(buffer.view) != size or self._job is not None:
            buffer = self._buffers[index] = Buffer(size)
        buffer.view[:] = tensor.data
        self._inputs[index] = Tensor(tensor.dims, tensor.type, buffer.view)

    def begin(self, done: Callable[[], None]) -> None:
        """Has it computed, and returns at once. `done` is called, from any thread, when `compute` would not
        block: that takes the result, or raises."""
        self._queue.begin(self._new_job(), done)

    def compute(self) -> None:
        job = self._job
        if job is None:
            job = self._new_job()
            if not job.over:
                self._queue.run(job)
        elif not job.over:
            self._queue.wait(job)
        self._job = None
        if job.error is not None:
            raise job.error
        self._outputs = job.outputs

    def _new_job(self) -> Job:
        rows, key = rows_of(self._inputs)
        job = Job(tuple(self._inputs), rows, key if self._batches.batching else None)
        self._outputs = ()
        with self._lock:
            self._job, interrupted = job, self._interrupted
        if interrupted:
            self._queue.finish(job, error=_ended())
        return job

    def output(self, index: int) -> Tensor:
        found = self._outputs[index]
        if isinstance(found, WasiNNError):
            raise found
        return found

    def interrupt(self) -> None:
        """Ends this context's wait; what others ask goes on. A thread that computes a batch for others too
        comes back only when that is done."""
        with self._lock:
            self._interrupted = True
            job = self._job
        if job is not None:
            self._queue.finish(job, error=_ended())

    def close(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            self.interrupt()
            self._outputs = ()


def _ended() -> WasiNNError:
    return runtime_error("the compute was ended")
