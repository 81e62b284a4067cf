# SPDX-License-Identifier: Apache-2.0
"""Which class of a model is which class of a guest, by their label files and offsets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError


def class_order(
    guest: OutputContract,
    own: OutputContract,
    count: int | None,
    where: str,
    warn: Callable[[str], object] | None = None,
) -> list[int] | None:
    """For each class of the guest the model's, -1 where it has none; None where all are the same.

    Two different lists of labels are matched by what they say: they may be shifted, or in another order.
    Otherwise a class is a line of the one label file: class i of either is line i + label_offset. `count`
    is the number of the model's classes, None where it is not fixed.

    Two lists of as many lines that have (nearly) no label in common are taken to be one list in two
    languages: then `warn` gets a sentence.

    Raises ConfigError where classes differ and the model's number of them is not known, where the two have
    nothing in common, and where lists that differ do not tell which class is which.
    """
    shift = guest.label_offset - own.label_offset
    named = guest.labels is not None and own.labels is not None and guest.labels != own.labels
    wanted = guest.classes
    if wanted is None and guest.labels is not None:
        wanted = len(guest.labels) - guest.label_offset
        if not named and own.labels is not None and count is not None:
            # Of one label file the model may have fewer lines than there are.
            wanted = count - shift
        elif count == 1 and wanted == 2:
            wanted = 1  # yes or no: two labels may name one number
    if count == 1 and (wanted == 2 or (named and _two_labels(guest, own))):
        raise ConfigError(
            f"{where}: the model gives one number for two classes, and guests want "
            + ("two" if guest.classes == 2 else "them by other labels")
            + "; give both contracts the same labels, and no classes"
        )
    if count is None:
        if not named and shift == 0 and (wanted is None or wanted == own.classes):
            return None
        raise ConfigError(f"{where}: how many classes the model has is not known; say it with classes = N")
    if wanted is None:
        wanted = count - shift
    order = None
    if named:
        order = _by_name(_used(guest, wanted), _used(own, count), shift, where, warn)
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


def _two_labels(guest: OutputContract, own: OutputContract) -> bool:
    """Whether two labels of either name one number."""
    return any(each.label(1) is not None and each.label(2) is None for each in (guest, own))


def _by_name(
    guest: list[str], own: list[str], shift: int, where: str, warn: Callable[[str], object] | None
) -> list[int] | None:
    """By labels; None where too few of them are the same to tell anything, and nothing is against taking
    class i for class i + shift. Raises ConfigError where something is."""
    once = {label for label, times in Counter(own).items() if times == 1 and label}
    places = {label: at for at, label in enumerate(own) if label in once}
    twice = {label for label, times in Counter(guest).items() if times > 1}
    found = [-1 if label in twice else places.get(label, -1) for label in guest]
    pairs = [(at, to) for at, to in enumerate(found) if to >= 0]
    if 2 * len(pairs) < min(len(guest), len(own)):
        common = f"{len(pairs)} of the {len(guest)} labels for guests and the {len(own)} for the model"
        moved = [(at, to) for at, to in pairs if to - at != shift]
        if len(guest) != len(own) - shift or moved:
            example = f" ({guest[moved[0][0]]!r} is class {moved[0][0]} and {moved[0][1]})" if moved else ""
            raise ConfigError(
                f"{where}: only {common} are the same{example}, which does not tell which class is which; "
                "give both contracts the labels of the same classes"
            )
        if warn is not None:
            same = f"i + {shift}" if shift > 0 else f"i - {-shift}" if shift else "i"
            warn(
                f"{where}: only {common} are the same; class i of guests is taken for class {same} of the "
                "model, as if the lists were in two languages: if they are not, the answers are wrong"
            )
        return None
    # Labels that stand twice in a list follow their neighbours.
    shift, times = Counter(to - at for at, to in pairs).most_common(1)[0]
    if 2 * times > len(pairs):
        for at, label in enumerate(guest):
            if found[at] < 0 and label and 0 <= at + shift < len(own) and own[at + shift] == label:
                found[at] = at + shift
    return found
