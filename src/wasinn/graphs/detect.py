# SPDX-License-Identifier: Apache-2.0
"""Which encoding a model is, by its content alone.

Each detector looks at the first builder and answers with a short reason, or None. File names are never
looked at, save those inside a directory or an archive: they belong to the operator, and lie. One answer
is the encoding; none or several is an error that says what was found. docs/encodings.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wasinn.backends.base import Model
from wasinn.backends.openvino_content import is_ir
from wasinn.content import Content, opened
from wasinn.errors import WasiNNError
from wasinn.graphs import protobuf_models, pytorch_archive, refusals, zipped
from wasinn.spec import Encoding, ErrorCode


@dataclass(frozen=True)
class Candidate:
    """An encoding that the content may be, and what says so."""

    encoding: Encoding
    reason: str


@dataclass(frozen=True)
class Finding:
    """What content was found to be. `refusal` is set only where there are no candidates: what it is
    instead, and the way to a model."""

    candidates: tuple[Candidate, ...] = ()
    refusal: str | None = None


class _Refused(Exception):
    """A detector knows what the content is, and that it is no model."""


def _tensorflowlite(data: Content) -> str | None:
    # The FlatBuffers file identifier of schema.fbs.
    return "TFL3 at byte 4" if data[4:8] == b"TFL3" else None


def _ggml(data: Content) -> str | None:
    return "the GGUF magic" if data[:4] == b"GGUF" else None


def _openvino(data: Content) -> str | None:
    return "XML with <net" if is_ir(data[:4096]) else None


def _pytorch(data: Content) -> str | None:
    if data[:4] != zipped.MAGIC:
        return None
    try:
        names = zipped.entries(data)
    except ValueError as error:
        raise _Refused(f"this is a zip archive that is cut short: it has {error}") from error
    kind = pytorch_archive.kind(names)
    if kind is None:
        raise _Refused(refusals.of_zip(names))
    return f"a zip with the entries of {kind}"


def _onnx(data: Content) -> str | None:
    return _protobuf(data, "an ONNX model", "ModelProto", protobuf_models.onnx_size(data))


def _tensorflow(data: Content) -> str | None:
    return _protobuf(data, "a TensorFlow graph", "GraphDef", protobuf_models.graphdef_size(data))


def _protobuf(data: Content, what: str, message: str, size: int | None) -> str | None:
    if size is None:
        return None
    if size > len(data):
        raise _Refused(
            f"this is {what} that is cut short: it says that it has {size} bytes, and there are {len(data)}"
        )
    return f"a protobuf that reads as a {message}"


#: In the order in which they are asked: magic numbers before protobufs, which have none.
DETECTORS: tuple[tuple[Encoding, Callable[[Content], str | None]], ...] = (
    (Encoding.TENSORFLOWLITE, _tensorflowlite),
    (Encoding.GGML, _ggml),
    (Encoding.OPENVINO, _openvino),
    (Encoding.PYTORCH, _pytorch),
    (Encoding.ONNX, _onnx),
    (Encoding.TENSORFLOW, _tensorflow),
)


def examine(model: Model) -> Finding:
    """What the content of `model` is. Raises OSError for a file that cannot be read."""
    with contents(model) as parts:
        if not parts:
            return Finding()
        first = parts[0]
        if isinstance(first, Path):
            return _examine_directory(first)
        # The weights of an OpenVINO model can be any bytes, so this is asked before anything else.
        second = parts[1] if len(parts) > 1 else b""
        if not isinstance(second, Path) and _openvino(second) and not _openvino(first):
            return Finding(refusal="the builders are in the wrong order: first the XML, then the weights")
        return _examine_content(first)


def _examine_content(data: Content) -> Finding:
    found = []
    refusal = None
    for encoding, detector in DETECTORS:
        try:
            reason = detector(data)
        except _Refused as error:
            refusal = str(error)
            continue
        if reason is not None:
            found.append(Candidate(encoding, reason))
    if found:
        return Finding(tuple(found))
    return Finding(refusal=refusal or refusals.of_content(data))


def _examine_directory(path: Path) -> Finding:
    saved_model = path / "saved_model.pb"
    if saved_model.is_file():
        with opened(saved_model) as data:
            if protobuf_models.is_saved_model(data):
                return Finding((Candidate(Encoding.TENSORFLOW, "a directory with saved_model.pb"),))
    return Finding(refusal=refusals.of_directory(path))


@contextmanager
def contents(model: Model) -> Iterator[list[Content | Path]]:
    """The builders of `model` to read from; a directory as its path. Raises OSError."""
    with ExitStack() as stack:
        yield [
            source if isinstance(source, Path) and source.is_dir() else stack.enter_context(opened(source))
            for source in model.builders or model.files
        ]


def candidates(model: Model) -> list[Candidate]:
    """Every encoding that the content of `model` may be. Raises OSError for an unreadable file."""
    return list(examine(model).candidates)


def detect(model: Model) -> Encoding:
    """The encoding of `model`. Raises WasiNNError (invalid_encoding) where the content is not clear."""
    try:
        finding = examine(model)
        if not finding.candidates:
            raise WasiNNError(ErrorCode.INVALID_ENCODING, finding.refusal or _unknown(model))
    except OSError as error:
        raise WasiNNError(ErrorCode.NOT_FOUND, f"cannot read the model: {error}") from error
    if len(finding.candidates) == 1:
        return finding.candidates[0].encoding
    listed = "; ".join(f"{each.encoding.label} ({each.reason})" for each in finding.candidates)
    raise WasiNNError(
        ErrorCode.INVALID_ENCODING, f"the content could be several encodings, name one: {listed}"
    )


def _unknown(model: Model) -> str:
    head = (model.heads(16) or [b""])[0]
    if not head:
        return "the model is empty"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"this is text, not a model: it begins with {head.decode('ascii')!r}"
    return (
        f"the content is no encoding that wasinn recognises (its first bytes are {head.hex(' ')}); if it is "
        "a model, name the encoding. The weights of an OpenVINO model come after its xml: x.xml,x.bin"
    )
