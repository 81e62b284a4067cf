# SPDX-License-Identifier: Apache-2.0
"""What this process and a worker process tell each other, as JSON.

Never pickles: a worker has read a file that nobody vouches for, and what it says is data.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from wasinn.backends.base import LoadOptions, Usage
from wasinn.errors import WasiNNError
from wasinn.graphs.channel import as_int_list
from wasinn.spec import Encoding, ErrorCode, Target, TensorType
from wasinn.tensors import MAX_RANK, Quantization, Tensor, TensorSpec, element_count

# The first byte of a message about a context.
ARENA, COMPUTE, FETCH = b"a", b"c", b"f"
# About one that streams (and COMPUTE); each is answered with its state, but READ with a part of an output.
INPUT, SINGLE, END, STATE, READ = b"i", b"s", b"n", b"q", b"r"
# The first byte of an answer: done with outputs of the shapes declared; done with these; not done.
DONE, OUTPUTS, FAILED = b"k", b"o", b"e"

#: Fields of TensorSpec that are JSON as they are.
_PLAIN = ("name", "any_size", "any_type", "optional", "aliases")
#: Characters of a port's name.
_MAX_NAME = 1 << 16


@dataclass(frozen=True)
class LoadRequest:
    """What a worker loads: by which backend, from which files (paths) or builders (their sizes; their
    bytes come as open files)."""

    backend: str
    encoding: Encoding
    target: Target
    options: LoadOptions
    files: tuple[str, ...] = ()
    builders: tuple[int, ...] = ()

    def encode(self) -> bytes:
        options = {each.name: getattr(self.options, each.name) for each in fields(LoadOptions)}
        return json.dumps({**vars(self), "options": options}).encode()

    @classmethod
    def decode(cls, message: bytes) -> LoadRequest:
        table = json.loads(message)
        return cls(
            table["backend"],
            Encoding(table["encoding"]),
            Target(table["target"]),
            LoadOptions(**table["options"]),
            tuple(table["files"]),
            tuple(table["builders"]),
        )


@dataclass(frozen=True)
class Loaded:
    """What a worker says of the graph it has loaded. `streaming`: it is a language model, which takes
    options."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    interruptible: bool
    streaming: bool = False

    def encode(self) -> bytes:
        return json.dumps(
            {
                "inputs": [_encode_spec(spec) for spec in self.inputs],
                "outputs": [_encode_spec(spec) for spec in self.outputs],
                "interruptible": self.interruptible,
                "streaming": self.streaming,
            }
        ).encode()

    @classmethod
    def decode(cls, message: bytes) -> Loaded:
        """Raises ValueError for what is no such message."""
        try:
            table = json.loads(message)
            return cls(
                tuple(_decode_spec(each) for each in table["inputs"]),
                tuple(_decode_spec(each) for each in table["outputs"]),
                bool(table["interruptible"]),
                bool(table["streaming"]),
            )
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a description of a graph: {error}") from error


def _encode_spec(spec: TensorSpec) -> dict[str, Any]:
    table: dict[str, Any] = {name: getattr(spec, name) for name in _PLAIN}
    table["type"], table["dims"] = spec.type.label, spec.dims
    if spec.quantization is not None:
        table["quantization"] = vars(spec.quantization)
    return table


def _decode_spec(table: Any) -> TensorSpec:
    dims = None
    if table["dims"] is not None:
        dims = tuple(None if each is None else as_int_list([each])[0] for each in table["dims"])
    quantization = None
    if "quantization" in table:
        found = table["quantization"]
        quantization = Quantization(
            tuple(float(each) for each in found["scales"]),
            tuple(int(each) for each in found["zero_points"]),
            None if found["axis"] is None else int(found["axis"]),
        )
    if dims is not None and len(dims) > MAX_RANK:
        raise ValueError(f"{len(dims)} dims")
    return TensorSpec(
        name=_name(table["name"]),
        type=TensorType.parse(table["type"]),
        dims=dims,
        quantization=quantization,
        any_size=table["any_size"] is True,
        any_type=table["any_type"] is True,
        optional=table["optional"] is True,
        aliases=tuple(_name(each) for each in table["aliases"]),
    )


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_NAME:
        raise ValueError("not a name")
    return value


# -- a context's memory and its outputs ---------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Where in an arena each input and output lies: its offset, and how many bytes it may have."""

    inputs: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...]
    size: int

    #: Cache lines, and what runtimes want to read and write in place.
    ALIGNMENT = 64

    @classmethod
    def of(cls, inputs: list[int], outputs: list[int]) -> Layout:
        """A layout with room for so many bytes in each port."""
        end = 0
        regions = []
        for size in (*inputs, *outputs):
            regions.append((end, size))
            end = -(-(end + size) // cls.ALIGNMENT) * cls.ALIGNMENT
        return cls(tuple(regions[: len(inputs)]), tuple(regions[len(inputs) :]), end)

    def encode(self) -> bytes:
        return ARENA + json.dumps([self.inputs, self.outputs, self.size]).encode()

    @classmethod
    def decode(cls, body: bytes) -> Layout:
        inputs, outputs, size = json.loads(body)
        return cls(tuple(map(tuple, inputs)), tuple(map(tuple, outputs)), size)


@dataclass(frozen=True)
class Shape:
    """What lies in a region of an arena: dims, type, and size in bytes."""

    dims: tuple[int, ...]
    type: TensorType
    size: int

    @classmethod
    def of(cls, tensor: Tensor) -> Shape:
        return cls(tensor.dims, tensor.type, len(tensor.data))

    def encode(self) -> Any:
        return [self.dims, self.type.label, self.size]

    @classmethod
    def decode(cls, value: Any) -> Shape:
        """Raises ValueError for what is no shape."""
        if not isinstance(value, list) or len(value) != 3:
            raise ValueError("a shape is [dims, type, size]")
        (size,) = as_int_list([value[2]])
        dims = as_int_list(value[0])
        if len(dims) > MAX_RANK:
            raise ValueError(f"{len(dims)} dims")
        return cls(dims, TensorType.parse(str(value[1])), size)


def encode_shapes(shapes: Sequence[Shape | WasiNNError]) -> bytes:
    """The shapes of a context's inputs, or of its outputs, some of which may have no value."""
    listed = [
        [int(each.code), each.reason] if isinstance(each, WasiNNError) else each.encode() for each in shapes
    ]
    return json.dumps(listed).encode()


def decode_shapes(body: bytes) -> list[Shape | WasiNNError]:
    """Raises ValueError for what are no shapes, and where dims and size do not fit."""
    try:
        table = json.loads(body)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(table, list):
        raise ValueError("shapes are a list")
    result: list[Shape | WasiNNError] = []
    for each in table:
        if isinstance(each, list) and len(each) == 2:
            result.append(decode_error(each))
            continue
        shape = Shape.decode(each)
        if element_count(shape.dims) * shape.type.size != shape.size:
            raise ValueError(f"{shape.size} bytes with dims {shape.dims} of {shape.type.label}")
        result.append(shape)
    return result


# -- a context that streams ---------------------------------------------------------------------------

#: The bytes of an output in one message, and of all of it.
PART, MAX_OUTPUT = 1 << 20, 256 << 20
#: Lines for the log that come with one answer.
MAX_LINES = 20
_PART = struct.Struct("<Q")


@dataclass(frozen=True)
class State:
    """Which outputs can be read, what has been read and written so far, and what the log is to be told."""

    ready: tuple[bool, ...]
    usage: Usage
    log: tuple[str, ...] = ()
    #: `Streaming.context_tokens` (backends/base.py).
    context_tokens: int = 0

    def encode(self) -> bytes:
        return DONE + json.dumps([self.ready, *self.usage, self.log, self.context_tokens]).encode()

    @classmethod
    def decode(cls, message: bytes, outputs: int) -> State:
        """Raises ValueError for what is no state of a context with so many outputs."""
        try:
            table = json.loads(message[1:])
        except RecursionError as error:
            raise ValueError(str(error)) from None
        if not isinstance(table, list) or len(table) != 6:
            raise ValueError("no state")
        ready, prompt, generated, seconds, log, room = table
        if not isinstance(ready, list) or len(ready) != outputs:
            raise ValueError(f"no state of {outputs} outputs")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e12:
            raise ValueError("no time")
        if not isinstance(log, list) or not all(isinstance(line, str) for line in log):
            raise ValueError("no lines of a log")
        prompt, generated, room = as_int_list([prompt, generated, room])
        usage, lines = Usage(prompt, generated, float(seconds)), log[:MAX_LINES]
        return cls(tuple(each is True for each in ready), usage, tuple(_line(each) for each in lines), room)


def encode_part(data: memoryview, offset: int) -> bytes:
    """A part of an output, behind the size of all of it."""
    return DONE + _PART.pack(len(data)) + data[offset : offset + PART]


def decode_part(message: bytes) -> tuple[int, bytes]:
    """The size of all of an output, and a part of it. Raises ValueError."""
    try:
        (size,) = _PART.unpack_from(message, 1)
    except struct.error as error:
        raise ValueError("no part of an output") from error
    if size > MAX_OUTPUT:
        raise ValueError(f"an output of {size} bytes")
    return size, message[1 + _PART.size :]


def encode_error(error: WasiNNError) -> bytes:
    return FAILED + json.dumps([int(error.code), error.reason]).encode()


def decode_error(value: Any) -> WasiNNError:
    """The error in [code, reason]. Raises ValueError."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("an error is [code, reason]")
    code = ErrorCode(value[0])
    if code is ErrorCode.SUCCESS:
        raise ValueError("an error that is none")
    return WasiNNError(code, _line(str(value[1])))


def _line(text: str) -> str:
    """What a worker says, for the log."""
    text = text[:2000]
    return text if text.isprintable() else repr(text)
