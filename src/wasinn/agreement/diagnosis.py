# SPDX-License-Identifier: Apache-2.0
"""What a diagnosis is about, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

from wasinn.agreement.hypotheses import Assumption
from wasinn.agreement.search import Changes, Found
from wasinn.agreement.witness import Witness


@dataclass(frozen=True)
class Side:
    """One of two that answer. `guessed`: nobody gave it a contract; it was read off the file."""

    name: str
    witness: Witness
    assumption: Assumption
    guessed: bool = False


@dataclass(frozen=True)
class Evidence:
    """One scene's answers: the reference's, the suspect's before and after the changes."""

    scene: str
    reference: str
    before: str
    after: str
    same_before: bool
    same_after: bool
    distance_before: float
    distance_after: float


@dataclass(frozen=True)
class Diagnosis:
    """`verdict`: "agree"; "named" (one cause); "ambiguous" (several that explain it as well); "likely" (one
    change stands out, and leaves much of the difference); "unexplained".

    `blamed` is the name of what has to change, and `changes` what; both are empty without a cause.
    `reference_changes` are those of the reference, where nobody said what that takes. `found` has the
    distances. `notes` are remarks, a line each.
    """

    verdict: str
    reference: str
    suspect: str
    blamed: str
    changes: Changes
    found: Found
    evidence: tuple[Evidence, ...] = ()
    reference_changes: Changes = ()
    notes: tuple[str, ...] = ()

    @property
    def causes(self) -> tuple[str, ...]:
        """What the changes are about: "colour", "layout", ..."""
        return tuple(sorted({each.key for each in (*self.changes, *self.reference_changes)}))

    def says(self, key: str) -> bool:
        """Whether the cause that is named is `key`, also in other words for the same change."""
        return self.verdict == "named" and (
            self.causes == (key,) or any(each.keys == frozenset((key,)) for each in self.found.same)
        )
