# SPDX-License-Identifier: Apache-2.0
"""What a worker process does for one context: a thread of its own serves it over its own socket."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from wasinn.backends.base import Bindable, Execution, Graph, Interruptible, Streaming
from wasinn.errors import LostDevice, WasiNNError, runtime_error
from wasinn.graphs import messages
from wasinn.graphs.channel import Arena, Channel
from wasinn.graphs.messages import Layout, Shape, State
from wasinn.spec import ErrorCode
from wasinn.tensors import Tensor


def as_error(error: BaseException) -> WasiNNError:
    if isinstance(error, WasiNNError):
        return error
    if isinstance(error, MemoryError):
        return WasiNNError(ErrorCode.TOO_LARGE, "the worker process has too little memory for this")
    return runtime_error(f"{type(error).__name__}: {error}")


def end_process(reason: str) -> NoReturn:
    """Ends this process, which is of no more use, with last words: whoever waits for it is told them."""
    print(reason, file=sys.stderr, flush=True)
    os._exit(1)


class Lines(logging.Handler):
    """Keeps what each thread has for the log, until it is taken."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._of_thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        lines = self._of_thread.__dict__.setdefault("lines", [])
        if len(lines) < messages.MAX_LINES:
            lines.append(record.getMessage()[:2000])

    def take(self) -> tuple[str, ...]:
        return tuple(self._of_thread.__dict__.pop("lines", ()))


#: What is logged in this process, which has no log of its own.
lines = Lines()


class Context:
    """An execution, and the socket over which it is asked. A subclass answers."""

    def __init__(self, graph: Graph, execution: Execution, channel: Channel) -> None:
        self._graph = graph
        self._channel = channel
        self._execution = execution

    def serve(self) -> None:
        """Answers until the other end is gone. Raises Disconnected."""
        self._channel.send(messages.DONE)
        while True:
            message, files = self._channel.receive_with_files()
            try:
                answer = self._answer(message[:1], message[1:], files)
            except LostDevice as error:
                end_process(error.reason)
            except BaseException as error:
                answer = messages.encode_error(as_error(error))
            self._channel.send(answer)

    def _answer(self, kind: bytes, body: bytes, files: list[int]) -> bytes:
        raise NotImplementedError

    def interrupt(self) -> None:
        if isinstance(self._execution, Interruptible):
            self._execution.interrupt()

    def close(self) -> None:
        self._execution.close()


class StreamingContext(Context):
    """One of a language model: what it takes and gives is text, which goes through the socket.

    What is given comes as a file in memory, so that it may have any size.
    """

    def __init__(self, graph: Graph, execution: Streaming, channel: Channel) -> None:
        super().__init__(graph, execution, channel)  # type: ignore[arg-type]
        self._streaming = execution

    def _answer(self, kind: bytes, body: bytes, files: list[int]) -> bytes:
        if kind == messages.READ:
            return self._read(*json.loads(body))
        if kind == messages.INPUT:
            index, shape = json.loads(body)
            self._give(index, Shape.decode(shape), files[0])
        elif kind == messages.COMPUTE:
            self._execution.compute()
        elif kind == messages.SINGLE:
            self._streaming.compute_single()
        elif kind == messages.END:
            self._streaming.fini_single()
        return State(
            tuple(self._streaming.is_ready(index) for index in range(len(self._graph.outputs))),
            self._streaming.usage,
            lines.take(),
            self._streaming.context_tokens,
        ).encode()

    def _give(self, index: int, shape: Shape, file: int) -> None:
        arena = Arena.of_file(file, shape.size, writable=False)
        self._execution.set_input(index, Tensor(shape.dims, shape.type, arena.view))

    def _read(self, index: int, single: bool, offset: int) -> bytes:
        found = self._streaming.output_single(index) if single else self._execution.output(index)
        return messages.encode_part(found.data, offset)


class TensorContext(Context):
    """One whose tensors lie in an arena."""

    def __init__(self, graph: Graph, execution: Execution, channel: Channel) -> None:
        super().__init__(graph, execution, channel)
        self._arena: Arena | None = None
        self._layout = Layout((), (), 0)
        self._inputs: list[Shape] = []
        self._run: Callable[[], object] | None = None
        self._bindable = all(spec.static_dims is not None for spec in (*graph.inputs, *graph.outputs))

    def close(self) -> None:
        self._run = None
        super().close()

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
