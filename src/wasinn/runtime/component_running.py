# SPDX-License-Identifier: Apache-2.0
"""What a run of a component does: its command, or one function with arguments that may be text."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from wasinn.abi.component.values import Case
from wasinn.errors import GuestError
from wasinn.runtime import wave
from wasinn.runtime.component_instance import ComponentInstance
from wasinn.runtime.outcome import GuestExit

logger = logging.getLogger("wasinn.host")


def run_command(instance: ComponentInstance) -> None:
    """Runs `wasi:cli/run`. Raises GuestExit(1) where it says that it failed, and as `call`."""
    guest = instance.guest
    if guest.command is None:
        logger.warning(
            "%s does not export wasi:cli/run@0.2, so nothing was called; its functions can be invoked: %s",
            guest.name,
            ", ".join(sorted(guest.functions)) or "it exports none",
        )
        return
    result = instance.call(guest.command)
    if isinstance(result, Case) and result.name == "err":
        raise GuestExit(1)


def invoke(instance: ComponentInstance, name: str, values: Sequence[Any]) -> tuple[Any, str | None]:
    """Calls a function; what it returns, and the same as text. Text among `values` is read as WAVE.

    Raises as `call`.
    """
    name = instance.guest.find_function(name)
    signature = instance.guest.functions[name]
    if len(values) != len(signature.parameters):
        raise GuestError(
            f"{name}{signature} takes {len(signature.parameters)} arguments, got {len(values)} "
            "(on the command line they follow GUEST, Host.run takes them as invoke_args)"
        )
    arguments = []
    for (parameter, kind), value in zip(signature.parameters, values, strict=True):
        if isinstance(value, str):
            try:
                value = wave.parse(kind, value)
            except ValueError as error:
                raise GuestError(f"{name}{signature}: the argument {parameter}: {error}") from None
        arguments.append(value)
    result = instance.call(name, *arguments)
    return result, None if signature.result is None else wave.show(signature.result, result)
