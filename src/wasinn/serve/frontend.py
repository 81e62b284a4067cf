# SPDX-License-Identifier: Apache-2.0
"""The server behind its protocols: HTTP, gRPC and the console all come through here.

    frontend = Frontend(host, settings, control)     # on the event loop's thread
    failed = await frontend.start()                  # loads the models; {name: reason} of those that failed
    frontend.check("digits", "")                     # early, before a body is read: 404, 429, 503
    answer = await frontend.infer("digits", "", request, client="10.0.0.7:4711")
    await frontend.load("digits"); await frontend.unload("digits")
    await frontend.drain(30.0)                       # 503 for new requests; the end of those that run
    await frontend.close()

Everything raises `ServeError` for what the caller can be told: an HTTP status, words, and a kind for the
metrics. Only the event loop's thread may call it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from wasinn.oip.messages import InferRequest, InferResponse
from wasinn.runtime.embedding import Host
from wasinn.runtime.lanes import Lanes, lanes_of_loop
from wasinn.serve.access import Access
from wasinn.serve.auth import Tokens
from wasinn.serve.body import Budget
from wasinn.serve.errors import ServeError
from wasinn.serve.metrics import Metrics
from wasinn.serve.parameters import check_parameters, timeout_of
from wasinn.serve.repository import Repository
from wasinn.serve.settings import Settings
from wasinn.serve.watch import Watch

logger = logging.getLogger("wasinn.serve")

#: What the server's metadata says that it can, by the protocol's names.
EXTENSIONS = ("binary_tensor_data", "model_repository")


class Control(Protocol):
    """The channel to the other processes of the same server.

    `load` and `unload` have every process call its `frontend.repository.load` (or `unload`), this one's
    too, and return when all have; they raise ServeError with the first refusal. `ready`: whether every
    process is.
    """

    @property
    def ready(self) -> bool: ...

    async def load(self, name: str) -> None: ...

    async def unload(self, name: str) -> None: ...


class Frontend:
    """One process of the server.

    `host` has the graphs; `settings` names the guests. `control` is None for a server of one process.
    Attributes: `repository` (names, states, load, unload of this process), `metrics`, `tokens` (who may
    call), `access` (a line of the log for each request), `watch` (ends requests whose caller is gone).
    Raises ConfigError for a guest with the name of a graph, and for a model in `settings.models` that is
    not there.
    """

    def __init__(self, host: Host, settings: Settings, control: Control | None = None) -> None:
        self.host = host
        self.settings = settings
        self.control = control
        self.metrics = Metrics()
        self.repository = Repository(host, settings, self.metrics)
        self.tokens = Tokens(settings.tokens)
        self.access = Access(settings.access_log != "off")
        self.watch = Watch(settings.body_timeout)
        self.budget = Budget(max(_MAX_BODIES, 4 * settings.max_body))
        self.draining = False
        self._started = False
        self._in_flight = 0
        self._refresher: asyncio.Task[None] | None = None

    # -- its life -------------------------------------------------------------------------------------

    async def start(self, unloaded: Iterable[str] = ()) -> dict[str, str]:
        """Loads every model but those in `unloaded`, which wait for `load`. Reasons by name of those that
        could not be; they are UNAVAILABLE, and the others are served. Does nothing the second time."""
        if self._started:
            return {}
        self.watch.start()
        self._refresher = asyncio.get_running_loop().create_task(self._refresh())
        failed = await self.repository.load_all(unloaded)
        self._started = True
        return failed

    @property
    def live(self) -> bool:
        """Whether the process works: it answers, so it does."""
        return True

    @property
    def ready(self) -> bool:
        """Whether requests are welcome: models are loaded, here and in the other processes, and no drain
        has begun. A model that could not be loaded has a state of its own, and does not count."""
        started = self._started and not self.draining and not self.repository.loading
        return started and (self.control is None or self.control.ready)

    @property
    def lanes(self) -> Lanes:
        """Where this loop's computes and blocking calls go (runtime/lanes.py)."""
        return lanes_of_loop()

    @property
    def in_flight(self) -> int:
        """Requests that run or wait."""
        return self._in_flight

    def begin_drain(self) -> None:
        """From now on `ready` is False and a new request gets 503."""
        self.draining = True

    async def drain(self, timeout: float) -> int:
        """Waits up to `timeout` seconds for the requests under way. How many are still there."""
        self.begin_drain()
        end = time.monotonic() + timeout
        while self._in_flight and time.monotonic() < end:
            await asyncio.sleep(0.02)
        return self._in_flight

    async def close(self) -> None:
        """Frees the models. Requests that still run are ended."""
        self.begin_drain()
        if self._refresher is not None:
            self._refresher.cancel()
        self.watch.close()
        await self.repository.close()

    async def _refresh(self) -> None:
        while True:
            self.refresh_metrics()
            await asyncio.sleep(1.0)

    def refresh_metrics(self) -> None:
        """Writes the gauges (what runs, waits, is pooled) from the counts of this moment."""
        self.metrics.refresh(self.repository)

    # -- requests -------------------------------------------------------------------------------------

    def check(self, model_name: str, version: str = "") -> None:
        """What can be said before a request's body is read. Raises ServeError: 404 for a model or a
        version that is not there, 503 for one that is loading and for a server that drains, 429 for a
        full queue. Counts what it refuses."""
        try:
            self._check_open()
            self.repository.serving(model_name, version).gate.check()
        except ServeError as error:
            self.refuse(model_name, error)
            raise

    def refuse(self, model_name: str, error: ServeError) -> None:
        """Counts a request that never came to `infer`: its body was wrong, or too large."""
        self.metrics.refused(model_name if model_name in self.repository else "", error.status, error.kind)

    async def infer(
        self,
        model_name: str,
        version: str,
        request: InferRequest,
        client: str = "",
        deadline: float | None = None,
    ) -> InferResponse:
        """Answers a request: the order is admission, then the model; both are measured and counted.

        `version` "" is the one that there is. `client`: who asks, for the log. `deadline`: the seconds
        that the caller waits at most; the model's own or the server's hold where they are shorter. Cancel
        the task, and a guest or a compute that can be ended is ended. Raises ServeError: 400, 404, 429,
        500, 503, 504.
        """
        began = time.perf_counter()
        waited = 0.0
        self._in_flight += 1
        try:
            self._check_open()
            entry = self.repository.serving(model_name, version)
            gate, counted = entry.gate, entry.metrics
        except ServeError as error:
            self._in_flight -= 1
            self.refuse(model_name, error)
            raise
        status, kind = 200, ""
        try:
            check_parameters(request)
            limit = entry.deadline if deadline is None else min(deadline, entry.deadline)
            wanted = timeout_of(request.parameters) if request.parameters else None
            limit = limit if wanted is None else min(limit, wanted)
            if not gate.try_enter():
                await gate.enter(limit)
                waited = time.perf_counter() - began
            try:
                # A model that was reloaded or unloaded while this one waited: what is there now counts.
                slot = entry.take()
                try:
                    return await slot.model.infer(request, limit - waited)
                finally:
                    slot.leave()
            finally:
                gate.leave()
        except ServeError as error:
            status, kind = error.status, error.kind
            raise
        except asyncio.CancelledError:
            status, kind = CLIENT_CLOSED, "cancelled"
            raise
        except Exception as error:
            status, kind = 500, "internal"
            logger.exception("model %r: a fault of the server, for %s", model_name, client or "a caller")
            raise ServeError(
                500, f"a fault of the server in model {model_name!r}; its log says more", "internal"
            ) from error
        finally:
            self._in_flight -= 1
            counted.done(status, kind, time.perf_counter() - began, waited)

    def _check_open(self) -> None:
        if self.draining:
            raise ServeError(503, "the server is shutting down; try another replica", "draining", 1.0)
        if not self._started:
            raise ServeError(503, "the server is loading its models; try again soon", "starting", 1.0)

    # -- the repository, in all processes ------------------------------------------------------------------

    async def load(self, name: str) -> None:
        """Loads a model, or loads it anew, in every process. Raises ServeError: 403 where the settings do
        not let callers do that, 404 for an unknown name, 400 with the reason for a load that failed."""
        self._check_repository(name)
        await (self.repository if self.control is None else self.control).load(name)

    async def unload(self, name: str) -> None:
        """Unloads a model in every process, once the requests that it works on are answered. Raises
        ServeError as `load`."""
        self._check_repository(name)
        await (self.repository if self.control is None else self.control).unload(name)

    def _check_repository(self, name: str) -> None:
        if not self.settings.repository:
            raise ServeError(
                403, "this server does not let callers load and unload models (repository = false)"
            )
        self.repository.entry(name)

    # -- metadata -------------------------------------------------------------------------------------

    def server_metadata(self) -> Mapping[str, Any]:
        """The server metadata of the protocol: `name`, `version`, `extensions`."""
        from wasinn import __version__

        return {"name": "wasinn", "version": __version__, "extensions": list(EXTENSIONS)}

    def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """The model metadata of the protocol: `name`, `versions`, `platform`, `inputs`, `outputs` (each
        `name`, `datatype`, `shape` with -1 for any size), and what wasinn adds (`label`, `contract`,
        `kind`). A dictionary of the caller's own. Raises ServeError: 404, 503."""
        return self.repository.serving(name, version).require_model().metadata()


#: Bytes of all request bodies that a process holds at a time.
_MAX_BODIES = 1 << 30

#: The status that is counted for a request whose caller went away; nobody is told.
CLIENT_CLOSED = 499
