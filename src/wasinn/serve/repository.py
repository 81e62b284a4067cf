# SPDX-License-Identifier: Apache-2.0
"""The models of one process: their states, and how they come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from wasinn.backends.common import one_line
from wasinn.errors import ConfigError, Error, WasiNNError
from wasinn.oip.errors import shown
from wasinn.runtime.embedding import Host
from wasinn.runtime.lanes import Lanes, lanes_of_loop
from wasinn.serve.admission import Gate
from wasinn.serve.errors import ServeError
from wasinn.serve.graph_model import ServedGraph
from wasinn.serve.metrics import Metrics, ModelMetrics
from wasinn.serve.models import VERSION, ServedModel
from wasinn.serve.settings import GuestSource, Settings

logger = logging.getLogger("wasinn.serve")

State = Literal["UNAVAILABLE", "LOADING", "READY"]


class Slot:
    """A loaded model, and how many requests it works on."""

    __slots__ = ("_unused", "model", "users")

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.users = 0
        self._unused: asyncio.Future[None] | None = None

    def leave(self) -> None:
        """A request is done with it."""
        self.users -= 1
        if not self.users and self._unused is not None and not self._unused.done():
            self._unused.set_result(None)

    async def unused(self) -> None:
        """Waits until no request has it; it must get no new ones."""
        if self.users:
            self._unused = asyncio.get_running_loop().create_future()
            await self._unused


class Entry:
    """A model's place. `slot` has the model while `state` is READY, and while it is loaded anew; `reason`
    says why it is UNAVAILABLE. `deadline`: seconds of one request."""

    def __init__(self, name: str, kind: str, gate: Gate, deadline: float, metrics: ModelMetrics) -> None:
        self.name = name
        self.kind = kind
        self.gate = gate
        self.deadline = deadline
        self.metrics = metrics
        self.slot: Slot | None = None
        self.state: State = "UNAVAILABLE"
        self.reason = "not loaded yet"
        self.lock = asyncio.Lock()

    @property
    def model(self) -> ServedModel | None:
        """The model that answers now, None where none does."""
        return None if self.slot is None else self.slot.model

    def take(self) -> Slot:
        """The model, for a request: `leave` must follow. Raises as `require_model`."""
        slot = self.slot
        if slot is None:
            self.require_model()
        assert slot is not None
        slot.users += 1
        return slot

    def require_model(self) -> ServedModel:
        """The model. Raises ServeError: 503 while it is loaded, else 404, with the reason."""
        if self.slot is not None:
            return self.slot.model
        if self.state == "LOADING":
            raise ServeError(503, f"model {self.name!r} is not ready: it is being loaded", "loading", 1.0)
        raise ServeError(404, f"model {self.name!r} is not ready: {self.reason}", "not_ready")


class Repository:
    """The graphs of the host and the guests of the settings, by name.

    Used on the event loop's thread. Raises ConfigError where a guest has the name of a graph, or the settings
    name a graph that is not there.
    """

    def __init__(self, host: Host, settings: Settings, metrics: Metrics) -> None:
        self._host = host
        self._settings = settings
        self.entries: dict[str, Entry] = {}
        graphs = list(host.registry) if settings.models is None else list(settings.models)
        for name in graphs:
            if name not in host.registry:
                known = ", ".join(sorted(host.registry)) or "none"
                raise ConfigError(f"models: there is no graph {name!r}; the graphs are: {known}")
            self._add(name, "graph", metrics)
        for name, source in settings.guests.items():
            if name in host.registry:
                raise ConfigError(
                    f"a guest and a graph are both called {name!r}; a served name is one of them"
                )
            self._add(name, "guest", metrics, source)

    def _add(self, name: str, kind: str, metrics: Metrics, source: GuestSource | None = None) -> None:
        chosen = self._settings
        most, max_queue, deadline = chosen.max_concurrency, chosen.max_queue, chosen.deadline
        if source is not None:
            most = most if source.max_concurrency is None else source.max_concurrency
            max_queue = max_queue if source.max_queue is None else source.max_queue
            deadline = deadline if source.deadline is None else source.deadline
        gate = Gate(name, most, max_queue, chosen.queue_timeout)
        self.entries[name] = Entry(name, kind, gate, deadline, metrics.of(name))

    # -- what is there --------------------------------------------------------------------------------

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def names(self) -> list[str]:
        """Every model, loaded or not."""
        return list(self.entries)

    @property
    def loading(self) -> bool:
        """Whether a model is loaded that cannot be served meanwhile."""
        return any(each.state == "LOADING" and each.model is None for each in self.entries.values())

    def entry(self, name: str, version: str = "") -> Entry:
        """The place of a model, in whatever state. Raises ServeError (404)."""
        found = self.entries.get(name)
        if found is None:
            known = ", ".join(sorted(self.entries)[:20]) or "none"
            raise ServeError(404, f"there is no model {shown(name)}; this server has: {known}")
        if version not in ("", VERSION):
            raise ServeError(404, f"model {name!r} has no version {shown(version)}; it has one, {VERSION!r}")
        return found

    def serving(self, name: str, version: str = "") -> Entry:
        """The place of a model that can be asked. Raises ServeError: 404 for an unknown name or version and
        for a model that is not loaded, 503 for one that is being loaded."""
        found = self.entry(name, version)
        if found.slot is None:
            found.require_model()
        return found

    def is_ready(self, name: str, version: str = "") -> bool:
        """Whether a model can be asked. Raises ServeError (404) for one that is not there."""
        return self.entry(name, version).model is not None

    def index(self, ready: bool = False) -> list[dict[str, Any]]:
        """The repository index of the protocol: `name`, `version`, `state`, `reason`, and `kind` ("graph"
        or "guest"). `ready`: only the models that are."""
        return [
            {
                "name": each.name,
                "version": VERSION,
                "state": each.state,
                "reason": each.reason,
                "kind": each.kind,
            }
            for each in self.entries.values()
            if each.state == "READY" or not ready
        ]

    # -- loads ----------------------------------------------------------------------------------------

    async def load_all(self, unloaded: Iterable[str] = ()) -> dict[str, str]:
        """Loads every model but `unloaded`, one after the other; reasons by name of those that failed."""
        skipped, failed = set(unloaded), {}
        for name, entry in self.entries.items():
            if name not in skipped:
                entry.state, entry.reason = "LOADING", ""
            else:
                entry.reason = "unloaded"
        for name, entry in self.entries.items():
            if name not in skipped:
                try:
                    await self.load(name)
                except ServeError:
                    failed[name] = entry.reason
        return failed

    async def load(self, name: str) -> None:
        """Loads a model in this process; one that is loaded is loaded anew, and the old one served
        meanwhile, and afterwards if the new one cannot be loaded. Raises ServeError: 404, 400 with the
        reason."""
        entry = self.entry(name)
        async with entry.lock:
            before = entry.slot
            entry.state, entry.reason = "LOADING", ""
            lanes = lanes_of_loop()
            try:
                fresh = await lanes.block(lambda: self._make(entry, lanes))
            except BaseException as error:
                reason = _reason(error)
                if before is None:
                    entry.state, entry.reason = "UNAVAILABLE", reason
                else:
                    entry.state = "READY"
                if not isinstance(error, Error | ServeError):
                    if isinstance(error, Exception):
                        logger.exception("model %r: a fault of the server while it was loaded", name)
                    else:
                        raise
                kept = "" if before is None else "; the one that was loaded before is still served"
                raise ServeError(
                    400, f"model {name!r} could not be loaded: {reason}{kept}", "load_failed"
                ) from error
            entry.slot, entry.state = Slot(fresh), "READY"
            if before is not None:
                await _retire(before)

    async def unload(self, name: str) -> None:
        """Unloads a model in this process: new requests are refused at once, it goes when those that it
        works on are answered. Raises ServeError (404). One that is not loaded stays so."""
        entry = self.entry(name)
        async with entry.lock:
            slot, entry.slot = entry.slot, None
            entry.state, entry.reason = "UNAVAILABLE", "unloaded"
            if slot is not None:
                await _retire(slot)
                if entry.kind == "graph":
                    self._host.unload(name)

    async def close(self) -> None:
        """Frees every model; no request should be under way."""
        for entry in self.entries.values():
            slot, entry.slot = entry.slot, None
            entry.state, entry.reason = "UNAVAILABLE", "the server has ended"
            if slot is not None:
                slot.model.close()

    def _make(self, entry: Entry, lanes: Lanes) -> ServedModel:
        """Loads a model, in a thread of its own. Raises wasinn's errors."""
        if entry.kind == "guest":
            from wasinn.serve.guest_model import ServedGuest

            return ServedGuest(entry.name, self._settings.guests[entry.name], self._host, self._settings)
        registry = self._host.registry
        if entry.slot is not None:
            self._host.unload(entry.name)
        self._host.preload(entry.name)
        loaded = registry.loaded(entry.name)
        if loaded is None:
            raise ServeError(400, f"the graph {entry.name!r} was unloaded while it was loaded")
        tokens = self._host.permissions.max_context_tokens
        return ServedGraph(entry.name, loaded, lanes, entry.metrics, tokens)


async def _retire(slot: Slot) -> None:
    """Frees a model that gets no new requests, when its last is answered."""
    await slot.unused()
    slot.model.close()


def _reason(error: BaseException) -> str:
    if isinstance(error, WasiNNError | ServeError):
        return one_line(error.reason)
    if isinstance(error, Error):
        return one_line(error)
    return f"a fault of the server ({type(error).__name__}); its log says more"
