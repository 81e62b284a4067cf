# SPDX-License-Identifier: Apache-2.0
"""Graphs and guests over the rows of a Ray dataset, with actors that are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wasinn
from wasinn import shipped

if not os.environ.get("WASINN_REQUIRE_BACKENDS"):  # where nothing may be missing, it fails to be imported
    pytest.importorskip("ray", reason='Ray is not installed: pip install "wasinn[ray]"')
    pytest.importorskip("ray.data", reason='Ray Data is not installed: pip install "wasinn[ray]"')

import ray
import ray.data

from wasinn.cluster.ray import infer, run, summarize

PICTURES = sorted((shipped.ROOT / "pictures").iterdir())
DIGITS = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
DIGITS["nine"] = 9
CLASSIFY = ("--name", "digits", "--size", "8x8", "--colour", "gray", "--top", "1", "--tsv", "/row/picture")


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def test_every_row_is_answered_once_though_an_actor_is_killed(tmp_path: Path) -> None:
    """2000 pictures, two actors. One of the pictures is a pipe: the actor that reads it waits, in the middle
    of its task, until it is killed."""
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    rows: list[dict[str, Any]] = []
    for n in range(2000):
        path = PICTURES[n % len(PICTURES)]
        rows.append({"n": n, "path": str(path), "right": DIGITS[path.stem]})
    rows[700] = {"n": 700, "path": str(pipe), "right": 7}
    killed: list[int] = []
    killer = threading.Thread(target=_kill_the_reader, args=(pipe, killed))
    killer.start()
    dataset = ray.data.from_items(rows, override_num_blocks=20)
    answers = infer(dataset, "onnx:@digits", inputs="path", actors=2, cpus=0.5).materialize()
    killer.join(60)
    assert len(killed) == 1
    found = answers.take_all()
    assert sorted(row["n"] for row in found) == list(range(2000))
    assert [row for row in found if row["error"] or row["digit"] != row["right"]] == []
    assert str(summarize(answers)) == "2000 rows: 2000 answered, 0 failed"


def _kill_the_reader(pipe: Path, killed: list[int]) -> None:
    """Kills the process that reads the pipe, once one does, and puts a picture in its place."""
    for _ in range(6000):
        with contextlib.suppress(OSError):  # nobody reads it yet
            writing = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            break
        time.sleep(0.01)
    else:
        return
    readers: list[int] = []
    while not readers:
        readers = [int(each.name) for each in Path("/proc").iterdir() if _reads(each, pipe)]
    picture = pipe.with_suffix(".new")
    picture.write_bytes((shipped.ROOT / "pictures" / "seven.png").read_bytes())
    picture.replace(pipe)
    for reader in readers:
        os.kill(reader, signal.SIGKILL)
        killed.append(reader)
    os.close(writing)


def _reads(process: Path, pipe: Path) -> bool:
    """Whether it is another process than this one, with the pipe open."""
    with contextlib.suppress(OSError):
        if process.name.isdecimal() and int(process.name) != os.getpid():
            return any(os.readlink(each) == str(pipe) for each in (process / "fd").iterdir())
    return False


def test_a_guest_over_rows_and_failures_by_row(tmp_path: Path) -> None:
    rows = [{"name": each.stem, "content": each.read_bytes()} for each in PICTURES]
    # A block of nothing but failures has the same columns as the others.
    rows += [{"name": f"bad{n}", "content": b"no picture"} for n in range(5)]
    dataset = ray.data.from_items(rows, override_num_blocks=3)
    answers = run(
        dataset,
        "@classify",
        graphs={"digits": "onnx:@digits"},
        args=CLASSIFY,
        files={"picture": "content"},
        keep=["name"],
        batch_size=4,
    )
    answers.write_parquet(str(tmp_path / "answers"))
    written = ray.data.read_parquet(str(tmp_path / "answers"))
    assert written.columns() == ["name", "exit_code", "stdout", "stderr", "error", "error_kind"]
    for row in written.take_all():
        if row["name"] in DIGITS:
            assert int(row["stdout"].split("\t")[2]) == DIGITS[row["name"]]
            assert (row["exit_code"], row["error"], row["error_kind"]) == (0, None, None)
        else:
            assert (row["exit_code"], row["error_kind"]) == (1, "exit")
            assert "the format is not known" in row["error"]
    summary = summarize(written)
    assert (summary.rows, summary.failed, dict(summary.kinds)) == (15, 5, {"exit": 5})


def test_what_no_row_is_to_blame_for_ends_the_job_with_its_reason() -> None:
    junk = wasinn.GraphSource.from_bytes(b"junk", encoding="onnx")
    dataset = ray.data.from_items([{"x": 1.0}])
    with pytest.raises(
        ray.exceptions.RayTaskError, match="invalid_encoding: graph 'graph': this is not an ONNX"
    ):
        infer(dataset, junk, inputs="x").materialize()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda rows: infer(rows, "onnx:/not/there.onnx"), "there is no file"),
        (lambda rows: infer(rows, "onnx:@digits", keep=["nix"]), "no column 'nix'; they have: x, error"),
        (lambda rows: infer(rows, "onnx:@digits", keep="x"), "keep is a list of columns"),
        (lambda rows: infer(rows, "onnx:@digits", actors=0), "actors is a number from 1"),
        (lambda rows: infer(rows, "onnx:@digits", actors=(3, 2)), "the least comes first"),
        (lambda rows: infer(rows, "onnx:@digits", together=0), "together is a number of rows"),
        (lambda rows: infer([1, 2], "onnx:@digits"), "a ray.data.Dataset is wanted"),
        (
            lambda rows: run(rows, "@infer", args=["{nix}"], keep=["x"]),
            "no column 'nix'; they have: x, error",
        ),
        (lambda rows: run(rows, "@infer"), "a column 'error' already; give prefix="),
        (lambda rows: run(rows, "@infer", args="-v"), "args is a list of texts"),
        (lambda rows: run(rows, "@infer", dirs=["/not/there"], keep=[]), "there is no directory"),
    ],
)
def test_a_mistake_in_an_option_is_told_before_anything_runs(make: Any, words: str) -> None:
    rows = ray.data.from_items([{"x": 1.0, "error": "old"}]).materialize()
    with pytest.raises(wasinn.ConfigError, match=words):
        make(rows)


def test_actors_that_leave_no_core_are_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = ray.data.from_items([{"x": 1.0}])

    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "wasinn.cluster"]

    infer(rows, "onnx:@digits", inputs="x", actors=2, cpus=0.5)
    assert said() == []
    infer(rows, "onnx:@digits", inputs="x", actors=2)
    (message,) = said()
    assert message.startswith("2 actors of 1 CPUs take all 2 CPUs of the cluster")


def test_what_is_no_guest_is_told_before_anything_runs() -> None:
    rows = ray.data.from_items([{"x": 1.0}])
    with pytest.raises(wasinn.GuestError, match="not a wasm module"):
        run(rows, b"junk")
    with pytest.raises(wasinn.GuestError, match="cannot read the guest /not/there"):
        run(rows, "/not/there.wasm")
