# SPDX-License-Identifier: Apache-2.0
"""How many cores this process may use: affinity and the container's quota, not what the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def usable_cores(groups: Path = _GROUPS) -> int:
    """At least 1. `groups`: where the control groups are mounted."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(groups)
    return max(1, min(cores, math.ceil(quota))) if quota is not None else max(1, cores)


def _quota(groups: Path) -> float | None:
    """The cores that the container may use on average, None for no limit (or none that can be read)."""
    try:
        most, period = (groups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # control groups of the first kind
            most = (groups / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (groups / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        quota = int(most) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return quota if quota > 0 else None
