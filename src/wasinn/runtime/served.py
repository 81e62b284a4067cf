# SPDX-License-Identifier: Apache-2.0
"""Which core modules can be served as models, by their exports: docs/serving-guests.md."""

from __future__ import annotations

from collections.abc import Mapping

from wasinn.errors import GuestError

ALLOC, HANDLE = "wasinn_alloc", "wasinn_handle"
_SIGNATURES = {ALLOC: "(i32) -> (i32)", HANDLE: "(i32, i32) -> (i64)"}


def form_of(name: str, functions: Mapping[str, object], has_memory: bool) -> str:
    """ "command" or "reactor". `functions`: signatures by export, as text or what becomes it; `has_memory`:
    whether the memory is exported as 'memory'. Raises GuestError for what is neither, or only half."""
    if HANDLE not in functions:
        if "_start" in functions:
            return "command"
        known = ", ".join(sorted(functions)) or "none"
        raise GuestError(
            f"{name} cannot be served: it exports neither _start (a command) nor {HANDLE} (a reactor), but "
            f"{known}"
        )
    if "_start" in functions:
        raise GuestError(
            f"{name} exports both _start and {HANDLE}: a command has only _start, and a reactor is linked "
            "with _initialize (-mexec-model=reactor; a cdylib in Rust; --exportStart _initialize in "
            "AssemblyScript)"
        )
    for function, wanted in _SIGNATURES.items():
        if function not in functions:
            raise GuestError(f"{name} exports {HANDLE}, and not {function}{wanted}, which must go with it")
        if str(functions[function]) != wanted:
            raise GuestError(f"{name}: {function} is {functions[function]}, and must be {wanted}")
    if not has_memory:
        raise GuestError(f"{name} exports no memory called 'memory', where a request is written to")
    return "reactor"
