# SPDX-License-Identifier: Apache-2.0
"""The machine that the benchmarks run on, and what else runs on it meanwhile."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("wasinn", "wasmtime", "onnxruntime", "numpy")


def describe() -> dict[str, str]:
    """The machine and the versions, in words."""
    load = " ".join(f"{each:.1f}" for each in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return {
        "cpu": _cpu(),
        "cores": str(_cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "load before": f"{load} (1, 5, 15 minutes)",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    found = {key.strip(): value.strip() for key, value in fields.items()}
    number = f" (family {found['cpu family']}, model {found['model']})" if "cpu family" in found else ""
    return found.get("model name", "unknown") + number


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class OtherWork:
    """How many cores others use from now on, on Linux; time that a hypervisor takes counts too."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._before = _others()

    def cores(self) -> float | None:
        """The mean since the start; None where the system does not tell."""
        now = _others()
        if now is None or self._before is None:
            return None
        return max(now - self._before, 0.0) / (time.perf_counter() - self._start)


def _others() -> float | None:
    """CPU seconds that others have used since the machine started."""
    try:
        first = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, *interrupts = map(int, first.split()[1:9])
    busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return busy - own.user - own.system
