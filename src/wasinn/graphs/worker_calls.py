# SPDX-License-Identifier: Apache-2.0
"""A context's place in a worker process, and its calls there, which may be ended, or end with the process."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence

from wasinn.errors import WasiNNError, runtime_error
from wasinn.graphs import messages
from wasinn.graphs.channel import Arena, Channel, Disconnected
from wasinn.graphs.loading import Loading
from wasinn.graphs.messages import Layout, Shape
from wasinn.graphs.worker_handle import Worker, failure

#: How long a backend that can end a compute has to do so before its process is given up, in seconds.
_PATIENCE = 0.05


class Session:
    """A context's place in a worker process: its channel, and the arena with its tensors."""

    def __init__(self, worker: Worker, number: int, channel: Channel) -> None:
        self.worker = worker
        self.number = number
        self.channel = channel
        self.arena: Arena | None = None
        self.layout = Layout((), (), 0)
        #: The shapes of the inputs that the worker was told last.
        self.told: list[Shape] = []
        self.outputs: list[Shape | WasiNNError] = []

    def call(self, message: bytes, files: Sequence[int] = ()) -> bytes:
        """Sends a message, and gives the answer. Raises WasiNNError as the worker answers; Disconnected."""
        self.channel.send(message, files)
        answer = self.channel.receive()
        if answer[:1] not in (messages.DONE, messages.OUTPUTS):
            raise failure(answer)
        return answer

    def input_view(self, index: int, size: int) -> memoryview:
        offset, _ = self.layout.inputs[index]
        assert self.arena is not None
        return self.arena.view[offset : offset + size]

    def output_view(self, index: int, size: int) -> memoryview:
        offset, _ = self.layout.outputs[index]
        assert self.arena is not None
        return self.arena.view[offset : offset + size]

    def has_room(self, inputs: list[int], outputs: list[int]) -> bool:
        """Whether each port has room for so many bytes, and the inputs not more than that."""
        layout = self.layout
        enough = fits(layout.inputs, inputs) and fits(layout.outputs, outputs)
        return self.arena is not None and enough and sum(inputs) >= sum(room for _, room in layout.inputs)

    def make_room(self, inputs: list[int], outputs: list[int]) -> None:
        """Sees that each port has room for so many bytes; what the inputs hold is kept."""
        if self.has_room(inputs, outputs):
            return
        before, layout, wanted = self.arena, self.layout, Layout.of(inputs, outputs)
        try:
            self.arena, file = Arena.make(wanted.size)
        except (OSError, ValueError, OverflowError) as error:
            raise runtime_error(f"no {wanted.size} bytes of shared memory: {error}") from error
        self.layout = wanted
        try:
            if before is not None:
                for index, ((offset, room), size) in enumerate(zip(layout.inputs, inputs, strict=True)):
                    size = min(room, size)
                    self.input_view(index, size)[:] = before.view[offset : offset + size]
            self.call(self.layout.encode(), [file])
        except WasiNNError:
            self.arena, self.layout = before, layout
            raise
        finally:
            os.close(file)


def fits(regions: Sequence[tuple[int, int]], sizes: Sequence[int]) -> bool:
    return len(regions) == len(sizes) and all(
        room >= size for (_, room), size in zip(regions, sizes, strict=True)
    )


class _GivenUp(Exception):
    """The worker has been given up: it takes no more calls."""


class WorkerCalls:
    """Calls of one context. A subclass says in `_attend` how a process that is gone is replaced."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loading = Loading()
        self._computing = False
        self._interrupted = False
        self._abandoned = False
        self._call_lock = threading.Lock()

    def _attend(self) -> None:
        """Sees that there is a process. Raises WasiNNError."""
        raise NotImplementedError

    def _on_worker(self, doing: str, call: Callable[[], None]) -> None:
        """Calls `call` on a worker that is there; again if it was given up a moment before."""
        for _ in range(3):
            try:
                self._attend()
                with self._worker_errors(doing):
                    call()
                return
            except _GivenUp:
                continue
        raise runtime_error("the worker process is being replaced; try again")

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """A call that `interrupt` can end. Raises _GivenUp if the worker takes no more calls."""
        worker = self._session.worker
        if not worker.begin_call():
            raise _GivenUp
        with self._call_lock:
            self._computing = True
        try:
            if self._interrupted:
                raise runtime_error("the compute was ended")
            yield
        finally:
            with self._call_lock:
                self._computing = False
                abandoned, self._abandoned = self._abandoned, False
            worker.end_call(abandoned)

    @contextlib.contextmanager
    def _worker_errors(self, doing: str) -> Iterator[None]:
        worker = self._session.worker
        try:
            yield
        except Disconnected:
            if self._interrupted:
                raise runtime_error("the compute was ended") from None
            reason = worker.death(doing)
            worker.kill()
            raise runtime_error(f"{reason}; the next call starts another") from None
        except ValueError as error:
            worker.kill()
            raise runtime_error(f"the worker process answered nonsense: {error}") from error

    def interrupt(self) -> None:
        self._interrupted = True
        self._loading.interrupt("the run was ended")
        if not self._computing:
            return
        worker = self._session.worker
        if worker.loaded.interruptible:
            worker.interrupt(self._session.number)
            timer = threading.Timer(_PATIENCE, self._abandon)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError:  # no more threads
                self._abandon()
        else:
            self._abandon()

    def _abandon(self) -> None:
        """Waits no longer for a compute that nothing else ends."""
        with self._call_lock:
            if self._computing and not self._abandoned:
                self._abandoned = True
                self._session.worker.abandon_call()
                self._session.channel.shut()
