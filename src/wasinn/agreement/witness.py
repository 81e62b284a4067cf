# SPDX-License-Identifier: Apache-2.0
"""A graph that is asked the same scenes under one assumption after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wasinn.agreement.answers import Answer, aligned, answer_of, difference
from wasinn.agreement.hypotheses import Assumption
from wasinn.agreement.sending import Scene, send
from wasinn.contracts.contract import InputContract, OutputContract
from wasinn.contracts.quantization import dequantize
from wasinn.errors import ConfigError, WasiNNError
from wasinn.runtime.direct import DirectGraph
from wasinn.tensors import Quantization, Tensor

Array = np.ndarray[Any, Any]
Sent = tuple[InputContract, frozenset[str]]

#: Outputs and answers are kept up to so many bytes in all, for hundreds of tries; after that they are
#: computed again.
_MOST = 256 << 20


class Witness:
    """Answers under assumptions; each different tensor is computed once.

    `fixed` are the graph's other inputs, the same for every scene.
    """

    def __init__(
        self,
        graph: DirectGraph,
        input_index: int,
        output_index: int,
        scenes: Sequence[Scene],
        fixed: Mapping[int, Tensor] | None = None,
    ) -> None:
        self.graph = graph
        self.scenes = scenes
        self.spec = graph.inputs[input_index]
        self.computes = 0
        self._held = 0
        self._input, self._output = input_index, output_index
        self._fixed = dict(fixed or {})
        self._computed: dict[Sent, list[Array | None]] = {}
        self._read: dict[tuple[Sent, OutputContract], list[Answer | None]] = {}

    def outputs(self, assumption: Assumption) -> list[Array | None]:
        """The output's numbers for each scene, in the model's type; None where nothing could be computed."""
        key = (assumption.input, assumption.slips)
        found = self._computed.get(key)
        if found is None:
            found = [self._one(send(scene, assumption, self.spec)) for scene in self.scenes]
            size = sum(array.nbytes for array in found if array is not None)
            if self._held + size <= _MOST:
                self._held += size
                self._computed[key] = found
        return found

    def outputs_of(self, array: Array) -> Array | None:
        """The output's numbers for a finished tensor."""
        return self._one(array)

    def _one(self, array: Array | None) -> Array | None:
        if array is None:
            return None
        try:
            tensor = Tensor.of(array, None if self.spec.any_type else self.spec.type)
            inference = self.graph.infer({**self._fixed, self._input: tensor})
        except (WasiNNError, ValueError):
            return None
        self.computes += 1
        return inference.outputs[self._output]

    def answers(self, assumption: Assumption) -> list[Answer | None]:
        """What the assumption makes of the scenes' outputs."""
        key = ((assumption.input, assumption.slips), assumption.output)
        found = self._read.get(key)
        if found is None:
            found = [read(array, assumption) for array in self.outputs(assumption)]
            size = sum(answer.values.nbytes for answer in found if answer is not None)
            if self._held + size <= _MOST:
                self._held += size
                self._read[key] = found
        return found


def read(array: Array | None, assumption: Assumption) -> Answer | None:
    """An output's numbers as the assumption reads them; None where it cannot."""
    if array is None:
        return None
    output = assumption.output
    if isinstance(output.quantization, Quantization):
        array = dequantize(array, output.quantization)
    try:
        return answer_of(array, replace(output, boxes=None))
    except ConfigError:
        return None


def distance(a: Answer | None, b: Answer | None) -> float:
    """0 for the same answer, 1 for ones with nothing in common.

    Of classes it is the Hellinger distance, which sees small probabilities too, of whatever the two sum up
    to: sqrt(1 - 2 * sum(sqrt(p * q)) / (sum(p) + sum(q))); else `Difference.distance`.
    """
    if a is None or b is None:
        return 1.0
    if a.kind == b.kind == "classes":
        left, right = (
            np.clip(np.nan_to_num(each, posinf=0.0, neginf=0.0), 0.0, None) for each in aligned(a, b)
        )
        total = float(left.sum() + right.sum())
        common = float(np.sqrt(left * right).sum())
        return float(np.sqrt(max(0.0, 1.0 - 2.0 * common / total))) if total > 0 else 1.0
    return difference(a, b).distance


def mean_distance(a: Sequence[Answer | None], b: Sequence[Answer | None]) -> float:
    """Of the answers to the same scenes."""
    return float(np.mean([distance(one, other) for one, other in zip(a, b, strict=True)]))
