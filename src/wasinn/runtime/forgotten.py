# SPDX-License-Identifier: Apache-2.0
"""Instances that were never closed and that nobody has any more.

They are not freed where the garbage collector finds them, which may be anywhere, also where a lock is held:
the next instance that is made frees them.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Protocol


class Forgettable(Protocol):
    def _free(self) -> None:
        """Frees all that it holds. May be called twice; never while a guest runs in it."""

    def _stopped(self, reason: str) -> None:
        """Called by any thread: ends what runs outside wasm."""


_forgotten: list[Forgettable] = []


def forget(instance: Forgettable) -> None:
    """Takes an instance that is about to go, from its finalizer."""
    _forgotten.append(instance)


def free_forgotten() -> None:
    """Frees what was taken until now."""
    while _forgotten:
        try:
            instance = _forgotten.pop()
        except IndexError:  # another thread has it
            return
        instance._free()


def weakly_stopped(instance: Forgettable) -> Callable[[str], None]:
    """`instance._stopped`, which does not keep the instance: all runs are in a table."""
    return functools.partial(_stop, weakref.ref(instance))


def _stop(instance: weakref.ref[Forgettable], reason: str) -> None:
    found = instance()
    if found is not None:
        found._stopped(reason)
