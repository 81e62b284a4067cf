# SPDX-License-Identifier: Apache-2.0
"""What an operator says of the server: the tables [serve] and [guests.NAME] of `wasinn.toml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class DeclaredTensor:
    """A tensor that a guest takes or gives, for the model metadata; -1 in `shape` is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GuestSource:
    """A guest that is served as a model. `file`: a path or @NAME.

    `input`: how a command gets the tensors: "stdin" (a message of docs/serving-guests.md) or "files" (a
    folder /request with a file for each). `args` follow the guest's name. `deadline` (seconds), `max_memory`
    (bytes), `max_concurrency` and `max_queue` take the place of the server's own.
    """

    file: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    dirs: tuple[str, ...] = ()
    input: Literal["stdin", "files"] = "stdin"
    deadline: float | None = None
    max_memory: int | None = None
    max_concurrency: int | None = None
    max_queue: int | None = None
    inputs: tuple[DeclaredTensor, ...] = ()
    outputs: tuple[DeclaredTensor, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Settings:
    """The server's own. Sizes in bytes, times in seconds. A port of 0 is any that is free, None is none.

    `max_concurrency`: requests that a process works on at once for each model; `max_queue`: those that wait
    for that, beyond which 429 is answered; one that has waited `queue_timeout` gets 503. `max_body`: of a
    request, which must be there after `body_timeout` (else 408). `max_connections`: of a process, over each
    protocol. `deadline`: of one request, guest and compute included. `drain_timeout`: for what runs when the
    server is to end. `tokens`: one of them is wanted as `Authorization: Bearer TOKEN`; none is no such check.
    """

    host: str = "127.0.0.1"
    http_port: int | None = 8000
    grpc_port: int | None = 8001
    processes: int = 1
    max_body: int = 64 << 20
    max_concurrency: int = 64
    max_queue: int = 256
    queue_timeout: float = 10.0
    body_timeout: float = 30.0
    max_connections: int = 1024
    deadline: float = 30.0
    drain_timeout: float = 30.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tokens: tuple[str, ...] = ()
    access_log: str = "stderr"  # "off", "stderr" or a file
    console: bool = True
    repository: bool = True  # whether callers may load and unload models
    guests: Mapping[str, GuestSource] = field(default_factory=dict)
    models: Sequence[str] | None = None  # the graphs that are served; None is all of them
