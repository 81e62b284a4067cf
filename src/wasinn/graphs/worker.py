# SPDX-License-Identifier: Apache-2.0
"""The worker process: loads a graph, and computes what its contexts are asked to.

Started by `worker_process.py`. It serves each context by a thread of its own, over the context's own
socket; the tensors lie in the context's arena. Others than the process that started it may open contexts
too (`join`). The end of that process ends it, also while a runtime that hangs keeps the interpreter to
itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import resource
import signal
import threading
from pathlib import Path
from typing import Any

from wasinn.backends import common, lookup
from wasinn.backends.base import Configurable, Graph, Interruptible, Model, Streaming
from wasinn.graphs import messages
from wasinn.graphs.channel import Arena, Channel, Disconnected
from wasinn.graphs.messages import Loaded, LoadRequest
from wasinn.graphs.worker_contexts import Context, StreamingContext, TensorContext, as_error, lines


def main(control: int, lifeline: int) -> None:
    """Serves until `control` is closed. `lifeline`: the reading end of a pipe that nobody writes to."""
    _prepare(lifeline)
    try:
        _Worker(Channel.from_file(control)).serve()
    except Disconnected:
        pass
    finally:
        os._exit(0)  # runtimes' threads may still compute


def _prepare(lifeline: int) -> None:
    common.hold_stderr = False
    logging.getLogger("wasinn").addHandler(lines)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The default of SIGIO ends the process: when the pipe's other end goes, and no Python is needed.
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    # A crash is expected: no core file. A model that wants all memory costs this process, not its host.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


class _User:
    """One who opens contexts of the graph, over a control channel: numbers are its own."""

    def __init__(self, control: Channel) -> None:
        self._control = control
        self._contexts: dict[int, Context] = {}

    def serve(self, graph: Graph | None) -> None:
        """Answers one who has joined, until it is gone."""
        with contextlib.suppress(Disconnected):
            while True:
                message, files = self._control.receive_with_files()
                self.answer(json.loads(message), files, graph)
        self._control.close()

    def answer(self, request: dict[str, Any], files: list[int], graph: Graph | None) -> None:
        if "interrupt" in request:
            context = self._contexts.get(request["interrupt"])
            if context is not None:
                context.interrupt()
            return
        assert graph is not None
        arguments = (request["open"], graph, request["layers"], Channel.from_file(files[0]))
        threading.Thread(target=self._serve_context, args=arguments, daemon=True).start()

    def _serve_context(self, number: int, graph: Graph, layers: list[str], channel: Channel) -> None:
        try:
            for config in layers:
                assert isinstance(graph, Configurable)
                graph = graph.with_options(config)
            execution = graph.open()
            context: Context
            if isinstance(execution, Streaming):
                context = StreamingContext(graph, execution, channel)
            else:
                context = TensorContext(graph, execution, channel)
        except BaseException as error:
            with contextlib.suppress(Disconnected):
                channel.send(messages.encode_error(as_error(error)))
            channel.close()
            return
        self._contexts[number] = context
        try:
            context.serve()
        except Disconnected:
            pass
        finally:
            del self._contexts[number]
            context.close()
            channel.close()


class _Worker:
    def __init__(self, control: Channel) -> None:
        self._control = control
        self._owner = _User(control)
        self._graph: Graph | None = None

    def serve(self) -> None:
        while True:
            message, files = self._control.receive_with_files()
            request = json.loads(message)
            if "join" in request:
                user = _User(Channel.from_file(files[0]))
                threading.Thread(target=user.serve, args=(self._graph,), daemon=True).start()
            elif "interrupt" in request or "open" in request:
                self._owner.answer(request, files, self._graph)
            else:
                self._control.send(self._load(LoadRequest.decode(message), files))

    def _load(self, request: LoadRequest, files: list[int]) -> bytes:
        """Loads a graph in the place of the one before, and answers what it is or why not."""
        self._graph = None
        try:
            graph = _load(request, files)
            execution = graph.open()
            ends, streams = isinstance(execution, Interruptible), isinstance(execution, Streaming)
            answer = Loaded(graph.inputs, graph.outputs, ends, streams).encode()
            execution.close()
        except BaseException as error:
            return messages.encode_error(as_error(error))
        self._graph = graph
        return answer


def _load(request: LoadRequest, files: list[int]) -> Graph:
    backend = lookup.by_name(request.backend)
    if request.files:
        model = Model(files=tuple(Path(each) for each in request.files))
    else:
        arenas = [
            Arena.of_file(file, size, writable=False)
            for file, size in zip(files, request.builders, strict=True)
        ]
        model = Model(builders=tuple(bytes(arena.view) for arena in arenas))
    return backend.load(model, request.encoding, request.target, request.options)
