# SPDX-License-Identifier: Apache-2.0
"""A store that is prepared for one served guest: a fresh instance in it answers a request in microseconds.

What costs most of a request is dozens of small steps of Python: a store and its limits, handles, five calls
that come to the host one by one. Here they are made once: the store has a context of the graph whose buffers
lie in wasm memory, and a module (`prepared.wat`) that answers the guest's calls from there. Each request has
an instance of its own of the guest and of that module; to Python come only the request, and the compute.
"""

from __future__ import annotations

import asyncio
import ctypes
import enum
import logging
import struct
import time
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any

import wasmtime

from wasinn.abi.core import capi, fiber_calls
from wasinn.abi.core.fiber_calls import Flag, Suspended
from wasinn.abi.core.hot_path import fixed
from wasinn.abi.core.prepared import Layout
from wasinn.abi.core.state import InstanceState, put_result
from wasinn.abi.core.trampoline import running
from wasinn.backends.base import Bindable
from wasinn.graphs.timing import Timing
from wasinn.handles import is_of
from wasinn.host import GuestHost, Shared, passed_on
from wasinn.runtime.lanes import lanes_of_loop
from wasinn.tensors import Tensor

if TYPE_CHECKING:
    from wasinn.runtime.guest import Guest

logger = logging.getLogger("wasinn.host")

#: Instances of the guest that one store serves, or tables of theirs, and bytes of their memories: they go
#: with the store alone.
_MAX_INSTANCES, _MAX_BYTES = 16, 8 << 20
#: Instances (two a request, and the stub), tables and memories of a store.
_MOST = 2 * _MAX_INSTANCES + 2, _MAX_INSTANCES + 2, _MAX_INSTANCES + 2
#: Prepared stores of the process that are open, and what they hold of the pool of instances.
MAX_OPEN = 32
HELD_INSTANCES, HELD_TABLES, HELD_MEMORIES = (MAX_OPEN * each for each in _MOST)
_NO_LIMIT = -1
#: Ticks that a guest may run for. More is for a fiber, which lets others run.
_TICKS = 2
#: The backends whose contexts remember nothing of a compute in the next: what other models do is theirs.
_FORGETFUL = {"onnxruntime", "tract"}
#: Computes after which a runtime is known to do what it says of its shapes, as on the hot path.
_LEARNED = 2

#: Those that answer a request now.
working: set[PreparedStore] = set()

#: Writes a request into a memory, at an address that has room for it.
Write = Callable[[memoryview, int], None]

_CALL = struct.Struct("<B7xi20x").pack_into
_ANSWER = struct.Struct("<II").unpack_from
_FILL = struct.Struct("<I12xI").unpack_from
_EXPORTS = (b"memory", b"wasinn_alloc", b"wasinn_handle", b"_initialize")
_PAGE = 65536


class Left(Exception):
    """The guest has left the course of events that is known, or has failed; the text says how."""


class Wait(enum.Enum):
    """What a guest that computes waits for."""

    LANE = enum.auto()
    BATCH = enum.auto()


class Plan:
    """What the prepared stores of a guest have in common."""

    def __init__(
        self,
        guest: Guest,
        shared: Shared,
        stub: wasmtime.Module,
        imports: list[bytes],
        layout: Layout,
        max_memory: int | None,
    ) -> None:
        """`imports`: the stub's exports, in the order of the guest's imports."""
        self.guest = guest
        self.shared = shared
        self.imports = imports
        self.layout = layout
        self.max_memory = _NO_LIMIT if max_memory is None else max_memory
        engine = guest.engine
        self.engine = engine.address
        self.ticker = engine.ticker
        #: What the guest's turns take, and whether short ones may keep the interpreter's lock: a ticker that
        #: is a thread of Python's needs it. (Where computes are long, lanes wait for it as well.)
        self.turns = Timing()
        self.keeps = engine.ticker.native
        self.hold_signals = engine.trap_signals.hold
        self._stub, (self._front, self._linker) = stub, engine.prepared(guest.cache)
        self.module, self.stub, self.front, self.linker = map(
            capi.address_of, (guest.module, self._stub, self._front, self._linker)
        )
        loaded = shared.registry.loaded(layout.pattern.name)
        self._loaded = None if loaded is None else weakref.ref(loaded)
        #: The guest's exports that are called, and the stub's in the place of one that it lacks.
        self.initializes = "_initialize" in guest.functions
        self.instances = _MAX_INSTANCES // max(guest.tables, 1)

    @property
    def holds(self) -> bool:
        """Whether the graph is the one of which the plan was made."""
        loaded = self.shared.registry.loaded(self.layout.pattern.name)
        return loaded is not None and self._loaded is not None and self._loaded() is loaded


class PreparedStore:
    """One of them. Used by one request at a time, on one event loop's thread, but for `compute`."""

    def __init__(self, plan: Plan) -> None:
        """Raises WasiNNError where the graph opens no context, Left where it is not the plan's any more."""
        self._plan = plan
        self._layout = plan.layout
        self._host = GuestHost(plan.shared)
        self._state = InstanceState(self._host, plan.guest.name)
        self._state.run = self
        graph = self._host.load_by_name(plan.layout.pattern.name)
        if not plan.holds:
            raise Left("the graph was loaded anew")
        self._bound: Callable[[], object] | None = None
        self._computed = 0
        self._open_context(graph)
        handle = self._context.graph
        self._timing = handle.timing
        #: What can be begun, if the graph batches.
        self.batched: Any = getattr(self._context.execution, "batched", None)
        #: Whether each request needs a context of its own.
        self._remembers = self.batched is None and handle.backend not in _FORGETFUL
        #: Says to wasmtime that the compute is done.
        self.flag = Flag()
        self.waits: Wait | None = None
        self._place: Suspended | None = None
        self._write: Write | None = None
        self._future = 0
        self._computing = self._given_up = False
        #: The store and its context.
        self._store = self._wasm = 0
        self._base = self._own = 0
        #: The inputs, as the host passes them on, and the places of the outputs, by index.
        self._inputs: list[tuple[int, Tensor]] = []
        self._outputs: list[tuple[int, memoryview]] = []
        self._instances = self._bytes = 0
        count = len(plan.imports)
        self._instance = capi.buffer_type(2 * capi.INSTANCE_SIZE)()
        self._guest_at = ctypes.addressof(self._instance)
        self._front_at = self._guest_at + capi.INSTANCE_SIZE
        # The guest's imports, then those of prepared.wat, then an export.
        self._externs = capi.buffer_type(capi.EXTERN_SIZE * (count + 9))()
        self._imports = ctypes.addressof(self._externs)
        self._front_imports = self._imports + capi.EXTERN_SIZE * count
        self._serve = self._front_imports + capi.EXTERN_SIZE * 8
        self._memory_at = self._front_imports + capi.EXTERN_PAYLOAD
        self._own_at = self._front_imports + 4 * capi.EXTERN_SIZE + capi.EXTERN_PAYLOAD
        self._ends = (ctypes.c_void_p * 2)()  # a trap, an error
        self._ends_at = ctypes.addressof(self._ends)
        self._room = capi.buffer_type(2 * fiber_calls.VALUE_SIZE)()
        self._room_at = ctypes.addressof(self._room)

    # -- a request ------------------------------------------------------------------------------------

    def begin(self, size: int, write: Write) -> bool:
        """Begins a request of `size` bytes; whether its answer is there, else the guest waits (`waits`).
        Raises Left."""
        plan = self._plan
        plan.hold_signals()
        if not self._store:
            self._open()
        if self._remembers and self._computed:
            self._host.finalize_execution_context(self._number)
            self._computed = 0
            self._open_context(0)
        self._write = write
        store, guest, front, get = self._wasm, self._guest_at, self._front_at, capi.instance_export_get
        working.add(self)
        capi.set_epoch_deadline(store, _TICKS)  # also instantiating runs wasm, wasmtime's own
        error = capi.instance_new(store, plan.module, self._imports, len(plan.imports), guest, self._ends_at)
        if error or self._ends[0]:
            raise self._left(error)
        at = self._front_imports
        for name in _EXPORTS if plan.initializes else _EXPORTS[:3]:
            get(store, guest, name, len(name), at)
            at += capi.EXTERN_SIZE
        error = capi.instance_new(store, plan.front, self._front_imports, 8, front, self._ends_at)
        if error or self._ends[0]:
            raise self._left(error)
        get(store, front, b"serve", 5, self._serve)
        self._base = capi.memory_data(store, self._memory_at)
        room = self._room_at
        _CALL(self._room, 0, 0, size)
        self._future = fiber_calls.call_async(
            store,
            self._serve + capi.EXTERN_PAYLOAD,
            room,
            1,
            room + fiber_calls.VALUE_SIZE,
            1,
            self._ends_at,
            self._ends_at + 8,
        )
        return self._turn()

    def go_on(self, code: int) -> bool:
        """Answers the guest's compute: 0 is success. Returns and raises as `begin`."""
        place, self._place, self.waits = self._place, None, None
        assert place is not None
        place.answer(code)
        self.flag.set(True)
        capi.set_epoch_deadline(self._wasm, _TICKS)  # it may have moved meanwhile
        return self._turn()

    def answer(self) -> bytes:
        """What the guest has answered. Raises Left."""
        length, at = _ANSWER(self._room, fiber_calls.VALUE_SIZE + 8)
        size = capi.memory_data_size(self._wasm, self._memory_at)
        if not at or at + length > size:
            raise Left(f"it answered {length} bytes at {at} of {size}")
        start = self._base + at
        answer = bytes(capi.ADDRESS_SPACE[start : start + length])
        working.discard(self)
        self._instances += 1
        self._bytes += size
        if self._instances >= self._plan.instances or self._bytes > _MAX_BYTES:
            self._delete()
        return answer

    def _turn(self) -> bool:
        plan = self._plan
        plan.ticker.tick()
        turns, thread = plan.turns, get_ident()
        before = running.get(thread)
        running[thread] = self._state
        try:
            short = turns.quick and self._timing.quick and plan.keeps
            poll = fiber_calls.future_poll_short if short else fiber_calls.future_poll
            start = time.perf_counter()
            done = poll(self._future)
            turns.add(time.perf_counter() - start)
        finally:
            if before is None:
                del running[thread]
            else:
                running[thread] = before
        if not done:
            return False
        future, self._future = self._future, 0
        fiber_calls.future_delete(future)
        trapped, error = self._ends
        if trapped or error or self._state.escaped is not None:
            raise self._left(error)
        return True

    def _left(self, error: int | None) -> Exception:
        """What a call into wasm ended with."""
        trapped, self._ends[0], self._ends[1] = self._ends[0], None, None
        reason = capi.make_error(error) if error else capi.make_trap(trapped) if trapped else None
        escaped, self._state.escaped = self._state.escaped, None
        if escaped is not None and not isinstance(escaped, Exception):
            raise escaped
        return Left(str(escaped or reason))

    # -- what comes from the guest -------------------------------------------------------------------

    def fill(self, at: int, size: int) -> int:
        """Writes the request; 0 if it fits there."""
        write, self._write = self._write, None
        if write is None or not at or at % 8:
            return 1
        most = capi.memory_data_size(self._wasm, self._memory_at)
        if at + size > most:
            return 1
        write(capi.ADDRESS_SPACE[self._base : self._base + most], at)
        return 0

    def run(self, later: Callable[[], Suspended]) -> int | None:
        """Computes if that is quick; else None: the guest waits."""
        if self.batched is not None:
            self._set_inputs()
            self.waits = Wait.BATCH
        elif self._timing.quick_for(self._layout.input_bytes):
            return self.compute()
        else:
            self.waits = Wait.LANE
        self._place = later()
        self.flag.set(False)
        return None

    def compute(self) -> int:
        """Computes on the buffers; 0 if all is well. Raises nothing. For any thread."""
        try:
            run = self._bound
            if run is None:
                self._set_inputs()
                return self.take()
            start = time.perf_counter()
            try:
                run()
            finally:
                self._timing.add(time.perf_counter() - start, self._layout.input_bytes)
            return 0
        except Exception as error:  # the ordinary way says it to the guest
            logger.debug("a prepared compute failed: %s", error)
            return 1

    def take(self) -> int:
        """Computes on the inputs that are set, or takes the result of a batch; 0 if all is well."""
        try:
            self._computed += 1
            execution = self._context.execution
            if self._computed == 1:
                self._host.compute(self._number)
            else:  # what the host looks at is as it was
                start = time.perf_counter()
                try:
                    execution.compute()
                finally:
                    self._timing.add(time.perf_counter() - start, self._layout.input_bytes)
            for index, view in self._outputs:
                data = execution.output(index).data
                if len(data) != len(view):
                    return 1
                view[:] = data
            if self._computed == _LEARNED:
                self._bind()
            return 0
        except Exception as error:
            logger.debug("a prepared compute failed: %s", error)
            return 1

    def _set_inputs(self) -> None:
        """Gives the context its inputs: the first time as the host does it, which looks at their dims and
        types, and then as it has passed them on."""
        if self._computed:
            execution = self._context.execution
            for index, tensor in self._inputs:
                execution.set_input(index, tensor)
            return
        specs = self._context.graph.graph.inputs
        for index, tensor in self._inputs:
            self._host.give_input(self._context, index, specs[index], tensor)

    def _bind(self) -> None:
        """Has the runtime read and write the store's own memory, if it can. What it was given lies there."""
        execution, layout = self._context.execution, self._layout
        graph, contract = self._context.graph.graph, self._context.graph.bound
        # What a contract says is held against every request, not only against a store's first.
        if self.batched is not None or self._remembers or contract is not None:
            return
        if not is_of(execution, Bindable) or not fixed(graph.inputs, graph.outputs):
            return
        assert isinstance(execution, Bindable)
        given = [each.dims if each is not None else None for each in layout.pattern.inputs]
        if given == [spec.static_dims for spec in graph.inputs]:
            own = self._own
            self._bound = execution.bind(
                [own + at for at in layout.inputs], [own + at for at in layout.outputs]
            )

    def _view(self, at: int, size: int) -> memoryview:
        return capi.ADDRESS_SPACE[self._own + at : self._own + at + size]

    # -- the store -----------------------------------------------------------------------------------

    def _open(self) -> None:
        """Makes the store, with the stub and its memory. Raises Left."""
        plan = self._plan
        self._store = capi.store_new(plan.engine, None, None)
        self._wasm = store = capi.store_context(self._store)
        capi.set_epoch_deadline(store, _TICKS)
        try:
            capi.store_limiter(self._store, _NO_LIMIT, _NO_LIMIT, *_MOST)
            error = capi.instance_new(store, plan.stub, None, 0, self._guest_at, self._ends_at)
            if error or self._ends[0]:
                raise self._left(error)
            self._export(b"own", self._front_imports + 4 * capi.EXTERN_SIZE)
            missing = self._layout.size - capi.memory_data_size(store, self._own_at)
            if missing > 0:
                before = ctypes.c_uint64()
                pages = -(-missing // _PAGE)
                capi.raise_error(capi.memory_grow(store, self._own_at, pages, ctypes.addressof(before)))
            capi.store_limiter(self._store, plan.max_memory, _NO_LIMIT, *_MOST)
            for index, name in enumerate(plan.imports):
                self._export(name, self._imports + index * capi.EXTERN_SIZE)
            self._export(b"nothing", self._front_imports + 3 * capi.EXTERN_SIZE)
            self._export(b"table", self._front_imports + 5 * capi.EXTERN_SIZE)
            for index, name in ((6, b"fill"), (7, b"run")):
                at = self._front_imports + index * capi.EXTERN_SIZE
                capi.linker_get(plan.linker, store, b"host", 4, name, len(name), at)
        except wasmtime.WasmtimeError as error:
            raise Left(str(error)) from error
        self._own = capi.memory_data(store, self._own_at)
        self._layout.write(self._own)
        pattern, specs = self._layout.pattern, self._context.graph.graph.inputs
        self._inputs = [
            (index, passed_on(specs[index], Tensor(each.dims, each.type, self._view(at, each.size))))
            for index, (each, at) in enumerate(zip(pattern.inputs, self._layout.inputs, strict=True))
            if each is not None
        ]
        self._outputs = [
            (index, self._view(at, size))
            for index, (size, at) in enumerate(zip(pattern.outputs, self._layout.outputs, strict=True))
            if size is not None  # one without a value nobody reads here
        ]
        if self._bound is not None:
            self._bind()

    def _export(self, name: bytes, at: int) -> None:
        capi.instance_export_get(self._wasm, self._guest_at, name, len(name), at)

    def _delete(self) -> None:
        store, self._store = self._store, 0
        future, self._future = self._future, 0
        self._instances = self._bytes = 0
        if future:
            fiber_calls.future_delete(future)
        if store:
            capi.store_delete(store)

    def close(self) -> None:
        """Frees all it holds. While a lane computes, it is freed when that is done."""
        working.discard(self)
        if self._computing:
            self._given_up = True
            self._host.interrupt("the request was given up")
            if self._computing:
                return
        self._host.close()
        self._delete()
        self._bound = None
        self._state.run = None

    def start_compute(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
        """Has `compute` made in a lane of the loop, on whose thread this is called."""

        def compute() -> int:
            code = self.compute()
            self._computing = False
            if self._given_up:
                try:
                    loop.call_soon_threadsafe(self.close)
                except RuntimeError:  # the loop is closed: nobody else does it
                    self.close()
            return code

        self._computing = True
        try:
            return lanes_of_loop().start_compute(compute)
        except BaseException:  # no more threads in this system
            self._computing = False
            raise

    def _open_context(self, graph: int) -> None:
        self._number = self._host.init_execution_context(graph)
        self._context = self._host.context(self._number)


def define(linker: int, types: capi.FunctionTypes, keep: list[Any]) -> None:
    """Defines what `prepared.wat` imports of the host. `keep` lives as long as the linker."""
    fill = capi.CALLBACK(_fill)
    keep.append(fill)
    capi.define_function(linker, types, "host", "fill", 2, fill)
    fiber_calls.define(linker, types, "host", "run", 1, _run, keep)


def _fill(_env: int, _caller: int, arguments: int, _count: int) -> int:
    try:
        at, size = _FILL(capi.ADDRESS_SPACE, arguments)
        put_result(arguments, running[get_ident()].run.fill(at, size))
    except BaseException as error:
        running[get_ident()].escaped = error
        put_result(arguments, 1)
    return 0


def _run(
    state: InstanceState, _arguments: tuple[int, ...], _caller: int, later: Callable[[], Suspended]
) -> int | None:
    found: int | None = state.run.run(later)
    return found
