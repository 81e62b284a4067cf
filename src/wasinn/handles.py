# SPDX-License-Identifier: Apache-2.0
"""What stands behind a guest's handles: a graph and a context as one instance sees them, and its counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from wasinn.backends.base import Execution, Streaming, Usage
from wasinn.graphs.loader import LoadedGraph
from wasinn.tensors import Tensor


class Counts(dict[str, int]):
    """Numbers by name; 0 for a name that is not there."""

    def __missing__(self, key: str) -> int:
        return 0


@dataclass
class Stats:
    """What one instance has asked of the host. Times in seconds, sizes in bytes.

    `calls` counts WASI-NN calls by name, those that failed included. `backends` counts loaded
    graphs by the name of their backend, `isolated` those of them that live in worker processes. The
    tokens are those of language models; `generate_seconds` is what writing them took.
    """

    calls: Counts = field(default_factory=Counts)
    failures: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    computes: int = 0
    compute_seconds: float = 0.0
    load_seconds: float = 0.0
    backends: Counts = field(default_factory=Counts)
    isolated: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    generate_seconds: float = 0.0


class GraphHandle:
    """A graph as one instance sees it."""

    def __init__(
        self, loaded: LoadedGraph, name: str | None, configurable: bool = False, context_tokens: int = 0
    ) -> None:
        self.graph = loaded.graph
        self.backend = loaded.backend
        self.encoding = loaded.encoding
        self.isolated = loaded.isolated
        self.label = loaded.label
        self.bound = loaded.told
        #: The metadata by the graph's name, once somebody has asked: instances are many, and ask once each.
        self.told = loaded.described
        self.timing = loaded.timing
        self.away = loaded.away
        self.batches = loaded.batched is not None
        self.name = name
        #: Whether options change what it does.
        self.configurable = configurable
        #: The tokens of a context as the operator has set them; 0 where not.
        self.context_tokens = context_tokens
        self.live = True


class Context:
    """An execution context: the execution, which inputs it has, and whether its outputs are good."""

    def __init__(self, graph: GraphHandle, execution: Execution) -> None:
        self.graph = graph
        self.execution = execution
        self._given = [False] * len(graph.graph.inputs)
        #: The bytes that it holds of each input.
        self.sizes = [0] * len(graph.graph.inputs)
        self._ready = False
        #: Whether all inputs are known to be there that must be.
        self._complete = False
        #: The execution, if it streams.
        self.streaming = _streaming(execution)
        self._usage = Usage()
        #: The tokens that it is counted for, and whether an input has come that may change that.
        self.tokens = 0
        self.resized = True

    def accept_input(self, index: int, tensor: Tensor) -> None:
        self.execution.set_input(index, tensor)
        self._given[index] = True
        self._ready = False
        self.resized = True

    def missing_inputs(self) -> list[int]:
        if self._complete:  # the common case: an input that was given stays
            return []
        specs = self.graph.graph.inputs
        missing = [index for index, given in enumerate(self._given) if not (given or specs[index].optional)]
        self._complete = not missing
        return missing

    def is_ready(self, index: int) -> bool:
        """Whether an output can be read."""
        return self.ready if self.streaming is None else self.streaming.is_ready(index)

    def count_tokens(self, stats: Stats) -> None:
        """Adds to `stats` what the execution has read and written since the last time."""
        if self.streaming is not None:
            now = self.streaming.usage
            (prompt, generated, seconds), self._usage = self._usage, now
            stats.prompt_tokens += now[0] - prompt
            stats.generated_tokens += now[1] - generated
            stats.generate_seconds += now[2] - seconds

    @property
    def ready(self) -> bool:
        return self._ready

    def set_ready(self, ready: bool) -> None:
        self._ready = ready


#: What classes are: asking a protocol takes 10 us and more.
_KINDS: dict[tuple[type, type], bool] = {}


def is_of(thing: object, protocol: type) -> bool:
    """Whether `thing` is of a protocol, which is asked once of each class."""
    key = type(thing), protocol
    found = _KINDS.get(key)
    if found is None:
        found = _KINDS[key] = isinstance(thing, protocol)
    return found


def _streaming(execution: Execution) -> Streaming | None:
    """The execution, if it streams."""
    return execution if is_of(execution, Streaming) else None  # type: ignore[return-value]
