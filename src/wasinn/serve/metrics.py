# SPDX-License-Identifier: Apache-2.0
"""What the server counts, for Prometheus. docs/serving.md has the table.

With PROMETHEUS_MULTIPROC_DIR set before the first import, processes write into files of that folder, and
any of them answers for all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from wasinn.runtime.limits import controls
from wasinn.runtime.prepared_store import working

if TYPE_CHECKING:
    from wasinn.serve.repository import Repository

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Seconds: from a tiny model to a language model.
_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ModelMetrics:
    """What is counted of one model."""

    __slots__ = ("_batch", "_compute", "_failures", "_latency", "_name", "_requests", "_statuses", "_wait")

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._name = name
        self._requests = metrics.requests
        self._failures = metrics.failures
        self._statuses: dict[int, Any] = {}
        self._latency = metrics.latency.labels(name)
        self._wait = metrics.wait.labels(name)
        self._batch = metrics.batches.labels(name)
        self._compute = metrics.compute.labels(name)

    def done(self, status: int, kind: str, seconds: float, waited: float) -> None:
        """A request has ended: its status, the kind of its error or "", and seconds."""
        counter = self._statuses.get(status)
        if counter is None:
            counter = self._statuses[status] = self._requests.labels(self._name, str(status))
        counter.inc()
        self._latency.observe(seconds)
        self._wait.observe(waited)
        if kind:
            self._failures.labels(self._name, kind).inc()

    def batch(self, size: int) -> None:
        """A batch of `size` rows was computed. For any thread."""
        self._batch.observe(size)

    def computed(self, seconds: float) -> None:
        """A compute has ended, waiting for a lane included. For any thread."""
        self._compute.observe(seconds)


class Metrics:
    """The counters of one process. Its own registry, so that several servers fit into one process."""

    def __init__(self) -> None:
        self._own = CollectorRegistry()
        self._models: dict[str, ModelMetrics] = {}
        own = self._own
        self.requests = Counter(
            "wasinn_requests",
            "Requests answered, by HTTP status (499: the caller went)",
            ["model", "status"],
            registry=own,
        )
        self.failures = Counter(
            "wasinn_failures",
            "Requests that failed, by kind; traps of guests too",
            ["model", "kind"],
            registry=own,
        )
        self.latency = Histogram(
            "wasinn_request_seconds",
            "From the decoded request to its answer",
            ["model"],
            registry=own,
            buckets=_SECONDS,
        )
        self.wait = Histogram(
            "wasinn_queue_seconds",
            "What requests waited for a place",
            ["model"],
            registry=own,
            buckets=_SECONDS,
        )
        self.compute = Histogram(
            "wasinn_compute_seconds",
            "Computes of served graphs, waiting for a thread included",
            ["model"],
            registry=own,
            buckets=_SECONDS,
        )
        self.batches = Histogram(
            "wasinn_batch_rows", "Rows of each computed batch", ["model"], registry=own, buckets=_BATCHES
        )
        self.running = self._gauge("wasinn_requests_running", "Requests that a model works on")
        self.waiting = self._gauge("wasinn_requests_waiting", "Requests that wait for a place")
        self.pool_used = self._gauge("wasinn_executions_used", "Executions of a graph that requests hold")
        self.pool_idle = self._gauge("wasinn_executions_idle", "Executions of a graph that are kept")
        self.ready = self._gauge("wasinn_model_ready", "Processes in which a model is ready")
        self.instances = Gauge(
            "wasinn_guest_instances",
            "Instances of guests that are open; each process has a pool of 1500",
            registry=own,
            multiprocess_mode="livesum",
        )

    def _gauge(self, name: str, text: str) -> Any:
        return Gauge(name, text, ["model"], registry=self._own, multiprocess_mode="livesum")

    def of(self, name: str) -> ModelMetrics:
        """What is counted of the model `name`."""
        found = self._models.get(name)
        if found is None:
            found = self._models[name] = ModelMetrics(self, name)
        return found

    def refused(self, name: str, status: int, kind: str) -> None:
        """A request that came to no model's work. `name` "" where no model is called so: callers must not
        make up new rows."""
        self.requests.labels(name, str(status)).inc()
        self.failures.labels(name, kind).inc()

    def refresh(self, repository: Repository) -> None:
        """Writes the gauges."""
        self.instances.set(len(controls) + len(working))
        for name, entry in repository.entries.items():
            self.running.labels(name).set(entry.gate.running)
            self.waiting.labels(name).set(entry.gate.waiting)
            self.ready.labels(name).set(entry.state == "READY")
            pool = getattr(entry.model, "pool", None)
            if pool is not None:
                self.pool_used.labels(name).set(pool.used)
                self.pool_idle.labels(name).set(pool.idle)

    def text(self) -> bytes:
        """All of it in Prometheus' text format: of every process, where they share a folder."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            shared = CollectorRegistry()
            collect: Any = multiprocess.MultiProcessCollector
            collect(shared)
            return bytes(generate_latest(shared))
        return bytes(generate_latest(self._own))
