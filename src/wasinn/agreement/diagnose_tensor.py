# SPDX-License-Identifier: Apache-2.0
"""Why the tensor that a guest sent is not the one that a contract asks for."""

from __future__ import annotations

from typing import Any

import numpy as np

from wasinn.agreement.diagnosis import Diagnosis
from wasinn.agreement.evidence import tensor_evidence
from wasinn.agreement.hypotheses import Assumption, Hypothesis, input_hypotheses
from wasinn.agreement.search import Changes, Found, Progress, applied, search
from wasinn.agreement.sending import Scene, same_arrays, send
from wasinn.agreement.witness import Witness
from wasinn.tensors import TensorSpec, format_dims

Array = np.ndarray[Any, Any]

#: What explains a tensor makes one this near: it is one picture, and nothing but rounding is left.
NEAR_TENSOR = 0.05
#: Tensors this near are the same: a step of 255 in a few places.
SAME_TENSOR = 0.004


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
        evidence = tensor_evidence(sent, right, None, witness, assumption, scene)
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
        return same_arrays(send(scene, a, spec), send(scene, b, spec))

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
            tensor_evidence(sent, right, None, witness, assumption, scene),
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
        tensor_evidence(sent, right, made, witness, assumption, scene),
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
