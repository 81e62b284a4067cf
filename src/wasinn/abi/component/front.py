# SPDX-License-Identifier: Apache-2.0
"""The front: what a guest gets instead of the host's `wasi:nn/tensor` or `wasi:nn/graph`.

An instance with names like `[constructor]tensor` can only be made by a component with such exports. So the
front is a component that imports the interface's types and functions one by one, under names of its own, and
exports them under theirs. Each type is there twice: the imported functions have the types that are imported,
the exported ones those that are exported. They are equal; nothing of the front is left once it is compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from wasinn.abi.component.binary import Reader
from wasinn.abi.component.builder import Builder, enum_type, renumbered
from wasinn.abi.component.interfaces import Interface
from wasinn.abi.component.model import EnumType, NotRewritable, Outer, Resource, Sort
from wasinn.abi.component.outline import Outline


@dataclass
class Front:
    component: bytes
    imports: list[tuple[str, Sort, str]]
    """Its imports of what the interface exports: the name, the sort, and the interface's name for it."""
    types: list[tuple[str, int]]
    """Its imports of types that the interface has from elsewhere: the name, and the guest's index."""


def make_front(guest: Outline, interface: Interface) -> Front:
    """The front of an interface. Raises NotRewritable where its type has what the front has no use for."""
    return _Maker(guest, interface).front


class _Maker:
    """Goes through the declarations of the interface's type, and makes items of the front of them."""

    def __init__(self, guest: Outline, interface: Interface) -> None:
        self._guest = guest
        self._interface = interface
        self._new = Builder([], {})
        #: The front's indices of the types in the type's index space, imported and exported.
        self._imported: list[int] = []
        self._exported: list[int] = []
        self.front = Front(b"", [], [])
        where = guest.types[interface.type_index].where
        assert where is not None
        reader = Reader(guest.component, where[0] + 1, where[1])
        for _ in range(reader.u32()):
            kind = reader.byte()
            if kind == 1:
                self._define(reader)
            elif kind == 2:
                self._alias(reader.alias().outer)
            else:
                self._export(reader.extern_name(), *reader.extern())
        self.front.component = self._new.build()

    def _define(self, reader: Reader) -> None:
        start = reader.position
        reader.indices = []
        reader.type()
        for types in (self._imported, self._exported):
            at = partial(self._at, types)
            content = renumbered(reader.data, start, reader.position, reader.indices, at)
            types.append(self._new.type(content))

    def _alias(self, outer: Outer | None) -> None:
        if outer is None or outer.count != 1:
            raise self._unusual()
        type_ = self._guest.resolve(self._interface.type, len(self._imported))
        if isinstance(type_, Resource):
            same = None
        elif isinstance(type_, EnumType):
            same = self._new.type(enum_type(type_.labels))
        else:
            raise self._unusual()
        name = f"wasinn-o{len(self.front.types)}"
        index = self._new.import_type(name, same)
        self.front.types.append((name, outer.index))
        self._imported.append(index)
        self._exported.append(index)

    def _export(self, export: str, sort: Sort, type_index: int | None) -> None:
        if sort is Sort.TYPE:
            name = f"wasinn-t{len(self.front.imports)}"
            same = None if type_index is None else self._at(self._imported, type_index)
            imported = self._new.import_type(name, same)
            exported = imported if type_index is None else self._at(self._exported, type_index)
            self._imported.append(imported)
            self._exported.append(self._new.export(export, Sort.TYPE, exported))
        else:
            assert type_index is not None
            name = f"wasinn-f{len(self.front.imports)}"
            function = self._new.import_func(name, self._at(self._imported, type_index))
            self._new.export(export, Sort.FUNC, function, self._at(self._exported, type_index))
        self.front.imports.append((name, sort, export))

    def _at(self, types: list[int], index: int) -> int:
        if index >= len(types):
            raise NotRewritable(f"{self._interface.name} names a type that it does not have")
        return types[index]

    def _unusual(self) -> NotRewritable:
        return NotRewritable(
            f"{self._interface.name} has a type from elsewhere that is no resource and no enum"
        )
