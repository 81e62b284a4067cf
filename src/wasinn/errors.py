# SPDX-License-Identifier: Apache-2.0
"""The exceptions of wasinn.

    Error
    |-- WasiNNError       a call failed: the errno that the guest gets, and the reason
    |   `-- LostDevice    ... and so will every later one on that device, as long as the process lives
    |-- ConfigError       a graph, an option or a configuration file of the operator is wrong
    |-- BackendError      no installed backend can do what was asked
    |-- GuestError        a file is not a guest that this host can run, or has no such export
    |-- GuestTrap         a call into an instance trapped or ran into a limit (runtime/outcome.py)
    `-- GuestExit         a call into an instance ended by the guest's exit (runtime/outcome.py)

What a guest does wrong in a WASI-NN call is never an exception for the embedder: it is an errno in
the guest and a line in the log. `Host.run` gives traps and exits as results; only direct calls into
an `Instance` raise them.
"""

from __future__ import annotations

from typing import Any

from wasinn.spec import ErrorCode


class Error(Exception):
    """Any error that wasinn raises on purpose."""


class WasiNNError(Error):
    """A WASI-NN call that failed.

    `code` is what the guest is given, `reason` what its author needs to know: what came, what was
    wanted, and the likely cause.
    """

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.label}: {reason}")
        self.code = code
        self.reason = reason

    def __reduce__(self) -> tuple[type[WasiNNError], tuple[Any, ...]]:
        return type(self), (self.code, self.reason)  # as it crosses to another process


class LostDevice(WasiNNError):
    """A compute that took its device with it: no more can be done there in this process. A worker process
    ends, so that the next call starts another."""

    def __init__(self, reason: str) -> None:
        super().__init__(ErrorCode.RUNTIME_ERROR, reason)

    def __reduce__(self) -> tuple[type[WasiNNError], tuple[Any, ...]]:
        return type(self), (self.reason,)


class ConfigError(Error):
    """The operator's configuration is wrong; the message names the key or the option."""


class BackendError(Error):
    """No installed backend can do what was asked; the message says what to install."""


class GuestError(Error):
    """The file is not a WebAssembly guest that this host can run; the message says why."""


def invalid_argument(reason: str) -> WasiNNError:
    return WasiNNError(ErrorCode.INVALID_ARGUMENT, reason)


def runtime_error(reason: str) -> WasiNNError:
    return WasiNNError(ErrorCode.RUNTIME_ERROR, reason)


def unsupported(reason: str) -> WasiNNError:
    return WasiNNError(ErrorCode.UNSUPPORTED_OPERATION, reason)
