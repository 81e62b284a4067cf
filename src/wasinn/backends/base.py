# SPDX-License-Identifier: Apache-2.0
"""What a backend is: two small protocols, and a class that loads.

A backend adapts one ML runtime. Everything above it knows only `Graph` and `Execution`:

    graph = backend.load(model, Encoding.ONNX, Target.CPU, LoadOptions())
    execution = graph.open()                  # one context
    execution.set_input(0, tensor)            # copies the bytes once
    execution.compute()
    execution.output(0)                       # a view of the runtime's own buffer

What changes a graph's behaviour is a graph around a graph with the same protocol. A new backend is
one file in this folder and one entry point of the group `wasinn.backends`.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from wasinn.spec import Encoding, Target
from wasinn.tensors import Tensor, TensorSpec


class Graph(Protocol):
    """A loaded model. Shared by instances: every method may be called from any thread."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def open(self) -> Execution: ...


class Execution(Protocol):
    """One execution context. Used by one thread at a time, but for `interrupt`.

    The host has already held every tensor against the graph's specs, and asks for outputs only
    after a compute that succeeded.
    """

    def set_input(self, index: int, tensor: Tensor) -> None:
        """Copies the tensor's bytes into a buffer that the runtime reads in place."""

    def compute(self) -> None:
        """Runs the graph. Raises WasiNNError (runtime_error) with the runtime's reason."""

    def output(self, index: int) -> Tensor:
        """The output as a view that is good until the next compute or close."""

    def close(self) -> None:
        """Frees the runtime's resources. May be called twice."""


@runtime_checkable
class Interruptible(Protocol):
    """An execution whose compute another thread can end."""

    def interrupt(self) -> None:
        """Ends the running compute and every later one with an error."""


@runtime_checkable
class Bindable(Protocol):
    """An execution that can read and write at fixed addresses: what the hot path needs."""

    def bind(self, inputs: Sequence[int], outputs: Sequence[int]) -> Callable[[], object] | None:
        """A call that computes from the buffers at `inputs` into those at `outputs`.

        The inputs last given are copied there. The buffers have the dims last given to `set_input`
        and last computed, are aligned to 64 bytes and outlive the execution. None where the model's
        shapes are not all fixed.
        """


class Usage(NamedTuple):
    """What an execution has read and written in all: tokens, and the seconds that writing them took."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
    generate_seconds: float = 0.0

    def plus(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.generated_tokens + other.generated_tokens,
            self.generate_seconds + other.generate_seconds,
        )


@runtime_checkable
class Streaming(Protocol):
    """An execution that generates its output piece by piece: a language model's.

    `compute` generates to the end; `compute_single` one token at a time. Which outputs can be read does
    not depend on a compute alone, so the execution itself says so.
    """

    @property
    def usage(self) -> Usage: ...

    @property
    def context_tokens(self) -> int:
        """For how many tokens the next compute keeps memory."""

    def is_ready(self, index: int) -> bool:
        """Whether `output(index)` can be read now."""

    def compute_single(self) -> None:
        """Generates one token. Raises WasiNNError: end_of_sequence where there is none (the sequence goes
        on only after `fini_single` or a new prompt), context_full, prompt_too_long."""

    def output_single(self, index: int) -> Tensor:
        """What the last `compute_single` added to an output; the same as `output` where nothing is added
        piece by piece."""

    def fini_single(self) -> None:
        """Ends the sequence; the next compute starts anew with the same prompt."""


@runtime_checkable
class Configurable(Protocol):
    """A graph whose behaviour options change. `context_tokens`: for how many tokens a context has memory
    where the options say so; else 0."""

    @property
    def context_tokens(self) -> int: ...

    def for_guests(self) -> Graph:
        """The same, but that it refuses options that could hold this process up: those that come are a
        guest's."""

    def with_options(self, config: str) -> Graph:
        """The same model with other options: `config` is a JSON object, in which the keys that are not
        there keep what they have here. Raises WasiNNError: invalid_encoding if it is no JSON,
        invalid_argument for a value of the wrong type."""


@dataclass(frozen=True)
class Remote:
    """How a model on another server is called. `timeout`: seconds of one attempt; `retries`: further
    attempts where the connection failed. `token_file`: holds what is sent as `Authorization: Bearer`; `ca`:
    the certificates (PEM) that the server's is checked with, None for the system's own."""

    timeout: float = 30.0
    retries: int = 2
    token_file: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class Model:
    """A model's content: `files` on the host, the `builders` (bytes) that a guest passed, or the `url` of a
    model on another server, as in `http://HOST:PORT/MODEL`, which is called as `remote` says.

    A TensorFlow SavedModel is one directory in the place of a file.

    Guests pass bytes only; whatever a model refers to outside itself is open to `files` alone.
    """

    files: tuple[Path, ...] = ()
    builders: tuple[bytes, ...] = ()
    url: str | None = None
    remote: Remote = Remote()

    def heads(self, size: int = 65536) -> list[bytes]:
        """The first `size` bytes of each builder, none of a directory. Raises OSError for a file that
        cannot be read."""
        if self.builders:
            return [builder[:size] for builder in self.builders]
        result = []
        for path in self.files:
            if path.is_dir():
                result.append(b"")
                continue
            with path.open("rb") as file:
                result.append(file.read(size))
        return result

    @property
    def size(self) -> int:
        """The bytes of all builders, and of all that is in a directory. Raises OSError."""
        if self.builders:
            return sum(len(builder) for builder in self.builders)
        return sum(_size(path) for path in self.files)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(
        os.stat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names
    )


#: What a runtime may be told to compute f32 models in.
PRECISIONS = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class LoadOptions:
    """Options that every backend understands. `threads`: of one compute; None is the runtime's choice.
    `precision`: what f32 models are computed in, one of PRECISIONS; None is f32. A backend that cannot
    refuses with unsupported_operation."""

    threads: int | None = None
    precision: str | None = None


@dataclass(frozen=True)
class BackendInfo:
    """What `wasinn backends` shows of a backend. `devices` maps each target that can be served to
    the runtime's own name for what serves it."""

    name: str
    encodings: tuple[Encoding, ...]
    installed: bool
    version: str | None
    devices: Mapping[Target, str]
    install: str


class Backend(abc.ABC):
    """The adapter to one ML runtime. Importing its file must not import the runtime."""

    name: ClassVar[str]
    #: The encodings it loads, with its rank among the backends of that encoding (0 is the default).
    encodings: ClassVar[Mapping[Encoding, int]]
    #: The extra of wasinn that installs the runtime.
    extra: ClassVar[str]
    #: Which of its graphs live in worker processes unless the operator says otherwise: "never" any;
    #: those whose "bytes" a guest brings, where files or what models compute have been seen to end or to
    #: block the process, or to read its memory; "always" all, where a guest's tensors can end it.
    isolation: ClassVar[Literal["never", "bytes", "always"]] = "never"
    #: What it can be told to compute f32 models in, where the device can; `load` is asked for no other.
    precisions: ClassVar[frozenset[str]] = frozenset({"f32"})

    @abc.abstractmethod
    def version(self) -> str | None:
        """The runtime's version, or None if it is not installed."""

    @abc.abstractmethod
    def devices(self) -> Mapping[Target, str]:
        """What can serve each target on this machine, in the runtime's words."""

    @abc.abstractmethod
    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        """Loads a model.

        Raises WasiNNError: invalid_encoding if the content is not of `encoding`,
        unsupported_operation for a target or a port that the runtime cannot serve, runtime_error
        with the runtime's words for everything else.
        """

    @property
    def install_hint(self) -> str:
        return f'pip install "wasinn[{self.extra}]"'

    def info(self) -> BackendInfo:
        version = self.version()
        return BackendInfo(
            name=self.name,
            encodings=tuple(self.encodings),
            installed=version is not None,
            version=version,
            devices=self.devices() if version is not None else {},
            install=self.install_hint,
        )
