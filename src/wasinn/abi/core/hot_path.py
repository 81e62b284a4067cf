# SPDX-License-Identifier: Apache-2.0
"""The hot path: a small wasm module beside the guest that answers set_input and get_output itself.

A guest in a loop calls set_input, compute and get_output. Once a context has computed twice with
fixed shapes (a guest that runs once never pays for this), it gets a record in the module's own
memory, its buffers move there, and the ML runtime is bound to them. From then on only compute comes
to Python, and only to call the runtime. `hot_path.wat` has the layout and the checks; what does not
match a record falls through to the functions of `witx`, which work on the same buffers.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from wasinn.abi.core import capi, witx
from wasinn.abi.core.state import InstanceState, put_result
from wasinn.abi.core.trampoline import trap
from wasinn.backends.base import Bindable, Execution, Interruptible
from wasinn.errors import runtime_error
from wasinn.handles import Context, GraphHandle
from wasinn.tensors import Tensor, TensorSpec, element_count

logger = logging.getLogger("wasinn.host")

#: The functions that the stub stands in for, in the order of its table.
HOT_NAMES = ("set_input", "compute", "get_output")
HOT_FUNCTIONS = tuple(function for function in witx.FUNCTIONS if function.name in HOT_NAMES)
_COMPUTE = next(function for function in witx.FUNCTIONS if function.name == "compute")

# The layout of $own in hot_path.wat.
_COUNTERS = struct.Struct("<5q")
_DIRECTORY = 64
_MAX_CONTEXTS = 1024
_ARENA = _DIRECTORY + 4 * _MAX_CONTEXTS
_RECORD = struct.Struct("<4I2I")
_RECORD_SIZE = 32
_READY = 12
_INPUT = struct.Struct("<5I")
_INPUT_SIZE = 64
_MAX_RANK = 8
_OUTPUT = struct.Struct("<2I")
_U32 = struct.Struct("<I")
_ALIGN = 64
_PAGE = 65536

_FIRST_ARGUMENT = struct.Struct("<I").unpack_from


@cache
def wat_text(name: str) -> str:
    """The text of a module beside this file."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


class HotPath:
    """The hot path of one instance, made by the runtime when the guest is linked to the stub."""

    def __init__(
        self,
        state: InstanceState,
        store_context: int,
        slow_linker: int,
        types: capi.FunctionTypes,
        hot_module: int,
        stub_table: Any,
    ) -> None:
        """`slow_linker` has the Python functions as module `slow`; `types` are the engine's;
        `stub_table` is the table's extern, a ctypes buffer."""
        self._state = state
        self._store = store_context
        self._slow_linker = slow_linker
        self._function_types = types
        self._module = hot_module
        self._table = stub_table
        self._computes: dict[int, int] = {}
        self._types: dict[tuple[int, int], int] = {}
        self._records: dict[int, int] = {}
        self._runs: dict[int, Callable[[], object]] = {}
        self._memory: Any = None
        self._base = 0
        self._end = _ARENA
        self._free: list[tuple[int, int]] = []
        self._keep: list[Any] = []
        self._dead = False

    # -- what the dialect reports --------------------------------------------------------------

    def note_type(self, context: int, index: int, code: int) -> None:
        """The type code that this guest passed for an input, and that was accepted."""
        self._types[context, index] = code

    def consider(self, context: int) -> None:
        """After a compute that succeeded: makes the context hot if it is its second."""
        count = self._computes.get(context, 0) + 1
        self._computes[context] = count
        if count == 2 and not self._dead and context < _MAX_CONTEXTS:
            try:
                self._promote(context)
            except Exception:
                # The compute before it was good: the context just stays as it is.
                logger.debug("context %d stays off the hot path", context, exc_info=True)

    def forget(self, context: int) -> None:
        """The context's calls go to Python from now on; its buffers stay good until it is closed."""
        if self._records.pop(context, None) is not None:
            self._put(_DIRECTORY + 4 * context, 0)
            self._runs.pop(context, None)

    def forget_graph(self, graph: int) -> None:
        """Forgets the contexts of a graph: once it is unloaded, they come to Python to be refused."""
        for context in self._state.host.contexts_of(graph):
            self.forget(context)

    def release(self, context: int) -> None:
        """Forgets a context that is no more, and all that was noted of it."""
        self.forget(context)
        self._computes.pop(context, None)
        for key in [key for key in self._types if key[0] == context]:
            del self._types[key]

    def collect_stats(self) -> None:
        """Adds what was answered without Python to the instance's statistics, once."""
        if self._memory is None:
            return
        counters = _COUNTERS.unpack_from(capi.ADDRESS_SPACE, self._base)
        sets, bytes_in, gets, bytes_out, computes = counters
        _COUNTERS.pack_into(capi.ADDRESS_SPACE, self._base, 0, 0, 0, 0, 0)
        stats = self._state.stats
        for name, number in zip(HOT_NAMES, (sets, computes, gets), strict=True):
            stats.calls[name] += number
        stats.bytes_in += bytes_in
        stats.bytes_out += bytes_out
        stats.computes += computes

    # -- making a context hot -------------------------------------------------------------------

    def _promote(self, number: int) -> None:
        context = self._state.host.context(number)
        execution = context.execution
        inputs, outputs = context.graph.graph.inputs, context.graph.graph.outputs
        codes = [self._types.get((number, index)) for index in range(len(inputs))]
        if not isinstance(execution, Bindable) or None in codes or not fixed(inputs, outputs):
            return
        layout = _Layout(inputs, outputs)
        start = self._allocate(layout.size)
        if start is None:
            return
        run = execution.bind(
            [self._base + start + offset for offset in layout.inputs],
            [self._base + start + offset for offset in layout.outputs],
        )
        if run is None:
            self._give_back(start, layout.size)
            return
        hot = _HotExecution(self, start, layout, inputs, outputs, execution, run)
        for index in range(len(outputs)):
            hot.output(index).data[:] = execution.output(index).data
        self._write_record(start, layout, inputs, codes)
        self._state.host.replace_context(number, _HotContext(context.graph, hot, self, start))
        self._runs[number] = run
        self._records[number] = start
        self._put(_DIRECTORY + 4 * number, start)

    def _write_record(
        self, start: int, layout: _Layout, inputs: Sequence[TensorSpec], codes: Sequence[int | None]
    ) -> None:
        entries, results = start + _RECORD_SIZE, start + layout.output_entries
        numbers = len(layout.inputs), len(layout.outputs)
        self._pack(_RECORD, start, *numbers, 0, 1, entries, results)
        for index, spec in enumerate(inputs):
            dims = spec.static_dims or ()
            entry = entries + _INPUT_SIZE * index
            buffer = start + layout.inputs[index]
            self._pack(_INPUT, entry, 1, codes[index] or 0, len(dims), layout.input_sizes[index], buffer)
            for position, dim in enumerate(dims):
                self._put(entry + _INPUT.size + 4 * position, dim)
        for index, offset in enumerate(layout.outputs):
            self._pack(_OUTPUT, results + _OUTPUT.size * index, layout.output_sizes[index], start + offset)

    # -- the module's own memory ------------------------------------------------------------------

    def _allocate(self, size: int) -> int | None:
        """The address of `size` free bytes in the module's memory, or None if there are none."""
        if self._memory is None and not self._instantiate():
            return None
        for position, (start, length) in enumerate(self._free):
            if length >= size:
                del self._free[position]
                if length > size:
                    self._free.append((start + size, length - size))
                return start
        start = -(-self._end // _ALIGN) * _ALIGN
        if start + size > 1 << 32:
            return None
        reference = ctypes.addressof(self._memory)
        missing = start + size - capi.memory_data_size(self._store, reference)
        if missing > 0:
            before = ctypes.c_uint64()
            error = capi.memory_grow(self._store, reference, -(-missing // _PAGE), ctypes.addressof(before))
            if error:
                capi.make_error(error)  # owns and frees it; the run's memory limit has spoken
                return None
            # The engine reserves 4 GiB for a memory, so that growing never moves it.
            if capi.memory_data(self._store, reference) != self._base:
                raise RuntimeError("the hot path's memory moved")
        self._end = start + size
        return start

    def _give_back(self, start: int, size: int) -> None:
        """Frees a block, joined with the free ones beside it."""
        for other in list(self._free):
            if other[0] + other[1] == start:
                self._free.remove(other)
                start, size = other[0], other[1] + size
            elif start + size == other[0]:
                self._free.remove(other)
                size += other[1]
        if start + size == self._end:
            self._end = start
        else:
            self._free.append((start, size))

    def _instantiate(self) -> bool:
        """Instantiates `hot_path.wat` beside the guest, which patches the stub's table."""
        memory = self._state.memory
        if memory is None:
            return False
        linker = capi.linker_clone(self._slow_linker)
        try:
            callback = capi.CALLBACK(self._make_run())
            self._keep.append(callback)
            capi.define_function(linker, self._function_types, "host", "run", 1, callback)
            self._define(linker, "guest", "memory", capi.make_extern(capi.EXTERN_MEMORY, memory.handle))
            self._define(linker, "stub", "table", self._table)
            instance = ctypes.create_string_buffer(capi.INSTANCE_SIZE)
            slots = capi.Slots()
            error = capi.linker_instantiate(
                linker, self._store, self._module, ctypes.addressof(instance), slots.trap
            )
            trapped = slots.take_trap()
            if error or trapped:
                reason = capi.make_error(error) if error else capi.make_trap(trapped)
                logger.debug("no hot path for this instance: %s", reason)
                self._dead = True
                return False
            capi.instance_export_get(self._store, ctypes.addressof(instance), b"own", 3, slots.extern)
            self._memory = slots.payload(capi.MEMORY_SIZE)
            self._base = capi.memory_data(self._store, ctypes.addressof(self._memory))
        finally:
            capi.linker_delete(linker)
        return True

    def _define(self, linker: int, module: str, name: str, extern: Any) -> None:
        names = module.encode(), name.encode()
        capi.raise_error(
            capi.linker_define(
                linker,
                self._store,
                names[0],
                len(names[0]),
                names[1],
                len(names[1]),
                ctypes.addressof(extern),
            )
        )

    # -- computing ----------------------------------------------------------------------------------

    def _make_run(self) -> Callable[[int, int, int, int], int]:
        runs, stats, space = self._runs, self._state.stats, capi.ADDRESS_SPACE
        clock, succeed = time.perf_counter, put_result

        def run(_env: int, caller: int, arguments: int, _count: int) -> int:
            try:
                start = clock()
                runs[_FIRST_ARGUMENT(space, arguments)[0]]()
                stats.compute_seconds += clock() - start
                succeed(arguments, 0)
            except BaseException as error:
                return self._failed(error, caller, arguments)
            return 0

        return run

    def _failed(self, error: BaseException, caller: int, arguments: int) -> int:
        """The context leaves the hot path and computes again the slow way, which explains."""
        try:
            if not isinstance(error, Exception):
                self._state.escaped = error
                return trap(f"wasinn: {type(error).__name__} in the host")
            (number,) = _FIRST_ARGUMENT(capi.ADDRESS_SPACE, arguments)
            context = self._state.host.context(number)
            assert isinstance(context.execution, _HotExecution)
            self.forget(number)
            cold = Context(context.graph, context.execution.cool())
            cold.sizes = context.sizes
            for index, tensor in enumerate(context.execution.inputs()):
                cold.accept_input(index, tensor)
            context.execution.free()
            self._state.host.replace_context(number, cold)
            # hot_path.wat has counted this call already.
            self._state.stats.calls["compute"] -= 1
            self._state.stats.computes -= 1
            put_result(arguments, self._state.answer(_COMPUTE, (number,), caller))
        except BaseException as again:
            self._state.escaped = again
            return trap(f"wasinn: {type(again).__name__} in the host")
        return 0

    # -- reading and writing the layout ---------------------------------------------------------------

    def _pack(self, layout: struct.Struct, address: int, *values: int) -> None:
        layout.pack_into(capi.ADDRESS_SPACE, self._base + address, *values)

    def _put(self, address: int, value: int) -> None:
        _U32.pack_into(capi.ADDRESS_SPACE, self._base + address, value)

    def _get(self, address: int) -> int:
        return int(_U32.unpack_from(capi.ADDRESS_SPACE, self._base + address)[0])

    def _bytes(self, address: int, size: int) -> memoryview:
        return capi.ADDRESS_SPACE[self._base + address : self._base + address + size]


class _Layout:
    """Where a context's record, entries and buffers lie, from the start of its block."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self.input_sizes = [_size(spec) for spec in inputs]
        self.output_sizes = [_size(spec) for spec in outputs]
        self.output_entries = _RECORD_SIZE + _INPUT_SIZE * len(inputs)
        self.size = self.output_entries + _OUTPUT.size * len(outputs)
        self.inputs = [self._buffer(size) for size in self.input_sizes]
        self.outputs = [self._buffer(size) for size in self.output_sizes]
        self.size = -(-self.size // _ALIGN) * _ALIGN  # so that what is left of a free block stays aligned

    def _buffer(self, size: int) -> int:
        start = -(-self.size // _ALIGN) * _ALIGN
        self.size = start + max(size, 1)
        return start


def _size(spec: TensorSpec) -> int:
    return element_count(spec.static_dims or ()) * spec.type.size


def fixed(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> bool:
    """Whether a graph with these ports always takes and gives the same bytes."""
    return all(spec.static_dims is not None for spec in (*inputs, *outputs)) and not any(
        spec.any_size or spec.any_type or len(spec.dims or ()) > _MAX_RANK for spec in inputs
    )


class _HotExecution:
    """The execution of a hot context, for the calls that come to Python: over the same buffers."""

    def __init__(
        self,
        path: HotPath,
        start: int,
        layout: _Layout,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        execution: Execution,
        run: Callable[[], object],
    ) -> None:
        self._path = path
        self._start = start
        self._layout = layout
        self._inputs = inputs
        self._outputs = outputs
        self._execution = execution
        self._run = run
        self._freed = False
        self.input_sizes = layout.input_sizes

    def set_input(self, index: int, tensor: Tensor) -> None:
        self._input_view(index)[:] = tensor.data

    def compute(self) -> None:
        try:
            self._run()
        except Exception as error:
            raise runtime_error(str(error)) from error

    def output(self, index: int) -> Tensor:
        spec, layout = self._outputs[index], self._layout
        view = self._path._bytes(self._start + layout.outputs[index], layout.output_sizes[index])
        return Tensor(spec.static_dims or (), spec.type, view)

    def inputs(self) -> Iterator[Tensor]:
        for index, spec in enumerate(self._inputs):
            yield Tensor(spec.static_dims or (), spec.type, self._input_view(index))

    def _input_view(self, index: int) -> memoryview:
        return self._path._bytes(self._start + self._layout.inputs[index], self._layout.input_sizes[index])

    def interrupt(self) -> None:
        if isinstance(self._execution, Interruptible):
            self._execution.interrupt()

    def cool(self) -> Execution:
        """The backend's own execution, for a context that leaves the hot path."""
        return self._execution

    def free(self) -> None:
        """Gives the buffers back."""
        if not self._freed:
            self._freed = True
            self._path._give_back(self._start, self._layout.size)

    def close(self) -> None:
        self.free()
        self._execution.close()


class _HotContext(Context):
    """A context whose state is the record that `hot_path.wat` reads and writes."""

    def __init__(self, graph: GraphHandle, execution: _HotExecution, path: HotPath, record: int) -> None:
        super().__init__(graph, execution)
        self.sizes = list(execution.input_sizes)
        self._path = path
        self._record = record

    def accept_input(self, index: int, tensor: Tensor) -> None:
        self.execution.set_input(index, tensor)
        self.set_ready(False)

    def missing_inputs(self) -> list[int]:
        return []  # a context is made hot only when it has them all, and none is ever taken away

    @property
    def ready(self) -> bool:
        return bool(self._path._get(self._record + _READY))

    def set_ready(self, ready: bool) -> None:
        self._path._put(self._record + _READY, int(ready))
