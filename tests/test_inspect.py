# SPDX-License-Identifier: Apache-2.0
"""`wasinn inspect` and the metadata JSON: what a model is, takes and gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import TensorProto, helper

import models
from test_detect import IR, SHIPPED, graph_def, saved_model, zip_of
from wasinn.backends.base import BackendInfo
from wasinn.backends.lookup import all_backends
from wasinn.cli import backends
from wasinn.cli.main import main
from wasinn.graphs.loader import Loader
from wasinn.graphs.metadata import metadata
from wasinn.graphs.source import GraphSource
from wasinn.spec import Encoding, Target

Inspect = Callable[..., str]


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str]) -> Inspect:
    """Runs the command, and gives what it wrote. `fails`: with the exit code for a model that cannot be
    loaded."""

    def run(*arguments: object, fails: bool = False) -> str:
        assert main(["inspect", *map(str, arguments)]) == int(fails)
        return capsys.readouterr().out

    return run


def installed(name: str) -> bool:
    return any(each.name == name and each.version() for each in all_backends())


def test_a_model_in_text(inspect: Inspect) -> None:
    lines = inspect("@digits").splitlines()
    assert lines[0] == "@digits"
    rows = [" ".join(line.split()) for line in lines]
    assert "encoding onnx (by its content: a protobuf that reads as a ModelProto)" in rows
    assert "written by wasinn" in rows
    assert "opsets ai.onnx 17" in rows
    assert "0 image f32 [1,1,8,8] 256 bytes" in rows
    assert "0 probabilities f32 [1,10] 40 bytes" in rows


def test_a_model_in_json(inspect: Inspect) -> None:
    (report,) = json.loads(inspect("--json", "@digits"))
    assert report["name"] == "@digits"
    assert report["platform"] == "onnxruntime"
    assert report["encoding"] == "onnx"
    assert report["label"]["producer"] == "wasinn"
    assert report["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8]}]
    assert report["bytes"] == (SHIPPED / "digits.onnx").stat().st_size


def test_a_backend_other_than_the_default_one(inspect: Inspect) -> None:
    if not installed("tract"):
        pytest.skip("tract is not installed")
    text = inspect("--backend", "tract", "@digits")
    assert "loaded by" in text
    assert json.loads(inspect("--json", "--backend", "tract", "@digits"))[0]["platform"] == "tract"


def test_a_backend_that_does_not_load_it(inspect: Inspect) -> None:
    text = inspect("--backend", "nothing", "@digits", fails=True)
    assert "there is no backend called 'nothing'; known:" in text
    assert "written by" in text


def test_quantization_is_shown(inspect: Inspect) -> None:
    if not installed("litert"):
        pytest.skip("ai-edge-litert is not installed")
    path = SHIPPED / "digits_u8.tflite"
    text = inspect(path)
    assert "scale " in text
    assert "zero point" in text
    (report,) = json.loads(inspect("--json", path))
    quantization = report["inputs"][0]["quantization"]
    assert set(quantization) == {"scale", "zero_point"}


def test_a_directory_has_the_size_of_all_its_files(inspect: Inspect, tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(saved_model())
    (tmp_path / "variables" / "variables.index").write_bytes(bytes(5000))
    text = inspect(tmp_path, fails=True)  # it is no whole model
    assert "tensorflow (by its content: a directory with saved_model.pb)" in text
    assert "TensorFlow 2.21.0" in text
    assert "5.0 KiB" in text
    assert "cannot be loaded: " in text


def test_what_cannot_be_loaded_shows_what_is_known(inspect: Inspect, tmp_path: Path) -> None:
    contents = {
        "checkpoint": (zip_of("m/data.pkl", "m/version"), "PyTorch checkpoint"),
        "other": (b"not a model at all", "this is text, not a model"),
        "empty": (b"", "the model is empty"),
        "graph": (graph_def(), "nodes"),
    }
    for name, (content, _) in contents.items():
        (tmp_path / name).write_bytes(content)
    text = inspect(*(tmp_path / name for name in contents), tmp_path / "gone", "@digits", fails=True)
    for _, words in contents.values():
        assert words in text
    assert "there is no file" in text
    assert "probabilities" in text


def test_weights_that_lie_beside_an_ir_are_pointed_to(inspect: Inspect, tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_bytes(IR + b"<layers>")
    assert "are its weights in" not in inspect(tmp_path / "m.xml", fails=True)
    (tmp_path / "m.bin").write_bytes(bytes(10))
    text = inspect(tmp_path / "m.xml", fails=True)
    assert f"are its weights in m.bin? Then give both: {tmp_path}/m.xml,{tmp_path}/m.bin" in text
    assert "wrong order" in inspect(f"{tmp_path}/m.bin,{tmp_path}/m.xml", fails=True)


def test_names_in_a_model_do_not_reach_the_terminal_as_they_are(inspect: Inspect, tmp_path: Path) -> None:
    evil = "x\x1b]0;owned\x07\n\u202e"
    port = (evil, TensorProto.FLOAT, [1])
    model = models.onnx_model([helper.make_node("Identity", [evil], ["y"])], [port], [("y", *port[1:])])
    path = tmp_path / "evil\x1b[2J.onnx"
    path.write_bytes(model + b"\x12\x05a\x1b[2J")
    for line in inspect(path).splitlines():
        assert line.isprintable()
    shutil.copy(path, tmp_path / "cut\x07")
    (tmp_path / "cut\x07").write_bytes(model[:-20])
    for line in inspect(tmp_path / "cut\x07", fails=True).splitlines():
        assert line.isprintable()


def test_metadata_has_the_label_where_it_is_given() -> None:
    loaded = Loader().load(GraphSource.parse("@digits"))
    assert set(metadata("m", "b", loaded.graph)) == {"name", "platform", "inputs", "outputs"}
    found = metadata("m", "b", loaded.graph, {"producer": "me"})
    assert found["label"] == {"producer": "me"}
    assert json.loads(json.dumps(found)) == found


def test_backends_has_a_line_for_each_target() -> None:
    devices = {Target.CPU: "a processor", Target.GPU: "a card"}
    two = BackendInfo("two", (Encoding.ONNX, Encoding.OPENVINO), True, "1.0", devices, "pip install two")
    none_here = BackendInfo("idle", (), True, "2.0", {}, "pip install idle")
    missing = BackendInfo("gone", (), False, None, {}, "pip install gone")
    assert backends.as_table([two, none_here, missing]).splitlines() == [
        "backend  version  encodings       targets",
        "two      1.0      onnx, openvino  cpu (a processor)",
        "                                  gpu (a card)",
        "idle     2.0                      none on this machine",
        "gone     -                        not installed: pip install gone",
    ]
