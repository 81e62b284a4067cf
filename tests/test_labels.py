# SPDX-License-Identifier: Apache-2.0
"""What a model says of itself, from its content."""

from __future__ import annotations

import io
import struct
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import models
from test_detect import KNOWN, SHIPPED, SMALL, field, graph_def, hostile, opened, saved_model
from wasinn import Encoding
from wasinn.backends.base import Model
from wasinn.graphs import labels, zipped
from wasinn.graphs.detect import detect

READABLE = [encoding for encoding in Encoding if encoding is not Encoding.AUTODETECT]


def label_of(*builders: bytes) -> dict[str, Any]:
    model = Model(builders=builders)
    return labels.read(model, detect(model))


def shipped_label(name: str) -> dict[str, Any]:
    model = Model(files=(SHIPPED / name,))
    return labels.read(model, detect(model))


def test_onnx() -> None:
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], []))
    model.producer_name, model.producer_version, model.ir_version = "maker", "1.2", 9
    model.model_version, model.domain = 7, "org.example"
    model.opset_import.add(domain="com.example", version=3)
    helper.set_model_props(model, {"author": "me"})
    found = label_of(model.SerializeToString())
    opset = found["opsets"].pop("ai.onnx")
    assert opset > 17
    assert found == {
        "ir_version": 9,
        "producer": "maker",
        "producer_version": "1.2",
        "domain": "org.example",
        "model_version": 7,
        "opsets": {"com.example": 3},
        "metadata": {"author": "me"},
    }
    assert shipped_label("digits.onnx")["producer"] == "wasinn"


def test_openvino_of_today_and_of_the_model_optimizer() -> None:
    found = shipped_label("digits.xml")
    assert found["producer"] == "OpenVINO"
    assert found["producer_version"].startswith("202")
    assert found["ir_version"] == "11"
    ir = (
        b'<?xml version="1.0" ?>\n<net name="a &amp; b" version="10">\n<layers/><edges>\n</edges>\n'
        b'<meta_data><MO_version value="2021.4.0"/><cli_parameters><framework value="caffe"/>'
        b"</cli_parameters></meta_data></net>"
    )
    assert label_of(ir) == {
        "producer": "OpenVINO",
        "producer_version": "2021.4.0",
        "name": "a & b",
        "ir_version": "10",
        "converted_from": "caffe",
    }
    compressed = (
        b'<net name="m" version="11"><edges></edges><rt_info><Runtime_version value="2024.6.0"/>'
        b"<nncf><weight_compression/></nncf></rt_info></net>"
    )
    assert label_of(compressed)["compressed_by"] == "NNCF"


def test_tensorflow_lite() -> None:
    found = shipped_label("digits_u8.tflite")
    assert found["schema_version"] == 3
    assert found["signatures"] == ["serving_default"]
    assert found["description"].startswith("Handwritten digits")
    assert 100 < len(found["description"]) <= 200


def test_pytorch() -> None:
    assert shipped_label("digits.pt") == {
        "producer": "PyTorch",
        "format": "TorchScript",
        "format_version": "3",
    }
    found = shipped_label("digits.pt2")
    assert found["producer_version"].startswith("2.")
    assert found["format"] == "exported program"


def test_an_exported_program_of_before_2_7() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("version", "8.2")
        archive.writestr("serialized_exported_program.json", '{"torch_version": "2.6.0"}')
    assert label_of(buffer.getvalue()) == {
        "producer": "PyTorch",
        "producer_version": "2.6.0",
        "format": "exported program",
        "format_version": "8.2",
    }


def test_tensorflow(tmp_path: Path) -> None:
    assert label_of(graph_def(3)) == {"graph_version": 100, "nodes": 3}
    (tmp_path / "saved_model.pb").write_bytes(saved_model())
    assert labels.read(Model(files=(tmp_path,)), Encoding.TENSORFLOW) == {
        "producer": "TensorFlow",
        "producer_version": "2.21.0",
        "tags": ["serve"],
        "signatures": ["serving_default"],
    }
    assert shipped_label("digits_saved_model")["signatures"] == ["serving_default"]


def gguf(version: int = 3) -> bytes:
    """A GGUF of no tensors, with the values that a small language model's have."""
    count = "<Q" if version > 1 else "<I"

    def string(text: str) -> bytes:
        return struct.pack(count, len(text)) + text.encode()

    values = [
        string("general.architecture") + struct.pack("<I", 8) + string("llama"),
        string("tokens") + struct.pack("<II", 9, 8) + struct.pack(count, 2) + string("a") + string("bc"),
        string("scores") + struct.pack("<II", 9, 6) + struct.pack(count, 2) + struct.pack("<2f", 1, 2),
        string("rope") + struct.pack("<If", 6, 1e4),
        string("offset") + struct.pack("<Ii", 5, -1),
        string("yes") + struct.pack("<I?", 7, True),
        string("general.file_type") + struct.pack("<II", 4, 15),
        string("general.name") + struct.pack("<I", 8) + string("tiny"),
    ]
    return (
        b"GGUF"
        + struct.pack("<I", version)
        + struct.pack(count, 0)
        + struct.pack(count, len(values))
        + b"".join(values)
    )


@pytest.mark.parametrize("version", [1, 2, 3])
def test_gguf(version: int) -> None:
    assert label_of(gguf(version)) == {
        "gguf_version": version,
        "tensors": 0,
        "architecture": "llama",
        "file_type": "Q4_K_M",
        "name": "tiny",
    }


def test_the_shipped_language_model() -> None:
    label = labels.read(Model(files=(SHIPPED / "story.gguf",)), Encoding.GGML)
    assert label.pop("chat_template").startswith("{% for message in messages %}")
    assert label == {
        "gguf_version": 3,
        "tensors": 20,
        "architecture": "llama",
        "name": "story",
        "license": "Apache-2.0",
        "file_type": "Q8_0",
        "context_length": 512,
        "embedding_length": 96,
        "vocabulary_size": 384,
        "parameters": 197088,
    }


def test_what_is_read_before_a_model_breaks_off_is_kept() -> None:
    assert labels.read(Model(builders=(gguf()[:60],)), Encoding.GGML)["gguf_version"] == 3
    assert label_of(b"GGUF\0\0\0\3" + bytes(40))["gguf_version"] == 3  # big-endian
    assert labels.read(Model(), Encoding.ONNX) == {}
    assert labels.read(Model(files=(Path("gone"),)), Encoding.ONNX) == {}
    assert labels.read(Model(files=(SHIPPED,)), Encoding.ONNX) == {}


def test_texts_are_printable_short_and_few() -> None:
    name = "a\x1b[31m\u202e\n" + "b" * 5000
    props = b"".join(field(14, field(1, str(at).encode()) + field(2, b"v")) for at in range(1000))
    text = name.encode()
    model = models.identity() + b"\x12" + bytes((len(text) & 0x7F | 0x80, len(text) >> 7)) + text + props
    found = label_of(model)
    assert found["producer"].isprintable()
    assert len(found["producer"]) < 1000
    assert len(found["metadata"]) == 20


def test_an_entry_of_a_zip_is_never_unpacked_beyond_what_is_asked_for() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(50_000_000))
        archive.writestr("small", "hello")
        archive.writestr("stored", "0123456789", zipfile.ZIP_STORED)
        archive.writestr("bzip", "hello", zipfile.ZIP_BZIP2)
    data = buffer.getvalue()
    found = zipped.entries(data)
    assert zipped.read(data, found["bomb"], 1000) == bytes(1000)
    assert zipped.read_end(data, found["bomb"], 1000) == bytes(1000)
    assert zipped.read(data, found["small"], 1000) == b"hello"
    assert zipped.read(data, found["stored"], 4) == b"0123"
    assert zipped.read_end(data, found["stored"], 4) == b"6789"
    with pytest.raises(ValueError, match="method 12"):
        zipped.read(data, found["bzip"], 4)


def test_large_archives_count_in_64_bits() -> None:
    # As `zipfile` writes an entry whose size it does not know beforehand, and torch.save beyond 4 GiB.
    data = b"PK\3\4" + struct.pack("<5H3L2H", 45, 0, 0, 0, 0, 0, 5, 5, 1, 0) + b"a" + b"hello"
    extra = struct.pack("<HHQQQ", 1, 24, 5, 5, 0)
    wide = 0xFFFFFFFF
    lengths = (1, 28, 0, 0, 0)
    sums = (zlib.crc32(b"hello"), wide, wide)
    entry = struct.pack("<4s12x3L5H2L", b"PK\1\2", *sums, *lengths, 0, wide)
    start = len(data)
    data += entry + b"a" + extra
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(data) - start, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(data), 1)
    data += record + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, wide, wide, 0)
    assert zipped.read(data, zipped.entries(data)["a"], 100) == b"hello"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("a") == b"hello"


# -- what is broken or hostile ----------------------------------------------------------------


@given(st.sampled_from(READABLE), st.binary(max_size=300))
def test_random_bytes_have_a_label_of_some_kind(encoding: Encoding, content: bytes) -> None:
    assert isinstance(labels.read(Model(builders=(content,)), encoding), dict)


@given(
    st.sampled_from(sorted(SMALL)),
    st.sampled_from(READABLE),
    st.binary(min_size=1, max_size=8),
    st.floats(0, 1),
    st.integers(0, 2000),
)
def test_a_damaged_model_has_a_label_of_some_kind(
    name: str, encoding: Encoding, noise: bytes, where: float, cut: int
) -> None:
    model = bytearray(SMALL[name] + gguf())
    at = int(where * len(model))
    model[at : at + len(noise)] = noise
    assert isinstance(labels.read(Model(builders=(bytes(model[cut:]),)), encoding), dict)


@given(st.binary(min_size=1, max_size=4), st.floats(0, 0.1))
def test_damaged_flatbuffers_are_read_within_their_bounds(noise: bytes, where: float) -> None:
    model = bytearray(SMALL["digits_u8.tflite"])
    at = 8 + int(where * len(model))
    model[at : at + len(noise)] = noise
    found = labels.read(Model(builders=(bytes(model),)), Encoding.TENSORFLOWLITE)
    assert all(len(str(value)) < 50_000 for value in found.values())


def large_gguf() -> bytes:
    tokens = b"\4\0\0\0\0\0\0\0tick" * 400_000
    values = struct.pack("<Q6sIIQ", 6, b"tokens", 9, 8, 400_000) + tokens
    return b"GGUF\3\0\0\0" + struct.pack("<QQ", 0, 1) + values


HOSTILE = hostile() | {
    "onnx of many properties": (field(14, field(1, b"k")) + field(14, field(1, b"l"))) * 100_000,
    "a saved model of many signatures": opened(2, 700_000) + field(5, b"\x0a\0") * 140_000,
    "gguf of many keys": b"GGUF\3\0\0\0" + struct.pack("<QQ", 0, 1 << 60) + bytes(1_000_000),
    "gguf of many strings": large_gguf(),
    "an IR of versions": b'<net name="' * 300_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("encoding", READABLE)
def test_a_hostile_model_takes_no_longer_than_a_large_one(name: str, encoding: Encoding) -> None:
    start = time.perf_counter()
    labels.read(Model(builders=(HOSTILE[name],)), encoding)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("name", KNOWN)
def test_every_model_that_is_recognised_can_be_asked(name: str) -> None:
    encoding, builders = KNOWN[name]
    assert isinstance(labels.read(Model(builders=builders), encoding), dict)
