# SPDX-License-Identifier: Apache-2.0
"""How bytes cross between the adapter in a component and the host: the text coding, the private functions.

A `list<u8>` between a component and a host in Python costs 32 bytes and a step of a loop for each byte; a
`string` costs a copy. So the rewriter puts an adapter between a guest and the host's `wasi:nn` (see
`rewrite` and `adapter`), and the two talk in strings, as said here. No address of any memory is ever
exchanged.

**The coding.** A string must be UTF-8, and checking that it is costs least for ASCII. So a piece of n
bytes is

- `low`, n characters: each byte without its highest bit (`byte & 0x7f`);
- `high`, q = ceil(n / 7) characters with the highest bits. Cut the piece into seven planes, plane k being
  the bytes from k*q up to (k+1)*q or up to the piece's end (later planes may be empty). Bit k of character
  j of `high` is the highest bit of byte k*q + j. Bits that stand for no byte are 0.

Where both are in one string, `low` comes first: n + q characters, never 1 more than a multiple of 8, and n
= floor(characters * 7 / 8). No bytes are the empty string.

A piece has at most PIECE bytes (1 MiB of text): few calls, and it stays in the processor's cache. The
runtime traps where one call carries 128 MiB.

**The private functions.** The rewriter adds them to the types of the instances that a component imports,
and leaves all that is there as it is: the functions with `list<u8>` keep their types, only nobody calls
them. A host defines the private functions in every snapshot of `wasi:nn/tensor` and `wasi:nn/graph`,
beside the others:

    interface tensor {
        wasinn-begin: func(size: u32);
        wasinn-push: func(low: string, high: string);
        wasinn-tensor: func(dimensions: list<u32>, ty: tensor-type, low: string, high: string) -> tensor;
        wasinn-data: func(tensor: borrow<tensor>, start: u32) -> string;
        wasinn-size: func(tensor: borrow<tensor>) -> u32;
    }
    interface graph {
        wasinn-begin: func(size: u32);
        wasinn-push: func(low: string, high: string);
        wasinn-load: func(encoding: graph-encoding, target: execution-target) -> result<graph, error>;
    }

`tensor`, `graph`, `error` and the enums are those of the snapshot; a parameter's name may differ, its
position does not. Each instance of a component has one list of *buffers* for each of the two interfaces,
empty at first:

- `wasinn-begin(size)` appends a buffer of `size` bytes, with none of them filled yet. The one before it
  must be full.
- `wasinn-push(low, high)` decodes a piece into the last buffer, after what is filled.
- `wasinn-tensor(dimensions, ty, low, high)` is the constructor `tensor(dimensions, ty, data)`. Without a
  buffer, `data` is the piece (low, high). With one (there is never more than one here), the piece, which
  may be empty, is first pushed to it, and `data` is the buffer. Then the list is empty again.
- `wasinn-data(tensor, start)` is part of `tensor.data()`: one string with the piece of the bytes from
  `start` up to `start` + PIECE or the end. From the end on: the empty string. The adapter asks from 0 on
  until a piece is shorter than PIECE; the borrowed handle is dropped by the adapter, the host drops what
  it took itself.
- `wasinn-size(tensor)` is how many bytes `tensor.data()` has, at most 2**32 - 1; for an adapter that must
  know it before all pieces are there.
- `wasinn-load(encoding, target)` is `load(builders, encoding, target)`: the buffers, in order, are the
  builders (none is legal). Then the list is empty again, whether it succeeded or not.

The adapter's calls: a list of up to PIECE bytes for a tensor is one call of `wasinn-tensor`; a longer one
is begin, pushes of PIECE bytes each, and `wasinn-tensor` with what remains. A load is, for each builder,
begin and its pushes (none for an empty one), then `wasinn-load`.

**What breaks the rules.** An adapter never does, but a component may import these functions itself. The
host traps, with a reason: where `high` has not ceil(n / 7) characters; where a push goes past its buffer
or has no buffer; where a begin, a tensor or a load comes before the last buffer is full; where
`wasinn-tensor` finds two buffers. Any characters are decoded (`low | bit`), whatever they are. A `size`
beyond the host's limits allocates nothing: the buffer and its pushes count, but are not kept, and then
`wasinn-load` answers the error that such a load has (too large), and `wasinn-tensor`, which has no error,
does what the constructor does for too much data. Buffers that nobody takes are freed with the instance,
and count like other memory that the host keeps for it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]

#: Into how many planes a piece is cut: a character of ASCII has seven bits.
PLANES = 7
#: The most bytes of one piece. A multiple of 16 * PLANES; the text of a full piece is exactly 1 MiB.
PIECE = PLANES << 17

_TOP = np.uint8(0x80)
_LOW = np.uint8(0x7F)
#: Eight bytes at a time: NumPy shifts words to the left several times as fast as bytes.
_TOPS = np.uint64(0x8080808080808080)
_TO_TOP = [np.uint64(7 - plane) for plane in range(PLANES)]
#: Up to here, all planes at once in one small table: each step of NumPy's costs a microsecond.
_SMALL = 8192
_PLANES = np.arange(PLANES, dtype=np.uint8).reshape(PLANES, 1)
_TO_TOP_COLUMN = 7 - _PLANES


def high_size(size: int) -> int:
    """How many characters `high` has for a piece of `size` bytes."""
    return -(-size // PLANES)


def text_size(size: int) -> int:
    """How many characters a piece of `size` bytes has as one string."""
    return size + high_size(size)


def byte_size(characters: int) -> int:
    """How many bytes a piece has that is one string of so many characters. Raises ValueError for none."""
    size = characters * PLANES // (PLANES + 1)
    if text_size(size) != characters:
        raise ValueError(f"no piece has {characters} characters")
    return size


def encode_into(data: Bytes, text: Bytes) -> None:
    """Writes the piece `data`, u8 [n], as one string into `text`, u8 [text_size(n)]."""
    size, rows = data.size, high_size(data.size)
    if text.size != size + rows:
        raise ValueError(f"{size} bytes are {size + rows} characters, not {text.size}")
    np.bitwise_and(data, _LOW, out=text[:size])
    high = text[size:]
    if size <= _SMALL:
        table = np.zeros((PLANES, rows), np.uint8)
        np.right_shift(data, np.uint8(7), out=table.reshape(-1)[:size])
        np.left_shift(table, _PLANES, out=table)
        np.bitwise_or.reduce(table, axis=0, out=high)
        return
    np.right_shift(data[:rows], np.uint8(7), out=high)
    bits = np.empty(rows, np.uint8)
    for plane in range(1, PLANES):
        part = data[plane * rows : (plane + 1) * rows]
        bit = bits[: part.size]
        np.right_shift(part, np.uint8(7 - plane), out=bit)
        np.bitwise_and(bit, np.uint8(1 << plane), out=bit)
        high[: part.size] |= bit


def decode_into(low: Bytes, high: Bytes, data: Bytes) -> None:
    """Writes the bytes of a piece into `data`, u8 [n]; `low` is u8 [n], `high` u8 [ceil(n / 7)].

    `low` and `data` may be the same memory. Raises ValueError where the sizes do not fit together.
    """
    size, rows = low.size, high.size
    if rows != high_size(size) or data.size != size:
        raise ValueError(f"{size} and {rows} characters for {data.size} bytes")
    if size <= _SMALL:
        table = np.left_shift(high, _TO_TOP_COLUMN)
        np.bitwise_and(table, _TOP, out=table)
        np.bitwise_or(low, table.reshape(-1)[:size], out=data)
        return
    words = np.empty(-(-rows // 8), np.uint64)
    words.view(np.uint8)[:rows] = high
    shifted = np.empty_like(words)
    bits = shifted.view(np.uint8)
    for plane in range(PLANES):
        start, end = plane * rows, min((plane + 1) * rows, size)
        np.left_shift(words, _TO_TOP[plane], out=shifted)
        np.bitwise_and(shifted, _TOPS, out=shifted)
        np.bitwise_or(low[start:end], bits[: end - start], out=data[start:end])


def encode(data: bytes | bytearray | memoryview | Bytes) -> bytes:
    """The piece `data` as one string of ASCII."""
    source = np.frombuffer(data, np.uint8)
    text = np.empty(text_size(source.size), np.uint8)
    encode_into(source, text)
    return text.tobytes()


def decode(text: bytes | bytearray | memoryview | Bytes) -> Bytes:
    """The bytes of a piece that is one string: u8 [n]. Raises ValueError for a length that no piece has."""
    source = np.frombuffer(text, np.uint8)
    size = byte_size(source.size)
    data = np.empty(size, np.uint8)
    decode_into(source[:size], source[size:], data)
    return data
