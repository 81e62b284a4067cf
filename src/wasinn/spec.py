# SPDX-License-Identifier: Apache-2.0
"""The enumerations of WASI-NN and the numbers by which each dialect writes them.

Source of the names and of the current numbers: `wasi-nn.witx` and `wasi-nn.wit` of the WASI-NN
proposal. WAMR and the WasmEdge plugin differ in a few numbers; their tables stand beside the
standard ones. This file imports nothing of wasinn.
"""

from __future__ import annotations

import enum


class ErrorCode(enum.IntEnum):
    """The errno of every call. 0 to 8 are the spec's, 100 to 103 WasmEdge's."""

    SUCCESS = 0
    INVALID_ARGUMENT = 1
    INVALID_ENCODING = 2
    MISSING_MEMORY = 3
    BUSY = 4
    RUNTIME_ERROR = 5
    UNSUPPORTED_OPERATION = 6
    TOO_LARGE = 7
    NOT_FOUND = 8
    END_OF_SEQUENCE = 100
    CONTEXT_FULL = 101
    PROMPT_TOO_LONG = 102
    MODEL_NOT_FOUND = 103

    @property
    def label(self) -> str:
        return self.name.lower()


class Encoding(enum.IntEnum):
    """The graph encodings, numbered as in witx."""

    OPENVINO = 0
    ONNX = 1
    TENSORFLOW = 2
    PYTORCH = 3
    TENSORFLOWLITE = 4
    AUTODETECT = 5
    GGML = 6

    @property
    def label(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Encoding:
        """The encoding called `text`, in any case; `tflite`, `tf`, `torch` and `gguf` are understood.

        Raises ValueError, with the list of names.
        """
        key = text.strip().lower()
        try:
            return _ENCODING_ALIASES.get(key) or cls[key.upper()]
        except KeyError:
            known = ", ".join(encoding.label for encoding in cls)
            raise ValueError(f"unknown encoding {text!r}; known: {known}") from None


_ENCODING_ALIASES = {
    "tflite": Encoding.TENSORFLOWLITE,
    "tf": Encoding.TENSORFLOW,
    "torch": Encoding.PYTORCH,
    "gguf": Encoding.GGML,
    "auto": Encoding.AUTODETECT,
}

#: WAMR swaps the last two of witx.
WAMR_ENCODINGS = {
    **{encoding.value: encoding for encoding in Encoding if encoding < Encoding.AUTODETECT},
    5: Encoding.GGML,
    6: Encoding.AUTODETECT,
}


class Target(enum.IntEnum):
    """The execution targets. AUTO is the operator's alone (WasmEdge's preload has it as 3)."""

    CPU = 0
    GPU = 1
    TPU = 2
    AUTO = 3

    @property
    def label(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Target:
        """The target called `text`, in any case. Raises ValueError, with the list of names."""
        try:
            return cls[text.strip().upper()]
        except KeyError:
            known = ", ".join(target.label for target in cls)
            raise ValueError(f"unknown execution target {text!r}; known: {known}") from None


class TensorType(enum.Enum):
    """An element type: its name and its size in bytes.

    The first seven are WASI-NN's. The others occur in models only; a guest sees their bytes under
    the `wire` type, the one of witx with the same width.
    """

    F16 = ("f16", 2)
    F32 = ("f32", 4)
    F64 = ("f64", 8)
    BF16 = ("bf16", 2)
    U8 = ("u8", 1)
    I32 = ("i32", 4)
    I64 = ("i64", 8)
    I8 = ("i8", 1)
    BOOL = ("bool", 1)
    I16 = ("i16", 2)
    U16 = ("u16", 2)
    U32 = ("u32", 4)
    U64 = ("u64", 8)
    F8E4M3FN = ("f8e4m3fn", 1)
    F8E4M3FNUZ = ("f8e4m3fnuz", 1)
    F8E5M2 = ("f8e5m2", 1)
    F8E5M2FNUZ = ("f8e5m2fnuz", 1)

    def __init__(self, label: str, size: int) -> None:
        self.label = label
        self.size = size

    @property
    def wire(self) -> TensorType:
        """The witx type under which a guest passes this type's bytes."""
        return _WIRE.get(self, self)

    @classmethod
    def parse(cls, text: str) -> TensorType:
        """The type called `text`, as in `f32`. Raises ValueError, with the list of names."""
        for tensor_type in cls:
            if tensor_type.label == text.strip().lower():
                return tensor_type
        known = ", ".join(tensor_type.label for tensor_type in cls)
        raise ValueError(f"unknown tensor type {text!r}; known: {known}")


_WIRE = {
    TensorType.BF16: TensorType.F16,
    TensorType.I8: TensorType.U8,
    TensorType.BOOL: TensorType.U8,
    TensorType.I16: TensorType.F16,
    TensorType.U16: TensorType.F16,
    TensorType.U32: TensorType.I32,
    TensorType.U64: TensorType.I64,
    TensorType.F8E4M3FN: TensorType.U8,
    TensorType.F8E4M3FNUZ: TensorType.U8,
    TensorType.F8E5M2: TensorType.U8,
    TensorType.F8E5M2FNUZ: TensorType.U8,
}

#: wasi-nn.witx as it stands.
WITX_TYPES = {
    0: TensorType.F16,
    1: TensorType.F32,
    2: TensorType.F64,
    3: TensorType.U8,
    4: TensorType.I32,
    5: TensorType.I64,
}

#: wasi-nn.witx before f64 and i64 were added (October 2023). WAMR's `wasi_nn` still numbers so.
WITX_TYPES_BEFORE_2023 = {
    0: TensorType.F16,
    1: TensorType.F32,
    2: TensorType.U8,
    3: TensorType.I32,
}
