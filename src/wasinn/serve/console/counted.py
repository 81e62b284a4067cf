# SPDX-License-Identifier: Apache-2.0
"""The server's metrics by model, for the page: what Prometheus reads, as numbers."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from wasinn.serve.metrics import Metrics

#: The page's names of gauges and histograms.
_GAUGES = {
    "wasinn_requests_running": "running",
    "wasinn_requests_waiting": "waiting",
    "wasinn_executions_used": "used",
    "wasinn_executions_idle": "idle",
    "wasinn_model_ready": "ready",
}
_HISTOGRAMS = {
    "wasinn_request_seconds": "seconds",
    "wasinn_queue_seconds": "queued",
    "wasinn_compute_seconds": "compute",
    "wasinn_batch_rows": "batches",
}
#: Seconds for which what was read counts: many pages may be open, and reading takes milliseconds.
_KEPT = 0.8


class Counted:
    """Reads the metrics at most so often, in a thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._read = -math.inf
        self._found: dict[str, dict[str, Any]] = {}

    async def by_model(self) -> dict[str, dict[str, Any]]:
        """Totals since the start, of all processes: `statuses` and `failures` by kind; the gauges `running`,
        `waiting`, `used`, `idle`, `ready`; and `seconds`, `queued`, `compute`, `batches`, each with `count`,
        `sum` and `buckets` ([upper edge or None, so many up to it])."""
        async with self._lock:
            if time.monotonic() - self._read > _KEPT:
                self._found = await asyncio.to_thread(read, self._metrics)
                self._read = time.monotonic()
            return self._found


def read(metrics: Metrics) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            name = sample.labels.get("model", "")
            if not name:
                continue
            model = found.setdefault(name, {"statuses": {}, "failures": {}})
            if sample.name == "wasinn_requests_total":
                model["statuses"][sample.labels["status"]] = int(sample.value)
            elif sample.name == "wasinn_failures_total":
                model["failures"][sample.labels["kind"]] = int(sample.value)
            elif family.name in _GAUGES:
                model[_GAUGES[family.name]] = int(sample.value)
            elif family.name in _HISTOGRAMS:
                _add(model.setdefault(_HISTOGRAMS[family.name], {"buckets": []}), sample, family.name)
    return found


def _add(histogram: dict[str, Any], sample: Any, name: str) -> None:
    if sample.name == f"{name}_bucket":
        edge = float(sample.labels["le"])
        histogram["buckets"].append([edge if math.isfinite(edge) else None, int(sample.value)])
    elif sample.name == f"{name}_sum":
        histogram["sum"] = sample.value
    elif sample.name == f"{name}_count":
        histogram["count"] = int(sample.value)
