# SPDX-License-Identifier: Apache-2.0
"""Reads component binaries, as far as the rewriter needs it.

Sections are slices of the component: nothing here looks into a core module or a nested component. What is
not understood raises NotRewritable. Every element that is counted takes a byte at least, so the time and the
memory are linear in what is read, whatever the counts say; and types are nested no deeper than MAX_DEPTH.
"""

from __future__ import annotations

from collections.abc import Iterator

from wasinn.abi.component.model import (
    Alias,
    ComponentType,
    EnumType,
    Export,
    Extern,
    FuncType,
    HandleType,
    Index,
    InstanceType,
    ListType,
    NotRewritable,
    OtherType,
    Outer,
    Resource,
    ResultType,
    Same,
    Sort,
    Type,
)

HEADER = b"\0asm\x0d\0\x01\0"
#: How deep types of instances and components may be nested in one another. Tools write two or three.
MAX_DEPTH = 32


class Reader:
    """Reads `data` from `position` to `end`. Everything raises NotRewritable where `end` comes first."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.data = data
        self.position = position
        self.end = end
        #: The indices of types in the types that were read.
        self.indices: list[Index] = []

    def byte(self) -> int:
        if self.position >= self.end:
            raise NotRewritable("a section of the component ends in the middle of something")
        self.position += 1
        return self.data[self.position - 1]

    def u32(self) -> int:
        value = self.byte()
        if value < 0x80:
            return value
        value &= 0x7F
        for shift in (7, 14, 21, 28):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 32:
                    break
                return value
        raise NotRewritable("the component has a number of more than 32 bits")

    def value_type(self) -> int:
        """A signed number of 33 bits: one of the primitive types, or an index."""
        start = self.position
        value = shift = 0
        while shift < 35:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if byte & 0x40:
                    return value - (1 << shift)
                self.indices.append(Index(start, self.position, value, True))
                return value
        raise NotRewritable("the component has a type's number of more than 33 bits")

    def name(self) -> str:
        size = self.u32()
        start, self.position = self.position, self.position + size
        if self.position > self.end:
            raise NotRewritable("a name in the component is longer than its section")
        try:
            return self.data[start : self.position].decode()
        except UnicodeDecodeError:
            raise NotRewritable("a name in the component is not UTF-8") from None

    def extern_name(self) -> str:
        """The name of an import or an export."""
        kind = self.byte()
        if kind > 1:
            raise NotRewritable(f"the component has a name of an unknown kind ({kind:#x})")
        return self.name()

    def sort(self) -> Sort:
        kind = self.byte()
        if kind == 0:
            kind = self.byte()
            if kind == 0x11:
                return Sort.CORE_MODULE
            raise NotRewritable(f"the component names a core item ({kind:#x}) before its imports end")
        if kind > Sort.INSTANCE:
            raise NotRewritable(f"the component has an item of an unknown sort ({kind:#x})")
        return Sort(kind)

    def extern(self) -> Extern:
        """The type of an import or an export."""
        sort = self.sort()
        if sort in (Sort.TYPE, Sort.VALUE):
            bound = self.byte()
            if bound == 0:
                return Extern(sort, self.u32())
            if bound == 1 and sort is Sort.TYPE:
                return Extern(sort, None)
            raise NotRewritable(f"the component has a bound of an unknown kind ({bound:#x})")
        return Extern(sort, self.u32())

    def alias(self) -> Alias:
        sort, kind = self.sort(), self.byte()
        if kind == 0:
            return Alias(sort, self.u32(), self.name(), None)
        if kind == 2:
            return Alias(sort, None, "", Outer(self.u32(), self.u32()))
        raise NotRewritable(f"the component has an alias of an unknown kind ({kind:#x})")

    def export(self) -> Export:
        name, sort, index = self.extern_name(), self.sort(), self.u32()
        return Export(name, sort, index, self.extern().type_index if self.flag() else None)

    def any_alias(self) -> Alias | None:
        """An alias anywhere; None for one of a core item."""
        if self.position < self.end and self.data[self.position] != 0:
            return self.alias()
        self.byte(), self.byte()
        kind = self.byte()
        if kind > 2:
            raise NotRewritable(f"the component has an alias of an unknown kind ({kind:#x})")
        self.u32()
        if kind == 2:
            self.u32()
        else:
            self.name()
        return None

    def canon(self) -> int | None:
        """A canonical definition: for a function of the component its type's index, None for a core one."""
        kind = self.byte()
        if kind in (0, 1):
            self.zero()
            self.u32()
            for _ in range(self.u32()):
                option = self.byte()
                if option in (3, 4, 5, 7):
                    self.u32()
                elif option not in (0, 1, 2, 6):
                    raise NotRewritable(
                        f"the component has a canonical option of an unknown kind ({option:#x})"
                    )
            return self.u32() if kind == 0 else None
        if kind in (2, 3, 4):  # resource.new, drop and rep
            self.u32()
            return None
        raise NotRewritable(f"the component has a canonical definition of an unknown kind ({kind:#x})")

    def type(self, depth: int = 0) -> Type:
        kind = self.byte()
        match kind:
            case 0x40:
                return self._func()
            case 0x42:
                return self._instance(depth)
            case 0x41:
                self._declarations(depth, imports=True)
                return ComponentType()
            case 0x72:  # record
                for _ in range(self.u32()):
                    self.name()
                    self.value_type()
            case 0x71:  # variant
                for _ in range(self.u32()):
                    self.name()
                    self._optional()
                    self.zero()
            case 0x70:
                return ListType(self.value_type())
            case 0x6F:  # tuple
                for _ in range(self.u32()):
                    self.value_type()
            case 0x6E:  # flags
                self._names()
            case 0x6D:
                return EnumType(self._names())
            case 0x6B:  # option
                self.value_type()
            case 0x6A:
                return ResultType(self._optional(), self._optional())
            case 0x69 | 0x68:
                start = self.position
                resource = self.u32()
                self.indices.append(Index(start, self.position, resource, False))
                return HandleType(kind == 0x69, resource)
            case 0x3F:  # a resource of the component's own
                self.byte()
                if self.flag():
                    self.u32()
                return Resource()
            case _ if 0x73 <= kind <= 0x7F:  # another name of a primitive type
                pass
            case _:
                raise NotRewritable(f"the component has a type of an unknown kind ({kind:#x})")
        return OtherType()

    def _func(self) -> FuncType:
        params = tuple((self.name(), self.value_type()) for _ in range(self.u32()))
        if self.flag():
            self.zero()
            return FuncType(params, None)
        return FuncType(params, self.value_type())

    def _instance(self, depth: int) -> InstanceType:
        return self._declarations(depth, imports=False)

    def _declarations(self, depth: int, *, imports: bool) -> InstanceType:
        if depth == MAX_DEPTH:
            raise NotRewritable(f"the component's types are nested more than {MAX_DEPTH} deep")
        types: list[Type] = []
        exports: dict[str, Extern] = {}
        names: dict[int, str] = {}
        for _ in range(self.u32()):
            kind = self.byte()
            if kind == 1:
                types.append(self.type(depth + 1))
            elif kind == 2:
                alias = self.alias()
                if alias.sort is Sort.TYPE:
                    types.append(alias.outer or OtherType())
            elif kind == 4 or (kind == 3 and imports):
                name, extern = self.extern_name(), self.extern()
                if kind == 4:
                    if name in exports:
                        raise NotRewritable("a type in the component exports a name twice")
                    exports[name] = extern
                if extern.sort is Sort.TYPE:
                    names[len(types)] = name
                    types.append(Resource() if extern.type_index is None else Same(extern.type_index))
            else:
                raise NotRewritable(f"a type in the component declares something unknown ({kind:#x})")
        return InstanceType(tuple(types), exports, names)

    def _names(self) -> tuple[str, ...]:
        return tuple(self.name() for _ in range(self.u32()))

    def _optional(self) -> int | None:
        return self.value_type() if self.flag() else None

    def flag(self) -> bool:
        value = self.byte()
        if value > 1:
            raise NotRewritable(f"the component has {value:#x} where 0 or 1 belongs")
        return value == 1

    def zero(self) -> None:
        if self.byte() != 0:
            raise NotRewritable("the component has something else where 0 belongs")


def sections(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """Each section of the component that is `data`, or lies there from `start` to `end`: its id, and where it
    starts, its content starts and it ends."""
    if data[start : start + len(HEADER)] != HEADER:
        raise NotRewritable("it is not a component")
    reader = Reader(data, start + len(HEADER), len(data) if end is None else end)
    while reader.position < reader.end:
        start = reader.position
        kind, size = reader.byte(), reader.u32()
        content, end = reader.position, reader.position + size
        if end > reader.end:
            raise NotRewritable("the component ends in the middle of a section")
        yield kind, start, content, end
        reader.position = end
