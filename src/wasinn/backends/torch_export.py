# SPDX-License-Identifier: Apache-2.0
"""Exported programs (.pt2): what one takes and gives is in its signature, with names and ranges.

A dimension that is a number is fixed; one that is a symbol is open, and its range is held to by the
program itself. Arguments that were no tensors when the model was exported are part of the program, and
are passed as they were. Results are flattened in PyTorch's own order, which for a dict is that of its
keys as they were put in.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from wasinn.backends import torch_values
from wasinn.backends.torch_archive import Source, check_pickles, opened
from wasinn.backends.torch_program import Program, output_names
from wasinn.errors import runtime_error, unsupported
from wasinn.tensors import TensorSpec

#: Who writes to stderr when a file cannot be read.
_LOGGERS = ("torch.export", "torch.export.pt2_archive._package", "torch._export.serde.serialize")


#: torch.export.load keeps what it reads in a global of its module, and fails if another thread reads.
_loading = threading.Lock()


def load(source: Source, device: str) -> Program:
    """Loads an exported program. Raises WasiNNError (unsupported_operation) for ports that are no
    tensors, and PyTorch's own errors."""
    import torch
    from torch.utils import _pytree as pytree

    check_pickles(source)
    with opened(source) as file, torch_values.muffled(*_LOGGERS) as muffler:
        try:
            with _loading:
                program: Any = torch.export.load(file)
        except Exception as error:
            # After some errors an older format is tried, and what is raised is that it is not that.
            raise muffler.error or error from error
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    signature = program.graph_signature
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs, arguments = _inputs(_user(signature.input_specs), values)
    results = _user(signature.output_specs)
    outputs, places = _outputs(results, values)
    tree = program.call_spec.in_spec
    module = program.module()
    writes, stateful = _effects(module)

    def call(target: Any, tensors: Sequence[Any]) -> Any:
        given = iter(tensors)
        flat = [next(given) if each is _TENSOR else each for each in arguments]
        args, kwargs = pytree.tree_unflatten(flat, tree)
        return target(*args, **kwargs)

    def flatten(value: Any) -> list[Any]:
        found = pytree.tree_leaves(value)
        if len(found) != len(results):
            raise runtime_error(f"torch: the program gave {len(found)} values, and declares {len(results)}")
        return [found[place] for place in places]

    return Program(module, inputs, outputs, call, flatten, writes, stateful)


#: Stands for an input among the arguments; what else is there is a constant.
_TENSOR = object()


def _user(specs: Iterable[Any]) -> list[Any]:
    """What the caller gives and gets, without the weights."""
    return [spec.arg for spec in specs if spec.kind.name in ("USER_INPUT", "USER_OUTPUT")]


def _is_constant(argument: Any) -> bool:
    return hasattr(argument, "value")


def _inputs(given: Sequence[Any], values: dict[str, Any]) -> tuple[tuple[TensorSpec, ...], list[Any]]:
    """The inputs, and all arguments with _TENSOR where they go."""
    specs = [_spec(each.name, values.get(each.name), "input") for each in given if not _is_constant(each)]
    return tuple(specs), [each.value if _is_constant(each) else _TENSOR for each in given]


def _outputs(results: Sequence[Any], values: dict[str, Any]) -> tuple[tuple[TensorSpec, ...], list[int]]:
    """The outputs, and their places among the results, which may have None in between."""
    specs, places = [], []
    for place, each in enumerate(results):
        if _is_constant(each):
            if each.value is not None:
                raise unsupported(f"result {place} is the constant {each.value!r}, which is no tensor")
            continue
        specs.append(_spec(each.name, values.get(each.name), "output"))
        places.append(place)
    names = output_names([spec.name for spec in specs])
    return tuple(replace(spec, name=name) for name, spec in zip(names, specs, strict=True)), places


def _spec(name: str, value: Any, direction: str) -> TensorSpec:
    import torch

    if not isinstance(value, torch.Tensor):
        raise unsupported(f"the {direction} {name!r} is a {type(value).__name__}, which is no tensor")
    tensor_type = torch_values.tensor_types().get(value.dtype)
    if tensor_type is None:
        raise unsupported(
            f"the {direction} {name!r} is of {value.dtype}, which WASI-NN has no tensor type for"
        )
    return TensorSpec(name, tensor_type, tuple(dim if isinstance(dim, int) else None for dim in value.shape))


# -- effects ------------------------------------------------------------------------------------------


def _effects(module: Any) -> tuple[bool, bool]:
    """Whether anything is written in place, and whether that is the module's own."""
    import torch

    writes, written = _written(module)
    own = [operator.attrgetter(node.target)(module) for node in written if node.op == "get_attr"]
    return writes, any(isinstance(each, torch.Tensor) for each in own)


def _written(module: Any) -> tuple[bool, set[Any]]:
    """Whether anything is written in place, and which placeholders and attributes that may be."""
    writes, written = False, set()
    roots: dict[Any, set[Any]] = {}  # what each value may be a view of
    for node in module.graph.nodes:
        if node.op in ("placeholder", "get_attr"):
            roots[node] = {node}
        elif node.op == "call_function" and hasattr(node.target, "_schema"):
            roots[node] = set()
            for argument, value in _bound(node):
                if argument.alias_info is not None:
                    found = _union(roots, _nodes_in(value))
                    roots[node] |= found
                    if argument.alias_info.is_write:
                        writes = True
                        written |= found
        else:
            roots[node] = _union(roots, node.all_input_nodes)
            if _inner_writes(module, node):
                writes = True
                written |= roots[node]
    return writes, written


def _bound(node: Any) -> Iterable[tuple[Any, Any]]:
    """Each argument of an operation's schema with the value that the node has for it."""
    for position, argument in enumerate(node.target._schema.arguments):
        if position < len(node.args):
            yield argument, node.args[position]
        elif argument.name in node.kwargs:
            yield argument, node.kwargs[argument.name]


def _nodes_in(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [node for each in value for node in _nodes_in(each)]
    return [value] if hasattr(value, "all_input_nodes") else []


def _union(roots: dict[Any, set[Any]], nodes: Iterable[Any]) -> set[Any]:
    return set().union(*(roots.get(node, set()) for node in nodes))


def _inner_writes(module: Any, node: Any) -> bool:
    """Whether a graph that a node calls (a branch, a region without gradients) writes in place."""
    inner = [
        operator.attrgetter(each.target)(module) for each in node.all_input_nodes if each.op == "get_attr"
    ]
    return any(hasattr(each, "graph") and _written(each)[0] for each in inner)
