# SPDX-License-Identifier: Apache-2.0
"""What a model says of itself: who wrote it, in which version of its format, and its name.

A label is a dict of facts in the order in which they are shown: `producer` and `producer_version` where
the format has them, and what else it has. Nothing of it is checked: a model may say what it likes. It is
found by offsets, a few kilobytes of any model, and what cannot be read is left out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from wasinn.backends.base import Model
from wasinn.backends.common import one_line
from wasinn.content import Content, opened
from wasinn.flatbuffer import Table
from wasinn.graphs import detect, gguf, pytorch_archive, zipped
from wasinn.protobuf import BYTES, VARINT, Field, fields, text
from wasinn.spec import Encoding

#: How long a text may be, in characters, and how many a list or a dict holds.
_MAX_TEXT = 200
_MAX_ITEMS = 20

Facts = Iterator[tuple[str, Any]]


def read(model: Model, encoding: Encoding) -> dict[str, Any]:
    """The label of a model of `encoding`. Never raises: a model that is of another encoding, or broken,
    gets what could be read of it. Texts are printable, on one line, and short."""
    label: dict[str, Any] = {}
    try:
        with detect.contents(model) as parts:
            for key, value in _facts(parts[0], encoding):
                shown = _shown(value)
                if shown not in ("", [], {}):
                    label[key] = shown
    except (OSError, ValueError, LookupError):
        pass  # what was read before is kept
    return label


def _facts(content: Content | Path, encoding: Encoding) -> Facts:
    if not isinstance(content, Path):
        yield from _READERS[encoding](content)
    elif encoding is Encoding.TENSORFLOW:
        with opened(content / "saved_model.pb") as data:
            yield from _saved_model(data)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return one_line(value, _MAX_TEXT)
    if isinstance(value, list):
        return [_shown(each) for each in value[:_MAX_ITEMS]]
    if isinstance(value, dict):
        return {_shown(key): _shown(each) for key, each in islice(value.items(), _MAX_ITEMS)}
    return value


def _onnx(data: Content) -> Facts:
    """ModelProto of onnx.proto: ir_version 1, producer_name 2, producer_version 3, domain 4,
    model_version 5, opset_import 8 (domain 1, version 2), metadata_props 14 (key 1, value 2)."""
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    texts = {2: "producer", 3: "producer_version", 4: "domain"}
    for field, wire, start, end in _sound(fields(data)):
        if field in texts and wire == BYTES:
            yield texts[field], text(data, start, end)
        elif field == 1:
            yield "ir_version", start
        elif field == 5 and start:
            yield "model_version", start
        elif field == 8 and wire == BYTES:
            opset = {number: (first, last) for number, _, first, last in _sound(fields(data, start, end))}
            domain = text(data, *opset[1]) if 1 in opset else ""
            opsets[domain or "ai.onnx"] = opset.get(2, (0, 0))[0]
        elif field == 14 and wire == BYTES:
            pair = {number: text(data, *at) for number, _, *at in _sound(fields(data, start, end))}
            metadata[pair.get(1, "")] = pair.get(2, "")
    yield "opsets", opsets
    yield "metadata", metadata


def _sound(found: Iterator[Field], most: int = 4096) -> Iterator[Field]:
    """The first fields of a message, up to where it is no protobuf any more."""
    with suppress(ValueError):
        yield from islice(found, most)


#: In the XML's last part: the version of whatever wrote it, and the framework that it came from.
_IR_WRITER = re.compile(
    r'<(?:Runtime_version|MO_version|info name="(?:OpenVINO Runtime|Runtime_version)") value="([^"]*)"'
)
_IR_FRAMEWORK = re.compile(r'<(?:framework|info name="framework") value="([^"]*)"')


def _openvino(data: Content) -> Facts:
    """The attributes of <net, and the <rt_info> (before 2022 <meta_data>) after the layers."""
    head = data[:4096].decode("utf-8", "replace")
    size = len(data)
    end = data[max(size - 262144, 0) : size].decode("utf-8", "replace").rpartition("</edges>")[2]
    writer = _IR_WRITER.search(end)
    if writer:
        yield "producer", "OpenVINO"
        yield "producer_version", html.unescape(writer[1])
    net = re.search(r"<net\s([^>]*)>", head)
    attributes = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', net[1])) if net else {}
    yield "name", html.unescape(attributes.get("name", ""))
    yield "ir_version", attributes.get("version", "")
    framework = _IR_FRAMEWORK.search(end)
    if framework:
        yield "converted_from", html.unescape(framework[1])
    if "<nncf>" in end:
        yield "compressed_by", "NNCF"


def _tensorflowlite(data: Content) -> Facts:
    """Model of schema.fbs: version 0, description 3, buffers 4, metadata 6 (name 0, buffer 1),
    signature_defs 7 (signature_key 2); Buffer has data 0."""
    model = Table.root(data)
    buffers = {entry.text(0): entry.number(1, 4) for entry in model.tables(6, _MAX_ITEMS)}

    def buffer(name: str, limit: int) -> bytes:
        return model.item(4, buffers[name]).content(0, limit) if name in buffers else b""

    # ConversionMetadata of conversion_metadata.fbs: environment 0 (tensorflow_version 0).
    converted = buffer("CONVERSION_METADATA", 65536)
    environment = Table.root(converted).table(0) if converted else None
    if environment is not None:
        yield "producer", "TensorFlow"
        yield "producer_version", environment.text(0)
    # ModelMetadata of metadata_schema.fbs: name 0, version 2, author 4, license 5.
    described = buffer("TFLITE_METADATA", 1 << 20)
    if described:
        metadata = Table.root(described)
        for field, key in ((0, "name"), (2, "version"), (4, "author"), (5, "license")):
            yield key, metadata.text(field)
    yield "description", model.text(3)
    yield "schema_version", model.number(0, 4)
    yield "min_runtime_version", buffer("min_runtime_version", 64).decode("utf-8", "replace").rstrip("\0")
    yield "signatures", [each.text(2) for each in model.tables(7, _MAX_ITEMS)]


def _pytorch(data: Content) -> Facts:
    """The files beside the model: `version` of TorchScript, `archive_version` of an exported program,
    and at the end of its JSON the torch_version (torch/_export/serde/schema.py)."""
    names = zipped.entries(data)
    kind = pytorch_archive.kind(names)
    yield "producer", "PyTorch"
    program = next((name for name in names if _is_program(name)), None)
    if program is not None:
        end = zipped.read_end(data, names[program], 65536).decode("utf-8", "replace")
        found = re.findall(r'"torch_version":\s*"([^"]*)"', end)
        yield "producer_version", found[-1] if found else ""
    yield "format", kind or ""
    for wanted in ("version",) if kind == "TorchScript" else ("archive_version", "version"):
        entry = next((name for name in names if name.rpartition("/")[2] == wanted and _is_top(name)), None)
        if entry is not None:
            yield "format_version", zipped.read(data, names[entry], 64).decode("utf-8", "replace")
            break


def _is_top(name: str) -> bool:
    """Whether an entry stands in the archive's own folder, or in none."""
    return name.count("/") <= 1 and not name.startswith(".data/")


def _is_program(name: str) -> bool:
    return name == pytorch_archive.OLD_PROGRAM or pytorch_archive.is_program(name.partition("/")[2])


def _graphdef(data: Content) -> Facts:
    """GraphDef of graph.proto: node 1, versions 4 (producer 1, min_consumer 2)."""
    nodes = 0
    for field, wire, start, end in _sound(fields(data), _MAX_NODES):
        nodes += field == 1
        if field == 4 and wire == BYTES:
            for number, kind, value, _ in _sound(fields(data, start, end)):
                if number in (1, 2) and kind == VARINT:
                    yield ("graph_version" if number == 1 else "min_consumer"), value
    yield "nodes", nodes if nodes < _MAX_NODES else f"more than {_MAX_NODES}"


#: Nodes of a graph that are counted: a tenth of a second.
_MAX_NODES = 100_000


def _saved_model(data: Content) -> Facts:
    """SavedModel has meta_graphs 2; MetaGraphDef meta_info_def 1 (tags 4, tensorflow_version 5) and
    signature_def 5, a map: key 1. saved_model.proto, meta_graph.proto."""
    tags: list[str] = []
    signatures: list[str] = []
    for _, _, start, end in (each for each in _sound(fields(data), 16) if each[0] == 2):
        for field, _wire, first, last in _sound(fields(data, start, end)):
            if field not in (1, 5):
                continue
            for number, wire, *at in _sound(fields(data, first, last), 64):
                if wire != BYTES:
                    continue
                if field == 1 and number == 5:
                    yield "producer", "TensorFlow"
                    yield "producer_version", text(data, *at)
                elif field == 1 and number == 4:
                    tags.append(text(data, *at))
                elif field == 5 and number == 1:
                    signatures.append(text(data, *at))
    yield "tags", tags
    # One that only initialises the model, and is not for callers.
    yield "signatures", [name for name in signatures if name != "__saved_model_init_op"]


#: llama_ftype of llama.h: how most of the tensors are stored.
_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    32: "BF16",
}
_GGUF_FACTS = ("name", "architecture", "author", "quantized_by", "size_label", "license")


def _ggml(data: Content) -> Facts:
    """Of docs/gguf.md the keys `general.*`, and what a language model takes: `ARCHITECTURE.context_length`
    and its like, and `tokenizer.*`."""
    yield "gguf_version", gguf.version(data)
    yield "tensors", gguf.tensor_count(data)
    header = gguf.Header(data)
    template, reads = "", False
    for key, value in header.values():
        section, _, name = key.partition(".")
        if section == "general" and name in _GGUF_FACTS:
            yield name, str(value)
        elif key == "general.file_type" and isinstance(value, int):
            yield "file_type", _FILE_TYPES.get(value, str(value))
        elif name in ("context_length", "embedding_length") and isinstance(value, int):
            yield name, value  # after the architecture's name
        elif key == "tokenizer.ggml.tokens" and isinstance(value, gguf.Items):
            yield "vocabulary_size", value.count
            reads = True
        elif key == "tokenizer.chat_template" and isinstance(value, str):
            template = value
    if reads:
        yield "chat_template", template or "none"
    if gguf.tensor_count(data):
        yield "parameters", header.parameters()


_READERS: dict[Encoding, Callable[[Content], Facts]] = {
    Encoding.ONNX: _onnx,
    Encoding.OPENVINO: _openvino,
    Encoding.TENSORFLOWLITE: _tensorflowlite,
    Encoding.TENSORFLOW: _graphdef,
    Encoding.PYTORCH: _pytorch,
    Encoding.GGML: _ggml,
}
