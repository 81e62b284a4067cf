# SPDX-License-Identifier: Apache-2.0
"""TorchScript: what a module takes and gives, from its schema, its graph and what it was traced with.

TorchScript declares neither shapes nor element types. What is known, and what is made of it:

* A traced module was recorded with example inputs, which `torch.jit.save` keeps beside it. Their types
  are the inputs' types. Of their dims the first is left open where there are two or more (the batch),
  and the others are held to: sizes that the tracer met may be constants in the graph, and another size
  then computes something else without an error. Loading a file with torch.jit.load and saving it again
  drops the examples, for who knows better.
* A scripted module takes any dims. Its types are not known either: a guest's word counts.
* Inputs are the arguments of `forward` that are tensors; an argument with a default keeps it. Any other
  is refused.
* Outputs are one tensor, or tuples, named tuples, lists and dicts of them, also nested. A list's length
  and a dict's keys are read off the graph, where the result is built at its end; where they are not
  known before the model runs it is refused.
* Modules saved in training mode are put into evaluation mode: dropout and batch norm.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wasinn.backends import torch_values
from wasinn.backends.common import one_line
from wasinn.backends.torch_archive import Source, entries_of, opened
from wasinn.backends.torch_program import Program, output_names
from wasinn.errors import WasiNNError, runtime_error, unsupported
from wasinn.spec import TensorType
from wasinn.tensors import SpecDims, TensorSpec

logger = logging.getLogger("wasinn.graph")

_WRAP = "wrap the model in a module whose forward takes tensors and returns tensors or a tuple of them"


def load(source: Source, device: str) -> Program:
    """Loads a TorchScript module. Raises WasiNNError (unsupported_operation) for ports that are no
    tensors, and PyTorch's own errors."""
    import torch

    names = entries_of(source)
    options: dict[str, Any] = {"map_location": device}
    # PyTorch writes a warning to stderr where it is asked for shapes and there are none.
    if any(name.endswith("/traced_inputs.pkl") for name in names):
        options["_restore_shapes"] = True
    read: Any = torch.jit.load
    module = read(str(source) if isinstance(source, Path) else opened(source), **options)
    if getattr(module, "training", False):
        logger.info("the TorchScript module was saved in training mode; it is put into evaluation mode")
        module.eval()
    if not hasattr(module, "forward"):
        raise unsupported("this TorchScript module has no method forward")
    schema, graph = module.forward.schema, module.forward.graph
    inputs, positional, keywords = _inputs(schema, graph)
    (result,), (value,) = schema.returns, graph.outputs()
    tree = _tree(result.type, value)
    leaves = list(_leaves(tree))
    outputs = [
        torch_values.spec(name, leaf.type, leaf.dims)
        for name, leaf in zip(output_names([leaf.name for leaf in leaves]), leaves, strict=True)
    ]
    writes, stateful = _effects(module)

    def call(target: Any, tensors: Sequence[Any]) -> Any:
        if not keywords:
            return target(*tensors)
        return target(*tensors[:positional], **dict(zip(keywords, tensors[positional:], strict=True)))

    def flatten(value: Any) -> list[Any]:
        found: list[Any] = []
        _flatten(tree, value, found)
        return found

    return Program(module, inputs, tuple(outputs), call, flatten, writes, stateful)


# -- inputs -------------------------------------------------------------------------------------------


def _inputs(schema: Any, graph: Any) -> tuple[tuple[TensorSpec, ...], int, list[str]]:
    """The inputs, how many of them are positional, and the names of the others."""
    specs, keywords = [], []
    for argument, value in list(zip(schema.arguments, graph.inputs(), strict=True))[1:]:  # [0] is self
        kind = argument.type.kind()
        if argument.has_default_value():
            continue
        if kind != "TensorType" and argument.type.annotation_str != "Optional[Tensor]":
            raise unsupported(
                f"forward takes {argument.name!r}, a {one_line(argument.type.annotation_str)} without a "
                f"default: {_WRAP}"
            )
        tensor_type, dims = _traced(value.type())
        specs.append(torch_values.spec(argument.name, tensor_type, dims))
        if argument.kwarg_only:
            keywords.append(argument.name)
    return tuple(specs), len(specs) - len(keywords), keywords


def _traced(found: Any) -> tuple[TensorType | None, SpecDims | None]:
    """The type and dims that a graph has for a value, as far as it has them."""
    if found.kind() != "TensorType":
        return None, None
    dtype, sizes = found.dtype(), found.sizes()
    tensor_type = torch_values.tensor_types().get(dtype)
    if dtype is not None and tensor_type is None:
        raise unsupported(f"a port is of {dtype}, which WASI-NN has no tensor type for")
    if sizes is None:
        return tensor_type, None
    return tensor_type, ((None, *sizes[1:]) if len(sizes) > 1 else tuple(sizes))


# -- outputs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Leaf:
    """A tensor in the result."""

    name: str  # empty where it has none
    type: TensorType | None
    dims: SpecDims | None


@dataclass(frozen=True)
class _Branch:
    """A tuple or list of `parts`, or a dict if there are `keys`."""

    parts: tuple[_Leaf | _Branch, ...]
    keys: tuple[str, ...] | None = None


def _tree(kind: Any, value: Any, name: str = "") -> _Leaf | _Branch:
    """The result's structure, from its type and the value in the graph that it is (None: not known)."""
    family = kind.kind()
    if family == "TensorType" or kind.annotation_str == "Optional[Tensor]":
        return _Leaf(name, *(_traced(value.type()) if value is not None else (None, None)))
    made: Any = None if value is None else value.node()
    if family == "TupleType":
        kinds = kind.elements()
        parts = list(made.inputs()) if made is not None and made.kind() == "prim::TupleConstruct" else []
        values = parts or [None] * len(kinds)
        names = _field_names(kind) or [""] * len(kinds)
        return _Branch(tuple(_tree(*each) for each in zip(kinds, values, names, strict=True)))
    # What else uses it could make it longer.
    final = made is not None and len(value.uses()) == 1
    if family == "ListType" and final and made.kind() == "prim::ListConstruct":
        return _Branch(tuple(_tree(kind.getElementType(), each) for each in made.inputs()))
    if family == "DictType" and final and made.kind() == "prim::DictConstruct":
        entries = list(made.inputs())
        keys = tuple(each.toIValue() for each in entries[::2])
        if all(isinstance(key, str) for key in keys):
            pairs = zip(entries[1::2], keys, strict=True)
            return _Branch(tuple(_tree(kind.getValueType(), each, key) for each, key in pairs), keys)
    if family in ("ListType", "DictType"):
        what = "the length of which" if family == "ListType" else "the keys of which"
        raise unsupported(
            f"forward returns a {one_line(kind.annotation_str)}, {what} only running it would tell: {_WRAP}"
        )
    raise unsupported(f"forward returns a {one_line(kind.annotation_str)}, which is no tensor: {_WRAP}")


def _field_names(kind: Any) -> list[str] | None:
    """The fields of a named tuple: its type's text is the one place that has them."""
    text = kind.str()
    if not text.startswith("NamedTuple("):
        return None
    names = re.findall(r"[(,]\s*(\w+) : ", text)
    return names if len(names) == len(kind.elements()) else None


def _leaves(tree: _Leaf | _Branch) -> Iterator[_Leaf]:
    if isinstance(tree, _Leaf):
        yield tree
    else:
        for part in tree.parts:
            yield from _leaves(part)


def _flatten(tree: _Leaf | _Branch, value: Any, found: list[Any]) -> None:
    if isinstance(tree, _Leaf):
        found.append(value)
        return
    if tree.keys is not None:
        if not isinstance(value, dict) or set(value) != set(tree.keys):
            raise _changed(f"a dict with {', '.join(tree.keys)}")
        value = [value[key] for key in tree.keys]
    if not isinstance(value, list | tuple) or len(value) != len(tree.parts):
        raise _changed(f"{len(tree.parts)} values")
    for part, each in zip(tree.parts, value, strict=True):
        _flatten(part, each, found)


def _changed(wanted: str) -> WasiNNError:
    return runtime_error(f"torch: the result was to be {wanted}, and is something else")


# -- effects ------------------------------------------------------------------------------------------


def _effects(module: Any) -> tuple[bool, bool]:
    """Whether anything is written in place, and whether that may be the module's own."""
    graph = module.inlined_graph
    kinds = {node.kind() for node in _nodes(graph) if _writes(node)}
    if not kinds:
        return False, False
    if "prim::SetAttr" in kinds:
        return True, True
    # What PyTorch's own alias analysis does not know for sure, it takes for written.
    alias = graph.alias_db()
    attributes = (output for node in graph.findAllNodes("prim::GetAttr") for output in node.outputs())
    return True, any(alias.has_writers(each) for each in attributes)


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _writes(node: Any) -> bool:
    """A schema marks what it writes with `!`; calls that were not inlined could do anything."""
    kind = node.kind()
    return kind in (
        "prim::SetAttr",
        "prim::data",
        "prim::CallMethod",
        "prim::CallFunction",
        "prim::fork",
    ) or ("!" in node.schema())
