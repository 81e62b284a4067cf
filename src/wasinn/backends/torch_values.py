# SPDX-License-Identifier: Apache-2.0
"""PyTorch's element types, its tensors over foreign memory, and its errors."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from wasinn.backends.common import one_line
from wasinn.spec import TensorType
from wasinn.tensors import SpecDims, TensorSpec

_NAMES = {
    TensorType.F16: "float16",
    TensorType.F32: "float32",
    TensorType.F64: "float64",
    TensorType.BF16: "bfloat16",
    TensorType.U8: "uint8",
    TensorType.I32: "int32",
    TensorType.I64: "int64",
    TensorType.I8: "int8",
    TensorType.BOOL: "bool",
    TensorType.I16: "int16",
    TensorType.U16: "uint16",
    TensorType.U32: "uint32",
    TensorType.U64: "uint64",
    TensorType.F8E4M3FN: "float8_e4m3fn",
    TensorType.F8E4M3FNUZ: "float8_e4m3fnuz",
    TensorType.F8E5M2: "float8_e5m2",
    TensorType.F8E5M2FNUZ: "float8_e5m2fnuz",
}


@functools.cache
def dtypes() -> Mapping[TensorType, Any]:
    """PyTorch's dtype for each of our types; it has no other that WASI-NN can carry (complex, qint)."""
    import torch

    return {each: getattr(torch, name) for each, name in _NAMES.items() if hasattr(torch, name)}


@functools.cache
def tensor_types() -> Mapping[Any, TensorType]:
    return {dtype: each for each, dtype in dtypes().items()}


def tensor_over(memory: Any, tensor_type: TensorType, dims: tuple[int, ...]) -> Any:
    """A tensor that reads and writes `memory`, a writable buffer of exactly its size."""
    import torch

    dtype = dtypes()[tensor_type]
    if 0 in dims:
        return torch.empty(dims, dtype=dtype)  # frombuffer refuses a buffer of no bytes
    return torch.frombuffer(memory, dtype=dtype).view(dims)


#: For a port whose type the model does not tell: it takes what the guest says.
_ANY_TYPE: dict[str, Any] = {"any_type": True} if "any_type" in TensorSpec.__dataclass_fields__ else {}


def spec(name: str, tensor_type: TensorType | None, dims: SpecDims | None) -> TensorSpec:
    """A port's description; `tensor_type` None where the model does not tell."""
    if tensor_type is None:
        return TensorSpec(name, TensorType.F32, dims, **_ANY_TYPE)
    return TensorSpec(name, tensor_type, dims)


# -- errors -----------------------------------------------------------------------------------------

#: What follows these is for who builds PyTorch.
_TAIL = re.compile(r"\n?(Exception raised from|C\+\+ CapturedTraceback|Stack dump)", re.DOTALL)
_LAST = re.compile(r"^(?:[\w.]*(?:Error|Exception)): ", re.MULTILINE)


def reason(error: BaseException) -> str:
    """What went wrong, in one line: without C++ stacks, and of TorchScript's traceback only its end."""
    text = _TAIL.split(str(error), maxsplit=1)[0]
    if "Traceback of TorchScript" in text:
        text = _LAST.split(text)[-1]
    return one_line(text) or type(error).__name__


class _Muffled(logging.Filter):
    """Takes one thread's records out of a log, and remembers the errors that they told of."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self.error: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            self.error = record.exc_info[1]
        return False


@contextlib.contextmanager
def muffled(*names: str) -> Iterator[_Muffled]:
    """Keeps loggers of PyTorch from writing to stderr what this thread's load raises anyway."""
    muffler = _Muffled()
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(muffler)
    try:
        yield muffler
    finally:
        for logger in loggers:
            logger.removeFilter(muffler)
