# SPDX-License-Identifier: Apache-2.0
"""Counting refused `memory.grow`: a guest behaves as before, whatever its code looks like."""

from __future__ import annotations

import functools
import subprocess
import sys
from importlib.resources import files
from typing import Any

import pytest
import wasmtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wasinn
from driver import driver_wat
from wasinn import leb128
from wasinn.runtime import binary
from wasinn.runtime.growth import MAX_REFUSALS, REFUSED_EXPORT, instrument

#: The core modules: components begin with another version.
GUESTS = {
    each.name: each.read_bytes()
    for each in files("wasinn.shipped").joinpath("guests").iterdir()
    if each.name.endswith(".wasm") and each.read_bytes()[4:8] == b"\x01\0\0\0"
}
PAGE = 65536


@functools.cache
def engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.wasm_multi_memory = True  # as the host's own engine has it
    return wasmtime.Engine(config)


def compiles(module: bytes) -> bool:
    try:
        wasmtime.Module.validate(engine(), module)
    except wasmtime.WasmtimeError:
        return False
    return True


class Running:
    """An instance of a module without imports, whose memory may have `pages` pages."""

    def __init__(self, module: bytes, pages: int | None = None) -> None:
        self.store = wasmtime.Store(engine())
        if pages is not None:
            self.store.set_limits(memory_size=pages * PAGE)
        self.exports = wasmtime.Instance(self.store, wasmtime.Module(engine(), module), []).exports(
            self.store
        )

    def call(self, name: str, *arguments: int) -> Any:
        """What the function returns, or the word `trap`."""
        try:
            return self.exports[name](self.store, *arguments)  # type: ignore[operator]
        except wasmtime.Trap as trap:
            return f"trap: {trap.trap_code}"

    @property
    def refused(self) -> int:
        return int(self.exports[REFUSED_EXPORT].value(self.store))  # type: ignore[union-attr]


def wasm(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


GROWER = """(module
  (memory (export "memory") 1 {most})
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "size") (result i32) (memory.size))
  (func (export "twice") (param i32) (result i32)
    (i32.add (memory.grow (local.get 0)) (i32.mul (i32.const 1000) (memory.grow (local.get 0))))))"""


# -- guests as they are -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(GUESTS))
def test_a_shipped_guest_keeps_what_it_imports_and_exports(name: str) -> None:
    before, after = GUESTS[name], instrument(GUESTS[name])
    modules = [wasmtime.Module(engine(), each) for each in (before, after)]
    imports = [[(each.module, each.name) for each in module.imports] for module in modules]
    exports = [[each.name for each in module.exports] for module in modules]
    assert imports[0] == imports[1]
    added = [REFUSED_EXPORT] if after != before else []
    assert exports[1] == exports[0] + added


def test_some_shipped_guest_is_counted() -> None:
    assert any(instrument(content) != content for content in GUESTS.values())


def test_a_guest_that_does_not_grow_is_left_as_it_is() -> None:
    module = wasm('(module (memory (export "memory") 1) (func (export "f") (block unreachable)))')
    assert b"\x40\x00" in module
    assert instrument(module) is module


@pytest.mark.parametrize(
    "text", ["(module)", "(module (func))", "(module (memory 1 2))", "(module (table 1 funcref))"]
)
def test_a_guest_without_code_that_grows_is_left_as_it_is(text: str) -> None:
    assert instrument(wasm(text)) == wasm(text)


@pytest.mark.parametrize(
    "memories",
    ["(memory i64 1)", "(memory 1) (memory 1)", '(import "a" "b" (memory 1)) (memory 1)'],
)
def test_memories_that_no_guest_of_ours_has_are_left_as_they_are(memories: str) -> None:
    size = "i64.const 1" if "i64" in memories else "i32.const 1"
    module = wasm(f"(module {memories} (func (drop (memory.grow ({size})))))")
    assert instrument(module) is module


# -- growing ------------------------------------------------------------------------------------------


amounts = st.one_of(st.integers(0, 4), st.sampled_from([0, 1, 100, 65535, 65536, 1 << 31, (1 << 32) - 1]))


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["grow", "twice"]), amounts), max_size=20),
    most=st.sampled_from(["", "1", "6"]),
    pages=st.sampled_from([None, 3, 9]),
)
def test_growing_gives_what_it_gave_before(
    steps: list[tuple[str, int]], most: str, pages: int | None
) -> None:
    before = wasm(GROWER.format(most=most))
    after = instrument(before)
    assert after != before
    one, other = Running(before, pages), Running(after, pages)
    refused = 0
    for name, amount in steps:
        signed = amount - (1 << 32) if amount >> 31 else amount
        result = one.call(name, signed)
        assert other.call(name, signed) == result
        assert other.call("size") == one.call("size")
        refused += {("grow", -1): 1, ("twice", -1001): 2}.get((name, result), 0)
        if name == "twice" and result not in (-1001,) and result < 0:
            refused += 1
    assert other.refused == refused


def test_refused_growth_is_counted_and_ends_a_guest_that_does_not_look() -> None:
    running = Running(instrument(wasm(GROWER.format(most="2"))))
    assert running.call("grow", 1) == 1
    for number in range(MAX_REFUSALS - 1):
        assert running.call("grow", 1) == -1
        assert running.refused == number + 1
    assert "UNREACHABLE" in str(running.call("grow", 1))


def test_a_guest_that_asks_for_less_after_a_refusal_goes_on() -> None:
    running = Running(instrument(wasm(GROWER.format(most=""))), pages=5)
    for _ in range(MAX_REFUSALS - 1):
        assert running.call("grow", 100) == -1
    assert running.call("grow", 2) == 1
    for _ in range(MAX_REFUSALS - 1):
        assert running.call("grow", 100) == -1
    assert running.call("grow", 0) == 3
    assert running.refused == 2 * (MAX_REFUSALS - 1)


def test_a_run_over_its_memory_says_so() -> None:
    loop = '(func (export "_start") (loop (drop (memory.grow (i32.const 1))) (br 0)))'
    result = wasinn.Host().run(f'(module (memory (export "memory") 1) {loop})'.encode(), max_memory=1 << 20)
    assert result.limit == "memory"
    assert result.trap is not None
    assert "memory limit of 1048576 bytes" in result.trap.message


# -- code that only looks like it ----------------------------------------------------------------------

#: Bodies (param i32) (result i32) in whose bytes 40 00 occurs as something else than `memory.grow`.
MANY = 70
BODIES = {
    "block_type": "(if (local.get 0) (then (block unreachable))) (i32.const 1)",
    "loop_type": "(if (local.get 0) (then (loop unreachable))) (i32.const 2)",
    "if_type": "(if (local.get 0) (then unreachable)) (i32.const 3)",
    "constant": "(if (local.get 0) (then (drop (i32.const -64)) unreachable)) (i32.const -64)",
    "constant_then_trap": "(if (local.get 0) (then (i32.const -64) unreachable)) (i32.const 4)",
    "long_constant": "(if (local.get 0) (then (i64.const -64) unreachable)) (i32.wrap_i64 (i64.const 8192))",
    "f32": "(i32.reinterpret_f32 (f32.add (f32.const nan:0x400040) (f32.const 2)))",
    "f32_small": "(i32.reinterpret_f32 (f32.const 0x1.0001p-126))",
    "f64": "(i32.wrap_i64 (i64.reinterpret_f64 (f64.const nan:0x4000400040004)))",
    "f64_thirtytwo": "(i32.trunc_f64_s (f64.add (f64.const 32.0) (f64.const 2.0)))",
    "local": "(local $l0 i64)"
    + "(local i32)" * MANY
    + "(if (local.get 0) (then (local.get 64) unreachable)) "
    "(local.set 64 (i32.const 5)) (local.tee 64 (local.get 64))",
    "groups": "(local i32) (local i64)" * 40 + "(i32.const 6)",
    "global": "(if (local.get 0) (then (global.get 64) unreachable)) (global.get 64)",
    "call": "(if (local.get 0) (then (call 64 (i32.const 7)) unreachable)) (call 64 (i32.const 8))",
    "call_indirect": "(call_indirect (type 64) (i32.const 9) (local.get 0))",
    "load": "(if (local.get 0) (then (i32.load8_u offset=64 (i32.const 0)) unreachable)) "
    "(i32.load8_u offset=64 (i32.const 0))",
    "load_far": "(i32.load offset=8192 (i32.load offset=64 align=1 (local.get 0)))",
    "store": "(if (local.get 0) (then (i32.store8 offset=64 (i32.const 0) (i32.const 1)) unreachable)) "
    "(i32.const 1)",
    "memory_init": "(memory.init 64 (i32.const 0) (i32.const 0) (i32.const 3)) (i32.load (i32.const 0))",
    "data_drop": "(if (local.get 0) (then (data.drop 64) unreachable)) (i32.const 10)",
    "memory_bulk": "(memory.fill (i32.const 64) (local.get 0) (i32.const 64)) "
    "(memory.copy (i32.const 0) (i32.const 64) (i32.const 64)) (i32.load (i32.const 0))",
    "table_init": "(table.init 64 (i32.const 1) (i32.const 0) (i32.const 1)) (table.size 0)",
    "elem_drop": "(if (local.get 0) (then (elem.drop 64) unreachable)) (i32.const 11)",
    "tables": "(table.copy (i32.const 1) (i32.const 0) (i32.const 1)) "
    "(table.set (i32.const 1) (table.get (i32.const 0))) "
    "(table.fill (i32.const 1) (ref.null func) (i32.const 1)) "
    "(drop (table.grow (ref.null func) (i32.const 0))) (ref.is_null (table.get (i32.const 1)))",
    "ref_func": "(if (local.get 0) (then (drop (ref.func 64)) unreachable)) (ref.is_null (ref.func 64))",
    "select": "(select (i32.const -64) (i32.const 12) (local.get 0)) "
    "(drop (select (result funcref) (ref.null func) (ref.func 64) (local.get 0)))",
    "br_table": "(block " * 66
    + "(br_table "
    + " ".join(str(each) for each in range(64, -1, -1))
    + " 0 (local.get 0)) "
    + ") " * 66
    + "(i32.const 13)",
    "saturating": "(i32.trunc_sat_f64_u (f64.const 2.0)) (drop (i32.trunc_sat_f32_s (f32.const 2.0)))",
    "signs": "(i32.extend8_s (i32.const 64)) (drop (i64.extend32_s (i64.const 64)))",
    "simd_constant": "(i32x4.extract_lane 3 "
    "(v128.const i16x8 0x40 0x4000 0x40 0x4000 0x40 0x4000 0x40 0x40))",
    "simd_shuffle": "(i8x16.extract_lane_u 0 (i8x16.shuffle 0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23 "
    "(i32x4.splat (local.get 0)) (v128.const i64x2 0x40 0x4000)))",
    "simd_memory": "(v128.store offset=64 (i32.const 0) (v128.load offset=64 (local.get 0))) "
    "(v128.store8_lane offset=64 0 (i32.const 0) (v128.load8_lane offset=64 15 (i32.const 0) "
    "(v128.load32_zero offset=64 (i32.const 0)))) "
    "(i32x4.extract_lane 0 (v128.load8x8_s offset=64 (i32.const 0))) "
    "(i32x4.extract_lane 0 (v128.load64_splat offset=64 (i32.const 0))) i32.add",
    "simd_arithmetic": "(i32x4.extract_lane 1 (i32x4.dot_i16x8_s (i16x8.splat (local.get 0)) "
    "(f32x4.relaxed_madd (f32x4.splat (f32.const 2)) (v128.const i64x2 64 64) "
    "(v128.not (v128.const i64x2 64 1)))))",
    "tail_call": "(if (local.get 0) (then (return_call 64 (i32.const 1)))) "
    "(return_call_indirect (type 64) (i32.const 2) (i32.const 0))",
}
GROW = "(drop (memory.grow (i32.const 1)))"


@functools.cache
def catalogue() -> bytes:
    """A module with seventy of everything, and each body of BODIES beside a growth that is one."""
    parts = ["(type (func (param i32) (result i64)))"] * (MANY - 6)
    parts += ["(type (func (param i32) (result i32)))"]
    parts += ['(memory (export "memory") 1 1)', "(table 80 funcref)"]
    parts += [f"(global (mut i32) (i32.const {number}))" for number in range(MANY)]
    parts += ["(func (type 64) (local.get 0))"] * MANY
    parts += ["(elem (i32.const 0) func 64 64 64)", *["(elem func 64)"] * MANY]
    parts += [f'(data "{number:03}")' for number in range(MANY)]
    for name, body in BODIES.items():
        locals_, _, code = body.rpartition("(local i32)") if body.startswith("(local") else ("", "", body)
        if locals_:
            at = body.rindex("(local ") + body[body.rindex("(local ") :].index(")") + 1
            locals_, code = body[:at], body[at:]
        parts.append(f'(func (export "{name}") (param i32) (result i32) {locals_} {GROW} {code})')
    return wasm("(module " + "\n".join(parts) + ")")


@pytest.mark.parametrize("name", list(BODIES))
def test_code_that_looks_like_growing_is_left_as_it_is(name: str) -> None:
    before, after = Running(catalogue()), Running(instrument(catalogue()))
    for number, argument in enumerate((0, 1, 2, 64, 65, 100)):
        assert after.call(name, argument) == before.call(name, argument)
        assert after.refused == number + 1


def test_the_catalogue_has_the_bytes_and_is_counted() -> None:
    assert catalogue().count(b"\x40\x00") > len(BODIES) + 20
    assert compiles(instrument(catalogue()))
    assert instrument(catalogue()) != catalogue()


def crafted(body: bytes, types: bytes = b"\1\x60\0\0") -> bytes:
    """A module with one function of type 0 and no locals, called `f`, and a memory."""
    code = b"\0" + body + b"\x0b"
    return binary.join(
        [
            (binary.TYPE, types),
            (binary.FUNCTION, b"\1\0"),
            (binary.MEMORY, b"\1\0\1"),
            (binary.EXPORT, b"\1\1f\0\0"),
            (binary.CODE, b"\1" + leb128.write_unsigned(len(code)) + code),
        ]
    )


#: Seventeen types, of which the last can be referred to by the byte that is also the opcode of a call.
TYPES = b"\x11" + b"\x60\0\0" * 17


@pytest.mark.parametrize(
    ("body", "types"),
    [
        # (drop (i32.load (memory 0) offset=64 (i32.const 0))) with the memory written out; unreachable
        pytest.param(b"\x41\0\x28\x42\0\x40\0\x1a", b"\1\x60\0\0", id="memory-index"),
        # (drop (block (result (ref null 16)) (i32.const -64) unreachable drop (ref.null 16)))
        pytest.param(b"\x02\x63\x10\x41\x40\0\x1a\xd0\x10\x0b\x1a", TYPES, id="block-of-a-reference"),
        # (drop (select (result (ref null 16)) ... (i32.const -64) unreachable
        pytest.param(
            b"\xd0\x10\xd0\x10\x41\0\x1c\1\x63\x10\x41\x40\0\x1a\x1a", TYPES, id="select-of-a-reference"
        ),
    ],
)
def test_immediates_of_several_numbers_are_read_whole(body: bytes, types: bytes) -> None:
    module = crafted(body, types)
    assert compiles(module)
    assert "UNREACHABLE" in str(Running(module).call("f"))
    assert "UNREACHABLE" in str(Running(instrument(module)).call("f"))


# -- input that is no module -----------------------------------------------------------------------------


def corpus() -> list[bytes]:
    small = sorted(GUESTS.values(), key=len)[:3]
    return [*small, catalogue(), wasm(GROWER.format(most="")), wasm(driver_wat().decode())]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(corpus())))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(content[: draw(st.integers(0, len(content)) | st.just(len(content)))])


def numbers(limit: int) -> st.SearchStrategy[bytes]:
    return st.integers(0, limit).map(leb128.write_unsigned)


#: Sections of any kind and content: what is well formed outside and nonsense inside.
sectioned = st.lists(
    st.tuples(
        st.integers(0, 14),
        st.lists(st.binary(max_size=12) | numbers(1 << 36) | st.just(b"\x40\x00"), max_size=6).map(b"".join),
    ),
    max_size=8,
).map(binary.join)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(module=st.binary(max_size=200) | mutated() | sectioned)
def test_what_is_no_module_never_raises_and_what_is_one_stays_one(module: bytes) -> None:
    result = instrument(module)
    if result != module and compiles(module):
        assert compiles(result)


@pytest.mark.parametrize("missing", [binary.TYPE, binary.FUNCTION])
def test_a_module_with_a_section_missing_is_left_to_the_compiler(missing: int) -> None:
    parts = [part for part in binary.sections(wasm(GROWER.format(most=""))) if part[0] != missing]
    module = binary.join(parts)
    assert instrument(module) == module
    with pytest.raises(wasinn.GuestError, match="does not compile"):
        wasinn.Host().guest(module)


def test_a_module_that_is_malformed_is_not_mended() -> None:
    parts = [
        (identifier, content + b"\0\0" if identifier == binary.CODE else content)
        for identifier, content in binary.sections(wasm(GROWER.format(most="")))
    ]
    module = binary.join(parts)
    assert not compiles(module)
    assert not compiles(instrument(module))


@pytest.mark.parametrize(
    "export",
    ["(func {} unreachable)", "(memory {} 1)", "(table {} 1 funcref)", "(global {} i64 (i64.const 5))"],
)
def test_a_guest_that_takes_the_counters_name_cannot_harm_the_host(export: str) -> None:
    text = "(module " + export.format(f'(export "{REFUSED_EXPORT}")') + ' (func (export "f") unreachable))'
    program = (
        "import sys, wasinn\n"
        "result = wasinn.Host().run(sys.argv[1].encode(), invoke='f', max_memory=1 << 20)\n"
        "assert result.trap.kind == 'unreachable' and result.limit is None, result\n"
    )
    done = subprocess.run([sys.executable, "-c", program, text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


# -- sections ----------------------------------------------------------------------------------------------


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=3))
def test_a_number_is_read_as_it_was_written(value: int, rest: bytes) -> None:
    written = leb128.write_unsigned(value)
    assert leb128.read_unsigned(written + rest, 0) == (value, len(written))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 5, b"\x80" * 20])
def test_a_number_without_an_end_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="a number without an end"):
        leb128.read_unsigned(data, 0)


@pytest.mark.parametrize("name", sorted(GUESTS))
def test_sections_join_to_the_module_they_came_from(name: str) -> None:
    assert list(binary.sections(binary.join(list(binary.sections(GUESTS[name]))))) == list(
        binary.sections(GUESTS[name])
    )


def test_an_outline_has_what_the_module_imports() -> None:
    module = wasm(
        """(module
          (type $f (func (param i32)))
          (import "a" "function" (func (type $f)))
          (import "a" "table" (table 1 2 funcref))
          (import "b" "global" (global (mut i64)))
          (import "b" "memory" (memory 3 4))
          (import "c" "tag" (tag (param i32)))
          (func) (memory 7))"""
    )
    found = binary.outline(module)
    names = [("a", "function"), ("a", "table"), ("b", "global"), ("b", "memory"), ("c", "tag")]
    assert found.imports == names
    assert (found.imported_functions, found.imported_globals) == (1, 1)
    assert [memory.minimum for memory in found.memories] == [3, 7]


@settings(max_examples=200, deadline=None)
@given(module=st.binary(max_size=100) | sectioned | mutated())
def test_an_outline_of_nonsense_is_a_value_error_or_an_index_error(module: bytes) -> None:
    try:
        binary.outline(module)
    except (ValueError, IndexError):
        return
    assert module[:8] == binary.CORE_HEADER
