# SPDX-License-Identifier: Apache-2.0
"""The one exception of this package."""

from __future__ import annotations

from enum import Enum


class ErrorCode(Enum):
    """What kind of failure, as `wasi:nn/errors` has it."""

    INVALID_ARGUMENT = "invalid-argument"
    INVALID_ENCODING = "invalid-encoding"
    TIMEOUT = "timeout"
    RUNTIME_ERROR = "runtime-error"
    UNSUPPORTED_OPERATION = "unsupported-operation"
    TOO_LARGE = "too-large"
    NOT_FOUND = "not-found"
    SECURITY = "security"
    UNKNOWN = "unknown"


class NnError(Exception):
    """A call that failed, or a mistake that was seen before the call.

    `code` is the kind and `reason` says in words what came, what was wanted and what to do; it is the
    host's own where the host refused. `call` is the call that failed, "" for a damaged picture, say.
    """

    def __init__(self, code: ErrorCode, reason: str, call: str = "") -> None:
        super().__init__(f"{call}: {reason} ({code.value})" if call else reason)
        self.code = code
        self.reason = reason
        self.call = call


def invalid(reason: str, call: str = "") -> NnError:
    """An error for what the caller gave."""
    return NnError(ErrorCode.INVALID_ARGUMENT, reason, call)
