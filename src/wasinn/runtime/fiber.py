# SPDX-License-Identifier: Apache-2.0
"""One instance of a guest as a fiber: on an event loop, which goes on while the guest computes or sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import struct
import time
from collections.abc import Callable
from threading import get_ident
from types import TracebackType
from typing import Any, Self

from wasinn.abi.core import capi, fiber_calls
from wasinn.abi.core.fiber_calls import Flag, Suspended
from wasinn.abi.core.trampoline import running
from wasinn.errors import GuestError
from wasinn.host import Shared
from wasinn.runtime import lanes, threads
from wasinn.runtime.core_instance import CoreInstance, one_or_all
from wasinn.runtime.fiber_answers import How
from wasinn.runtime.guest import Guest, Signature
from wasinn.runtime.limits import EPOCH_MOVED_FIBER, Limits, RunControl
from wasinn.runtime.outcome import GuestTrap, Trap
from wasinn.runtime.turns import next_turn
from wasinn.runtime.wasi import World

#: How long an answer in another thread is waited for after the run was ended, in seconds.
_PATIENCE = 1.0


class FiberInstance(CoreInstance):
    """A running guest: its memory, its exports, its handles on the host.

    Made by `await Host.instantiate_async(...)`; used on that event loop alone. While one computes, sleeps or
    loads, or has run for some milliseconds, others run. Close it, or use it in an `async with` statement.
    """

    def __init__(
        self,
        guest: Guest,
        shared: Shared,
        world: World,
        limits: Limits,
        trace: bool = False,
        watched: Callable[[RunControl], None] | None = None,
    ) -> None:
        """Makes the store; `start` instantiates. Raises as CoreInstance does."""
        self._loop = asyncio.get_running_loop()
        self._plain = shared.registry.plain
        #: Says to wasmtime that the answer is there.
        self.flag = Flag()
        #: The call that is answered later: how, what answers it, its place, and a context or seconds.
        self._call: tuple[How, Callable[[], int], Suspended, float] | None = None
        #: What the loop waits for in the place of this guest.
        self._work: asyncio.Future[Any] | None = None
        self._future = 0
        self._ends = (ctypes.c_void_p * 2)()  # a trap, an error
        self._trap_address = ctypes.addressof(self._ends)
        self._functions: dict[str, tuple[Any, int, Signature]] = {}
        self._room = capi.buffer_type(fiber_calls.VALUE_SIZE * 16)()
        #: Whether a task awaits a call, and whether nothing more may be called.
        self._inside = self._dead = self._done = False
        # Ctrl-C may raise anywhere on the main thread, also in a callback, where it would end the process;
        # and to read a file, or write to a pipe, may take for ever.
        self._elsewhere = get_ident() == threads.main_thread or world.may_block(guest.wasi_imports)
        self._ticker = guest.engine.ticker
        super().__init__(guest, shared, world, limits, trace, watched, EPOCH_MOVED_FIBER)

    async def start(self) -> None:
        """Instantiates the guest, which runs its start section, and `_initialize` of a reactor. Closes it
        where that fails, and raises as `Instance` does."""
        try:
            plain = self._plain
            pre = self.guest.fiber_pre_addresses.get(plain) or self.guest.fiber_pre(plain)
            self._future = fiber_calls.instance_pre_instantiate_async(
                pre, self._context, self._instance_address, self._trap_address, self._trap_address + 8
            )
            if not self._at_once():
                await self._rest(instantiating=True)
            self._find_memory()
            if self.guest.is_reactor:
                await self.call("_initialize")
        except BaseException as error:
            self._left_by(error)
            self.close()
            raise

    async def call(self, name: str, *arguments: int | float) -> Any:
        """Calls an exported function; its result, a tuple of several, or None.

        Raises GuestError for a name, a number or a type of argument that the guest does not have, where a
        call is under way, and on another event loop; GuestTrap if it traps or runs into a limit, GuestExit
        if it exits. Cancelling ends the guest, which can then be asked nothing more.
        """
        if self._dead or self._future or asyncio.get_running_loop() is not self._loop:
            raise self._refusal()
        found = self._functions.get(name)
        if found is None:
            found = self._functions[name] = self._function_export(name)
        _, function, signature = found
        self._check_call(name, signature, arguments)
        values = signature.values
        room = self._room
        needed = fiber_calls.VALUE_SIZE * (values.parameters + values.results)
        if needed > len(room):
            room = self._room = capi.buffer_type(needed)()
        try:
            values.pack(room, arguments)
        except (struct.error, TypeError, OverflowError):
            values.pack(room, self._converted(name, signature, arguments))
        address = ctypes.addressof(room)
        results = address + fiber_calls.VALUE_SIZE * values.parameters
        self._future = fiber_calls.call_async(
            self._context,
            function,
            address,
            values.parameters,
            results,
            values.results,
            self._trap_address,
            self._trap_address + 8,
        )
        if not self._at_once():
            await self._rest(instantiating=False)
        return one_or_all(values.unpack(room, fiber_calls.VALUE_SIZE * values.parameters))

    def close(self) -> None:
        """Ends the instance and frees all it holds. May be called twice, and from any thread.

        What is still inside frees it when it comes out: a call that another task awaits, which raises
        GuestTrap (interrupted), or an answer in another thread.
        """
        self._dead = True
        if self._loop.is_running() and asyncio._get_running_loop() is not self._loop:
            with contextlib.suppress(RuntimeError):  # the loop is closed meanwhile
                self._loop.call_soon_threadsafe(self.close)
        elif self._inside:
            self.control.stop("interrupted")
        elif self._work is not None and not self._work.done():
            self.control.stop("interrupted")
            self._work.add_done_callback(self._came_out)
        else:
            self._free()

    def _came_out(self, work: asyncio.Future[Any]) -> None:
        if not work.cancelled():
            work.exception()  # looked at: nobody else will
        self._free()

    def _free(self) -> None:
        future, self._future = self._future, 0
        if future:
            fiber_calls.future_delete(future)
        super()._free()

    def _refusal(self) -> GuestError:
        """Why a call cannot begin."""
        if self._dead:
            return self._closed_error()
        name = f"this instance of {self.guest.name}"
        if self._future:
            return GuestError(f"{name} is running already; it runs one call at a time")
        return GuestError(f"{name} belongs to the event loop that made it, and this is another one")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- running it -----------------------------------------------------------------------------------

    def _at_once(self) -> bool:
        """Runs the guest once; whether its call is done, and all is well. (A coroutine would cost more than
        most calls.)"""
        self._done = False
        if self._elsewhere:
            return False
        self._done = self._turn()
        trapped, error = self._ends
        if not self._done or trapped or error or self.state.escaped is not None:
            return False
        future, self._future = self._future, 0
        fiber_calls.future_delete(future)
        return True

    async def _rest(self, instantiating: bool) -> None:
        """Runs the guest until its call is done, and makes an exception of whatever it ends with."""
        self._inside = True
        try:
            if self._elsewhere:
                self._done = await self._turn_elsewhere()
            while not self._done:
                call, self._call = self._call, None
                if call is None:
                    self._ticker.ran_long()
                    await next_turn()
                else:
                    await self._answer(*call)
                self._done = await self._turn_elsewhere() if self._elsewhere else self._turn()
            future, self._future = self._future, 0
            fiber_calls.future_delete(future)
            trapped, error = self._ends
            if trapped or error or self.state.escaped is not None:
                self._ends[0] = self._ends[1] = None
                self._raise(error, trapped or 0, instantiating)
        finally:
            self._inside = False
            # Cancelled, given up, or closed by another task.
            if self._dead or self._future:
                self.close()

    async def _turn_elsewhere(self) -> bool:
        return bool(await self._wait_for(lanes.lanes_of_loop().start_blocking(self._turn)))

    def _turn(self) -> bool:
        """Runs the guest in this thread until its call is done (True), or it waits, or lets others run."""
        self._ticker.tick()
        thread = get_ident()
        before = running.get(thread)
        running[thread] = self.state
        try:
            return bool(fiber_calls.future_poll(self._future))
        finally:
            if before is None:
                del running[thread]
            else:
                running[thread] = before

    # -- the calls that are answered later -----------------------------------------------------------

    def suspend(self, how: How, answer: Callable[[], int], place: Suspended, of: float) -> None:
        """Called in the guest, by a call that is not answered at once. `of`: what the call is of, a context
        or a number of seconds."""
        self.flag.set(False)
        self._call = how, answer, place, of

    async def _answer(self, how: How, answer: Callable[[], int], place: Suspended, of: float) -> None:
        try:
            if how is How.SLEEP:
                await asyncio.wait((self._stop_signal(),), timeout=of)
                if self.control.limit is None:
                    place.answer(answer())
                else:
                    place.end("the run was ended")
            elif how is How.BATCH:
                context = self.state.host.find_context(int(of))
                assert context is not None
                start = time.perf_counter()
                await self._wait_for(lanes.begin(context.execution.batched))  # type: ignore[attr-defined]
                self.state.stats.compute_seconds += time.perf_counter() - start
                place.answer(answer())
            elif how is How.LANE:
                place.answer(await self._wait_for(lanes.lanes_of_loop().start_compute(answer)))
            else:
                place.answer(await self._wait_for(lanes.lanes_of_loop().start_blocking(answer)))
        except GuestTrap:
            raise
        except Exception as error:  # what no errno can carry ends the guest
            self.state.escaped = error
            place.end(f"wasinn: {type(error).__name__} in the host")
        self.flag.set(True)

    async def _wait_for(self, work: asyncio.Future[Any]) -> Any:
        """What `work` gives. Raises GuestTrap if the run is ended and that does not end it."""
        self._work = work
        if not work.done():
            # Never cancelled itself: it may be another thread's, which reads the guest's memory.
            await asyncio.wait((work, self._stop_signal()), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await asyncio.wait((work,), timeout=_PATIENCE)
            if not work.done():
                limit = self.control.limit or "interrupted"
                message = f"the run was ended ({limit}), and what it waited for goes on without it"
                raise GuestTrap(Trap(limit, message), limit)
        return work.result()

    def _stop_signal(self) -> asyncio.Future[None]:
        """Done when the run is ended."""
        found = self._stop
        if found is None:
            found = self._stop = self._loop.create_future()
            if self.control.limit is not None:
                found.set_result(None)
        return found

    _stop: asyncio.Future[None] | None = None

    def _stopped(self, reason: str) -> None:
        try:
            super()._stopped(reason)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._signal)

    def _signal(self) -> None:
        if self._stop is not None and not self._stop.done():
            self._stop.set_result(None)
