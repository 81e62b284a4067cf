# SPDX-License-Identifier: Apache-2.0
"""The worker process: loads a graph, and computes what its contexts are asked to.

Started by `worker_process.py`. It serves each context by a thread of its own, over the context's own
socket; the tensors lie in the context's arena. The end of the process that started it ends it, also
while a runtime that hangs keeps the interpreter to itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from wasinn.backends import common, lookup
from wasinn.backends.base import Bindable, Execution, Graph, Interruptible, Model
from wasinn.errors import WasiNNError, runtime_error
from wasinn.graphs import messages
from wasinn.graphs.channel import Arena, Channel, Disconnected
from wasinn.graphs.messages import Layout, Loaded, LoadRequest, Shape
from wasinn.spec import ErrorCode
from wasinn.tensors import Tensor


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


class _Worker:
    def __init__(self, control: Channel) -> None:
        self._control = control
        self._contexts: dict[int, _Context] = {}
        self._graph: Graph | None = None

    def serve(self) -> None:
        while True:
            message, files = self._control.receive_with_files()
            request = json.loads(message)
            if "interrupt" in request:
                context = self._contexts.get(request["interrupt"])
                if context is not None:
                    context.interrupt()
            elif "open" in request:
                channel = Channel.from_file(files[0])
                assert self._graph is not None
                threading.Thread(
                    target=self._serve_context, args=(request["open"], self._graph, channel), daemon=True
                ).start()
            else:
                self._control.send(self._load(LoadRequest.decode(message), files))

    def _load(self, request: LoadRequest, files: list[int]) -> bytes:
        """Loads a graph in the place of the one before, and answers what it is or why not."""
        self._graph = None
        try:
            graph = _load(request, files)
            execution = graph.open()
            answer = Loaded(graph.inputs, graph.outputs, isinstance(execution, Interruptible)).encode()
            execution.close()
        except BaseException as error:
            return messages.encode_error(_as_error(error))
        self._graph = graph
        return answer

    def _serve_context(self, number: int, graph: Graph, channel: Channel) -> None:
        try:
            context = _Context(graph, channel)
        except BaseException as error:
            with contextlib.suppress(Disconnected):
                channel.send(messages.encode_error(_as_error(error)))
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


def _as_error(error: BaseException) -> WasiNNError:
    if isinstance(error, WasiNNError):
        return error
    if isinstance(error, MemoryError):
        return WasiNNError(ErrorCode.TOO_LARGE, "the worker process has too little memory for this")
    return runtime_error(f"{type(error).__name__}: {error}")


class _Context:
    """One context: an execution, and the arena that its tensors lie in."""

    def __init__(self, graph: Graph, channel: Channel) -> None:
        self._graph = graph
        self._channel = channel
        self._execution: Execution = graph.open()
        self._arena: Arena | None = None
        self._layout = Layout((), (), 0)
        self._inputs: list[Shape] = []
        self._run: Callable[[], object] | None = None
        self._bindable = all(spec.static_dims is not None for spec in (*graph.inputs, *graph.outputs))

    def serve(self) -> None:
        self._channel.send(messages.DONE)
        while True:
            message, files = self._channel.receive_with_files()
            try:
                answer = self._answer(message[:1], message[1:], files)
            except BaseException as error:
                answer = messages.encode_error(_as_error(error))
            self._channel.send(answer)

    def interrupt(self) -> None:
        if isinstance(self._execution, Interruptible):
            self._execution.interrupt()

    def close(self) -> None:
        self._run = None
        self._execution.close()

    def _answer(self, kind: bytes, body: bytes, files: list[int]) -> bytes:
        if kind == messages.COMPUTE:
            return self._compute(body)
        if kind == messages.FETCH:
            return self._outputs()
        layout = Layout.decode(body)
        arena = Arena.of_file(files[0], layout.size)
        self._layout, self._arena, self._run = layout, arena, None
        return messages.DONE

    def _compute(self, body: bytes) -> bytes:
        if self._run is not None and not body:
            try:
                self._run()
                return messages.DONE
            except Exception:
                self._run = None  # the execution's own way explains
        if body:
            self._inputs = [Shape.decode(each) for each in json.loads(body)]
        for index, (shape, (offset, _)) in enumerate(zip(self._inputs, self._layout.inputs, strict=True)):
            assert self._arena is not None
            view = self._arena.view[offset : offset + shape.size]
            self._execution.set_input(index, Tensor(shape.dims, shape.type, view))
        self._execution.compute()
        answer = self._outputs()
        self._bind()
        return answer

    def _outputs(self) -> bytes:
        """Copies what fits into the arena, and says what each output is."""
        assert self._arena is not None
        found: list[Shape | WasiNNError] = []
        for index, (offset, capacity) in enumerate(self._layout.outputs):
            try:
                tensor = self._execution.output(index)
            except WasiNNError as error:
                found.append(error)
                continue
            size = len(tensor.data)
            if size <= capacity:
                self._arena.view[offset : offset + size] = tensor.data
            found.append(Shape.of(tensor))
        return messages.OUTPUTS + messages.encode_shapes(found)

    def _bind(self) -> None:
        """Lets the runtime read and write the arena itself, where all shapes are fixed."""
        if not self._bindable or not isinstance(self._execution, Bindable) or self._arena is None:
            return
        base = self._arena.address
        self._run = self._execution.bind(
            [base + offset for offset, _ in self._layout.inputs],
            [base + offset for offset, _ in self._layout.outputs],
        )
        self._bindable = self._run is not None
