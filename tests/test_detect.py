# SPDX-License-Identifier: Apache-2.0
"""Which encoding a model is: told by its content, never by its name."""

from __future__ import annotations

import io
import logging
import zipfile
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
from wasinn.graphs.detect import candidates, detect
from wasinn.graphs.loader import Loader
from wasinn.graphs.source import GraphSource

INVALID_ENCODING = 2


def zip_of(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def big_model() -> bytes:
    """A model whose weights reach far beyond the part that is looked at."""
    node = helper.make_node("Add", ["x", "w"], ["y"])
    port = TensorProto.FLOAT, [65536]
    weights = {"w": np.ones(65536, "f4")}
    return models.onnx_model([node], [("x", *port)], [("y", *port)], weights)


KNOWN = {
    "small onnx": (Encoding.ONNX, (models.identity(),)),
    "big onnx": (Encoding.ONNX, (big_model(),)),
    "onnx with a loop": (Encoding.ONNX, (models.slow(3),)),
    "tflite": (Encoding.TENSORFLOWLITE, (b"\x1c\0\0\0TFL3" + bytes(100),)),
    "gguf": (Encoding.GGML, (b"GGUF\3\0\0\0" + bytes(100),)),
    "openvino": (Encoding.OPENVINO, (b'<?xml version="1.0"?>\n<net name="m" version="11">', bytes(64))),
    "openvino, no weights": (Encoding.OPENVINO, (b'\xef\xbb\xbf<net name="m">',)),
    "torchscript": (Encoding.PYTORCH, (zip_of("m/data.pkl", "m/code/__torch__.py"),)),
    "exported program": (Encoding.PYTORCH, (zip_of("m/archive_format", "m/models/model.json"),)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_content_says_the_encoding(name: str) -> None:
    encoding, builders = KNOWN[name]
    assert detect(Model(builders=builders)) is encoding


@pytest.mark.parametrize("name", ["model.tflite", "model", "model.xml", "model.gguf", "a.png"])
def test_the_name_of_a_file_says_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((shipped.ROOT / "models" / "digits.onnx").read_bytes())
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


@pytest.mark.parametrize(
    ("builders", "message"),
    [
        ((b"",), "it is empty"),
        ((b"\x89PNG\r\n\x1a\n" + bytes(20),), "first bytes are 89 50 4e 47"),
        ((b"<html><body>Not found</body></html>",), "name the encoding"),
        ((b"\x08\x07\x12\x00",), "no encoding that wasinn recognises"),
        ((zip_of("word/document.xml"),), "no encoding"),
        ((models.identity(), b"more"), "no encoding"),
    ],
    ids=["empty", "png", "html", "a protobuf without a graph", "docx", "two builders"],
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


def answer(builders: list[bytes]) -> tuple[Encoding | None, int]:
    """(the encoding, 0), or (None, errno). Anything else that is raised fails the test."""
    try:
        return detect(Model(builders=tuple(builders))), 0
    except WasiNNError as error:
        return None, int(error.code)


@given(st.lists(st.binary(max_size=200), max_size=3))
@example([b"PK\x03\x04"])
@example([b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"])
@example([b"\x3a\x80"])
def test_random_bytes_are_an_encoding_or_an_error(builders: list[bytes]) -> None:
    encoding, code = answer(builders)
    found = [each.encoding for each in candidates(Model(builders=tuple(builders)))]
    assert (found, code) == ([encoding], 0) or (len(found) != 1 and code == INVALID_ENCODING)


@given(st.binary(min_size=1, max_size=8), st.floats(0, 1), st.integers(0, 200))
def test_a_damaged_model_is_an_encoding_or_an_error(noise: bytes, where: float, cut: int) -> None:
    model = bytearray(models.identity())
    at = int(where * len(model))
    model[at : at + len(noise)] = noise
    encoding, code = answer([bytes(model[: max(len(model) - cut, 0)])])
    assert (encoding is None) == (code == INVALID_ENCODING)
