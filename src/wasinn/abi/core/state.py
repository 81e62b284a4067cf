# SPDX-License-Identifier: Apache-2.0
"""One guest instance on this side of the ABI: its memory, its host, and what happens to errors.

`InstanceState.answer` is the one way in for every dialect's functions: it makes an errno of
whatever happens, writes the line that says why, and keeps the trace.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wasinn.abi.core import capi
from wasinn.abi.core.memory import GuestMemory
from wasinn.errors import WasiNNError
from wasinn.host import GuestHost
from wasinn.spec import ErrorCode

if TYPE_CHECKING:
    from wasinn.abi.core.hot_path import HotPath
    from wasinn.abi.core.noted import Noted

logger = logging.getLogger("wasinn.guest")
trace_logger = logging.getLogger("wasinn.trace")

#: A guest that fails in a loop must not fill the operator's disk.
MAX_LOGGED_FAILURES = 100
#: Characters of a reason, which may repeat what the guest passed.
MAX_REASON = 1000

_SUCCESS = int(ErrorCode.SUCCESS)
#: What a guest that streams asks for until it comes: an answer, and no failure.
_END = int(ErrorCode.END_OF_SEQUENCE)


class FailureLog:
    """One instance's failed calls in the log: as many lines as there is room for, and one that says so."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether the next failure has no line."""
        return self.count >= MAX_LOGGED_FAILURES

    def add(self, name: str, described: Callable[[], str], code: int, reason: str) -> None:
        """A failure of the instance `name`; `described()` gives the call with its arguments."""
        if not self.full:
            logger.warning("%s: %s -> %s (%d): %s", name, described(), _label(code), code, reason)
        self.count += 1
        if self.count == MAX_LOGGED_FAILURES:
            logger.warning("%s: %d calls failed; no more of them are logged", name, MAX_LOGGED_FAILURES)


def shortened(reason: str) -> str:
    """A reason as the log has it."""
    return reason if len(reason) <= MAX_REASON else reason[:MAX_REASON] + " ..."


class InstanceState:
    """What the callbacks of one instance share. Used by the thread that runs the instance."""

    __slots__ = (
        "detail",
        "escaped",
        "failures",
        "host",
        "hot_path",
        "last_error",
        "memory",
        "name",
        "noted",
        "run",
        "stats",
        "trace",
    )

    def __init__(self, host: GuestHost, name: str = "guest", trace: bool = False) -> None:
        self.host = host
        self.stats = host.stats
        self.name = name
        self.memory: GuestMemory | None = None
        self.hot_path: HotPath | None = None
        self.trace = trace
        #: What it does with its graph, where somebody wants to know.
        self.noted: Noted | None = None
        self.detail = ""
        #: Why the last call that failed did, as the log has it; "" while none has.
        self.last_error = ""
        #: An exception that no errno can carry, such as KeyboardInterrupt.
        self.escaped: BaseException | None = None
        #: The runtime's own record of the run, for its own imports (WASI).
        self.run: Any = None
        self.failures = FailureLog()

    def guest_memory(self, caller: int) -> GuestMemory:
        memory = self.memory
        if memory is None:
            memory = self.memory = GuestMemory.of_caller(caller)
        elif not memory.fixed:
            memory.refresh()
        return memory

    def answer(self, function: Function, arguments: tuple[int, ...], caller: int) -> int:
        """Runs one call and returns its errno."""
        calls = self.stats.calls
        calls[function.name] = calls.get(function.name, 0) + 1
        self.detail = ""
        try:
            function.body(self, self.guest_memory(caller), *arguments)
            code, reason = _SUCCESS, ""
        except WasiNNError as error:
            code, reason = int(error.code), error.reason
        except MemoryError:
            code, reason = int(ErrorCode.TOO_LARGE), "the host has too little memory for this"
        except Exception as error:
            code, reason = int(ErrorCode.RUNTIME_ERROR), f"{type(error).__name__}: {error}"
            logger.debug("unexpected error in %s", function.name, exc_info=True)
        if self.trace and (code in (_SUCCESS, _END) or self.failures.full):
            self._trace(function, arguments, code)
        if code not in (_SUCCESS, _END):
            self._log_failure(function, arguments, code, reason)
        return code

    def _log_failure(self, function: Function, arguments: tuple[int, ...], code: int, reason: str) -> None:
        self.stats.failures += 1
        reason = shortened(reason)
        if function.remembered:
            self.last_error = reason
        detail = f" {self.detail}" if self.detail else ""
        self.failures.add(self.name, lambda: function.describe(arguments) + detail, code, reason)

    def _trace(self, function: Function, arguments: tuple[int, ...], code: int) -> None:
        detail = f"  {self.detail}" if self.detail else ""
        trace_logger.info("%s -> %s%s", function.describe(arguments), _label(code), detail)


def shown(text: str) -> str:
    """A guest's text for a line of the log: short, in quotes, without what would end the line."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _label(code: int) -> str:
    return ErrorCode(code).label


class Function:
    """One function of a dialect: its names, its parameters, and what it does."""

    __slots__ = ("arity", "body", "module", "name", "parameters", "remembered")

    def __init__(
        self, module: str, name: str, parameters: str, body: Callable[..., None], remembered: bool = True
    ) -> None:
        """`parameters`: their names in order, divided by spaces. `body(state, memory, *arguments)`
        raises WasiNNError for every errno but success. `remembered`: whether a failure of it becomes the
        instance's last error."""
        self.module = module
        self.name = name
        self.parameters = tuple(parameters.split())
        self.arity = len(self.parameters)
        self.body = body
        self.remembered = remembered

    def renamed(self, module: str) -> Function:
        """The same function under another import module."""
        return Function(module, self.name, " ".join(self.parameters), self.body, self.remembered)

    def describe(self, arguments: tuple[int, ...]) -> str:
        """`set_input(context 0, index 0, tensor 0x1f40)`."""
        parts = [
            f"{name} {value if value < 4096 and not _is_pointer(name) else hex(value)}"
            for name, value in zip(self.parameters, arguments, strict=True)
        ]
        return f"{self.name}({', '.join(parts)})"


def _is_pointer(name: str) -> bool:
    return name in ("builders", "name", "tensor", "buffer", "config", "out", "written", "size")


_PUT = struct.Struct("<Q").pack_into


def put_result(arguments: int, code: int) -> None:
    """Writes an i32 result where the arguments stood, as the unchecked convention has it."""
    _PUT(capi.ADDRESS_SPACE, arguments, code)
