# SPDX-License-Identifier: Apache-2.0
"""Raw values, held against wasmtime-py's own conversions through a component that passes them on.

Each case: wasmtime-py writes a value, the component gives it to the host, which reads it raw and writes
it raw, and wasmtime-py reads what comes back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import wasmtime
from wasmtime import _ffi as ffi
from wasmtime.component import Component, Linker, Record, Variant

from wasinn.abi.component import capi, values
from wasinn.abi.component.values import Case

Write = Callable[[int], None]

#: The allocator is a bump: what one case passes stays where it is.
_TEXT = """(component
    (import "x:y/z" (instance $host
        {types} (type $t {type}) (export "t" (type $type (eq $t)))
        (export "pass" (func (param "value" $type) (result $type)))))
    (alias export $host "t" (type $type))
    (core module $memory
        (memory (export "memory") 64) (global $next (mut i32) (i32.const 65536))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            (local.get $at)))
    (core instance $m (instantiate $memory))
    (core func $pass (canon lower (func $host "pass")
        (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
    (core module $wrapper
        (import "" "pass" (func $pass (param {flat}{out}) (result {direct})))
        (func (export "pass") (param {flat}) (result {result}) (call $pass {arguments}) {after}))
    (core instance $w (instantiate $wrapper (with "" (instance (export "pass" (func $pass))))))
    (export $exported "u" (type $type))
    (func (export "pass") (param "value" $exported) (result $exported) (canon lift (core func $w "pass")
        (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))"""


def pass_through(kind: str, flat: str, value: Any, handle: Callable[[int, int], None]) -> Any:
    """`value` through a component and through `handle(argument's address, result's)`."""
    parts = flat.split()
    arguments = " ".join(f"(local.get {number})" for number in range(len(parts)))
    direct = len(parts) == 1
    text = _TEXT.format(
        types="",
        type=kind,
        flat=flat,
        out="" if direct else " i32",
        direct=flat if direct else "",
        result=flat if direct else "i32",
        arguments=arguments if direct else arguments + " (i32.const 1024)",
        after="" if direct else "(i32.const 1024)",
    )
    engine = wasmtime.Engine()
    component = Component(engine, bytes(wasmtime.wat2wasm(text)))
    linker = Linker(engine)
    errors: list[BaseException] = []

    def callback(_env: int, _ctx: int, _type: int, given: int, count: int, result: int, results: int) -> int:
        try:
            assert (count, results) == (1, 1)
            handle(given, result)
            return 0
        except BaseException as error:
            errors.append(error)
            return int(capi.error_new(b"failed"))

    kept = capi.CALLBACK(callback)
    with linker.root() as root, root.add_instance("x:y/z") as instance:
        capi.define_function(instance, "pass", kept)
    store = wasmtime.Store(engine)
    function = linker.instantiate(store, component).get_func(store, "pass")
    assert function is not None
    try:
        found = function(store, value)
    except wasmtime.WasmtimeError:
        if errors:
            raise errors[0] from None
        raise
    function.post_return(store)
    return found


def number(kind: int, value: float) -> Write:
    return lambda place: values.write_number(place, kind, value)


def text(value: str, kind: int = capi.STRING) -> Write:
    return lambda place: values.write_text(place, value, kind)


def parts(*writers: Write) -> Callable[[int, int], None]:
    return lambda index, place: writers[index](place)


NUMBERS = [
    ("s8", "i32", capi.S8, -128),
    ("s8", "i32", capi.S8, 127),
    ("u8", "i32", capi.U8, 255),
    ("s16", "i32", capi.S16, -32768),
    ("u16", "i32", capi.U16, 65535),
    ("s32", "i32", capi.S32, -(2**31)),
    ("u32", "i32", capi.U32, 2**32 - 1),
    ("s64", "i64", capi.S64, -(2**63)),
    ("u64", "i64", capi.U64, 2**64 - 1),
    ("f32", "f32", capi.F32, 0.5),
    ("f64", "f64", capi.F64, 0.1),
]

#: (type, flat core types, wasmtime-py's form, ours, and how we write it)
CASES: list[tuple[str, str, Any, Any, Write]] = [
    *((kind, flat, value, value, number(code, value)) for kind, flat, code, value in NUMBERS),
    ("bool", "i32", True, True, lambda place: values.write_bool(place, True)),
    ("bool", "i32", False, False, lambda place: values.write_bool(place, False)),
    ("char", "i32", "\U0001f600", "\U0001f600", lambda place: values.write_char(place, "\U0001f600")),
    ("string", "i32 i32", "grün\0!", "grün\0!", text("grün\0!")),
    ("string", "i32 i32", "", "", text("")),
    ('(enum "a" "b")', "i32", "b", "b", text("b", capi.ENUM)),
    ("(list u8)", "i32 i32", b"\x00\xff7", b"\x00\xff7", lambda at: values.write_u8_list(at, b"\x00\xff7")),
    ("(list u8)", "i32 i32", b"", [], lambda place: values.write_u8_list(place, b"")),
    (
        "(list u32)",
        "i32 i32",
        [0, 2**32 - 1, 7],
        [0, 2**32 - 1, 7],
        lambda place: values.write_u32_list(place, [0, 2**32 - 1, 7]),
    ),
    ("(list u32)", "i32 i32", [], [], lambda place: values.write_u32_list(place, ())),
    (
        "(list string)",
        "i32 i32",
        ["x", "yy"],
        ["x", "yy"],
        lambda place: values.write_list(place, 2, parts(text("x"), text("yy"))),
    ),
    (
        "(tuple string s64)",
        "i32 i32 i64",
        ("n", -5),
        ("n", -5),
        lambda place: values.write_list(place, 2, parts(text("n"), number(capi.S64, -5)), capi.TUPLE),
    ),
    (
        '(record (field "a-b" u8) (field "c" string))',
        "i32 i32 i32",
        None,  # made below: wasmtime-py's records are objects
        {"a-b": 9, "c": "text"},
        lambda at: values.write_record(at, ["a-b", "c"], parts(number(capi.U8, 9), text("text"))),
    ),
    (
        '(flags "x" "y" "z")',
        "i32",
        {"x", "z"},
        frozenset({"x", "z"}),
        lambda place: values.write_flags(place, ["x", "z"]),
    ),
    ('(flags "x" "y")', "i32", set(), frozenset(), lambda place: values.write_flags(place, [])),
    ("(option u32)", "i32 i32", None, None, lambda place: values.write_option(place, None)),
    ("(option u32)", "i32 i32", 3, 3, lambda place: values.write_option(place, number(capi.U32, 3))),
    (
        "(result u32 (error string))",
        "i32 i32 i32",
        4,
        Case("ok", 4),
        lambda place: values.write_result(place, True, number(capi.U32, 4)),
    ),
    (
        "(result u32 (error string))",
        "i32 i32 i32",
        "why",
        Case("err", "why"),
        lambda place: values.write_result(place, False, text("why")),
    ),
    (
        '(variant (case "none") (case "number" u32) (case "size" u32))',
        "i32 i32",
        Variant("number", 8),
        Case("number", 8),
        lambda place: values.write_variant(place, "number", number(capi.U32, 8)),
    ),
    (
        '(variant (case "none") (case "number" u32) (case "size" u32))',
        "i32 i32",
        Variant("none"),
        Case("none"),
        lambda place: values.write_variant(place, "none"),
    ),
]


# By number: a set shows its elements in an order of its own in each process.
@pytest.mark.parametrize("case", CASES, ids=[f"{at}-{case[0]}"[:60] for at, case in enumerate(CASES)])
def test_values_agree_with_the_runtimes_own(case: tuple[str, str, Any, Any, Write]) -> None:
    kind, flat, theirs, ours, write = case
    if kind.startswith("(record"):
        theirs = Record()
        for name, value in ours.items():
            setattr(theirs, name, value)
    seen: list[Any] = []

    def handle(given: int, result: int) -> None:
        seen.append(values.read(given))
        write(result)

    found = pass_through(kind, flat, theirs, handle)
    assert seen == [ours]
    assert type(seen[0]) is type(ours)
    if kind.startswith("(record"):
        assert vars(found) == ours
    elif isinstance(theirs, Variant):
        assert (found.tag, found.payload) == (theirs.tag, theirs.payload)
    else:
        assert found == theirs


@pytest.mark.parametrize("size", [0, 1, 31, 4096, 100_001])
def test_lists_of_bytes_cross_in_columns(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)

    def handle(given: int, result: int) -> None:
        found = values.read_u8_list(given)
        assert np.array_equal(found, data)
        assert found.base is None or found.flags.owndata, "the argument's memory is the runtime's"
        values.write_u8_list(result, found[::-1].copy())

    assert pass_through("(list u8)", "i32 i32", data.tobytes(), handle) == data[::-1].tobytes()


def test_ascii_is_written_in_place() -> None:
    def handle(given: int, result: int) -> None:
        assert bytes(values.text_view(given)) == b"abc"
        place = values.start_ascii(result, 5)
        place[:] = np.frombuffer(b"hello", np.uint8)
        values.finish_ascii(result)

    assert pass_through("string", "i32 i32", "abc", handle) == "hello"


def test_a_lone_surrogate_never_reaches_the_runtime() -> None:
    """Bytes that are not UTF-8 abort the process."""
    assert pass_through("string", "i32 i32", "", lambda _, at: values.write_text(at, "a\ud800b")) == "a?b"
    with pytest.raises(ValueError, match="not one character"):
        pass_through("char", "i32", "x", lambda _, at: values.write_char(at, "\ud800"))


def test_what_fails_half_way_leaves_the_place_as_it_was() -> None:
    """The runtime reads the place afterwards: it must find no kind without its payload."""
    place = ffi.wasmtime_component_val_t()
    address = ctypes.addressof(place)
    with pytest.raises(ZeroDivisionError):
        values.write_list(address, 1000, lambda number, at: values.write_bool(at, bool(1 // 0)))
    with pytest.raises(ZeroDivisionError):
        values.write_result(address, True, lambda at: values.write_bool(at, bool(1 // 0)))
    with pytest.raises(Exception, match="requires 0 <= number <= 255"):
        values.write_number(address, capi.U8, 256)
    assert values.kind_of(address) == capi.BOOL
    capi.value_delete(address)


def test_few_and_many_numbers_and_characters_are_read_alike() -> None:
    for count in (0, 1, values._FEW, values._FEW + 1, 1000):
        seen: list[Any] = []

        def handle(given: int, result: int, seen: list[Any] = seen) -> None:
            seen.append(values.read_u32_list(given))
            values.write_u32_list(result, seen[0])

        numbers = [2**32 - 1 - each for each in range(count)]
        assert pass_through("(list u32)", "i32 i32", numbers, handle) == numbers
        assert list(seen[0]) == numbers
    for count in (0, 1, values.FEW_BYTES, values.FEW_BYTES + 1, 5000):
        letters = "äb" * count

        def copy(given: int, result: int) -> None:
            values.write_text(result, values.read_text(given))

        assert pass_through("string", "i32 i32", letters, copy) == letters


def test_an_answer_of_handles_is_a_copy_that_holds_nothing_of_the_next() -> None:
    """Without handles, which only a store can have: the template, its copies, and that both are freed."""
    answer = values.NamedHandles(["out", "zwei", ""])
    first, second = (ctypes.c_char * capi.VALUE_SIZE)(), (ctypes.c_char * capi.VALUE_SIZE)()
    for place in (first, second):
        answer.write(0, ctypes.addressof(place), [], 1)
    del answer
    for place in (first, second):
        address = ctypes.addressof(place)
        assert values.read(address) == Case("ok", [("out", 0), ("zwei", 0), ("", 0)])
        capi.value_delete(address)


def test_a_number_of_a_resource_has_32_bits() -> None:
    """It is passed as a C int, without argument types."""
    for rep in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
        host = capi.resource_host_new(True, rep, 3)
        assert capi.resource_host_rep(host) == rep
        capi.resource_host_delete(host)


def test_a_handle_is_not_read_by_chance() -> None:
    place = ffi.wasmtime_component_val_t()
    address = ctypes.addressof(place)
    place.kind = capi.RESOURCE
    with pytest.raises(ValueError, match="kind 21"):
        values.read(address)
    assert values.read(address, lambda at: "handle") == "handle"


def test_numbers_of_kinds_are_the_bindings() -> None:
    names = [name for name in vars(ffi) if name.startswith("WASMTIME_COMPONENT_") and "VALTYPE" not in name]
    kinds = {name.removeprefix("WASMTIME_COMPONENT_"): getattr(ffi, name).value for name in names}
    known = {name: value for name, value in kinds.items() if not name.startswith("ITEM_")}
    assert known == {name: getattr(capi, name) for name in known}
    assert len(known) == 22
