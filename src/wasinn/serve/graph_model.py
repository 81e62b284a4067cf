# SPDX-License-Identifier: Apache-2.0
"""A graph that is served as a model: its tensors are the request's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wasinn.backends.base import Configurable, Execution, Interruptible, Streaming
from wasinn.errors import WasiNNError
from wasinn.graphs.loader import LoadedGraph
from wasinn.graphs.metadata import metadata
from wasinn.oip.messages import InferRequest, InferResponse, WireTensor
from wasinn.runtime.lanes import Lanes, begin, timed
from wasinn.serve.errors import ServeError
from wasinn.serve.graph_tensors import Given, Ports
from wasinn.serve.metrics import ModelMetrics
from wasinn.serve.models import VERSION
from wasinn.serve.pool import Pool
from wasinn.spec import ErrorCode

#: Computes that were given up at their deadline and go on all the same, beyond which a model takes no more.
_MAX_GIVEN_UP = 16


class ServedGraph:
    """A loaded graph under a name; a ServedModel.

    A compute that is known to be quick runs on the event loop itself, others in its lanes, batched ones with
    others (graphs/batched.py). `max_context_tokens`: for how many tokens a language model's context may have
    memory, where the operator has not set more.
    """

    kind = "graph"

    def __init__(
        self,
        name: str,
        loaded: LoadedGraph,
        lanes: Lanes,
        metrics: ModelMetrics,
        max_context_tokens: int = 65536,
    ) -> None:
        graph = loaded.graph
        self._most_tokens = max_context_tokens
        self._texts = isinstance(graph, Configurable)
        if isinstance(graph, Configurable):
            # Options that come are a caller's, who is trusted as little as a guest.
            self._most_tokens = max(max_context_tokens, graph.context_tokens)
            graph = graph.for_guests()
            loaded = replace(loaded, graph=graph)
        self.name = name
        self.loaded = loaded
        self.pool = Pool(graph, keeps=not self._texts)
        self._ports = Ports(graph, self._texts)
        self._lanes = lanes
        self._metrics = metrics
        self._timing = loaded.timing
        if loaded.batched is not None:
            loaded.batched.on_batch = metrics.batch
        self._away = loaded.away
        #: Whether a compute here holds up the loop for no longer than it takes: what waits for another
        #: process may wait for ever.
        self._inline = not (self._away or self._texts)

    def metadata(self) -> dict[str, Any]:
        """The model metadata of the protocol, with the contract that callers may go by."""
        loaded = self.loaded
        found = metadata(self.name, loaded.backend, loaded.graph, loaded.label, loaded.told)
        if self._texts:
            for port in (*found["inputs"], *found["outputs"]):
                port["datatype"], port["shape"] = "BYTES", [1]
        return {"name": found.pop("name"), "versions": [VERSION], **found, "kind": self.kind}

    async def infer(self, request: InferRequest, deadline: float) -> InferResponse:
        """Answers a request in `deadline` seconds. Raises ServeError: 400 for tensors that do not fit, 500
        for a compute that fails, 503 where too many are stuck, 504 after the deadline."""
        end = time.monotonic() + deadline
        try:
            given = self._ports.inputs(request)
            chosen = self._ports.chosen(request.outputs)
        except WasiNNError as error:
            raise ServeError(400, error.reason) from error
        pool = self.pool
        if pool.given_up >= _MAX_GIVEN_UP:
            raise ServeError(
                503,
                f"model {self.name!r}: {pool.given_up} computes went on after their deadline, and no more "
                "are begun until they end",
                "stuck",
                5.0,
            )
        text = self._texts and any(each.datatype == "BYTES" for each in request.inputs)
        execution = pool.take()
        good = False
        try:
            if execution is None:
                execution = await self._open(end)
            began = time.perf_counter()
            try:
                outputs = await self._answer(execution, given, chosen, text, end)
            except _GivenUp as given_up:
                # It is in use until its compute ends.
                self._abandon(execution, given_up.future)
                execution = None
                raise given_up.error from None
            self._metrics.computed(time.perf_counter() - began)
            good = True
        except WasiNNError as error:
            raise self._refusal(error) from error
        finally:
            pool.put_back(execution, good)
        return InferResponse(self.name, outputs, VERSION, request.id)

    def close(self) -> None:
        """Lets go of the executions. The graph goes with the last who holds it."""
        self.pool.close()

    # -- executions ---------------------------------------------------------------------------------

    async def _open(self, end: float) -> Execution:
        """A new execution; in a thread where that takes another process or much memory."""
        if self._inline:
            return self.pool.open()
        future = self._lanes.start_blocking(self.pool.open)
        try:
            await _wait(future, end)
        except _GivenUp as given_up:
            future.add_done_callback(_close_opened)
            raise given_up.error from None
        opened: Execution = future.result()
        return opened

    async def _answer(
        self, execution: Execution, given: Given, chosen: Sequence[int], text: bool, end: float
    ) -> list[WireTensor]:
        """The outputs. Raises _GivenUp for a compute that goes on, WasiNNError."""
        size = sum(len(tensor.data) for _, tensor in given)
        batched = getattr(execution, "batched", None)
        if batched is not None:
            for index, tensor in given:
                execution.set_input(index, tensor)
            await _wait(begin(batched), end)
            execution.compute()  # takes what was computed
            return [self._ports.output(execution, index, text) for index in chosen]
        if self._inline and self._timing.quick_for(size):
            return self._work(execution, given, chosen, text, size)

        def work() -> list[WireTensor]:
            if time.monotonic() >= end:
                raise _too_late()  # nobody waits any more: the lane is for the next one
            return self._work(execution, given, chosen, text, size)

        # Another process may not answer for long: no lane waits for it.
        future = (self._lanes.start_blocking if self._away else self._lanes.start_compute)(work)
        await _wait(future, end)
        outputs: list[WireTensor] = future.result()
        return outputs

    def _work(
        self, execution: Execution, given: Given, chosen: Sequence[int], text: bool, size: int
    ) -> list[WireTensor]:
        """All of it at once, in whatever thread: an input may take a new worker process, too."""
        for index, tensor in given:
            execution.set_input(index, tensor)
        self._check_tokens(execution)
        timed(self._timing, execution.compute, size)
        return [self._ports.output(execution, index, text) for index in chosen]

    def _abandon(self, execution: Execution, future: asyncio.Future[Any]) -> None:
        """Ends a compute if that can be done, and frees its execution when it is over."""
        pool = self.pool
        pool.given_up += 1
        pool.used += 1

        def over(ended: asyncio.Future[Any]) -> None:
            pool.given_up -= 1
            if not ended.cancelled():
                ended.exception()  # looked at: nobody else will
            pool.put_back(execution, False)

        future.add_done_callback(over)
        if isinstance(execution, Interruptible):
            execution.interrupt()

    def _check_tokens(self, execution: Execution) -> None:
        if self._texts and isinstance(execution, Streaming) and execution.context_tokens > self._most_tokens:
            raise WasiNNError(
                ErrorCode.TOO_LARGE,
                f"the options ask for a context of {execution.context_tokens} tokens, and "
                f"{self._most_tokens} are allowed; set a smaller ctx-size",
            )

    def _refusal(self, error: WasiNNError) -> ServeError:
        status, kind = _STATUSES.get(error.code, (500, "compute"))
        reason = error.reason if status == 400 else f"model {self.name!r}: {error.reason}"
        return ServeError(status, reason, kind, 1.0 if status == 503 else None)


#: Errors of a graph that are the caller's, or of the moment.
_STATUSES = {
    ErrorCode.INVALID_ARGUMENT: (400, "invalid"),
    ErrorCode.TOO_LARGE: (400, "invalid"),
    ErrorCode.PROMPT_TOO_LONG: (400, "invalid"),
    ErrorCode.CONTEXT_FULL: (400, "invalid"),
    ErrorCode.UNSUPPORTED_OPERATION: (400, "invalid"),
    ErrorCode.BUSY: (503, "busy"),
}


class _GivenUp(Exception):
    """A wait that ended before what it was for. `error`: what to raise."""

    def __init__(self, future: asyncio.Future[Any], error: BaseException) -> None:
        super().__init__()
        self.future = future
        self.error = error


async def _wait(future: asyncio.Future[Any], end: float) -> None:
    """Waits until `future` is done, and leaves it alone otherwise. Raises _GivenUp at `end` (of the clock
    time.monotonic) and when the task is cancelled."""
    if future.done():
        return
    try:
        await asyncio.wait((future,), timeout=max(end - time.monotonic(), 0))
    except asyncio.CancelledError as error:
        if future.done() and not future.cancelled():
            future.exception()
        raise _GivenUp(future, error) from None
    if not future.done():
        raise _GivenUp(future, _too_late())


def _too_late() -> ServeError:
    return ServeError(504, "the deadline passed before the model had computed", "deadline")


def _close_opened(future: asyncio.Future[Execution]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()
