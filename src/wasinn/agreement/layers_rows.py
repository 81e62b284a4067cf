# SPDX-License-Identifier: Apache-2.0
"""One tensor of a model on two runtimes, compared; and what a comparison of all of them found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.spec import TensorType
from wasinn.tensors import FLOATS, format_dims

Array = np.ndarray[Any, Any]

#: Keeps 0 over 0 from counting: numbers below it are no drift.
_TINY = 1e-12
#: What f32 rounds away: an input's difference below it is noise.
NOISE = 2.0**-24

_FLOATS = (*FLOATS, TensorType.BF16)


@dataclass(frozen=True)
class LayerRow:
    """One tensor. `index` counts from 0 along the graph.

    `rms_rel` and `max_rel` are relative differences: the root mean square of a - b over that of a, and the
    largest |a - b| over the largest |a|; infinite where NaN, infinities or dims differ. Of integers and
    booleans both are the share of the elements that differ, and any is beyond the tolerance. `inputs`: the
    tensors that the node reads and that were compared, with their `rms_rel`.
    """

    index: int
    tensor: str
    node: str
    op: str
    type: str
    dims: tuple[int, ...]
    max_rel: float
    rms_rel: float
    beyond: bool
    note: str = ""
    inputs: tuple[tuple[str, float], ...] = ()

    @property
    def inputs_rms(self) -> float:
        return max((value for _, value in self.inputs), default=0.0)

    @property
    def growth(self) -> float:
        """How many times larger the difference is than that of the node's inputs."""
        if math.isinf(self.inputs_rms):
            return 0.0
        return self.rms_rel / max(self.inputs_rms, NOISE)

    @property
    def title(self) -> str:
        """`node '/conv1' (Conv)`, or the operator alone where the node has no name."""
        return f"node {self.node!r} ({self.op})" if self.node else f"a node {self.op} without a name"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: null in its place."""
        return {
            "index": self.index,
            "tensor": self.tensor,
            "node": self.node,
            "op": self.op,
            "type": self.type,
            "dims": list(self.dims),
            "max_rel": finite(self.max_rel),
            "rms_rel": finite(self.rms_rel),
            "beyond": self.beyond,
            "note": self.note,
            "inputs": [{"tensor": name, "rms_rel": finite(value)} for name, value in self.inputs],
        }


@dataclass(frozen=True)
class LayersReport:
    """What `compare_layers` found.

    `rows` in the order of the graph. `first` is the first beyond the tolerance; `jump` the one whose
    difference is largest for what its inputs differ. `plain` and `exposed`: the largest `rms_rel` of the
    model's outputs, as it is and with its inner tensors exposed. `fused`: where only the former is beyond
    the tolerance, the first tensor whose exposure cures it. `left_out`: tensors that a runtime does not give.
    """

    names: tuple[str, str]
    rows: tuple[LayerRow, ...]
    tolerance: float
    plain: float
    exposed: float
    first: LayerRow | None = None
    jump: LayerRow | None = None
    fused: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether anything is beyond the tolerance."""
        return self.first is not None or self.plain > self.tolerance

    @property
    def cured(self) -> bool:
        """Whether the model's outputs agree only while inner tensors are exposed: a kernel that a runtime
        merges from several nodes is the cause."""
        return self.plain > self.tolerance >= self.exposed and self.exposed < self.plain / 4

    def as_dict(self) -> dict[str, Any]:
        return {
            "sides": list(self.names),
            "tolerance": self.tolerance,
            "outputs": {"plain": finite(self.plain), "exposed": finite(self.exposed)},
            "first": self.first and self.first.as_dict(),
            "jump": self.jump and self.jump.as_dict(),
            "cured_by_exposure": self.cured,
            "fused": self.fused,
            "left_out": list(self.left_out),
            "tensors": [row.as_dict() for row in self.rows],
        }


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Drift:
    """How far two tensors are apart; fields as in LayerRow."""

    max_rel: float
    rms_rel: float
    beyond: bool
    note: str = ""


def drift(a: Array, b: Array, kinds: tuple[TensorType, TensorType], tolerance: float) -> Drift:
    """Compares two tensors as `kinds` say what their bytes are."""
    if a.shape != b.shape:
        note = f"dims differ: {format_dims(a.shape)} and {format_dims(b.shape)}"
        return Drift(math.inf, math.inf, True, note)
    if not all(kind in _FLOATS for kind in kinds):
        count = int(np.count_nonzero(a != b))
        share = count / a.size if a.size else 0.0
        note = f"{count} of {a.size} elements differ" if count else ""
        return Drift(share, share, count > 0, note)
    x, y = _real(a, kinds[0]), _real(b, kinds[1])
    whole = np.isfinite(x) & np.isfinite(y)
    if not whole.all():
        same = whole | (x == y) | (np.isnan(x) & np.isnan(y))
        if not same.all():
            count = int(np.count_nonzero(~same))
            return Drift(
                math.inf, math.inf, True, f"{count} of {a.size} are NaN or infinite on one side only"
            )
        x, y = x[whole], y[whole]
    if not x.size:
        return Drift(0.0, 0.0, False)
    apart = np.abs(x - y)
    rms = math.sqrt(float(np.mean(np.square(apart)))) / (math.sqrt(float(np.mean(np.square(x)))) + _TINY)
    return Drift(float(apart.max()) / (float(np.abs(x).max()) + _TINY), rms, rms > tolerance)


def _real(array: Array, kind: TensorType) -> Array:
    """Floats as f64; bf16 is the upper half of an f32."""
    if kind is TensorType.BF16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64).reshape(-1)
