# SPDX-License-Identifier: Apache-2.0
"""A graph around a graph that lives in a process of its own (`isolation = "process"`).

The file is parsed, and the graph computed, where a crash, a hang or a leak ends with that process:
the callers get runtime_error, and the next call starts another one. Tensors go through memory that both
processes see: the guest's bytes are copied once, into it, and the runtime reads and writes it in place
where all shapes are fixed. A context keeps its inputs on this side, so that it goes on in the next
process where it was in the last.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import weakref
from collections.abc import Callable, Sequence

from wasinn.backends.base import Execution, LoadOptions, Model
from wasinn.errors import WasiNNError, runtime_error, unsupported
from wasinn.graphs import messages
from wasinn.graphs.channel import AVAILABLE
from wasinn.graphs.isolated_owned import Owned
from wasinn.graphs.loading import Loading, opening
from wasinn.graphs.messages import LoadRequest, Shape
from wasinn.graphs.worker_calls import Session, WorkerCalls, fits
from wasinn.graphs.worker_handle import Worker
from wasinn.spec import Encoding, Target, TensorType
from wasinn.tensors import Tensor, TensorSpec, element_count

#: The room for an output whose size is not known before it is computed, in bytes; it grows.
_FIRST_ROOM = 4096
#: Closed contexts that a graph keeps, and the most that the arena of one may hold, in bytes.
_MAX_SPARE = 16
_MAX_SPARE_BYTES = 1 << 20
#: Up to so many bytes in all a second copy should cost less than the way through Python that it saves (an
#: estimate; with 600 KB the copy is 40 to 100 us, and that way some 10).
_MAX_BOUND_BYTES = 1 << 16


class IsolatedGraph:
    """A graph in a worker process. Raises as the backend does, and runtime_error if the process dies."""

    def __init__(
        self,
        backend: str,
        model: Model,
        encoding: Encoding,
        target: Target,
        options: LoadOptions,
        loading: Loading,
        timeout: float | None = None,
    ) -> None:
        """Loads `model`; `loading` can end that. `timeout` is in seconds."""
        if not AVAILABLE:
            raise unsupported("this system cannot hand files to worker processes: isolation is not possible")
        self._request = LoadRequest(
            backend,
            encoding,
            target,
            options,
            tuple(str(path.absolute()) for path in model.files),
            tuple(len(builder) for builder in model.builders),
        )
        self._timeout = timeout
        self._lock = threading.Lock()  # held for as long as a load takes
        self._spare_lock = threading.Lock()
        self._spare: list[Session] = []
        self._owned = Owned(backend, loading.workers)
        close = weakref.finalize(self, self._owned.close)
        self.inputs: tuple[TensorSpec, ...] = ()
        self.outputs: tuple[TensorSpec, ...] = ()
        try:
            for builder in model.builders:
                self._owned.add_file(builder)
            loaded = self.worker(loading).loaded
        except BaseException as error:
            close()  # the error keeps this object for who knows how long
            if isinstance(error, OSError):
                raise runtime_error(f"no shared memory for the model: {error}") from error
            raise
        self.inputs, self.outputs = loaded.inputs, loaded.outputs
        #: Whether it is a language model: `isolated_streaming.py` opens its contexts.
        self.streaming = loaded.streaming

    def worker(self, loading: Loading) -> Worker:
        """The process that computes now; a new one if the last is gone. Raises WasiNNError."""
        loading.wait_for(self._lock)
        try:
            worker = self._owned.current
            if worker is not None and worker.usable:
                return worker
            with self._spare_lock:
                self._spare.clear()
            worker = None
            try:
                worker = self._owned.start(self._request, self._timeout, loading)
                before = (self.inputs, self.outputs)
                if any(before) and before != (worker.loaded.inputs, worker.loaded.outputs):
                    raise runtime_error("the model's file has changed since it was loaded; load it again")
            except BaseException as error:
                if worker is not None:
                    self._owned.give_back(worker)
                if loading.reason is not None:
                    raise runtime_error(f"the load was ended: {loading.reason}") from error
                raise
            self._owned.add(worker)
            return worker
        finally:
            self._lock.release()

    def open(self) -> Execution:
        with self._spare_lock:
            session = self._spare.pop() if self._spare else None
        if session is None or not session.worker.usable:
            session = self.new_session(getattr(opening, "loading", None) or Loading())
        return IsolatedExecution(self, session)

    def new_session(self, loading: Loading, layers: Sequence[str] = ()) -> Session:
        """A context in the worker, of the graph with the options `layers`. Raises WasiNNError."""
        worker = self.worker(loading)
        return Session(worker, *worker.open(loading.ended_by, layers))

    def keep(self, session: Session) -> None:
        """Takes a closed context's session for the next one, or ends it."""
        with self._spare_lock:
            if len(self._spare) < _MAX_SPARE and session.worker.usable:
                self._spare.append(session)
                return
        session.channel.close()


class IsolatedExecution(WorkerCalls):
    """One context of an isolated graph. Binding it lets the guest's hot path copy without Python."""

    def __init__(self, graph: IsolatedGraph, session: Session) -> None:
        super().__init__(session)
        self._graph: IsolatedGraph | None = graph
        self._inputs, self._outputs = graph.inputs, graph.outputs
        self._given: list[Shape | None] = [None] * len(self._inputs)
        self._rooms = [_room(spec) for spec in self._outputs]

    def set_input(self, index: int, tensor: Tensor) -> None:
        self.input_room(index, tensor.dims, tensor.type)[:] = tensor.data

    def input_room(self, index: int, dims: tuple[int, ...], tensor_type: TensorType) -> memoryview:
        """The memory of an input of such dims, for the caller to write; the input counts as set."""
        shape = Shape(dims, tensor_type, element_count(dims) * tensor_type.size)
        self._on_worker("taking an input", lambda: self._make_room_for(index, shape))
        self._given[index] = shape
        return self._session.input_view(index, shape.size)

    def _make_room_for(self, index: int, shape: Shape) -> None:
        session = self._session
        if session.arena is None:
            sizes = [_static_size(spec) for spec in self._inputs]
        else:
            sizes = [room for _, room in session.layout.inputs]
        sizes[index] = max(sizes[index], shape.size)
        if session.layout.size > _MAX_SPARE_BYTES:
            # What the inputs held once counts against no limit: it is given back.
            held = [0 if each is None else each.size for each in self._given]
            held[index] = shape.size
            if sum(held) < sum(sizes) // 4:
                sizes = held
        if not session.has_room(sizes, self._rooms):
            with self._counted():
                session.make_room(sizes, self._rooms)

    def compute(self) -> None:
        self._on_worker("computing", self._compute)

    def _compute(self) -> None:
        session = self._session
        given = [shape for shape in self._given if shape is not None]
        body = messages.encode_shapes(given) if given != session.told else b""
        with self._counted():
            if session.arena is None:
                session.make_room([0] * len(self._inputs), self._rooms)
            session.told = []  # whatever becomes of this call
            answer = session.call(messages.COMPUTE + body)
            if answer[:1] == messages.OUTPUTS:
                self._accept(answer[1:])
        session.told = given
        if len(session.outputs) != len(self._outputs):
            raise ValueError("no outputs")

    def _accept(self, body: bytes) -> None:
        """Takes the outputs' shapes, and asks for what had no room."""
        session = self._session
        outputs = messages.decode_shapes(body)
        if len(outputs) != len(self._outputs):
            raise ValueError(f"{len(outputs)} outputs")
        sizes = [0 if isinstance(each, WasiNNError) else each.size for each in outputs]
        if not fits(session.layout.outputs, sizes):
            rooms = [max(room, size) for room, size in zip(self._rooms, sizes, strict=True)]
            session.make_room([room for _, room in session.layout.inputs], rooms)
            self._rooms = rooms
            outputs = messages.decode_shapes(session.call(messages.FETCH)[1:])
            sizes = [0 if isinstance(each, WasiNNError) else each.size for each in outputs]
            if not fits(session.layout.outputs, sizes):
                raise ValueError("outputs that grow")
        session.outputs = outputs

    def output(self, index: int) -> Tensor:
        found = self._session.outputs[index]
        if isinstance(found, WasiNNError):
            raise found
        return Tensor(found.dims, found.type, self._session.output_view(index, found.size))

    def bind(self, inputs: Sequence[int], outputs: Sequence[int]) -> Callable[[], object] | None:
        """Copies to and from the addresses around each compute: they are no memory of the worker's."""
        specs = (*self._inputs, *self._outputs)
        if any(spec.static_dims is None for spec in specs):
            return None
        if sum(_static_size(spec) for spec in specs) > _MAX_BOUND_BYTES:
            return None
        for spec, shape in zip(self._inputs, self._given, strict=True):
            if shape is None or shape.size != _static_size(spec):
                return None  # `any_type`: there is room for the type that is declared
        for index, address in enumerate(inputs):
            self._copy_input(index, address, into_arena=False)
        return functools.partial(self._run_bound, tuple(inputs), tuple(outputs))

    def _run_bound(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        self._attend()
        for index, address in enumerate(inputs):
            self._copy_input(index, address, into_arena=True)
        self.compute()
        for index, (address, spec) in enumerate(zip(outputs, self._outputs, strict=True)):
            tensor = self.output(index)
            if tensor.dims != spec.static_dims or tensor.type is not spec.type:
                raise runtime_error(f"output {spec.name!r} came as {tensor}")
            ctypes.memmove(address, ctypes.addressof(_byte(tensor.data)), len(tensor.data))

    def _copy_input(self, index: int, address: int, into_arena: bool) -> None:
        shape = self._given[index]
        assert shape is not None
        if shape.size:
            ours = ctypes.addressof(_byte(self._session.input_view(index, shape.size)))
            ctypes.memmove(*((ours, address) if into_arena else (address, ours)), shape.size)

    # -- the process behind it ------------------------------------------------------------------------

    def _attend(self) -> None:
        """Sees that there is a process: after a crash, a new one with the inputs of the old."""
        if self._interrupted:
            raise runtime_error("the compute was ended")
        session = self._session
        if session.worker.usable:
            return
        assert self._graph is not None
        fresh = self._graph.new_session(self._loading)
        self._session = fresh
        try:
            if session.arena is not None:
                with self._worker_errors("taking the inputs of the one before"), self._counted():
                    fresh.make_room([room for _, room in session.layout.inputs], self._rooms)
                for index, shape in enumerate(self._given):
                    if shape is not None:
                        fresh.input_view(index, shape.size)[:] = session.input_view(index, shape.size)
        except BaseException:
            self._session = session
            fresh.channel.close()
            raise
        session.channel.close()

    def close(self) -> None:
        graph, self._graph = self._graph, None
        if graph is None:
            return
        if self._interrupted or self._session.layout.size > _MAX_SPARE_BYTES:
            self._session.channel.close()
        else:
            graph.keep(self._session)


def _room(spec: TensorSpec) -> int:
    return _FIRST_ROOM if spec.static_dims is None else _static_size(spec)


def _static_size(spec: TensorSpec) -> int:
    return 0 if spec.static_dims is None else element_count(spec.static_dims) * spec.type.size


def _byte(view: memoryview) -> ctypes.c_char:
    return ctypes.c_char.from_buffer(view)
