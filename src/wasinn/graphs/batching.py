# SPDX-License-Identifier: Apache-2.0
"""Who computes next: the queue of a graph that batches, and the lanes that work it off.

A job is one request's inputs. A lane that is free takes the oldest job and all that fit to it, at once: it
never waits for more. While it computes, others queue, and they are the next batch. A thread that waits for
its own job drives a lane itself where one is free; jobs that nobody waits for (`begin`) get a thread of the
queue's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence

from wasinn.errors import runtime_error
from wasinn.graphs.batch_jobs import DONE, QUEUED, TAKEN, Done, Job, Outputs, Running, tell

#: Seconds that a thread of a queue's own waits for work before it ends.
_IDLE_SECONDS = 10.0


class Queue:
    """The jobs of one graph. `compute` computes a batch of them, and calls `finish` for each of them."""

    def __init__(self, compute: Callable[[Queue, Sequence[Job]], None], max_rows: int, lanes: int) -> None:
        """`max_rows`: of one batch; a job of more is computed alone. `lanes`: batches at once."""
        self._compute = compute
        self._max_rows = max_rows
        self._lanes = lanes
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._jobs: deque[Job] = deque()
        self._free = self._lanes
        self._threads = self._sleeping = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """The jobs that no lane has taken yet."""
        return len(self._jobs)

    # -- for those who ask --------------------------------------------------------------------------

    def run(self, job: Job) -> None:
        """Computes a job, or waits until another thread has done so."""
        with self._lock:
            self._add(job)
        self.wait(job)

    def wait(self, job: Job) -> None:
        """Returns when the job is over; drives a lane meanwhile if one is free."""
        while True:
            with self._lock:
                if job.state == DONE:
                    self._hand_over()  # the lane may have been offered to this thread
                    return
                batch = self._take() if self._free and self._jobs else None
                if batch is None and job.wake is None:
                    job.wake = threading.Lock()
                    job.wake.acquire()
            if batch is not None:
                self._drive(batch)
                continue
            assert job.wake is not None
            job.wake.acquire()
            job.signalled = False  # what is signalled from here on is seen above

    def begin(self, job: Job, done: Callable[[], None]) -> None:
        """Has a job computed, and `done` called from any thread when it is over.

        On an event loop the batch is taken when the loop has gone round once, so that what else is ready
        there comes into it.
        """
        loop = None
        with contextlib.suppress(RuntimeError):  # none runs in this thread
            loop = asyncio.get_running_loop()
        with self._lock:
            queued = self._add(job)
            if queued:
                job.done, job.loop = done, loop
                if not self._free:
                    return  # who drives it looks for more
        if not queued:
            tell([(loop, done)])
        elif loop is not None:
            loop.call_soon(self._offer)
        else:
            self._offer()

    def finish(self, job: Job, outputs: Outputs = (), error: BaseException | None = None) -> None:
        """Ends a job with its outputs or its error; nothing happens if it is over. For any thread."""
        with self._lock:
            if job.state == DONE:
                return
            if job.state == QUEUED:
                with contextlib.suppress(ValueError):
                    self._jobs.remove(job)
            running, done = self._end(job, outputs, error)
        if running is not None and error is not None:
            running.leave()
        tell([] if done is None else [done])

    def finish_all(self, jobs: Sequence[Job], outputs: Sequence[Outputs]) -> None:
        """Ends the jobs of a batch, each with its outputs. An event loop is woken once for all of its own:
        they are its next batch if they ask again."""
        with self._lock:
            done = [
                self._end(job, each, None)[1]
                for job, each in zip(jobs, outputs, strict=True)
                if job.state != DONE
            ]
        tell([each for each in done if each is not None])

    def _end(
        self, job: Job, outputs: Outputs, error: BaseException | None
    ) -> tuple[Running | None, Done | None]:
        job.state = DONE
        job.outputs, job.error = outputs, error
        running, job.running = job.running, None
        done, job.done = job.done, None
        loop, job.loop = job.loop, None
        self._signal(job)
        return running, None if done is None else (loop, done)

    def close(self) -> None:
        """Ends the queue's own threads once they are idle."""
        with self._lock:
            self._closed = True
            self._work.notify_all()

    # -- for those who drive -------------------------------------------------------------------------

    def running(self, jobs: Sequence[Job]) -> Running:
        """The jobs as one compute."""
        found = Running(list(jobs))
        with self._lock:
            for job in found.jobs:
                job.running = found
        return found

    def _add(self, job: Job) -> bool:
        """Queues a job, unless it is over already: another thread may have ended it at once."""
        if job.state == QUEUED:
            self._jobs.append(job)
        return job.state == QUEUED

    def _take(self) -> list[Job]:
        """Takes a lane for the oldest job and those that fit to it, in their order."""
        self._free -= 1
        head = self._jobs.popleft()
        batch, rows, key = [head], head.rows, head.key
        if key is not None and self._jobs and rows < self._max_rows:
            left: deque[Job] = deque()
            full = False
            for job in self._jobs:
                # One of its kind that has no room lets none behind it go first.
                if not full and job.key == key:
                    full = rows + job.rows > self._max_rows
                    if not full:
                        batch.append(job)
                        rows += job.rows
                        continue
                left.append(job)
            self._jobs = left
        for job in batch:
            job.state = TAKEN
        self._hand_over()  # there may be lanes and jobs for more
        return batch

    def _drive(self, batch: Sequence[Job]) -> None:
        try:
            self._compute(self, batch)
        except Exception as error:
            for job in batch:
                self.finish(job, error=runtime_error(f"computing a batch: {type(error).__name__}: {error}"))
        finally:
            for job in batch:
                self.finish(job, error=runtime_error("the batch was lost"))  # nobody waits for ever
            with self._lock:
                self._free += 1
                self._hand_over()

    def _offer(self) -> None:
        with self._lock:
            self._hand_over()

    def _hand_over(self) -> None:
        """Sees that somebody drives a lane that is free, if there is a job."""
        if not self._free or not self._jobs:
            return
        for job in self._jobs:
            if job.done is not None:
                if self._sleeping:
                    self._work.notify()
                elif self._threads < self._lanes:
                    self._start()
                return
            if job.wake is not None and not job.signalled:
                self._signal(job)
                return
        # The threads of all of them are on their way, and look before they wait.

    def _start(self) -> None:
        self._threads += 1
        try:
            threading.Thread(target=self._serve, name="wasinn-batch", daemon=True).start()
        except BaseException:  # no more threads in this system
            self._threads -= 1
            raise

    def _signal(self, job: Job) -> None:
        """Lets the thread look that waits for a job."""
        if job.wake is not None and not job.signalled:
            job.signalled = True
            job.wake.release()

    def _serve(self) -> None:
        while True:
            with self._work:
                while not (self._free and self._jobs):
                    if self._closed or not self._sleep():
                        self._threads -= 1
                        return
                batch = self._take()
            self._drive(batch)
            del batch

    def _sleep(self) -> bool:
        """Waits for work; False if there was none for long."""
        self._sleeping += 1
        try:
            return self._work.wait(_IDLE_SECONDS) or bool(self._free and self._jobs)
        finally:
            self._sleeping -= 1


#: A fork has no threads but the one that forked: its queues begin anew.
_all: weakref.WeakSet[Queue] = weakref.WeakSet()


def _after_fork() -> None:
    for queue in list(_all):
        queue._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
