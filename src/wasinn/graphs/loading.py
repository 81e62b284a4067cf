# SPDX-License-Identifier: Apache-2.0
"""One load that another thread may want to end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wasinn.errors import runtime_error
from wasinn.graphs.worker_process import WorkerPool

#: `loading`: what a graph that is opened in this thread is told by whoever waits for it.
opening = threading.local()


class Loading:
    """What a load is told by whoever waits for it. Only a load in a worker process can be ended.

    `workers`: where its process may come from and go back to; without it, it has one of its own."""

    def __init__(self, workers: WorkerPool | None = None) -> None:
        self.workers = workers
        self._lock = threading.Lock()
        self._end: Callable[[], None] | None = None
        #: Why it was ended, or None.
        self.reason: str | None = None

    @contextmanager
    def ended_by(self, end: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `interrupt` calls `end`. Raises WasiNNError (runtime_error) if it was
        called before."""
        with self._lock:
            if self.reason is not None:
                raise runtime_error(f"the load was ended: {self.reason}")
            self._end = end
        try:
            yield
        finally:
            with self._lock:
                self._end = None

    def wait_for(self, lock: threading.Lock) -> None:
        """Acquires `lock`, which another load may hold for long. Raises WasiNNError (runtime_error) if
        this load is ended before."""
        while not lock.acquire(timeout=0.02):
            if self.reason is not None:
                raise runtime_error(f"the load was ended: {self.reason}")

    def interrupt(self, reason: str) -> None:
        """Ends the load. For any thread."""
        with self._lock:
            self.reason = reason
            if self._end is not None:
                self._end()
