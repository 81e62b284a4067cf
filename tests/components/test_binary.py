# SPDX-License-Identifier: Apache-2.0
"""The reader of component binaries: what it reads is what was written, and nothing makes it run wild."""

from __future__ import annotations

import contextlib
import itertools

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

import wat_guest
from wasinn.abi.component import binary, builder, model
from wasinn.abi.component.binary import Reader
from wasinn.abi.component.model import NotRewritable, Section, Sort
from wasinn.abi.component.outline import Outline


def reader(data: bytes) -> Reader:
    return Reader(data, 0, len(data))


@given(st.integers(0, 2**32 - 1))
def test_numbers(value: int) -> None:
    assert reader(builder.number(value)).u32() == value


@given(st.integers(-64, 2**32 - 1))
def test_value_types(value: int) -> None:
    assert reader(builder.value_type(value)).value_type() == value


@given(st.text(max_size=200))
def test_names(value: str) -> None:
    assert reader(builder.text(value)).name() == value


@pytest.mark.parametrize("data", ["8080808010", "ffffffff7f", "8080808080", "80", ""])
def test_numbers_that_are_none(data: str) -> None:
    with pytest.raises(NotRewritable):
        reader(bytes.fromhex(data)).u32()


def test_a_name_that_is_no_text() -> None:
    with pytest.raises(NotRewritable, match="UTF-8"):
        reader(b"\x02\xff\xfe").name()


@given(
    st.lists(st.tuples(st.text(max_size=9), st.integers(-13, 300)), max_size=5),
    st.none() | st.integers(0, 300),
)
def test_the_type_of_a_function(params: list[tuple[str, int]], result: int | None) -> None:
    read = reader(builder.func_type(params, result)).type()
    assert read == model.FuncType(tuple(params), result)


def test_indices_are_renumbered_where_they_are_written() -> None:
    data = builder.func_type([("a", 5), ("b", model.STRING), ("c", 100)], 63)
    source = reader(data)
    source.type()
    changed = builder.renumbered(data, 0, len(data), source.indices, lambda index: index * 1000)
    assert changed == builder.func_type([("a", 5000), ("b", model.STRING), ("c", 100_000)], 63_000)


def test_sections_of_a_guest() -> None:
    guest = wat_guest.guest()
    found = list(binary.sections(guest))
    assert found[0][1] == len(binary.HEADER)
    assert all(before[3] == after[1] for before, after in itertools.pairwise(found))
    assert found[-1][3] == len(guest)
    assert Section.EXPORT in {kind for kind, *_ in found}


def test_the_outline_of_a_guest() -> None:
    outline = Outline(wat_guest.guest())
    names = [f"wasi:nn/{name}{wat_guest.VERSION}" for name in ("errors", "tensor", "graph")]
    assert outline.imports == [(name, Sort.INSTANCE, index) for index, name in enumerate(names)]
    assert [export.name for export in outline.exports] == ["fill", "new", "drop", "data", "load"]
    tensor = outline.instance_type(1)
    resource = tensor.exports["tensor"]
    assert resource.sort is Sort.TYPE
    assert resource.type_index is None
    assert tensor.names[0] == "tensor"


def test_a_guest_that_is_cut_short_anywhere() -> None:
    guest = wat_guest.guest()
    prelude = Outline(guest).sections[-1][3]
    for size in range(len(guest)):
        try:
            outline = Outline(guest[:size])
        except NotRewritable:
            continue
        assert size >= prelude or len(outline.imports) < 3


def test_types_that_are_nested_without_end() -> None:
    deep = b"\x42\x01\x01" * 100_000
    with pytest.raises(NotRewritable, match="nested"):
        reader(deep).type()


@pytest.mark.parametrize("start", ["40", "42", "41", "72", "71", "6f", "6e", "6d"])
def test_counts_beyond_what_is_there(start: str) -> None:
    with pytest.raises(NotRewritable):
        reader(bytes.fromhex(start) + b"\xff\xff\xff\xff\x0f" + b"\x00" * 10).type()


@given(st.binary(max_size=64))
def test_any_bytes_as_a_type(data: bytes) -> None:
    with contextlib.suppress(NotRewritable):
        assert reader(data).type() is not None


@pytest.mark.parametrize("data", [b"", b"\0asm", b"\0asm\x01\0\0\0", b"\x7fELF\x02\x01\x01\0"])
def test_what_is_no_component(data: bytes) -> None:
    with pytest.raises(NotRewritable, match="not a component"):
        list(binary.sections(data))


def test_a_component_of_core_items() -> None:
    wat = '(component (core module $m (func (export "f"))) (core instance $i (instantiate $m)))'
    outline = Outline(bytes(wasmtime.wat2wasm(wat)))
    assert (outline.imports, outline.exports, outline.types) == ([], [], [])
