# SPDX-License-Identifier: Apache-2.0
"""`wasinn:nn/streaming` as guests may misuse it, from a component without a library in between."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import wasmtime

import models
import wasinn
from component_wat import SNAPSHOTS, driver_wat
from conftest import require_backend
from wasinn import GraphSource, shipped

STORY = shipped.ROOT / "models" / "story.gguf"
PROMPT = "Once upon a time"
STEPS = ("piece", "end-of-sequence", "context-full", "prompt-too-long")
_DATA = 1 << 16

Step = tuple[str, str]


@functools.cache
def component() -> bytes:
    return bytes(wasmtime.wat2wasm(driver_wat(SNAPSHOTS[0], private=False, streaming=True)))


class Guest:
    """Handles are the numbers that the guest sees."""

    def __init__(self, permissions: wasinn.Permissions | None = None, isolation: str = "none") -> None:
        llm = {"temp": 0, "n-predict": 6, "threads": 1}
        source = GraphSource.from_files(STORY, encoding="ggml", isolation=isolation, llm=llm)
        graphs = {"story": source, "identity": GraphSource.from_bytes(models.identity())}
        self.host = wasinn.Host(graphs, permissions=permissions)
        self.instance = self.host.instantiate(self.host.guest(component()))

    def put(self, data: bytes, at: int = _DATA) -> tuple[int, int]:
        self.instance.call("poke", at, data)
        return at, len(data)

    def call(self, name: str, *arguments: int) -> bytes:
        """What the call wrote as its result: 16 bytes."""
        self.put(b"\xdd" * 16, 64)
        self.instance.call(name, *arguments, 64)
        return bytes(self.instance.call("peek", 64, 16))

    def text(self, place: bytes) -> str:
        start, size = struct.unpack("<II", place)
        return bytes(self.instance.call("peek", start, size)).decode()

    def failure(self, found: bytes) -> str | None:
        """The reason of an error, which is dropped."""
        if found[0] == 0:
            return None
        (handle,) = struct.unpack_from("<I", found, 4)
        self.instance.call("error-data", handle, 96)
        reason = self.text(bytes(self.instance.call("peek", 96, 8)))
        self.instance.call("drop-errors", handle)
        self.instance.call("reset")
        return reason

    def open(self, name: str = "story") -> int:
        found = self.call("load-by-name", *self.put(name.encode()))
        assert found[0] == 0, self.failure(found)
        (graph,) = struct.unpack_from("<I", found, 4)
        found = self.call("init-execution-context", graph)
        assert found[0] == 0, self.failure(found)
        self.instance.call("drop-graph", graph)
        return int(struct.unpack_from("<I", found, 4)[0])

    def start(self, context: int, prompt: str = PROMPT, **options: Any) -> str | None:
        config = json.dumps({key.replace("_", "-"): value for key, value in options.items()})
        return self.start_raw(context, prompt.encode(), config.encode() if options else b"")

    def start_raw(self, context: int, prompt: bytes, options: bytes = b"") -> str | None:
        given = self.put(prompt), self.put(options, _DATA + (len(prompt) + 15) // 16 * 16)
        return self.failure(self.call("stream-start", context, *given[0], *given[1]))

    def next(self, context: int) -> Step:
        """A step, or ("error", the reason)."""
        found = self.call("stream-next", context)
        reason = self.failure(found)
        if reason is not None:
            return "error", reason
        case = STEPS[found[4]]
        step = case, "" if case == "end-of-sequence" else self.text(found[8:16])
        self.instance.call("reset")
        return step

    def rest(self, context: int) -> tuple[str, str]:
        """The text to its end, and the end."""
        text = ""
        while True:
            case, piece = self.next(context)
            if case != "piece":
                return text, case
            text += piece

    def metadata(self, context: int) -> dict[str, Any] | str:
        found = self.call("stream-metadata", context)
        reason = self.failure(found)
        return reason if reason is not None else json.loads(self.text(found[4:12]))

    def finish(self, context: int) -> str | None:
        return self.failure(self.call("stream-finish", context))


Make = Callable[..., Guest]


@pytest.fixture
def guest() -> Iterator[Make]:
    require_backend("llama")
    made: list[Guest] = []

    def make(permissions: wasinn.Permissions | None = None, isolation: str = "none") -> Guest:
        made.append(Guest(permissions, isolation))
        return made[-1]

    yield make
    for each in made:
        each.instance.close()


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_calls_in_any_order(guest: Make, isolation: str) -> None:
    g = guest(isolation=isolation)
    context = g.open()
    assert g.next(context) == ("error", "there is no prompt yet: call start first")
    assert "no prompt yet" in str(g.metadata(context))
    assert g.finish(context) is None  # nothing to leave is no failure
    assert g.start(context) is None
    text, end = g.rest(context)
    assert (bool(text), end) == (True, "end-of-sequence")
    assert [g.next(context)[0] for _ in range(3)] == ["end-of-sequence"] * 3
    found = g.metadata(context)
    assert isinstance(found, dict)
    assert found["output_tokens"] == 6
    assert (g.finish(context), g.finish(context)) == (None, None)
    assert g.rest(context)[0] == text  # begun anew
    assert g.start(context) is None
    g.next(context)
    assert g.start(context) is None  # in the middle
    assert g.rest(context)[0] == text


def test_options_are_of_one_text(guest: Make) -> None:
    g = guest()
    context = g.open()
    assert g.start(context, n_predict=1) is None
    short, _ = g.rest(context)
    assert g.start(context) is None
    assert len(g.rest(context)[0]) > len(short)


def test_what_start_refuses_changes_nothing(guest: Make) -> None:
    g = guest()
    context = g.open()
    assert "wanted a JSON object" in str(g.start_raw(context, b"x", b"{"))
    assert "no prompt yet" in g.next(context)[1]
    assert g.start(context) is None
    first = g.next(context)
    for options in (b"[]", b'{"temp": "x"}', b'{"grammar": "root ::= ("}', b"[" * 100_000):
        assert g.start_raw(context, PROMPT.encode(), options) is not None
    text, end = g.rest(context)
    assert end == "end-of-sequence"
    assert g.start(context) is None
    assert first[1] + text == g.rest(context)[0]


def test_strings_that_are_none(guest: Make) -> None:
    g = guest()
    context = g.open()
    for start in ((0xFFFFFFF0, 64), (_DATA, 0x7FFFFFFF)):
        with pytest.raises(wasinn.GuestTrap):
            g.call("stream-start", context, *start, 0, 0)
        g.instance.close()
        g = guest()
        context = g.open()
    with pytest.raises(wasinn.GuestTrap):  # not UTF-8
        g.start_raw(context, b"a\xff\xfe")


def test_handles_that_are_none(guest: Make) -> None:
    for name, arguments in (("stream-next", ()), ("stream-finish", ()), ("stream-start", (0, 0, 0, 0))):
        for dropped in (True, False):
            g = guest()
            context = g.open()
            assert g.start(context) is None
            if dropped:
                g.instance.call("drop-inference", context)
            with pytest.raises(wasinn.GuestTrap):
                g.call(name, context if dropped else 12345, *arguments)
            g.instance.close()


def test_a_graph_that_does_not_stream(guest: Make) -> None:
    g = guest()
    context = g.open("identity")
    assert "language models" in str(g.start(context))
    assert "language models" in g.next(context)[1]
    assert "language models" in str(g.metadata(context))
    assert "language models" in str(g.finish(context))


def test_what_is_too_large(guest: Make) -> None:
    g = guest(wasinn.Permissions(max_input_bytes=10_000, max_context_tokens=600))
    context = g.open()
    assert "the permissions allow 10000" in str(g.start(context, "a " * 6000))
    for _ in range(50):  # what is refused is not counted
        assert g.start_raw(context, b"x" * 9000, b"{") is not None
    assert g.start(context, "a " * 3000) is None
    assert g.next(context)[0] == "prompt-too-long"
    assert g.start(context, ctx_size=16, n_predict=-1, grammar="root ::= [a-z ] root") is None
    assert g.rest(context)[1] == "context-full"
    others = [g.open() for _ in range(2)]
    assert [g.start(each, ctx_size=16) for each in others] == [None, None]
    assert g.next(others[0])[0] == "piece"
    assert "max_context_tokens" in g.next(others[1])[1]
    g.instance.call("drop-inference", context)
    assert g.next(others[1])[0] == "piece"


def test_contexts_dropped_in_the_middle(guest: Make) -> None:
    g = guest()
    for _ in range(40):
        context = g.open()
        assert g.start(context) is None
        assert g.next(context)[0] == "piece"
        g.instance.call("drop-inference", context)
    assert g.instance.state.held == 0
    assert g.instance.state.host._tokens == 0
