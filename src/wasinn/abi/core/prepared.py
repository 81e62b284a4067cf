# SPDX-License-Identifier: Apache-2.0
"""What a prepared store is made of: the course of events that it knows, where things lie in its memory, and
the module that a guest is linked to. `prepared.wat` is the other side; runtime/prepared_store.py has both.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wasinn.abi.core import capi, introspection, witx
from wasinn.abi.core.noted import Noted
from wasinn.errors import WasiNNError
from wasinn.host import GuestHost, metadata_of
from wasinn.spec import TensorType
from wasinn.tensors import TensorSpec

# The layout of $own in prepared.wat.
_HEAD = struct.Struct("<4I")
_NAME, _MAX_NAME = 16, 1024
_INPUTS = 1040
_INPUT = struct.Struct("<4I8I")
_INPUT_SIZE = 64
_OUTPUTS = 2064
_OUTPUT = struct.Struct("<2I")
_CONSTANTS = 2192
_CONSTANT = struct.Struct("<4I")
_LIST = struct.Struct("<2I")
_BUFFERS = 4096
_ALIGN = 64
_MAX_PORTS, _MAX_RANK = 16, 8
_CODES = range(32)
#: In the place of the bytes of an output that has no value.
_NO_VALUE = 0xFFFFFFFF
#: Bytes of all buffers of a store.
_MAX_BYTES = 16 << 20

_WASI = "wasi_snapshot_preview1"
#: The functions that `prepared.wat` has, in the order of its table, and how many i32 each takes.
FUNCTIONS = {
    (witx.MODULE, "load_by_name"): 3,
    (witx.MODULE, "init_execution_context"): 2,
    (witx.MODULE, "set_input"): 3,
    (witx.MODULE, "compute"): 1,
    (witx.MODULE, "get_output"): 5,
    (witx.MODULE, "finalize_execution_context"): 1,
    (witx.MODULE, "unload"): 1,
    (introspection.MODULE, "graph_metadata"): 4,
    (_WASI, "args_sizes_get"): 2,
    (_WASI, "args_get"): 2,
    (_WASI, "environ_sizes_get"): 2,
    (_WASI, "environ_get"): 2,
    (_WASI, "fd_prestat_get"): 2,
}
_INDEX = {each: index for index, each in enumerate(FUNCTIONS)}
#: Those that a guest must import that computes anything.
_NEEDED = tuple(FUNCTIONS)[:5]


@dataclass(frozen=True)
class Given:
    """An input as the guest gives it: `codes` has a bit for each type code that means `type`."""

    dims: tuple[int, ...]
    type: TensorType
    codes: int
    size: int


@dataclass(frozen=True)
class Surroundings:
    """What WASI tells a guest without directories: its arguments, and its environment."""

    arguments: tuple[bytes, ...]
    environment: tuple[bytes, ...]


@dataclass(frozen=True)
class Pattern:
    """A course of events: the graph's name, its inputs by index (None: not set), the bytes of its outputs
    (None: without a value); and what the guest may ask for."""

    name: str
    inputs: tuple[Given | None, ...]
    outputs: tuple[int | None, ...]
    metadata: bytes
    surroundings: Surroundings


def pattern_of(host: GuestHost, noted: Noted, surroundings: Surroundings) -> Pattern | None:
    """What the instance of `host` has done, once it is over; None for what no prepared store can do."""
    graph = noted.graph
    if graph is None or graph.name is None or host.handles_made != (1, 1):
        return None
    if graph.isolated or graph.away or graph.configurable:
        return None
    specs = graph.graph.inputs
    inputs = tuple(_given(spec, noted.inputs.get(index)) for index, spec in enumerate(specs))
    pattern = Pattern(graph.name, inputs, noted.outputs, metadata_of(graph), surroundings)
    if len(graph.name.encode()) > _MAX_NAME or max(len(inputs), len(noted.outputs)) > _MAX_PORTS:
        return None
    if any(each is not None and len(each.dims) > _MAX_RANK for each in inputs):
        return None
    return pattern if Layout(pattern).size <= _MAX_BYTES else None


def _given(spec: TensorSpec, noted: tuple[tuple[int, ...], TensorType, int] | None) -> Given | None:
    if noted is None:
        return None
    dims, kind, size = noted
    codes = sum(1 << code for code in _CODES if _means(code, dims, size, spec, kind))
    return Given(dims, kind, codes, size)


def _means(code: int, dims: tuple[int, ...], size: int, spec: TensorSpec, kind: TensorType) -> bool:
    try:
        return witx.read_type(code, dims, size, spec) is kind
    except WasiNNError:
        return False


class Layout:
    """Where a pattern's buffers lie in a store's own memory, and how large that must be."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self._lists = pattern.surroundings.arguments, pattern.surroundings.environment
        self.size = _BUFFERS
        self.inputs = [self._buffer(0 if each is None else each.size) for each in pattern.inputs]
        self.outputs = [self._buffer(size or 0) for size in pattern.outputs]
        self.metadata = self._buffer(len(pattern.metadata))
        self.texts = [self._buffer(_LIST.size + sum(map(len, each)) + len(each)) for each in self._lists]
        #: Bytes of all inputs.
        self.input_bytes = sum(each.size for each in pattern.inputs if each is not None)

    def _buffer(self, size: int) -> int:
        start = -(-self.size // _ALIGN) * _ALIGN
        self.size = start + max(size, 1)
        return start

    def write(self, base: int) -> None:
        """Writes the pattern to the memory at `base`."""
        pattern, space = self.pattern, capi.ADDRESS_SPACE
        name = pattern.name.encode()
        wanted = sum(1 << index for index, each in enumerate(pattern.inputs) if each is not None)
        _HEAD.pack_into(space, base, len(name), len(pattern.inputs), len(pattern.outputs), wanted)
        space[base + _NAME : base + _NAME + len(name)] = name
        for index, each in enumerate(pattern.inputs):
            if each is not None:
                dims = (*each.dims, *[0] * (_MAX_RANK - len(each.dims)))
                entry = base + _INPUTS + _INPUT_SIZE * index
                _INPUT.pack_into(
                    space, entry, each.codes, len(each.dims), each.size, self.inputs[index], *dims
                )
        for index, size in enumerate(pattern.outputs):
            shown = _NO_VALUE if size is None else size
            _OUTPUT.pack_into(space, base + _OUTPUTS + _OUTPUT.size * index, shown, self.outputs[index])
        text = pattern.metadata
        _CONSTANT.pack_into(space, base + _CONSTANTS, len(text), self.metadata, *self.texts)
        space[base + self.metadata : base + self.metadata + len(text)] = text
        for start, texts in zip(self.texts, self._lists, strict=True):
            joined = b"".join(each + b"\0" for each in texts)
            _LIST.pack_into(space, base + start, len(texts), len(joined))
            at = base + start + _LIST.size
            space[at : at + len(joined)] = joined


#: The parameter and result types of a function.
Kinds = tuple[tuple[str, ...], tuple[str, ...]]


def stub_text(imports: Mapping[tuple[str, str], Kinds]) -> str:
    """The module that a guest with these imports is linked to: its export `f<index>` stands for an import.
    What `prepared.wat` does goes through a table, all else is `unreachable`."""
    lines = [
        "(module",
        f'  (memory (export "own") {-(-_BUFFERS // 65536)})',
        f'  (table (export "table") {len(FUNCTIONS)} funcref)',
        '  (func (export "nothing"))',
    ]
    for index, (each, (parameters, results)) in enumerate(imports.items()):
        kinds = _declared("param", parameters) + _declared("result", results)
        if each in _INDEX:
            passed = " ".join(f"(local.get {number})" for number in range(len(parameters)))
            body = f"(call_indirect{kinds} {passed} (i32.const {_INDEX[each]}))"
        else:
            body = "unreachable"
        lines.append(f'  (func (export "f{index}"){kinds} {body})')
    return "\n".join([*lines, ")"])


def _declared(what: str, kinds: Iterable[str]) -> str:
    words = " ".join(kinds)
    return f" ({what} {words})" if words else ""


def can_be_prepared(imports: Mapping[tuple[str, str], Kinds]) -> bool:
    """Whether a guest with these imports may do what `prepared.wat` does, with the types that it has."""
    return all(each in imports for each in _NEEDED) and all(
        kinds == (("i32",) * FUNCTIONS[each], ("i32",))
        for each, kinds in imports.items()
        if each in FUNCTIONS
    )
