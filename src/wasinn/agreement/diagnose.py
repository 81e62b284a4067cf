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

from wasinn.agreement.answers import Answer, aligned, other_networks
from wasinn.agreement.hypotheses import Assumption, Hypothesis, input_hypotheses, readings
from wasinn.agreement.joint import search_both
from wasinn.agreement.search import NEAR, Changes, Found, Progress, applied, search
from wasinn.agreement.sending import Scene, send
from wasinn.agreement.witness import Witness, distance, read
from wasinn.tensors import TensorSpec, format_dims

Array = np.ndarray[Any, Any]

#: Answers this near are the same: what a runtime's rounding can do.
AGREE = 0.01
#: ... and masks with so few other pixels: a runtime's rounding moves a few in a million.
AGREE_PIXELS = 0.0005
#: Two artifacts of one network that give the same answers are up to this far apart without a mistake.
ARTIFACTS = 0.15
#: What explains a tensor makes one this near: it is one picture, and nothing but rounding is left.
NEAR_TENSOR = 0.05
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
    given = suspect.witness.answers(suspect.assumption)
    before = _mean_distance(right, given)
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
        alike = all(each.same_before for each in _evidence(reference, suspect, (), ()))
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
        lambda tried: _mean_distance(wanted, side.witness.answers(tried)),
        lambda a, b: _same_numbers(side.witness, a, b),
        progress,
    )


def _mean_distance(a: Sequence[Answer | None], b: Sequence[Answer | None]) -> float:
    return float(np.mean([distance(one, other) for one, other in zip(a, b, strict=True)]))


def _strangers(right: Sequence[Answer | None], given: Sequence[Answer | None]) -> list[str]:
    """A note where the two sides cannot be one network."""
    for a, b in zip(right, given, strict=True):
        if a is not None and b is not None and a.kind == b.kind == "classes":
            doubt = other_networks(a, b)
            return [doubt] if doubt else []
    return []


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
    hopeless = _hopeless(numbers, right)
    if hopeless:
        evidence = _tensor_evidence(sent, right, None, witness, assumption, scene)
        return Diagnosis(
            "unexplained", "the contract", name, "", (), Found(1.0, None), evidence, (), (*notes, hopeless)
        )
    spread = float(np.std(numbers)) / 2 + (float(np.std(right)) / 2 if right is not None else 0.0)

    def evaluate(tried: Assumption) -> float:
        made = send(scene, tried, spec)
        if made is None or made.size != numbers.size:
            return 1.0
        gaps = made.reshape(-1).astype(np.float64) - numbers
        error = float(np.sqrt(np.mean(gaps**2)))
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
        near=NEAR_TENSOR,
    )
    made = send(scene, applied(assumption, found.best.changes), spec) if found.best is not None else None
    if found.best is not None:
        verdict, changes = ("named" if found.named else "ambiguous"), found.best.changes
    else:
        verdict, changes = "unexplained", ()
    return Diagnosis(
        verdict,
        "the contract",
        name,
        name if found.best is not None else "",
        (*_shape_hypothesis(sent, spec, changes), *changes) if found.best is not None else (),
        found,
        _tensor_evidence(sent, right, made, witness, assumption, scene),
        (),
        tuple(notes),
    )


def _hopeless(numbers: Array, right: Array | None) -> str:
    """Why a tensor cannot be the picture's in any way; empty where it can."""
    if not np.isfinite(numbers).all():
        count = int(numbers.size - np.isfinite(numbers).sum())
        return f"{count} of the tensor's {numbers.size} numbers are NaN or infinite"
    if numbers.size and np.ptp(numbers) == 0 and (right is None or np.ptp(right) > 0):
        return (
            f"every number of the tensor is {numbers[0]:g}: was nothing written to it, or were numbers from "
            "0 to 1 cast to whole ones?"
        )
    return ""


def _shape_hypothesis(sent: Array, spec: TensorSpec, changes: Changes = ()) -> list[Hypothesis]:
    """Dims that the port refuses, as a hypothesis that needs no trying. Another layout has other dims of the
    same number, and is reason enough for them."""
    if not _shape_notes(sent, spec):
        return []
    if sent.ndim == len(spec.dims or ()) and any(each.key in ("layout", "transposed") for each in changes):
        return []
    if spec.dims is not None and sent.ndim == len(spec.dims) - 1:
        return [Hypothesis("batch", "no batch dimension")]
    return [Hypothesis("dims", f"dims {format_dims(sent.shape)}")]


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
        if (
            reference is not None
            and reference.kind == "classes"
            and answer.contract.labels is None
            and abs(len(reference.values) - len(answer.values)) <= 1
        ):
            label = reference.label(line)
        return f"{label} ({share:.1%})"
    if answer.kind == "mask":
        if reference is None or reference is answer or reference.values.shape != answer.values.shape:
            return f"{len(np.unique(answer.values))} classes"
        return f"{float(np.mean(answer.values == reference.values)):.1%} the same"
    if answer.kind == "boxes":
        return f"{len(answer.boxes)} boxes"
    if answer.top is not None:
        return f"number {answer.top} is the largest"
    return f"mean {float(np.mean(answer.values)):.4g}"


def _same_answer(a: Answer | None, b: Answer | None) -> bool:
    if a is None or b is None or a.kind != b.kind:
        return False
    if a.kind == "classes":
        left, right = aligned(a, b)
        return int(np.argmax(left)) == int(np.argmax(right)) and distance(a, b) <= NEAR
    if a.kind == "mask":
        return a.values.shape == b.values.shape and bool(np.mean(a.values == b.values) >= 0.99)
    if a.top is not None and b.top is not None:
        return a.top == b.top and distance(a, b) < 0.1
    return distance(a, b) < 0.05
