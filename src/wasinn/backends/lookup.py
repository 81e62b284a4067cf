# SPDX-License-Identifier: Apache-2.0
"""Finding backends by name and by encoding, through entry points.

A package offers a backend by an entry point of the group `wasinn.backends` that names a `Backend`
class. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.metadata import entry_points

from wasinn.backends.base import Backend
from wasinn.errors import BackendError
from wasinn.spec import Encoding

GROUP = "wasinn.backends"


@functools.cache
def all_backends() -> tuple[Backend, ...]:
    """Every registered backend, installed or not, sorted by name."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    return tuple(found[name].load()() for name in sorted(found))


def by_name(name: str) -> Backend:
    """The backend called `name`. Raises BackendError, with the list of names."""
    for backend in all_backends():
        if backend.name == name:
            return backend
    known = ", ".join(backend.name for backend in all_backends())
    raise BackendError(f"there is no backend called {name!r}; known: {known}")


def ranked(encoding: Encoding) -> list[Backend]:
    """The backends that load `encoding`, installed or not, the default one first."""
    able = (backend for backend in all_backends() if encoding in backend.encodings)
    return sorted(able, key=lambda backend: backend.encodings[encoding])


def for_encoding(encoding: Encoding, preferred: Mapping[Encoding, str] | None = None) -> Backend:
    """The backend that serves `encoding`: the preferred one, else the first installed by rank.

    Raises BackendError that says what to install.
    """
    name = (preferred or {}).get(encoding)
    if name is not None:
        return checked(by_name(name), encoding)
    able = ranked(encoding)
    for backend in able:
        if backend.version() is not None:
            return backend
    if able:
        ways = " or ".join(backend.install_hint for backend in able)
        raise BackendError(f"no backend for {encoding.label} is installed: {ways}")
    raise BackendError(f"no backend of this version serves the encoding {encoding.label}")


def checked(backend: Backend, encoding: Encoding) -> Backend:
    """`backend`, if it is installed and loads `encoding`. Raises BackendError otherwise."""
    if encoding not in backend.encodings:
        able = ", ".join(each.label for each in backend.encodings)
        raise BackendError(f"backend {backend.name} does not load {encoding.label}; it loads: {able}")
    if backend.version() is None:
        raise BackendError(f"backend {backend.name} is not installed: {backend.install_hint}")
    return backend
