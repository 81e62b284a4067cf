# SPDX-License-Identifier: Apache-2.0
"""Why two graphs answer the same pictures differently: the hypotheses of `hypotheses.py`, tried, and what
came of it. What must change in how the second one is sent its pictures, or read?

The other question, how a guest made the tensor that it sent, is `diagnose_tensor.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from wasinn.agreement.answers import Answer, other_networks
from wasinn.agreement.diagnosis import Diagnosis, Side
from wasinn.agreement.evidence import graph_evidence
from wasinn.agreement.hypotheses import Assumption, input_hypotheses, readings
from wasinn.agreement.joint import search_both
from wasinn.agreement.search import Changes, Found, Progress, search
from wasinn.agreement.sending import same_arrays, send
from wasinn.agreement.witness import Witness, mean_distance
from wasinn.tensors import format_dims

#: Answers this near are the same: what a runtime's rounding can do.
AGREE = 0.01
#: ... and masks with so few other pixels: a runtime's rounding moves a few in a million.
AGREE_PIXELS = 0.0005
#: Two artifacts of one network that give the same answers are up to this far apart without a mistake.
ARTIFACTS = 0.15


def diagnose_graphs(reference: Side, suspect: Side, progress: Progress | None = None) -> Diagnosis:
    """Why `suspect` answers the scenes otherwise than `reference`. Both witnesses have the same scenes.

    Where nobody said what the reference takes, both sides are searched, and among changes that make them
    agree those win with which the answers are surest.
    """
    right = reference.witness.answers(reference.assumption)
    given = suspect.witness.answers(suspect.assumption)
    before = mean_distance(right, given)
    notes = [*_failures(reference, suspect), *_strangers(right, given)]
    found = Found(before, None)
    if before <= (AGREE_PIXELS if suspect.assumption.output.kind == "mask" else AGREE):
        return _diagnosis("agree", reference, suspect, (), (), found, notes)
    if _strangers(right, given):
        return _diagnosis("unexplained", reference, suspect, (), (), found, notes)
    changed: Changes = ()
    if not reference.guessed:
        found = _search_one(suspect, right, progress)
    elif not suspect.guessed:
        # What was written down is trusted, and not what was read off a file.
        found = _search_one(reference, given, progress)
        changed = found.best.changes if found.best is not None else ()
    if found.best is None and reference.guessed:
        changed, found = search_both(reference, suspect, progress)
    if found.best is None:
        alike = all(each.same_before for each in graph_evidence(reference, suspect, (), ()))
        if found.likely is not None and not (alike and before <= ARTIFACTS):
            likely = found.likely.changes
            one, other = ((), likely) if not reference.guessed else (likely, ())
            return _diagnosis("likely", reference, suspect, other, one, found, notes)
        return _diagnosis("agree" if alike else "unexplained", reference, suspect, (), (), found, notes)
    verdict = "named" if found.named else "ambiguous"
    changes = found.best.changes[len(changed) :]
    return _diagnosis(verdict, reference, suspect, changes, changed, found, notes)


def _search_one(side: Side, wanted: Sequence[Answer | None], progress: Progress | None) -> Found:
    """The changes of one side under which it answers as is wanted."""
    return search(
        side.assumption,
        input_hypotheses(side.assumption, side.witness.spec, _resizable(side)),
        readings(side.assumption),
        lambda tried: mean_distance(wanted, side.witness.answers(tried)),
        lambda a, b: _same_numbers(side.witness, a, b),
        progress,
    )


def _strangers(right: Sequence[Answer | None], given: Sequence[Answer | None]) -> list[str]:
    """A note where the two sides cannot be one network."""
    for a, b in zip(right, given, strict=True):
        if a is not None and b is not None and a.kind == b.kind == "classes":
            doubt = other_networks(a, b)
            return [doubt] if doubt else []
    return []


def _resizable(side: Side) -> bool:
    return all(scene.picture is not None for scene in side.witness.scenes)


def _same_numbers(witness: Witness, a: Assumption, b: Assumption) -> bool:
    """Whether two assumptions make the same tensors and read them in the same way."""
    if a.output != b.output:
        return False
    scene = witness.scenes[0]
    return same_arrays(send(scene, a, witness.spec), send(scene, b, witness.spec))


def _failures(*sides: Side) -> list[str]:
    notes = []
    for side in sides:
        if all(array is None for array in side.witness.outputs(side.assumption)):
            image = side.assumption.input.image
            dims = format_dims(image.dims) if image is not None else "?"
            notes.append(
                f"{side.name} takes {side.witness.spec}, and what its contract makes is "
                f"{side.assumption.input.type.label} {dims}: it could not be asked at all"
            )
    return notes


def _diagnosis(
    verdict: str,
    reference: Side,
    suspect: Side,
    changes: Changes,
    reference_changes: Changes,
    found: Found,
    notes: Sequence[str],
) -> Diagnosis:
    blamed = " and ".join(
        side.name for side, some in ((reference, reference_changes), (suspect, changes)) if some
    )
    return Diagnosis(
        verdict,
        reference.name,
        suspect.name,
        blamed,
        changes,
        found,
        graph_evidence(reference, suspect, reference_changes, changes),
        reference_changes,
        tuple(notes),
    )
