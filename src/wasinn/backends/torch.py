# SPDX-License-Identifier: Apache-2.0
"""PyTorch models on PyTorch: TorchScript (torch_script.py) and exported programs (torch_export.py).

One module serves every context of a graph and computes concurrently; only a module that changes when
it computes (a counter, a cache of its own) is copied for each context. An input is copied once, into a
buffer that a tensor reads in place; an output is read where PyTorch put it.

Facts behind the code, each measured with PyTorch 2.13:

* A model may write into its inputs (`x.add_(1)`) and may return them. An input is the guest's until it
  sets another: where a graph writes in place anywhere, the module gets a copy (and no
  other graph does), and an output that lies in an input's buffer is copied out of it. PyTorch's
  alias analysis is not asked which input: it does not know of dropout, which returns its input.
* `set_num_threads` is the calling thread's, but a new thread takes over what any thread set last. So
  it is set around every compute (0.06 us where it is right
  already), also for graphs that do not choose: they get what PyTorch had at wasinn's first load. Graphs
  that compute at the same time with different `threads` can still disturb each other's matrix products.
* Version counters do not show every write (`x.data`), and inference tensors have none.
* `frombuffer` refuses a buffer of no bytes, `numpy()` a bf16 tensor; a bool that is neither 0 nor 1 is
  undefined behaviour.
* Errors carry stacks of C++; of TorchScript's traceback only the last line says what happened.

GPUs (CUDA, and MPS on a Mac) are written by the book and have not been run.
CUDA's book says that after an assertion in a kernel, as an index past the end is, "the process must be
terminated and relaunched": LostDevice.
"""

from __future__ import annotations

import copy
import ctypes
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from wasinn.backends import torch_archive, torch_export, torch_script, torch_values
from wasinn.backends.base import Backend, Execution, Graph, LoadOptions, Model
from wasinn.backends.common import Buffer, check_builders, choose_target, installed_version, view_at
from wasinn.backends.torch_program import Program
from wasinn.errors import LostDevice, WasiNNError, runtime_error
from wasinn.spec import Encoding, Target, TensorType
from wasinn.tensors import Tensor, TensorSpec, element_count


class TorchBackend(Backend):
    """`torch`: see the head of this file."""

    name: ClassVar[str] = "torch"
    encodings: ClassVar[Mapping[Encoding, int]] = {Encoding.PYTORCH: 0}
    extra: ClassVar[str] = "pytorch"
    isolation: ClassVar[Literal["never", "bytes", "always"]] = "bytes"

    @functools.cache  # noqa: B019
    def version(self) -> str | None:
        return installed_version("torch", "torch")

    @functools.cache  # noqa: B019
    def devices(self) -> Mapping[Target, str]:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a driver that is too old is told of there
            if torch.cuda.is_available():
                return {Target.CPU: "cpu", Target.GPU: f"cuda:0 ({torch.cuda.get_device_name(0)})"}
            if torch.backends.mps.is_available():
                return {Target.CPU: "cpu", Target.GPU: "mps"}
        return {Target.CPU: "cpu"}

    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        device = "cpu"
        if target is not Target.CPU:  # it is there; to ask for the others starts a GPU, if there is one
            devices = self.devices()
            device = devices[choose_target(self.name, devices, target)].partition(" ")[0]
        check_builders(model, "a PyTorch model is one builder (its bytes)")
        usual = _usual_threads()  # asked for before any graph computes
        _silence_warnings()
        source = (model.files or model.builders)[0]
        try:
            scripted = torch_archive.kind(source) == torch_archive.TORCHSCRIPT
            program = (torch_script if scripted else torch_export).load(source, device)
        except Exception as error:
            if isinstance(error, WasiNNError):
                raise
            raise runtime_error(f"torch could not load the model: {torch_values.reason(error)}") from error
        return TorchGraph(program, device, options.threads or usual)


@functools.cache
def _usual_threads() -> int:
    """How many threads a compute has if nobody says: what PyTorch had before wasinn set any."""
    import torch

    return int(torch.get_num_threads())


def _silence_warnings() -> None:
    """Keeps from stderr what PyTorch warns of on behalf of this package, and of TorchScript's code."""
    warnings.filterwarnings("ignore", module=r"wasinn\.backends\.torch")
    warnings.filterwarnings("ignore", module=r"code/__torch__")
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is deprecated")
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")


class TorchGraph:
    """One module, shared by every context that does not need its own."""

    def __init__(self, program: Program, device: str, threads: int) -> None:
        self.program = program
        self.device = device
        self.threads = threads
        self.inputs = program.inputs
        self.outputs = program.outputs

    def open(self) -> Execution:
        return TorchExecution(self)


class TorchExecution:
    """The inputs of one context, as tensors over buffers, and the outputs of its last compute."""

    def __init__(self, graph: TorchGraph) -> None:
        import torch

        self._torch: Any = torch
        self._mode = torch.inference_mode()  # half as dear as a new one for each compute
        self._program = graph.program
        self._device = graph.device
        self._threads = graph.threads
        self._outputs = graph.outputs
        self._module = copy.deepcopy(graph.program.module) if graph.program.stateful else graph.program.module
        self._in_keys: list[tuple[tuple[int, ...], TensorType] | None] = [None] * len(graph.inputs)
        self._buffers: list[Buffer | None] = [None] * len(graph.inputs)
        self._inputs: list[Any] = [None] * len(graph.inputs)
        #: What the module may write to, where it writes in place.
        self._copies: list[Any] = []
        self._results: list[Any] = []

    def set_input(self, index: int, tensor: Tensor) -> None:
        buffer, key = self._buffers[index], (tensor.dims, tensor.type)
        if buffer is None or self._in_keys[index] != key:
            buffer = Buffer(len(tensor.data))
            self._inputs[index] = torch_values.tensor_over(buffer.view, tensor.type, tensor.dims)
            self._buffers[index], self._in_keys[index] = buffer, key
            self._copies = []
        buffer.view[:] = tensor.data
        if tensor.type is TensorType.BOOL:
            np.minimum(buffer.array, 1, out=buffer.array)

    def compute(self) -> None:
        self._results = []
        self._results = self._compute(self._inputs)

    def _compute(self, inputs: list[Any], into: Sequence[Any] = ()) -> list[Any]:
        """One tensor for each output: on the CPU, row-major, and in no input's buffer. Those of `into`, if
        there are any: then the outputs are copied there, from wherever they are."""
        torch = self._torch
        before = torch.get_num_threads()
        if before != self._threads:
            torch.set_num_threads(self._threads)
        try:
            with self._mode:
                given = inputs
                if self._device != "cpu":
                    given = [each.to(self._device) for each in inputs]
                elif self._program.writes:
                    given = self._copied(inputs)
                results = self._program.flatten(self._program.call(self._module, given))
                for each, spec in zip(results, self._outputs, strict=True):
                    _check(each, spec)
                if into:
                    for place, each in zip(into, results, strict=True):
                        _copy(each, place)
                    return list(into)
                places = {each.untyped_storage().data_ptr() for each in inputs}
                return [_readable(each, places) for each in results]
        except WasiNNError:
            raise
        except Exception as error:
            reason = f"torch: {torch_values.reason(error)}"
            if self._device.startswith("cuda") and _is_lost():
                raise LostDevice(f"the GPU is lost to this process until it starts anew; {reason}") from error
            raise runtime_error(reason) from error
        finally:
            if before != self._threads:
                torch.set_num_threads(before)

    def _copied(self, inputs: list[Any]) -> list[Any]:
        if not self._copies:
            self._copies = [each.clone() for each in inputs]
        else:
            # A module may have changed the shape of what it got, or the strides.
            for index, each in enumerate(inputs):
                if self._copies[index].shape != each.shape or not self._copies[index].is_contiguous():
                    self._copies[index] = each.clone()
                else:
                    self._copies[index].copy_(each)
        return self._copies

    def output(self, index: int) -> Tensor:
        result = self._results[index]
        dims, tensor_type = tuple(result.shape), torch_values.tensor_types()[result.dtype]
        size = element_count(dims) * tensor_type.size
        return Tensor(dims, tensor_type, view_at(result.data_ptr(), size, result))

    def bind(self, inputs: Sequence[int], outputs: Sequence[int]) -> Callable[[], object] | None:
        if None in self._buffers or any(each.type is TensorType.BOOL for each in self._program.inputs):
            return None  # the bytes of a bool must be looked at, see set_input
        given = [_at(address, spec) for address, spec in zip(inputs, self._program.inputs, strict=True)]
        wanted = [_at(address, spec) for address, spec in zip(outputs, self._outputs, strict=True)]
        if any(each is None for each in (*given, *wanted)):
            return None
        for place, each in zip(given, self._inputs, strict=True):
            place.copy_(each)
        self._copies = []

        return functools.partial(self._compute, given, wanted)

    def close(self) -> None:
        self._results = []
        self._inputs = [None] * len(self._inputs)
        self._buffers = [None] * len(self._buffers)
        self._in_keys = [None] * len(self._in_keys)
        self._copies = []
        self._module = None


def _is_lost() -> bool:
    """Whether CUDA is at its end in this process: after an assertion in a kernel, or a bad address, every
    later call fails, this one too. After an error for want of memory none does."""
    import torch

    try:
        torch.cuda.synchronize()
    except Exception:
        return True
    return False


def _check(value: Any, spec: TensorSpec) -> None:
    """Raises WasiNNError for an output that is no tensor that WASI-NN can carry."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise runtime_error(
            f"torch: the output {spec.name!r} is a {type(value).__name__}, which is no tensor"
        )
    if value.layout is not torch.strided or value.dtype not in torch_values.tensor_types():
        raise runtime_error(
            f"torch: the output {spec.name!r} is a tensor of {value.dtype}, {value.layout}, which WASI-NN "
            "cannot carry"
        )


def _copy(value: Any, place: Any) -> None:
    """Copies an output. Raises WasiNNError for one that is not what the model declares."""
    if value.shape != place.shape or value.dtype != place.dtype:
        raise runtime_error("torch: an output is not of the shape and type that it declares")
    place.copy_(value)


def _readable(value: Any, places: set[int]) -> Any:
    """An output as bytes that can be read: on the CPU, row-major, and in none of `places`."""
    if not value.is_cpu:
        value = value.cpu()
    # A lazy minus (`imag` of a conjugate) is not in the bytes yet.
    value = value.resolve_conj().resolve_neg().contiguous()
    if value.untyped_storage().data_ptr() in places:
        value = value.clone()
    return value


def _at(address: int, spec: TensorSpec) -> Any:
    """A tensor over the memory at `address`; None for a port whose dims are not all fixed."""
    dims = spec.static_dims
    if dims is None:
        return None
    size = element_count(dims) * spec.type.size
    return torch_values.tensor_over((ctypes.c_ubyte * size).from_address(address), spec.type, dims)
