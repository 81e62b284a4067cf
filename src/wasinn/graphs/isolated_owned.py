# SPDX-License-Identifier: Apache-2.0
"""The processes and files of an isolated graph: where its workers come from, and where they go back to."""

from __future__ import annotations

import contextlib
import hashlib
import os

from wasinn.graphs import worker_client
from wasinn.graphs.channel import memory_file
from wasinn.graphs.loading import Loading
from wasinn.graphs.messages import LoadRequest
from wasinn.graphs.worker_handle import Worker
from wasinn.graphs.worker_process import WorkerPool, WorkerProcess


class Owned:
    """What a graph has to give back when it goes."""

    def __init__(self, backend: str, pool: WorkerPool | None) -> None:
        self._backend = backend
        self._pool = pool
        #: The one that computes now comes last; others are given up, and end when their calls are done.
        self._workers: list[Worker] = []
        self.files: list[int] = []
        #: Where workers are shared with other processes; what guests bring never is.
        self._client = worker_client.current() if pool is None else None
        self._digests: list[str] = []

    @property
    def current(self) -> Worker | None:
        return self._workers[-1] if self._workers else None

    def add_file(self, builder: bytes) -> None:
        self.files.append(memory_file(builder))
        self._digests.append(hashlib.sha256(builder).hexdigest() if self._client is not None else "")

    def start(self, request: LoadRequest, timeout: float | None, loading: Loading) -> Worker:
        """A worker that has loaded the graph. Raises WasiNNError."""
        if self._client is not None:
            return self._client.take(request, self.files, self._digests, timeout, loading)
        worker = WorkerProcess() if self._pool is None else self._pool.take(self._backend)
        try:
            with loading.ended_by(worker.kill):
                worker.load(request, self.files, timeout)
        except BaseException:
            self.give_back(worker)
            raise
        return worker

    def give_back(self, worker: Worker) -> None:
        if self._pool is not None and isinstance(worker, WorkerProcess):
            self._pool.give_back(self._backend, worker)
        else:
            worker.close()

    def add(self, worker: Worker) -> None:
        for gone in [each for each in self._workers if not each.alive]:
            self._workers.remove(gone)
            gone.close()
        self._workers.append(worker)

    def close(self) -> None:
        for worker in self._workers:
            self.give_back(worker)
        for file in self.files:
            with contextlib.suppress(OSError):
                os.close(file)
