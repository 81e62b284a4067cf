# SPDX-License-Identifier: Apache-2.0
"""Messages between the server and its guests: rounds, and answers that are none."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasinn.oip.messages import DATATYPES, WireTensor
from wasinn.serve.guest_messages import MessageError, Refusal, decode, encode, write

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def message(*tensors: WireTensor) -> bytes:
    return b"".join(encode(tensors)[0])


def texts(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


@st.composite
def wire_tensors(draw: Any) -> list[WireTensor]:
    found = []
    for name in draw(st.lists(TEXT, unique=True, max_size=4)):
        datatype = draw(st.sampled_from(sorted(DATATYPES)))
        shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
        count = 1
        for dim in shape:
            count *= dim
        size = DATATYPES[datatype]
        if size is None:
            data = texts(*draw(st.lists(st.binary(max_size=9), min_size=count, max_size=count)))
        else:
            data = draw(st.binary(min_size=count * size, max_size=count * size))
        found.append(WireTensor(name, datatype, shape, data))
    return found


@given(wire_tensors())
def test_a_round(tensors: list[WireTensor]) -> None:
    parts, size = encode(tensors)
    whole = b"".join(parts)
    assert len(whole) == size
    assert size % 8 == 0
    memory = bytearray(size + 24)
    write(parts, memoryview(memory), 16)
    assert memory[16 : 16 + size] == whole
    assert not any(memory[:16])
    assert not any(memory[16 + size :])
    found = decode(whole)
    assert [(each.name, each.datatype, each.shape, bytes(each.data)) for each in found] == [
        (each.name, each.datatype, each.shape, each.data) for each in tensors
    ]
    for each in found:  # without a copy
        assert isinstance(each.data, memoryview)
        assert each.data.obj is whole


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    for whole in (data, b"wnt1" + data, b"wne1" + data):
        with suppress(MessageError, Refusal):
            decode(whole)


@given(wire_tensors(), st.data())
def test_a_damaged_message_is_a_message_or_an_error(tensors: list[WireTensor], data: Any) -> None:
    whole = bytearray(message(*tensors))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.sampled_from([0, 1, 7, 8, 127, 255]))
    cut = data.draw(st.integers(0, len(whole)))
    for each in (bytes(whole), bytes(whole[:cut])):
        with suppress(MessageError, Refusal):
            for tensor in decode(each):
                assert tensor.datatype in DATATYPES


def test_the_layout_is_the_documented_one() -> None:
    """Byte by byte: guests in other languages read and write this."""
    numbers, words = WireTensor("ab", "FP32", (1, 2), b"ABCDEFGH"), WireTensor("t", "BYTES", (), texts(b"xy"))
    assert message(numbers, words) == (
        b"wnt1\x02\0\0\0"
        + b"\x02\0\0\0\x04\0\0\0\x02\0\0\0\0\0\0\0" + b"\x08" + bytes(7)
        + b"\x01" + bytes(7) + b"\x02" + bytes(7)
        + b"abFP32\0\0" + b"ABCDEFGH"
        + b"\x01\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0" + b"\x06" + bytes(7)
        + b"tBYTES\0\0" + b"\x02\0\0\0xy\0\0"
    )  # fmt: skip


def test_data_of_any_kind_of_view_is_taken() -> None:
    numbers = memoryview(struct.pack("<4f", 1, 2, 3, 4)).cast("f")
    parts, size = encode([WireTensor("x", "FP32", (4,), numbers)])
    memory = memoryview(bytearray(size))
    write(parts, memory, 0)
    assert decode(bytes(memory))[0].data == numbers.tobytes()


GOOD = message(WireTensor("x", "FP32", (1, 2), bytes(8)))


def changed(at: int, format_: str, value: int) -> bytes:
    whole = bytearray(GOOD)
    struct.pack_into(format_, whole, at, value)
    return bytes(whole)


WRONG = [
    (b"wnt1", "has 4 bytes, and a message at least 8"),
    (b"hello, world", "begins with b'hell'"),
    (changed(4, "<I", 2), "ends in the head of tensor 1"),
    (changed(4, "<I", 0), "end at byte 8, and it has"),
    (changed(4, "<I", 1 << 31), "claims 2147483648 tensors"),
    (changed(8, "<I", 0), "no name"),
    (changed(16, "<I", 1 << 30), "1073741824 dims"),
    (changed(20, "<I", 1), "must be 0"),
    (changed(24, "<Q", 16), "and the message at"),
    (changed(24, "<Q", 1 << 63), "and the message at"),
    (changed(32, "<Q", 1 << 63), "is 73786976294838206464 bytes; got 8"),
    (changed(52, "<B", ord("3")), "no datatype 'FP33'"),
    (changed(48, "<B", 0xFF), "not UTF-8"),
    (message(*[WireTensor("x", "BOOL", (), b"\0")] * 2), "two tensors 'x'"),
    (
        message(WireTensor("s", "BYTES", (2,), texts(b"abc"))),
        "tensor 0 's': BYTES [2] has 2 elements; the data has 1",
    ),
    (message(WireTensor("s", "BYTES", (1,), b"\x09\0\0\0abc")), "says that it has 9 bytes, and 3 follow"),
    (message(WireTensor("s", "BYTES", (1,), b"\x01\0\0")), "at byte 0 only 3 follow"),
    (b"wne1\x09\0\0\0no", "a refusal of 9 bytes of text, and 2 bytes follow"),
]


@pytest.mark.parametrize(("data", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_is_wrong_with_an_answer(data: bytes, words: str) -> None:
    with pytest.raises(MessageError) as raised:
        decode(data)
    assert words in str(raised.value)


def test_a_refusal_has_the_words_of_the_guest() -> None:
    with pytest.raises(Refusal, match=r"^zu groß$"):
        decode(b"wne1\x08\0\0\0" + "zu groß".encode())
    with pytest.raises(Refusal, match=r"^no \ufffd$"):
        decode(b"wne1\x04\0\0\0no \xff")
