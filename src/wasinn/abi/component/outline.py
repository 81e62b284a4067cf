# SPDX-License-Identifier: Apache-2.0
"""What the rewriter knows of a component: its types and imports up to the last import, and its exports."""

from __future__ import annotations

from dataclasses import dataclass, field

from wasinn.abi.component import binary
from wasinn.abi.component.binary import Reader
from wasinn.abi.component.model import (
    Alias,
    Export,
    Extern,
    InstanceType,
    NotRewritable,
    Outer,
    Resource,
    Same,
    Section,
    Sort,
    Type,
)

#: How many names a type may have on its way to what it is: `use` in WIT adds two each time.
MAX_NAMES = 64
#: The most bytes of types, imports, exports and the like at the root; a guest in Python has 50 KB.
#: It bounds the time and the memory that a hostile component takes: some seconds, some hundred MB.
MAX_SIZE = 1 << 20


@dataclass
class TypeEntry:
    """A type of the guest's: `where` it is defined, or `alias` of an export, or another name of it."""

    where: tuple[int, int] | None
    type: Type | Alias | None


@dataclass
class Outline:
    """What is known of the guest: its index spaces up to its last import, and its exports."""

    component: bytes
    types: list[TypeEntry] = field(default_factory=list)
    instances: list[int | None] = field(default_factory=list)
    """Of each instance the index of its type, None if it comes from an alias."""
    functions: list[int | None] = field(default_factory=list)
    """Of each function the index of its type, None if it comes from an alias."""
    function_aliases: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Of each function that comes from an alias the instance, and what it is called there."""
    imports: list[tuple[str, Sort, int]] = field(default_factory=list)
    """Names, sorts and indices."""
    exports: list[Export] = field(default_factory=list)
    sections: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    """The sections to repeat: kind, start, content, end, and the index of the first type in it."""

    size: int = 0
    """How many bytes of sections were read."""

    @property
    def sizes(self) -> dict[Sort, int]:
        """How many items of each sort there are up to the last import."""
        return {
            Sort.TYPE: len(self.types),
            Sort.INSTANCE: len(self.instances),
            Sort.FUNC: len(self.functions),
        }

    def __post_init__(self) -> None:
        found = list(binary.sections(self.component))
        imports = [number for number, (kind, *_) in enumerate(found) if kind == Section.IMPORT]
        for kind, start, content, end in found[: imports[-1] + 1 if imports else 0]:
            if kind != Section.CUSTOM:
                self.sections.append((kind, start, content, end, len(self.types)))
                self._read(kind, self.reader(content, end))
        for kind, _, content, end in found:
            if kind == Section.EXPORT:
                self._read(kind, self.reader(content, end))

    def reader(self, content: int, end: int) -> Reader:
        """A reader of a section. Raises NotRewritable where too much is read in all."""
        self.size += end - content
        if self.size > MAX_SIZE:
            raise NotRewritable(f"the component has more than {MAX_SIZE} bytes of types, imports and exports")
        return Reader(self.component, content, end)

    def _read(self, kind: int, reader: Reader) -> None:
        count = reader.u32()
        if kind == Section.TYPE and count == 1:
            # Most sections have one type, of an import of no interest: it is read when it is asked for.
            self.types.append(TypeEntry((reader.position, reader.end), None))
            return
        for _ in range(count):
            if kind == Section.TYPE:
                start, type_ = reader.position, reader.type()
                self.types.append(TypeEntry((start, reader.position), type_))
            elif kind == Section.IMPORT:
                self._import(reader.extern_name(), reader.extern())
            elif kind == Section.ALIAS:
                self._alias(reader.alias())
            elif kind == Section.EXPORT:
                self.exports.append(reader.export())
            else:
                raise NotRewritable(f"the component has a section of kind {kind} before its last import")
        if reader.position != reader.end:
            raise NotRewritable("a section of the component is longer than what is in it")

    def _import(self, name: str, extern: Extern) -> None:
        sort, index = extern
        if sort is Sort.INSTANCE:
            self.imports.append((name, sort, len(self.instances)))
            self.instances.append(index)
        elif sort is Sort.FUNC:
            self.imports.append((name, sort, len(self.functions)))
            self.functions.append(index)
        elif sort is Sort.TYPE:
            self.imports.append((name, sort, len(self.types)))
            self.types.append(TypeEntry(None, Resource() if index is None else Same(index)))
        else:
            raise NotRewritable(f"the component imports {name!r}, which is no function, instance or type")

    def _alias(self, alias: Alias) -> None:
        if alias.sort is Sort.TYPE:
            self.types.append(TypeEntry(None, alias))
        elif alias.sort is Sort.INSTANCE:
            self.instances.append(None)
        elif alias.sort is Sort.FUNC:
            if alias.instance is not None:
                self.function_aliases[len(self.functions)] = alias.instance, alias.name
            self.functions.append(None)
        else:
            raise NotRewritable("the component has an alias of an unusual sort before its last import")

    # -- types -------------------------------------------------------------------------------------

    def type(self, index: int) -> Type | Alias:
        """A type of the guest's own index space."""
        if not 0 <= index < len(self.types):
            raise NotRewritable(f"the component has no type {index} where it names it")
        entry = self.types[index]
        if entry.type is None:
            assert entry.where is not None
            reader = Reader(self.component, *entry.where)
            entry.type = reader.type()
            if reader.position != reader.end:
                raise NotRewritable("a section of the component is longer than what is in it")
        return entry.type

    def instance_type(self, instance: int | None) -> InstanceType:
        """The type of an imported instance."""
        if instance is None or instance >= len(self.instances):
            raise NotRewritable("the component has an alias of something other than an imported instance")
        index = self.instances[instance]
        type_ = None if index is None else self.type(index)
        if not isinstance(type_, InstanceType):
            raise NotRewritable("the component has an instance whose type is not understood")
        return type_

    def resolve(self, scope: InstanceType, index: int) -> Type:
        """What a type in an instance's type is, through all its names."""
        here: InstanceType | None = scope
        for _ in range(MAX_NAMES):
            if here is not None and not 0 <= index < len(here.types):
                break
            found = self.type(index) if here is None else here.types[index]
            match found:
                case Same(next_index):
                    index = next_index
                case Outer(count, next_index):
                    if count > (here is not None):
                        break
                    here, index = (None if count == 1 else here), next_index
                case Alias(_, None, _, Outer(0, next_index)):
                    index = next_index
                case Alias(_, instance, name, _):
                    here = self.instance_type(instance)
                    extern = here.exports.get(name)
                    if extern is None or extern.sort is not Sort.TYPE:
                        break
                    if extern.type_index is None:
                        return Resource()
                    index = extern.type_index
                case _:
                    return found
        raise NotRewritable("the component has a type that leads nowhere")
