# SPDX-License-Identifier: Apache-2.0
"""Makes a component of a core module, with what pip brings and no more.

    componentize(core, exports) -> the component's bytes

The core module's imports say what to import: the module name is the interface (`wasi:nn/tensor@...`), the
function's name that of WIT (`[constructor]tensor`), or `[resource-drop]RESOURCE`. Its exports are `memory`,
`cabi_realloc` (the canonical ABI's allocator), the functions of `exports` by their names, and if there is one
`cabi_post_NAME`, which frees what NAME returned. A command exports `wasi:cli/run@0.2.0#run`.

A function that the host's side must write memory for needs the core module's memory, and the core module
needs the function: the module is given small functions that call through a table, and the table is
filled when both are there.

The text is assembled by wasmtime. The core module itself does not pass through it: it takes the place of an
empty one in the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import wasmtime
from interfaces import INTERFACES, RUN, Interface, identifier, type_identifier

_HEADER = b"\0asm\x0d\0\x01\0"
_DROP = "[resource-drop]"


class ComponentError(ValueError):
    """The core module is not what a component can be made of."""


@dataclass(frozen=True)
class _Import:
    """A function that the core module imports."""

    number: int
    interface: Interface
    name: str
    signature: str

    @property
    def core(self) -> str:
        """The lowered function's identifier."""
        return f"$lowered{self.number}"


def componentize(core: bytes, exports: Mapping[str, str]) -> bytes:
    """A component with `core` in it.

    `exports` gives the parameters and results of each, as `interfaces.py` writes them.

    Raises ComponentError for an import that no interface has, or for what `exports` asks and `core` lacks.
    """
    module = wasmtime.Module(wasmtime.Engine(), core)
    imports = [_find_import(number, each) for number, each in enumerate(module.imports)]
    names = {each.name for each in module.exports}
    for name in ("memory", "cabi_realloc", *exports):
        if name not in names:
            raise ComponentError(f"the core module does not export {name}")
    text = "\n".join(
        [
            "(component",
            *_import_lines(imports, exports),
            "(core module $main)",
            *_shim_lines(imports),
            *_main_lines(imports),
            *_lowered_lines(imports),
            *_fixup_lines(imports, "_initialize" in names),
            *_export_lines(exports, names),
            ")",
        ]
    )
    return _with_core(bytes(wasmtime.wat2wasm(text)), core)


def _find_import(number: int, found: wasmtime.ImportType) -> _Import:
    interface = next((each for each in INTERFACES if each.name == found.module), None)
    name = found.name or ""
    resource = name.removeprefix(_DROP)
    if interface is None or (
        name not in interface.functions and not (name != resource and resource in interface.types)
    ):
        raise ComponentError(f"guests/interfaces.py has no {found.module} {name}")
    kind = found.type
    if not isinstance(kind, wasmtime.FuncType):
        raise ComponentError(f"{found.module} {name} is not a function")
    parameters = " ".join(map(str, kind.params))
    results = " ".join(map(str, kind.results))
    return _Import(number, interface, name, f"(param {parameters}) (result {results})")


# -- imports ---------------------------------------------------------------------------------------------


def _needed(imports: list[_Import], exports: Mapping[str, str]) -> list[Interface]:
    """The interfaces that the guest calls, and those whose types they or its exports use."""
    by_name = {each.name: each for each in INTERFACES}
    found = {each.interface.name for each in imports}
    for interface in INTERFACES:
        if any(
            type_identifier(interface.name, name) in " ".join(exports.values()) for name in interface.types
        ):
            found.add(interface.name)
    for interface in reversed(INTERFACES):  # those used come before those that use them
        if interface.name in found:
            found.update(by_name[each].name for each in interface.uses.values())
    return [each for each in INTERFACES if each.name in found]


def _import_lines(imports: list[_Import], exports: Mapping[str, str]) -> list[str]:
    lines = []
    for interface in _needed(imports, exports):
        instance = identifier(interface.name)
        lines.append(f'(import "{interface.name}" (instance {instance}')
        for name, source in interface.uses.items():
            lines.append(f"  (alias outer 1 {type_identifier(source, name)} (type $use-{name}))")
            lines.append(f'  (export "{name}" (type ${name} (eq $use-{name})))')
        for name, definition in interface.types.items():
            if definition == "resource":
                lines.append(f'  (export "{name}" (type ${name} (sub resource)))')
            else:
                lines.append(f"  (type $define-{name} {definition})")
                lines.append(f'  (export "{name}" (type ${name} (eq $define-{name})))')
        called = {each.name for each in imports if each.interface is interface}
        for name, signature in interface.functions.items():
            if name in called:
                lines.append(f'  (export "{name}" (func {signature}))')
        lines.append("))")
        for name in interface.types:
            outer = type_identifier(interface.name, name)
            lines.append(f'(alias export {instance} "{name}" (type {outer}))')
    return lines


# -- the core module and what it is given ------------------------------------------------------------


def _shim_lines(imports: list[_Import]) -> list[str]:
    """A module whose functions call through its table."""
    if not imports:
        return []
    lines = ["(core module $shim", f'  (table $table (export "table") {len(imports)} funcref)']
    for each in imports:
        count = each.signature.partition(")")[0].count("i")
        arguments = " ".join(f"(local.get {number})" for number in range(count))
        lines.append(f"  (type $t{each.number} (func {each.signature}))")
        lines.append(
            f'  (func (export "{each.number}") {each.signature} '
            f"(call_indirect $table (type $t{each.number}) {arguments} (i32.const {each.number})))"
        )
    return [*lines, ")", "(core instance $shims (instantiate $shim))"]


def _main_lines(imports: list[_Import]) -> list[str]:
    lines = []
    modules: dict[str, list[_Import]] = {}
    for each in imports:
        modules.setdefault(each.interface.name, []).append(each)
    for name, functions in modules.items():
        given = " ".join(f'(export "{each.name}" (func $shims "{each.number}"))' for each in functions)
        lines.append(f'  (with "{name}" (instance {given}))')
    return ["(core instance $core (instantiate $main", *lines, "))"]


def _lowered_lines(imports: list[_Import]) -> list[str]:
    lines = []
    for each in imports:
        if each.name.startswith(_DROP):
            resource = type_identifier(each.interface.name, each.name.removeprefix(_DROP))
            lines.append(f"(core func {each.core} (canon resource.drop {resource}))")
        else:
            lines.append(
                f'(core func {each.core} (canon lower (func {identifier(each.interface.name)} "{each.name}") '
                '(memory (core memory $core "memory")) (realloc (core func $core "cabi_realloc")) '
                "string-encoding=utf8))"
            )
    return lines


def _fixup_lines(imports: list[_Import], has_initialize: bool) -> list[str]:
    """A module that fills the table when it is instantiated, and then starts the core module."""
    if not imports and not has_initialize:
        return []
    given = "".join(f' (export "{each.number}" (func {each.core}))' for each in imports)
    lines = ["(core module $fixup"]
    if imports:
        lines.append(f'  (import "" "table" (table {len(imports)} funcref))')
        given += ' (export "table" (table $shims "table"))'
    lines += [f'  (import "" "{each.number}" (func $f{each.number} {each.signature}))' for each in imports]
    if has_initialize:
        lines += ['  (import "" "start" (func $start))', "  (start $start)"]
        given += ' (export "start" (func $core "_initialize"))'
    if imports:
        lines.append(f"  (elem (i32.const 0) func {' '.join(f'$f{each.number}' for each in imports)})")
    return [*lines, ")", f'(core instance (instantiate $fixup (with "" (instance{given}))))']


# -- exports -----------------------------------------------------------------------------------------


def _export_lines(exports: Mapping[str, str], names: set[str]) -> list[str]:
    lines = []
    for number, (name, signature) in enumerate(exports.items()):
        post = f"cabi_post_{name}"
        after = f' (post-return (core func $core "{post}"))' if post in names else ""
        lines.append(
            f'(func $lifted{number} {signature} (canon lift (core func $core "{name}") '
            '(memory (core memory $core "memory")) (realloc (core func $core "cabi_realloc")) '
            f"string-encoding=utf8{after}))"
        )
        interface, _, function = name.rpartition("#")
        if interface:
            lines.append(f'(instance $exported{number} (export "{function}" (func $lifted{number})))')
            lines.append(f'(export "{interface}" (instance $exported{number}))')
        else:
            lines.append(f'(export "{name}" (func $lifted{number}))')
    return lines


#: The exports of a command.
COMMAND = {f"{RUN}#run": "(result (result))"}


# -- bytes -------------------------------------------------------------------------------------------


def _with_core(component: bytes, core: bytes) -> bytes:
    """The component with `core` for its first core module, which is empty, and without its debug names."""
    pieces = [component[: len(_HEADER)]]
    place, replaced = len(_HEADER), False
    while place < len(component):
        kind = component[place]
        size, start = _read_number(component, place + 1)
        end = start + size
        if kind == 1 and not replaced:
            pieces += [b"\x01", _number(len(core)), core]
            replaced = True
        elif kind != 0:
            pieces.append(component[place:end])
        place = end
    return b"".join(pieces)


def _read_number(data: bytes, place: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7


def _number(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
