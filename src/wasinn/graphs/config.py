# SPDX-License-Identifier: Apache-2.0
"""`wasinn.toml`: graphs, backends, permissions, limits and what is served, in one file.

[graphs.digits]
encoding = "onnx"              # or left out: detected
files = ["digits.onnx"]        # relative to this file
target = "cpu"                 # cpu, gpu, tpu or auto
preload = true                 # load when the host starts, not on first use

[graphs.far]
url = "http://10.0.0.7:8000/resnet"   # in place of files: a graph on another server

[backends]
onnx = "onnxruntime"

[permissions]
load = false
names = ["digits"]

[limits]
deadline = 10.0
max_memory = "256M"

[serve]                        # `wasinn serve`: docs/serving.md
http_port = 8000

[guests.classifier]            # guests that `wasinn serve` answers requests with
file = "classifier.wasm"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wasinn.contracts.parse import parse_contract
from wasinn.errors import ConfigError
from wasinn.graphs.permissions import Permissions
from wasinn.graphs.source import OPTION_NAMES, REMOTE, GraphSource
from wasinn.spec import Encoding

_TABLES = ("graphs", "backends", "permissions", "limits", "serve", "guests")
_GRAPH_KEYS = ("encoding", "files", "preload", "url", *OPTION_NAMES)
#: Options that are contracts, and all that name files; those lie beside the configuration.
_CONTRACTS = ("contract", "guests")
_PATH_OPTIONS = (*_CONTRACTS, "token_file", "ca")


@dataclass(frozen=True)
class Config:
    """What `wasinn.toml` says. `limits` is read by the runtime, `serve` and `guests` by the server;
    `preload` names graphs."""

    graphs: Mapping[str, GraphSource] = field(default_factory=dict)
    preload: tuple[str, ...] = ()
    backends: Mapping[Encoding, str] = field(default_factory=dict)
    permissions: Permissions = Permissions()
    limits: Mapping[str, Any] = field(default_factory=dict)
    serve: Mapping[str, Any] = field(default_factory=dict)
    guests: Mapping[str, Any] = field(default_factory=dict)


def read_config(path: Path) -> Config:
    """Reads a configuration file. Raises ConfigError that names the file, and the line or the key."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # what TOML and UTF-8 are not, and what is nested too deep
        raise ConfigError(f"{path}: {error}") from error
    try:
        return _config(document, path, text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _config(document: Mapping[str, Any], path: Path, text: str) -> Config:
    for key, value in document.items():
        if key not in _TABLES:
            raise ConfigError(f"unknown table [{key}]; known: {', '.join(_TABLES)}")
        if not isinstance(value, dict):
            raise ConfigError(f"{key} must be a table, [{key}]")
    graphs: dict[str, GraphSource] = {}
    preload = []
    for name, table in document.get("graphs", {}).items():
        if not isinstance(table, dict):
            raise ConfigError(f"graphs.{name} must be a table, [graphs.{name}]")
        try:
            graphs[name] = _graph(name, table, path, text)
        except ConfigError as error:
            raise ConfigError(f"[graphs.{name}]: {error}") from None
        if table.get("preload", False):
            preload.append(name)
    return Config(
        graphs=graphs,
        preload=tuple(preload),
        backends=parse_backends(document.get("backends", {})),
        permissions=Permissions.from_mapping(document.get("permissions", {})),
        limits=document.get("limits", {}),
        serve=document.get("serve", {}),
        guests=document.get("guests", {}),
    )


def _graph(name: str, table: Mapping[str, Any], path: Path, text: str) -> GraphSource:
    folder = path.parent
    for key in table:
        if key not in _GRAPH_KEYS:
            raise ConfigError(f"unknown key {key!r}; known: {', '.join(_GRAPH_KEYS)}")
    if not isinstance(table.get("preload", False), bool):
        raise ConfigError(f"preload must be true or false, got {table['preload']!r}")
    options = {key: value for key, value in table.items() if key in OPTION_NAMES}
    for key in _PATH_OPTIONS:
        value = options.get(key)
        if isinstance(value, dict) and key in _CONTRACTS:
            options[key] = parse_contract(value, folder, path, text, ("graphs", name, key))
        elif isinstance(value, str) and not value.startswith("@"):
            options[key] = str(folder / value)
    if "url" in table:
        return _remote(table, options)
    files = table.get("files")
    if isinstance(files, str):
        files = [files]
    if not isinstance(files, list) or not files or not all(isinstance(each, str) for each in files):
        raise ConfigError('files must be a list of paths, as in files = ["model.onnx"]')
    paths = [each if each.startswith("@") else str(folder / each) for each in files]
    return GraphSource.from_files(*paths, encoding=str(table.get("encoding", "autodetect")), **options)


def _remote(table: Mapping[str, Any], options: dict[str, Any]) -> GraphSource:
    """A graph on another server. Raises ConfigError."""
    for key in ("files", "encoding"):
        if key in table:
            raise ConfigError(f"give files or url, not both: a graph on another server has no {key} here")
    url = table["url"]
    if not isinstance(url, str):
        raise ConfigError(f'url must be a text, as in url = "http://HOST:PORT/MODEL", got {url!r}')
    # As it is written after `--graph NAME=`, too.
    return GraphSource.from_url(url.removeprefix(f"{REMOTE}:"), **options)


def parse_backends(table: Mapping[str, Any]) -> dict[Encoding, str]:
    """ENCODING -> BACKEND by name. Raises ConfigError."""
    result: dict[Encoding, str] = {}
    for key, value in table.items():
        try:
            encoding = Encoding.parse(key)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if encoding is Encoding.AUTODETECT or not isinstance(value, str):
            raise ConfigError(f"a backend is chosen as ENCODING = NAME, not {key} = {value!r}")
        result[encoding] = value
    return result
