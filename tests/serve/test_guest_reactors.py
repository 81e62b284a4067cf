# SPDX-License-Identifier: Apache-2.0
"""Reactors that are served, and what goes wrong in them."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from served_guests import (
    ECHO,
    FOREVER,
    GROWN,
    Models,
    command,
    data,
    floats,
    reactor,
    saying,
    served_models,
    texts,
)
from wasinn import shipped
from wasinn.oip.datatypes import unpack_bytes
from wasinn.oip.messages import InferRequest, WireTensor
from wasinn.serve.errors import ServeError
from wasinn.serve.guest_model import DEFAULT_MEMORY

PICTURES = Path(str(shipped.resolve("@seven.png", "pictures"))).parent


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """What makes models of guests, and asks them."""
    yield from served_models(tmp_path_factory.mktemp("served"))


def picture(name: str = "seven.png") -> WireTensor:
    return texts("image", (PICTURES / name).read_bytes())


def test_a_reactor_gets_the_message_and_its_answer_comes_back(served: Models) -> None:
    model = served.make(reactor())
    sent = [floats("x", 1, 2, 3), texts("words", b"", b"one"), WireTensor("ünï", "BOOL", (0, 2), b"")]
    answer = served.infer(model, *sent)
    assert (answer.model_name, answer.model_version, answer.id) == ("it", "1", "id")
    assert [(each.name, each.datatype, each.shape, bytes(each.data)) for each in answer.outputs] == [
        (each.name, each.datatype, each.shape, each.data) for each in sent
    ]


def test_the_outputs_that_are_asked_for_come_in_that_order(served: Models) -> None:
    model, sent = served.make(reactor()), [floats("a", 1), floats("b", 2), floats("c", 3)]
    assert [each.name for each in served.infer(model, *sent, outputs=("c", "a")).outputs] == ["c", "a"]
    error = served.refused(model, *sent, outputs=("z",))
    assert (error.status, error.reason) == (400, "guest it gave no output 'z'; it gave 'a', 'b', 'c'")


def test_each_request_gets_a_fresh_instance(served: Models) -> None:
    """A guest that answers once and then traps answers every time."""
    once = f"(if (global.get $used) (then (unreachable))) (global.set $used (i32.const 1)) {ECHO}"
    model = served.make(reactor(once, more="(global $used (mut i32) (i32.const 0))"))
    for value in (1.0, 2.0, 3.0):
        assert bytes(served.infer(model, floats("x", value)).outputs[0].data) == struct.pack("<f", value)


def test_a_request_larger_than_the_guests_first_memory(served: Models) -> None:
    model = served.make(reactor(alloc=GROWN))
    content = os.urandom(5_000_000)
    answer = served.infer(model, WireTensor("x", "UINT8", (len(content),), content))
    assert answer.outputs[0].data == content


def test_the_shipped_tiny_guest(served: Models) -> None:
    model = served.make("@serve_tiny")
    content = struct.pack("<16f", *range(16))
    (output,) = served.infer(model, WireTensor("x", "FP32", (1, 16), content)).outputs
    assert (output.name, output.datatype, output.shape, bytes(output.data)) == ("y", "FP32", (1, 16), content)
    for wrong in (
        [WireTensor("z", "FP32", (1, 16), content)],
        [WireTensor("x", "FP32", (16, 1), content)],
        [WireTensor("x", "INT32", (1, 16), content)],
        [WireTensor("x", "FP32", (1, 16), content)] * 2,
        [],
    ):
        error = served.refused(model, *wrong)
        assert (error.status, error.kind) == (400, "refused")
        assert error.reason == 'it takes one tensor, FP32 "x" [1,16]'


def test_the_shipped_classifier(served: Models) -> None:
    model = served.make("@serve")
    both = texts("image", *((PICTURES / name).read_bytes() for name in ("seven.png", "three.bmp")))
    top = WireTensor("top", "INT32", (1,), struct.pack("<i", 3))
    scores, classes, labels = served.infer(model, both, top).outputs
    assert [(each.name, each.datatype, each.shape) for each in (scores, classes, labels)] == [
        ("scores", "FP32", (2, 3)),
        ("classes", "INT32", (2, 3)),
        ("labels", "BYTES", (2, 3)),
    ]
    best = struct.unpack("<6i", classes.data)
    assert (best[0], best[3]) == (7, 3)
    assert [each.decode() for each in unpack_bytes(labels.data)] == [str(each) for each in best]
    numbers = struct.unpack("<6f", scores.data)
    assert list(numbers[:3]) == sorted(numbers[:3], reverse=True)
    assert numbers[0] > 0.9


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([], "the request has no input 'image'; it has none"),
        ([texts("image", b"no picture")], "picture 0: the format is not known"),
        ([floats("image", 1)], "the input 'image' is FP32 [1], and must be UINT8 [height,width,3] or files"),
        ([texts("image")], "the input 'image' is BYTES [0]"),
        ([picture(), floats("top", 1)], "the input 'top' is FP32, and must be INT32"),
        ([picture(), floats("more", 1)], "not 'more' (FP32)"),
        ([picture(), WireTensor("top", "INT32", (1,), bytes(4))], "must be one number of 1 or more"),
        ([WireTensor("image", "UINT8", (1,) * 9, b"x")], "has 9 dims, and 8 are the most here"),
        ([WireTensor("image", "UINT8", (0, 1 << 40, 3), b"")], "more than 32 bits"),
    ],
    ids=["none", "picture", "type", "empty", "top-type", "unknown", "top", "rank", "dim"],
)
def test_the_classifier_refuses_with_its_words(served: Models, tensors: list[WireTensor], words: str) -> None:
    error = served.refused(served.make("@serve"), *tensors)
    assert (error.status, error.kind) == (400, "refused")
    assert words in error.reason


def test_arguments_and_environment_reach_a_reactor(served: Models) -> None:
    error = served.refused(served.make("@serve", args=("nowhere",)), picture())
    assert (error.status, error.kind) == (500, "guest_failed")
    assert "guest it failed: load_by_name" in error.reason
    assert "no graph is called 'nowhere'" in error.reason


# -- reactors that go wrong -------------------------------------------------------------------------------

REFUSAL = b"wne1\x07\0\0\0no\x1b[1m!"
SAYS, SAY = saying(b"first\nthe model is \x1b[31mgone\n\n")


def answering(at: int, size: int) -> str:
    return f"(i64.const {at << 32 | size})"


BAD = {
    "failure": (reactor("(i64.const 0)"), 500, "guest_failed", "guest it failed: it gave no reason"),
    "failure-in-words": (
        reactor(f"{SAY} (i64.const 0)", more=SAYS),
        500,
        "guest_failed",
        r"guest it failed: the model is \x1b[31mgone",
    ),
    "refusal": (reactor(answering(8, 15), more=data(8, REFUSAL)), 400, "refused", r"no\x1b[1m!"),
    "empty-refusal": (
        reactor(answering(8, 8), more=data(8, b"wne1\0\0\0\0")),
        400,
        "refused",
        "the guest refused the request, and gave no reason",
    ),
    "no-room": (reactor(alloc="(i32.const 0)"), 500, "guest_answer", "answered 0: there is no room for"),
    "unaligned": (
        reactor(alloc="(i32.const 65537)"),
        500,
        "guest_answer",
        "65537, which is no multiple of 8",
    ),
    "alloc-outside": (
        reactor(alloc="(i32.const 131064)"),
        500,
        "guest_answer",
        "131064, and its memory ends at 131072",
    ),
    "alloc-far-outside": (reactor(alloc="(i32.const -8)"), 500, "guest_answer", "4294967288, and its memory"),
    "answer-outside": (
        reactor("(i64.const -1)"),
        500,
        "guest_answer",
        "wasinn_handle answered 4294967295 bytes at 4294967295, and its memory has 131072 bytes",
    ),
    "no-message": (
        reactor(answering(8, 20)),
        500,
        "guest_answer",
        "its answer begins with b'\\x00\\x00\\x00\\x00', and not with",
    ),
    "broken-message": (
        reactor(answering(8, 8), more=data(8, b"wnt1\x01\0\0\0")),
        500,
        "guest_answer",
        "its answer is no message: it ends in the head of tensor 0",
    ),
    "trap": (reactor("(unreachable)"), 500, "trap_unreachable", "guest it was ended: "),
    "trap-in-alloc": (reactor(alloc="(unreachable)"), 500, "trap_unreachable", "guest it was ended: "),
    "trap-at-start": (
        reactor(more='(func (export "_initialize") (unreachable))'),
        500,
        "trap_unreachable",
        "guest it was ended while it was started: ",
    ),
    "exit": (
        reactor(f"{SAY} (call $proc_exit (i32.const 3)) (unreachable)", more=SAYS),
        500,
        "guest_failed",
        r"guest it exited with code 3: the model is \x1b[31mgone",
    ),
    "exit-at-start": (
        reactor(more='(func (export "_initialize") (call $proc_exit (i32.const 0)))'),
        500,
        "guest_failed",
        "guest it exited with code 0: it wrote nothing on stderr",
    ),
    "recursion": (
        reactor("(call $deep) (i64.const 0)", more="(func $deep (call $deep) (call $deep))"),
        500,
        "trap_stack",
        "call stack is exhausted",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_reactor_that_goes_wrong(served: Models, case: str) -> None:
    guest, status, kind, words = BAD[case]
    error = served.refused(served.make(guest), floats("x", 1))
    assert (error.status, error.kind) == (status, kind)
    assert words in error.reason


def test_a_guest_that_does_not_end_is_ended(served: Models) -> None:
    """By its own deadline or by what the request has left; others are answered meanwhile."""
    slow, good = served.make(reactor(FOREVER), deadline=0.2), served.make(reactor())

    async def both() -> tuple[Any, Any]:
        request = InferRequest([floats("x", 1)])
        waiting = asyncio.ensure_future(slow.infer(request, 30))
        await asyncio.sleep(0.05)
        answer = await good.infer(request, 30)
        ended_before = waiting.done()
        with pytest.raises(ServeError) as raised:
            await waiting
        return (answer, ended_before), raised.value

    (answer, ended_before), error = served.loop.wait(both())
    assert not ended_before
    assert answer.outputs[0].name == "x"
    assert (error.status, error.kind) == (504, "deadline")
    assert error.reason == "guest it: the deadline of 0.2 s passed"
    error = served.refused(served.make(reactor(FOREVER)), deadline=0.1)
    assert error.status == 504
    error = served.refused(
        served.make(reactor(more=f'(func (export "_initialize") {FOREVER})'), deadline=0.1)
    )
    assert error.status == 504
    error = served.refused(served.make(command(FOREVER), deadline=0.1))
    assert error.status == 504


def test_a_request_that_is_given_up_ends_its_guest(served: Models) -> None:
    model = served.make(reactor(FOREVER))

    async def give_up() -> None:
        waiting = asyncio.ensure_future(model.infer(InferRequest([]), 30))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    served.loop.wait(give_up())
    assert served.infer(served.make(reactor()), floats("x", 1)).outputs[0].name == "x"


def test_memory_has_a_limit(served: Models) -> None:
    greedy = reactor(alloc="(drop (memory.grow (i32.const 100))) (unreachable)")
    error = served.refused(served.make(greedy, max_memory=1 << 20))
    assert (error.status, error.kind) == (500, "trap_memory")
    assert "memory limit of 1048576 bytes" in error.reason
    too_large = served.make(reactor(memory="100"), max_memory=1 << 20)
    error = served.refused(too_large)
    assert (error.status, error.kind) == (500, "trap_memory")
    over_the_default = reactor(alloc=f"(drop (memory.grow (i32.const {DEFAULT_MEMORY >> 16}))) (unreachable)")
    assert served.refused(served.make(over_the_default)).kind == "trap_memory"
