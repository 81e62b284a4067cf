# SPDX-License-Identifier: Apache-2.0
"""Which encoding a model is, by its content alone.

Each detector looks at the first bytes of the builders and answers with a short reason, or None. File
names are never looked at: they belong to the operator, and lie. One answer is the encoding; none or
several is an error that lists what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wasinn.backends import onnx_proto
from wasinn.backends.base import Model
from wasinn.errors import WasiNNError
from wasinn.spec import Encoding, ErrorCode

#: A detector gets the first HEAD_SIZE bytes of each builder.
Detector = Callable[[Sequence[bytes]], str | None]

HEAD_SIZE = 65536


@dataclass(frozen=True)
class Candidate:
    """An encoding that the content may be, and what says so."""

    encoding: Encoding
    reason: str


def _tensorflowlite(heads: Sequence[bytes]) -> str | None:
    # The FlatBuffers file identifier of schema.fbs.
    return "TFL3 at byte 4" if heads[0][4:8] == b"TFL3" else None


def _ggml(heads: Sequence[bytes]) -> str | None:
    return "the GGUF magic" if heads[0][:4] == b"GGUF" else None


def _openvino(heads: Sequence[bytes]) -> str | None:
    start = heads[0][:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    return "XML with <net" if start.startswith((b"<?xml", b"<net")) and b"<net" in start else None


def _pytorch(heads: Sequence[bytes]) -> str | None:
    # TorchScript and exported programs are zip archives whose first entries are named so.
    if heads[0][:4] != b"PK\x03\x04":
        return None
    # Newer TorchScript writes its weights first, each padded by an extra field that begins with FB.
    names = (
        b"/data.pkl",
        b"/data/0FB",
        b"/code/",
        b"/constants.pkl",
        b"archive_format",
        b"/.format_version",
        b"/.data/",
    )
    return "a zip with PyTorch's entries" if any(name in heads[0] for name in names) else None


def _onnx(heads: Sequence[bytes]) -> str | None:
    if len(heads) != 1:
        return None
    return "a protobuf that reads as a ModelProto" if onnx_proto.looks_like_model(heads[0]) else None


#: In the order in which they are asked: magic numbers before protobufs, which have none.
DETECTORS: tuple[tuple[Encoding, Detector], ...] = (
    (Encoding.TENSORFLOWLITE, _tensorflowlite),
    (Encoding.GGML, _ggml),
    (Encoding.OPENVINO, _openvino),
    (Encoding.PYTORCH, _pytorch),
    (Encoding.ONNX, _onnx),
)


def candidates(model: Model) -> list[Candidate]:
    """Every encoding that the content of `model` may be. Raises OSError for an unreadable file."""
    heads = model.heads(HEAD_SIZE)
    if not heads or not heads[0]:
        return []
    found = []
    for encoding, detector in DETECTORS:
        reason = detector(heads)
        if reason is not None:
            found.append(Candidate(encoding, reason))
    return found


def detect(model: Model) -> Encoding:
    """The encoding of `model`. Raises WasiNNError (invalid_encoding) where the content is not clear."""
    try:
        found = candidates(model)
    except OSError as error:
        raise WasiNNError(ErrorCode.NOT_FOUND, f"cannot read the model: {error}") from error
    if len(found) == 1:
        return found[0].encoding
    if not found:
        head = (model.heads(16) or [b""])[0]
        what = f"its first bytes are {head.hex(' ')}" if head else "it is empty"
        raise WasiNNError(
            ErrorCode.INVALID_ENCODING,
            f"the content is no encoding that wasinn recognises ({what}); name the encoding",
        )
    listed = "; ".join(f"{each.encoding.label} ({each.reason})" for each in found)
    raise WasiNNError(
        ErrorCode.INVALID_ENCODING, f"the content could be several encodings, name one: {listed}"
    )
