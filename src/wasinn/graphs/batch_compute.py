# SPDX-License-Identifier: Apache-2.0
"""How a batch is computed, and what is done where that fails or the model does not keep rows apart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from wasinn.backends.base import Graph
from wasinn.errors import WasiNNError, runtime_error
from wasinn.graphs.batch_jobs import Job, Outputs, Running
from wasinn.graphs.batch_rows import Joiner, NoRows, check_rows, difference, split
from wasinn.graphs.batching import Queue
from wasinn.tensors import Tensor, format_dims

logger = logging.getLogger("wasinn.graph")

#: The most that the inputs of an execution may hold that is kept for the next batch, in bytes.
_MAX_SPARE_BYTES = 64 << 20


class _Inner:
    """An execution that computes batches, one after the other."""

    def __init__(self, graph: Graph) -> None:
        self.execution = graph.open()
        self._joiner = Joiner(self.execution, len(graph.inputs))
        self._outputs = len(graph.outputs)
        #: The inputs that it has been given: an execution keeps them.
        self.given: frozenset[int] = frozenset()
        #: The bytes that they hold.
        self.size = 0

    def run(self, running: Running) -> list[list[Tensor | WasiNNError]]:
        """Computes the jobs of `running`; copies of the outputs of each. Raises NoRows."""
        self.size = 0
        with running.using(self.execution):
            for index in self.given:
                tensors = [each for job in running.jobs if (each := job.inputs[index]) is not None]
                self._joiner.give(index, tensors)
                self.size += sum(len(each.data) for each in tensors)
            self.execution.compute()
        outputs = [self._output(index) for index in range(self._outputs)]
        return split(outputs, [job.rows for job in running.jobs])

    def _output(self, index: int) -> Tensor | WasiNNError:
        try:
            return self.execution.output(index)
        except WasiNNError as error:  # one that has no value for these inputs
            return error


class Batches:
    """How a batch is computed. It knows nothing of the graph around it, which its threads may outlive."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._spare: list[_Inner] = []
        self.on_batch: Callable[[int], None] | None = None
        self.batching = True
        self._checked = False

    def compute(self, queue: Queue, jobs: Sequence[Job]) -> None:
        """Computes the jobs, and finishes each."""
        wanted = [job for job in jobs if not job.over]
        if len(wanted) > 1 and self.batching and self._together(queue, wanted):
            return
        for job in wanted:
            if not job.over:
                self._alone(queue, job)

    def _alone(self, queue: Queue, job: Job) -> None:
        self._tell(job.rows)
        try:
            (outputs,) = self._run(queue, [job])
        except Exception as error:
            queue.finish(job, error=_as_error(error))
            return
        if job.key is not None and self.batching:
            try:
                check_rows(outputs, job.rows)
            except NoRows as error:
                self._stop_for(error, job.rows)
        queue.finish(job, outputs)

    def _together(self, queue: Queue, jobs: Sequence[Job]) -> bool:
        """Computes the jobs as one; False if each must be computed alone."""
        rows = sum(job.rows for job in jobs)
        self._tell(rows)
        try:
            parts = self._run(queue, jobs)
        except NoRows as error:
            self._stop_for(error, rows)
            return False
        except Exception as error:
            logger.debug("a batch of %d requests failed, and each is computed alone: %s", len(jobs), error)
            return False
        if not self._checked and not self._independent(queue, jobs, parts):
            return False
        queue.finish_all(jobs, parts)
        return True

    def _run(self, queue: Queue, jobs: Sequence[Job]) -> list[list[Tensor | WasiNNError]]:
        """The outputs of each job, of one compute. Raises NoRows, and as the graph does."""
        running = queue.running(jobs)
        with running.opening():
            inner = self._take(frozenset(at for at, each in enumerate(jobs[0].inputs) if each is not None))
        keep = False
        try:
            parts = inner.run(running)
            keep = not running.interrupted and inner.size <= _MAX_SPARE_BYTES
        finally:
            if keep:
                self._spare.append(inner)
            else:
                inner.execution.close()
        return parts

    def _take(self, given: frozenset[int]) -> _Inner:
        try:
            inner = self._spare.pop()
        except IndexError:
            inner = _Inner(self._graph)
        if inner.given - given:  # it would compute with what another request gave
            inner.execution.close()
            inner = _Inner(self._graph)
        inner.given = given
        return inner

    def _tell(self, rows: int) -> None:
        if self.on_batch is not None:
            self.on_batch(rows)

    # -- whether rows are kept apart ------------------------------------------------------------------

    def _independent(self, queue: Queue, jobs: Sequence[Job], parts: Sequence[Outputs]) -> bool:
        """Whether a request's rows are what they are when it is computed alone. Stops batching if not."""
        job = jobs[-1]
        if all(_same(job, other) for other in jobs):
            return True  # equal rows would show nothing; the next batch may
        try:
            (alone,) = self._run(queue, [job])
        except Exception:
            return True  # not what is looked for here
        self._checked = True
        reason = difference(parts[-1], alone)
        if reason is not None:
            self._stop(reason)
        return reason is None

    def _stop_for(self, error: NoRows, rows: int) -> None:
        name, dims = self._graph.outputs[error.index].name, format_dims(error.dims)
        self._stop(f"its output {name!r} came as {dims} for inputs of {rows} rows")

    def _stop(self, reason: str) -> None:
        if self.batching:
            self.batching = False
            logger.warning(
                "batch: the model does not keep rows apart: %s; its requests are computed one at a time from "
                "now on (leave batch out)",
                reason,
            )


def _same(one: Job, other: Job) -> bool:
    return all(
        a is b or (a is not None and b is not None and a.data == b.data)
        for a, b in zip(one.inputs, other.inputs, strict=True)
    )


def _as_error(error: Exception) -> WasiNNError:
    if isinstance(error, WasiNNError):
        return error
    return runtime_error(f"{type(error).__name__}: {error}")
