# SPDX-License-Identifier: Apache-2.0
"""What a request and an answer of the Open Inference Protocol, version 2, say, whichever way they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Bytes of an element by datatype; BYTES has none: each element is a little-endian u32 with its length, and
#: its content (the protocol's binary tensor data extension).
DATATYPES: dict[str, int | None] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "FP32": 4,
    "FP64": 8,
    "BF16": 2,
    "BYTES": None,
}


@dataclass(frozen=True, slots=True)
class WireTensor:
    """A tensor of a request or an answer: `data` is row-major and little-endian."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that a request asks for. `binary`: whether as binary data; None is as the request says."""

    name: str
    binary: bool | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InferRequest:
    """`outputs` empty is all of them. `binary_output`: the default of each."""

    inputs: Sequence[WireTensor]
    outputs: Sequence[RequestedOutput] = ()
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    binary_output: bool = False


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The answer of a model, its outputs in the order that was asked for."""

    model_name: str
    outputs: Sequence[WireTensor]
    model_version: str = ""
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
