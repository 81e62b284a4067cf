# SPDX-License-Identifier: Apache-2.0
"""The types of a component's functions, read once from wasmtime's own objects."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class WitType:
    """A type of WIT.

    `kind`: one of SIMPLE, or list, record, tuple, variant, enum, option, result, flags; or `unknown`
    for what cannot be passed from here (resources, futures, streams). `parts`: what it is made of, each
    with its name, and None where there is no type: the element of a list (""), the fields of a record,
    the elements of a tuple (""), the cases of a variant, the names of an enum and of flags, `some` of an
    option, `ok` and `err` of a result.
    """

    kind: str
    parts: tuple[tuple[str, WitType | None], ...] = ()

    @property
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
        if self.kind == "unknown":
            return "a resource, future or stream"
        if not self.parts:
            return self.kind
        if self.kind in ("list", "tuple", "option"):
            return f"{self.kind}<{', '.join(str(part) for _, part in self.parts)}>"
        if self.kind == "result":
            ok, error = (part for _, part in self.parts)
            if error is None:
                return "result" if ok is None else f"result<{ok}>"
            return f"result<{'_' if ok is None else ok}, {error}>"
        if self.kind == "record":
            return "record { " + ", ".join(f"{name}: {part}" for name, part in self.parts) + " }"
        names = (name if part is None else f"{name}({part})" for name, part in self.parts)
        return f"{self.kind} {{ {', '.join(names)} }}"


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
        parameters = ", ".join(f"{name}: {kind}" for name, kind in self.parameters)
        return f"({parameters})" + ("" if self.result is None else f" -> {self.result}")


def read_signature(function: wasmtime_component.FuncType) -> Signature:
    """The signature of a function, by wasmtime's own type."""
    try:
        parameters = tuple((name, read_type(kind)) for name, kind in function.params)
    except TypeError:  # wasmtime-py does not know a kind: then nothing is said of any parameter
        parameters = (("unknown", WitType("unknown")),)
    try:
        result = None if (found := function.result) is None else read_type(found)
    except TypeError:
        result = WitType("unknown")
    return Signature(parameters, result)


def read_type(found: wasmtime_component.ValType) -> WitType:
    """A type, by wasmtime's own object. Raises TypeError for a kind that wasmtime-py does not know."""
    for kind, each in _CLASSES.items():
        if isinstance(found, each):
            return WitType(kind)
    if isinstance(found, wasmtime_component.ListType):
        return WitType("list", (("", read_type(found.element)),))
    if isinstance(found, wasmtime_component.RecordType):
        return WitType("record", tuple((name, read_type(part)) for name, part in found.fields))
    if isinstance(found, wasmtime_component.TupleType):
        return WitType("tuple", tuple(("", read_type(part)) for part in found.elements))
    if isinstance(found, wasmtime_component.VariantType):
        return WitType("variant", tuple((name, _optional(part)) for name, part in found.cases))
    if isinstance(found, wasmtime_component.EnumType):
        return WitType("enum", tuple((name, None) for name in found.names))
    if isinstance(found, wasmtime_component.FlagsType):
        return WitType("flags", tuple((name, None) for name in found.names))
    if isinstance(found, wasmtime_component.OptionType):
        return WitType("option", (("some", read_type(found.payload)),))
    if isinstance(found, wasmtime_component.ResultType):
        return WitType("result", (("ok", _optional(found.ok)), ("err", _optional(found.err))))
    return WitType("unknown")


def _optional(found: wasmtime_component.ValType | None) -> WitType | None:
    return None if found is None else read_type(found)
