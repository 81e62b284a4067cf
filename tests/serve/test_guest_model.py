# SPDX-License-Identifier: Apache-2.0
"""Commands that are served, what a served guest says of itself, and what cannot be one."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wasinn
from served_guests import COPY, ECHO, Models, command, floats, reactor, saying, served_models, texts, writing
from wasinn import shipped
from wasinn.cli.main import main
from wasinn.errors import ConfigError, GuestError
from wasinn.oip.messages import InferRequest, WireTensor
from wasinn.serve.settings import DeclaredTensor

PICTURES = Path(str(shipped.resolve("@seven.png", "pictures"))).parent


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """What makes models of guests, and asks them."""
    yield from served_models(tmp_path_factory.mktemp("served"))


def test_a_command_gets_the_message_on_stdin(served: Models) -> None:
    content = os.urandom(200_000)
    model = served.make(command(COPY))
    answer = served.infer(model, WireTensor("x", "UINT8", (len(content),), content), floats("y", 1))
    assert [(each.name, bytes(each.data)) for each in answer.outputs] == [
        ("x", content),
        ("y", struct.pack("<f", 1)),
    ]


def test_what_is_no_message_is_one_tensor(served: Models) -> None:
    more, body = writing(1, b"seven\n")
    (output,) = served.infer(served.make(command(body, more)), floats("x", 1)).outputs
    assert (output.name, output.datatype, output.shape) == ("stdout", "BYTES", (1,))
    assert bytes(output.data) == b"\x06\0\0\0seven\n"
    (output,) = served.infer(served.make(command("")), floats("x", 1)).outputs
    assert bytes(output.data) == bytes(4)


def test_commands_that_go_wrong(served: Models) -> None:
    more, body = writing(2, b"one\nno luck\n")
    error = served.refused(served.make(command(f"{body} (call $proc_exit (i32.const 2))", more)))
    assert (error.status, error.kind) == (500, "guest_failed")
    assert error.reason == "guest it exited with code 2: no luck"
    error = served.refused(served.make(command("(call $proc_exit (i32.const 9))")))
    assert error.reason == "guest it exited with code 9: it wrote nothing on stderr"
    more, body = writing(1, b"wne1\x05\0\0\0wrong")
    for code in (0, 1):
        error = served.refused(served.make(command(f"{body} (call $proc_exit (i32.const {code}))", more)))
        assert (error.status, error.reason) == (400, "wrong")
    more, body = writing(1, b"wnt1\x05\0\0\0")
    error = served.refused(served.make(command(body, more)))
    assert (error.status, error.kind) == (500, "guest_answer")
    error = served.refused(served.make(command("(unreachable)")))
    assert (error.status, error.kind) == (500, "trap_unreachable")


def test_stdout_has_a_limit(served: Models, tmp_path: Path) -> None:
    more, body = writing(1, b"x" * 1000)
    with wasinn.Host(limits=wasinn.Limits(max_output=100_000)) as host:
        limited = Models(host, served.loop, tmp_path)
        error = limited.refused(limited.make(command(f"(loop $l {body} (br $l))", more)))
    assert (error.status, error.kind) == (500, "trap_output")
    assert "more than its output limit of 100000 bytes" in error.reason


@pytest.mark.parametrize("guest", ["@classify", "@classify_component"])
def test_a_command_gets_files(served: Models, guest: str, tmp_path: Path, monkeypatch: Any) -> None:
    """A guest of today, unchanged: `wasinn run @classify --tsv /request/picture` is served."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = served.make(guest, input="files", args=("--tsv", "--top", "1", "/request/picture"))
    content = (PICTURES / "seven.png").read_bytes()
    (output,) = served.infer(model, texts("picture", content)).outputs
    assert bytes(output.data)[4:].decode().split("\t")[:3] == ["/request/picture", "1", "7"]
    raw = WireTensor("picture", "UINT8", (len(content),), content)  # any datatype is a file
    (output,) = served.infer(model, raw).outputs
    assert b"\t1\t7\t" in bytes(output.data)
    error = served.refused(model, texts("other", b"x"))
    assert (error.status, error.kind) == (500, "guest_failed")
    assert "/request/picture" in error.reason
    assert not list(tmp_path.glob("wasinn-request-*"))


def test_a_large_file_and_one_that_nobody_waits_for(
    served: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = served.make("@classify", input="files", args=("--tsv", "--top", "1", "/request/picture"))
    large = texts("picture", b"P5 1500 1500 255\n" + bytes(1500 * 1500))
    (output,) = served.infer(model, large).outputs
    assert b"/request/picture\t1\t" in bytes(output.data)
    assert not list(tmp_path.iterdir())

    async def give_up() -> None:
        waiting = asyncio.ensure_future(model.infer(InferRequest([large]), 30))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        for _ in range(500):
            if not list(tmp_path.iterdir()):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the request's folder is still there")

    served.loop.wait(give_up())


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "a\0b", "x" * 256, "new\nline"])
def test_names_that_no_file_can_have(served: Models, name: str) -> None:
    error = served.refused(served.make("@classify", input="files"), texts(name, b"x"))
    assert error.status == 400
    assert "the name of" in error.reason


def test_a_file_is_of_one_element(served: Models) -> None:
    error = served.refused(served.make("@classify", input="files"), texts("p", b"x", b"y"))
    assert error.reason == "the input 'p' is of 2 elements of BYTES, and this guest reads one as a file"
    assert error.status == 400


def test_a_name_that_is_not_utf_8(served: Models) -> None:
    error = served.refused(served.make(reactor()), floats("\ud800", 1))
    assert (error.status, error.reason) == (400, r"the input's name '\ud800' is not UTF-8")


# -- what a model is --------------------------------------------------------------------------------------

INPUTS = (DeclaredTensor("x", "FP32", (-1, 2)), DeclaredTensor("n", "INT32", ()))


def test_metadata_is_what_was_declared(served: Models) -> None:
    model = served.make(reactor(), inputs=INPUTS, outputs=INPUTS[:1], description="an echo")
    assert model.metadata() == {
        "name": "it",
        "versions": ["1"],
        "platform": "wasinn_guest",
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "n", "datatype": "INT32", "shape": []},
        ],
        "outputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "guest": {"file": "guest.wasm", "form": "reactor"},
        "description": "an echo",
    }
    assert served.make("@classify", input="files").metadata()["guest"] == {
        "file": "classify.wasm",
        "form": "command",
        "input": "files",
    }
    assert served.make("@classify_component").form == "component"


def test_declared_inputs_and_outputs_are_checked(served: Models) -> None:
    model = served.make(reactor(), inputs=INPUTS, outputs=(DeclaredTensor("x", "FP32", (3, 2)),))
    n = WireTensor("n", "INT32", (), bytes(4))

    def x(*shape: int, datatype: str = "FP32") -> WireTensor:
        return WireTensor("x", datatype, shape, bytes(4 * shape[0] * (shape[1] if len(shape) > 1 else 1)))

    assert len(served.infer(model, x(3, 2), n).outputs) == 2
    for tensors, words in [
        ([x(3, 2)], "takes the input 'n' (INT32 []), and it is not in the request"),
        ([x(3, 3), n], "'x' of it is 'x' (FP32 [-1, 2]), and FP32 [3, 3] was sent"),
        ([x(6), n], "and FP32 [6] was sent"),
        ([x(3, 2, datatype="INT32"), n], "and INT32 [3, 2] was sent"),
        ([x(3, 2), n, floats("more", 1)], "has no input 'more'; it takes 'x', 'n'"),
    ]:
        error = served.refused(model, *tensors)
        assert error.status == 400
        assert words in error.reason
    error = served.refused(model, x(2, 2), n)
    assert (error.status, error.kind) == (500, "guest_answer")
    assert error.reason == "guest it answered FP32 [2, 2], and its output 'x' is 'x' (FP32 [3, 2])"
    other = served.make(reactor(), outputs=(DeclaredTensor("y", "FP32", (1,)),))
    error = served.refused(other, floats("x", 1))
    assert error.reason == "guest it answered without its output 'y' (FP32 [1]): it gave 'x'"


@pytest.mark.parametrize(
    ("guest", "words"),
    [
        (b"(module)", "it exports neither _start (a command) nor wasinn_handle (a reactor), but none"),
        (
            reactor(more='(func (export "_start"))'),
            "exports both _start and wasinn_handle: a command has only _start, and a reactor is linked with",
        ),
        (
            b'(module (memory (export "memory") 1) (func (export "wasinn_handle")))',
            "exports wasinn_handle, and not wasinn_alloc(i32) -> (i32), which must go with it",
        ),
        (
            reactor().replace(b"(result i64)", b"(result i64 i64)").replace(ECHO.encode(), b"(unreachable)"),
            "wasinn_handle is (i32, i32) -> (i64, i64), and must be (i32, i32) -> (i64)",
        ),
        (
            reactor().replace(b'(memory (export "memory") 2)', b"(memory 2)"),
            "exports no memory called 'memory'",
        ),
        (reactor().replace(b'"proc_exit"', b'"proc_exits"'), "does not link with this host"),
        ("@typed", "is a component without wasi:cli/run"),
        ("@nothing", "nothing"),
        ("/no/where.wasm", "cannot read the guest"),
    ],
    ids=["empty", "both", "no-alloc", "type", "memory", "import", "component", "shipped", "file"],
)
def test_what_cannot_be_served(served: Models, guest: bytes | str, words: str) -> None:
    with pytest.raises(GuestError) as raised:
        served.make(guest)
    assert words in str(raised.value)


def test_settings_that_do_not_fit(served: Models) -> None:
    with pytest.raises(ConfigError, match=r"is for commands; guest\.wasm exports wasinn_handle"):
        served.make(reactor(), input="files")
    with pytest.raises(ConfigError, match="no directory '/no/where'"):
        served.make(reactor(), dirs=("/no/where",))
    with tempfile.TemporaryDirectory() as folder:
        model = served.make(reactor(), dirs=(f"{folder}::/data",))
        assert served.infer(model, floats("x", 1)).outputs
    error = served.refused(model, floats("x", 1))
    assert error.status == 500
    assert "guest it: there is no directory" in error.reason


def test_stderr_goes_to_the_log_and_not_too_much_of_it(
    served: Models, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wasinn.guest")
    more, say = saying(b"line one\n\x1b[2Jline two" + b"o" * 600 + b"\n")
    model = served.make(reactor(say + ECHO, more=more))
    served.infer(model, floats("x", 1))
    first, second = (each.getMessage() for each in caplog.records)
    assert first == "it: line one"
    assert second.startswith(r"it: \x1b[2Jline twooo")
    assert len(second) < 520
    for _ in range(60):
        served.infer(model, floats("x", 1))
    assert 50 <= len(caplog.records) < 110


def test_check_knows_guests_that_are_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = tmp_path / "half.wat"
    half.write_bytes(reactor(more='(func (export "_start"))'))
    assert main(["check", "@serve", "--graph", "default=onnx:@digits"]) == 0
    assert "note: it answers requests: wasinn serve --guest NAME=FILE" in capsys.readouterr().out
    assert main(["check", str(half)]) == 0
    assert "note: wasinn serve cannot serve it: exports both _start and" in capsys.readouterr().out
