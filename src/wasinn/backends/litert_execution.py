# SPDX-License-Identifier: Apache-2.0
"""The contexts of the LiteRT backend: an interpreter each, with fixed tensors or with growing ones.

Where every shape is fixed the tensors stay where `AllocateTensors` put them: inputs are written and
outputs read in place (`FixedExecution`). Everything else (dynamic dimensions, scalars, shapes that the
data decides) keeps its inputs beside the interpreter and finds the tensors anew for each compute
(`DynamicExecution`): a resize of one input moves, and forgets, all the others.

Facts behind the code, each measured. The interpreter keeps its inputs through an invoke, unless the
model has operators that write into them. Where the data decides the shape of *any* tensor, an invoke may
move all of them, also those of fixed shape, and free the memory where they were. The binding's `tensor`
gives a *copy* of a scalar, and an error for a tensor without elements and for one without memory (which
is how one shows, before the first invoke, whose shape the data decides); for strings and bf16 it crashes.
Assigning to a slice of a memoryview takes 0.06 us, `ctypes.memmove` 0.3. The object `_interpreter` of an
interpreter is the binding itself; with a second reference to it the public `invoke` refuses to work, so
it alone is called: `Invoke` takes 0.25 us and the public method 0.4. A bool that is neither 0 nor 1 makes
the kernel of WHERE count wrongly, and give out memory that nothing wrote.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wasinn.backends.base import Execution
from wasinn.backends.common import Buffer, one_line, view_at
from wasinn.errors import WasiNNError, runtime_error
from wasinn.spec import TensorType
from wasinn.tensors import Tensor, TensorSpec, element_count, format_dims

#: The most that the ports of a dynamic context may hold for it to be kept, in bytes.
_MAX_SPARE_BYTES = 1 << 20

#: The most that the ports of a bound context may hold, in bytes. The interpreter computes in tensors of
#: its own, so that binding costs a second copy each way, and saves 6 us.
_MAX_BOUND_BYTES = 1 << 18

Dims = tuple[int, ...]
Keep = Callable[[Execution], None]


class Session:
    """One interpreter, by the binding's own calls. Used by one thread at a time."""

    def __init__(self, interpreter: Any, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """`inputs` and `outputs`: the tensors of the ports."""
        self._owner = interpreter  # keeps the model's bytes and the delegates, too
        self._binding = interpreter._interpreter
        self.inputs = inputs
        self.outputs = outputs
        self.invoke: Callable[[], object] = self._binding.Invoke

    def allocate(self) -> None:
        self._binding.AllocateTensors()

    def resize(self, tensor: int, dims: Dims) -> None:
        if any(dim >= 1 << 31 for dim in dims):
            raise ValueError("a dimension of 2^31 or more")
        self._binding.ResizeInputTensor(tensor, np.array(dims, np.int32), False)

    def dims(self, tensor: int) -> Dims:
        return tuple(self._binding.TensorSize(tensor, 0).tolist())

    def address(self, tensor: int, size: int) -> int | None:
        """Where the `size` bytes of a tensor are; None if they have no place yet."""
        try:
            array = self._binding.tensor(self._binding, tensor)
        except ValueError:
            return None
        if not isinstance(array, np.ndarray) or array.nbytes != size:
            return None
        return int(array.__array_interface__["data"][0])

    def view(self, tensor: int, size: int) -> memoryview | None:
        """The `size` bytes of a tensor, in place; None if they have no place yet."""
        address = self.address(tensor, size)
        return None if address is None else view_at(address, size, self._owner)

    def write(self, tensor: int, spec: TensorSpec, dims: Dims, buffer: Buffer) -> None:
        """Gives an input its bytes."""
        size = len(buffer.view)
        if not size:
            return
        if not dims:
            dtype = self._binding.TensorType(tensor, 0)
            self._binding.SetTensor(tensor, np.frombuffer(buffer.view, dtype).reshape(()))
            return
        address = self.address(tensor, size)
        if address is None:
            raise ValueError(f"the tensor of {spec.name!r} has no memory for {size} bytes")
        ctypes.memmove(address, buffer.address, size)

    def read(self, tensor: int, spec: TensorSpec) -> Tensor:
        """An output: a view of its tensor, or a copy of a scalar."""
        dims = self.dims(tensor)
        size = element_count(dims) * spec.type.size
        if not size:
            return Tensor(dims, spec.type, memoryview(b""))
        if not dims:
            scalar = np.asarray(self._binding.GetTensor(tensor))
            return Tensor(dims, spec.type, memoryview(scalar.tobytes()))
        view = self.view(tensor, size)
        if view is None:
            raise runtime_error(f"LiteRT has no value for the output {spec.name!r}")
        return Tensor(dims, spec.type, view)

    def shapes_are_fixed(self) -> bool:
        """Whether no shape depends on data. To be asked before the first invoke, of an interpreter
        without delegates: those hide the tensors between the operators that they take over."""
        binding = self._binding
        outputs = {int(tensor) for node in range(binding.NumNodes()) for tensor in binding.NodeOutputs(node)}
        try:
            for tensor in outputs:
                if np.dtype(binding.TensorType(tensor, 0)).kind not in "fiubc":
                    return False
                binding.tensor(binding, tensor)
        except ValueError:
            return False
        return True


def reason(error: BaseException) -> str:
    """LiteRT's words; it has none where memory for the tensors runs out."""
    return one_line(error) or "it names no reason, which most often is too little memory for the tensors"


def fixed_views(
    session: Session, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[list[memoryview], list[memoryview]] | None:
    """The places of all ports, if every one has its own from now on; else None."""
    found = []
    for tensors, specs in ((session.inputs, inputs), (session.outputs, outputs)):
        views = []
        for tensor, spec in zip(tensors, specs, strict=True):
            dims = spec.static_dims
            if not dims or 0 in dims or session.dims(tensor) != dims:
                return None
            view = session.view(tensor, element_count(dims) * spec.type.size)
            if view is None:
                return None
            views.append(view)
        found.append(views)
    return found[0], found[1]


def _copy_in(spec: TensorSpec, target: memoryview, data: memoryview) -> None:
    if spec.type is TensorType.BOOL:
        np.minimum(np.frombuffer(data, np.uint8), 1, out=np.frombuffer(target, np.uint8))
    else:
        target[:] = data


class FixedExecution:
    """A context whose tensors never move."""

    def __init__(
        self,
        session: Session,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        views: tuple[list[memoryview], list[memoryview]],
    ) -> None:
        self._session = session
        self._invoke = session.invoke
        self._inputs = inputs
        self._outputs = outputs
        self._in_views, self._out_views = views
        self._keep: Keep | None = None

    def begin(self, keep: Keep) -> Execution:
        """Begins a context. What the tensors hold cannot be read before it is overwritten: the host
        gives no output before a compute, and computes only with every input."""
        self._keep = keep
        return self

    def set_input(self, index: int, tensor: Tensor) -> None:
        _copy_in(self._inputs[index], self._in_views[index], tensor.data)

    def compute(self) -> None:
        try:
            self._invoke()
        except Exception as error:
            raise runtime_error(f"LiteRT: {reason(error)}") from error

    def output(self, index: int) -> Tensor:
        spec = self._outputs[index]
        return Tensor(spec.static_dims or (), spec.type, self._out_views[index])

    def bind(self, inputs: Sequence[int], outputs: Sequence[int]) -> Callable[[], object] | None:
        if any(spec.type is TensorType.BOOL for spec in self._inputs):
            return None  # their bytes must be looked at, see set_input
        if sum(len(view) for view in (*self._in_views, *self._out_views)) > _MAX_BOUND_BYTES:
            return None
        invoke = self._invoke
        sources = _pairs(inputs, self._in_views)
        targets = _pairs(outputs, self._out_views)
        for there, here in sources:
            there[:] = here
        if len(sources) == len(targets) == 1:
            (source, taken), (target, given) = sources[0], targets[0]

            def run_one() -> None:
                taken[:] = source
                invoke()
                target[:] = given

            return run_one

        def run() -> None:
            for there, here in sources:
                here[:] = there
            invoke()
            for there, here in targets:
                there[:] = here

        return run

    def close(self) -> None:
        keep, self._keep = self._keep, None
        if keep is not None:
            keep(self)


def _pairs(addresses: Sequence[int], views: list[memoryview]) -> list[tuple[memoryview, memoryview]]:
    return [(view_at(address, len(view), None), view) for address, view in zip(addresses, views, strict=True)]


class DynamicExecution:
    """A context whose inputs are kept beside the interpreter, which is resized to fit them."""

    def __init__(
        self,
        make: Callable[[], Session],
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        session: Session | None = None,
    ) -> None:
        """`session`, if there is one already, has its tensors allocated."""
        self._make = make
        self._inputs = inputs
        self._outputs = outputs
        self._session = session
        #: The dims that the interpreter's tensors were allocated for; None: they were not.
        self._allocated = None if session is None else [session.dims(tensor) for tensor in session.inputs]
        self._buffers: list[Buffer | None] = [None] * len(inputs)
        self._dims: list[Dims] = [()] * len(inputs)
        self._keep: Keep | None = None

    def begin(self, keep: Keep) -> Execution:
        """Begins a context, with nothing of the one before."""
        self._keep = keep
        return self

    def set_input(self, index: int, tensor: Tensor) -> None:
        buffer = self._buffers[index]
        if buffer is None or len(buffer.view) != len(tensor.data):
            buffer = self._buffers[index] = Buffer(len(tensor.data))
        _copy_in(self._inputs[index], buffer.view, tensor.data)
        self._dims[index] = tensor.dims

    def compute(self) -> None:
        session = self._ready_session()
        try:
            for index, tensor in enumerate(session.inputs):
                buffer = self._buffers[index]
                assert buffer is not None
                session.write(tensor, self._inputs[index], self._dims[index], buffer)
            session.invoke()
        except Exception as error:
            raise runtime_error(f"LiteRT: {reason(error)}") from error

    def _ready_session(self) -> Session:
        """The interpreter, with tensors for the inputs that were given."""
        if self._session is not None and self._allocated == self._dims:
            return self._session
        # An interpreter that cannot be resized is in no state that its documentation knows: it goes.
        session, self._session, self._allocated = self._session, None, None
        try:
            session = session or self._make()
            for tensor, dims in zip(session.inputs, self._dims, strict=True):
                if session.dims(tensor) != dims:
                    session.resize(tensor, dims)
            session.allocate()
        except WasiNNError:
            raise
        except Exception as error:
            shapes = ", ".join(
                f"{spec.name!r} {format_dims(dims)}"
                for spec, dims in zip(self._inputs, self._dims, strict=True)
            )
            raise runtime_error(f"LiteRT cannot run the model on {shapes}: {reason(error)}") from error
        self._session, self._allocated = session, list(self._dims)
        return session

    def output(self, index: int) -> Tensor:
        session = self._session
        assert session is not None  # the host asks after a compute that succeeded
        return session.read(session.outputs[index], self._outputs[index])

    def close(self) -> None:
        keep, self._keep = self._keep, None
        if keep is None:
            return
        session, outputs = self._session, 0
        if session is not None:
            for tensor, spec in zip(session.outputs, self._outputs, strict=True):
                outputs += element_count(session.dims(tensor)) * spec.type.size
        held = outputs + sum(len(buffer.view) for buffer in self._buffers if buffer is not None)
        self._buffers = [None] * len(self._inputs)
        if session is not None and held <= _MAX_SPARE_BYTES:
            keep(self)
        else:
            self._session = self._allocated = None
