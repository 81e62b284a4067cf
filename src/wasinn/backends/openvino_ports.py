# SPDX-License-Identifier: Apache-2.0
"""The inputs and outputs of a model as OpenVINO has read it: names, types, and what it does to them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wasinn.backends.common import one_line
from wasinn.errors import invalid_argument, unsupported
from wasinn.spec import TensorType
from wasinn.tensors import Quantization, SpecDims, Tensor, TensorSpec

logger = logging.getLogger("wasinn.graph")

#: OpenVINO's names for element types (ov::element::Type::get_type_name).
_TYPES = {
    "f32": TensorType.F32,
    "f16": TensorType.F16,
    "bf16": TensorType.BF16,
    "f64": TensorType.F64,
    "u8": TensorType.U8,
    "i8": TensorType.I8,
    "boolean": TensorType.BOOL,
    "i16": TensorType.I16,
    "u16": TensorType.U16,
    "i32": TensorType.I32,
    "u32": TensorType.U32,
    "i64": TensorType.I64,
    "u64": TensorType.U64,
    "f8e4m3": TensorType.F8E4M3FN,
    "f8e5m2": TensorType.F8E5M2,
}

_I32 = np.iinfo(np.int32)
#: What an input of a type may hold, for it to be computed in 32 bits.
_RANGES: dict[TensorType, tuple[float, float]] = {
    TensorType.I64: (_I32.min, _I32.max),
    TensorType.U64: (0, _I32.max),
    TensorType.U32: (0, _I32.max),
    TensorType.F64: (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)),
}


@dataclass(frozen=True)
class Port:
    """`kind` is the runtime's element type. `passes`: the port is an input and an output, with nothing
    in between. `narrowed`: what it holds is computed in fewer bits than it has."""

    spec: TensorSpec
    kind: Any
    passes: bool

    @property
    def narrowed(self) -> bool:
        return self.spec.type in _RANGES and not self.passes

    @property
    def looked_at(self) -> bool:
        """Whether an input's bytes are looked at before they are computed on."""
        return self.narrowed or self.spec.type is TensorType.BOOL


@dataclass(frozen=True)
class Lore:
    """What a file says of its ports and the runtime does not: for a tensor's name all that guests may call
    it, the best one first, and what its integers stand for."""

    names: Callable[[str], Sequence[str]] = lambda name: (name,)
    quantization: Mapping[str, Quantization] = field(default_factory=dict)


def read_inputs(network: Any, lore: Lore) -> tuple[Port, ...]:
    """The inputs of `network`, an openvino.Model. Raises WasiNNError (unsupported_operation)."""
    taken: set[str] = set()
    ports = []
    for index, port in enumerate(network.inputs):
        consumers = {each.get_node().get_type_name() for each in port.get_target_inputs()}
        ports.append(_port(port, f"input_{index}", taken, lore, consumers <= {"Result"}))
    return tuple(ports)


def read_outputs(network: Any, lore: Lore) -> tuple[Port, ...]:
    """The outputs of `network`, an openvino.Model. Raises WasiNNError (unsupported_operation)."""
    taken: set[str] = set()
    ports = []
    for index, port in enumerate(network.outputs):
        source = port.get_node().input_value(0).get_node()
        ports.append(_port(port, f"output_{index}", taken, lore, source.get_type_name() == "Parameter"))
    return tuple(ports)


def _port(port: Any, fallback: str, taken: set[str], lore: Lore, passes: bool) -> Port:
    names = [each for name in _names(port, passes) for each in lore.names(name) if each not in taken]
    name, *aliases = dict.fromkeys(names or [fallback])
    taken.update((name, *aliases))
    kind = port.get_element_type()
    found = _TYPES.get(kind.get_type_name())
    if found is None:
        raise unsupported(
            f"the port {name!r} ({fallback.replace('_', ' ')}) is a {kind.get_type_name()}, which WASI-NN "
            "has no tensor type for"
        )
    steps = next((lore.quantization[each] for each in (name, *aliases) if each in lore.quantization), None)
    return Port(TensorSpec(name, found, _dims(port), steps, aliases=tuple(aliases)), kind, passes)


def _dims(port: Any) -> SpecDims | None:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return None
    return tuple(dim.get_length() if dim.is_static else None for dim in shape)


#: What the runtime adds to the name of an output, and what it calls one that nobody named; it counts those
#: through the whole process.
_SINK = re.compile(r"/sink_port_\d+$")
_COUNTED = re.compile(r"Result_\d+")


def _names(port: Any, passes: bool) -> list[str]:
    """A port's name, then the others that its tensor has; none if all are the runtime's inventions.

    `get_any_name` raises where there is none, and gives any where there are several. The node's friendly
    name is the model's own, unless it is the node's unique name too. The tensor of an output that passes
    an input on has the input's names.
    """
    node = port.get_node()
    friendly = _SINK.sub("", node.get_friendly_name())
    known = set(port.get_names())
    if node.get_friendly_name() == node.get_name():
        known.discard(friendly)
        friendly = ""
    if friendly in known or (friendly and (passes or not known) and not _COUNTED.fullmatch(friendly)):
        return [friendly, *sorted(known - {friendly})]
    return sorted(known)


def check_width(name: str, tensor: Tensor) -> None:
    """That no number of `tensor` loses its value in 32 bits. Raises WasiNNError (invalid_argument)."""
    low, high = _RANGES[tensor.type]
    values = tensor.numpy()
    if tensor.type is TensorType.F64:
        values = values[~np.isnan(values)]  # infinities come out finite
    if values.size == 0:
        return
    for found in (values.min(), values.max()):
        if not low <= found <= high:
            shown = f"{low:.4g} to {high:.4g}" if tensor.type is TensorType.F64 else f"{low} to {high}"
            raise invalid_argument(
                f"the input {name!r} holds {found}, and openvino computes {tensor.type.label} in 32 bits: "
                f"it can take {shown} (onnxruntime computes it in full)"
            )


def warn_of_narrowing(network: Any, inputs: Iterable[Port], outputs: Iterable[Port]) -> None:
    """One line on what of a model is computed in fewer bits than it says."""
    narrowed = [f"input {port.spec.name!r} ({port.spec.type.label})" for port in inputs if port.narrowed]
    narrowed += [f"output {port.spec.name!r} ({port.spec.type.label})" for port in outputs if port.narrowed]
    constants = _wide_constants(network)
    if constants:
        narrowed.append(f"{constants} constants that hold more than 32 bits, which are cut")
    if narrowed:
        logger.warning(
            "openvino computes in 32 bits what this model has in more: %s; inputs beyond them are refused, "
            "results beyond them are wrong",
            ", ".join(narrowed),
        )


def _wide_constants(network: Any) -> int:
    """How many constants hold integers beyond i32; those that stand for "to the end" do not count."""
    found = 0
    for node in network.get_ops():
        if node.get_type_name() != "Constant" or node.get_element_type().get_type_name() not in _WIDE:
            continue
        values = np.asarray(node.data).astype(np.float64)
        found += bool(np.any((np.abs(values) > _I32.max + 1.0) & (np.abs(values) < 2.0**62)))
    return found


_WIDE = ("i64", "u64", "u32")

#: Operators whose second input is a place or a size that the runtime does not check (2026.4): GatherND reads
#: the process's memory, the others have ended it.
_UNCHECKED = ("GatherND", "ScatterElementsUpdate", "ScatterNDUpdate", "ScatterUpdate", "Interpolate", "Tile")


def warn_of_unchecked(network: Any) -> None:
    """Says which operators take their indices from what a guest passes."""
    found = {
        node.get_type_name()
        for node in network.get_ops()
        if node.get_type_name() in _UNCHECKED and _comes_of_input(node.input_value(1).get_node())
    }
    if found:
        logger.warning(
            "in this model the guest chooses the indices or sizes of %s, and OpenVINO does not check them: a "
            'wrong one can end the process or read its memory; isolation = "process" keeps that in a worker',
            ", ".join(sorted(found)),
        )


def _comes_of_input(node: Any) -> bool:
    """Whether a node's value depends on what the inputs hold, and not only on their shapes."""
    seen, left = set(), [node]
    while left:
        each = left.pop()
        name, kind = each.get_name(), each.get_type_name()
        if kind == "Parameter":
            return True
        if name in seen or kind in ("ShapeOf", "Constant"):
            continue
        seen.add(name)
        left.extend(value.get_node() for value in each.input_values())
    return False


#: Where in OpenVINO's source something failed: of no use to an author.
_PLACE = re.compile(
    r"(Exception from|Check '.*?' failed at) \S+?:\d+:? ?|FrontEnd API failed with GeneralFailure: ?"
)


def reason(error: BaseException) -> str:
    """The runtime's words in one line, without its own files and lines."""
    return one_line(_PLACE.sub("", " ".join(str(error).split())) or type(error).__name__)
