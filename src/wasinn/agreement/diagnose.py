# SPDX-License-Identifier: Apache-2.0
"""Why two answers differ: the hypotheses of `hypotheses.py`, tried, and what came of it.

Two questions are answered. `diagnose_graphs`: two graphs see the same pictures and answer differently; what
must change in how the second one is sent its pictures, or read? `diagnose_tensor`: a guest has sent this
tensor for that picture; how did it make it?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.agreement.answers import Answer
from wasinn.agreement.hypotheses import Assumption, Hypothesis, input_hypotheses, readings
from wasinn.agreement.joint import search_both
from wasinn.agreement.search import Changes, Found, Progress, applied, search
from wasinn.agreement.sending import Scene, send
from wasinn.agreement.witness import Witness, distance, read
from wasinn.tensors import TensorSpec, format_dims

Array = np.ndarray[Any, Any]

#: Answers this near are the same: what a runtime's rounding can do.
AGREE = 0.01
#: ... and masks with so few other pixels: a runtime's rounding moves a few in a million.
AGREE_PIXELS = 0.0005
#: Tensors this near are the same: a step of 255 in a few places.
SAME_TENSOR = 0.004


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


def diagnose_graphs(reference: Side, suspect: Side, progress: Progress | None = None) -> Diagnosis:
    """Why `suspect` answers the scenes otherwise than `reference`. Both witnesses have the same scenes.

    Where nobody said what the reference takes, both sides are searched, and among changes that make them
    agree those win with which the answers are surest.
    """
    right = reference.witness.answers(reference.assumption)

    def evaluate(assumption: Assumption) -> float:
        pairs = zip(right, suspect.witness.answers(assumption), strict=True)
        return float(np.mean([distance(a, b) for a, b in pairs]))

    before = evaluate(suspect.assumption)
    notes = _failures(reference, suspect)
    if before <= (AGREE_PIXELS if suspect.assumption.output.kind == "mask" else AGREE):
        found = Found(before, None)
        return _diagnosis("agree", reference, suspect, (), (), found, notes)
    changed_reference: Changes = ()
    if reference.guessed:
        changed_reference, found = search_both(reference, suspect, progress)
    else:
        found = search(
            suspect.assumption,
            input_hypotheses(suspect.assumption, suspect.witness.spec, _resizable(suspect)),
            readings(suspect.assumption),
            evaluate,
            lambda a, b: _same_numbers(suspect.witness, a, b),
            progress,
        )
    if found.best is None:
        evidence = _evidence(reference, suspect, (), ())
        if found.likely is not None:
            return _diagnosis("likely", reference, suspect, found.likely.changes, (), found, notes)
        alike = all(each.same_before for each in evidence)
        return _diagnosis("agree" if alike else "unexplained", reference, suspect, (), (), found, notes)
    changes = tuple(each for each in found.best.changes if each not in changed_reference)
    verdict = "named" if found.named else "ambiguous"
    return _diagnosis(verdict, reference, suspect, changes, changed_reference, found, notes)


def diagnose_tensor(
    name: str,
    sent: Array,
    scene: Scene,
    assumption: Assumption,
    spec: TensorSpec,
    witness: Witness | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """How `sent`, the tensor that `name` made of the scene, differs from what the contract asks for.

    `assumption` is the contract, which is taken to be right. `witness`, the graph that gets the tensor, shows
    what that does to the answers.
    """
    notes = _shape_notes(sent, spec)
    numbers = np.ascontiguousarray(sent).reshape(-1).astype(np.float64)
    right = send(scene, assumption, spec)
    spread = float(np.nanstd(numbers)) / 2 + (float(np.std(right)) / 2 if right is not None else 0.0)

    def evaluate(tried: Assumption) -> float:
        made = send(scene, tried, spec)
        if made is None or made.size != numbers.size:
            return 1.0
        gaps = made.reshape(-1).astype(np.float64) - numbers
        error = float(np.sqrt(np.nanmean(gaps**2)))
        return min(1.0, error / spread) if spread > 0 else float(error > 0)

    def same(a: Assumption, b: Assumption) -> bool:
        return _same_arrays(send(scene, a, spec), send(scene, b, spec))

    before = evaluate(assumption)
    if before <= SAME_TENSOR:
        verdict, found = ("named" if notes else "agree"), Found(before, None)
        return Diagnosis(
            verdict,
            "the contract",
            name,
            name if notes else "",
            tuple(_shape_hypothesis(sent, spec)),
            found,
            _tensor_evidence(sent, right, None, witness, assumption, scene),
            (),
            tuple(notes),
        )
    found = search(
        assumption,
        input_hypotheses(assumption, spec, scene.picture is not None),
        (),
        evaluate,
        same,
        progress,
    )
    made = send(scene, applied(assumption, found.best.changes), spec) if found.best is not None else None
    verdict = "unexplained" if found.best is None else "named" if found.named else "ambiguous"
    return Diagnosis(
        verdict,
        "the contract",
        name,
        name if found.best is not None else "",
        (*_shape_hypothesis(sent, spec), *(found.best.changes if found.best is not None else ())),
        found,
        _tensor_evidence(sent, right, made, witness, assumption, scene),
        (),
        tuple(notes),
    )


def _shape_hypothesis(sent: Array, spec: TensorSpec) -> list[Hypothesis]:
    """Dims or a type that the port refuses, as a hypothesis that needs no trying."""
    found = []
    if spec.dims is not None and sent.ndim == len(spec.dims) - 1:
        found.append(Hypothesis("batch", "no batch dimension"))
    return found


def _shape_notes(sent: Array, spec: TensorSpec) -> list[str]:
    notes = []
    if spec.dims is not None and (
        len(spec.dims) != sent.ndim
        or any(want not in (None, got) for want, got in zip(spec.dims, sent.shape, strict=True))
    ):
        why = "; the batch dimension (a leading 1) is missing" if sent.ndim == len(spec.dims) - 1 else ""
        notes.append(f"the tensor is {format_dims(sent.shape)}, and the port takes {spec}{why}")
    return notes


def _resizable(side: Side) -> bool:
    return all(scene.picture is not None for scene in side.witness.scenes)


def _same_numbers(witness: Witness, a: Assumption, b: Assumption) -> bool:
    """Whether two assumptions make the same tensors and read them in the same way."""
    if a.output != b.output:
        return False
    scene = witness.scenes[0]
    return _same_arrays(send(scene, a, witness.spec), send(scene, b, witness.spec))


def _same_arrays(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None or a.shape != b.shape:
        return False
    one, other = a.astype(np.float64), b.astype(np.float64)
    return bool(np.sqrt(np.mean((one - other) ** 2)) <= 1e-3 * max(float(np.std(one)), 1e-9))


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
        _evidence(reference, suspect, reference_changes, changes),
        reference_changes,
        tuple(notes),
    )


def _evidence(
    reference: Side, suspect: Side, reference_changes: Changes, changes: Changes
) -> tuple[Evidence, ...]:
    rows = []
    right = reference.witness.answers(reference.assumption)
    right_after = reference.witness.answers(applied(reference.assumption, reference_changes))
    before = suspect.witness.answers(suspect.assumption)
    after = suspect.witness.answers(applied(suspect.assumption, changes))
    for at, scene in enumerate(suspect.witness.scenes):
        gap, gap_after = distance(right[at], before[at]), distance(right_after[at], after[at])
        rows.append(
            Evidence(
                scene.name,
                said(right_after[at], after[at]),
                said(before[at], right[at]),
                said(after[at], right_after[at]),
                _same_answer(right[at], before[at]),
                _same_answer(right_after[at], after[at]),
                gap,
                gap_after,
            )
        )
    return tuple(rows)


def _tensor_evidence(
    sent: Array,
    right: Array | None,
    made: Array | None,
    witness: Witness | None,
    assumption: Assumption,
    scene: Scene,
) -> tuple[Evidence, ...]:
    """What the graph answers to the tensor that was sent, and to the one that is right."""
    if witness is None or right is None:
        return ()
    fitting = sent.reshape(right.shape).astype(right.dtype) if sent.size == right.size else None
    got = read(witness.outputs_of(fitting) if fitting is not None else None, assumption)
    wanted = read(witness.outputs_of(right), assumption)
    explained = read(witness.outputs_of(made.astype(right.dtype)), assumption) if made is not None else None
    return (
        Evidence(
            scene.name,
            said(wanted, wanted),
            said(got, wanted),
            said(explained, wanted),
            _same_answer(wanted, got),
            _same_answer(explained, got),
            distance(wanted, got),
            distance(explained, got),
        ),
    )


def said(answer: Answer | None, reference: Answer | None) -> str:
    """An answer in a few words, against the reference's where only that says something."""
    if answer is None:
        return "no answer"
    if answer.kind == "classes":
        # Labels are the other side's where this one has none.
        line, share = answer.best(1)[0]
        label = answer.label(line)
        if reference is not None and reference.kind == "classes" and label.startswith("class "):
            label = reference.label(line)
        return f"{label} ({share:.1%})"
    if answer.kind == "mask":
        if reference is None or reference is answer or reference.values.shape != answer.values.shape:
            return f"{len(np.unique(answer.values))} classes"
        return f"{float(np.mean(answer.values == reference.values)):.1%} of its pixels"
    if answer.kind == "boxes":
        return f"{len(answer.boxes)} boxes"
    if answer.top is not None:
        return f"number {answer.top} is the largest"
    return f"mean {float(np.mean(answer.values)):.4g}"


def _same_answer(a: Answer | None, b: Answer | None) -> bool:
    if a is None or b is None or a.kind != b.kind:
        return False
    if a.kind == "classes":
        return a.top == b.top
    if a.kind == "mask":
        return a.values.shape == b.values.shape and bool(np.mean(a.values == b.values) >= 0.99)
    if a.top is not None and b.top is not None:
        return a.top == b.top and distance(a, b) < 0.1
    return distance(a, b) < 0.05
