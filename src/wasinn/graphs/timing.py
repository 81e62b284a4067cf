# SPDX-License-Identifier: Apache-2.0
"""How long a graph computes: whether the thread that asks may as well do it itself."""

from __future__ import annotations

#: A hop to another thread and back costs 30 to 100 us; what takes less than some of these holds nobody up.
_QUICK_SECONDS = 300e-6
#: The weight of the newest compute in the estimate.
_WEIGHT = 0.25


class Timing:
    """An estimate of a graph's compute, from those that were. Good enough without a lock."""

    __slots__ = ("bytes", "quick", "seconds")

    def __init__(self) -> None:
        #: Seconds of a compute; None before the first.
        self.seconds: float | None = None
        #: Whether a compute is known to be short, and of how many bytes of inputs.
        self.quick = False
        self.bytes = 0

    def quick_for(self, size: int) -> bool:
        """Whether a compute of `size` bytes of inputs is known to be short: larger ones may be longer."""
        return self.quick and size <= self.bytes

    def add(self, seconds: float, size: int = 0) -> None:
        """Counts a compute of `size` bytes of inputs that took `seconds`."""
        before = self.seconds
        now = seconds if before is None else before + _WEIGHT * (seconds - before)
        self.seconds = now
        self.quick = now < _QUICK_SECONDS and seconds < 4 * _QUICK_SECONDS
        if self.quick and size > self.bytes:
            self.bytes = size
