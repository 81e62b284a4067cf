# SPDX-License-Identifier: Apache-2.0
"""What one instance of a component has of the host: its tensors, graphs, contexts and errors.

Each resource has a number, its `rep`, which the runtime keeps in the guest's table of handles and gives
back with each call. Numbers are never reused. The runtime holds the rules of handles: one that was
dropped or given away traps before it comes here.

* A graph lives as long as a handle of it or a context made from it: a guest may drop the graph and go
  on computing. Handles from the same name share one graph of the host's.
* A tensor owns its bytes. What was given to `set-input` or `compute` is consumed, also if the call fails.
* `close` empties all, for an instance that trapped, or that never dropped what it had.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from wasinn.abi.component.buffers import Buffers
from wasinn.abi.component.values import NamedHandles
from wasinn.abi.core.state import FailureLog
from wasinn.errors import WasiNNError, invalid_argument
from wasinn.graphs.permissions import Permissions
from wasinn.host import GuestHost
from wasinn.spec import ErrorCode, TensorType
from wasinn.tensors import MAX_RANK, Tensor, TensorSpec, check_size, format_dims

#: Tensors and errors that one instance may hold at a time: each costs the host about half a kilobyte
#: beside its bytes.
MAX_RESOURCES = 1 << 16
#: Characters of the reasons that one instance's errors may hold together, and of one by the host: it may
#: repeat what the guest passed. Errors do not count as tensors do, so that there is room to say why a
#: tensor was refused.
MAX_REASONS = 16 << 20
MAX_REASON = 10_000
#: Names of inputs that a context keeps with what they stand for: a decimal number has many forms.
_MAX_NAMES = 256


class HeldTensor:
    """A tensor of a guest's: any dims, a type, and bytes of its own, which need not fit each other.

    `dims`: a tuple, or where there are too many for any graph an array. `size`: the bytes that it holds.
    """

    __slots__ = ("data", "dims", "size", "type")

    def __init__(self, dims: Sequence[int], tensor_type: TensorType, data: memoryview) -> None:
        """`data`: bytes ("B") that nobody else writes to."""
        self.dims = dims
        self.type = tensor_type
        self.data = data
        self.size = len(data) + 4 * len(dims)

    def for_port(self, spec: TensorSpec) -> Tensor:
        """The tensor as an input for `spec`. Raises WasiNNError (invalid_argument) if its dims and its
        bytes do not fit each other."""
        if len(self.dims) > MAX_RANK:
            raise invalid_argument(f"a tensor of {len(self.dims)} dimensions; at most {MAX_RANK} are taken")
        dims = tuple(self.dims)
        if not spec.any_size:
            check_size(dims, self.type, len(self.data))
        return Tensor(dims, self.type, self.data)

    def __str__(self) -> str:
        return f"{self.type.label} {format_dims(self.dims[:MAX_RANK])} ({len(self.data)} bytes)"


class HeldContext:
    """A context of a guest's: the host's handles of it and its graph, and what is needed of its ports."""

    __slots__ = (
        "_accepted",
        "_names",
        "answer",
        "context",
        "graph",
        "handle",
        "host",
        "inputs",
        "outputs",
    )

    def __init__(self, host: GuestHost, handle: int, graph: int) -> None:
        self.host = host
        self.handle = handle
        self.graph = graph
        self.context = host.context(handle)
        loaded = self.context.graph.graph
        self.inputs = loaded.inputs
        self.outputs = loaded.outputs
        #: What a compute answers with that gives every output, made by the first one.
        self.answer: NamedHandles | None = None
        self._names: dict[str, int] = {}
        #: Of each input the tensor that was last accepted, where any one like it is taken as it is.
        self._accepted: list[tuple[Sequence[int], TensorType, int] | None] = [None] * len(self.inputs)

    def input_index(self, name: str) -> int:
        """The number of the input of that name. Raises WasiNNError (invalid_argument)."""
        index = self._names.get(name)
        if index is None:
            index, _ = self.host.input_spec(self.handle, name)
            if len(self._names) < _MAX_NAMES:
                self._names[name] = index
        return index

    def give(self, index: int, tensor: HeldTensor) -> None:
        """Sets an input. Raises WasiNNError for what does not fit, which changes nothing."""
        dims, kind, size = like = tensor.dims, tensor.type, len(tensor.data)
        if self._accepted[index] == like and self.context.sizes[index] == size:
            self.context.accept_input(index, Tensor(dims, kind, tensor.data))  # type: ignore[arg-type]
            self.host.stats.bytes_in += size
            return
        spec = self.inputs[index]
        self.host.give_input(self.context, index, spec, tensor.for_port(spec))
        # What `fit` would have made another tensor of is looked at each time.
        unchanged = kind is spec.type and spec.dims != () and not (spec.any_size and spec.dims is None)
        self._accepted[index] = like if unchanged else None


class ComponentState:
    """The tables of one instance, on top of its GuestHost. Used by the thread that runs the instance.

    `exception` is what a callback caught and could not answer the guest with (KeyboardInterrupt, say):
    the guest was ended by a trap, and whoever runs it raises this instead.
    """

    def __init__(
        self,
        host: GuestHost,
        name: str = "guest",
        permissions: Permissions | None = None,
        trace: bool = False,
    ) -> None:
        """`permissions` are those of `host`: `max_input_bytes` also bounds what the tensors hold
        together, beside the inputs that were set; `max_model_bytes` what a load may bring."""
        allowed = permissions or Permissions()
        self.host = host
        self.stats = host.stats
        self.name = name
        self.trace = trace
        self.permissions = allowed
        self.exception: BaseException | None = None
        self.failures = FailureLog()
        self.tensors: dict[int, HeldTensor] = {}
        #: The host's handle of each graph, and the contexts.
        self.graphs: dict[int, int] = {}
        self.contexts: dict[int, HeldContext] = {}
        #: The code and the reason of each error; the code as an ErrorCode or as a case of the guest's.
        self.errors: dict[int, tuple[ErrorCode | str, str]] = {}
        self.tensor_buffers = Buffers(allowed.max_input_bytes)
        self.graph_buffers = Buffers(allowed.max_model_bytes if allowed.load else 0)
        # Eight bytes for the C API to write a handle to.
        self._slot = (ctypes.c_char * 8)()
        self.slot = ctypes.addressof(self._slot)
        self._users: dict[int, int] = {}
        self._held = self._reasons = 0
        self._max_held = allowed.max_input_bytes
        self._next = 0

    # -- tensors and errors ---------------------------------------------------------------------

    def _too_many(self) -> WasiNNError:
        return WasiNNError(
            ErrorCode.TOO_LARGE,
            f"this instance holds {MAX_RESOURCES} tensors and errors, which is all it may; drop those that "
            "are done with",
        )

    def check_room(self, size: int, count: int = 1) -> None:
        """Raises WasiNNError (too_large) unless `count` tensors of `size` bytes together may be added."""
        if len(self.tensors) + len(self.errors) + count > MAX_RESOURCES:
            raise self._too_many()
        held, most = self._held + self.tensor_buffers.held + size, self._max_held
        if held > most:
            raise WasiNNError(
                ErrorCode.TOO_LARGE,
                f"the tensors of this instance would come to {held} bytes, and the permissions allow {most}; "
                "drop those that are done with",
            )

    def add_tensor(self, tensor: HeldTensor) -> int:
        """Its number. Raises WasiNNError (too_large)."""
        self.check_room(tensor.size)
        return self.keep_tensor(tensor)

    def keep_tensor(self, tensor: HeldTensor) -> int:
        """The number of a tensor that there is room for (`check_room`)."""
        self._held += tensor.size
        rep = self._number()
        self.tensors[rep] = tensor
        return rep

    def take_tensor(self, rep: int) -> HeldTensor:
        """The tensor, which is no longer in the table."""
        tensor = self.tensors.pop(rep)
        self._held -= tensor.size
        return tensor

    def drop_tensor(self, rep: int) -> None:
        tensor = self.tensors.pop(rep, None)
        if tensor is not None:
            self._held -= tensor.size

    def add_error(self, code: ErrorCode | str, reason: str) -> int:
        """Its number. Raises WasiNNError (too_large)."""
        if len(self.tensors) + len(self.errors) >= MAX_RESOURCES:
            raise self._too_many()
        if isinstance(code, ErrorCode) and len(reason) > MAX_REASON:
            reason = reason[:MAX_REASON] + " ..."
        if self._reasons + len(reason) > MAX_REASONS:
            raise WasiNNError(ErrorCode.TOO_LARGE, "the errors of this instance hold too much text")
        self._reasons += len(reason)
        rep = self._number()
        self.errors[rep] = (code, reason)
        return rep

    def drop_error(self, rep: int) -> None:
        found = self.errors.pop(rep, None)
        if found is not None:
            self._reasons -= len(found[1])

    # -- graphs and contexts -----------------------------------------------------------------------

    def add_graph(self, handle: int) -> int:
        """The number of one more handle on a graph of the host's."""
        rep = self._number()
        self._use(handle)
        self.graphs[rep] = handle
        return rep

    def drop_graph(self, rep: int) -> None:
        handle = self.graphs.pop(rep, None)
        if handle is not None:
            self._leave(handle)

    def add_context(self, graph: int, handle: int) -> int:
        """The number of a context; `graph` is the host's handle of its graph."""
        rep = self._number()
        self._use(graph)
        self.contexts[rep] = HeldContext(self.host, handle, graph)
        return rep

    def drop_context(self, rep: int) -> None:
        found = self.contexts.pop(rep, None)
        if found is not None:
            try:
                self.host.finalize_execution_context(found.handle)
            finally:
                self._leave(found.graph)

    def _use(self, graph: int) -> None:
        self._users[graph] = self._users.get(graph, 0) + 1

    def _leave(self, graph: int) -> None:
        self._users[graph] -= 1
        if not self._users[graph]:
            del self._users[graph]
            self.host.unload(graph)

    def _number(self) -> int:
        """The next number. It has 32 bits: after four thousand million it must not meet one in use."""
        rep = self._next
        if rep <= 0xFFFFFFFF:
            self._next = rep + 1
            return rep
        tables: tuple[dict[int, Any], ...] = (self.tensors, self.graphs, self.contexts, self.errors)
        rep &= 0xFFFFFFFF
        while any(rep in table for table in tables):
            rep = (rep + 1) & 0xFFFFFFFF
        self._next = rep + 1 + (1 << 32)
        return rep

    # -- the end -----------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """How many resources the guest has not dropped yet."""
        return len(self.tensors) + len(self.graphs) + len(self.contexts) + len(self.errors)

    def close(self) -> None:
        """Empties the tables, and closes the GuestHost. May be called twice."""
        for table in (self.tensors, self.graphs, self.contexts, self.errors, self._users):
            table.clear()
        self._held = self._reasons = 0
        self.tensor_buffers.clear()
        self.graph_buffers.clear()
        self.host.close()
