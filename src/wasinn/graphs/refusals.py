# SPDX-License-Identifier: Apache-2.0
"""Content that is often given for a model and that no encoding of WASI-NN is: what it is, and the way
to a model. Each entry of the tables is one sentence of an error."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from wasinn.backends.common import one_line
from wasinn.content import Content
from wasinn.graphs import protobuf_models
from wasinn.protobuf import BYTES, VARINT, fields

_EXPORT = 'torch.export.save(torch.export.export(model.eval(), (example,)), "m.pt2")'
_PICKLE = (
    "it holds Python objects, which are not loaded because that can run code. If you trust it, load it "
    f"in PyTorch (weights: into the model's class) and export it: {_EXPORT}"
)
_KERAS = (
    "export it as a SavedModel and give that directory: "
    'python -c "import keras; keras.saving.load_model({!r}).export({!r})"'
)
_INPUT = "a guest reads pictures itself, from a directory that it is given"
_UNPACK = "unpack it and give the model that is in it"
_LEGACY_TORCH = "a PyTorch checkpoint (torch.save before 1.6)", _PICKLE
_OTHER_PICKLE = (
    "a Python pickle, as joblib and scikit-learn save it",
    "convert it where it was made, for example by skl2onnx.to_onnx(model, X)",
)

#: (offset, the bytes there, what it is, the way to a model)
_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras saves it", _KERAS.format("m.h5", "m")),
    (4, b"ORTM", "a model in ONNX Runtime's own format (.ort)", "give the .onnx that it was made from"),
    (4, b"ET12", "an ExecuTorch program (.pte)", f"export the model anew: {_EXPORT}"),
    (0, b"RR_UPCVO", "a model compiled by OpenVINO's CPU plugin", "give the IR: the .xml and the .bin"),
    (0, b"ML\xefR", "MLIR bytecode, such as StableHLO", "save a SavedModel or a .pt2 in its framework"),
    # llama.cpp before GGUF: ggml, ggmf and ggjt, as little-endian numbers.
    *(
        (0, magic, "a llama.cpp model from before GGUF", "convert it: convert_llama_ggml_to_gguf.py")
        for magic in (b"lmgg", b"fmgg", b"tjgg")
    ),
    (0, b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", *_LEGACY_TORCH),
    *((0, bytes((0x80, protocol)), *_OTHER_PICKLE) for protocol in (2, 3, 4, 5)),
    (0, b"\0asm", "a WebAssembly module", "that is a guest, not a model: wasinn run FILE"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it: git lfs pull"),
    (0, b"\xff\xd8\xff", "a JPEG picture, not a model", _INPUT),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture, not a model", _INPUT),
    (0, b"GIF8", "a GIF picture, not a model", _INPUT),
    (8, b"WEBP", "a WebP picture, not a model", _INPUT),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"BZh", "a bzip2 archive", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
)

_ONNX_TEXT = 'onnx.save(onnx.load("m.txt", format="textproto"), "m.onnx")'
_GRAPH_TEXT = (
    'tf.io.write_graph(google.protobuf.text_format.Parse(open("m.pbtxt").read(), tf.compat.v1.GraphDef())'
    ', ".", "m.pb", as_text=False)'
)

#: (how the first 4 KiB begin, without white space; what it is; the way to a model)
_TEXT: tuple[tuple[bytes, str, str], ...] = (
    (rb"(?i)<!doctype html|<html", "a web page, not a model", "look at what was downloaded"),
    (
        rb"(?s)\{.*(modelTopology|\"format\"\s*:\s*\"(graph|layers)-model)",
        "a TensorFlow.js model",
        "give the model that it was made from",
    ),
    (rb"[{\[]\s*[\"\]}{\[\d-]", "JSON, not a model", "give the model's own file"),
    (rb"<\?xml|<[a-z]", "XML that is no OpenVINO model", "an OpenVINO model has a <net"),
    (rb"ir_version:", "an ONNX model as text", f"convert it: {_ONNX_TEXT}"),
    (rb"node\s*\{", "a TensorFlow graph as text", f"convert it: {_GRAPH_TEXT}"),
)

#: (entries that are all there, what the zip is, the way to a model); `*/` is the archive's own folder.
_ZIPS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("config.json", "model.weights.h5"), "a Keras model (.keras)", _KERAS.format("m.keras", "m")),
    (("model.weights.h5",), "the weights of a Keras model", "give the model: model.export('m')"),
    (
        ("*/bytecode.pkl",),
        "a model for PyTorch's lite interpreter (.ptl)",
        f"export the model anew: {_EXPORT}",
    ),
    (("*/data.pkl",), "a PyTorch checkpoint (torch.save)", _PICKLE),
    (
        ("*/archive_format",),
        "a PyTorch package without an exported program (AOTInductor's hold machine code)",
        f"export the model: {_EXPORT}",
    ),
    (("MAR-INF/MANIFEST.json",), "a TorchServe archive (.mar)", _UNPACK),
    ((), "a zip archive", _UNPACK),
)


def of_content(data: Content) -> str | None:
    """What content is that is known to be no model, and the way to one. To be asked last: binary
    content of a model can begin as text does."""
    head = data[:4096]
    for offset, magic, what, way in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return f"this is {what}: {way}"
    if _is_safetensors(data):
        return (
            "this is a file of weights (safetensors) without the network: load them into the model in "
            f"PyTorch and export it: {_EXPORT}"
        )
    # Weights can begin as any text does, but hold zeros soon.
    start = b"" if b"\0" in head else head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for pattern, what, way in _TEXT:
        if re.match(pattern, start):
            return f"this is {what}: {way}"
    return _of_protobuf(data)


def of_zip(names: Collection[str]) -> str:
    """What a zip is that is no PyTorch model."""
    inner = {name.partition("/")[2] for name in names}
    for wanted, what, way in _ZIPS:
        if all(name[2:] in inner if name.startswith("*/") else name in names for name in wanted):
            return f"this is {what}: {way}"
    raise AssertionError("the last entry wants nothing")


def of_directory(path: Path) -> str:
    """What to say of a directory that is no SavedModel."""
    if (path / "saved_model.pb").is_file():
        return "its saved_model.pb is no SavedModel"
    names = [each.name for _, each in zip(range(4), path.iterdir(), strict=False)]
    held = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "") if names else "nothing"
    return (
        "a directory is a TensorFlow SavedModel, which has a file saved_model.pb; "
        f"this one has {one_line(held)}: name the model's file"
    )


def _is_safetensors(data: Content) -> bool:
    """A JSON header after its length, in 8 bytes (github.com/huggingface/safetensors, "Format")."""
    head = data[:16]
    length = int.from_bytes(head[:8], "little")
    return re.match(rb"\{\s*[\"}]", head[8:]) is not None and 2 <= length <= len(data) - 8


def _of_protobuf(data: Content) -> str | None:
    if protobuf_models.is_saved_model(data):
        return "this is the file saved_model.pb of a TensorFlow SavedModel: give its directory"
    if _is_core_ml(data):
        return "this is a Core ML model: give the model that it was made from"
    return None


def _is_core_ml(data: Content) -> bool:
    """Model of Core ML's Model.proto: specificationVersion 1, description 2, isUpdatable 10, and the
    network in one field from 200 on."""
    network = False
    try:
        for field, wire, *_ in islice(fields(data), 16):
            if wire != {1: VARINT, 2: BYTES, 10: VARINT}.get(field, BYTES):
                return False
            network = network or field >= 200
    except ValueError:
        return False
    return network
