# SPDX-License-Identifier: Apache-2.0
"""Puts shims into a guest, where it lowers the functions of `wasi:nn` with bulk data.

A component lowers an imported function to call it from its core modules:

    (core func (canon lower (func $tensor "[constructor]tensor") (memory $guest)))

In the place of that core function comes one of a shim (`shims`), which has the same type and the next index:

    (alias core export $shim "new" (core func))

What the shim needs comes before the section in which the function was: its module, the host's private
functions as core functions, its instance. All of that takes indices of its own, so whatever the guest names
after it, it names by a higher index. The types at the root keep theirs.

Only the root is read, and nothing of it is reordered or left out but its names for debuggers. What is
not understood raises NotRewritable; the guest then can still be wrapped (`rewrite`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wasinn.abi.component import binary
from wasinn.abi.component.binary import HEADER, Reader
from wasinn.abi.component.builder import number, text, vector
from wasinn.abi.component.indices import Indices, Space
from wasinn.abi.component.interfaces import Interface
from wasinn.abi.component.model import NotRewritable, Section, Sort
from wasinn.abi.component.nested import check_nested
from wasinn.abi.component.outline import Outline
from wasinn.abi.component.shims import HOST, memory_module, shim

#: The shim that stands in for a function.
SHIMS = {"[constructor]tensor": "new", "[method]tensor.data": "data", "load": "load"}
#: One for each function, memory and realloc: more than any component builder makes, and few to count through.
_MAX_SHIMS = 64


#: The spaces of core items, by the sort's number.
_CORE = {0x00: Space.CORE_FUNC, 0x02: Space.CORE_MEMORY, 0x11: Space.CORE_MODULE, 0x12: Space.CORE_INSTANCE}
#: Tables, globals, tags and types: they keep their indices.
_CORE_KEPT = (0x01, 0x03, 0x04, 0x10)


class Lower(NamedTuple):
    """A function that a guest lowers, and the old indices of the memory and the realloc for it. `plain`: it
    has no other options."""

    function: int
    memory: int | None
    realloc: int | None
    plain: bool


def put_shims(guest: Outline, interfaces: Sequence[Interface], imports: Sequence[bytes]) -> bytes:
    """The guest with its shims. `imports` are its sections up to the last import, with the private functions.

    Raises NotRewritable where something at the guest's root is not understood, or a function with bulk data
    is not lowered there.
    """
    return _Guest(guest, interfaces, imports).build()


class _Guest:
    def __init__(self, guest: Outline, interfaces: Sequence[Interface], imports: Sequence[bytes]) -> None:
        self._data = guest.component
        self._outline = guest
        self._parts = [HEADER, *imports]
        #: What functions with bulk data the guest has: of which interface, and which shim is for them.
        self._bulk: dict[int, tuple[Interface, str]] = {}
        self._interfaces = {each.instance: each for each in interfaces}
        for function, (instance, name) in guest.function_aliases.items():
            self._note(function, instance, name)
        self._indices = Indices(self._data, {Space.FUNC: len(guest.functions)})
        #: The shims' memory: the new indices of its instance, memory and realloc.
        self._memory: tuple[int, int, int] | None = None
        self._modules: dict[str, int] = {}
        #: The new indices of the instances of shims, by the function's interface and what it is lowered with.
        self._shims: dict[tuple[object, ...], int] = {}
        self._lowered: set[tuple[int, str]] = set()

    def build(self) -> bytes:
        done = self._outline.sections[-1][3]
        for kind, start, content, end in binary.sections(self._data):
            if start >= done:
                self._section(kind, start, content, end)
        for interface in self._interfaces.values():
            for name in interface.functions:
                if (interface.instance, name) not in self._lowered:
                    raise NotRewritable(f"the component's root does not call {name} of {interface.name}")
        return b"".join(self._parts)

    # -- the guest's sections ----------------------------------------------------------------------

    def _section(self, kind: int, start: int, content: int, end: int) -> None:
        if kind == Section.CUSTOM:
            # The names of what has other indices now would be those of something else.
            if Reader(self._data, content, end).name() != "component-name":
                self._parts.append(self._data[start:end])
            return
        if kind == Section.CORE_MODULE:
            self._indices.count(Space.CORE_MODULE)
        elif kind == Section.COMPONENT:
            check_nested(self._data, content, end, 1)
        elif kind != Section.CORE_TYPE:
            read = {
                Section.CORE_INSTANCE: self._core_instance,
                Section.INSTANCE: self._instance,
                Section.ALIAS: self._alias,
                Section.TYPE: self._type,
                Section.EXPORT: self._export,
            }.get(Section(kind) if kind in set(Section) else Section.CUSTOM)
            reader = self._outline.reader(content, end)
            if kind == Section.CANON:
                self._canons(reader)
                return
            if read is None:
                raise NotRewritable(f"the component has a section of kind {kind}")
            self._indices.patches.clear()
            for _ in range(reader.u32()):
                read(reader)
            if reader.position != reader.end:
                raise NotRewritable("a section of the component is longer than what is in it")
            if self._indices.patches:
                patched = self._indices.patched(content, end)
                self._parts += [bytes([kind]) + number(len(patched)), patched]
                return
        self._parts.append(self._data[start:end])

    def _core_instance(self, reader: Reader) -> None:
        kind = reader.byte()
        if kind == 0:
            self._indices.read(reader, Space.CORE_MODULE)
            for _ in range(reader.u32()):
                reader.name()
                if reader.byte() != 0x12:
                    raise NotRewritable("the component gives a core module something that is no instance")
                self._indices.read(reader, Space.CORE_INSTANCE)
        elif kind == 1:
            for _ in range(reader.u32()):
                reader.name()
                self._core_item(reader)
        else:
            raise NotRewritable(f"the component has a core instance of an unknown kind ({kind:#x})")
        self._indices.count(Space.CORE_INSTANCE)

    def _instance(self, reader: Reader) -> None:
        kind = reader.byte()
        if kind > 1:
            raise NotRewritable(f"the component has an instance of an unknown kind ({kind:#x})")
        if kind == 0:
            reader.u32()
        for _ in range(reader.u32()):
            if kind == 0:
                reader.name()
            else:
                reader.extern_name()
            self._item(reader)

    def _alias(self, reader: Reader) -> None:
        start = reader.position
        sort = reader.byte()
        core = reader.byte() if sort == 0 else None
        target = reader.byte()
        if target == 1 and core is not None:
            self._indices.read(reader, Space.CORE_INSTANCE)
            reader.name()
        elif target == 0 and core in (None, 0x11):
            instance, name = reader.u32(), reader.name()
            if sort == Sort.FUNC:
                self._note(self._indices.of_guest[Space.FUNC], instance, name)
        elif target == 2 and core in (None, 0x10, 0x11):
            count = reader.u32()
            if core == 0x11 and count == 0:
                self._indices.read(reader, Space.CORE_MODULE)
            else:
                reader.u32()
        else:
            raise NotRewritable(f"the component has an alias of an unknown kind ({self._data[start]:#x})")
        if core is not None:
            if core in _CORE:
                self._indices.count(_CORE[core])
            elif core not in _CORE_KEPT:
                raise NotRewritable(f"the component has a core item of an unknown kind ({core:#x})")
        elif sort == Sort.FUNC:
            self._indices.count(Space.FUNC)
        elif sort not in set(Sort):
            raise NotRewritable(f"the component has an item of an unknown sort ({sort:#x})")

    def _type(self, reader: Reader) -> None:
        if reader.position < reader.end and self._data[reader.position] == 0x3F:
            reader.byte()
            reader.byte()  # how it is represented
            if reader.flag():
                self._indices.read(reader, Space.CORE_FUNC)  # the destructor
        else:
            reader.type()

    def _export(self, reader: Reader) -> None:
        reader.extern_name()
        space = self._item(reader)
        if reader.flag():
            reader.extern()
        if space is not None:
            self._indices.count(space)

    def _canons(self, reader: Reader) -> None:
        """A section of canonical definitions; a shim's function is an alias, so it is cut there."""
        kept: list[bytes] = []
        for _ in range(reader.u32()):
            start = reader.position
            self._indices.patches.clear()
            kind = reader.byte()
            if kind == 1:
                lower = self._lower(reader)
                bulk = self._bulk.get(lower.function)
                if bulk is not None:
                    self._end_canons(kept)
                    kept = []
                    self._put(lower, *bulk)
                    continue
                self._indices.count(Space.CORE_FUNC)
            elif kind == 0:
                reader.zero()
                self._indices.read(reader, Space.CORE_FUNC)
                self._options(reader)
                reader.u32()
                self._indices.count(Space.FUNC)
            elif kind in (2, 3, 4):  # resource.new, drop and rep
                reader.u32()
                self._indices.count(Space.CORE_FUNC)
            else:
                raise NotRewritable(
                    f"the component has a canonical definition of an unknown kind ({kind:#x})"
                )
            kept.append(self._indices.patched(start, reader.position))
        if reader.position != reader.end:
            raise NotRewritable("a section of the component is longer than what is in it")
        self._end_canons(kept)

    def _end_canons(self, kept: list[bytes]) -> None:
        if kept:
            self._add(Section.CANON, kept)

    def _lower(self, reader: Reader) -> Lower:
        reader.zero()
        function = self._indices.read(reader, Space.FUNC)
        memory, realloc, plain = self._options(reader)
        return Lower(function, memory, realloc, plain)

    def _options(self, reader: Reader) -> tuple[int | None, int | None, bool]:
        """The old indices of the memory and the realloc; and whether there are no other options than those
        and the encoding of strings."""
        memory = realloc = None
        plain = True
        for _ in range(reader.u32()):
            option = reader.byte()
            if option == 3:
                memory = self._indices.read(reader, Space.CORE_MEMORY)
            elif option == 4:
                realloc = self._indices.read(reader, Space.CORE_FUNC)
            elif option in (5, 7):  # post-return, callback
                self._indices.read(reader, Space.CORE_FUNC)
                plain = False
            elif option == 6:  # async
                plain = False
            elif option > 2:
                raise NotRewritable(f"the component has a canonical option of an unknown kind ({option:#x})")
        return memory, realloc, plain

    def _item(self, reader: Reader) -> Space | None:
        """A sort and an index; the space, if it is one of those that count here."""
        sort = reader.byte()
        if sort == 0:
            if reader.byte() != 0x11:
                raise NotRewritable("the component hands on a core item that is no module")
            self._indices.read(reader, Space.CORE_MODULE)
            return Space.CORE_MODULE
        if sort == Sort.FUNC:
            if self._indices.read(reader, Space.FUNC) in self._bulk:
                raise NotRewritable("the component hands on a function of wasi:nn")
            return Space.FUNC
        if sort not in set(Sort):
            raise NotRewritable(f"the component has an item of an unknown sort ({sort:#x})")
        index = reader.u32()
        if sort == Sort.INSTANCE and index in self._interfaces:
            raise NotRewritable(f"the component hands on {self._interfaces[index].name}")
        return None

    def _core_item(self, reader: Reader) -> None:
        sort = reader.byte()
        if sort in _CORE:
            self._indices.read(reader, _CORE[sort])
        elif sort in _CORE_KEPT:
            reader.u32()
        else:
            raise NotRewritable(f"the component has a core item of an unknown kind ({sort:#x})")

    def _note(self, function: int, instance: int, name: str) -> None:
        interface = self._interfaces.get(instance)
        if interface is not None and name in interface.functions:
            self._bulk[function] = interface, name

    # -- the shims -----------------------------------------------------------------------------------

    def _put(self, lower: Lower, interface: Interface, function: str) -> None:
        """A shim's function in the place of a lowered one."""
        name = SHIMS[function]
        if lower.memory is None or not lower.plain or (name == "data" and lower.realloc is None):
            raise NotRewritable(f"the component calls {function} in an unusual way")
        realloc = lower.realloc if name == "data" else None
        key = (interface.instance, name, lower.memory, realloc)
        if key not in self._shims:
            if len(self._shims) == _MAX_SHIMS:
                raise NotRewritable(f"the component needs more than {_MAX_SHIMS} shims")
            self._shims[key] = self._shim(interface, name, lower.memory, realloc)
        self._add(Section.ALIAS, [_core_export(0x00, self._shims[key], name)])
        self._indices.count(Space.CORE_FUNC)
        self._lowered.add((interface.instance, function))

    def _shim(self, interface: Interface, name: str, memory: int, realloc: int | None) -> int:
        """A shim's instance."""
        if self._memory is None:
            module = self._module("memory", memory_module())
            own = self._core_instances(b"\x00" + number(module) + vector([]))
            self._add(Section.ALIAS, [_core_export(0x02, own, "memory"), _core_export(0x00, own, "realloc")])
            self._memory = own, self._indices.own(Space.CORE_MEMORY), self._indices.own(Space.CORE_FUNC)
        own, own_memory, own_realloc = self._memory
        functions = [each for each, _ in HOST[name]]
        aliases = [b"\x01\x00" + number(interface.instance) + text(each) for each in functions]
        self._add(Section.ALIAS, aliases)
        guest_memory = self._indices.at(Space.CORE_MEMORY, memory)
        lowered = []
        for each in functions:
            # What load gives back goes to the guest; all else is text, and lies in the shims' memory.
            if each == "wasinn-load":
                options = [b"\x03" + number(guest_memory)]
            else:
                options = [b"\x00", b"\x03" + number(own_memory), b"\x04" + number(own_realloc)]
            lowered.append(b"\x01\x00" + number(self._indices.own(Space.FUNC)) + vector(options))
        self._add(Section.CANON, lowered)
        host = [text(each) + b"\x00" + number(self._indices.own(Space.CORE_FUNC)) for each in functions]
        guest = [text("memory") + b"\x02" + number(guest_memory)]
        if realloc is not None:
            guest.append(text("realloc") + b"\x00" + number(self._indices.at(Space.CORE_FUNC, realloc)))
        given = [
            text("own") + b"\x12" + number(own),
            text("guest") + b"\x12" + number(self._core_instances(b"\x01" + vector(guest))),
            text("host") + b"\x12" + number(self._core_instances(b"\x01" + vector(host))),
        ]
        module = self._module(name, shim(name))
        return self._core_instances(b"\x00" + number(module) + vector(given))

    def _module(self, name: str, content: bytes) -> int:
        if name not in self._modules:
            self._parts += [bytes([Section.CORE_MODULE]) + number(len(content)), content]
            self._modules[name] = self._indices.own(Space.CORE_MODULE)
        return self._modules[name]

    def _core_instances(self, item: bytes) -> int:
        self._add(Section.CORE_INSTANCE, [item])
        return self._indices.own(Space.CORE_INSTANCE)

    def _add(self, section: Section, items: Sequence[bytes]) -> None:
        content = vector(items)
        self._parts.append(bytes([section]) + number(len(content)) + content)


def _core_export(sort: int, instance: int, name: str) -> bytes:
    return bytes([0, sort, 1]) + number(instance) + text(name)
