# SPDX-License-Identifier: Apache-2.0

from enum import Enum
from types import TracebackType
from typing import Self

class TensorType(Enum):
    FP16 = 0
    FP32 = 1
    FP64 = 2
    BF16 = 3
    U8 = 4
    I32 = 5
    I64 = 6

class Tensor:
    def __init__(self, dimensions: list[int], ty: TensorType, data: bytes) -> None: ...
    def dimensions(self) -> list[int]: ...
    def ty(self) -> TensorType: ...
    def data(self) -> bytes: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...
