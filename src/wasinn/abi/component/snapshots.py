# SPDX-License-Identifier: Apache-2.0
"""The snapshots of `wasi:nn` in WIT: their names, their enumerations, and how they differ.

Source: `wit/wasi-nn.wit` of WebAssembly/wasi-nn, by its history.

| package | inference | errors |
|---|---|---|
| `wasi:nn`, November 2023 | `set-input`, `compute()`, `get-output` | an enum, with `busy` |
| `wasi:nn`, from December 2023; `ggml` from April 2024 | the same | a resource, which guests may construct |
| `wasi:nn@0.2.0-rc-2024-06-25` | the same | the same |
| `wasi:nn@0.2.0-rc-2024-08-19`, first | the same | a resource, without a constructor |
| `wasi:nn@0.2.0-rc-2024-08-19`, later | `compute(inputs)` returns the outputs | the same |
| `wasi:nn@0.2.0-rc-2024-10-28` | the same | the same |

An import matches by its exact name, and a host function that is defined without a type is held
against nothing: so one set of functions serves all, and sees from the call which kind it is. Of
`compute` the number of arguments tells, of an error the type that the guest declared.
"""

from __future__ import annotations

from wasinn.spec import ErrorCode, TensorType

#: What follows the interface in an import's name.
SNAPSHOTS = ("@0.2.0-rc-2024-10-28", "@0.2.0-rc-2024-08-19", "@0.2.0-rc-2024-06-25", "")

#: The interface that tells what a graph is like. `shipped/wit/wasinn-nn.wit` has it.
INTROSPECTION = "wasinn:nn/introspection@0.1.0"

#: The interface by which a language model's text comes piece by piece, in the same file.
STREAMING = "wasinn:nn/streaming@0.1.0"

#: The enum `tensor-type`, the same in all.
TENSOR_TYPES = {
    "FP16": TensorType.F16,
    "FP32": TensorType.F32,
    "FP64": TensorType.F64,
    "BF16": TensorType.BF16,
    "U8": TensorType.U8,
    "I32": TensorType.I32,
    "I64": TensorType.I64,
}

_TYPE_NAMES = {tensor_type: name for name, tensor_type in TENSOR_TYPES.items()}


def type_name(tensor_type: TensorType) -> str:
    """The case of `tensor-type` under which a guest sees the bytes of a type. Unlike witx, WIT has a
    name for bf16."""
    return _TYPE_NAMES.get(tensor_type) or _TYPE_NAMES[tensor_type.wire]


#: The enum `error-code`. It has no case for what witx calls busy (too many graphs or contexts, say)
#: and missing_memory: those are runtime errors, whose reason says more. The older enum has `busy`.
_CODES = {
    ErrorCode.INVALID_ARGUMENT: "invalid-argument",
    ErrorCode.INVALID_ENCODING: "invalid-encoding",
    ErrorCode.RUNTIME_ERROR: "runtime-error",
    ErrorCode.UNSUPPORTED_OPERATION: "unsupported-operation",
    ErrorCode.TOO_LARGE: "too-large",
    ErrorCode.NOT_FOUND: "not-found",
    ErrorCode.MODEL_NOT_FOUND: "not-found",
}


def error_case(code: ErrorCode, known: tuple[str, ...] = ()) -> str:
    """The case of `error-code` for `code`. `known` are the cases of the guest's own enum, if it has one
    of another snapshot."""
    label = code.label.replace("_", "-")
    return label if label in known else _CODES.get(code, "runtime-error")
