# SPDX-License-Identifier: Apache-2.0
"""Rows answered by a graph or a guest, one failure a row at most; without Ray."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

import models
import wasinn
from wasinn import shipped
from wasinn.cluster.graph_rows import GraphRows
from wasinn.cluster.guest_rows import GuestJob, GuestRows
from wasinn.cluster.summary import Summary

SEVEN = shipped.ROOT / "pictures" / "seven.png"
FLOAT = TensorProto.FLOAT


def digits(**options: Any) -> GraphRows:
    return GraphRows("digits", wasinn.GraphSource.parse("onnx:@digits_batch?threads=1"), **options)


def graph_of(model: bytes, **options: Any) -> GraphRows:
    return GraphRows("m", wasinn.GraphSource.from_bytes(model, encoding="onnx", threads=1), **options)


def test_a_picture_comes_as_a_path_a_content_or_pixels() -> None:
    from wasinn.imaging.decode import read_picture

    rows = digits(inputs="picture")
    pictures = (str(SEVEN), SEVEN.read_bytes(), read_picture(SEVEN), read_picture(SEVEN)[..., 0])
    answers = [answer for answer, failure in rows.answer([{"picture": each} for each in pictures])]
    assert [each["digit"] for each in answers] == [7, 7, 7, 7]
    assert answers[0] == answers[1] == answers[2] == answers[3]
    assert answers[0]["digit_label"] == "7"
    assert 0.9 < answers[0]["digit_score"] <= 1
    assert [column.name for column in rows.columns] == ["digit", "digit_label", "digit_score"]


@pytest.mark.parametrize("together", [1, 4])
def test_a_bad_row_costs_itself(together: int) -> None:
    rows = digits(inputs="picture", together=together)
    good = {"picture": SEVEN.read_bytes()}
    bad = [{"picture": b"no picture"}, {"picture": None}, {"picture": "/not/there.png"}]
    answers = rows.answer([good, bad[0], good, bad[1], good, good, bad[2], good])
    digit = [answer.get("digit") for answer, _ in answers]
    assert digit == [7, None, 7, None, 7, 7, None, 7]
    failures = [failure for _, failure in answers if failure is not None]
    assert [each.kind for each in failures] == ["input"] * 3
    for failure, words in zip(failures, ("of no format", "missing (null)", "/not/there.png"), strict=True):
        assert "column 'picture'" in failure.text
        assert words in failure.text


def test_rows_that_share_a_compute_keep_their_own_answers() -> None:
    pictures = sorted((shipped.ROOT / "pictures").iterdir())
    rows = [{"image": str(each)} for each in pictures]
    alone, shared = digits(decode=False), digits(decode=False, together=3)
    for (one, _), (other, _) in zip(alone.answer(rows), shared.answer(rows), strict=True):
        np.testing.assert_allclose(one["digit"], other["digit"], rtol=1e-5)


def test_a_compute_that_fails_is_done_again_row_by_row() -> None:
    # Gather refuses an index that is not there: the whole compute fails.
    node = models.helper.make_node("Gather", ["table", "x"], ["y"])
    model = models.onnx_model(
        [node],
        [("x", TensorProto.INT64, ["n"])],
        [("y", FLOAT, ["n"])],
        {"table": np.arange(4, dtype=np.float32) * 10},
    )
    rows = graph_of(model, together=8)
    answers = rows.answer([{"x": each} for each in (0, 3, 99, 1)])
    assert [None if failure else float(answer["y"][0]) for answer, failure in answers] == [0, 30, None, 10]
    assert answers[2][1] is not None
    assert answers[2][1].kind == "runtime_error"


def test_a_table_of_numbers() -> None:
    rows = graph_of(models.add((1, 2)), inputs={"a": ["p", "q"], "b": "vector"})
    assert rows.needed == ("p", "q", "vector")
    values = {"p": 1, "q": 2.5, "vector": np.array([10, 20])}  # i64 and f64, where f32 is wanted
    ((answer, failure),) = rows.answer([values])
    assert failure is None
    assert answer["sum"].tolist() == [11, 22.5]
    assert answer["difference"].tolist() == [-9, -17.5]
    ((_, missing),) = rows.answer([values | {"q": None}])
    assert missing is not None
    assert "column 'p', 'q': a value is missing" in missing.text


def test_numbers_are_not_changed_behind_anybodys_back() -> None:
    rows = graph_of(models.identity(TensorProto.UINT8, (1, 2)))
    (kept, cut, text) = rows.answer([{"x": [1, 255]}, {"x": [1, 256]}, {"x": ["a", "b"]}])
    assert kept[0]["y"].tolist() == [1, 255]
    assert cut[1] is not None
    assert "u8 cannot hold" in cut[1].text
    assert text[1] is not None
    assert "wanted are numbers" in text[1].text


def test_raw_outputs_have_their_shape_beside_them() -> None:
    rows = graph_of(models.identity(FLOAT, ("n", 2, 3)))
    assert [each.name for each in rows.columns] == ["y", "y_shape"]
    ((answer, _),) = rows.answer([{"x": np.arange(6, dtype=np.float32).reshape(2, 3)}])
    assert answer["y"].tolist() == [0, 1, 2, 3, 4, 5]
    assert answer["y_shape"].tolist() == [2, 3]


def picture_rows(folder: Path, model: bytes, contract: str) -> GraphRows:
    """A model whose input `x` is a picture of 2 by 2 pixels."""
    (folder / "m.onnx").write_bytes(model)
    taken = "[input.x]\ntype = 'f32'\nlayout = 'NCHW'\nsize = [2, 2]\nresize = 'nearest'\n"
    (folder / "m.onnx.contract.toml").write_text(taken + contract)
    return GraphRows("m", wasinn.GraphSource.from_files(folder / "m.onnx"))


def test_an_answer_that_is_not_as_the_contract_says(tmp_path: Path) -> None:
    contract = "[output.y]\nkind = 'logits'\n"
    rows = picture_rows(tmp_path, models.identity(FLOAT, (1, 3, 2, 2)), contract)
    ((answer, failure),) = rows.answer([{"x": RED_BLUE}])
    assert answer == {}
    assert failure is not None
    assert failure.kind == "contract"


#: 4 by 4 pixels: red on the left, blue on the right.
RED_BLUE = np.array([[[200, 0, 0]] * 2 + [[0, 0, 200]] * 2] * 4, np.uint8)


def test_a_mask_has_the_pictures_size(tmp_path: Path) -> None:
    rows = picture_rows(tmp_path, models.identity(FLOAT, (1, 3, 2, 2)), "[output.y]\nkind = 'mask'\n")
    ((answer, failure),) = rows.answer([{"x": RED_BLUE}])
    assert failure is None
    assert answer["y_shape"].tolist() == [4, 4]
    assert answer["y"].reshape(4, 4).tolist() == [[0, 0, 2, 2]] * 4


def test_boxes_are_in_the_pictures_pixels(tmp_path: Path) -> None:
    found = np.array([[[0, 0, 0.9, 0, 0, 0.5, 1]]], np.float32).reshape(1, 1, 1, 7)
    node = models.helper.make_node("Identity", ["found"], ["y"])
    model = models.onnx_model(
        [node], [("x", FLOAT, (1, 3, 2, 2))], [("y", FLOAT, (1, 1, 1, 7))], {"found": found}
    )
    rows = picture_rows(tmp_path, model, "[output.y]\nkind = 'boxes'\nform = 'ssd'\nlabels = ['cat']\n")
    ((answer, failure),) = rows.answer([{"x": RED_BLUE}])
    assert failure is None
    (box,) = answer["y"]
    assert box["label"] == "cat"
    assert [box[edge] for edge in ("left", "top", "right", "bottom")] == [0, 0, 2, 4]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": {"nix": "a"}}, "no input 'nix'"),
        ({"inputs": {"a": "a"}}, "wants the input 'b' as well"),
        ({"inputs": "a"}, "has 2 inputs"),
        ({"inputs": {"a": 3, "b": "b"}}, "the name of a column"),
        ({"outputs": ["nix"]}, "no output 'nix'"),
        ({"outputs": "sum"}, "a list of names"),
        ({"together": 4}, "leave out `together`"),
    ],
)
def test_a_mistake_in_an_option_is_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(wasinn.ConfigError, match=words):
        graph_of(models.add(), **options)


# -- guests ---------------------------------------------------------------------------------------------

#: Copies stdin to stdout, spins where it begins with "s" and traps where it begins with "t".
ECHO = b"""(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1024))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (if (i32.eq (i32.load8_u (i32.const 64)) (i32.const 115)) (then (loop $spin (br $spin))))
    (if (i32.eq (i32.load8_u (i32.const 64)) (i32.const 116)) (then (unreachable)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (if (i32.eq (i32.load8_u (i32.const 64)) (i32.const 120)) (then (call $exit (i32.const 3))))))"""


def test_each_row_is_a_run_of_the_guest() -> None:
    limits = wasinn.Limits(deadline=0.2)
    rows = GuestRows(GuestJob(ECHO, "echo.wasm", limits=limits, stdin="text"))
    answers = rows.answer([{"text": each} for each in ("a", "spin", "trap", "xyz", None, "b")])
    assert [answer.get("stdout") for answer, _ in answers] == ["a", "", "", "xyz", None, "b"]
    assert [answer.get("exit_code") for answer, _ in answers] == [0, None, None, 3, None, 0]
    kinds = [failure and failure.kind for _, failure in answers]
    assert kinds == [None, "deadline", "unreachable", "exit", "input", None]
    rows.close()


def test_bytes_stay_bytes() -> None:
    rows = GuestRows(GuestJob(ECHO, "echo.wasm", stdin="x", output="bytes"))
    ((numbers, _), (junk, _)) = rows.answer([{"x": np.array([1, 2], "<i2")}, {"x": b"\xff\x00"}])
    assert (numbers["stdout"], junk["stdout"]) == (b"\x01\x00\x02\x00", b"\xff\x00")
    rows.close()


def test_a_row_comes_as_arguments_and_files() -> None:
    job = GuestJob(
        (shipped.ROOT / "guests" / "classify.wasm").read_bytes(),
        "classify.wasm",
        graphs={"digits": wasinn.GraphSource.parse("onnx:@digits?threads=1")},
        args=("--name", "{graph}", "--size", "8x8", "--colour", "gray", "--top", "{top}", "--tsv", "/row/p"),
        files={"p": "bytes"},
    )
    assert job.needed == ("graph", "top", "bytes")
    rows = GuestRows(job)
    row = {"graph": "digits", "top": 1, "bytes": SEVEN.read_bytes()}
    bad = [row | {"bytes": b"junk"}, row | {"graph": b"\xff"}, row | {"top": "a\0b"}]
    answers = rows.answer([row, *bad, row])
    assert [answer.get("stdout", "")[:11] for answer, _ in answers] == [
        "/row/p\t1\t7\t",
        "",
        "",
        "",
        "/row/p\t1\t7\t",
    ]
    kinds = [failure and failure.kind for _, failure in answers]
    assert kinds == [None, "exit", "input", "input", None]
    assert "the format is not known" in answers[1][1].text  # type: ignore[union-attr]
    rows.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"args": ("{",)}, "a brace without a column"),
        ({"args": ("a{}",)}, "a brace without a column"),
        ({"files": {"../x": "a"}}, "no name of a file"),
        ({"output": "json"}, 'must be "text" or "bytes"'),
    ],
)
def test_a_mistake_in_a_guests_job_is_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(wasinn.ConfigError, match=words):
        GuestJob(ECHO, "echo", **options)


def test_braces_can_be_written() -> None:
    assert GuestJob(ECHO, "echo", args=('{{"a": {b}}}',)).needed == ("b",)


# -- rows that end the process ------------------------------------------------------------------------------

_DIES = """
    import os, sys
    from wasinn.cluster.deaths import Guarded

    class Deadly:
        columns, needed = (), ("n",)
        def answer(self, rows):
            if any(row["n"] == 3 for row in rows):
                os._exit(9)
            return [({"n": row["n"]}, None) for row in rows]

    answers = Guarded(Deadly(), sys.argv[1]).answer([{"n": n} for n in range(5)])
    print([answer.get("n") or failure and failure.kind for answer, failure in answers])
"""


def test_a_row_that_ends_its_process_is_given_up_and_costs_itself(tmp_path: Path) -> None:
    codes = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(_DIES), "test"],
            env={"TMPDIR": str(tmp_path), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        codes.append(done.returncode)
    assert codes == [9, 9, 9, 9, 0], done.stderr
    assert done.stdout.strip() == "[None, 1, 2, 'crash', 4]"
    assert list(tmp_path.iterdir()) == []


def test_the_summary_counts_by_kind() -> None:
    pairs = (
        [(None, None)] * 5 + [("exit", f"exit code 1: {n}\n\x1b[2J") for n in range(4)] + [("input", "bad")]
    )
    summary = Summary.of(pairs)
    assert (summary.rows, summary.answered, summary.failed) == (10, 5, 5)
    assert dict(summary.kinds) == {"exit": 4, "input": 1}
    text = str(summary)
    assert text.splitlines()[:2] == ["10 rows: 5 answered, 5 failed", "  exit: 4"]
    assert len(summary.examples["exit"]) == 3
    assert "\x1b" not in text
