# SPDX-License-Identifier: Apache-2.0
"""The command line, as a person or a script uses it: a process with its own streams."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import models
from wasinn import shipped

PICTURES = shipped.ROOT / "pictures"


def wasinn(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wasinn", *map(str, arguments)]
    given = {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run(command, check=False, **given)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def add_model(tmp_path: Path) -> Path:
    path = tmp_path / "add.onnx"
    path.write_bytes(models.add())
    return path


def classify(*options: str) -> tuple[str, ...]:
    return ("@classify", "--size", "8x8", "--colour", "gray", "--tsv", "--top", "1", *options)


def test_a_guest_classifies_a_picture_with_a_graph_by_name() -> None:
    run = wasinn(
        "run",
        "--graph",
        "digits=onnx:@digits",
        "--dir",
        f"{PICTURES}::p",
        *classify("--name", "digits"),
        "p/seven.png",
    )
    assert run.returncode == 0, run.stderr
    name, rank, digit, score = run.stdout.split("\t")[:4]
    assert (name, rank, digit) == ("p/seven.png", "1", "7")
    assert float(score) > 0.9
    assert run.stderr == ""


def test_a_guest_loads_a_model_from_its_own_bytes() -> None:
    run = wasinn(
        "run",
        *("--dir", f"{PICTURES}::p", "--dir", f"{shipped.ROOT / 'models'}::m"),
        *classify("--model", "m/digits.onnx"),
        "p/three.bmp",
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\t")[2] == "3"


def test_the_spellings_of_wasmedge_and_wasmtime_work(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "model.onnx").write_bytes((shipped.ROOT / "models" / "digits.onnx").read_bytes())
    for option in (
        ("--nn-graph", f"onnx::{folder}"),
        ("--nn-preload", f"digits:ONNX:CPU:{folder}/model.onnx"),
    ):
        run = wasinn("run", *option, "--dir", f"{PICTURES}::p", *classify("--name", "digits"), "p/five.ppm")
        assert run.returncode == 0, run.stderr
        assert run.stdout.split("\t")[2] == "5"


def test_the_guests_exit_code_is_the_commands() -> None:
    for code in (0, 7, 200):
        assert wasinn("run", "@limits", "exit", str(code)).returncode == code


def test_a_trap_and_a_limit_have_exit_codes_of_their_own_and_a_reason() -> None:
    trapped = wasinn("run", "@limits", "abort")
    assert trapped.returncode == 134
    assert "unreachable" in trapped.stderr
    late = wasinn("run", "--deadline", "0.2", "@limits", "spin")
    assert late.returncode == 124
    assert "deadline of 0.2 s" in late.stderr
    large = wasinn("run", "--max-memory", "8M", "@limits", "grow")
    assert large.returncode == 124
    assert "memory limit of 8388608 bytes" in large.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("run", "nowhere.wasm"), "cannot read the guest 'nowhere.wasm'"),
        (("run", __file__), "is not a wasm module"),
        (("run", "@nothing"), "wasinn ships no guest '@nothing'; it ships: @batch, @bench, @bench_component"),
        (("run", "--graph", "x=onnx:nowhere.onnx", "@limits"), "there is no file 'nowhere.onnx'"),
        (("run", "--graph", "x", "@limits"), "is not NAME=ENCODING:PATH"),
        (("run", "--graph", "x=nonsense:@digits", "@limits"), "unknown encoding 'nonsense'"),
        (("run", "--graph", "x=onnx:@digits?threads=0", "@limits"), "threads must be a number from 1"),
        (
            ("run", "--graph", "x=onnx:@digits?speed=9", "@limits"),
            "unknown graph option 'speed'; known: target",
        ),
        (("run", "--backend", "onnx=nothing", "@limits"), "no backend called 'nothing'"),
        (("run", "--backend", "ggml=onnxruntime", "@limits"), "onnxruntime does not load ggml"),
        (("run", "--dir", "nowhere", "@limits"), "there is no directory 'nowhere'"),
        (("run", "--max-memory", "much", "@limits"), "--max-memory: 'much' is not a size"),
        (("run", "--deadline", "-1", "@limits"), "deadline must be seconds above 0"),
        (("run", "--env", "NO_SUCH_VARIABLE_HERE", "@limits"), "there is no such variable"),
        (("run", "--invoke", "nothing", "@request"), "exports no function 'nothing'; it exports: "),
        (("run", "--config", "nowhere.toml", "@limits"), "cannot read nowhere.toml"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(arguments: tuple[str, ...], reason: str) -> None:
    run = wasinn(*arguments)
    assert run.returncode == 2
    assert reason in run.stderr
    assert "Traceback" not in run.stderr


def test_the_log_on_the_terminal_says_why_a_call_failed_unless_quiet() -> None:
    arguments = classify("--name", "missing", "picture.png")
    run = wasinn("run", "--graph", "digits=onnx:@digits", *arguments)
    why = "no graph is called 'missing'; known: digits"
    logged, told = run.stderr.splitlines()
    assert logged.startswith("wasinn: classify.wasm: load_by_name(")
    assert logged.endswith(why)
    # The guest asks the host for the reason.
    assert told == f"classify: load_by_name answered not_found (8): {why}"
    quiet = wasinn("run", "--quiet", "--graph", "digits=onnx:@digits", *arguments)
    assert quiet.stderr.splitlines() == [told]


def test_trace_shows_a_line_for_each_call() -> None:
    run = wasinn(
        "run",
        *("--trace", "--graph", "digits=onnx:@digits", "--dir", f"{PICTURES}::p"),
        *classify("--name", "digits"),
        *("p/one.png", "p/two.png", "p/nine.png"),
    )
    lines = [line for line in run.stderr.splitlines() if line.startswith("wasinn: ")]
    assert len([line for line in lines if "set_input" in line]) == 3
    assert "f32 [1,1,8,8] (256 bytes)" in next(line for line in lines if "set_input" in line)
    assert "f32 [1,10] (40 bytes)" in next(line for line in lines if "get_output" in line)
    assert all("-> success" in line for line in lines)


def test_stats_count_calls_and_bytes_also_on_the_hot_path() -> None:
    names = [f"p/{path.name}" for path in sorted(PICTURES.iterdir())]
    run = wasinn(
        "run",
        *("--stats", "--graph", "digits=onnx:@digits", "--dir", f"{PICTURES}::p"),
        *classify("--name", "digits"),
        *names,
    )
    shown = dict(line.split(maxsplit=1) for line in run.stderr.splitlines())
    assert shown["calls"] == (
        "load_by_name 1, init_execution_context 1, set_input 10, compute 10, graph_metadata 1, "
        "get_output 10, finalize_execution_context 1, unload 1"
    )
    assert shown["bytes"] == "2.5 KiB in, 400 bytes out"
    assert shown["compute"].split(" in ")[1].startswith("10 computes, ")
    assert shown["runtime"].startswith("onnxruntime ")


def test_a_config_file_gives_graphs_permissions_and_limits(tmp_path: Path, add_model: Path) -> None:
    config = tmp_path / "wasinn.toml"
    config.write_text(
        '[graphs.add]\nfiles = ["add.onnx"]\npreload = true\n'
        "[permissions]\nload = false\n[limits]\ndeadline = 0.3\n"
    )
    run = wasinn("run", "--config", config, "@limits", "spin")
    assert run.returncode == 124
    refused = wasinn(
        "run", "--config", config, "--dir", f"{tmp_path}::m", *classify("--model", "m/add.onnx", "x")
    )
    assert "the permissions do not let this guest load bytes" in refused.stderr


def test_streams_are_inherited_and_the_environment_is_not() -> None:
    echo = wasinn("run", "@limits", "cat", "-", stdin=None, input="hello\n")
    assert echo.stdout == "hello\n"
    environment = {**os.environ, "SECRET": "yes", "SHOWN": "also"}
    assert "yes" not in wasinn("run", "@limits", "env", "SECRET", env=environment).stdout
    assert "also" in wasinn("run", "--env", "SHOWN", "@limits", "env", "SHOWN", env=environment).stdout
    assert "set" in wasinn("run", "--env", "SHOWN=set", "@limits", "env", "SHOWN").stdout


def test_invoke_prints_what_the_function_returns() -> None:
    run = wasinn("run", "--invoke", "alloc", "@request", "16")
    assert run.returncode == 0
    assert int(run.stdout) > 0


def test_interrupting_ends_the_guest_and_the_command() -> None:
    # Tests that run in the background of a shell inherit an interrupt that is ignored.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from wasinn.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "run", "--deadline", "60", "@limits", "spin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
        process.communicate()


def test_inspect_shows_a_model_in_text_and_json(add_model: Path) -> None:
    text = wasinn("inspect", add_model, "@digits_batch").stdout
    assert "encoding    onnx (by its content" in text
    assert "wasinn-tests" in text
    assert "0  a  f32  [1,4]  16 bytes" in text
    assert "[?,1,8,8]" in text
    digits, batch = json.loads(wasinn("inspect", "--json", "@digits", "@digits_batch").stdout)
    assert digits["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8]}]
    assert batch["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]
    assert digits["encoding"] == "onnx"
    assert digits["label"]["opsets"] == {"ai.onnx": 17}


def test_inspect_says_what_it_cannot_read_and_shows_the_rest(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model at all")
    run = wasinn("inspect", broken, "@digits", tmp_path / "missing.onnx")
    assert run.returncode == 1
    assert "this is text, not a model" in run.stdout
    assert "there is no file" in run.stdout
    assert "probabilities" in run.stdout


def test_backends_lists_what_is_installed() -> None:
    assert "onnxruntime" in wasinn("backends").stdout
    (found,) = [
        each for each in json.loads(wasinn("backends", "--json").stdout) if each["name"] == "onnxruntime"
    ]
    assert found["encodings"] == ["onnx"]
    assert found["installed"] is (found["version"] is not None)
