# SPDX-License-Identifier: Apache-2.0
"""How runs end: results, traps, and which limit it was."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import wasmtime

from wasinn.errors import Error
from wasinn.handles import Stats
from wasinn.runtime.limits import Limits


@dataclass(frozen=True)
class Trap:
    """Why a guest was ended. `kind` is a limit (deadline, memory, output, stack, fuel,
    interrupted) or wasm's own reason (unreachable, out_of_bounds, ...)."""

    kind: str
    message: str
    backtrace: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    `exit_code` is the guest's own, or None where it trapped; then `trap` says why, and `limit` which
    limit it was, if one. `value` is what an invoked function returned, and `value_text` the same as
    text, of a component's function as WAVE. Times in seconds.
    """

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    trap: Trap | None
    limit: str | None
    stats: Stats
    total_seconds: float
    value: Any = None
    value_text: str | None = None

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


class GuestTrap(Error):
    """A call into a guest that trapped or ran into a limit: see `trap` and `limit`.

    Where the guest ended while it was instantiated, there is no `Instance` to ask: then `stdout`,
    `stderr` and `stats` have what it wrote and did.
    """

    def __init__(self, trap: Trap, limit: str | None = None) -> None:
        super().__init__(trap.message)
        self.trap = trap
        self.limit = limit
        self.stdout = b""
        self.stderr = b""
        self.stats: Stats | None = None


class GuestExit(Error):
    """A call into a guest that ended with `proc_exit(code)`; else as GuestTrap."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the guest exited with code {code}")
        self.code = code
        self.stdout = b""
        self.stderr = b""
        self.stats: Stats | None = None


_KINDS = {
    wasmtime.TrapCode.STACK_OVERFLOW: "stack",
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: "out_of_bounds",
    wasmtime.TrapCode.UNREACHABLE: "unreachable",
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: "division_by_zero",
    wasmtime.TrapCode.INDIRECT_CALL_TO_NULL: "null_call",
    wasmtime.TrapCode.OUT_OF_FUEL: "fuel",
    wasmtime.TrapCode.INTERRUPT: "interrupted",
}


def trap_of(reason: Exception, limit: str | None, limits: Limits, refused_growth: int) -> GuestTrap:
    """What a trap or an error of wasmtime means, given which limit was passed."""
    code: wasmtime.TrapCode | None = getattr(reason, "trap_code", None)
    kind = "error" if code is None else _KINDS.get(code, str(code.name).lower())
    text = str(reason)
    if kind == "error":
        kind = _kind_from_text(text, kind)
    backtrace = _backtrace(reason, text)
    if limit is not None:
        return GuestTrap(Trap(limit, _limit_message(limit, limits), backtrace), limit)
    if kind in ("stack", "fuel", "memory"):
        return GuestTrap(Trap(kind, _limit_message(kind, limits), backtrace), kind)
    if refused_growth and limits.max_memory is not None:
        message = f"{_limit_message('memory', limits)} (refused more {_times(refused_growth)}; then: {kind})"
        return GuestTrap(Trap("memory", message, backtrace), "memory")
    message = _TOO_MUCH_DATA if kind == "too_much_data" else _short(text)
    return GuestTrap(Trap(kind, message, backtrace))


def limit_passed(limit: str, limits: Limits) -> GuestTrap:
    """The end of a guest by a limit that was seen outside of it."""
    return GuestTrap(Trap(limit, _limit_message(limit, limits)), limit)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


#: `hosting.explain_trap` says more, to a component.
_TOO_MUCH_DATA = "too much data in one call between the guest and the host"


def _kind_from_text(text: str, default: str) -> str:
    if "memory" in text and "limit" in text and "exceed" in text:
        return "memory"
    return next((kind for words, kind in _WORDS.items() if words in text), default)


#: What wasmtime says of traps where it gives no code: a component's.
_WORDS = {
    "all fuel consumed": "fuel",
    "fuel allocated for hostcalls": "too_much_data",
    "call stack exhausted": "stack",
    "`unreachable` instruction executed": "unreachable",
    "out of bounds memory access": "out_of_bounds",
    "integer divide by zero": "division_by_zero",
    "uninitialized element": "null_call",
}


def _limit_message(limit: str, limits: Limits) -> str:
    return {
        "deadline": f"the deadline of {limits.deadline} s passed",
        "memory": f"the guest reached its memory limit of {limits.max_memory} bytes",
        "output": f"the guest wrote more than its output limit of {limits.max_output} bytes",
        "stack": "the guest's call stack is exhausted (endless recursion?)",
        "fuel": f"the guest used its fuel of {limits.fuel}",
        "interrupted": "the run was interrupted",
    }.get(limit, limit)


def _short(text: str) -> str:
    """The reason without the backtrace that wasmtime puts before it."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1].removeprefix("wasm trap: ") if lines else "trap"


#: A line of wasmtime's backtrace: `0:  0x7949 - module!function`.
_FRAME = re.compile(r"^\s*\d+:\s+0x([0-9a-f]+) - (?:[^!\n]*!)?(.+)$", re.MULTILINE)


def _backtrace(reason: Exception, text: str) -> tuple[str, ...]:
    frames = getattr(reason, "frames", None)
    if frames:
        return tuple(
            f"{frame.func_name or f'function {frame.func_index}'} at 0x{frame.module_offset:x}"
            for frame in frames
        )
    return tuple(f"{_function_name(name)} at 0x{offset}" for offset, name in _FRAME.findall(text))


def _function_name(name: str) -> str:
    """`<wasm function 58>`, which stands for a function without a name, as elsewhere."""
    return name.removeprefix("<wasm ").removesuffix(">") if name.startswith("<wasm function") else name
