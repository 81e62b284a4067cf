# SPDX-License-Identifier: Apache-2.0
"""A language model in a worker process, with options, and its contexts, which stream.

What a context is given is kept on this side, so that it goes on in the next process if one dies; a sequence
that was being generated is lost with its process.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable

from wasinn.backends.base import Execution, Graph, Usage
from wasinn.errors import WasiNNError, runtime_error
from wasinn.graphs import messages
from wasinn.graphs.channel import memory_file
from wasinn.graphs.isolated import IsolatedGraph
from wasinn.graphs.loading import Loading, opening
from wasinn.graphs.messages import Shape, State
from wasinn.graphs.worker_calls import Session, WorkerCalls
from wasinn.tensors import Tensor, TensorSpec

logger = logging.getLogger("wasinn.graph")

#: Lines in the log of one context: the worker says what it likes.
_MAX_LOGGED = 100


class IsolatedLanguageModel:
    """`graph`, with options: each of `layers` is a JSON object over those before it."""

    def __init__(self, graph: IsolatedGraph, layers: tuple[str, ...] = ()) -> None:
        self.graph = graph
        self.layers = layers
        self.inputs: tuple[TensorSpec, ...] = graph.inputs
        self.outputs: tuple[TensorSpec, ...] = graph.outputs
        self._lock = threading.Lock()
        #: The context in which the options were looked at, for the first who opens one.
        self._checked: Session | None = None

    @property
    def context_tokens(self) -> int:
        found = 0
        for layer in self.layers:  # each was looked at
            value = json.loads(layer.rstrip("\0") or "{}").get("ctx-size", found)
            found = value if isinstance(value, int) else found
        return found

    def for_guests(self) -> Graph:
        return self  # what holds a worker process up ends with it

    def with_options(self, config: str) -> Graph:
        """Has the worker look at them. Raises WasiNNError as the backend does."""
        found = IsolatedLanguageModel(self.graph, (*self.layers, config))
        found._checked = found.new_session(getattr(opening, "loading", None) or Loading())
        return found

    def open(self) -> Execution:
        with self._lock:
            session, self._checked = self._checked, None
        if session is None or not session.worker.usable:
            session = self.new_session(getattr(opening, "loading", None) or Loading())
        return IsolatedStreamingExecution(self, session)

    def new_session(self, loading: Loading) -> Session:
        return self.graph.new_session(loading, self.layers)


class IsolatedStreamingExecution(WorkerCalls):
    """One context of a language model in a worker process."""

    def __init__(self, graph: IsolatedLanguageModel, session: Session) -> None:
        super().__init__(session)
        self._graph: IsolatedLanguageModel | None = graph
        self._count = len(graph.outputs)
        self._given: dict[int, tuple[Shape, bytes]] = {}
        #: None where the worker was not asked since something failed.
        self._state: State | None = State((False,) * self._count, Usage())
        self._usage = self._before = Usage()
        #: As the worker said last; 0 before it was asked.
        self._room = 0
        #: Whether there is text that would be lost with the process.
        self._begun = False
        self._outputs: dict[tuple[int, bool], bytes] = {}
        self._logged = 0

    # -- what is asked ----------------------------------------------------------------------------

    def set_input(self, index: int, tensor: Tensor) -> None:
        shape, data = Shape.of(tensor), bytes(tensor.data)
        session = self._session
        begun, self._begun = self._begun, False  # the sequence ends here, also with its process
        try:
            self._change("taking an input", lambda: self._tell(index, shape, data))
        except WasiNNError:
            # An input that was refused leaves the sequence.
            self._begun = begun and session is self._session and session.worker.usable
            raise
        self._given[index] = (shape, data)

    def compute(self) -> None:
        self._begun = False
        self._change("generating", lambda: self._call(messages.COMPUTE))
        self._begun = True

    def compute_single(self) -> None:
        self._change("generating", lambda: self._call(messages.SINGLE))
        self._begun = True

    def fini_single(self) -> None:
        self._begun = False
        self._change("ending a sequence", lambda: self._call(messages.END))

    def output(self, index: int) -> Tensor:
        return self._read(index, False)

    def output_single(self, index: int) -> Tensor:
        return self._read(index, True)

    def is_ready(self, index: int) -> bool:
        return self._current().ready[index]

    @property
    def context_tokens(self) -> int:
        self._current()
        return self._room

    @property
    def usage(self) -> Usage:
        self._current()
        return self._usage

    def close(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            # Never kept for another: it holds what was generated.
            self._session.channel.close()

    # -- how ----------------------------------------------------------------------------------------

    def _change(self, doing: str, call: Callable[[], None]) -> None:
        """A call after which the outputs are others."""
        self._outputs.clear()
        self._state = None
        self._on_worker(doing, call)

    def _call(self, message: bytes, files: tuple[int, ...] = ()) -> None:
        with self._counted():
            self._accept(self._session.call(message, files))

    def _accept(self, answer: bytes) -> None:
        state = State.decode(answer, self._count)
        for line in state.log[: _MAX_LOGGED - self._logged]:
            self._logged += 1
            logger.warning("%s", line)
        self._state, before, last, now = state, self._before, self._usage, state.usage
        self._room = state.context_tokens
        self._usage = Usage(
            max(last.prompt_tokens, before.prompt_tokens + now.prompt_tokens),
            max(last.generated_tokens, before.generated_tokens + now.generated_tokens),
            max(last.generate_seconds, before.generate_seconds + now.generate_seconds),
        )

    def _tell(self, index: int, shape: Shape, data: bytes) -> None:
        try:
            file = memory_file(data)
        except OSError as error:
            raise runtime_error(f"no {shape.size} bytes of shared memory: {error}") from error
        try:
            self._call(messages.INPUT + json.dumps([index, shape.encode()]).encode(), (file,))
        finally:
            os.close(file)

    def _current(self) -> State:
        """What the worker says of its outputs; nothing can be read of one that is gone."""
        nothing = State((False,) * self._count, self._usage)
        if self._state is None:
            if not self._session.worker.usable:
                return nothing  # no new one is started for this
            try:
                self._on_worker("saying where it is", lambda: self._call(messages.STATE))
            except WasiNNError:
                return nothing
        return self._state or nothing

    def _read(self, index: int, single: bool) -> Tensor:
        data = self._outputs.get((index, single))
        if data is None:
            self._on_worker("giving an output", lambda: self._fetch(index, single))
            data = self._outputs[index, single]
        spec = self._graph.outputs[index] if self._graph is not None else None
        if spec is None or len(data) % spec.type.size:
            raise runtime_error(f"output {index} came as {len(data)} bytes")
        return Tensor((len(data) // spec.type.size,), spec.type, memoryview(data))

    def _fetch(self, index: int, single: bool) -> None:
        found = b""
        with self._counted():
            while True:
                request = messages.READ + json.dumps([index, single, len(found)]).encode()
                size, part = messages.decode_part(self._session.call(request))
                found += part
                if len(found) >= size:
                    break
                if not part:
                    raise ValueError(f"{len(found)} bytes of an output of {size}")
        if len(found) != size:
            raise ValueError(f"{len(found)} bytes of an output of {size}")
        self._outputs[index, single] = found

    def _attend(self) -> None:
        """Sees that there is a process: after a crash, a new one with the inputs of the old."""
        if self._interrupted:
            raise runtime_error("the compute was ended")
        before = self._session
        if before.worker.usable:
            return
        assert self._graph is not None
        begun, self._begun = self._begun, False
        fresh = self._graph.new_session(self._loading)
        self._session, self._before = fresh, self._usage
        try:
            with self._worker_errors("taking the inputs of the one before"):
                for index, (shape, data) in self._given.items():
                    self._tell(index, shape, data)
        except BaseException:
            self._session = before
            fresh.channel.close()
            raise
        before.channel.close()
        if begun:
            raise runtime_error(
                "the worker process died, and with it what had been generated; the next compute starts anew"
            )
