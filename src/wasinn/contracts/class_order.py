# SPDX-License-Identifier: Apache-2.0
"""Which class of a model is which class of a guest, by their label files and offsets."""

from __future__ import annotations

from collections import Counter

from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError


def class_order(
    guest: OutputContract, own: OutputContract, count: int | None, where: str
) -> list[int] | None:
    """For each class of the guest the model's, -1 where it has none; None where all are the same.

    Two different lists of labels are matched by what they say: they may be shifted, or in another order.
    Otherwise a class is a line of the one label file: class i of either is line i + label_offset. `count`
    is the number of the model's classes, None where it is not fixed.

    Raises ConfigError where classes differ and the model's number of them is not known, and where the two
    have nothing in common.
    """
    shift = guest.label_offset - own.label_offset
    named = guest.labels is not None and own.labels is not None and guest.labels != own.labels
    wanted = guest.classes
    if wanted is None and guest.labels is not None:
        wanted = len(guest.labels) - guest.label_offset
        if not named and own.labels is not None and count is not None:
            # Of one label file the model may have fewer lines than there are.
            wanted = count - shift
    if count is None:
        if not named and shift == 0 and (wanted is None or wanted == own.classes):
            return None
        raise ConfigError(f"{where}: how many classes the model has is not known; say it with classes = N")
    if wanted is None:
        wanted = count - shift
    order = None
    if named:
        order = _by_name(_used(guest, wanted), _used(own, count))
    if order is None:
        order = [at + shift if 0 <= at + shift < count else -1 for at in range(max(wanted, 0))]
    if all(each < 0 for each in order):
        raise ConfigError(
            f"{where}: label_offset is {guest.label_offset} for guests and {own.label_offset} for the model, "
            f"which has {count} classes: the two have no class in common"
        )
    return None if order == list(range(count)) else order


def _used(contract: OutputContract, count: int) -> list[str]:
    return [(contract.label(index) or "").strip().casefold() for index in range(count)]


def _by_name(guest: list[str], own: list[str]) -> list[int] | None:
    """By labels; None where too few of them are the same to tell anything."""
    once = {label for label, times in Counter(own).items() if times == 1 and label}
    places = {label: at for at, label in enumerate(own) if label in once}
    twice = {label for label, times in Counter(guest).items() if times > 1}
    found = [-1 if label in twice else places.get(label, -1) for label in guest]
    pairs = [(at, to) for at, to in enumerate(found) if to >= 0]
    if 2 * len(pairs) < min(len(guest), len(own)):
        return None
    # Labels that stand twice in a list follow their neighbours.
    shift, times = Counter(to - at for at, to in pairs).most_common(1)[0]
    if 2 * times > len(pairs):
        for at, label in enumerate(guest):
            if found[at] < 0 and label and 0 <= at + shift < len(own) and own[at + shift] == label:
                found[at] = at + shift
    return found
