# SPDX-License-Identifier: Apache-2.0
"""Guests that `wasinn serve` answers requests with: a function gets a request, and returns tensors.

    def answer(request):
        with Graph.by_name("model") as graph, graph.context() as context:
            context.set_input(0, request.tensor("x"))
            context.compute()
            return {"y": context.output(0)}

    Run = serve(answer)

The guest is a command: the request is on stdin, the answer goes to stdout.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from . import bindings
from .command import write_stdout
from .errors import ErrorCode, NnError
from .metadata import OIP_TYPES
from .tensor import Bytes, Tensor

_MAGIC, _REFUSAL = b"wnt1", b"wne1"
_HEAD = struct.Struct("<4sI")
_TENSOR = struct.Struct("<IIIIQ")
_LENGTH = struct.Struct("<I")
_MOST_DIMS = 32
#: Datatypes by type.
_DATATYPES = {kind: name for name, kind in OIP_TYPES.items()}


class Refusal(NnError):
    """The request is at fault: raise it, and the caller gets its text (status 400)."""

    def __init__(self, reason: str) -> None:
        super().__init__(ErrorCode.INVALID_ARGUMENT, reason)


@dataclass(frozen=True)
class Input:
    """A tensor of a request. `datatype` as in the Open Inference Protocol; `data` lies in the request."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    data: memoryview

    def tensor(self) -> Tensor:
        """As a tensor, without a copy. Raises Refusal for BYTES."""
        if self.datatype not in OIP_TYPES:
            raise Refusal(f"the input {self.name!r} is {self.datatype}, and must be of numbers")
        return Tensor(OIP_TYPES[self.datatype], self.dims, self.data)

    def strings(self) -> list[bytes]:
        """The elements of BYTES: files, or texts in UTF-8. Raises Refusal for another datatype."""
        if self.datatype != "BYTES":
            raise Refusal(f"the input {self.name!r} is {self.datatype}, and must be BYTES")
        found, at = [], 0
        while at < len(self.data):
            start = at + _LENGTH.size
            at = start + _LENGTH.unpack_from(_checked(self.data, start), at)[0]
            found.append(bytes(_checked(self.data, at)[start:at]))
        if len(found) != math.prod(self.dims):
            raise Refusal(f"the input {self.name!r} {list(self.dims)} has {len(found)} elements")
        return found


class Request:
    """`inputs` by their names; `arguments` are the words that the server's configuration gives the guest."""

    def __init__(self, message: bytes, arguments: Sequence[str] = ()) -> None:
        """From a message as the server sends it. Raises Refusal for what is none."""
        self.arguments = list(arguments)
        self.inputs: dict[str, Input] = {}
        view = memoryview(message)
        magic, count = _HEAD.unpack_from(_checked(view, _HEAD.size))
        if magic != _MAGIC:
            raise Refusal('the request is no message: it does not begin with "wnt1"')
        at = _HEAD.size
        for _ in range(count):
            each, at = _read(view, at)
            self.inputs[each.name] = each

    def __contains__(self, name: object) -> bool:
        return name in self.inputs

    def __getitem__(self, name: str) -> Input:
        """Raises Refusal, which lists what there is."""
        if name not in self.inputs:
            known = ", ".join(map(repr, self.inputs)) or "none"
            raise Refusal(f"the request has no input {name!r}; it has {known}")
        return self.inputs[name]

    def tensor(self, name: str) -> Tensor:
        """An input as a tensor. Raises Refusal where it is not there, or of BYTES."""
        return self[name].tensor()

    def strings(self, name: str) -> list[bytes]:
        """An input's elements of BYTES. Raises Refusal where it is not there, or of numbers."""
        return self[name].strings()


@dataclass(frozen=True)
class Strings:
    """A tensor of BYTES for an answer; texts become UTF-8. Raises NnError where dims and elements differ."""

    elements: Sequence[str | Bytes]
    dims: tuple[int, ...]

    def __init__(self, elements: Iterable[str | Bytes], dims: Iterable[int] | None = None) -> None:
        all_elements = list(elements)
        all_dims = (len(all_elements),) if dims is None else tuple(dims)
        if math.prod(all_dims) != len(all_elements):
            raise NnError(
                ErrorCode.INVALID_ARGUMENT,
                f"dims {list(all_dims)} do not hold {len(all_elements)} elements of BYTES",
                "Strings",
            )
        object.__setattr__(self, "elements", all_elements)
        object.__setattr__(self, "dims", all_dims)


Answer: TypeAlias = "Mapping[str, Tensor | Strings]"
"""An answer's tensors by their names, in their order."""


def encode(answer: Answer) -> bytes:
    """An answer as a message."""
    parts = [_HEAD.pack(_MAGIC, len(answer))]
    for name, value in answer.items():
        if isinstance(value, Strings):
            datatype, data = "BYTES", b"".join(map(_element, value.elements))
        else:
            datatype, data = _DATATYPES[value.type], bytes(value.data)
        words = name.encode() + datatype.encode()
        size = len(words) - len(datatype)
        parts.append(_TENSOR.pack(size, len(datatype), len(value.dims), 0, len(data)))
        parts.append(struct.pack(f"<{len(value.dims)}Q", *value.dims))
        parts += [words, bytes(-len(words) % 8), data, bytes(-len(data) % 8)]
    return b"".join(parts)


def respond(handler: Callable[[Request], Answer], message: bytes, arguments: Sequence[str] = ()) -> bytes:
    """The answer's message, or that of a refusal. Raises what `handler` raises, but for Refusal."""
    try:
        return encode(handler(Request(message, arguments)))
    except Refusal as error:
        text = error.reason.encode()
        return _HEAD.pack(_REFUSAL, len(text)) + text


def serve(handler: Callable[[Request], Answer]) -> type:
    """The class that componentize-py looks for: write `Run = serve(handler)` in the guest's module.

    An NnError of `handler`, or any other exception, is the guest's failure: its text goes to stderr, and the
    caller gets it with status 500.
    """

    class Run:
        def run(self) -> None:
            arguments = list(bindings.environment.get_arguments()[1:])
            try:
                write_stdout(respond(handler, sys.stdin.buffer.read(), arguments))
            except Exception as error:
                print(_words(error), file=sys.stderr, flush=True)
                raise bindings.Err(None) from None

    return Run


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, NnError) else f"{type(error).__name__}: {error}"


def _element(element: str | Bytes) -> bytes:
    content = element.encode() if isinstance(element, str) else bytes(element)
    return _LENGTH.pack(len(content)) + content


def _checked(view: memoryview, end: int) -> memoryview:
    if end > len(view):
        raise Refusal(f"the request is cut off at byte {len(view)}")
    return view


def _read(view: memoryview, at: int) -> tuple[Input, int]:
    """The tensor at a byte, and where the next one is."""
    _checked(view, at + _TENSOR.size)
    name_size, datatype_size, rank, _, size = _TENSOR.unpack_from(view, at)
    at += _TENSOR.size
    if rank > _MOST_DIMS:
        raise Refusal(f"a tensor of the request has {rank} dims")
    words = at + 8 * rank
    text = words + name_size
    end = text + datatype_size
    start = end + -end % 8
    stop = start + size
    _checked(view, stop + -stop % 8)
    dims = struct.unpack_from(f"<{rank}Q", view, at)
    try:
        name, datatype = str(view[words:text], "utf-8"), str(view[text:end], "utf-8")
    except UnicodeDecodeError:
        raise Refusal("a name in the request is not UTF-8") from None
    return Input(name, datatype, dims, view[start:stop]), stop + -stop % 8
