# SPDX-License-Identifier: Apache-2.0
"""The linker of an engine for all its components: WASI 0.2 and `wasi:nn`, defined once."""

from __future__ import annotations

from threading import get_ident
from typing import Any

import wasmtime

from wasinn.abi.component import capi, hosting
from wasinn.abi.component.resources import ComponentState
from wasinn.runtime.component_wasi import Wasi2, entered


class ComponentLinker:
    """Kept as long as the engine."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._linker = wasmtime.component.Linker(engine)
        self._linker.allow_shadowing = True
        self._wasi = Wasi2(engine, self._linker)
        self._keep: list[Any] = hosting.define(self._linker, _calling)
        self.address = capi.address_of(self._linker)


def _calling() -> ComponentState:
    """The state of the instance that this thread is running."""
    return entered[get_ident()].state
