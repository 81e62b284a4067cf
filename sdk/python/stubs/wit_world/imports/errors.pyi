# SPDX-License-Identifier: Apache-2.0

from enum import Enum
from types import TracebackType
from typing import Self

class ErrorCode(Enum):
    INVALID_ARGUMENT = 0
    INVALID_ENCODING = 1
    TIMEOUT = 2
    RUNTIME_ERROR = 3
    UNSUPPORTED_OPERATION = 4
    TOO_LARGE = 5
    NOT_FOUND = 6
    SECURITY = 7
    UNKNOWN = 8

class Error:
    def code(self) -> ErrorCode: ...
    def data(self) -> str: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...
