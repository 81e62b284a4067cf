# SPDX-License-Identifier: Apache-2.0
"""Within which bounds two answers count as the same."""

from __future__ import annotations

from dataclasses import dataclass

from wasinn.agreement.answers import Difference


@dataclass(frozen=True)
class Tolerances:
    """`probability`: the largest difference of a probability, absolute. `relative`: of raw numbers, the root
    mean square of the differences over that of the numbers. `pixels`: the share of a mask's pixels that are
    the same class. `boxes`: the share of boxes that have a partner. `overlap`: the share of the best `k` that
    both have. `top1`: the share of the inputs on which the best class is the same; below 1, as many inputs as
    that leaves may differ in anything."""

    probability: float = 0.1
    relative: float = 0.01
    pixels: float = 0.99
    boxes: float = 0.9
    overlap: float = 0.0
    top1: float = 1.0

    def reasons(self, kind: str, found: Difference) -> list[str]:
        """Why two answers of one kind do not count as the same; empty where they do."""
        if found.note:
            # Equal answers can have a note too (both are full of NaN); only those differ by 0.
            return [found.note] if found.distance > 0 else []
        if kind == "mask":
            if 1 - found.distance < self.pixels:
                return [f"{found.distance:.2%} of the pixels differ"]
            return []
        if kind == "raw":
            if found.distance > self.relative:
                return [f"the numbers differ by {found.distance:.3g} of their size"]
            return []
        reasons = []
        if kind == "boxes" and 1 - found.distance < self.boxes:
            reasons.append(f"{found.distance:.0%} of the boxes have no partner")
        if found.top1 is False:
            reasons.append("another best class")
        if found.largest > self.probability:
            noun = "score" if kind == "boxes" else "probability"
            reasons.append(f"a {noun} differs by {found.largest:.3g}")
        if found.overlap is not None and found.overlap < self.overlap:
            reasons.append(f"only {found.overlap:.0%} of the best classes are the same")
        return reasons

    def in_words(self, kinds: set[str]) -> str:
        """What was asked of the kinds of answers that came."""
        words = []
        if "classes" in kinds:
            words.append(
                "the same best class" if self.top1 >= 1 else f"that on {self.top1:.1%} of the inputs"
            )
            if self.overlap > 0:
                words.append(f"{self.overlap:.0%} of the best classes")
        if "mask" in kinds:
            words.append(f"{self.pixels:.1%} of the pixels the same")
        if "boxes" in kinds:
            words.append(f"{self.boxes:.0%} of the boxes paired")
        if kinds & {"classes", "boxes"}:
            words.append(f"probabilities within {self.probability:g}")
        if "raw" in kinds:
            words.append(f"numbers within {self.relative:g} of their size")
        return ", ".join(words)
