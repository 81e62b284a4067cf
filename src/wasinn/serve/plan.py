# SPDX-License-Identifier: Apache-2.0
"""What a server process is told when it starts: the whole configuration, checked, and its sockets.

It goes over the process's stdin as a pickle, from the supervisor and from nobody else. So a process that is
started again serves what the server was started with, and tokens stand in no list of processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wasinn.errors import ConfigError
from wasinn.graphs.permissions import Permissions
from wasinn.graphs.source import GraphSource
from wasinn.runtime.embedding import Host
from wasinn.runtime.limits import Limits
from wasinn.serve.cores import usable_cores
from wasinn.serve.settings import Settings


@dataclass(frozen=True)
class Plan:
    """`preload` are graphs that guests use and that are loaded ahead. `http` is the number of the inherited
    listening socket, `grpc` the address that the process listens on with others; None is no such server.
    `workers` is where the worker processes of isolated graphs are handed out, None if each has its own.
    `first`: it is one of those that the server starts with, which answer probes while they load; one that
    takes a dead one's place loads before it takes requests. `unloaded` are the models that callers have
    unloaded."""

    graphs: Mapping[str, GraphSource]
    settings: Settings
    permissions: Permissions = Permissions()
    backends: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    preload: tuple[str, ...] = ()
    log_level: int = 30
    http: int | None = None
    grpc: str | None = None
    workers: str | None = None
    first: bool = True
    unloaded: frozenset[str] = frozenset()

    def host(self) -> Host:
        """The host that the models live in. Raises ConfigError and BackendError."""
        return Host(self.graphs, self.permissions, self.backends, self.limits)


def check_plan(plan: Plan) -> Plan:
    """The plan with what follows from it. Raises ConfigError for models that cannot be served."""
    settings = plan.settings
    for name in settings.models or ():
        if name not in plan.graphs:
            known = ", ".join(plan.graphs) or "none"
            raise ConfigError(f"serve.models: no graph is called {name!r}; graphs: {known}")
    served = list(plan.graphs) if settings.models is None else list(settings.models)
    if not served and not settings.guests:
        raise ConfigError(
            "there is nothing to serve: give --graph NAME=ENCODING:PATH, --guest NAME=FILE or --config FILE"
        )
    for name in settings.guests:
        if name in plan.graphs:
            raise ConfigError(
                f"a graph and a guest are both called {name!r}: a model needs a name of its own"
            )
    for name in (*served, *settings.guests):
        if not name or not name.isprintable():
            raise ConfigError(f"a model that is served cannot be called {name!r}: its name is a part of URLs")
    return replace(plan, graphs=_with_threads(plan))


def _with_threads(plan: Plan) -> dict[str, GraphSource]:
    """The graphs; those that do not say how many threads they compute with share the cores fairly."""
    threads = max(1, usable_cores() // plan.settings.processes)
    result = {}
    for name, source in plan.graphs.items():
        # Another server's threads are its own, a worker process is one for all, and tract has one thread.
        own = source.model.url is not None or source.isolation == "process"
        one_only = "tract" in (source.backend, *plan.backends.values())
        if source.options.threads is None and not own and not (one_only and threads > 1):
            source = replace(source, options=replace(source.options, threads=threads))
        result[name] = source
    return result
