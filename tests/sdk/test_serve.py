# SPDX-License-Identifier: Apache-2.0
"""Guests that are served, in every language: the classifier, messages that come back, and damaged ones."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

import component_python
import wasinn
from conftest import require_backend
from sdk.answers import FILES, PICTURES, Answer, assert_same, host_answers
from sdk.languages import LANGUAGES, Language
from wasinn.oip.datatypes import unpack_bytes
from wasinn.oip.messages import DATATYPES, InferRequest, WireTensor
from wasinn.serve.errors import ServeError
from wasinn.serve.guest_messages import MessageError, Refusal, decode, encode
from wasinn.serve.guest_model import ServedGuest
from wasinn.serve.settings import GuestSource, Settings

#: The others are called by their exports.
COMMANDS = ("python",)


@dataclass
class Serving:
    """The guests of a language as models of a host."""

    host: wasinn.Host
    runner: asyncio.Runner
    language: Language

    def model(self, name: str, *args: str) -> ServedGuest:
        guest, first = self.language.command(name)
        settings = Settings(deadline=self.language.deadline)
        return ServedGuest("it", GuestSource(str(guest), (*first, *args)), self.host, settings)

    def ask(self, guest: ServedGuest, *tensors: WireTensor) -> dict[str, WireTensor]:
        answer = self.runner.run(guest.infer(InferRequest(tensors), 300))
        return {each.name: each for each in answer.outputs}

    def refused(self, guest: ServedGuest, *tensors: WireTensor) -> ServeError:
        with pytest.raises(ServeError) as raised:
            self.ask(guest, *tensors)
        return raised.value


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def host() -> Iterator[wasinn.Host]:
    require_backend("onnxruntime")
    with wasinn.Host({"default": "onnx:@digits?backend=onnxruntime&threads=1"}) as host:
        yield host


@pytest.fixture
def serving(host: wasinn.Host, runner: asyncio.Runner, language: Language) -> Serving:
    return Serving(host, runner, language)


def texts(name: str, *elements: bytes, shape: tuple[int, ...] | None = None) -> WireTensor:
    content = b"".join(struct.pack("<I", len(each)) + each for each in elements)
    return WireTensor(name, "BYTES", (len(elements),) if shape is None else shape, content)


def image(name: str) -> bytes:
    return (PICTURES / name).read_bytes()


def test_pictures_get_the_classes_that_the_host_gives_them(serving: Serving) -> None:
    files = FILES[6:9]
    top = WireTensor("top", "INT32", (1,), struct.pack("<i", 3))
    answer = serving.ask(serving.model("serve"), top, texts("image", *map(image, files)))
    assert [(each.name, each.datatype, each.shape) for each in answer.values()] == [
        ("scores", "FP32", (3, 3)),
        ("classes", "INT32", (3, 3)),
        ("labels", "BYTES", (3, 3)),
    ]
    rows = zip(
        struct.unpack("<9i", answer["classes"].data),
        struct.unpack("<9f", answer["scores"].data),
        [each.decode() for each in unpack_bytes(answer["labels"].data)],
        strict=True,
    )
    cells = [Answer(*each) for each in rows]
    found = {name: cells[3 * at : 3 * at + 3] for at, name in enumerate(files)}
    source = wasinn.GraphSource.parse("onnx:@digits?backend=onnxruntime&threads=1")
    assert_same(found, host_answers(source, {name: PICTURES / name for name in files}, 3)[0])


def test_pixels_are_a_picture_too(serving: Serving) -> None:
    guest = serving.model("serve")
    pixels = bytes(3 * 40) + bytes(range(3 * 40))
    file = b"P6 10 8 255\n" + pixels
    answers = [
        serving.ask(guest, each)
        for each in (WireTensor("image", "UINT8", (8, 10, 3), pixels), texts("image", file, shape=(1, 1)))
    ]
    assert [bytes(each.data) for each in answers[0].values()] == [
        bytes(each.data) for each in answers[1].values()
    ]
    assert answers[0]["scores"].shape == (1, 5)


def test_requests_that_are_refused(serving: Serving) -> None:
    guest = serving.model("serve")
    seven = texts("image", image("seven.png"))
    for tensors, words in [
        ([], "the request has no input 'image'; it has none"),
        ([texts("picture", b"")], "the request has no input 'image'; it has 'picture'"),
        ([texts("image", image("seven.png"), b"?")], "picture 1: the format is not known"),
        ([texts("image", image("seven.png")[:-60])], "picture 0: "),
        ([texts("image")], "the input 'image' is BYTES [0], and must be UINT8 [height,width,3] or files"),
        ([WireTensor("image", "FP32", (1,), bytes(4))], "the input 'image' is FP32 [1], and must be UINT8"),
        ([seven, WireTensor("top", "FP32", (1,), bytes(4))], "the input 'top' is FP32, and must be INT32"),
        ([seven, WireTensor("top", "INT32", (1,), bytes(4))], "must be one number of 1 or more"),
        ([seven, WireTensor("top", "INT32", (2,), bytes(8))], "must be one number of 1 or more"),
        ([seven, texts("bottom", b"")], "the inputs are 'image' and 'top' (INT32 [1]), not 'bottom' (BYTES)"),
    ]:
        error = serving.refused(guest, *tensors)
        assert (error.status, error.kind) == (400, "refused"), error.reason
        assert words in error.reason.replace('"', "'")


def test_a_model_that_is_not_there_is_the_guests_failure(serving: Serving) -> None:
    error = serving.refused(serving.model("serve", "nowhere"), texts("image", image("seven.png")))
    assert (error.status, error.kind) == (500, "guest_failed")
    assert "no graph is called 'nowhere'" in error.reason


def test_every_tensor_comes_back_as_it_went(serving: Serving) -> None:
    """Through what each SDK reads a request and writes an answer with, in a command."""
    random.seed(4)
    sent = []
    for datatype, size in DATATYPES.items():
        for number, shape in enumerate([(), (3,), (2, 1, 3), (0, 4)]):
            count = 1
            for dim in shape:
                count *= dim
            name = f"{datatype}-{number}" + "ü" * number
            if size is None:
                elements = [random.randbytes(random.randrange(9)) for _ in range(count)]
                sent.append(texts(name, *elements, shape=shape))
            else:
                sent.append(WireTensor(name, datatype, shape, random.randbytes(count * size)))
    large = random.randbytes(1_000_003)
    sent += [WireTensor("wanted", "UINT8", (len(large),), large), texts("text", large)]
    answer = serving.ask(serving.model("echo"), *sent)
    assert [(each.name, each.datatype, each.shape) for each in answer.values()] == [
        (each.name, each.datatype, each.shape) for each in sent
    ]
    assert all(bytes(mine.data) == other.data for mine, other in zip(answer.values(), sent, strict=True))


def test_a_command_refuses_and_fails(serving: Serving) -> None:
    guest = serving.model("echo")
    error = serving.refused(guest, texts("a", b""))
    assert (error.status, error.reason) == (400, "the request has no input 'wanted'; it has 'a'")
    error = serving.refused(guest, texts("fail", b""), texts("wanted", b""))
    assert (error.status, error.kind) == (500, "guest_failed")
    assert "it failed as it was asked to" in error.reason
    assert serving.ask(guest, texts("wanted", b""))["wanted"].shape == (1,)


REACTORS = [each for each in LANGUAGES if each.name not in COMMANDS]


@pytest.mark.parametrize("reactor", REACTORS, ids=str)
def test_a_damaged_message_harms_nobody(host: wasinn.Host, reactor: Language) -> None:
    """The server sends none; whatever is in a guest's memory is answered, refused or failed: no trap."""
    reactor.require()
    guest = host.guest(reactor.command("serve")[0])
    rounds = random.Random(5)
    good = b"".join(
        encode([texts("image", image("seven.png")), WireTensor("top", "INT32", (1,), b"\1\0\0\0")])[0]
    )
    for _ in range(60):
        message = bytearray(good)
        for _ in range(rounds.randrange(4)):
            message[rounds.randrange(min(len(message), 120))] = rounds.choice((0, 1, 8, 127, 128, 255))
        if rounds.random() < 0.3:
            message = message[: rounds.randrange(len(message))]
        with host.instantiate(guest) as instance:
            place = instance.call("wasinn_alloc", len(message))
            instance.memory[place : place + len(message)] = message
            packed = instance.call("wasinn_handle", place, len(message))
            if packed:
                start, size = packed >> 32 & 0xFFFFFFFF, packed & 0xFFFFFFFF
                with suppress(Refusal):
                    decode(bytes(instance.memory[start : start + size]))
            else:
                assert instance.stderr


def test_the_python_sdk_reads_damaged_messages_as_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(component_python.SDK))
    import wasinn_guest
    from wasinn_guest import serve as sdk_name

    assert callable(sdk_name)
    from wasinn_guest.serve import encode as write_answer  # type: ignore[attr-defined]
    from wasinn_guest.serve import respond  # type: ignore[attr-defined]

    rounds = random.Random(6)
    good = b"".join(encode([texts("s", b"ab", b""), WireTensor("x", "FP32", (2,), bytes(8))])[0])
    assert respond(lambda request: {"x": request.tensor("x")}, good)[:4] == b"wnt1"
    for _ in range(2000):
        message = bytearray(good)
        for _ in range(rounds.randrange(3)):
            message[rounds.randrange(len(message))] = rounds.choice((0, 1, 8, 127, 128, 255))
        try:
            tensors = decode(bytes(message))
        except (MessageError, Refusal):
            continue  # the server's reading of answers is stricter in places
        request = wasinn_guest.Request(bytes(message))
        assert {each.name: (each.datatype, each.shape, bytes(each.data)) for each in tensors} == {
            name: (each.datatype, each.dims, bytes(each.data)) for name, each in request.inputs.items()
        }
    for cut in range(len(good)):
        with pytest.raises(wasinn_guest.Refusal, match=r"cut off|no message"):
            wasinn_guest.Request(good[:cut])
    assert write_answer({}) == b"wnt1\0\0\0\0"
