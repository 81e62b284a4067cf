# SPDX-License-Identifier: Apache-2.0
"""What LiteRT's Python binding does not tell of a TensorFlow Lite model, read from the file itself.

The binding describes a tensor by a NumPy type: i8, f8, int4 and int2 are all `int8` there, and bf16 is
an exception. It does not say whether a shape of [] is a scalar or no shape at all, whether an input is a
constant of the model (a view of it is a writable view of the model's bytes), whether operators write
into an input, or whether the model keeps state from one run to the next. Names of signatures come
without the tensors that they stand for.

Numbers of fields and enums are those of schema.fbs (tflite/schema in google-ai-edge/LiteRT), the layout
that of flatbuffers.dev/internals. The runtime has verified the file before it is read here.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasinn.flatbuffer import Table
from wasinn.tensors import Quantization, SpecDims

#: More tensors, operators or letters of a name than any model has; a small file can repeat one tensor
#: without end.
_MOST = 200_000

#: BuiltinOperator: CALL_ONCE, HASHTABLE and its users, VAR_HANDLE, READ_ and ASSIGN_VARIABLE, and the
#: random ones: what they hold outlives a run.
_STATEFUL = {129, 136, 137, 138, 139, 142, 143, 144, 146, 148, 149}
_CUSTOM = 32


@dataclass(frozen=True)
class Port:
    """An input or output. `names`: the signatures' for it, then the tensor's; `kind` is a TensorType of
    schema.fbs; `dims` None where the model does not fix the rank."""

    tensor: int
    names: tuple[str, ...]
    kind: int
    dims: SpecDims | None
    quantization: Quantization | None
    constant: bool


@dataclass(frozen=True)
class ModelFile:
    """The primary subgraph's ports, in the file's order, and what is to be known of the whole model."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    stateful: bool
    writes_inputs: bool
    custom_ops: tuple[str, ...]


def read(data: bytes) -> ModelFile:
    """Reads a model. Raises ValueError for what is not one."""
    try:
        return _read(Table.root(data))
    except ValueError as error:
        raise ValueError(f"not a FlatBuffer of a model: {error}") from error


def _read(model: Table) -> ModelFile:
    subgraphs = _tables(model, 2)
    if not subgraphs:
        raise ValueError("there is no subgraph")
    main = subgraphs[0]
    tensors = _tables(main, 0)
    inputs, outputs = main.integers(1, _MOST), main.integers(2, _MOST)
    codes = _tables(model, 1)
    operators = [max(code.signed(0, 1), code.signed(3, 4)) for code in codes]
    ranked = any(tensor.number(8, 1) for tensor in tensors)
    signatures = [each for each in _tables(model, 7) if each.number(4, 4) == 0]
    return ModelFile(
        tuple(_port(model, tensors, index, _names(signatures, 0), ranked) for index in inputs),
        tuple(_port(model, tensors, index, _names(signatures, 1), ranked) for index in outputs),
        stateful=bool(_STATEFUL & set(operators)) or any(_has_variables(each) for each in subgraphs),
        writes_inputs=any(set(inputs) & set(operator.integers(2, _MOST)) for operator in _tables(main, 3)),
        custom_ops=tuple(
            code.text(1, _MOST) for code, number in zip(codes, operators, strict=True) if number == _CUSTOM
        ),
    )


def _tables(table: Table, field: int) -> list[Table]:
    """The tables of a vector. Raises ValueError if they are more than any model has."""
    count = table.length(field)
    if count > _MOST:
        raise ValueError(f"{count} entries in one vector")
    return list(table.tables(field, _MOST))


def _has_variables(subgraph: Table) -> bool:
    return any(tensor.number(5, 1) for tensor in _tables(subgraph, 0))


def _names(signatures: list[Table], field: int) -> dict[int, list[str]]:
    """The signatures' names of the inputs (field 0) or outputs (1), by tensor."""
    names: dict[int, list[str]] = {}
    for signature in signatures:
        for entry in _tables(signature, field):
            names.setdefault(entry.number(1, 4), []).append(entry.text(0, _MOST))
    return names


def _port(model: Table, tensors: list[Table], index: int, names: dict[int, list[str]], ranked: bool) -> Port:
    if not 0 <= index < len(tensors):
        raise ValueError(f"there is no tensor {index}")
    tensor = tensors[index]
    dims = tensor.integers(7, _MOST) or tensor.integers(0, _MOST)
    # Files of older converters never say that a tensor has a rank: there [] is a scalar.
    shapeless = not dims and ranked and not tensor.number(8, 1)
    return Port(
        index,
        tuple(dict.fromkeys([*names.get(index, ()), tensor.text(3, _MOST)])),
        tensor.signed(1, 1),
        None if shapeless else tuple(dim if dim >= 0 else None for dim in dims),
        _quantization(tensor.table(4)),
        _has_content(model, tensor.number(2, 4)) or bool(tensor.number(10, 4)),
    )


def _quantization(parameters: Table | None) -> Quantization | None:
    if parameters is None:
        return None
    scales, zero_points = parameters.floats(2, _MOST), parameters.integers(3, _MOST, 8)
    if not scales or len(scales) != len(zero_points):
        return None  # the runtime has seen to it that there are as many, and as many as channels
    return Quantization(scales, zero_points, parameters.signed(6, 4) if len(scales) > 1 else None)


def _has_content(model: Table, index: int) -> bool:
    buffer = model.item(4, index)
    # `size` above 1: the content lies behind the FlatBuffer, which is how models above 2 GB have it.
    return buffer.length(0) > 0 or buffer.number(2, 8) > 1
