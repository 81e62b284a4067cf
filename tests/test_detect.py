# SPDX-License-Identifier: Apache-2.0
"""Which encoding a model is: told by its content, never by its name."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
from conftest import MakeDriver
from wasinn import Encoding, WasiNNError, shipped
from wasinn.backends.base import Model
from wasinn.graphs import labels
from wasinn.graphs.detect import candidates, detect
from wasinn.graphs.loader import Loader
from wasinn.graphs.source import GraphSource
from wasinn.leb128 import write_unsigned

INVALID_ENCODING = 2
SHIPPED = shipped.ROOT / "models"


def zip_of(*names: str, content: str = "x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


def big_model() -> bytes:
    """A model whose weights reach far beyond the part that is looked at."""
    node = helper.make_node("Add", ["x", "w"], ["y"])
    port = TensorProto.FLOAT, [65536]
    weights = {"w": np.ones(65536, "f4")}
    return models.onnx_model([node], [("x", *port)], [("y", *port)], weights)


def field(number: int, content: bytes | int) -> bytes:
    """A protobuf field; numbers and lengths up to 127 take one byte."""
    if isinstance(content, int):
        return bytes((number << 3, content))
    length = len(content)
    return bytes((number << 3 | 2, length & 0x7F | 0x80, length >> 7)) + content


def graph_def(nodes: int = 2) -> bytes:
    """A TensorFlow GraphDef of placeholders."""
    node = field(1, field(1, b"x") + field(2, b"Placeholder"))
    return node * nodes + field(4, field(1, 100))


def saved_model() -> bytes:
    about = field(4, b"serve") + field(5, b"2.21.0")
    signature = field(1, b"serving_default") + field(2, b"")
    return field(1, 1) + field(2, field(1, about) + field(2, graph_def()) + field(5, signature))


IR = b'<?xml version="1.0"?>\n<net name="m" version="11">\n'

KNOWN = {
    "small onnx": (Encoding.ONNX, (models.identity(),)),
    "big onnx": (Encoding.ONNX, (big_model(),)),
    "onnx with a loop": (Encoding.ONNX, (models.slow(3),)),
    "onnx without nodes": (Encoding.ONNX, (field(1, 8) + field(7, field(12, field(1, b"y"))),)),
    "onnx of the future": (Encoding.ONNX, (models.identity() + b"\xc2\x3e\x01x",)),
    "tflite": (Encoding.TENSORFLOWLITE, (b"\x1c\0\0\0TFL3" + bytes(100),)),
    "gguf": (Encoding.GGML, (b"GGUF\3\0\0\0" + bytes(100),)),
    "gguf, big-endian": (Encoding.GGML, (b"GGUF\0\0\0\3" + bytes(100),)),
    "openvino": (Encoding.OPENVINO, (IR, bytes(64))),
    "openvino, no weights": (Encoding.OPENVINO, (b'\xef\xbb\xbf<net name="m">',)),
    "openvino, weights that look like an IR": (Encoding.OPENVINO, (IR, IR)),
    "openvino, a comment first": (Encoding.OPENVINO, (b"<!-- ours -->\n<net name='m'>",)),
    "torchscript": (Encoding.PYTORCH, (zip_of("m/data.pkl", "m/code/__torch__.py"),)),
    "torchscript, weights first": (
        Encoding.PYTORCH,
        (zip_of("m/data/0", "m/data.pkl", "m/constants.pkl", content="0" * 100_000),),
    ),
    "exported program": (Encoding.PYTORCH, (zip_of("m/archive_format", "m/models/model.json"),)),
    "exported program before 2.7": (
        Encoding.PYTORCH,
        (zip_of("version", "serialized_exported_program.json"),),
    ),
    "graph_def": (Encoding.TENSORFLOW, (graph_def(),)),
    "graph_def of many nodes": (Encoding.TENSORFLOW, (graph_def(10_000),)),
    # A length of 123 is "{" to whoever takes it for JSON.
    "graph_def like text": (
        Encoding.TENSORFLOW,
        (b"\x0a\x7b\x0a\x5d" + b"n" * 93 + b"\x12\x02Op\x22\x16" + b"d" * 22,),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("as_files", [False, True], ids=["bytes", "files"])
def test_the_content_says_the_encoding(tmp_path: Path, name: str, as_files: bool) -> None:
    encoding, builders = KNOWN[name]
    model = Model(builders=builders)
    if as_files:
        paths = [tmp_path / str(index) for index in range(len(builders))]
        for path, content in zip(paths, builders, strict=True):
            path.write_bytes(content)
        model = Model(files=tuple(paths))
    assert detect(model) is encoding


@pytest.mark.parametrize(
    ("names", "encoding"),
    [
        (["digits.onnx"], Encoding.ONNX),
        (["digits_batch.onnx"], Encoding.ONNX),
        (["digits.xml", "digits.bin"], Encoding.OPENVINO),
        (["digits.tflite"], Encoding.TENSORFLOWLITE),
        (["digits_u8.tflite"], Encoding.TENSORFLOWLITE),
        (["digits_i8.tflite"], Encoding.TENSORFLOWLITE),
        (["digits.pt"], Encoding.PYTORCH),
        (["digits.pt2"], Encoding.PYTORCH),
        (["digits.pb"], Encoding.TENSORFLOW),
        (["digits_saved_model"], Encoding.TENSORFLOW),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_models_that_are_shipped(names: list[str], encoding: Encoding) -> None:
    files = tuple(SHIPPED / name for name in names)
    assert detect(Model(files=files)) is encoding
    if files[0].is_file():
        assert detect(Model(builders=tuple(path.read_bytes() for path in files))) is encoding


@pytest.mark.parametrize("name", ["model.tflite", "model", "model.xml", "model.gguf", "a.png"])
def test_the_name_of_a_file_says_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((SHIPPED / "digits.onnx").read_bytes())
    source = GraphSource.parse(f"autodetect:{path}")
    assert Loader().load(source).encoding is Encoding.ONNX


def test_a_guest_may_leave_the_encoding_to_the_host(drive: MakeDriver) -> None:
    guest = drive()
    assert guest.load(models.identity(), encoding=Encoding.AUTODETECT) == (0, 0)
    assert guest.load(b"nonsense", encoding=Encoding.AUTODETECT)[0] == INVALID_ENCODING


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("encoding", [Encoding.ONNX, Encoding.AUTODETECT])
@pytest.mark.parametrize("make", [models.identity, big_model], ids=["small", "big"])
def test_a_truncated_model_is_found_at_load(
    drive: MakeDriver, kept: float, encoding: Encoding, make: object
) -> None:
    model = make()  # type: ignore[operator]
    code, _ = drive().load(model[: int(len(model) * kept)], encoding=encoding)
    assert code in (INVALID_ENCODING, 5)


SAFETENSORS = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()

#: What is no model, and words of the error.
REFUSED: dict[str, tuple[tuple[bytes, ...], str]] = {
    "keras": ((zip_of("metadata.json", "config.json", "model.weights.h5"),), "Keras model .*export"),
    "hdf5": ((b"\x89HDF\r\n\x1a\n" + bytes(50),), "HDF5"),
    "safetensors": ((len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS + bytes(4),), "safetensors"),
    "checkpoint": ((zip_of("m/data.pkl", "m/version", "m/data/0"),), r"torch\.save.*torch\.export"),
    "old checkpoint": (
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",),
        r"before 1\.6.*torch\.export",
    ),
    "pickle": ((pickle.dumps({"a": 1}),), "pickle"),
    "aoti": ((zip_of("m/archive_format", "m/data/aotinductor/model/a.so"),), "AOTInductor"),
    "ort": ((b"\x1c\0\0\0ORTM" + bytes(20),), r"\.onnx that it was made from"),
    "pte": ((b"\x1c\0\0\0ET12" + bytes(20),), "ExecuTorch"),
    "ggml before gguf": ((b"tjgg\3\0\0\0" + bytes(20),), "before GGUF"),
    "core ml": ((field(1, 4) + field(2, b"") + b"\xa2\x1f\0",), "Core ML"),
    "saved_model.pb": ((saved_model(),), "give its directory"),
    "git lfs": ((b"version https://git-lfs.github.com/spec/v1\noid sha256:0",), "git lfs pull"),
    "html": ((b"\n<!DOCTYPE html>\n<html>",), "web page"),
    "html without a type": ((b"<html><body>Not found</body></html>",), "web page"),
    "xml": ((b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",), "no OpenVINO model"),
    "json": ((b'{"a": 1}',), "JSON"),
    "tensorflow.js": ((b'{"format": "graph-model", "modelTopology": {}}',), r"TensorFlow\.js"),
    "graph as text": ((b'node {\n  name: "x"\n',), "TensorFlow graph as text"),
    "onnx as text": ((b"ir_version: 8\ngraph {\n",), "ONNX model as text"),
    "wasm": ((b"\0asm\1\0\0\0",), "a guest"),
    "gzip": ((gzip.compress(b"model"),), "gzip archive: unpack"),
    "zip": ((zip_of("word/document.xml"),), "a zip archive: unpack"),
    "zip, cut": ((zip_of("m/data.pkl", "m/code/a.py")[:60],), "cut short"),
    "onnx, cut": ((big_model()[:1000],), r"ONNX model that is cut short: it says .* 26\d+ bytes.* 1000"),
    "graph_def, cut": ((graph_def()[:-2],), "TensorFlow graph that is cut short"),
    "swapped": ((b"\1\2\3", IR), "wrong order: first the XML"),
    "swapped, like onnx": ((models.identity(), IR), "wrong order"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_is_named_with_the_way_to_one(name: str) -> None:
    builders, message = REFUSED[name]
    with pytest.raises(WasiNNError, match=message) as caught:
        detect(Model(builders=builders))
    assert caught.value.code == INVALID_ENCODING
    assert len(caught.value.reason) < 400
    assert caught.value.reason.isprintable()


@pytest.mark.parametrize(
    ("builders", "message"),
    [
        ((), "the model is empty"),
        ((b"",), "the model is empty"),
        ((b"\x89PNG\r\n\x1a\n" + bytes(20),), "a PNG picture, not a model"),
        ((b"\x01\x92\xfe\x00" + bytes(20),), "first bytes are 01 92 fe 00.*name the encoding"),
        ((b"just words",), "this is text, not a model"),
        ((b"\x08\x07\x12\x00",), "no encoding that wasinn recognises"),
        ((field(1, field(1, b"Net") + field(2, b"not an operator")) * 2,), "no encoding"),
        ((bytes(64), models.identity()), "no encoding"),
    ],
    ids=[
        "nothing",
        "empty",
        "png",
        "other bytes",
        "words",
        "a protobuf without a graph",
        "no GraphDef",
        "weights first",
    ],
)
def test_unknown_content_is_an_error_that_shows_it(builders: tuple[bytes, ...], message: str) -> None:
    with pytest.raises(WasiNNError, match=message) as caught:
        detect(Model(builders=builders))
    assert caught.value.code == INVALID_ENCODING


def test_content_of_two_encodings_lists_both() -> None:
    # A FlatBuffers file whose offset happens to spell another magic number.
    with pytest.raises(WasiNNError, match=r"name one: tensorflowlite \(.*\); ggml \(the GGUF magic\)"):
        detect(Model(builders=(b"GGUFTFL3" + bytes(32),)))


def test_a_file_that_cannot_be_read_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(WasiNNError) as caught:
        detect(Model(files=(tmp_path / "gone.onnx",)))
    assert caught.value.code == 8


def test_a_directory_is_a_saved_model_or_an_error_that_lists_it(tmp_path: Path) -> None:
    model = Model(files=(tmp_path,))
    with pytest.raises(WasiNNError, match="this one has nothing"):
        detect(model)
    for name in ("b.onnx", "a\x1b.xml", "c", "d"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WasiNNError, match=r"this one has .*, \.\.\.: name the model's file") as caught:
        detect(model)
    assert caught.value.reason.isprintable()
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(WasiNNError, match=r"its saved_model\.pb is no SavedModel"):
        detect(model)
    (tmp_path / "saved_model.pb").write_bytes(saved_model())
    assert detect(model) is Encoding.TENSORFLOW
    assert model.size == len(saved_model()) + 4
    assert model.heads() == [b""]


@pytest.mark.parametrize(
    ("name", "looks"),
    [("tflite", "tensorflowlite (TFL3 at byte 4)"), ("gguf", "ggml"), ("torchscript", "pytorch")],
)
def test_a_wrong_label_is_answered_with_what_the_content_looks_like(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, name: str, looks: str
) -> None:
    with caplog.at_level(logging.WARNING, "wasinn.guest"):
        assert drive().load(*KNOWN[name][1], encoding=Encoding.ONNX)[0] == INVALID_ENCODING
    assert f"labelled onnx, but it looks like {looks}" in caplog.text


def test_a_wrong_label_that_no_backend_serves_is_answered_so_too(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "wasinn.guest"):
        assert drive().load(models.identity(), encoding=Encoding.GGML)[0] == INVALID_ENCODING
    assert "labelled ggml, but it looks like onnx" in caplog.text


# -- large and hostile content ----------------------------------------------------------------


HALF_GIB = 1 << 29


def with_hole(path: Path, head: bytes, hole: int, tail: bytes) -> Model:
    """A file of head, `hole` zeros that take no room on the disk, and tail."""
    with path.open("wb") as file:
        file.write(head)
        file.seek(hole, os.SEEK_CUR)
        file.write(tail)
    return Model(files=(path,))


def opened(number: int, length: int) -> bytes:
    """The start of a field of any length."""
    return bytes((number << 3 | 2,)) + write_unsigned(length)


def large_onnx(path: Path) -> Model:
    """Weights in the middle of the graph, and after it the operator set."""
    before = field(1, field(4, b"Relu")) + opened(5, HALF_GIB)
    after = field(12, field(1, b"y"))
    head = field(1, 8) + opened(7, len(before) + HALF_GIB + len(after)) + before
    return with_hole(path, head, HALF_GIB, after + field(8, field(2, 17)))


def large_graph_def(path: Path) -> Model:
    before = field(1, b"weights") + field(2, b"Const") + opened(5, HALF_GIB)
    return with_hole(path, opened(1, len(before) + HALF_GIB) + before, HALF_GIB, graph_def())


def large_torchscript(path: Path) -> Model:
    archive = zip_of("m/data/0", "m/data.pkl", "m/constants.pkl", "m/code/a.py")
    at = int.from_bytes(archive[-6:-2], "little")  # where the central directory is
    end = archive[at:-6] + (at + HALF_GIB).to_bytes(4, "little") + archive[-2:]
    return with_hole(path, archive[:at], HALF_GIB, end)


@pytest.mark.parametrize(
    ("make", "encoding"),
    [
        (large_onnx, Encoding.ONNX),
        (large_graph_def, Encoding.TENSORFLOW),
        (large_torchscript, Encoding.PYTORCH),
    ],
)
def test_a_file_of_half_a_gibibyte_takes_milliseconds(
    tmp_path: Path, make: Callable[[Path], Model], encoding: Encoding
) -> None:
    model = make(tmp_path / "model")
    assert model.size > HALF_GIB
    start = time.perf_counter()
    assert detect(model) is encoding
    labels.read(model, encoding)
    assert time.perf_counter() - start < 0.1


def hostile() -> dict[str, bytes]:
    def entry(name: int, extra: int) -> bytes:
        lengths = (name, extra, 0, 0, 0)
        return struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", *bytes(4), *([0] * 4), 0, 0, 0, *lengths, 0, 0)

    crowded = b"PK\3\4" + (entry(0, 65531) + b"\2\0\0\0" * 16382 + b"\2\0\0") * 300
    many = b"PK\3\4" + (entry(1, 0) + b"a") * 200_000

    def ended(archive: bytes, size: int | None = None) -> bytes:
        size = len(archive) - 4 if size is None else size
        return archive + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, size, 4, 0)

    outputs = field(12, b"\x12\0" * 2000) * 200
    return {
        "a zip of 200,000 entries": ended(many),
        "a zip of crowded entries": ended(crowded),
        "a zip whose directory is beyond the end": ended(many[:100], 0xFFFFFFF0),
        "a zip of end records": b"PK\3\4" + b"PK\5\6" * 100_000,
        "a model of a million fields": b"\x12\0" * 1_000_000,
        "a graph of empty nodes": b"\x08\x08" + opened(7, 2_000_000) + b"\x0a\0" * 1_000_000,
        "a graph of outputs without names": b"\x08\x08" + opened(7, len(outputs)) + outputs,
        "a graph_def of empty nodes": b"\x0a\0" * 1_000_000,
        "a saved model of nothing": b"\x08\1" + b"\x12\0" * 1_000_000,
        "braces": b"{" * 1_000_000,
        "quotes": b'{"format"' + b" " * 10_000 + b'"format"' * 100_000,
        "angles": b"<?xml" + b"<net" * 250_000,
        "blanks": b" \n" * 1_000_000,
    }


@pytest.mark.parametrize(("name", "content"), hostile().items(), ids=hostile().keys())
def test_hostile_content_takes_no_longer_than_a_large_model(name: str, content: bytes) -> None:
    start = time.perf_counter()
    answer([content])
    assert time.perf_counter() - start < 2


def answer(builders: list[bytes]) -> tuple[Encoding | None, int]:
    """(the encoding, 0), or (None, errno). Anything else that is raised fails the test."""
    try:
        return detect(Model(builders=tuple(builders))), 0
    except WasiNNError as error:
        return None, int(error.code)


STARTS = [b"", b"PK\3\4", b"\x08\x08:", b"\x0a", b"<net ", b"{", b"\x80\2", b"GGUF", b"\0\0\0\0TFL3"]


@given(st.lists(st.tuples(st.sampled_from(STARTS), st.binary(max_size=200)).map(b"".join), max_size=3))
@example([b"PK\x03\x04"])
@example([b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"])
@example([b"\x3a\x80"])
def test_random_bytes_are_an_encoding_or_an_error(builders: list[bytes]) -> None:
    encoding, code = answer(builders)
    found = [each.encoding for each in candidates(Model(builders=tuple(builders)))]
    assert (found, code) == ([encoding], 0) or (len(found) != 1 and code == INVALID_ENCODING)


SMALL = {
    name: (SHIPPED / name).read_bytes()
    for name in ("identity.onnx", "digits.xml", "digits_u8.tflite", "digits.pt", "digits.pt2", "digits.pb")
} | {"a saved model": saved_model(), "a zip": zip_of("a", "b")}


@given(
    st.sampled_from(sorted(SMALL)), st.binary(min_size=1, max_size=8), st.floats(0, 1), st.integers(0, 200)
)
def test_a_damaged_model_is_an_encoding_or_an_error(name: str, noise: bytes, where: float, cut: int) -> None:
    model = bytearray(SMALL[name])
    at = int(where * len(model))
    model[at : at + len(noise)] = noise
    encoding, code = answer([bytes(model[: max(len(model) - cut, 0)])])
    assert (encoding is None) == (code == INVALID_ENCODING)
