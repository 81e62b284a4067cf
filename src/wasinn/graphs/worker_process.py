# SPDX-License-Identifier: Apache-2.0
"""A worker process as the one sees it who owns it: started, asked to load a graph, and ended.

A worker that crashes, hangs or lies costs its own graph, and only until the next one is started.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence

from wasinn.backends.common import one_line
from wasinn.errors import runtime_error
from wasinn.graphs import messages
from wasinn.graphs.channel import Channel, Disconnected
from wasinn.graphs.messages import Loaded, LoadRequest
from wasinn.graphs.worker_handle import Worker

#: The worker finds its modules where this process found them.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from wasinn.graphs.worker import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)


class WorkerProcess(Worker):
    """One process. `loaded` is what it says of its graph, once `load` has returned."""

    def __init__(self) -> None:
        """Starts it. Raises WasiNNError (runtime_error) if the system does not let it."""
        super().__init__()
        self._owner = os.getpid()
        #: Whether this process has ended it, and why it ended, once that is known.
        self._killed = False
        self._cause: str | None = None
        self._process: subprocess.Popen[bytes]
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as passed:
            try:
                self._start(undo, passed)
            except OSError as error:
                raise runtime_error(f"a worker process could not be started: {error}") from error
            undo.pop_all()
        _all.add(self)

    def _start(self, undo: contextlib.ExitStack, passed: contextlib.ExitStack) -> None:
        self._control, theirs = Channel.pair()
        undo.callback(self._control.close)
        passed.callback(theirs.close)
        reading, self._lifeline = os.pipe()
        undo.callback(os.close, self._lifeline)
        passed.callback(os.close, reading)
        self._stderr, said = os.pipe()
        undo.callback(os.close, self._stderr)
        passed.callback(os.close, said)
        # Nobody reads along: what does not fit into the pipe is lost, and nothing waits. The two ends
        # have flags of their own.
        os.set_blocking(self._stderr, False)
        os.set_blocking(said, False)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-c",
                _START,
                json.dumps([each or os.getcwd() for each in sys.path]),
                str(theirs.fileno()),
                str(reading),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            pass_fds=(theirs.fileno(), reading),
            process_group=0,  # Ctrl-C is for this process
        )

    def load(self, request: LoadRequest, files: Sequence[int], timeout: float | None) -> None:
        """Has it load a graph. Raises WasiNNError as the backend does; runtime_error if the worker
        dies, or is not done after `timeout` seconds, when it is killed."""
        self._last_words()  # of the graph before
        try:
            self._control.send(request.encode(), files)
            answer = self._control.receive(timeout)
            if answer[:1] == messages.FAILED:
                raise messages.decode_error(json.loads(answer[1:]))
            self.loaded = Loaded.decode(answer)
        except TimeoutError:
            self.kill()
            raise runtime_error(
                f"the model was not loaded after {timeout:g} seconds, and its worker process was ended"
            ) from None
        except Disconnected:
            raise runtime_error(self.death("loading the model")) from None
        except (ValueError, RecursionError) as error:
            self.kill()
            raise runtime_error(f"the worker process answered nonsense: {error}") from error

    @property
    def alive(self) -> bool:
        return self._owner == os.getpid() and self._process.poll() is None

    def join(self) -> Channel:
        """A control channel of its own for another who opens contexts. Raises WasiNNError."""
        try:
            ours, theirs = Channel.pair()
        except OSError as error:
            raise runtime_error(f"no channel to the worker process: {error}") from error
        try:
            with self._lock:
                self._control.send(b'{"join": true}', [theirs.fileno()])
        except Disconnected:
            ours.close()
            raise runtime_error(self.death("taking another user")) from None
        finally:
            theirs.close()
        return ours

    # -- the end --------------------------------------------------------------------------------------

    def kill(self) -> None:
        """Ends it. Safe from any thread; nothing happens in a process that was forked from its own."""
        if self._owner != os.getpid():
            return
        self._retired = True
        if self._process.poll() is None:
            self._killed = True
            self._process.kill()

    def _over(self) -> None:
        self.kill()

    def disown(self) -> None:
        """Closes this process's ends of what another process holds."""
        self._control.close()
        lifeline, self._lifeline = self._lifeline, -1
        with contextlib.suppress(OSError):
            os.close(lifeline)

    @property
    def idle(self) -> bool:
        """Whether it can be asked to load another graph."""
        return self.usable and self._calls == 0

    def close(self) -> None:
        """Ends it and frees what belongs to it."""
        self.kill()
        if self._owner == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        self.disown()
        with self._lock:
            stderr, self._stderr = self._stderr, -1
            if stderr >= 0:
                os.close(stderr)

    def death(self, doing: str) -> str:
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"the worker process broke off the connection while {doing}"
        if self._killed:
            return f"the worker process was ended while {doing}"
        if self._cause is None:
            last = self._last_words()
            self._cause = cause(code) + (f"; it said: {last}" if last else "")
        return f"the worker process died while {doing}: {self._cause}"

    def _last_words(self) -> str:
        with self._lock:
            if self._stderr < 0:
                return ""
            try:
                text = os.read(self._stderr, 1 << 16).decode(errors="replace")
            except OSError:
                return ""
        lines = [line for line in text.splitlines() if line.strip()]
        return one_line(lines[-1], 300) if lines else ""


def cause(code: int) -> str:
    """Why a process ended, by its return code: "SIGSEGV", "exit code 1"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
    return name + (" (was the system short of memory?)" if name == "SIGKILL" else "")


#: Every worker of this process.
_all: weakref.WeakSet[WorkerProcess] = weakref.WeakSet()


def _after_fork() -> None:
    """Lets go of what a fork has inherited: the workers end with the process that started them."""
    for worker in list(_all):
        worker.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class WorkerPool:
    """The workers of one guest instance: what it has unloaded, or failed to load, leaves a process that
    its next load need not start. Never another guest's: who knows what a file has done to it."""

    _MAX_IDLE = 2

    def __init__(self) -> None:
        # Reentrant: a graph that the garbage collector frees may give its worker back at any point.
        self._lock = threading.RLock()
        self._idle: list[tuple[str, WorkerProcess]] = []
        self._closed = False

    def take(self, backend: str) -> WorkerProcess:
        """A worker that has served `backend`, or a new one. Raises WasiNNError."""
        with self._lock:
            for entry in list(self._idle):
                if not entry[1].idle:
                    self._idle.remove(entry)
                    entry[1].close()
                elif entry[0] == backend:
                    self._idle.remove(entry)
                    return entry[1]
        return WorkerProcess()

    def give_back(self, backend: str, worker: WorkerProcess) -> None:
        """Takes a worker for later, or ends it; the oldest of too many is ended."""
        ended = [worker]
        with self._lock:
            if not self._closed and worker.idle:
                ended = [each for _, each in self._idle if not each.idle]
                self._idle = [entry for entry in self._idle if entry[1].idle]
                self._idle.append((backend, worker))
                if len(self._idle) > self._MAX_IDLE:
                    ended.append(self._idle.pop(0)[1])
        for each in ended:
            each.close()

    def close(self) -> None:
        """Ends what is idle; what is given back later ends at once."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, worker in idle:
            worker.close()
