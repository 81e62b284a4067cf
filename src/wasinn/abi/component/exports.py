# SPDX-License-Identifier: Apache-2.0
"""Exports what the guest exports from the component that is around it.

An instance brings its types along. A function at the guest's root does not: an export may speak of a record,
a resource and the like only under a name that its component gives it. So such a function gets its type anew,
in terms of the types that are exported here and of the imports; for that, its root is read to the end.
"""

from __future__ import annotations

from wasinn.abi.component import binary
from wasinn.abi.component.binary import Reader
from wasinn.abi.component.builder import Builder, renumbered
from wasinn.abi.component.model import (
    Alias,
    ComponentType,
    Export,
    FuncType,
    InstanceType,
    NotRewritable,
    Resource,
    Same,
    Section,
    Sort,
)
from wasinn.abi.component.outline import MAX_NAMES, Outline, TypeEntry

#: What a wrapper may export of the guest's: an instance, a function, and a type that one of them speaks of.
_EXPORTABLE = (Sort.FUNC, Sort.TYPE, Sort.INSTANCE)
_READ = (Section.TYPE, Section.ALIAS, Section.CANON, Section.EXPORT)


def export_all(guest: Outline, new: Builder, inside: int) -> None:
    """`inside` is the index of the guest's instance in the new component."""
    for export in guest.exports:
        if export.sort not in _EXPORTABLE:
            raise NotRewritable(f"the component exports {export.name!r}, which is no function or instance")
    if all(export.sort is Sort.INSTANCE for export in guest.exports):
        for export in guest.exports:
            new.export(export.name, Sort.INSTANCE, new.alias(Sort.INSTANCE, inside, export.name))
    else:
        _Exporter(guest, new, inside).run()


class _Exporter:
    def __init__(self, guest: Outline, new: Builder, inside: int) -> None:
        self._guest = guest
        self._new = new
        self._inside = inside
        self._types = list(guest.types)
        self._functions = list(guest.functions)
        #: The new component's indices of the guest's types. It repeats those up to the last import.
        self._indices = {index: index for index in range(len(self._types))}

    def run(self) -> None:
        done = self._guest.sections[-1][3]
        for kind, start, content, end in binary.sections(self._guest.component):
            if start >= done and kind in _READ:
                self._section(kind, self._guest.reader(content, end))

    def _section(self, kind: int, reader: Reader) -> None:
        for _ in range(reader.u32()):
            if kind == Section.TYPE:
                start, type_ = reader.position, reader.type()
                self._types.append(TypeEntry((start, reader.position), type_))
            elif kind == Section.ALIAS:
                self._alias(reader.any_alias())
            elif kind == Section.CANON:
                type_index = reader.canon()
                if type_index is not None:
                    self._functions.append(type_index)
            else:
                self._export(reader.export())

    def _alias(self, alias: Alias | None) -> None:
        if alias is not None and alias.sort is Sort.TYPE:
            self._types.append(TypeEntry(None, alias))
        elif alias is not None and alias.sort is Sort.FUNC:
            self._functions.append(None)

    def _export(self, export: Export) -> None:
        name, sort, index, type_index = export
        alias = self._new.alias(sort, self._inside, name)
        if sort is Sort.FUNC:
            if type_index is None:
                type_index = self._functions[index] if index < len(self._functions) else None
            if type_index is None:
                raise NotRewritable(f"the component exports a function {name!r} that is not its own")
            self._functions.append(type_index)
            self._new.export(name, sort, alias, self._define(type_index))
            return
        if sort is Sort.TYPE and not self._is_exportable(index):
            raise NotRewritable(f"the component exports {name!r}, a type that no value has")
        exported = self._new.export(name, sort, alias)
        if sort is Sort.TYPE:
            self._indices[len(self._types)] = exported
            self._types.append(TypeEntry(None, None))

    def _is_exportable(self, index: int) -> bool:
        """Whether a type is one of values, or a resource."""
        if index >= len(self._types):
            return False
        type_ = self._types[index].type
        for _ in range(MAX_NAMES):
            if index < len(self._guest.types):
                type_ = self._guest.type(index)
            if not isinstance(type_, Same):
                break
            index = type_.index
        if isinstance(type_, Alias) and type_.instance is not None:
            scope = self._guest.instance_type(type_.instance)
            extern = scope.exports.get(type_.name)
            if extern is None or extern.sort is not Sort.TYPE:
                return False
            type_ = Resource() if extern.type_index is None else self._guest.resolve(scope, extern.type_index)
        return not isinstance(type_, Alias | Same | FuncType | InstanceType | ComponentType)

    def _define(self, index: int) -> int:
        """The new component's index of a type of the guest's, with all that it speaks of."""
        needed: dict[int, Reader] = {}
        open_ = [index]
        while open_:
            each = open_.pop()
            if each in self._indices or each in needed:
                continue
            needed[each] = self._reader(each)
            for inner in needed[each].indices:
                if inner.value >= each:
                    raise NotRewritable("the component has a type that speaks of a later one")
                open_.append(inner.value)
        for each in sorted(needed):
            reader = needed[each]
            entry = self._types[each]
            if isinstance(entry.type, Alias) and entry.type.instance is not None:
                self._indices[each] = self._new.alias(Sort.TYPE, entry.type.instance, entry.type.name)
            else:
                start = entry.where[0] if entry.where else reader.position
                at = self._indices.__getitem__
                content = renumbered(reader.data, start, reader.position, reader.indices, at)
                self._indices[each] = self._new.type(content)
        return self._indices[index]

    def _reader(self, index: int) -> Reader:
        """A reader that has read the type, and so knows the indices in it."""
        entry = self._types[index] if index < len(self._types) else None
        if entry is not None and isinstance(entry.type, Alias):
            instance = entry.type.instance
            if instance is not None and instance < len(self._guest.instances):
                return Reader(b"", 0, 0)
        if entry is None or entry.where is None:
            raise NotRewritable("the component exports a function with a type from elsewhere")
        reader = Reader(self._guest.component, *entry.where)
        if isinstance(reader.type(), Resource):
            raise NotRewritable("the component exports a function with a resource that it does not export")
        return reader
