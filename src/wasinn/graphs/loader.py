# SPDX-License-Identifier: Apache-2.0
"""From a graph source to a loaded graph: detect, choose the backend, load, wrap."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wasinn.backends import lookup
from wasinn.backends.base import Backend, Configurable, Graph
from wasinn.contracts.bound import Bound, bind
from wasinn.contracts.contract import Contract
from wasinn.errors import BackendError, ConfigError, WasiNNError, runtime_error, unsupported
from wasinn.graphs import detect, labels
from wasinn.graphs.adapted import AdaptedGraph
from wasinn.graphs.batched import BatchedGraph
from wasinn.graphs.beside import read_beside
from wasinn.graphs.checked import CheckedGraph
from wasinn.graphs.isolated import IsolatedGraph
from wasinn.graphs.isolated_streaming import IsolatedLanguageModel
from wasinn.graphs.loading import Loading
from wasinn.graphs.quantized import QuantizedGraph, real_bound
from wasinn.graphs.reshaped import ReshapedGraph
from wasinn.graphs.source import REMOTE, GraphSource, check_contract
from wasinn.graphs.timing import Timing
from wasinn.spec import Encoding, ErrorCode

logger = logging.getLogger("wasinn.host")


@dataclass(frozen=True)
class LoadedGraph:
    """A graph, and what it was loaded by.

    `isolated`: in a worker process. `label`: what its file says of itself (`labels.read`).
    `bound`: the contract that holds for the callers of `graph`, if there is one. `told`: the same; else the
    one beside the model, which guests may ask for, and against which nothing is held. `timing`: of its
    computes, by whoever measures them. `batched`: what joins the requests of several callers, if it does.
    """

    graph: Graph
    encoding: Encoding
    backend: str
    isolated: bool = False
    label: Mapping[str, Any] = field(default_factory=dict)
    bound: Bound | None = None
    told: Bound | None = None
    timing: Timing = field(default_factory=Timing, compare=False)
    described: dict[str | None, bytes] = field(default_factory=dict, compare=False)
    batched: BatchedGraph | None = None

    @property
    def away(self) -> bool:
        """Whether it computes in another process, which may take any time to answer."""
        return self.isolated or self.backend == REMOTE


@dataclass(frozen=True)
class Loader:
    """Loads sources. `preferred` maps an encoding to the backend that serves it."""

    preferred: Mapping[Encoding, str] = field(default_factory=dict)

    def isolates(self, encoding: Encoding, chosen: frozenset[Encoding] | None) -> bool:
        """Whether a model of `encoding` that a guest brings lives in a worker process. `chosen`: the
        encodings that do by the operator's word, or None if there is none."""
        try:
            kind = lookup.for_encoding(encoding, self.preferred).isolation
        except BackendError:
            return False
        return kind == "always" or (kind == "bytes" if chosen is None else encoding in chosen)

    def load(self, source: GraphSource, loading: Loading | None = None) -> LoadedGraph:
        """Loads `source`; `loading` can end that, if it is in a worker process.

        Raises WasiNNError: invalid_encoding for content that is not what it is labelled, or that no
        backend serves; unsupported_operation for a precision that the backend cannot be told;
        runtime_error for `guests` or `strict` without a contract; else as the backend says.
        """
        try:
            check_contract(source)
        except ConfigError as error:
            raise runtime_error(str(error)) from error
        encoding = source.encoding
        remote = source.model.url is not None
        if encoding is Encoding.AUTODETECT and not remote:
            encoding = detect.detect(source.model)
        try:
            if remote:
                backend = _remote_backend(source)
            elif source.backend is not None:
                backend = lookup.checked(lookup.by_name(source.backend), encoding)
            else:
                backend = lookup.for_encoding(encoding, self.preferred)
        except BackendError as error:
            refused = WasiNNError(ErrorCode.INVALID_ENCODING, str(error))
            raise _with_label_hint(refused, source, encoding) from error
        _check_precision(backend, source.options.precision)
        isolated = (
            backend.isolation == "always" if source.isolation is None else source.isolation == "process"
        )
        try:
            if isolated:
                isolated_graph = IsolatedGraph(
                    backend.name,
                    source.model,
                    encoding,
                    source.target,
                    source.options,
                    loading or Loading(),
                    source.load_timeout,
                )
                graph: Graph = isolated_graph
                if isolated_graph.streaming:
                    graph = IsolatedLanguageModel(isolated_graph)
            else:
                graph = backend.load(source.model, encoding, source.target, source.options)
        except WasiNNError as error:
            raise _with_label_hint(error, source, encoding) from error
        if source.llm is not None:
            graph = _with_llm_options(graph, source.llm, backend.name)
        batched = None
        if source.batch is not None:
            # Inside all else: what a request alone is converted to and held against is its own.
            graph = batched = BatchedGraph(graph, source.batch)
        bound = None
        if source.contract is not None:
            graph, bound = _under_contract(graph, source, source.contract)
        told = bound or _beside(graph, source)
        if source.quantization == "affine":
            bound, told = (each and real_bound(each, graph.inputs, graph.outputs) for each in (bound, told))
            graph = QuantizedGraph(graph)
        if source.dims == "reshape" and not isinstance(graph, Configurable):  # text has no dims
            graph = ReshapedGraph(graph)
        label = labels.read(source.model, encoding)
        return LoadedGraph(graph, encoding, backend.name, isolated, label, bound, told, batched=batched)


def _remote_backend(source: GraphSource) -> Backend:
    """The backend that calls a model on another server, which is of no encoding. Raises BackendError."""
    if source.backend not in (None, REMOTE):
        raise BackendError(f"{source.model.url} is on another server, which {source.backend} cannot load")
    return lookup.by_name(REMOTE)


def _with_llm_options(graph: Graph, options: str, backend: str) -> Graph:
    """The graph with the operator's options. Raises WasiNNError."""
    if not isinstance(graph, Configurable):
        raise unsupported(f"the options {options} are for language models, which {backend} does not serve")
    try:
        return graph.with_options(options)
    except WasiNNError as error:
        raise WasiNNError(error.code, f"llm: {error.reason}") from error


def _check_precision(backend: Backend, precision: str | None) -> None:
    """Raises WasiNNError (unsupported_operation) for one that the backend cannot be told."""
    if precision is None or precision in backend.precisions:
        return
    able = ", ".join(each.name for each in lookup.all_backends() if precision in each.precisions)
    raise unsupported(
        f'precision = "{precision}": {backend.name} computes in the model\'s own types, which no option '
        f"changes; backends that can be told: {able or 'none'}"
    )


def _under_contract(graph: Graph, source: GraphSource, contract: Contract) -> tuple[Graph, Bound]:
    """The graph, adapted to what its guests speak, that holds what they send against the contract; and the
    contract that holds for its callers. Raises WasiNNError (runtime_error) for one that does not fit."""
    try:
        bound = bind(contract, graph.inputs, graph.outputs)
        if source.guests is not None:
            adapted = AdaptedGraph(graph, bound, source.guests)
            graph, bound = adapted, adapted.bound
    except ConfigError as error:
        raise runtime_error(f"the contract does not fit the model: {error}") from error
    if isinstance(graph, Configurable):
        return graph, bound  # of text nothing can be held against it
    return CheckedGraph(graph, bound, source.strict), bound


def _beside(graph: Graph, source: GraphSource) -> Bound | None:
    """The contract beside the model's file, if there is one; a warning where it is of no use."""
    try:
        contract = read_beside(source)
        return None if contract is None else bind(contract, graph.inputs, graph.outputs)
    except ConfigError as error:
        logger.warning("guests are not told of the contract beside the model: %s", error)
        return None


def _with_label_hint(error: WasiNNError, source: GraphSource, encoding: Encoding) -> WasiNNError:
    """The error, with what the content looks like if that is not what it was labelled."""
    try:
        finding = detect.examine(source.model)
    except OSError:
        return error
    if finding.refusal is not None:
        return WasiNNError(ErrorCode.INVALID_ENCODING, finding.refusal)
    found = finding.candidates
    if not found or any(each.encoding is encoding for each in found):
        return error
    looks = " or ".join(f"{each.encoding.label} ({each.reason})" for each in found)
    return WasiNNError(
        ErrorCode.INVALID_ENCODING, f"labelled {encoding.label}, but it looks like {looks}; {error.reason}"
    )
