# SPDX-License-Identifier: Apache-2.0
"""The index spaces of a component into which items are put: what each index of the guest's becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import IntEnum

from wasinn.abi.component.binary import Reader
from wasinn.abi.component.builder import number
from wasinn.abi.component.model import NotRewritable


class Space(IntEnum):
    """The index spaces in which the shims take indices."""

    FUNC = 1
    CORE_FUNC = 2
    CORE_INSTANCE = 3
    CORE_MODULE = 4
    CORE_MEMORY = 5


class Indices:
    """Counts the guest's items and ours, in the order in which they come."""

    def __init__(self, data: bytes, start: Mapping[Space, int]) -> None:
        """`data` is the guest, `start` how many items it has already."""
        self._data = data
        #: How many items of each space the guest has so far, and how many there are in all.
        self.of_guest = Counter(start)
        self._all = Counter(start)
        #: By space: the guest's indices from which on one more item is before them.
        self._shifts: dict[Space, list[int]] = {space: [] for space in Space}
        #: The indices that were read and are others now: where they start and end, and the new one.
        self.patches: list[tuple[int, int, int]] = []

    def read(self, reader: Reader, space: Space) -> int:
        """Reads an index: the guest's own. The new one is noted, if it differs."""
        start = reader.position
        old = reader.u32()
        if old >= self.of_guest[space]:
            raise NotRewritable("the component names an item that it does not have")
        new = self.at(space, old)
        if new != old:
            self.patches.append((start, reader.position, new))
        return old

    def at(self, space: Space, old: int) -> int:
        """What an index of the guest's is now."""
        return old + sum(old >= first for first in self._shifts[space])

    def patched(self, start: int, end: int) -> bytes:
        """What the guest has from `start` to `end`, with the new indices that were noted there."""
        parts = []
        for first, last, value in self.patches:
            parts += [self._data[start:first], number(value)]
            start = last
        return b"".join([*parts, self._data[start:end]])

    def count(self, space: Space) -> None:
        """The guest defines one more."""
        self.of_guest[space] += 1
        self._all[space] += 1

    def own(self, space: Space) -> int:
        """One more is ours: its index."""
        self._shifts[space].append(self.of_guest[space])
        self._all[space] += 1
        return self._all[space] - 1
