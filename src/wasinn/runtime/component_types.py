# SPDX-License-Identifier: Apache-2.0
"""The types of a component's functions, read once from wasmtime's own objects."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wasmtime import component as wasmtime_component

#: The kinds whose name is all there is to know of them.
SIMPLE = ("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string")
_CLASSES = {kind: getattr(wasmtime_component, kind.capitalize()) for kind in SIMPLE}

#: The least and the greatest integer of each integer kind.
INTEGERS = {
    f"{sign}{bits}": (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if sign == "s" else (0, (1 << bits) - 1)
    for sign in "su"
    for bits in (8, 16, 32, 64)
}


#: Characters of a type or of a signature as text. Types that share parts can have millions when written out.
_MAX_TEXT = 1000


@dataclass(frozen=True)
class WitType:
    """A type of WIT. Types may share their parts, so that what walks through all of them must remember.

    `kind`: one of SIMPLE, or list, record, tuple, variant, enum, option, result, flags; or `unknown`
    for what cannot be passed from here (resources, futures, streams). `parts`: what it is made of, each
    with its name, and None where there is no type: the element of a list (""), the fields of a record,
    the elements of a tuple (""), the cases of a variant, the names of an enum and of flags, `some` of an
    option, `ok` and `err` of a result.
    """

    kind: str
    parts: tuple[tuple[str, WitType | None], ...] = ()

    @functools.cached_property
    def passable(self) -> bool:
        """Whether values of it can be given and taken."""
        return self.kind != "unknown" and all(part is None or part.passable for _, part in self.parts)

    def part(self, name: str) -> WitType | None:
        """The type of a field or case. Raises KeyError for a name that it does not have."""
        return dict(self.parts)[name]

    @property
    def element(self) -> WitType:
        """What a list or an option is made of."""
        found = self.parts[0][1]
        assert found is not None
        return found

    def __str__(self) -> str:
        return _cut(self.words())

    def words(self) -> Iterator[str]:
        """Its text, piece by piece."""
        if self.kind == "unknown":
            yield "a resource, future or stream"
        elif not self.parts:
            yield self.kind
        elif self.kind in ("list", "tuple", "option"):
            yield f"{self.kind}<"
            yield from _joined(_words(part) for _, part in self.parts)
            yield ">"
        elif self.kind == "result":
            yield from self._result_words()
        elif self.kind == "record":
            yield "record { "
            yield from _joined(_words(part, f"{name}: ") for name, part in self.parts)
            yield " }"
        else:
            yield f"{self.kind} {{ "
            yield from _joined(
                iter((name,)) if part is None else _words(part, f"{name}(", ")") for name, part in self.parts
            )
            yield " }"

    def _result_words(self) -> Iterator[str]:
        ok, error = (part for _, part in self.parts)
        if error is not None:
            yield "result<"
            yield from _words(ok)
            yield ", "
            yield from _words(error, "", ">")
        elif ok is not None:
            yield from _words(ok, "result<", ">")
        else:
            yield "result"


def _words(kind: WitType | None, before: str = "", after: str = "") -> Iterator[str]:
    yield before
    yield from ("_",) if kind is None else kind.words()
    yield after


def _joined(several: Iterator[Iterator[str]]) -> Iterator[str]:
    for number, each in enumerate(several):
        if number:
            yield ", "
        yield from each


def _cut(words: Iterator[str]) -> str:
    text = ""
    for word in words:
        text += word
        if len(text) > _MAX_TEXT:
            return text[:_MAX_TEXT] + "..."
    return text


@dataclass(frozen=True)
class Signature:
    """The parameters of an exported function, each with its name, and its result."""

    parameters: tuple[tuple[str, WitType], ...]
    result: WitType | None

    @property
    def callable(self) -> bool:
        """Whether all of it can be passed from Python."""
        kinds = [kind for _, kind in self.parameters]
        if self.result is not None:
            kinds.append(self.result)
        return all(kind.passable for kind in kinds)

    def __str__(self) -> str:
        return _cut(self._words())

    def _words(self) -> Iterator[str]:
        yield "("
        yield from _joined(_words(kind, f"{name}: ") for name, kind in self.parameters)
        yield ")"
        if self.result is not None:
            yield from _words(self.result, " -> ")


def read_signature(function: wasmtime_component.FuncType) -> Signature:
    """The signature of a function, by wasmtime's own type."""
    reader = _Reader()
    try:
        parameters = tuple((name, reader.read(kind)) for name, kind in function.params)
    except TypeError:  # wasmtime-py does not know a kind: then nothing is said of any parameter
        parameters = (("unknown", WitType("unknown")),)
    try:
        result = reader.read_optional(function.result)
    except TypeError:
        result = WitType("unknown")
    return Signature(parameters, result)


def read_type(found: wasmtime_component.ValType) -> WitType:
    """A type, by wasmtime's own object. Raises TypeError for a kind that wasmtime-py does not know."""
    return _Reader().read(found)


class _Reader:
    """Reads each type once: written out, what a type consists of may be exponentially more."""

    def __init__(self) -> None:
        #: What was read, by what is quickly seen of it; types of wasmtime's can be compared, and not hashed.
        self._read: dict[object, list[tuple[Any, WitType]]] = {}

    def read(self, found: wasmtime_component.ValType) -> WitType:
        for kind, each in _CLASSES.items():
            if isinstance(found, each):
                return WitType(kind)
        if isinstance(found, wasmtime_component.EnumType):
            return WitType("enum", tuple((name, None) for name in found.names))
        if isinstance(found, wasmtime_component.FlagsType):
            return WitType("flags", tuple((name, None) for name in found.names))
        kind_name, parts = _parts(found)
        if kind_name == "unknown":
            return WitType("unknown")
        alike = self._read.setdefault((kind_name, tuple((name, type(part)) for name, part in parts)), [])
        known: WitType
        for other, known in reversed(alike):
            if other == found:
                return known
        result = WitType(kind_name, tuple((name, self.read_optional(part)) for name, part in parts))
        alike.append((found, result))
        return result

    def read_optional(self, found: wasmtime_component.ValType | None) -> WitType | None:
        return None if found is None else self.read(found)


def _parts(found: wasmtime_component.ValType) -> tuple[str, list[tuple[str, Any]]]:
    """The kind of a type that is made of others, and those with their names."""
    if isinstance(found, wasmtime_component.ListType):
        return "list", [("", found.element)]
    if isinstance(found, wasmtime_component.RecordType):
        return "record", list(found.fields)
    if isinstance(found, wasmtime_component.TupleType):
        return "tuple", [("", part) for part in found.elements]
    if isinstance(found, wasmtime_component.VariantType):
        return "variant", list(found.cases)
    if isinstance(found, wasmtime_component.OptionType):
        return "option", [("some", found.payload)]
    if isinstance(found, wasmtime_component.ResultType):
        return "result", [("ok", found.ok), ("err", found.err)]
    return "unknown", []
