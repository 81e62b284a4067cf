# SPDX-License-Identifier: Apache-2.0
"""A graph that is asked the same scenes under one assumption after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wasinn.agreement.answers import Answer, answer_of, difference
from wasinn.agreement.hypotheses import Assumption
from wasinn.agreement.sending import Scene, send
from wasinn.contracts.contract import InputContract, OutputContract
from wasinn.contracts.quantization import dequantize
from wasinn.errors import ConfigError, WasiNNError
from wasinn.runtime.direct import DirectGraph
from wasinn.tensors import Quantization, Tensor

Array = np.ndarray[Any, Any]
Sent = tuple[InputContract, frozenset[str]]

#: Outputs of at most so many bytes are kept, to be read in other ways: hundreds of them. Of larger ones, only
#: what was read in them.
_KEPT = 1 << 20


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
            if all(array is None or array.nbytes <= _KEPT for array in found):
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

    Of classes it is the Hellinger distance, sqrt(1 - sum sqrt(p q)), which sees small probabilities too;
    else `Difference.distance`.
    """
    if a is None or b is None:
        return 1.0
    if a.kind == b.kind == "classes":
        first, end = max(a.first, b.first), min(a.first + len(a.values), b.first + len(b.values))
        if end - first < 2:
            return 1.0
        left = amplitudes(a.values[first - a.first : end - a.first])
        right = amplitudes(b.values[first - b.first : end - b.first])
        return float(np.sqrt(max(0.0, 1.0 - float(left @ right))))
    return difference(a, b).distance


def amplitudes(values: Array) -> Array:
    """Square roots of shares that sum to 1: what is no probability (below 0, or no number) counts as 0."""
    clean = np.clip(np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0), 0.0, None)
    total = clean.sum()
    return np.sqrt(clean / total) if total > 0 else np.zeros_like(clean)
