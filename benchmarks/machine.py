# SPDX-License-Identifier: Apache-2.0
"""The machine that the benchmarks run on, and what else runs on it meanwhile."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

from wasinn.backends import lookup

PACKAGES = ("wasinn", "wasmtime", "numpy")


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
        **{each.name: each.version() or "not installed" for each in lookup.all_backends()},
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
    return busy - own.user - own.system - own.children_user - own.children_system - _below(os.getpid())


def _below(parent: int) -> float:
    """CPU seconds of the living processes that a process has started, directly or not."""
    seconds = 0.0
    for task in Path(f"/proc/{parent}/task").iterdir():
        try:
            children = (task / "children").read_text(encoding="utf-8").split()
        except OSError:  # ended meanwhile, or a system that does not tell
            continue
        for child in children:
            try:
                text = Path(f"/proc/{child}/stat").read_text(encoding="utf-8")
                # After the name, which may hold anything but ends with the last parenthesis.
                times = text.rpartition(")")[2].split()[11:15]
                seconds += sum(map(int, times)) / os.sysconf("SC_CLK_TCK") + _below(int(child))
            except OSError:
                continue
    return seconds
