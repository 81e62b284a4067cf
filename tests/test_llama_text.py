# SPDX-License-Identifier: Apache-2.0
"""The text of tokens that are bytes: whatever the bytes, and wherever they are split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasinn.backends.llama_text import Text


def pieces_of(parts: list[bytes], stops: list[str]) -> tuple[list[str], Text]:
    text = Text(stops)
    pieces = []
    for part in parts:
        pieces.append(text.add(part))
        if text.stopped:
            break
    pieces.append(text.finish())
    return pieces, text


def split(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


#: Bytes of which many are parts of characters.
SOME_BYTES = st.lists(
    st.one_of(st.binary(max_size=4), st.text(max_size=4).map(lambda text: text.encode("utf-8", "replace")))
).map(b"".join)
PLACES = st.lists(st.integers(0, 1000), max_size=30)


@given(SOME_BYTES, PLACES)
def test_any_bytes_split_anywhere_make_the_same_text(data: bytes, places: list[int]) -> None:
    pieces, text = pieces_of(split(data, places), [])
    for piece in pieces:
        piece.encode("utf-8")  # no half of anything
    assert "".join(pieces) == text.text == data.decode("utf-8", "replace")


@given(
    st.text("abc€", max_size=40),
    st.lists(st.text("abc€", min_size=1, max_size=4), min_size=1, max_size=4),
    PLACES,
)
def test_text_ends_before_the_stop_sequence_that_is_complete_first(
    content: str, stops: list[str], places: list[int]
) -> None:
    ends = [
        (at + len(stop), at) for stop in stops for at in range(len(content)) if content.startswith(stop, at)
    ]
    wanted = content[: min(ends)[1]] if ends else content
    pieces, text = pieces_of(split(content.encode(), places), stops)
    assert "".join(pieces) == text.text == wanted
    assert text.stopped == bool(ends)


@pytest.mark.parametrize(
    ("parts", "stops", "pieces"),
    [
        ([b"\xe2", b"\x82", b"\xac!"], [], ["", "", "€!", ""]),
        ([b"a\xe2", b"\x82"], [], ["a", "", "�"]),  # unfinished at the end, never before
        ([b"\xff", b"a"], [], ["�", "a", ""]),  # known to be wrong at once
        ([b"\xe2\x28", b"a"], [], ["�(", "a", ""]),
        ([b"one", b" E", b"N", b"D"], ["END"], ["one", " ", "", "", ""]),
        ([b"one E", b"N", b"o"], ["END"], ["one ", "", "ENo", ""]),
        ([b"one E"], ["END"], ["one ", "E"]),  # what was held back is not lost
        ([b"one END", b"more"], ["END"], ["one ", ""]),
    ],
)
def test_what_is_held_back(parts: list[bytes], stops: list[str], pieces: list[str]) -> None:
    assert pieces_of(parts, stops)[0] == pieces
