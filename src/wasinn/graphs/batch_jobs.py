# SPDX-License-Identifier: Apache-2.0
"""Requests to a graph that batches: one of them (`Job`), and some that are computed now (`Running`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence

from wasinn.backends.base import Execution, Interruptible
from wasinn.errors import WasiNNError, runtime_error
from wasinn.graphs.loading import Loading, opening
from wasinn.tensors import Tensor

logger = logging.getLogger("wasinn.graph")

QUEUED, TAKEN, DONE = range(3)

#: For each output its tensor, or why it has no value.
Outputs = Sequence[Tensor | WasiNNError]
#: Who is told of a job, on which event loop.
Done = tuple[asyncio.AbstractEventLoop | None, Callable[[], None]]


class Job:
    """One request. `inputs`: a tensor for each input that is given. `rows`: of its tensors; `key`: what
    others must have alike to share a batch, or None if it must be computed alone."""

    __slots__ = (
        "done",
        "error",
        "inputs",
        "key",
        "loop",
        "outputs",
        "rows",
        "running",
        "signalled",
        "state",
        "wake",
    )

    def __init__(self, inputs: Sequence[Tensor | None], rows: int, key: object | None) -> None:
        self.inputs = inputs
        self.rows = rows
        self.key = key
        self.state = QUEUED
        self.outputs: Outputs = ()
        self.error: BaseException | None = None
        self.running: Running | None = None
        #: Who is told, of a job that was begun, and on which event loop.
        self.done: Callable[[], None] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        #: Held while a thread waits for the job; `signalled` if it has been let go, and not looked yet.
        self.wake: threading.Lock | None = None
        self.signalled = False

    @property
    def over(self) -> bool:
        """Whether it has its outputs or its error."""
        return self.state == DONE


class Running:
    """A compute of some jobs, which ends early if nobody wants its result any more."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self._lock = threading.Lock()
        self._execution: Execution | None = None
        self._loading = Loading()
        self.interrupted = False

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """While an execution is opened, which may take a worker process."""
        opening.loading = self._loading
        try:
            yield
        finally:
            opening.loading = None

    @contextlib.contextmanager
    def using(self, execution: Execution) -> Iterator[None]:
        """While `execution` takes the jobs' inputs and computes. Raises WasiNNError if nobody wants that."""
        with self._lock:
            if all(job.over for job in self.jobs):
                raise runtime_error("the compute was ended")
            self._execution = execution
        try:
            yield
        finally:
            # From here on nobody interrupts it: it may serve others.
            with self._lock:
                self._execution = None

    def leave(self) -> None:
        """One of the jobs is over. Interrupts what is done for them if it was the last."""
        with self._lock:
            if not all(job.over for job in self.jobs):
                return
            self._loading.interrupt("nobody waits for it")
            if self._execution is not None:
                self.interrupted = True
                if isinstance(self._execution, Interruptible):
                    self._execution.interrupt()


def tell(done: Sequence[Done]) -> None:
    """Calls what waits for jobs that are over: on its event loop, if it has one."""
    of_loop: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
    for loop, each in done:
        if loop is None:
            _call([each])
        else:
            of_loop.setdefault(loop, []).append(each)
    for loop, calls in of_loop.items():
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits there
            loop.call_soon_threadsafe(_call, calls)


def _call(calls: Sequence[Callable[[], None]]) -> None:
    for each in calls:
        try:
            each()
        except Exception:
            logger.exception("telling of a compute that is done")
