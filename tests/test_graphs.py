# SPDX-License-Identifier: Apache-2.0
"""Graph sources in their three spellings, their options, and the policy for wrong dims."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import models
import wasinn
from conftest import MakeDriver
from wasinn import ConfigError, Encoding, GraphSource, Target, shipped
from wasinn.graphs.source import parse_named, parse_wasmedge, parse_wasmtime


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.identity())
    return path


# -- ours ---------------------------------------------------------------------------------------------


def test_a_source_is_an_encoding_and_a_path(model: Path) -> None:
    source = GraphSource.parse(f"onnx:{model}")
    assert (source.encoding, source.model.files, source.target) == (Encoding.ONNX, (model,), Target.CPU)
    assert str(source) == f"onnx:{model}"


def test_every_option_after_the_question_mark_counts(model: Path) -> None:
    source = GraphSource.parse(f"onnx:{model}?target=gpu&backend=onnxruntime&threads=2&dims=reshape")
    assert source.target is Target.GPU
    assert (source.backend, source.options.threads, source.dims) == ("onnxruntime", 2, "reshape")


def test_several_paths_are_several_files(tmp_path: Path) -> None:
    for name in ("a.xml", "a.bin"):
        (tmp_path / name).touch()
    source = GraphSource.parse(f"openvino:{tmp_path}/a.xml,{tmp_path}/a.bin")
    assert [path.name for path in source.model.files] == ["a.xml", "a.bin"]


def test_dividing_characters_in_a_path_are_written_as_in_a_url(tmp_path: Path) -> None:
    path = tmp_path / "a,b?c&d%20.onnx"
    path.write_bytes(models.identity())
    text = str(path).replace("%", "%25").replace(",", "%2C").replace("?", "%3F").replace("&", "%26")
    assert GraphSource.parse(f"onnx:{text}").model.files == (path,)


@pytest.mark.parametrize("text", ["autodetect", "auto", "ONNX", " onnx"])
def test_encodings_are_read_in_any_case(model: Path, text: str) -> None:
    expected = Encoding.AUTODETECT if "auto" in text else Encoding.ONNX
    assert GraphSource.parse(f"{text}:{model}").encoding is expected


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("@digits", "digits.onnx"),  # of those that differ in the ending alone, the ONNX one
        ("@digits.onnx", "digits.onnx"),
        ("@digits.pb", "digits.pb"),
        ("@digits_u8", "digits_u8.tflite"),
        ("@digits_saved_model", "digits_saved_model"),
    ],
)
def test_a_shipped_model_is_named_with_an_at_sign(name: str, file: str) -> None:
    (path,) = GraphSource.parse(f"onnx:{name}").model.files
    assert path == shipped.ROOT / "models" / file


def test_every_shipped_model_is_named_once_where_none_is_found() -> None:
    with pytest.raises(FileNotFoundError) as error:
        shipped.resolve("@digits.", "models")
    names = str(error.value).split("it ships: ")[1].split(", ")
    files = {path for path in (shipped.ROOT / "models").iterdir() if path.suffix not in (".md", ".toml")}
    assert sorted(shipped.resolve(name, "models") for name in names) == sorted(files)


def test_a_named_source_may_have_equals_signs_in_its_options(model: Path) -> None:
    name, source = parse_named(f"my-model=onnx:{model}?threads=3")
    assert (name, source.options.threads) == ("my-model", 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onnx:", "is not ENCODING:PATH"),
        ("", "is not ENCODING:PATH"),
        ("onx:MODEL", "unknown encoding 'onx'; known: openvino, onnx"),
        ("onnx:MODEL.no", "there is no file '.*no'"),
        ("onnx:@nonesuch", "ships no model '@nonesuch'; it ships: @digits"),
        ("onnx:MODEL?threads", "'threads' .* is not key=value"),
        ("onnx:MODEL?threads=1&threads=2", "'threads' .* is given twice"),
        ("onnx:MODEL?thread=1", "unknown graph option 'thread'; known: target, backend, threads, dims"),
        ("onnx:MODEL?threads=0", "threads must be a number from 1 to 1024, got '0'"),
        ("onnx:MODEL?threads=many", "threads must be .* got 'many'"),
        ("onnx:MODEL?target=npu", "unknown execution target 'npu'; known: cpu, gpu"),
        ("onnx:MODEL?dims=loose", 'dims must be "strict" or "reshape", got'),
    ],
)
def test_an_error_in_a_source_names_what_is_wrong(model: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GraphSource.parse(text.replace("MODEL", str(model)))


@pytest.mark.parametrize("text", ["onnx:x", "=onnx:x", ""])
def test_a_named_source_without_a_name_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="is not NAME=ENCODING:PATH"):
        parse_named(text)


def test_an_unknown_backend_is_an_error_with_the_list(model: Path) -> None:
    said = r"graph 'm': there is no backend called 'nonesuch'; known: .*onnxruntime"
    with pytest.raises(wasinn.BackendError, match=said):
        wasinn.Host(graphs={"m": f"onnx:{model}?backend=nonesuch"})


def test_a_backend_that_cannot_load_the_encoding_says_what_it_loads(model: Path) -> None:
    host = wasinn.Host(graphs={"m": f"ggml:{model}?backend=onnxruntime"})
    with pytest.raises(wasinn.WasiNNError, match="onnxruntime does not load ggml; it loads: onnx"):
        host.preload("m")


# -- the spellings of others ----------------------------------------------------------------------------


def test_wasmedge_s_preload_is_read(model: Path) -> None:
    name, source = parse_wasmedge(f"default:ONNX:AUTO:{model}")
    assert (name, source.encoding, source.target) == ("default", Encoding.ONNX, Target.AUTO)
    assert source.model.files == (model,)


@pytest.mark.parametrize("divider", [":", ","])
def test_wasmedge_s_preload_may_have_two_files(tmp_path: Path, divider: str) -> None:
    for name in ("m.xml", "m.bin"):
        (tmp_path / name).touch()
    text = f"road:OpenVINO:CPU:{tmp_path}/m.xml{divider}{tmp_path}/m.bin"
    assert [path.name for path in parse_wasmedge(text)[1].model.files] == ["m.xml", "m.bin"]


@pytest.mark.parametrize("text", ["default:ONNX:CPU", "default:ONNX:CPU:", ":ONNX:CPU:x", "x"])
def test_an_incomplete_preload_shows_the_spelling(text: str) -> None:
    with pytest.raises(ConfigError, match="is not NAME:ENCODING:TARGET:PATH"):
        parse_wasmedge(text)


def test_wasmtime_s_graph_directory_gives_the_graph_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "mobilenet"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(models.identity())
    name, source = parse_wasmtime(f"onnx::{folder}/")
    assert (name, source.model.files) == ("mobilenet", (folder / "model.onnx",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onnx:DIR", "is not ENCODING::DIRECTORY"),
        ("onnx::", "is not ENCODING::DIRECTORY"),
        ("onnx::DIR/none", "there is no directory"),
        ("onnx::DIR", "has no model.onnx"),
        ("openvino::DIR", "has no model.xml and no model.bin"),
        ("ggml::DIR", "one of: openvino, onnx, pytorch, tensorflowlite; not ggml"),
        ("x::DIR", "unknown encoding 'x'"),
    ],
)
def test_a_graph_directory_that_does_not_do_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_wasmtime(text.replace("DIR", str(tmp_path)))


# -- from Python ------------------------------------------------------------------------------------------


def test_bytes_and_files_are_sources_too(model: Path, drive: MakeDriver) -> None:
    graphs = {
        "bytes": GraphSource.from_bytes(models.identity(), encoding="onnx", threads=1),
        "files": GraphSource.from_files(model, target="cpu"),
        "text": f"onnx:{model}",
    }
    guest = drive(host=wasinn.Host(graphs=graphs))
    for name in graphs:
        context = guest.open(name)
        assert guest.set_f32(context, 0, [[4, 3, 2, 1]]) == 0
        assert guest.compute(context) == 0
        assert guest.get_f32(context, 0) == [4, 3, 2, 1]


def test_a_source_of_nothing_is_an_error() -> None:
    with pytest.raises(ConfigError, match="at least one file"):
        GraphSource.from_files()
    with pytest.raises(ConfigError, match="at least one builder"):
        GraphSource.from_bytes()
    with pytest.raises(ConfigError, match="unknown graph option 'colour'"):
        GraphSource.from_bytes(b"x", colour="red")


# -- the right bytes with the wrong dims --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "given", "taken"),
    [
        ([1, 2, 3], [6], [1, 2, 3]),
        ([1, 2, 3], [3, 2, 1], [1, 2, 3]),
        (["n", 3], [6], [2, 3]),
        ([], [1, 1], []),
    ],
)
def test_under_reshape_the_byte_count_decides(
    drive: MakeDriver,
    caplog: pytest.LogCaptureFixture,
    declared: models.Dims,
    given: list[int],
    taken: list[int],
) -> None:
    source = GraphSource.from_bytes(models.identity(TensorProto.FLOAT, declared), dims="reshape")
    guest = drive({"m": source})
    context = guest.open("m")
    values = np.arange(np.prod(given), dtype="<f4").reshape(given)
    with caplog.at_level(logging.WARNING, "wasinn.graph"):
        for _ in range(3):
            assert guest.set_f32(context, 0, values) == 0
            assert guest.compute(context) == 0
            assert guest.get_output(context, 0)[:2] == (0, values.tobytes())
    warnings = [record.getMessage() for record in caplog.records if record.name == "wasinn.graph"]
    assert len(warnings) == 1, "one warning, not one a call"
    written = [str(dims).replace(" ", "") for dims in (given, taken)]
    assert f"labelled {written[0]} are taken as {written[1]}" in warnings[0]


@pytest.mark.parametrize("count", [5, 7, 0])
def test_under_reshape_another_byte_count_is_refused(drive: MakeDriver, count: int) -> None:
    source = GraphSource.from_bytes(models.identity(TensorProto.FLOAT, [1, 6]), dims="reshape")
    guest = drive({"m": source})
    context = guest.open("m")
    assert guest.set_f32(context, 0, np.zeros(count)) == 1
    assert guest.compute(context) == 1, "nothing was kept"
    assert guest.set_input(context, 0, [1, 6], 4, bytes(24)) == 1, "the type still counts"


def test_under_reshape_what_lies_about_its_own_size_is_still_the_right_bytes(drive: MakeDriver) -> None:
    source = GraphSource.from_bytes(models.identity(TensorProto.FLOAT, [1, 6]), dims="reshape")
    guest = drive({"m": source})
    context = guest.open("m")
    data = np.arange(6, dtype="<f4").tobytes()
    assert guest.set_input(context, 0, [224, 224, 3], 1, data) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == data


def test_wrong_dims_are_refused_unless_the_operator_says_otherwise(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    guest = drive({"m": models.identity(TensorProto.FLOAT, [1, 6])})
    context = guest.open("m")
    with caplog.at_level(logging.WARNING):
        assert guest.set_f32(context, 0, np.zeros((2, 3))) == 1
    assert 'dims = "reshape"' in caplog.text


def test_a_model_without_an_encoding_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(models.identity())
    source = wasinn.GraphSource.parse(f"{path}?threads=1")
    assert (source.encoding, source.model.files) == (wasinn.Encoding.AUTODETECT, (path,))
