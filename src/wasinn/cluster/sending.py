# SPDX-License-Identifier: Apache-2.0
"""What a driver reads here and sends to its actors: nothing of it depends on where a process was started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wasinn import shipped
from wasinn.errors import ConfigError, GuestError
from wasinn.graphs.source import GraphSource
from wasinn.runtime.guest import to_binary
from wasinn.runtime.wasi import Directory


def named_source(name: str, source: GraphSource | str) -> GraphSource:
    """A graph of that name, given as text or as a source. Raises ConfigError."""
    try:
        return absolute(GraphSource.parse(source) if isinstance(source, str) else source)
    except ConfigError as error:
        raise ConfigError(f"graph {name!r}: {error}") from None


def absolute(source: Any) -> GraphSource:
    """With paths that do not depend on where a process was started."""
    if not isinstance(source, GraphSource):
        raise ConfigError(f"a graph is a GraphSource or text, not {source!r}")
    files = tuple(path.absolute() for path in source.model.files)
    return replace(source, model=replace(source.model, files=files))


def texts(args: Any) -> tuple[str, ...]:
    """Raises ConfigError for one text where a list of them is wanted."""
    if isinstance(args, str):
        raise ConfigError(f"args is a list of texts, not the text {args!r}")
    return tuple(args)


def read_guest(guest: Any) -> tuple[bytes, str]:
    """A guest's module and its name. Raises GuestError for what is none, ConfigError for no guest at all."""
    if isinstance(guest, bytes):
        return to_binary(guest, "guest"), "guest"
    if not isinstance(guest, str | Path):
        raise ConfigError(f"a guest is a path, @NAME or bytes, not a {type(guest).__name__}")
    try:
        path = shipped.resolve(str(guest), "guests")
        return to_binary(path.read_bytes(), path.name), path.name
    except OSError as error:
        raise GuestError(f"cannot read the guest {guest}: {error.strerror or error}") from error


def directories(dirs: Any) -> tuple[Directory, ...]:
    """As `Host.run` takes them. Raises ConfigError, also for one that is not there."""
    if isinstance(dirs, str):
        raise ConfigError(f"dirs is a list or a mapping of directories, not the text {dirs!r}")
    if isinstance(dirs, Mapping):
        found = [Directory(Path(host), guest) for guest, host in dirs.items()]
    else:
        found = [each if isinstance(each, Directory) else Directory.parse(str(each)) for each in dirs]
    for each in found:
        if not each.host.is_dir():
            raise ConfigError(f"there is no directory {str(each.host)!r}")
    return tuple(replace(each, host=each.host.absolute()) for each in found)
