# SPDX-License-Identifier: Apache-2.0
"""Graphs and contexts: `wasi:nn` as Python objects that close themselves in a `with`.

with Graph.by_name("default") as graph, graph.context() as context:
    context.set_input("image", tensor)
    context.compute()
    scores = context.output("classes").values()
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from . import bindings
from .errors import ErrorCode, NnError, invalid
from .metadata import Metadata
from .tensor import Bytes, Tensor, TensorType

#: Formats of models and places where they run, by their names in `wasi:nn`.
ENCODINGS = ("openvino", "onnx", "tensorflow", "pytorch", "tensorflowlite", "ggml", "autodetect")
TARGETS = ("cpu", "gpu", "tpu")

_WIT_TYPES = {
    TensorType.F16: "FP16",
    TensorType.F32: "FP32",
    TensorType.F64: "FP64",
    TensorType.BF16: "BF16",
    TensorType.U8: "U8",
    TensorType.I32: "I32",
    TensorType.I64: "I64",
}
_TYPES = {name: kind for kind, name in _WIT_TYPES.items()}

Result = TypeVar("Result")


class Graph:
    """A model. Made by `by_name`, `from_bytes` or `from_files`; closed by `close` or a `with`."""

    def __init__(self, handle: Any, name: str) -> None:
        self._handle = handle
        self._metadata: Metadata | None = None
        self.name = name

    @classmethod
    def by_name(cls, name: str = "default") -> Self:
        """A model that the host has: the NAME of `wasinn run --graph NAME=...`. Raises NnError."""
        bindings.require("Graph.by_name")
        return cls(_call("load-by-name", lambda: bindings.graph.load_by_name(name)), name)

    @classmethod
    def from_bytes(cls, *parts: Bytes, encoding: str = "autodetect", target: str = "cpu") -> Self:
        """A model's files' content: most formats have one, OpenVINO has the XML and then the weights. A host
        may forbid it. Raises NnError."""
        _check_word("encoding", encoding, ENCODINGS)
        _check_word("target", target, TARGETS)
        if not parts:
            raise invalid("no model is given", "Graph.from_bytes")
        bindings.require("Graph.from_bytes")
        where = bindings.graph.ExecutionTarget[target.upper()]
        kind = bindings.graph.GraphEncoding[encoding.upper()]
        content = [bytes(part) for part in parts]
        return cls(_call("load", lambda: bindings.graph.load(content, kind, where)), "")

    @classmethod
    def from_files(
        cls, *paths: str | os.PathLike[str], encoding: str = "autodetect", target: str = "cpu"
    ) -> Self:
        """As `from_bytes`, of files that `--dir` gives the guest. Raises NnError."""
        parts = []
        for path in paths:
            try:
                with open(path, "rb") as file:
                    parts.append(file.read())
            except OSError as error:
                raise NnError(
                    ErrorCode.NOT_FOUND,
                    f"{path}: {error.strerror} (a guest sees only what --dir gives it)",
                    "Graph.from_files",
                ) from None
        return cls.from_bytes(*parts, encoding=encoding, target=target)

    def context(self) -> Context:
        """Where the model runs. It keeps the model alive, so the graph may be closed before it."""
        handle = self._open("init-execution-context")
        made = _call("init-execution-context", handle.init_execution_context)
        return Context(made, self)

    def metadata(self) -> Metadata:
        """Inputs, outputs and contract; asked of the host once. Raises NnError where the host or the world
        has no `wasinn:nn/introspection`."""
        if self._metadata is None:
            handle = self._open("graph-metadata")
            if not bindings.HAS_INTROSPECTION:
                raise NnError(
                    ErrorCode.UNSUPPORTED_OPERATION,
                    "this guest was built for a world without wasinn:nn/introspection: say the shapes "
                    "yourself, or build it for one that imports it",
                    "graph-metadata",
                )
            text = _call("graph-metadata", lambda: bindings.introspection.graph_metadata(handle))
            self._metadata = Metadata.from_json(text)
        return self._metadata

    def known_metadata(self) -> Metadata | None:
        """As `metadata`; None where there is none to be had."""
        try:
            return self.metadata() if self._metadata or self._handle is not None else None
        except NnError:
            return None

    def close(self) -> None:
        """Drops the host's handle; again is no mistake."""
        handle, self._handle = self._handle, None
        _drop(handle)

    def _open(self, call: str) -> Any:
        if self._handle is None:
            name = f" {self.name!r}" if self.name else ""
            raise invalid(
                f"the graph{name} is closed: make the call before close(), or inside its `with`", call
            )
        return self._handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Context:
    """One run after another of a graph: `set_input`, `compute`, `output`. Made by `Graph.context`.

    Inputs stay set until others are; outputs are there until the next compute. Closed by `close` or a `with`.
    """

    def __init__(self, handle: Any, graph: Graph) -> None:
        self._handle = handle
        self._graph = graph
        # Asked for now, as the graph may be closed before it is needed.
        self._metadata = graph.known_metadata()
        self._inputs: dict[str, Tensor] = {}
        self._outputs: list[tuple[str, Any]] | None = None

    def set_input(self, name: str | int, tensor: Tensor) -> None:
        """What the next computes get as an input: by its name, or its place in the model. Raises NnError for
        an input that there is not."""
        self._open("set-input")
        self._inputs[self._input_name(name, "set-input")] = tensor

    def compute(self) -> None:
        """Runs the model. Raises NnError with the host's reason."""
        self._run(self._inputs)

    def output(self, name: str | int = 0) -> Tensor:
        """A copy of an output of the last compute: by its name, or its place in the model. Its type is the
        model's own, where the host tells it. Raises NnError for an output that there is not."""
        self._open("output")
        if self._outputs is None:
            raise invalid("nothing was computed: call compute() first", "output")
        index = self._output_index(name)
        _, handle = self._outputs[index]
        kind = _TYPES[handle.ty().name]
        tensor = Tensor(kind, handle.dimensions(), handle.data())
        ports = self._metadata.outputs if self._metadata else ()
        if index < len(ports) and (own := ports[index].type) is not None and own.wire is kind:
            return tensor.as_type(own)
        return tensor

    def run(self, inputs: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
        """All in one: a compute of these inputs alone, and (name, tensor) of all outputs in the model's
        order. Raises NnError as `compute` does, and for an input that is given twice."""
        self._open("run")
        pairs = inputs.items() if isinstance(inputs, Mapping) else inputs
        named: dict[str, Tensor] = {}
        for name, tensor in pairs:
            key = self._input_name(name, "run")
            if key in named:
                raise invalid(f"input {name!r} is given twice: give each input once", "run")
            named[key] = tensor
        self._run(named)
        assert self._outputs is not None
        return [(name, self.output(index)) for index, (name, _) in enumerate(self._outputs)]

    def close(self) -> None:
        """Drops the host's handles; again is no mistake."""
        self._drop_outputs()
        handle, self._handle = self._handle, None
        _drop(handle)

    def _run(self, inputs: dict[str, Tensor]) -> None:
        handle = self._open("compute")
        self._drop_outputs()
        kinds = bindings.tensor.TensorType
        # `compute` takes these away, so they are not ours to drop.
        given = [
            (
                name,
                bindings.tensor.Tensor(list(each.dims), kinds[_WIT_TYPES[each.type.wire]], bytes(each.data)),
            )
            for name, each in inputs.items()
        ]
        try:
            self._outputs = _call("compute", lambda: handle.compute(given))
        except NnError as error:
            raise self._explained(error, inputs) from None

    def _explained(self, error: NnError, inputs: dict[str, Tensor]) -> NnError:
        """The host's refusal of inputs, and which of them is not as the model says. Only then: a host may
        take more than the model says."""
        if error.code is not ErrorCode.INVALID_ARGUMENT or self._metadata is None:
            return error
        odd = [
            f"input {name} {port} was given {inputs[name]}"
            for name, port in zip(
                map(str, range(len(self._metadata.inputs))), self._metadata.inputs, strict=True
            )
            if name in inputs and not port.fits(inputs[name].type, inputs[name].dims)
        ]
        return invalid("; ".join([error.reason, *odd]), error.call) if odd else error

    def _input_name(self, name: str | int, call: str) -> str:
        if self._metadata is None:
            return str(name)
        try:
            return str(self._metadata.input_index(name))
        except NnError as error:
            raise NnError(error.code, error.reason, call) from None

    def _output_index(self, name: str | int) -> int:
        outputs = self._outputs or []
        names = [each for each, _ in outputs]
        if isinstance(name, str) and name in names:
            return names.index(name)
        if self._metadata is not None:
            try:
                index = self._metadata.output_index(name)
            except NnError as error:
                raise NnError(error.code, error.reason, "output") from None
        else:
            index = int(name) if isinstance(name, int) or name.isdecimal() else -1
        if not 0 <= index < len(outputs):
            raise invalid(
                f"the model has no output {name!r}; it has: {', '.join(map(repr, names))}", "output"
            )
        return index

    def _drop_outputs(self) -> None:
        outputs, self._outputs = self._outputs, None
        for _, handle in outputs or ():
            _drop(handle)

    def _open(self, call: str) -> Any:
        if self._handle is None:
            raise invalid("the context is closed: make the call before close(), or inside its `with`", call)
        return self._handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _drop(handle: Any) -> None:
    """Drops a resource now, not when Python collects its garbage."""
    if handle is not None:
        handle.__exit__(None, None, None)


def _call(call: str, function: Callable[[], Result]) -> Result:
    """A failure is an `Err`: of an error resource that has the reason, or of the reason itself."""
    try:
        return function()
    except bindings.Err as error:
        value: Any = error.value
        if isinstance(value, str):
            raise NnError(ErrorCode.UNSUPPORTED_OPERATION, value, call) from None
        with value as resource:
            code, reason = resource.code(), resource.data()
        raise NnError(ErrorCode[code.name], reason, call) from None


def _check_word(what: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise invalid(f"there is no {what} {word!r}; there are {', '.join(words)}", "Graph")
