# SPDX-License-Identifier: Apache-2.0
"""Random guests, asked at random, with prepared stores and without: no caller can tell which.

A guest is a course of calls that is right, with others put into it, right and wrong ones, most of which
depend on the request: so that the same guest keeps to what is known of it in one request and leaves it in
the next. It answers with all that its calls gave and wrote.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
import wasinn
from prepared_guests import ANSWER, BYTES, REQUEST, ROOM, byte, call, request, telling, tensor
from served_guests import Loop, Models, data
from wasinn.oip.messages import InferRequest, WireTensor
from wasinn.runtime import prepared, prepared_store
from wasinn.serve.errors import ServeError
from wasinn.serve.guest_model import ServedGuest

#: A model whose output has as many columns as x has numbers other than 0.
WHERE = models.onnx_model(
    [helper.make_node("NonZero", ["x"], ["y"])],
    [("x", TensorProto.FLOAT, (1, 16))],
    [("y", TensorProto.INT64, (2, None))],
)
GRAPHS = {
    "tiny": models.identity(dims=(1, 16)),
    "pair": models.add((1, 4)),
    "open": models.identity(dims=("n", 16)),
    "rows": models.identity(dims=("n", 16)),
    "bool": models.identity(TensorProto.BOOL, (2, 8)),
    "find": WHERE,
    "null": models.identity(dims=(0, 16)),
}
#: Dims and type of the inputs, and how many outputs there are.
PORTS: dict[str, tuple[tuple[tuple[int, ...], int], int, int]] = {
    "tiny": (((1, 16), 1), 1, 1),
    "pair": (((1, 4), 1), 2, 2),
    "open": (((1, 16), 1), 1, 1),
    "rows": (((1, 16), 1), 1, 1),
    "bool": (((2, 8), 5), 1, 1),
    "find": (((1, 16), 1), 1, 1),
    "null": (((0, 16), 1), 1, 1),
}
SIZES = {0: 2, 1: 4, 2: 8, 3: 1, 4: 4, 5: 8}
_END = 4 * 65536
#: Pointers: good ones, and others.
POINTERS = st.one_of(
    *[st.sampled_from([*range(ROOM + 200, ROOM + 260, 4)])] * 3,
    st.sampled_from([ROOM + 201, ROOM + 202, _END - 2, _END - 4, _END, 0, 0xFFFFFFFF, 0xFFFFFFFC]),
)
PLACES = st.one_of(*[st.sampled_from([*range(ROOM + 512, ROOM + 3000, 64)])] * 4, POINTERS)
HANDLES = st.sampled_from([0] * 8 + [1, 2, 7, 0xFFFFFFFF])
INDEXES = st.sampled_from([0] * 5 + [1, 2, 31, 32, 0xFFFFFFFF])


def _flags(graph: str) -> tuple[tuple[int, ...], int]:
    """Dims and type code of an input, as the numbering of today has them (bool goes as u8)."""
    (dims, code), _, _ = PORTS[graph]
    return dims, 3 if graph == "bool" else code


def _tensors(graph: str) -> list[str]:
    """Segments with tensors at 256, 320, ...: four that are right, and some that may be not."""
    dims, code = _flags(graph)
    size = int(np.prod(dims)) * SIZES[code]
    found = [(dims, code, BYTES + 8 * shift, size, None) for shift in range(4)]
    found += [
        (dims[::-1], code, BYTES, size, None),
        ((1, *dims), code, BYTES, size, None),
        ((2, *dims[1:]), code, BYTES, 2 * size, None),
        (dims, 7, BYTES, size, None),
        (dims, 2, BYTES, size, None),
        (dims, 200, BYTES, size, None),
        (dims, code, BYTES, size + 4, None),
        (dims, code, _END - 8, size, None),
        (dims, code, 0xFFFFFFFF, size, None),
        (dims, code, BYTES, size, 300),
        (dims, code, BYTES, size, 0),
        (dims, code, BYTES + 1, size, None),
    ]
    return [tensor(256 + 64 * at, *each) for at, each in enumerate(found)]


TENSORS = st.one_of(
    *[st.sampled_from([256, 320, 384, 448])] * 3,
    st.sampled_from([*range(256, 256 + 64 * 16, 64), 257, _END - 4, 0xFFFFFFF0]),
)


def _course(graph: str) -> list[str]:
    _, inputs, outputs = PORTS[graph]
    sets = [call("set_input", 0, each, 256 + 64 * each) for each in range(inputs)]
    gets = [call("get_output", 0, each, ROOM + 512 + 256 * each, 256, ROOM + 8) for each in range(outputs)]
    return [
        call("load_by_name", 16, 4, ROOM),
        call("init_execution_context", 0, ROOM + 4),
        *sets,
        call("compute", 0),
        *gets,
    ]


@st.composite
def _other(draw: st.DrawFn, graph: str) -> str:
    """Something else that a guest may do."""
    which = draw(st.integers(0, 27))
    if which < 2:
        name, size = draw(st.sampled_from([(16, 4)] * 3 + [(16, 3), (24, 4), (_END - 1, 4)]))
        return call("load_by_name", name, size, draw(POINTERS))
    if which < 4:
        return call("init_execution_context", draw(HANDLES), draw(POINTERS))
    if which < 10:
        return call("set_input", draw(HANDLES), draw(INDEXES), draw(TENSORS))
    if which < 13:
        return call("compute", draw(HANDLES))
    if which < 17:
        size = draw(st.sampled_from([256] * 6 + [64, 63, 16, 0, 0xFFFFFFFF]))
        return call("get_output", draw(HANDLES), draw(INDEXES), draw(PLACES), size, draw(POINTERS))
    if which < 19:
        name = draw(st.sampled_from(["finalize_execution_context", "unload"]))
        return call(name, draw(HANDLES))
    if which == 19:
        size = draw(st.sampled_from([2000, 2000, 10]))
        return call("graph_metadata", draw(HANDLES), draw(PLACES), size, draw(POINTERS))
    if which < 22:
        what = draw(st.sampled_from(["args", "environ"]))
        if draw(st.booleans()):
            return call(f"{what}_sizes_get", draw(POINTERS), draw(POINTERS))
        return call(f"{what}_get", draw(POINTERS), draw(PLACES))
    if which == 22:
        return call("fd_prestat_get", draw(st.sampled_from([3, 4, 0, 0xFFFFFFFF])), draw(POINTERS))
    if which == 23:
        return call("last_error", draw(PLACES), 200, draw(POINTERS))
    return draw(
        st.sampled_from(
            [
                "(call $note (memory.grow (i32.const 1)))",
                "(call $spin (i32.const 100000))",
                "(call $spin (i32.const 30000000))",
                "(unreachable)",
                "(call $deep)",
                "(return (i64.const 0))",
                f"(return (i64.const {0xFFFFFF00 << 32 | 16}))",
                f"(return (i64.const {ANSWER << 32}))",
                f"(return (i64.const {REQUEST << 32 | 16}))",
                "(call $note (call $fd_write (i32.const 2) (i32.const 1600) (i32.const 1) (i32.const 1616)))",
                "(call $proc_exit (i32.const 3))",
            ]
        )
    )


@st.composite
def guests(draw: st.DrawFn) -> bytes:
    graph = draw(st.sampled_from([*GRAPHS]))
    body = _course(graph)
    if draw(st.integers(0, 9)) == 0:
        del body[draw(st.integers(0, len(body) - 1))]
    for _ in range(draw(st.integers(0, 6))):
        extra = draw(_other(graph))
        at = draw(st.integers(0, len(body)))
        if draw(st.integers(0, 9)):
            looked_at, value = draw(st.integers(0, 2)), draw(st.integers(1, 2))
            extra = f"(if (i32.eq {byte(looked_at)} (i32.const {value})) (then {extra}))"
        body.insert(at, extra)
    more = [
        data(16, graph.encode()),
        data(24, b"nope"),
        data(1600, struct.pack("<II", 1608, 6) + b"hello" + bytes([10])),
        *_tensors(graph),
        "(func $spin (param i32) (loop $l (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))",
        "(func $deep (call $deep) (call $deep))",
    ]
    if draw(st.integers(0, 7)) == 0:
        number = draw(st.integers(0, len(body)))
        more.append(f'(func (export "_initialize") {" ".join(body[:number])})')
        if "return" in more[-1]:
            more.pop()
        else:
            body = body[number:]
    alloc = draw(
        st.sampled_from(
            [f"(i32.const {REQUEST})"] * 60
            + ["(i32.const 0)", f"(i32.const {REQUEST + 4})", f"(i32.const {_END - 8})", "(unreachable)"]
        )
    )
    left_out = draw(st.sampled_from([(), (), (), ("args_get",), ("environ_get",)]))
    left_out = tuple(each for each in left_out if f"${each} " not in " ".join([*body, *more]))
    return telling(" ".join(body), " ".join(more), alloc, left_out)


@st.composite
def requests(draw: st.DrawFn) -> list[WireTensor]:
    """Some requests, not all different: three bytes are what a guest looks at."""
    heads = st.lists(st.sampled_from([0, 0, 0, 0, 1, 2]), min_size=3, max_size=3)
    fills = st.sampled_from([0, 0, 1, 2, 128, 255])
    several = draw(st.lists(st.tuples(heads, fills), min_size=2, max_size=4))
    chosen = draw(st.lists(st.sampled_from(several), min_size=4, max_size=10))
    return [request(*head, *[fill] * 253) for head, fill in chosen]


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def take(self) -> list[str]:
        taken, self.lines = self.lines, []
        return taken


class Fuzz:
    """Models of guests, the lines of their log, and counts."""

    def __init__(self, served: Models, lines: Lines) -> None:
        self.served = served
        self.lines = lines
        self.examples = self.prepared_examples = self.requests = self.prepared = 0

    def make(self, guest: bytes, pages: int) -> tuple[ServedGuest, ServedGuest]:
        """A model with prepared stores, and one without."""
        world: dict[str, Any] = {"args": ("one", ""), "env": {"A": "b"}, "max_memory": pages << 16}
        some = self.served.make(guest, **world)
        others = self.served.make(some.source.file, **world)
        others._prepared = None
        return some, others

    def ask(self, model: ServedGuest, sent: Sequence[WireTensor]) -> tuple[list[Any], list[str]]:
        """What is answered one after the other, and the lines in the log."""

        async def all_of_them() -> list[Any]:
            return [await _answer(model, each) for each in sent]

        self.lines.take()
        return self.served.loop.wait(all_of_them()), self.lines.take()

    def ask_at_once(
        self, model: ServedGuest, sent: Sequence[WireTensor], cancelled: Sequence[int | None]
    ) -> list[Any]:
        """What is answered at once, but where one is cancelled after so many turns of the loop."""

        async def one(each: WireTensor, turns: int | None) -> Any:
            task = asyncio.ensure_future(_answer(model, each))
            if turns is None:
                return await task
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            return None

        async def all_of_them() -> list[Any]:
            pairs = zip(sent, cancelled, strict=True)
            return await asyncio.gather(*(one(each, turns) for each, turns in pairs))

        return self.served.loop.wait(all_of_them())


async def _answer(model: ServedGuest, sent: WireTensor) -> Any:
    try:
        (output,) = (await model.infer(InferRequest([sent]), 30)).outputs
    except ServeError as error:
        return error.status, error.kind, error.reason
    return bytes(output.data)


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzz]:
    folder = tmp_path_factory.mktemp("fuzz")
    for name, content in GRAPHS.items():
        (folder / f"{name}.onnx").write_bytes(content)
    sources = {
        name: f"onnx:{folder}/{name}.onnx?threads=1" + ("&batch=true" if name == "rows" else "")
        for name in GRAPHS
    }
    patch = pytest.MonkeyPatch()
    patch.setattr(prepared, "_FIRST_REST", 0)  # a guest that leaves its course is tried again at once
    lines, logger = Lines(), logging.getLogger("wasinn.guest")
    before = logger.level
    with wasinn.Host(sources, cache=False) as host:
        host.preload()
        loop = Loop()
        found = Fuzz(Models(host, loop, folder), lines)
        answer = prepared_store.PreparedStore.answer

        def counted(store: Any) -> bytes:
            content = answer(store)
            found.prepared += 1
            return content

        patch.setattr(prepared_store.PreparedStore, "answer", counted)
        logger.setLevel(logging.INFO)
        logger.addHandler(lines)
        yield found
        logger.removeHandler(lines)
        logger.setLevel(before)
        loop.close()
    patch.undo()


@st.composite
def turns(draw: st.DrawFn) -> list[int | None]:
    return draw(st.lists(st.sampled_from([None, None, None, 0, 1, 2, 5]), min_size=10, max_size=10))


@settings(max_examples=2 * settings().max_examples, deadline=None)
@given(guests(), requests(), turns(), st.sampled_from([100, 100, 5]))
def _compare(
    fuzz: Fuzz, guest: bytes, sent: list[WireTensor], cancelled: list[int | None], pages: int
) -> None:
    some, others = fuzz.make(guest, pages)
    before = fuzz.prepared
    try:
        answers, lines = fuzz.ask(some, sent)
        told = fuzz.prepared - before
        wanted, wanted_lines = fuzz.ask(others, sent)
        assert (answers, lines) == (wanted, wanted_lines)
        cancelled = cancelled[: len(sent)]
        at_once = fuzz.ask_at_once(some, sent, cancelled)
        kept = [each for each, turn in zip(wanted, cancelled, strict=True) if turn is None]
        assert [each for each, turn in zip(at_once, cancelled, strict=True) if turn is None] == kept
    finally:
        some.close()
        others.close()
    assert prepared._all._open == 0
    assert not prepared_store.working
    fuzz.examples += 1
    fuzz.requests += len(sent)
    fuzz.prepared_examples += told > 0


def test_no_caller_can_tell(fuzz: Fuzz) -> None:
    _compare(fuzz)
    print(f"{fuzz.examples} guests, {fuzz.prepared_examples} with prepared stores; {fuzz.prepared} answers")
    assert 4 * fuzz.prepared_examples > fuzz.examples
