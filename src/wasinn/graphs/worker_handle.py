# SPDX-License-Identifier: Apache-2.0
"""A worker process as those see it who compute in it: contexts are opened in it, and its calls are counted.

A worker with a call that nobody waits for any longer gets no new work, and ends when the calls of others are
done. Who ends it depends on whose it is: this process's own (`worker_process.py`), or one that several
processes share (`shared_workers.py`).
"""

from __future__ import annotations

import abc
import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from wasinn.errors import WasiNNError, runtime_error
from wasinn.graphs import messages
from wasinn.graphs.channel import Channel, Disconnected
from wasinn.graphs.messages import Loaded

_numbers = itertools.count()


class Worker(abc.ABC):
    """A process with a graph in it. `loaded` is what it says of that."""

    def __init__(self) -> None:
        self._control: Channel
        self._lock = threading.Lock()
        self._calls = 0
        self._abandoned = 0
        self._retired = False
        self.loaded = Loaded((), (), False)

    @property
    @abc.abstractmethod
    def alive(self) -> bool:
        """Whether the process is there, as far as is known."""

    @abc.abstractmethod
    def kill(self) -> None:
        """Ends it for all who use it. Safe from any thread."""

    @abc.abstractmethod
    def close(self) -> None:
        """Frees what belongs to it here, and ends it where nobody else uses it."""

    @abc.abstractmethod
    def death(self, doing: str) -> str:
        """Why it died, in words: "the worker process died while loading the model: SIGSEGV; ..."."""

    @abc.abstractmethod
    def _over(self) -> None:
        """It was given up, and all calls that somebody waits for are done. May be called twice."""

    @property
    def usable(self) -> bool:
        """Whether new contexts may be opened in it."""
        return not self._retired and self.alive

    def open(
        self,
        ended_by: Callable[[Callable[[], None]], AbstractContextManager[None]],
        layers: Sequence[str] = (),
    ) -> tuple[int, Channel]:
        """The number and the channel of a new context, of the graph with the options `layers`, one over the
        other. Raises WasiNNError."""
        try:
            ours, theirs = Channel.pair()
        except OSError as error:
            raise runtime_error(f"no channel to the worker process: {error}") from error
        number, ended = next(_numbers), False

        def end() -> None:
            nonlocal ended
            ended = True
            ours.shut()

        try:
            with ended_by(end):
                if not self.begin_call():
                    raise Disconnected("given up")
                try:
                    with self._lock:
                        request = {"open": number, "layers": layers}
                        self._control.send(json.dumps(request).encode(), [theirs.fileno()])
                    theirs.close()
                    answer = ours.receive()
                finally:
                    self.end_call(False)
        except Disconnected:
            ours.close()
            if ended:
                raise runtime_error("opening a context was ended") from None
            raise runtime_error(self.death("opening a context")) from None
        finally:
            theirs.close()
        if answer != messages.DONE:
            ours.close()
            raise failure(answer)
        return number, ours

    # -- calls that may have to be ended ----------------------------------------------------------

    def begin_call(self) -> bool:
        """Counts a call, which keeps it alive; False if it has been given up."""
        with self._lock:
            if not self._retired:
                self._calls += 1
            return not self._retired

    def end_call(self, abandoned: bool) -> None:
        with self._lock:
            self._calls -= 1
            self._abandoned -= abandoned
        self._end_if_retired()

    def interrupt(self, number: int) -> None:
        """Asks the context's backend to end its compute, if it can."""
        with self._lock, contextlib.suppress(Disconnected):
            self._control.send(json.dumps({"interrupt": number}).encode())

    def abandon_call(self) -> None:
        """Nobody waits for one of its calls any longer. It gets no new work, and is ended when the calls of
        others are done."""
        with self._lock:
            self._retired = True
            self._abandoned += 1
        self._end_if_retired()

    def _end_if_retired(self) -> None:
        with self._lock:
            over = self._retired and self._calls <= self._abandoned
        if over:
            self._over()


def failure(answer: bytes) -> WasiNNError:
    """The error in an answer that is not what was asked for."""
    try:
        if answer[:1] == messages.FAILED:
            return messages.decode_error(json.loads(answer[1:]))
    except (ValueError, RecursionError):
        pass
    return runtime_error(f"the worker process answered nonsense: {answer[:40]!r}")
