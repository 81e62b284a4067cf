# SPDX-License-Identifier: Apache-2.0
"""One run of a guest, from its start to a result."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from wasinn.errors import GuestError
from wasinn.handles import Stats
from wasinn.runtime import component_running
from wasinn.runtime.component_instance import ComponentInstance
from wasinn.runtime.fiber import FiberInstance
from wasinn.runtime.guest import Guest
from wasinn.runtime.instance import Instance
from wasinn.runtime.limits import RunControl
from wasinn.runtime.outcome import GuestExit, GuestTrap, RunResult, Trap
from wasinn.runtime.served import HANDLE

logger = logging.getLogger("wasinn.host")


class Run:
    """One run of a guest from its start to its end."""

    def __init__(
        self,
        make: Callable[..., Instance | ComponentInstance],
        invoke: str | None,
        invoke_args: Sequence[Any],
    ) -> None:
        self._make = make
        self._invoke = invoke
        self._invoke_args = invoke_args
        self._control: RunControl | None = None
        self._interrupted = False

    def interrupt(self) -> float | None:
        """Ends the guest; how long that is to be waited for (`RunControl.patience`). For any thread."""
        self._interrupted = True
        if self._control is None:
            return None
        self._control.stop("interrupted")
        return self._control.patience

    def _watched(self, control: RunControl) -> None:
        """Called by the instance once it can be ended, before any of the guest runs."""
        self._control = control
        if self._interrupted:
            control.stop("interrupted")

    def result(self) -> RunResult:
        """Makes the instance, runs it, and says how it ended."""
        start = time.perf_counter()
        value: Any = None
        text: str | None = None
        ended: GuestExit | GuestTrap | None = None
        try:
            instance = self._make(watched=self._watched)
        except (GuestExit, GuestTrap) as error:
            return _early(error, start)
        with instance:
            try:
                value, text = self._call(instance)
            except (GuestExit, GuestTrap) as error:
                ended = error
            stats = instance.stats
        return _result(instance, stats, start, ended, value, text)

    def _call(self, instance: Instance | ComponentInstance) -> tuple[Any, str | None]:
        """What the guest's function returned, and the same as text."""
        if isinstance(instance, ComponentInstance):
            if self._invoke is not None:
                return component_running.invoke(instance, self._invoke, self._invoke_args)
            component_running.run_command(instance)
            return None, None
        if self._invoke is not None:
            arguments = _numbers(instance.guest, self._invoke, self._invoke_args)
            value = instance.call(self._invoke, *arguments)
            return value, _as_text(value)
        if "_start" in instance.guest.functions:
            instance.call("_start")
        else:
            _warn_of_nothing(instance.guest)
        return None, None


async def run_fiber(
    make: Callable[[], FiberInstance], invoke: str | None, invoke_args: Sequence[Any], start: float
) -> RunResult:
    """Runs a guest as a fiber, from its start to its end; as `Run.result`. Cancelling ends the guest."""
    value: Any = None
    ended: GuestExit | GuestTrap | None = None
    try:
        instance = make()
        await instance.start()
    except (GuestExit, GuestTrap) as error:
        return _early(error, start)
    async with instance:
        try:
            value = await _call_fiber(instance, invoke, invoke_args)
        except (GuestExit, GuestTrap) as error:
            ended = error
        stats = instance.stats
    return _result(instance, stats, start, ended, value, _as_text(value))


async def _call_fiber(instance: FiberInstance, invoke: str | None, invoke_args: Sequence[Any]) -> Any:
    if invoke is not None:
        return await instance.call(invoke, *_numbers(instance.guest, invoke, invoke_args))
    if "_start" in instance.guest.functions:
        return await instance.call("_start")
    _warn_of_nothing(instance.guest)
    return None


def _warn_of_nothing(guest: Guest) -> None:
    """A line in the log about a guest in which nothing was called."""
    if guest.has_start:
        return
    names = ", ".join(name for name in sorted(guest.functions) if name != "_initialize")
    served = "; wasinn serve --guest NAME=FILE answers requests with it" if HANDLE in guest.functions else ""
    logger.warning(
        "%s has no _start, so nothing was called; its functions can be invoked: %s%s",
        guest.name,
        names or "it exports none",
        served,
    )


def _as_text(value: Any) -> str | None:
    """What a core module's function returned, as text."""
    values = value if isinstance(value, tuple) else (value,)
    return None if value is None else " ".join(map(str, values))


def _end(ended: GuestExit | GuestTrap | None) -> tuple[int | None, Trap | None, str | None]:
    """The exit code, the trap and the limit of a run that came to this end."""
    if isinstance(ended, GuestTrap):
        return None, ended.trap, ended.limit
    return (0 if ended is None else ended.code), None, None


def _result(
    instance: Instance | ComponentInstance | FiberInstance,
    stats: Stats,
    start: float,
    ended: GuestExit | GuestTrap | None,
    value: Any,
    text: str | None,
) -> RunResult:
    """The result of a guest that was instantiated, and is closed now."""
    exit_code, trap, limit = _end(ended)
    # A guest may come to its end after its compute or its sleep was ended, and before wasm asks.
    limit = limit or instance.control.limit
    seconds = time.perf_counter() - start
    return RunResult(exit_code, instance.stdout, instance.stderr, trap, limit, stats, seconds, value, text)


def _early(error: GuestExit | GuestTrap, start: float) -> RunResult:
    """The result of a guest that ended while it was instantiated."""
    exit_code, trap, limit = _end(error)
    seconds = time.perf_counter() - start
    return RunResult(exit_code, error.stdout, error.stderr, trap, limit, error.stats or Stats(), seconds)


def _numbers(guest: Guest, name: str, values: Sequence[Any]) -> list[int | float]:
    """Arguments as numbers: text is read as the parameter's type. Raises GuestError."""
    kinds = guest.functions[name].parameters
    if len(values) != len(kinds):
        raise GuestError(
            f"{name}{guest.functions[name]} takes {len(kinds)} arguments, got {len(values)} "
            "(on the command line they follow GUEST, Host.run takes them as invoke_args)"
        )
    result: list[int | float] = []
    for index, value in enumerate(values):
        if isinstance(value, str):
            kind = kinds[index]
            try:
                value = float(value) if kind.startswith("f") else int(value, 0)
            except ValueError:
                raise GuestError(f"argument {value!r} of {name} is not a number ({kind})") from None
        result.append(value)
    return result
