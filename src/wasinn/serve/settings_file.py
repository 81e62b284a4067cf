# SPDX-License-Identifier: Apache-2.0
"""The tables [serve] and [guests.NAME] of `wasinn.toml` as settings, with errors that name the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wasinn.errors import ConfigError
from wasinn.oip.messages import DATATYPES
from wasinn.serve.cores import usable_cores
from wasinn.serve.settings import DeclaredTensor, GuestSource, Settings
from wasinn.sizes import parse_size

#: The longest that a thread can be told to wait on every system, nearly: a day.
MAX_SECONDS = 86400.0
MAX_PROCESSES = 256


def parse_settings(serve: Mapping[str, Any], guests: Mapping[str, Any], folder: Path) -> Settings:
    """Settings from the raw tables; files in them lie in `folder` unless their paths are absolute. Without
    `processes` there is one for each core that may be used. Raises ConfigError that names the key."""
    values: dict[str, Any] = {"processes": usable_cores()}
    for key, value in serve.items():
        read = _SERVE.get(key)
        if read is None and key != "tokens_file":
            raise ConfigError(f"unknown key {key!r} in [serve]; known: {', '.join((*_SERVE, 'tokens_file'))}")
        if read is not None:
            values[key] = read(f"serve.{key}", value, folder)
    if "tokens_file" in serve:
        file = _path("serve.tokens_file", serve["tokens_file"], folder)
        values["tokens"] = (*values.get("tokens", ()), *read_tokens(file, "serve.tokens_file"))
    return replace(
        Settings(**values), guests={name: parse_guest(name, guests[name], folder) for name in guests}
    )


def check_settings(settings: Settings) -> Settings:
    """The settings, if they fit each other. Raises ConfigError."""
    if settings.http_port is None and settings.grpc_port is None:
        raise ConfigError("http_port and grpc_port are both off: there is nothing to call the server by")
    if settings.http_port and settings.http_port == settings.grpc_port:
        raise ConfigError(f"http_port and grpc_port are both {settings.http_port}: they need a port each")
    for key, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if getattr(settings, key) is not None and getattr(settings, other) is None:
            raise ConfigError(
                f"{key} needs {other} as well, a certificate and its key: --tls-cert and --tls-key, or "
                "tls_cert and tls_key in [serve]"
            )
    return settings


def parse_guest(name: str, table: Any, folder: Path) -> GuestSource:
    """The table `[guests.NAME]`. Raises ConfigError that names the guest and the key."""
    if not isinstance(table, Mapping):
        raise ConfigError(f'guests.{name} must be a table, [guests.{name}] with file = "GUEST.wasm"')
    if "file" not in table:
        raise ConfigError(
            f'[guests.{name}] needs file = "GUEST.wasm", or "@NAME" of one that comes with wasinn'
        )
    values: dict[str, Any] = {}
    for key, value in table.items():
        read = _GUEST.get(key)
        if read is None:
            raise ConfigError(f"unknown key {key!r} in [guests.{name}]; known: {', '.join(_GUEST)}")
        values[key] = read(f"guests.{name}.{key}", value, folder)
    return GuestSource(**values)


def read_tokens(file: Path, key: str) -> tuple[str, ...]:
    """The tokens in a file, one a line; empty lines and those that begin with # are none. Raises
    ConfigError, also for a file without a token: it would leave the server open."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}: cannot read {file}: {getattr(error, 'strerror', None) or error}") from None
    found = tuple(line.strip() for line in lines if line.strip() and not line.strip().startswith("#"))
    if not found:
        raise ConfigError(f"{key}: {file} has no token; write one a line")
    return tuple(_token(key, each) for each in found)


# -- values: (key, what was given, the folder of the file) -> what it means ---------------------------------

Read = Callable[[str, Any, Path], Any]


def _text(key: str, value: Any, _folder: Path) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{key} must be a text, got {value!r}")
    return value


def _flag(key: str, value: Any, _folder: Path) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{key} must be true or false, got {value!r}")
    return value


def _count(least: int, most: int = 1_000_000) -> Read:
    def read(key: str, value: Any, _folder: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ConfigError(f"{key} must be a whole number from {least} to {most}, got {value!r}")
        return value

    return read


def _port(key: str, value: Any, folder: Path) -> int | None:
    if value is False:
        return None
    if value is True:
        raise ConfigError(f"{key} must be a port, or false for none, got true")
    return int(_count(0, 65535)(key, value, folder))


def _seconds(key: str, value: Any, _folder: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SECONDS:
        raise ConfigError(f"{key} must be seconds above 0, at most {MAX_SECONDS:g}, got {value!r}")
    return float(value)


def _size(key: str, value: Any, _folder: Path) -> int:
    try:
        size = parse_size(value)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None
    if not 1 <= size < 1 << 62:
        raise ConfigError(f"{key} must be a size above 0, got {value!r}")
    return size


def _path(key: str, value: Any, folder: Path) -> Path:
    path = folder / _text(key, value, folder)
    if not path.is_file():
        raise ConfigError(f"{key}: there is no file {str(path)!r}")
    return path


def _log(key: str, value: Any, folder: Path) -> str:
    text = _text(key, value, folder)
    return text if text in ("off", "stderr") else str(folder / text)


def _guest_file(key: str, value: Any, folder: Path) -> str:
    text = _text(key, value, folder)
    return text if text.startswith("@") else str(_path(key, text, folder))


def _texts(key: str, value: Any, _folder: Path) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ConfigError(f'{key} must be a list of texts, as in ["one", "two"], got {value!r}')
    return tuple(value)


def _token(key: str, value: str) -> str:
    # What can stand in a header, and what nobody guesses.
    if len(value) < 8 or not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError(f"{key}: a token is at least 8 printable ASCII characters without a space")
    return value


def _tokens(key: str, value: Any, folder: Path) -> tuple[str, ...]:
    return tuple(_token(key, each) for each in _texts(key, value, folder))


def _directories(key: str, value: Any, folder: Path) -> tuple[str, ...]:
    result = []
    for text in _texts(key, value, folder):
        host, colons, rest = text.partition("::")
        rw = ":rw" if not colons and host.endswith(":rw") else ""
        host = host.removesuffix(rw)
        if not (folder / host).is_dir():
            raise ConfigError(f"{key}: there is no directory {str(folder / host)!r}")
        # The guest sees what was written, wherever this file lies.
        result.append(f"{folder / host}::{rest if colons else host}{rw}")
    return tuple(result)


def _environment(key: str, value: Any, _folder: Path) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
        raise ConfigError(f'{key} must be a table of texts, as in {{ NAME = "value" }}, got {value!r}')
    return dict(value)


def _input(key: str, value: Any, _folder: Path) -> str:
    if value not in ("stdin", "files"):
        raise ConfigError(f'{key} must be "stdin" or "files", got {value!r}')
    return str(value)


def _tensors(key: str, value: Any, folder: Path) -> tuple[DeclaredTensor, ...]:
    form = f'{key} must be a list of tables, as in [{{ name = "x", datatype = "FP32", shape = [-1, 4] }}]'
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise ConfigError(f"{form}, got {value!r}")
    found = []
    for table in value:
        if set(table) != {"name", "datatype", "shape"}:
            raise ConfigError(f"{form}; one has the keys: {', '.join(table) or 'none'}")
        datatype, shape = table["datatype"], table["shape"]
        if datatype not in DATATYPES:
            raise ConfigError(f"{key}: unknown datatype {datatype!r}; known: {', '.join(DATATYPES)}")
        if not isinstance(shape, list) or not all(
            isinstance(each, int) and not isinstance(each, bool) and each >= -1 for each in shape
        ):
            raise ConfigError(f"{key}: shape must be a list of sizes, -1 for any, got {shape!r}")
        found.append(DeclaredTensor(_text(f"{key}.name", table["name"], folder), datatype, tuple(shape)))
    names = [each.name for each in found]
    if len(set(names)) != len(names):
        raise ConfigError(f"{key}: two tensors have the same name: {', '.join(names)}")
    return tuple(found)


def _plain_text(key: str, value: Any, _folder: Path) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{key} must be a text, got {value!r}")
    return value


_SERVE: dict[str, Read] = {
    "host": _text,
    "http_port": _port,
    "grpc_port": _port,
    "processes": _count(1, MAX_PROCESSES),
    "max_body": _size,
    "max_concurrency": _count(1),
    "max_queue": _count(0),
    "queue_timeout": _seconds,
    "body_timeout": _seconds,
    "max_connections": _count(1),
    "deadline": _seconds,
    "drain_timeout": _seconds,
    "tls_cert": _path,
    "tls_key": _path,
    "tokens": _tokens,
    "access_log": _log,
    "console": _flag,
    "repository": _flag,
    "models": _texts,
}
_GUEST: dict[str, Read] = {
    "file": _guest_file,
    "args": _texts,
    "env": _environment,
    "dirs": _directories,
    "input": _input,
    "deadline": _seconds,
    "max_memory": _size,
    "max_concurrency": _count(1),
    "max_queue": _count(0),
    "inputs": _tensors,
    "outputs": _tensors,
    "description": _plain_text,
}
