# SPDX-License-Identifier: Apache-2.0
"""What every dialect calls: the handles, lifetimes and permissions of one guest instance.

Lifetimes, as the tests hold them (docs/lifetimes.md has the table):

* Handles count up from 0, graphs and contexts apart, are never reused, and mean nothing elsewhere.
* A handle exists only once what it stands for is complete.
* A context keeps its graph alive. After `unload` its name is free, and a context of it can still be
  read, but takes no input and computes no more.
* A call that fails changes nothing: an input that was refused leaves the one before it.
* Outputs belong to the last compute. A compute that fails, and an input that is set after it, take
  them away: they are never stale. An execution that streams says itself what can be read.
* A name that is loaded gives the same handle until it is unloaded.
"""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from wasinn.backends.base import Configurable, Execution, Interruptible, Model, Streaming
from wasinn.errors import WasiNNError, invalid_argument, runtime_error
from wasinn.graphs.loader import LoadedGraph, Loader
from wasinn.graphs.loading import Loading, opening
from wasinn.graphs.metadata import metadata
from wasinn.graphs.permissions import Permissions
from wasinn.graphs.recorded import Recording
from wasinn.graphs.registry import Registry
from wasinn.graphs.source import GraphSource
from wasinn.graphs.worker_process import WorkerPool
from wasinn.handles import Context, GraphHandle, Stats, is_of
from wasinn.spec import Encoding, ErrorCode, Target
from wasinn.tensors import Tensor, TensorSpec, element_count, fit, format_dims

logger = logging.getLogger("wasinn.host")

Opened = TypeVar("Opened")


@dataclass(frozen=True)
class Shared:
    """What all instances of a host share. `recording` is of one run, where its computes are kept."""

    registry: Registry = field(default_factory=Registry)
    loader: Loader = Loader()
    permissions: Permissions = Permissions()
    recording: Recording | None = None


class GuestHost:
    """Answers one guest instance's calls. Used by one thread at a time, but for `interrupt`.

    Every method raises WasiNNError, which the dialects turn into an errno and a line in the log.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._graphs: dict[int, GraphHandle] = {}
        self._contexts: dict[int, Context] = {}
        self._by_name: dict[str, int] = {}
        self._next_graph = 0
        self._option_warnings = 0
        self._held = self._tokens = 0
        self._next_context = 0
        self._interrupted: str | None = None
        self._loading: Loading | None = None
        self._workers: WorkerPool | None = None
        # An execution that was closed may serve another instance: never interrupt it then.
        self._closing = threading.Lock()
        self.stats = Stats()

    # -- graphs -----------------------------------------------------------------------------

    def load(self, builders: Sequence[bytes | memoryview], encoding: Encoding, target: Target) -> int:
        """Loads a model from its bytes; the new graph's handle.

        Copies them, once they are known to be few enough: builders may overlap in the guest's memory
        and add up to more than it has.
        """
        if not builders:
            raise invalid_argument("load was given no builders: there is no model to load")
        if target is Target.AUTO:
            raise invalid_argument("the target auto is the operator's; a guest names cpu, gpu or tpu")
        self._check_graph_count()
        size = sum(len(builder) for builder in builders)
        permissions = self._shared.permissions
        permissions.check_bytes(encoding, size)
        source = GraphSource(encoding, Model(builders=tuple(bytes(each) for each in builders)), target)
        if encoding is Encoding.AUTODETECT:
            from wasinn.graphs.detect import detect

            found = detect(source.model)
            permissions.check_bytes(found, size)
            source = GraphSource(found, source.model, target)
        if self._shared.loader.isolates(source.encoding, permissions.isolate):
            self._check_worker_count()
            source = replace(source, isolation="process", load_timeout=permissions.max_load_seconds)
        loading = Loading(self._worker_pool())
        loaded, _ = _for_guests(self._load(loading, lambda: self._shared.loader.load(source, loading)))
        return self._add_graph(loaded, None)

    def load_by_name(self, name: str, config: str | None = None) -> int:
        """The handle of the registry's graph `name`; the same one until it is unloaded. `config`: options
        as a JSON object, for a graph that takes any."""
        options = _options(name, config) if config is not None else ()
        handle = self._by_name.get(name)
        if handle is not None:
            self._warn_of_options(name, options, self._graphs[handle].configurable)
            return handle
        self._shared.permissions.check_name(name)
        self._check_graph_count()
        shared = self._shared
        found = shared.registry.loaded(name)
        if found is None:
            loading = Loading()
            found = self._load(loading, lambda: shared.registry.get(name, shared.loader, loading))
        loaded, context_tokens = _for_guests(found)
        if options and config is not None and isinstance(loaded.graph, Configurable):
            configured = functools.partial(loaded.graph.with_options, config)
            loaded = replace(loaded, graph=self._opening(configured))
        else:
            self._warn_of_options(name, options, False)
        handle = self._add_graph(loaded, name, context_tokens)
        self._by_name[name] = handle
        return handle

    def _warn_of_options(self, name: str, options: Sequence[str], live: bool) -> None:
        """A line in the log about options that change nothing; `live`: because the graph is loaded."""
        if options and self._option_warnings < _MAX_OPTION_WARNINGS:
            self._option_warnings += 1
            shown = ", ".join(_shown(option) for option in options[:20])
            why = "is loaded already, and keeps its options" if live else "takes no options"
            logger.warning("graph %s %s; ignored: %s", _shown(name, repr), why, shown)

    def _worker_pool(self) -> WorkerPool:
        if self._workers is None:
            self._workers = WorkerPool()
        return self._workers

    def _load(self, loading: Loading, load: Callable[[], LoadedGraph]) -> LoadedGraph:
        """Calls `load`, which `interrupt` can end by `loading`."""
        self._loading = loading
        start = time.perf_counter()
        try:
            if self._interrupted is not None:
                raise runtime_error(f"the run was ended: {self._interrupted}")
            return load()
        finally:
            self._loading = None
            self.stats.load_seconds += time.perf_counter() - start

    def unload(self, graph: int) -> None:
        """Frees a graph's handle and its name."""
        handle = self._graph(graph)
        handle.live = False
        del self._graphs[graph]
        if handle.name is not None:
            self._by_name.pop(handle.name, None)

    def graph_metadata(self, graph: int) -> bytes:
        """The model metadata of the Open Inference Protocol, with the contract that holds for guests where
        there is one, as JSON."""
        return metadata_of(self._graph(graph))

    def _add_graph(self, loaded: LoadedGraph, name: str | None, context_tokens: int = 0) -> int:
        configurable = is_of(loaded.graph, Configurable)
        recording = self._shared.recording
        if recording is not None:
            graph = recording.around(loaded.graph, name, loaded.encoding.label, loaded.backend)
            loaded = replace(loaded, graph=graph)
        number = self._next_graph
        self._next_graph += 1
        self._graphs[number] = GraphHandle(loaded, name, configurable, context_tokens)
        self.stats.backends[loaded.backend] += 1
        self.stats.isolated += loaded.isolated
        return number

    def _held_graphs(self) -> list[GraphHandle]:
        # A graph that was unloaded lives on while it has contexts.
        unloaded = {id(each.graph): each.graph for each in self._contexts.values() if not each.graph.live}
        return [*self._graphs.values(), *unloaded.values()]

    def _check_worker_count(self) -> None:
        limit = self._shared.permissions.max_workers
        if sum(each.isolated and each.name is None for each in self._held_graphs()) >= limit:
            raise WasiNNError(
                ErrorCode.BUSY,
                f"this instance has {limit} graphs in worker processes, which is all it may; unload one, "
                "and finalize its contexts",
            )

    def _check_graph_count(self) -> None:
        limit = self._shared.permissions.max_graphs
        if len(self._graphs) + len(self._contexts) < limit:
            return  # they cannot be more than that
        if len(self._held_graphs()) >= limit:
            raise WasiNNError(
                ErrorCode.BUSY,
                f"this instance holds {limit} graphs, which is all it may; unload one, and finalize its "
                "contexts",
            )

    def _graph(self, number: int) -> GraphHandle:
        handle = self._graphs.get(number)
        if handle is None:
            raise invalid_argument(_no_handle("graph", number, self._next_graph, "load"))
        return handle

    # -- contexts ---------------------------------------------------------------------------

    def init_execution_context(self, graph: int) -> int:
        """A new context of a graph; its handle."""
        handle = self._graph(graph)
        limit = self._shared.permissions.max_contexts
        if len(self._contexts) >= limit:
            raise WasiNNError(
                ErrorCode.BUSY, f"this instance holds {limit} contexts, which is all it may; finalize one"
            )
        execution = self._open_isolated(handle) if handle.isolated else handle.graph.open()
        number = self._next_context
        self._next_context += 1
        self._contexts[number] = Context(handle, execution)
        return number

    def _open_isolated(self, handle: GraphHandle) -> Execution:
        """A context in a worker process: `interrupt` can end the wait for it."""
        if sum(each.graph.isolated for each in self._contexts.values()) >= _MAX_ISOLATED_CONTEXTS:
            raise WasiNNError(
                ErrorCode.BUSY,
                f"this instance holds {_MAX_ISOLATED_CONTEXTS} contexts of graphs in worker processes, which "
                "is all it may; finalize one",
            )
        return self._opening(handle.graph.open)

    def _opening(self, open_one: Callable[[], Opened]) -> Opened:
        """Calls `open_one`, which may open a context in a worker process: `interrupt` can end it."""
        self._loading = opening.loading = Loading()
        try:
            if self._interrupted is not None:
                raise runtime_error(f"the run was ended: {self._interrupted}")
            return open_one()
        finally:
            self._loading = opening.loading = None

    def finalize_execution_context(self, context: int) -> None:
        """Frees a context."""
        found = self.context(context)
        with self._closing:
            del self._contexts[context]
            found.execution.close()
        self._held -= sum(found.sizes)
        self._tokens -= found.tokens

    def context(self, number: int) -> Context:
        """The context with handle `number`. Raises WasiNNError (invalid_argument)."""
        context = self._contexts.get(number)
        if context is None:
            raise invalid_argument(
                _no_handle("context", number, self._next_context, "init_execution_context")
            )
        return context

    def find_context(self, number: int) -> Context | None:
        """The context with handle `number`, if there is one."""
        return self._contexts.get(number)

    def find_graph(self, number: int) -> GraphHandle | None:
        """The graph with handle `number`, if there is one."""
        return self._graphs.get(number)

    @property
    def handles_made(self) -> tuple[int, int]:
        """How many graphs and contexts the instance has made so far."""
        return self._next_graph, self._next_context

    @property
    def all_loaded(self) -> bool:
        """Whether every graph that can be loaded by name is there already."""
        return self._shared.registry.all_loaded

    def contexts_of(self, graph: int) -> list[int]:
        """The handles of a graph's contexts; none for a handle that is unknown."""
        handle = self._graphs.get(graph)
        return [number for number, context in self._contexts.items() if context.graph is handle]

    def replace_context(self, number: int, context: Context) -> None:
        """Puts another keeper of the same state in the place of a context (the hot path's)."""
        self._contexts[number] = context

    def input_spec(self, context: int, key: int | str) -> tuple[int, TensorSpec]:
        """The index and spec of an input that can be set, by index or by name. Raises WasiNNError
        (invalid_argument)."""
        specs = self._live_context(context, "takes no more input").graph.graph.inputs
        index = _port(specs, key, "input")
        return index, specs[index]

    def set_input(self, context: int, key: int | str, tensor: Tensor) -> None:
        """Gives an input. A tensor that does not fit is refused, and changes nothing."""
        index, spec = self.input_spec(context, key)
        self.give_input(self._contexts[context], index, spec, tensor)

    def give_input(self, found: Context, index: int, spec: TensorSpec, tensor: Tensor) -> None:
        """`set_input` for who has looked the context and the port up already."""
        tensor = passed_on(spec, tensor)
        size, before = len(tensor.data), found.sizes[index]
        if size != before:
            self._account(found, index, size)
            try:
                found.accept_input(index, tensor)
            except BaseException:  # what it held, it holds
                self._held += before - size
                found.sizes[index] = before
                raise
        else:
            found.accept_input(index, tensor)
        found.count_tokens(self.stats)
        self.stats.bytes_in += len(tensor.data)

    def _account(self, found: Context, index: int, size: int) -> None:
        """Counts an input's bytes. Raises WasiNNError (too_large) if they are too many in all."""
        held = self._held + size - found.sizes[index]
        most = self._shared.permissions.max_input_bytes
        if held > most:
            raise WasiNNError(
                ErrorCode.TOO_LARGE,
                f"the inputs of this instance's contexts would come to {held} bytes, and the permissions "
                f"allow {most}; finalize contexts that are done with",
            )
        self._held = held
        found.sizes[index] = size

    def _account_tokens(self, found: Context, execution: Streaming) -> None:
        """Counts the tokens that a language model's context will have memory for. Raises WasiNNError
        (too_large) if they are too many in all."""
        wanted = execution.context_tokens
        tokens = self._tokens + wanted - found.tokens
        most = self._shared.permissions.max_context_tokens
        if tokens > max(most, found.graph.context_tokens):
            raise WasiNNError(
                ErrorCode.TOO_LARGE,
                f"this instance's contexts of language models would have memory for {tokens} tokens, and the "
                f"permissions allow {most} (max_context_tokens); set a smaller ctx-size, or finalize some",
            )
        self._tokens, found.tokens, found.resized = tokens, wanted, False

    def compute(self, context: int) -> None:
        """Runs the graph on the inputs given."""
        found = self._live_context(context, "computes no more")
        self._check_inputs(found)
        if found.streaming is not None and found.resized:
            self._account_tokens(found, found.streaming)
        self._run(found, found.execution.compute)

    def _check_inputs(self, found: Context) -> None:
        """Raises WasiNNError (invalid_argument) for inputs that were not set."""
        missing = found.missing_inputs()
        if missing:
            specs = found.graph.graph.inputs
            listed = ", ".join(f"{index} ({specs[index].name!r}, {specs[index]})" for index in missing)
            count = "1 input" if len(specs) == 1 else f"{len(specs)} inputs"
            raise invalid_argument(f"the graph has {count}, and not set were: {listed}; call set_input first")

    def _run(self, found: Context, compute: Callable[[], None]) -> None:
        """Calls `compute`, on the clock."""
        if self._interrupted is not None:
            raise runtime_error(f"the run was ended: {self._interrupted}")
        found.set_ready(False)
        start = time.perf_counter()
        try:
            compute()
        finally:
            seconds = time.perf_counter() - start
            found.graph.timing.add(seconds, sum(found.sizes))
            self.stats.compute_seconds += seconds
            self.stats.computes += 1
            found.count_tokens(self.stats)
        found.set_ready(True)

    def output(self, context: int, key: int | str) -> Tensor:
        """An output of the last compute, as a view of the runtime's buffer."""
        found = self.context(context)
        return found.execution.output(self._ready_output(found, key, "compute"))

    def _ready_output(self, found: Context, key: int | str, call: str) -> int:
        """The index of an output that can be read. Raises WasiNNError."""
        index = _port(found.graph.graph.outputs, key, "output")
        if not found.is_ready(index):
            raise runtime_error(f"output {key} is not there: call {call} first (also after each set_input)")
        return index

    def output_spec(self, context: int, key: int | str) -> TensorSpec:
        """The spec of an output, by index or by name. Raises WasiNNError (invalid_argument)."""
        specs = self.context(context).graph.graph.outputs
        return specs[_port(specs, key, "output")]

    # -- WasmEdge's calls that stream -------------------------------------------------------

    def compute_single(self, context: int) -> None:
        """Generates one token. Raises WasiNNError, also at the end (end_of_sequence)."""
        found = self._live_context(context, "computes no more")
        execution = self._streaming(found, "compute_single")
        self._check_inputs(found)
        if found.resized:
            self._account_tokens(found, execution)
        if self._interrupted is not None:
            raise runtime_error(f"the run was ended: {self._interrupted}")
        # As `_run`, for each token; what can be read the execution itself says.
        stats, start = self.stats, time.perf_counter()
        try:
            execution.compute_single()
        finally:
            seconds = time.perf_counter() - start
            found.graph.timing.add(seconds)
            stats.compute_seconds += seconds
            stats.computes += 1
            found.count_tokens(stats)

    def output_single(self, context: int, key: int | str) -> Tensor:
        """What the last `compute_single` added to an output."""
        found = self.context(context)
        execution = self._streaming(found, "get_output_single")
        return execution.output_single(self._ready_output(found, key, "compute_single"))

    def fini_single(self, context: int) -> None:
        """Ends the sequence: the next compute starts anew."""
        found = self.context(context)
        self._streaming(found, "fini_single").fini_single()

    def _streaming(self, found: Context, call: str) -> Streaming:
        if found.streaming is not None:
            return found.streaming
        encoding = found.graph.encoding.label
        raise invalid_argument(
            f"{call} is for language models that stream; this {encoding} graph computes at once"
        )

    def _live_context(self, number: int, what_not: str) -> Context:
        found = self.context(number)
        if not found.graph.live:
            raise invalid_argument(f"the graph of context {number} was unloaded: the context {what_not}")
        return found

    # -- the end ----------------------------------------------------------------------------

    def interrupt(self, reason: str) -> None:
        """Ends a running compute, and refuses every later one. For any thread."""
        self._interrupted = reason
        loading = self._loading
        if loading is not None:
            loading.interrupt(reason)
        with self._closing:
            for context in list(self._contexts.values()):
                if isinstance(context.execution, Interruptible):
                    context.execution.interrupt()

    def close(self) -> None:
        """Frees everything the instance holds."""
        with self._closing:
            for context in self._contexts.values():
                context.execution.close()
            self._contexts.clear()
        self._graphs.clear()
        self._by_name.clear()
        if self._workers is not None:
            self._workers.close()


def metadata_of(handle: GraphHandle) -> bytes:
    """`graph_metadata` for who has the graph."""
    told = handle.told.get(handle.name)
    if told is None:
        found = metadata(handle.name or "", handle.backend, handle.graph, handle.label, handle.bound)
        told = json.dumps(found).encode()
        if not handle.configurable:  # what options may change is asked for anew
            handle.told[handle.name] = told
    return told


def passed_on(spec: TensorSpec, tensor: Tensor) -> Tensor:
    """A guest's tensor as a backend gets it for the port `spec`. Raises WasiNNError (invalid_argument)."""
    if 0 in tensor.dims and element_count([dim or 1 for dim in tensor.dims]) >= 1 << 62:
        raise invalid_argument(f"dims {format_dims(tensor.dims)} are too large, also for no elements")
    if not spec.any_size:
        return fit(spec, tensor)
    if not spec.any_type and tensor.type is not spec.type and tensor.type is not spec.type.wire:
        raise invalid_argument(f"wanted {spec.type.label}, got {tensor}")
    if spec.dims is None and element_count(tensor.dims) * tensor.type.size != len(tensor.data):
        # Guests give a prompt the dims [1], whatever its length.
        return Tensor((len(tensor.data) // tensor.type.size,), tensor.type, tensor.data)
    return tensor


#: Each takes files of the host's, which has a thousand or so.
_MAX_ISOLATED_CONTEXTS = 128


def _for_guests(loaded: LoadedGraph) -> tuple[LoadedGraph, int]:
    """What a guest gets of a graph, and how many tokens the operator has given each of its contexts."""
    graph = loaded.graph
    if not is_of(graph, Configurable):
        return loaded, 0
    assert isinstance(graph, Configurable)
    return replace(loaded, graph=graph.for_guests()), graph.context_tokens


def _no_handle(kind: str, number: int, count: int, maker: str) -> str:
    if number < count:
        return f"{kind} {number} was freed"
    if count == 0:
        return f"there is no {kind} {number}: {maker} has not succeeded yet"
    return f"there is no {kind} {number}: this instance has made {count}, numbered from 0"


def _port(specs: Sequence[TensorSpec], key: int | str, direction: str) -> int:
    """The index of a port by index, by name, or by a name that is a decimal index."""
    if isinstance(key, str):
        for index, spec in enumerate(specs):
            if spec.name == key:
                return index
        for index, spec in enumerate(specs):
            if key in spec.aliases:
                return index
        if key.isascii() and key.isdecimal() and int(key) < len(specs):
            return int(key)
    elif 0 <= key < len(specs):
        return key
    known = ", ".join(f"{index} {spec.name!r}" for index, spec in enumerate(specs[:16]))
    raise invalid_argument(f"the graph has no {direction} {key!r}; it has: {known}")


#: A guest may load by name as often as it likes; the log has room for so many lines about it.
_MAX_OPTION_WARNINGS = 10
#: Characters of a config. Nothing else runs while JSON is parsed, deadlines neither.
_MAX_CONFIG = 1 << 16


def _options(name: str, config: str) -> tuple[str, ...]:
    """The names of the options in a config, which this graph has no use for. Raises WasiNNError."""
    if len(config) > _MAX_CONFIG:
        raise WasiNNError(
            ErrorCode.TOO_LARGE, f"a config of {len(config)} characters; at most {_MAX_CONFIG} are read"
        )
    if not config.strip():
        return ()
    try:
        options = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise WasiNNError(
            ErrorCode.INVALID_ENCODING, f"the config for {_shown(name, repr)} is not JSON: {error}"
        ) from None
    if not isinstance(options, dict):
        raise invalid_argument(f"the config for {_shown(name, repr)} is not a JSON object")
    return tuple(sorted(options))


def _shown(text: str, quote: Callable[[str], str] = str) -> str:
    """A guest's text for a line of the log: short, and without what would end the line."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return quote(short) if short.isprintable() else repr(short)
