# SPDX-License-Identifier: Apache-2.0
"""A model that OpenVINO has compiled, and its contexts.

A context has an infer request (6 us to make) whose tensors lie over buffers of ours: `set_input` copies
into them, and outputs of fixed shape are written into them. Compute is the binding's own `infer`
(6.9 us for a tiny model where `infer(share_outputs=True)` takes 8.6 and a call of the compiled model 27).

Facts behind the code, each measured with 2026.4 on 2 cores:

* One compiled model computes one request at a time, however many there are (0.9 to 1.1 times the
  throughput of one thread from two); two compiled models give 1.6 to 1.9 times. Streams do not help a
  caller's thread: which stream it gets depends on its number, and half of all pairs of threads share one.
  So further copies are compiled, in the background, once computes have overlapped.
* An output tensor that is preset on a dynamic port gives wrong results. So does one on an output that is
  an input unchanged (a Parameter straight to a Result): zeros come out, and the *input* is overwritten.
* Integers of 64 bits and u32 are computed in i32, and f64 in f32, without a word: 2**40 comes out 0. Only
  what goes from an input straight to an output keeps its bits. Constants are cut to i32 as well.
* `cancel` ends a compute at the next operation; a Loop is one operation, body and all.
* `ov.Tensor(array, shape, type)` takes an array that is too small; the host has checked the sizes.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.backends.base import Execution
from wasinn.backends.common import Buffer
from wasinn.backends.openvino_ports import Port, check_width, reason
from wasinn.errors import WasiNNError, runtime_error
from wasinn.spec import TensorType
from wasinn.tensors import Tensor, TensorSpec, element_count

logger = logging.getLogger("wasinn.graph")

#: How long a compute waits for one copy of the model before it looks at the others again, in seconds.
_PATIENCE = 0.02


class Copy:
    """The model, compiled once. Whoever computes on it holds its lock."""

    def __init__(self, compiled: Any) -> None:
        self.lock = threading.Lock()
        binding: Any = super(type(compiled), compiled)  # under the Python wrapper: cheaper requests
        self.request: Callable[[], Any] = binding.create_infer_request


class Copies:
    """The copies of a model: one, and up to `most` where computes overlap."""

    def __init__(self, compile_: Callable[[], Any], most: int) -> None:
        self._compile = compile_
        self._most = most
        self._growing = threading.Lock()
        self.all = [Copy(compile_())]

    def take(self, preferred: Copy, given_up: Callable[[], bool]) -> Copy:
        """A copy that is free, locked. Waits for one while there is none."""
        while True:
            for copy in (preferred, *self.all):
                if copy.lock.acquire(blocking=False):
                    return copy
            self._grow()
            if preferred.lock.acquire(timeout=_PATIENCE):
                return preferred
            if given_up():
                raise runtime_error("the compute was ended")

    def _grow(self) -> None:
        if len(self.all) >= self._most or not self._growing.acquire(blocking=False):
            return
        try:
            # Not a daemon: the process must not end inside of the compiler.
            threading.Thread(target=self._add, name="wasinn-openvino-compile").start()
        except RuntimeError:  # no more threads
            self._growing.release()

    def _add(self) -> None:
        try:
            if len(self.all) < self._most:
                self.all.append(Copy(self._compile()))
        except Exception as error:
            logger.warning("openvino could not compile the model once more: %s", reason(error))
            self._most = len(self.all)
        finally:
            self._growing.release()


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Ports:
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class OpenVinoGraph:
    """A compiled model, shared by every context."""

    def __init__(self, ports: Ports, copies: Copies) -> None:
        self._ports = ports
        self._copies = copies
        self.inputs: tuple[TensorSpec, ...] = tuple(port.spec for port in ports.inputs)
        self.outputs: tuple[TensorSpec, ...] = tuple(port.spec for port in ports.outputs)

    def open(self) -> Execution:
        return OpenVinoExecution(self._ports, self._copies)


class Run:
    """Computes on tensors at fixed places, on whichever copy of the model is free.

    Each copy needs a request of its own, made when it is first used. None for an output leaves it to the
    runtime.
    """

    def __init__(self, copies: Copies, inputs: list[Any], outputs: list[Any]) -> None:
        self._copies = copies
        self._copy = copies.all[0]
        self._requests: dict[Copy, Any] = {}
        self._inputs = inputs
        self._outputs = outputs
        self._running: Any = None
        self._interrupted = False
        #: The outputs that were left to the runtime, copied, by index: dims, and the bytes.
        self.copied: dict[int, tuple[tuple[int, ...], Buffer]] = {}

    def place_input(self, index: int, tensor: Any) -> None:
        self._inputs[index] = tensor
        for request in self._requests.values():
            request.set_input_tensor(index, tensor)

    def compute(self) -> None:
        copy = self._copy
        if not copy.lock.acquire(blocking=False):
            copy = self._copy = self._copies.take(copy, lambda: self._interrupted)
        try:
            request = self._requests.get(copy) or self._open(copy)
            self._running = request
            if self._interrupted:
                raise runtime_error("the compute was ended")
            request.infer(_NO_INPUTS, True, False)  # share_outputs, decode_strings
            self.copied = self._left(request)
        except WasiNNError:
            raise
        except Exception as error:
            raise runtime_error(f"openvino: {reason(error)}") from error
        finally:
            self._running = None
            copy.lock.release()

    def _open(self, copy: Copy) -> Any:
        request = self._requests[copy] = copy.request()
        for index, tensor in enumerate(self._inputs):
            if tensor is not None:
                request.set_input_tensor(index, tensor)
        for index, tensor in enumerate(self._outputs):
            if tensor is not None:
                request.set_output_tensor(index, tensor)
        return request

    def _left(self, request: Any) -> dict[int, tuple[tuple[int, ...], Buffer]]:
        """Copies of the outputs that were left to the runtime, made while nobody else computes: where the
        compiler has dropped what was between an input and an output, the next compute of any request
        moves the output's tensor to the input of that request."""
        found = {}
        for index, given in enumerate(self._outputs):
            if given is None:
                tensor = request.get_output_tensor(index)
                buffer = Buffer(tensor.get_byte_size())
                if buffer.view:
                    ctypes.memmove(buffer.address, tensor.data.ctypes.data, len(buffer.view))
                found[index] = tuple(tensor.get_shape()), buffer
        return found

    def interrupt(self) -> None:
        self._interrupted = True
        # A compute that has seen the flag down, and has not begun, has nothing yet to cancel.
        for _ in range(5):
            request = self._running
            if request is None:
                return
            request.cancel()
            time.sleep(0.002)


_NO_INPUTS: dict[int, Any] = {}


class OpenVinoExecution:
    """The buffers of one context, and what computes on them."""

    def __init__(self, ports: Ports, copies: Copies) -> None:
        self._ports = ports
        self._copies = copies
        self._in_dims: list[tuple[int, ...] | None] = [None] * len(ports.inputs)
        self._in_buffers: list[Buffer | None] = [None] * len(ports.inputs)
        self._out_buffers = [_fixed_buffer(port) for port in ports.outputs]
        outputs = [
            None if buffer is None else tensor_over(buffer.array, port.spec.static_dims or (), port)
            for port, buffer in zip(ports.outputs, self._out_buffers, strict=True)
        ]
        self._run = Run(copies, [None] * len(ports.inputs), outputs)
        self._bound: Run | None = None

    def set_input(self, index: int, tensor: Tensor) -> None:
        port = self._ports.inputs[index]
        if port.narrowed:
            check_width(port.spec.name, tensor)
        buffer = self._in_buffers[index]
        if self._in_dims[index] != tensor.dims or buffer is None:
            buffer = Buffer(len(tensor.data))
            self._run.place_input(index, tensor_over(buffer.array, tensor.dims, port))
            self._in_dims[index] = tensor.dims
            self._in_buffers[index] = buffer
        buffer.view[:] = tensor.data
        if tensor.type is TensorType.BOOL:
            np.minimum(buffer.array, 1, out=buffer.array)  # a byte of 2 is true, and no kernel's idea of it

    def compute(self) -> None:
        self._run.compute()

    def output(self, index: int) -> Tensor:
        spec = self._ports.outputs[index].spec
        buffer = self._out_buffers[index]
        if buffer is not None:
            return Tensor(spec.static_dims or (), spec.type, buffer.view)
        dims, copied = self._run.copied[index]
        return Tensor(dims, spec.type, copied.view)

    def bind(self, inputs: Sequence[int], outputs: Sequence[int]) -> Callable[[], object] | None:
        if None in self._out_buffers or None in self._in_buffers:
            return None
        ports = self._ports
        if any(port.spec.static_dims is None or port.looked_at for port in ports.inputs):
            return None
        for address, buffer in zip(inputs, self._in_buffers, strict=True):
            assert buffer is not None
            ctypes.memmove(address, buffer.address, len(buffer.view))
        self._bound = Run(
            self._copies,
            [_tensor_at(*pair) for pair in zip(inputs, ports.inputs, strict=True)],
            [_tensor_at(*pair) for pair in zip(outputs, ports.outputs, strict=True)],
        )
        return self._bound.compute

    def interrupt(self) -> None:
        self._run.interrupt()
        if self._bound is not None:
            self._bound.interrupt()

    def close(self) -> None:
        self._run = Run(self._copies, [], [])
        self._bound = None
        self._in_buffers = []
        self._out_buffers = []


def _fixed_buffer(port: Port) -> Buffer | None:
    """Where the runtime may be told to write an output; None where it must be left to it."""
    dims = port.spec.static_dims
    if dims is None or port.passes:
        return None
    return Buffer(element_count(dims) * port.spec.type.size)


def tensor_over(array: Any, dims: Sequence[int], port: Port) -> Any:
    """The runtime's tensor in the memory of `array`, u8 of as many bytes as it takes."""
    import openvino

    shape = openvino.Shape(list(dims))
    if 0 in dims:  # bindings before 2026.4 look at the array's first element
        return openvino.Tensor(port.kind, shape)
    return openvino.Tensor(array, shape, port.kind)


def _tensor_at(address: int, port: Port) -> Any:
    dims = port.spec.static_dims or ()
    size = element_count(dims) * port.spec.type.size
    place: Any = (ctypes.c_ubyte * size).from_address(address)
    return tensor_over(np.frombuffer(place, np.uint8), dims, port)
