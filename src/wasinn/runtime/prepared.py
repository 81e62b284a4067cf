# SPDX-License-Identifier: Apache-2.0
"""The prepared stores of one served guest: when there are some, and who uses which.

What a guest does with the graph is learned from a request that was answered in the ordinary way. Then stores
are made that know it (`prepared_store`). A guest that leaves that course, traps, or runs for long is given up
where it is, and the request is answered in the ordinary way, by another fresh instance: nothing was done in
the world meanwhile, since whatever else the guest imports ends it there. Where that happens again and again,
the stores rest for a while.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from threading import get_ident
from typing import Any

import wasmtime

from wasinn.abi.core.noted import Noted
from wasinn.abi.core.prepared import Kinds, Layout, Surroundings, can_be_prepared, pattern_of, stub_text
from wasinn.host import Shared
from wasinn.runtime import threads
from wasinn.runtime.fiber import FiberInstance
from wasinn.runtime.guest import Guest
from wasinn.runtime.lanes import begin
from wasinn.runtime.limits import Limits
from wasinn.runtime.outcome import GuestTrap, limit_passed
from wasinn.runtime.prepared_store import MAX_OPEN, Plan, PreparedStore, Wait, Write
from wasinn.runtime.wasi import World

logger = logging.getLogger("wasinn.host")

_MAX_OPEN = MAX_OPEN
#: Requests that are answered in the ordinary way after a store was given up: twice as many each time.
_FIRST_REST, _LAST_REST = 2, 4096
#: Good answers after which an earlier failure counts no more.
_FORGIVEN = 64
#: Failures after which the course of events is learned anew.
_UNLEARNED = 3
#: Larger requests are not for guests at all.
_MAX_REQUEST = 1 << 31


class _All:
    """The prepared stores of the process. For any thread: there may be several event loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        #: Those that wait for a request, by whose they are.
        self._idle: dict[Prepared, list[PreparedStore]] = {}

    def take(self, owner: Prepared, plan: Plan) -> PreparedStore | None:
        """A store of `owner`; None where all are in use. Raises as PreparedStore does."""
        with self._lock:
            waiting = self._idle.get(owner)
            if waiting:
                return waiting.pop()
            old = self._oldest() if self._open >= _MAX_OPEN else None
            if old is None and self._open >= _MAX_OPEN:
                return None
            self._open += 1
        try:
            if old is not None:
                self.drop(old)
            return PreparedStore(plan)
        except BaseException:
            with self._lock:
                self._open -= 1
            raise

    def _oldest(self) -> PreparedStore | None:
        """One of a guest that has been asked nothing for longer than the others."""
        for stores in self._idle.values():
            if stores:
                return stores.pop(0)
        return None

    def put(self, owner: Prepared, store: PreparedStore) -> None:
        """Takes a store back for the owner's next request."""
        with self._lock:
            stores = self._idle.pop(owner, None) or []
            stores.append(store)
            self._idle[owner] = stores  # last in the row

    def drop(self, store: PreparedStore) -> None:
        """Frees a store."""
        with self._lock:
            self._open -= 1
        store.close()

    def forget(self, owner: Prepared | None) -> None:
        """Frees the stores of `owner` that wait; of all, where it is None."""
        with self._lock:
            owners = [owner] if owner is not None else list(self._idle)
            found = [store for each in owners for store in self._idle.pop(each, ())]
        for store in found:
            self.drop(store)


_all = _All()


def forget_prepared() -> None:
    """Frees every prepared store that waits for a request: what they hold of graphs goes with them."""
    _all.forget(None)


class Prepared:
    """Answers requests to one guest where it can. Used on one event loop."""

    def __init__(self, guest: Guest, shared: Shared, world: World, limits: Limits) -> None:
        """`limits`: those of every request, but for the deadline."""
        self._guest = guest
        self._shared = shared
        # As in runtime/wasi.py: who cannot read them is told that there are none.
        arguments = world.arguments if "args_get" in guest.wasi_imports else ()
        environment = world.environment if "environ_get" in guest.wasi_imports else {}
        self._surroundings = Surroundings(
            tuple(each.encode() for each in arguments),
            tuple(f"{name}={value}".encode() for name, value in environment.items()),
        )
        self._limits = limits
        imports = guest.import_kinds
        #: Whether the guest is one for which stores can be prepared at all.
        self.possible = (
            imports is not None
            and can_be_prepared(imports)
            and not guest.has_start
            and limits.fuel is None
            and shared.recording is None
            and not world.directories  # which may be gone at any time, and a request fails then
        )
        self._stub: wasmtime.Module | None = None
        self._names: list[bytes] = []
        if self.possible and imports is not None:
            self._link(imports)
        self._plan: Plan | None = None
        self._rest = 0
        self._failures = self._good = 0

    def _link(self, imports: Mapping[tuple[str, str], Kinds]) -> None:
        engine = self._guest.engine
        try:
            text = wasmtime.wat2wasm(stub_text(imports))
            self._stub = self._guest.cache.module(engine.engine, bytes(text))
            engine.prepared(self._guest.cache)
        except wasmtime.WasmtimeError as error:
            logger.debug("no prepared stores for %s: %s", self._guest.name, error)
            self.possible = False
        index = {each: f"f{number}".encode() for number, each in enumerate(imports)}
        self._names = [index[each] for each in self._guest.import_list]

    @property
    def learning(self) -> bool:
        """Whether the next request that is answered in the ordinary way shall tell what the guest does."""
        return self.possible and self._plan is None and not self._rest

    def watch(self, instance: FiberInstance) -> None:
        """Before an ordinary request: has the instance note what the guest does."""
        instance.state.noted = Noted()

    def learn(self, instance: FiberInstance) -> None:
        """After it, while the instance is there."""
        state = instance.state
        if not self.learning or state.noted is None or state.noted.graph is None:
            return  # another was faster; or it computed nothing: it refused the request, say
        graph = state.noted.graph
        loaded = None if graph.name is None else self._shared.registry.loaded(graph.name)
        if loaded is not None and loaded.graph is not graph.graph:
            return  # it was loaded anew meanwhile
        pattern = pattern_of(state.host, state.noted, self._surroundings)
        if pattern is None or self._stub is None:
            self._pause()
            return
        layout = Layout(pattern)
        self._plan = Plan(self._guest, self._shared, self._stub, self._names, layout, self._limits.max_memory)

    async def answer(self, size: int, write: Write, deadline: float | None) -> bytes | None:
        """The guest's answer to a request of `size` bytes, which `write` writes into its memory; None where
        the ordinary way is to be gone. Raises GuestTrap after `deadline` seconds."""
        plan = self._plan
        if plan is None or self._rest:
            self._rest = max(0, self._rest - 1)
            return None
        if size >= _MAX_REQUEST or get_ident() == threads.main_thread:  # where Ctrl-C may raise anywhere
            return None
        if not plan.holds:
            self._unlearn()  # the graph was unloaded, or loaded anew
            return None
        try:
            store = _all.take(self, plan)
        except Exception as error:  # the ordinary way has a name for it
            logger.debug("no prepared store for %s: %s", self._guest.name, error)
            self._pause()
            return None
        if store is None:
            return None
        try:
            if not store.begin(size, write):
                await self._finish(store, deadline)
            answer = store.answer()
        except Exception as error:
            _all.drop(store)
            if isinstance(error, GuestTrap):
                raise
            logger.debug("%s is asked in the ordinary way: %s", self._guest.name, error)
            self._pause()
            return None
        except BaseException:
            _all.drop(store)
            raise
        if self._plan is plan and plan.holds:
            _all.put(self, store)
        else:
            _all.drop(store)
        self._good += 1
        if self._good >= _FORGIVEN:
            self._good = self._failures = 0
        return answer

    async def _finish(self, store: PreparedStore, deadline: float | None) -> None:
        """Has the computes made that the guest waits for. Raises Left, GuestTrap."""
        loop = asyncio.get_running_loop()
        end = None if deadline is None else loop.time() + deadline
        try:
            done = False
            while not done:
                batch = store.waits is Wait.BATCH
                work: asyncio.Future[Any] = begin(store.batched) if batch else store.start_compute(loop)
                # What asyncio.timeout does takes several microseconds more.
                timer = None if end is None else loop.call_at(end, _expire, work)
                try:
                    code = await work
                finally:
                    if timer is not None:
                        timer.cancel()
                done = store.go_on(store.take() if batch else code)
        except TimeoutError:
            raise limit_passed("deadline", Limits(deadline=deadline)) from None

    def _pause(self) -> None:
        """After a failure: the ordinary way for a while."""
        self._failures += 1
        self._good = 0
        self._rest = min(_FIRST_REST << min(self._failures, 16), _LAST_REST)
        if self._failures % _UNLEARNED == 0:
            self._unlearn()

    def _unlearn(self) -> None:
        self._plan = None
        _all.forget(self)

    def close(self) -> None:
        """Frees the stores that wait. What is asked from now on is answered in the ordinary way."""
        self.possible = False
        self._unlearn()


def _expire(work: asyncio.Future[Any]) -> None:
    """The deadline has passed: who waits does not wait for it any more."""
    if not work.done():
        work.set_exception(TimeoutError())
