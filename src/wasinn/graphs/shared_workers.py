# SPDX-License-Identifier: Apache-2.0
"""Worker processes that several processes share: the side of the one that starts them.

The parent of a server's processes has `SharedWorkers`, each of its processes a `worker_client.Client`, which
asks over a Unix socket in a private folder. What one process loads the next one is given too: a control
channel of its own to the same worker, in which it opens contexts as in a worker of its own.

    process -> parent: {"take": number, "request": ..., "content": [...], "timeout": s}, with the builders
    parent -> process: {"answer": number, "worker": id, "loaded": ...}, with the channel; or "error"
    process -> parent: {"cancel": number}    nobody waits for that load any longer
                       {"why": number, "worker": id, "doing": ...}    answered with "text"
                       {"retire": id}    it has a call that nobody waits for: no new work for anyone
                       {"over": id}      this process has no other call in it
                       {"kill": id}      it died, or talked nonsense
                       {"leave": id}     this process is done with it
    parent -> process: {"retired": id}

A worker that was retired is killed when every process has said "over"; one that nobody uses ends.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import tempfile
import threading
from typing import Any, Self

from wasinn.errors import WasiNNError, runtime_error, unsupported
from wasinn.graphs.channel import AVAILABLE, Channel, Disconnected
from wasinn.graphs.messages import LoadRequest
from wasinn.graphs.worker_process import WorkerProcess
from wasinn.spec import ErrorCode

#: The longest path that a Unix socket can have, on all systems.
_MAX_PATH = 100


class SharedWorkers:
    """Starts workers for whoever connects to `address`, the path of a socket; `close` ends them.

    Only this user's processes reach it: the folder is private. Raises WasiNNError (unsupported_operation)
    where files cannot be handed to processes; OSError.
    """

    def __init__(self) -> None:
        if not AVAILABLE:
            raise unsupported("this system cannot hand files to worker processes: isolation is not possible")
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._groups: dict[str, _Group] = {}
        self._shares: dict[int, _Share] = {}
        self._closed = False
        self._folder = tempfile.mkdtemp(prefix="wasinn-workers-")
        if len(self._folder) > _MAX_PATH - 2:
            os.rmdir(self._folder)
            self._folder = tempfile.mkdtemp(prefix="wasinn-workers-", dir="/tmp")
        self.address = os.path.join(self._folder, "s")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(self.address)
            self._listener.listen(64)
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._accept, name="wasinn-workers", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all workers, and takes no more users."""
        with self._lock:
            self._closed = True
            shares = list(self._shares.values())
            loading = [group.loading for group in self._groups.values() if group.loading is not None]
        with contextlib.suppress(OSError):  # wakes who accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for worker in (*loading, *(share.worker for share in shares)):
            worker.kill()
        for share in shares:
            share.worker.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            _thread(self._serve, _User(Channel(connection)))

    def _serve(self, user: _User) -> None:
        try:
            while True:
                text, files = user.channel.receive_with_files()
                message = json.loads(text)
                if "take" in message:
                    _thread(self._take, user, message, files)
                elif "why" in message:
                    _thread(self._why, user, message)
                else:
                    ((kind, number),) = message.items()
                    self._told(user, kind, number)
        except Disconnected:
            pass
        finally:
            for number in list(user.taking):
                self._told(user, "cancel", number)
            for share in list(self._shares.values()):
                self._told(user, "leave", share.number)
            user.channel.close()

    # -- taking ---------------------------------------------------------------------------------------

    def _take(self, user: _User, message: dict[str, Any], files: list[int]) -> None:
        number = message["take"]
        waiting = (user, number)
        with self._lock:
            key = json.dumps([message["request"], message["content"]], sort_keys=True)
            group = self._groups.setdefault(key, _Group(key))
            group.waiting.add(waiting)
            user.taking[number] = group
        try:
            request = LoadRequest.decode(json.dumps(message["request"]).encode())
            with group.lock:
                self._give(group, waiting, request, files, message["timeout"])
        except WasiNNError as error:
            user.send({"answer": number, "error": [int(error.code), error.reason]})
        except Exception as error:
            fault = [int(ErrorCode.RUNTIME_ERROR), f"{type(error).__name__}: {error}"]
            user.send({"answer": number, "error": fault})
        finally:
            with self._lock:
                group.waiting.discard(waiting)
                user.taking.pop(number, None)
                if group.share is not None:
                    self._end_if_unused(group.share)
                self._drop_if_empty(group)
            for file in files:
                os.close(file)

    def _give(
        self,
        group: _Group,
        waiting: tuple[_User, int],
        request: LoadRequest,
        files: list[int],
        timeout: float | None,
    ) -> None:
        """Gives a user the group's worker, which it starts if there is none. The group is locked."""
        with self._lock:
            if waiting not in group.waiting:
                return
            share = group.share
        if share is None or not share.worker.usable:
            share = self._start(group, request, files, timeout)
        user, number = waiting
        with self._lock:
            if waiting not in group.waiting:
                return
            channel = share.worker.join()
            share.users.add(user)
            loaded = json.loads(share.worker.loaded.encode())
            # Before anything is said of the worker: who is told must know it.
            user.send({"answer": number, "worker": share.number, "loaded": loaded}, channel)
            channel.close()

    def _start(self, group: _Group, request: LoadRequest, files: list[int], timeout: float | None) -> _Share:
        worker = WorkerProcess()
        with self._lock:
            group.loading = worker
            wanted = bool(group.waiting) and not self._closed
        try:
            if not wanted:
                raise runtime_error("the load was ended")
            worker.load(request, files, timeout)
        except BaseException:
            worker.close()
            raise
        finally:
            with self._lock:
                group.loading = None
        with self._lock:
            before = group.share
            share = group.share = _Share(next(self._numbers), worker, group)
            if before is not None:
                self._end_if_unused(before)
            self._shares[share.number] = share
            if self._closed:
                worker.kill()
        return share

    # -- what users say -------------------------------------------------------------------------------

    def _told(self, user: _User, kind: str, number: int) -> None:
        with self._lock:
            if kind == "cancel":
                group = user.taking.get(number)
                if group is not None:
                    group.waiting.discard((user, number))
                    if not group.waiting and group.loading is not None:
                        group.loading.kill()
                return
            share = self._shares.get(number)
            if share is None or user not in share.users:
                return
            if kind == "retire":
                self._retire(share, user)
            elif kind == "over":
                share.busy.discard(user)
            elif kind == "leave":
                share.users.discard(user)
                share.busy.discard(user)
            elif kind == "kill":
                share.worker.kill()
                self._retire(share, user)
            if share.retired and not share.busy:
                share.worker.kill()
            self._end_if_unused(share)

    def _retire(self, share: _Share, by: _User) -> None:
        """No new work for it, from anyone."""
        if share.retired:
            return
        share.retired = True
        share.busy = set(share.users)
        share.group.forget(share)
        for user in share.users - {by}:
            user.send({"retired": share.number})

    def _end_if_unused(self, share: _Share) -> None:
        if share.users or (share.group.share is share and share.group.waiting):
            return
        if self._shares.pop(share.number, None) is not None:
            share.group.forget(share)
            self._drop_if_empty(share.group)
            _thread(share.worker.close)

    def _drop_if_empty(self, group: _Group) -> None:
        if not group.waiting and group.share is None and self._groups.get(group.key) is group:
            del self._groups[group.key]

    def _why(self, user: _User, message: dict[str, Any]) -> None:
        share = self._shares.get(message["worker"])
        doing = message["doing"]
        text = f"the worker process was ended while {doing}" if share is None else share.worker.death(doing)
        user.send({"answer": message["why"], "text": text})


class _User:
    """A process that is connected. `taking`: the loads that it waits for, by its own numbers."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.taking: dict[int, _Group] = {}
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any], channel: Channel | None = None) -> None:
        with self._lock, contextlib.suppress(Disconnected):  # then `_serve` ends
            self.channel.send(json.dumps(message).encode(), [] if channel is None else [channel.fileno()])


class _Group:
    """Those who want the same graph. `lock` is held for as long as a load takes; the rest is the owner's."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.lock = threading.Lock()
        self.waiting: set[tuple[_User, int]] = set()
        self.loading: WorkerProcess | None = None
        self.share: _Share | None = None

    def forget(self, share: _Share) -> None:
        if self.share is share:
            self.share = None


class _Share:
    """A worker and its users. `busy`: those who may have calls in it, once it is retired."""

    def __init__(self, number: int, worker: WorkerProcess, group: _Group) -> None:
        self.number = number
        self.worker = worker
        self.group = group
        self.users: set[_User] = set()
        self.busy: set[_User] = set()
        self.retired = False


def _thread(target: Any, *arguments: Any) -> None:
    threading.Thread(target=target, args=arguments, name="wasinn-workers", daemon=True).start()
