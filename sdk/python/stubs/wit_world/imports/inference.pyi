# SPDX-License-Identifier: Apache-2.0

from types import TracebackType
from typing import Self

from .tensor import Tensor

class GraphExecutionContext:
    def compute(self, inputs: list[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...
