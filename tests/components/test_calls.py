# SPDX-License-Identifier: Apache-2.0
"""Calling a component's functions with typed arguments, as Python values and as WAVE text."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toolbox
import wasinn
from wasinn import GuestError, GuestTrap
from wasinn.abi.component.values import Case
from wasinn.runtime import wave
from wasinn.runtime.component_types import WitType


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    return wasinn.Host(cache=False)


def defined(text: str) -> dict[str, str]:
    """A type that has to be exported for a function to use it."""
    return {"kind": "$t", "definitions": f'(type $t0 {text}) (export $t "t" (type $t0))'}


_U8 = {"kind": "u8"}
_S64 = {"kind": "s64", "core": "i64"}
_F32 = {"kind": "f32", "core": "f32"}
_F64 = {"kind": "f64", "core": "f64"}
_BOOL = {"kind": "bool"}
_CHAR = {"kind": "char"}
_SPAN = {"core": "i32 i32", "body": toolbox.SPAN}
_PAIR = {"core": "i32 i32", "body": toolbox.BYTES}
_STRING = {"kind": "string", **_SPAN}
_BYTES = {"kind": "(list u8)", **_SPAN}
_NUMBERS = {"kind": "(list s32)", **_SPAN}
_STRINGS = {"kind": "(list string)", **_SPAN}
_TUPLES = {"kind": "(list (tuple char f64))", **_SPAN}
_RECORD = {
    **defined('(record (field "x" s32) (field "y" u8))'),
    "core": "i32 i32",
    "body": toolbox.WORD_BYTE,
}
_ENUM = defined('(enum "red" "light-green")')
_FLAGS = defined('(flags "a" "b" "c")')
_OPTION = {"kind": "(option u8)", **_PAIR}
_RESULT = {"kind": "(result u8 (error u8))", **_PAIR}
_PLAIN_RESULT = {"kind": "(result)"}
_TUPLE = {"kind": "(tuple u8 u8)", **_PAIR}
_VARIANT = {**defined('(variant (case "none") (case "num" u8))'), **_PAIR}

_GOOD: list[tuple[dict[str, str], Any, Any, str]] = [
    (_U8, "255", 255, "255"),
    (_U8, "0x1f", 31, "31"),
    (_U8, np.uint8(3), 3, "3"),
    (_S64, "-9223372036854775808", -(1 << 63), "-9223372036854775808"),
    (_F32, "1.5", 1.5, "1.5"),
    (_F32, "0.1", float(np.float32(0.1)), "0.1"),
    (_F64, "-inf", -math.inf, "-inf"),
    (_F64, 3, 3.0, "3"),
    (_BOOL, "true", True, "true"),
    (_BOOL, False, False, "false"),
    (_CHAR, "ä", "ä", "'ä'"),
    (_CHAR, "'\\u{1F600}'", "\U0001f600", "'\U0001f600'"),
    (_STRING, "as it is", "as it is", '"as it is"'),
    (_STRING, '"a \\"b\\" \\n"', 'a "b" \n', '"a \\"b\\" \\n"'),
    (_STRING, "", "", '""'),
    (_BYTES, "[1, 2, 255]", b"\1\2\xff", "[1, 2, 255]"),
    (_BYTES, b"ab", b"ab", "[97, 98]"),
    (_BYTES, b"", b"", "[]"),
    (_NUMBERS, "[1, -2, 3,]", [1, -2, 3], "[1, -2, 3]"),
    (_NUMBERS, np.arange(3), [0, 1, 2], "[0, 1, 2]"),
    (_NUMBERS, [], [], "[]"),
    (_STRINGS, '["a", ""]', ["a", ""], '["a", ""]'),
    (_TUPLES, "[('x', 1.5), ('y', nan)]", None, "[('x', 1.5), ('y', nan)]"),
    (_RECORD, "{y: 2, x: -1}", {"x": -1, "y": 2}, "{x: -1, y: 2}"),
    (_RECORD, {"x": 5, "y": 6}, {"x": 5, "y": 6}, "{x: 5, y: 6}"),
    (_ENUM, "light-green", "light-green", "light-green"),
    (_FLAGS, "{c, a}", {"a", "c"}, "{a, c}"),
    (_FLAGS, set(), set(), "{}"),
    (_OPTION, "none", None, "none"),
    (_OPTION, "some(3)", 3, "some(3)"),
    (_OPTION, "3", 3, "some(3)"),
    (_OPTION, None, None, "none"),
    (_RESULT, "ok(1)", Case("ok", 1), "ok(1)"),
    (_RESULT, "err(2)", Case("err", 2), "err(2)"),
    (_RESULT, "3", Case("ok", 3), "ok(3)"),
    (_PLAIN_RESULT, "err", Case("err"), "err"),
    (_TUPLE, "(1, 2)", (1, 2), "(1, 2)"),
    (_VARIANT, "none", Case("none"), "none"),
    (_VARIANT, Case("num", 4), Case("num", 4), "num(4)"),
]


@pytest.mark.parametrize(("kind", "given_value", "value", "text"), _GOOD)
def test_values_go_in_and_come_out(
    host: wasinn.Host, kind: dict[str, str], given_value: Any, value: Any, text: str
) -> None:
    guest = host.guest(toolbox.echo(**kind))
    result = host.run(guest, invoke="echo", invoke_args=[given_value])
    assert result.trap is None
    assert result.value_text == text
    if value is not None:
        assert result.value == value
        assert type(result.value) is type(value)
    # What was shown is read back as the same.
    assert host.run(guest, invoke="echo", invoke_args=[text]).value_text == text


@pytest.mark.parametrize(
    ("kind", "given_value", "words"),
    [
        (_U8, "256", "256 is beyond u8, which is 0 to 255"),
        (_U8, -1, "beyond u8"),
        (_U8, True, "True is no u8"),
        (_U8, "1.5", "1.5 is no u8"),
        (_U8, "1 2", "wanted the end"),
        (_S64, 1 << 63, "beyond s64"),
        (_F32, "1e39", "beyond f32"),
        (_F64, b"1", "is no f64"),
        (_BOOL, "1", "wanted true or false"),
        (_CHAR, "ab", "wanted '"),
        (_CHAR, "'\\u{D800}'", "half a surrogate pair"),
        (_STRING, '"open', "wanted a character of a string"),
        (_STRING, 3, "3 is no string"),
        (_BYTES, "[256]", "[0]: 256 is beyond u8"),
        (_NUMBERS, [1, "x"], "[1]: 'x' is no s32"),
        (_NUMBERS, b"ab", "is no list<s32>"),
        (_NUMBERS, "[1 2]", "a comma or ]"),
        (_RECORD, "{x: 1}", "the field 'y' of record { x: s32, y: u8 } is missing"),
        (_RECORD, "{x: 1, x: 2, y: 3}", "twice"),
        (_RECORD, {"x": 1, "y": 2, "z": 3}, "has no field 'z'"),
        (_RECORD, {"x": 1, "y": 300}, ".y: 300 is beyond u8"),
        (_ENUM, "blue", "wanted red or light-green"),
        (_FLAGS, {"d"}, "'d' is none of a, b, c"),
        (_RESULT, "ok", "wanted a number"),
        (_TUPLE, "(1)", "1 values for tuple<u8, u8>"),
        (_TUPLE, "(1, 2, 3)", "more than the 2 values"),
        (_VARIANT, "num", "wanted ("),
        (_VARIANT, Case("none", 1), "has no payload"),
        (_VARIANT, "zip", "wanted none or num"),
    ],
)
def test_what_does_not_fit_is_said(
    host: wasinn.Host, kind: dict[str, str], given_value: Any, words: str
) -> None:
    with pytest.raises(GuestError) as caught:
        host.run(toolbox.echo(**kind), invoke="echo", invoke_args=[given_value])
    assert words in str(caught.value)
    assert "the argument x: " in str(caught.value)


# -- functions by name ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["test:numbers/arithmetic@1.2.0#twice", "test:numbers/arithmetic#twice", "twice"]
)
def test_functions_of_interfaces_are_found(host: wasinn.Host, name: str) -> None:
    assert host.run(toolbox.echo("u8"), invoke=name, invoke_args=["21"]).value == 42


def test_a_name_that_is_not_there_lists_those_that_are(host: wasinn.Host) -> None:
    with pytest.raises(GuestError, match=r"no function 'thrice'; it exports: echo, test:numbers"):
        host.run(toolbox.echo("u8"), invoke="thrice")


def test_the_number_of_arguments_is_checked(host: wasinn.Host) -> None:
    with pytest.raises(GuestError, match=r"echo\(x: u8\) -> u8 takes 1 arguments, got 2"):
        host.run(toolbox.echo("u8"), invoke="echo", invoke_args=[1, 2])
    with host.instantiate(toolbox.echo("u8")) as instance, pytest.raises(GuestError, match="got 0"):
        instance.call("echo")


def test_an_instance_is_called_again_and_again(host: wasinn.Host) -> None:
    with host.instantiate(toolbox.echo(**_BYTES)) as instance:
        for size in (0, 1, 3, 70_000, 2):
            data = bytes(range(256)) * (size // 256 + 1)
            assert instance.call("echo", data[:size]) == data[:size]
        assert instance.call("twice", 4) == 8
        with pytest.raises(GuestTrap) as caught:
            instance.call("trap")
        assert caught.value.trap.kind == "unreachable"
        with pytest.raises(GuestError, match="make another"):
            instance.call("twice", 4)
        with pytest.raises(GuestError, match="memories are its own"):
            _ = instance.memory


def test_functions_with_resources_cannot_be_called_from_here(host: wasinn.Host) -> None:
    text = b"""(component
      (type $r' (resource (rep i32))) (export $r "r" (type $r'))
      (core func $new (canon resource.new $r'))
      (core module $m (import "m" "new" (func $new (param i32) (result i32)))
        (func (export "f") (result i32) (call $new (i32.const 1))))
      (core instance $i (instantiate $m (with "m" (instance (export "new" (func $new))))))
      (func (export "f") (result (own $r)) (canon lift (core func $i "f"))))"""
    with host.instantiate(text) as instance, pytest.raises(GuestError, match="not all of it is plain"):
        instance.call("f")


def test_a_list_that_the_runtime_does_not_take_is_a_trap_that_says_so(host: wasinn.Host) -> None:
    data = bytes(2_900_000)
    result = host.run(toolbox.echo(**_BYTES), invoke="echo", invoke_args=[data])
    assert result.trap is not None
    assert result.trap.kind == "too_much_data"
    assert "some 2.79 million elements" in result.trap.message
    assert host.run(toolbox.echo(**_STRING), invoke="echo", invoke_args=["x" * 5_000_000]).trap is None


def test_the_command_line_prints_wave(tmp_path: Path) -> None:
    path = tmp_path / "echo.wat"
    path.write_bytes(toolbox.echo(**_STRINGS))
    command = [sys.executable, "-m", "wasinn", "run", "--invoke", "echo", str(path), '["a", "b c"]']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, '["a", "b c"]\n', "")


# -- the text ------------------------------------------------------------------------------------------


def _kinds() -> st.SearchStrategy[WitType]:
    simple = st.sampled_from(
        [WitType(kind) for kind in ("bool", "u8", "s64", "f64", "char", "string")]
        + [WitType("enum", (("some", None), ("none", None), ("err", None)))]
        + [WitType("flags", (("ok", None), ("b-2", None)))]
    )

    def wider(inner: st.SearchStrategy[WitType]) -> st.SearchStrategy[WitType]:
        maybe = st.none() | inner
        return st.one_of(
            st.builds(lambda kind: WitType("list", (("", kind),)), inner),
            st.builds(lambda kind: WitType("option", (("some", kind),)), inner),
            st.builds(lambda ok, err: WitType("result", (("ok", ok), ("err", err))), maybe, maybe),
            st.builds(lambda a, b: WitType("tuple", (("", a), ("", b))), inner, inner),
            st.builds(lambda a, b: WitType("record", (("first", a), ("true", b))), inner, inner),
            st.builds(lambda a, b: WitType("variant", (("none", a), ("v2", b))), maybe, maybe),
        )

    return st.recursive(simple, wider, max_leaves=6)


def _values(kind: WitType) -> st.SearchStrategy[Any]:
    name = kind.kind
    text = st.text(st.characters(exclude_categories=["Cs"]))
    simple: dict[str, st.SearchStrategy[Any]] = {
        "bool": st.booleans(),
        "u8": st.integers(0, 255),
        "s64": st.integers(-(1 << 63), (1 << 63) - 1),
        "f64": st.floats(allow_nan=False),
        "char": st.characters(exclude_categories=["Cs"]),
        "string": text,
    }
    if name in simple:
        return simple[name]
    parts = [(part, st.none() if inner is None else _values(inner)) for part, inner in kind.parts]
    if name == "enum":
        return st.sampled_from([part for part, _ in parts])
    if name == "flags":
        return st.sets(st.sampled_from([part for part, _ in parts]))
    if name == "list":
        return st.lists(parts[0][1], max_size=3)
    if name == "option":
        inner = parts[0][1]
        if kind.element.kind == "option":
            inner = inner.map(lambda value: Case("some", value))
        return st.none() | inner
    if name == "tuple":
        return st.tuples(*(each for _, each in parts))
    if name == "record":
        return st.fixed_dictionaries(dict(parts))
    return st.one_of(*(st.builds(Case, st.just(part), each) for part, each in parts))


@given(st.data())
def test_what_is_shown_is_read_back(data: st.DataObject) -> None:
    kind = data.draw(_kinds())
    value = data.draw(_values(kind))
    text = wave.show(kind, value)
    assert wave.parse(kind, text) == value


@given(_kinds(), st.text(alphabet="[]{}(),:\"'\\ %ab1-.eokrnsm", max_size=30))
def test_any_text_is_a_value_or_a_value_error(kind: WitType, text: str) -> None:
    with contextlib.suppress(ValueError):
        wave.show(kind, wave.parse(kind, text))
