# SPDX-License-Identifier: Apache-2.0
"""The operator's table from names to graphs, shared by every instance of every guest."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

from wasinn.backends.base import Configurable
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs.loader import LoadedGraph, Loader
from wasinn.graphs.loading import Loading
from wasinn.graphs.source import GraphSource, check_contract
from wasinn.spec import ErrorCode


class Registry:
    """Names and their graph sources. Each graph is loaded once, on its first use or ahead.

    A load that fails is not remembered: the next use tries again. Safe from any thread; two threads
    that want the same graph wait for one load, two that want different graphs do not wait for each
    other.
    """

    def __init__(self, sources: Mapping[str, GraphSource] | None = None) -> None:
        self._sources: dict[str, GraphSource] = {}
        self._loaded: dict[str, LoadedGraph] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._plain = False
        for name, source in (sources or {}).items():
            self.add(name, source)

    def add(self, name: str, source: GraphSource) -> None:
        """Adds a graph. Raises ConfigError if the name is empty or taken, and for `guests` or `strict`
        without the model's own contract."""
        if not name:
            raise ConfigError("a graph needs a name")
        if name in self._sources:
            raise ConfigError(f"there are two graphs called {name!r}")
        try:
            check_contract(source)
        except ConfigError as error:
            raise ConfigError(f"graph {name!r}: {error}") from None
        self._locks[name] = threading.Lock()
        self._sources[name] = source
        self._note_plain()

    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def source(self, name: str) -> GraphSource:
        """The source called `name`. Raises WasiNNError (not_found)."""
        try:
            return self._sources[name]
        except KeyError:
            raise WasiNNError(ErrorCode.NOT_FOUND, self._not_found(name)) from None

    def get(self, name: str, loader: Loader, loading: Loading | None = None) -> LoadedGraph:
        """The graph called `name`, loaded. Raises WasiNNError: not_found, or as the loader does."""
        loaded = self._loaded.get(name)
        if loaded is not None:
            return loaded
        source = self.source(name)
        lock = self._locks[name]
        (loading or Loading()).wait_for(lock)
        try:
            loaded = self._loaded.get(name)
            if loaded is None:
                loaded = self._loaded[name] = loader.load(source, loading)
                self._note_plain()
            return loaded
        finally:
            lock.release()

    @property
    def all_loaded(self) -> bool:
        return len(self._loaded) == len(self._sources)

    @property
    def plain(self) -> bool:
        """Whether every graph is loaded, and is one of this process that no options change: then opening a
        context and setting an input take microseconds."""
        return self._plain

    def loaded(self, name: str) -> LoadedGraph | None:
        """The graph called `name` if it is loaded now."""
        return self._loaded.get(name)

    def unload(self, name: str) -> bool:
        """Forgets the loaded graph, if there is one; the next use loads it anew. Who holds it keeps it.

        Raises WasiNNError (not_found).
        """
        self.source(name)
        with self._locks[name]:
            found = self._loaded.pop(name, None)
            self._note_plain()
            return found is not None

    def _note_plain(self) -> None:
        graphs = list(self._loaded.values())
        self._plain = self.all_loaded and not any(
            each.isolated or isinstance(each.graph, Configurable) for each in graphs
        )

    def _not_found(self, name: str) -> str:
        shown = name if len(name) <= 80 else name[:77] + "..."
        text = f"no graph is called {shown!r}"
        if "/" in name or "\\" in name or name.endswith((".onnx", ".xml", ".tflite", ".pt", ".gguf")):
            text += "; a guest names graphs of the registry, never files of the host"
        known = ", ".join(sorted(self._sources)[:20])
        return text + (
            f"; known: {known}" if known else "; no graphs are given (--graph, or graphs= of Host)"
        )
