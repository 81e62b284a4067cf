# SPDX-License-Identifier: Apache-2.0
"""Worker processes that several processes share: the side of one that computes in them.

`connect` makes all operator's graphs of this process that are isolated use them. What guests bring is never
shared: its worker belongs to one instance. `shared_workers.py` says what is sent.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from wasinn.errors import WasiNNError, runtime_error
from wasinn.graphs import messages
from wasinn.graphs.channel import Channel, Disconnected
from wasinn.graphs.loading import Loading
from wasinn.graphs.messages import Loaded, LoadRequest
from wasinn.graphs.worker_handle import Worker

#: Seconds for the other end to say why a worker died; it waits two for the process itself.
_PATIENCE = 5.0


class Client:
    """A connection to the process that starts the workers. Safe from any thread."""

    def __init__(self, address: str) -> None:
        """`address`: as `SharedWorkers` has it. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(address)
        except BaseException:
            connection.close()
            raise
        self._channel = Channel(connection)
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Question] = {}
        self._workers: weakref.WeakValueDictionary[int, SharedWorker] = weakref.WeakValueDictionary()
        self._gone = False
        threading.Thread(target=self._listen, name="wasinn-workers", daemon=True).start()

    def take(
        self,
        request: LoadRequest,
        files: Sequence[int],
        digests: Sequence[str],
        timeout: float | None,
        loading: Loading,
    ) -> SharedWorker:
        """A worker that has loaded `request`, whose builders are the open `files` with these `digests`.

        Raises WasiNNError as the backend does, and runtime_error if `loading` is ended.
        """
        number, question = self._ask()
        message = {
            "take": number,
            "request": json.loads(request.encode()),
            "content": [*digests, *(_version(path) for path in request.files)],
            "timeout": timeout,
        }
        try:
            with loading.ended_by(lambda: self._give_up(number)):
                self._send(message, files)
                question.answered.wait()
        finally:
            self._forget(number)
        if question.worker is None:
            raise question.error or runtime_error("the load was ended")
        return question.worker

    def why(self, worker: int, doing: str) -> str:
        """Why a worker died, in words."""
        number, question = self._ask()
        try:
            self._send({"why": number, "worker": worker, "doing": doing})
            question.answered.wait(_PATIENCE)
        except WasiNNError:
            pass
        finally:
            self._forget(number)
        return question.text or f"the worker process is gone while {doing}"

    def tell(self, kind: str, worker: int) -> None:
        """Says something of a worker, without waiting."""
        with contextlib.suppress(WasiNNError):
            self._send({kind: worker})

    # -- how --------------------------------------------------------------------------------------------

    def _ask(self) -> tuple[int, _Question]:
        with self._lock:
            number, question = next(self._numbers), _Question()
            self._asked[number] = question
            if self._gone:
                question.fail(_gone())
            return number, question

    def _forget(self, number: int) -> None:
        with self._lock:
            self._asked.pop(number, None)

    def _give_up(self, number: int) -> None:
        with self._lock:
            question = self._asked.pop(number, None)
        if question is not None:
            question.answered.set()
            self.tell("cancel", number)

    def _send(self, message: dict[str, Any], files: Sequence[int] = ()) -> None:
        try:
            with self._sending:
                self._channel.send(json.dumps(message).encode(), files)
        except Disconnected:
            raise _gone() from None

    def _listen(self) -> None:
        try:
            while True:
                text, files = self._channel.receive_with_files()
                self._told(json.loads(text), files)
        except Disconnected:
            pass
        finally:
            with self._lock:
                self._gone = True
                asked, self._asked = self._asked, {}
            for question in asked.values():
                question.fail(_gone())

    def _told(self, message: dict[str, Any], files: list[int]) -> None:
        if "retired" in message:
            worker = self._workers.get(message["retired"])
            if worker is not None:
                worker.retire()
            return
        given: SharedWorker | None = None
        if files:
            given = SharedWorker(self, message["worker"], Channel.from_file(files[0]))
        with self._lock:
            question = self._asked.pop(message["answer"], None)
            if given is not None and question is not None:
                self._workers[given.number] = given
        if question is None:
            if given is not None:
                given.close()
            return
        try:
            question.text = message.get("text")
            if "error" in message:
                question.error = messages.decode_error(message["error"])
            elif given is not None:
                given.loaded = Loaded.decode(json.dumps(message["loaded"]).encode())
                question.worker = given
        except ValueError as error:
            question.error = runtime_error(f"the worker process answered nonsense: {error}")
            if given is not None:
                given.close()
        question.answered.set()


class _Question:
    """What another thread waits for."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.error: WasiNNError | None = None
        self.worker: SharedWorker | None = None
        self.text: str | None = None

    def fail(self, error: WasiNNError) -> None:
        self.error = error
        self.answered.set()


class SharedWorker(Worker):
    """A worker that other processes compute in too."""

    def __init__(self, client: Client, number: int, control: Channel) -> None:
        super().__init__()
        self.number = number
        self._client = client
        self._control = control
        self._closed = False

    @property
    def alive(self) -> bool:
        return not self._closed and not self._control.ended()

    def retire(self) -> None:
        """Another process has given it up."""
        with self._lock:
            self._retired = True
        self._end_if_retired()

    def abandon_call(self) -> None:
        self._client.tell("retire", self.number)
        super().abandon_call()

    def _over(self) -> None:
        self._client.tell("over", self.number)

    def kill(self) -> None:
        self._retired = True
        self._client.tell("kill", self.number)

    def death(self, doing: str) -> str:
        return self._client.why(self.number, doing)

    def close(self) -> None:
        with self._lock:
            closed, self._closed = self._closed, True
            self._retired = True
        if not closed:
            self._client.tell("leave", self.number)
            self._control.close()


def _version(path: str) -> list[int]:
    """What changes with a file: who loads it anew must not get a worker with the old one."""
    try:
        found = os.stat(path)
    except OSError:
        return []  # the backend says what is wrong
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def _gone() -> WasiNNError:
    return runtime_error("the process that starts worker processes is gone")


_client: Client | None = None


def connect(address: str | None) -> None:
    """Has the operator's isolated graphs that this process loads from here on share their workers with the
    other processes connected to `address`; None: workers of its own. Raises OSError."""
    global _client  # noqa: PLW0603
    _client = None if address is None else Client(address)


def current() -> Client | None:
    """The connection, if there is one."""
    return _client
