# SPDX-License-Identifier: Apache-2.0
"""Where two runtimes of one ONNX model drift apart: every tensor between its nodes, compared.

A runtime that must give the tensors between its nodes cannot merge these nodes into one kernel. If the
difference of the model's outputs goes away with that, a merged kernel is the cause, and it is sought by
exposing fewer tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wasinn.agreement.layers_model import Structure, read_structure
from wasinn.agreement.layers_rows import LayerRow, LayersReport, drift
from wasinn.agreement.layers_side import Exposed, LayersSide
from wasinn.backends.base import Model
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs.detect import detect
from wasinn.graphs.source import GraphSource
from wasinn.spec import Encoding
from wasinn.tensors import Tensor

#: Is told how many of how many tensors are compared, and what comes next.
Progress = Callable[[int, int, str], None]

#: Relative, root mean square: sums of f32 in another order differ by 1e-6 or so, one in bf16 by 2e-3.
TOLERANCE = 1e-3
#: Bytes of tensors that one run of a side may give.
MOST_BYTES = 256 << 20
#: Runs that may fail because of a tensor that a runtime does not give.
_MOST_FAILURES = 64
#: Of the tolerance: what a jump must reach to count.
_JUMP_FROM = 0.01


def compare_layers(
    a: GraphSource,
    b: GraphSource,
    tensors: Mapping[int, Tensor],
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
    most_bytes: int = MOST_BYTES,
) -> LayersReport:
    """Compares the tensors of `a` and of `b`, two ways to run one ONNX model, on the same inputs.

    `tensors` are what the model itself takes, by input index. Two models that differ are compared in the
    tensors whose names both have. Raises ConfigError for a model that is not ONNX, and WasiNNError for one
    that does not load or compute as it is.
    """
    tell = progress or (lambda _done, _total, _words: None)
    structure = read_structure(_onnx_model(a))
    other = read_structure(_onnx_model(b))
    if structure.outputs != other.outputs:
        raise ConfigError("these are two models: their outputs have other names")
    shared = [name for name in structure.makers if name in other.makers]
    sides = LayersSide(a, structure, tensors), LayersSide(b, other, tensors)
    comparer = _Comparer(structure, sides, tolerance)
    tell(0, len(shared), "the model as it is")
    plain = comparer.outputs(())
    exposed: float | None = None
    rows: dict[str, LayerRow] = {}
    left_out: list[str] = []
    for chunk in sides[0].chunks(shared, most_bytes):
        tell(len(rows), len(shared), f"{len(chunk)} tensors exposed")
        for one, two in comparer.runs(chunk, left_out):
            if exposed is None:
                exposed = comparer.largest(one, two)
            for name, row in comparer.rows(one, two):
                rows.setdefault(name, row)
    tell(len(rows), len(shared), "done")
    ordered = _ordered(structure, rows)
    first = next((row for row in ordered if row.beyond), None)
    report = LayersReport(
        (sides[0].name, sides[1].name),
        ordered,
        tolerance,
        plain,
        plain if exposed is None else exposed,
        first,
        _jump(ordered, tolerance) if first is not None else None,
        left_out=tuple(left_out),
    )
    if not report.cured:
        return report
    tell(len(rows), len(shared), "seeking the tensor whose exposure cures the outputs")
    names = [row.tensor for row in ordered]
    fused = first_cure(names, lambda exposed: comparer.outputs(exposed) <= tolerance)
    return replace(report, fused=fused)


def _onnx_model(source: GraphSource) -> Model:
    encoding = source.encoding
    if encoding is Encoding.AUTODETECT:
        encoding = detect(source.model)
    if encoding is not Encoding.ONNX:
        raise ConfigError(f"layers are compared of ONNX models, and this one is {encoding.label}: {source}")
    return source.model


@dataclass(frozen=True)
class _Comparer:
    structure: Structure
    sides: tuple[LayersSide, LayersSide]
    tolerance: float

    def outputs(self, names: Sequence[str]) -> float:
        """The largest difference of the model's outputs while `names` are exposed."""
        return self.largest(self.sides[0].run(names), self.sides[1].run(names))

    def largest(self, a: Exposed, b: Exposed) -> float:
        found = 0.0
        for at in range(len(self.structure.outputs)):
            kinds = a.types[at], b.types[at]
            found = max(found, drift(a.arrays[at], b.arrays[at], kinds, self.tolerance).rms_rel)
        return found

    def runs(self, names: list[str], left_out: list[str]) -> Iterator[tuple[Exposed, Exposed]]:
        """Runs both sides with `names` exposed; in ever smaller parts where a runtime refuses, until what
        it refuses is alone: that goes to `left_out`."""
        waiting = [names]
        failures = 0
        while waiting:
            part = waiting.pop(0)
            try:
                one, two = (side.run(part) for side in self.sides)
            except WasiNNError:
                failures += 1
                if len(part) == 1 or failures > _MOST_FAILURES:
                    left_out += part
                else:
                    middle = len(part) // 2
                    waiting[:0] = [part[:middle], part[middle:]]
                continue
            yield one, two

    def rows(self, a: Exposed, b: Exposed) -> Iterator[tuple[str, LayerRow]]:
        for at, name in enumerate(a.names):
            node = self.structure.makers.get(name)
            if node is None:
                continue
            found = drift(a.arrays[at], b.arrays[at], (a.types[at], b.types[at]), self.tolerance)
            yield (
                name,
                LayerRow(
                    0, name, node.name, node.op, a.types[at].label, a.arrays[at].shape,
                    found.max_rel, found.rms_rel, found.beyond, found.note,
                ),
            )  # fmt: skip


def _ordered(structure: Structure, rows: Mapping[str, LayerRow]) -> tuple[LayerRow, ...]:
    """The rows along the graph, with their places and what their nodes read."""
    found: list[LayerRow] = []
    for name, node in structure.makers.items():
        if name in rows:
            read = tuple((each, rows[each].rms_rel) for each in dict.fromkeys(node.inputs) if each in rows)
            found.append(replace(rows[name], index=len(found), inputs=read))
    return tuple(found)


def _jump(rows: Sequence[LayerRow], tolerance: float) -> LayerRow | None:
    counting = [row for row in rows if row.rms_rel > tolerance * _JUMP_FROM]
    return max(counting, key=lambda row: row.growth, default=None)


def first_cure(names: Sequence[str], cured: Callable[[Sequence[str]], bool]) -> str | None:
    """The first of `names` with which, exposed together with all before it, the outputs agree; by bisection.
    None where all of them do not help."""
    if not names or not cured(names):
        return None
    low, high = 0, len(names)  # not cured by the first `low`, cured by the first `high`
    while high - low > 1:
        middle = (low + high) // 2
        if cured(names[:middle]):
            high = middle
        else:
            low = middle
    return names[high - 1]
