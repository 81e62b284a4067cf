# SPDX-License-Identifier: Apache-2.0
"""The interfaces of `wasi:nn` that a component imports, and what the adapter is to do for them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wasinn.abi.component import builder
from wasinn.abi.component.adapter import EXPORTS, Constructor, Load, Needs
from wasinn.abi.component.model import (
    STRING,
    U8,
    U32,
    EnumType,
    FuncType,
    HandleType,
    InstanceType,
    ListType,
    NotRewritable,
    Resource,
    ResultType,
    Sort,
    Type,
)
from wasinn.abi.component.outline import Outline
from wasinn.abi.component.snapshots import SNAPSHOTS

_WIT_NAME = re.compile(r"[A-Za-z0-9-]+")


@dataclass
class Interface:
    """An imported `wasi:nn/tensor` or `wasi:nn/graph` of which the adapter does a part."""

    kind: str
    """`tensor` or `graph`."""
    name: str
    """The import's name, with the snapshot."""
    instance: int
    type_index: int
    type: InstanceType
    functions: list[str]
    """What the adapter does."""
    private: list[tuple[str, bytes]]
    """The private functions that it needs for that: their names and types."""


@dataclass
class Snapshot:
    """The interfaces of one snapshot."""

    needs: Needs
    interfaces: list[Interface]


def find_snapshots(guest: Outline) -> list[Snapshot]:
    """The snapshots of which the adapter is to do something. Raises NotRewritable for types that none has."""
    found = []
    for version in SNAPSHOTS:
        tensor = _find(guest, "tensor", version)
        graph = _find(guest, "graph", version)
        constructor, data, load = None, False, None
        if tensor is not None:
            functions = _Functions(guest, tensor)
            if "[constructor]tensor" in tensor.functions:
                constructor = functions.constructor("[constructor]tensor")
            if "[method]tensor.data" in tensor.functions:
                functions.data("[method]tensor.data")
                data = True
        if graph is not None:
            load = _Functions(guest, graph).load("load")
        interfaces = [each for each in (tensor, graph) if each is not None]
        if interfaces:
            found.append(Snapshot(Needs(constructor, data, load), interfaces))
    return found


def _find(guest: Outline, kind: str, version: str) -> Interface | None:
    """The interface, if it is imported and has functions that the adapter does."""
    name = f"wasi:nn/{kind}{version}"
    instances = [index for each, sort, index in guest.imports if each == name and sort is Sort.INSTANCE]
    if not instances:
        return None
    type_index, type_ = guest.instances[instances[0]], guest.instance_type(instances[0])
    functions = [each for which, each in EXPORTS if which == kind and each in type_.exports]
    if type_index is None or not functions:
        return None
    if guest.instances.count(type_index) > 1:
        raise NotRewritable(f"the component has two imports of the type of {name}")
    if any(each.startswith("wasinn-") for each in type_.exports):
        raise NotRewritable(f"the component has private functions in {name} already")
    if any(extern.sort not in (Sort.FUNC, Sort.TYPE) for extern in type_.exports.values()):
        raise NotRewritable(f"{name} has more than functions and types")
    return Interface(kind, name, instances[0], type_index, type_, functions, [])


class _Functions:
    """Checks that the functions that the adapter does have the types that it expects, and notes the private
    functions that it calls for them."""

    def __init__(self, guest: Outline, interface: Interface) -> None:
        self._guest = guest
        self._interface = interface
        self._type = interface.type

    def constructor(self, name: str) -> Constructor:
        function = self._function(name)
        match function:
            case FuncType(((dims, dims_type), (types, types_type), (data, data_type)), int(result)):
                pass
            case _:
                raise self._unknown(name)
        if not (self._is_list(dims_type, U32) and self._is_list(data_type, U8)):
            raise self._unknown(name)
        if not self._is_handle(result, "tensor", own=True):
            raise self._unknown(name)
        types_name, labels = self._enum(types_type, name)
        self._buffers()
        fields = [("dimensions", dims_type), ("ty", types_type), ("low", STRING), ("high", STRING)]
        self._private("wasinn-tensor", fields, result)
        _check_names(dims, types, data)
        return Constructor((dims, types, data), types_name, labels)

    def data(self, name: str) -> None:
        function = self._function(name)
        match function:
            case FuncType((("self", self_type),), int(result)):
                pass
            case _:
                raise self._unknown(name)
        if not (self._is_handle(self_type, "tensor", own=False) and self._is_list(result, U8)):
            raise self._unknown(name)
        self._private("wasinn-data", [("tensor", self_type), ("start", U32)], STRING)
        self._private("wasinn-size", [("tensor", self_type)], U32)

    def load(self, name: str) -> Load:
        function = self._function(name)
        match function:
            case FuncType(
                ((builders, list_type), (encoding, encoding_type), (target, target_type)), int(result)
            ):
                pass
            case _:
                raise self._unknown(name)
        outer = self._at(list_type)
        if not (isinstance(outer, ListType) and self._is_list(outer.element, U8)):
            raise self._unknown(name)
        match self._at(result):
            case ResultType(int(ok), int(error)) if self._is_handle(ok, "graph", own=True):
                pass
            case _:
                raise self._unknown(name)
        errors = None if self._is_handle(error, "error", own=True) else self._enum(error, name)
        if errors is not None and errors[0] != "error":
            raise self._unknown(name)
        encodings, targets = self._enum(encoding_type, name), self._enum(target_type, name)
        if len({encodings[0], targets[0], "error"}) < 3:
            raise self._unknown(name)
        self._buffers()
        self._private("wasinn-load", [("encoding", encoding_type), ("target", target_type)], result)
        _check_names(builders, encoding, target)
        return Load((builders, encoding, target), *encodings, *targets, errors and errors[1])

    def _buffers(self) -> None:
        self._private("wasinn-begin", [("size", U32)], None)
        self._private("wasinn-push", [("low", STRING), ("high", STRING)], None)

    def _private(self, name: str, params: list[tuple[str, int]], result: int | None) -> None:
        self._interface.private.append((name, builder.func_type(params, result)))

    def _function(self, name: str) -> Type:
        extern = self._type.exports[name]
        if extern.sort is not Sort.FUNC or extern.type_index is None:
            raise self._unknown(name)
        return self._at(extern.type_index)

    def _at(self, index: int) -> Type:
        return self._guest.resolve(self._type, index)

    def _is_list(self, index: int, element: int) -> bool:
        return index >= 0 and self._at(index) == ListType(element)

    def _is_handle(self, index: int, name: str, *, own: bool) -> bool:
        """Whether a type is a handle of the resource that the interface exports under this name."""
        handle = self._at(index) if index >= 0 else None
        if not isinstance(handle, HandleType) or handle.own is not own:
            return False
        return self._type.names.get(handle.resource) == name and self._at(handle.resource) == Resource()

    def _enum(self, index: int, function: str) -> tuple[str, tuple[str, ...]]:
        """The name under which the interface exports an enum, and its labels."""
        name = self._type.names.get(index)
        type_ = self._at(index) if name is not None else None
        if name is None or not isinstance(type_, EnumType) or not type_.labels:
            raise self._unknown(function)
        _check_names(name, *type_.labels)
        return name, type_.labels

    def _unknown(self, function: str) -> NotRewritable:
        return NotRewritable(
            f"{function} in {self._interface.name} has a type that no snapshot of wasi:nn gives it"
        )


def _check_names(*names: str) -> None:
    """Names go into the adapter's text as they are."""
    for name in names:
        if not _WIT_NAME.fullmatch(name):
            raise NotRewritable(f"the component has a name in wasi:nn that is none in WIT: {name[:40]!r}")
