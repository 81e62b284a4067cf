# SPDX-License-Identifier: Apache-2.0
"""The registry: each graph is loaded once, whoever asks first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import models
import wasinn
from conftest import MakeDriver
from wasinn.graphs.loader import LoadedGraph, Loader
from wasinn.graphs.loading import Loading
from wasinn.graphs.registry import Registry

SOURCE = wasinn.GraphSource.from_bytes(models.identity())


class WatchedLoader(Loader):
    """Counts its loads, and does `before(source)` in each."""

    def __init__(self, before: Callable[[wasinn.GraphSource], Any] = lambda source: None) -> None:
        super().__init__()
        object.__setattr__(self, "before", before)
        object.__setattr__(self, "sources", [])

    sources: list[wasinn.GraphSource]
    before: Callable[[wasinn.GraphSource], Any]

    def load(self, source: wasinn.GraphSource, loading: Loading | None = None) -> LoadedGraph:
        self.sources.append(source)
        self.before(source)
        return super().load(source)


def test_a_graph_is_loaded_on_its_first_use_and_only_then() -> None:
    registry, loader = Registry({"m": SOURCE}), WatchedLoader()
    assert len(loader.sources) == 0
    first = registry.get("m", loader)
    assert registry.get("m", loader) is first
    assert len(loader.sources) == 1


def test_eight_threads_at_once_load_a_graph_once() -> None:
    barrier = threading.Barrier(8)
    loader = WatchedLoader(lambda source: threading.Event().wait(0.05))
    registry = Registry({"m": SOURCE})

    def use(_: int) -> LoadedGraph:
        barrier.wait()
        return registry.get("m", loader)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(use, range(8)))
    assert len(loader.sources) == 1
    assert all(each is found[0] for each in found)


def test_two_graphs_load_without_waiting_for_one_another() -> None:
    # Each load waits until the other has begun: one after the other would break the barrier.
    both = threading.Barrier(2)
    loader = WatchedLoader(lambda source: both.wait(10))
    other = wasinn.GraphSource.from_bytes(models.add())
    registry = Registry({"a": SOURCE, "b": other})
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda name: registry.get(name, loader), ["a", "b"]))
    assert found[0] is not found[1]


def test_a_load_that_fails_is_tried_again_at_the_next_use(tmp_path: Path, drive: MakeDriver) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"half a mod")
    guest = drive(host=wasinn.Host(graphs={"m": wasinn.GraphSource.from_files(path, encoding="onnx")}))
    assert guest.load_by_name("m")[0] == 2
    assert guest.load_by_name("m")[0] == 2
    path.write_bytes(models.identity())
    assert guest.load_by_name("m") == (0, 0), "and the failures took no handle"


def test_waiting_threads_try_again_after_a_failure() -> None:
    failures = iter([RuntimeError("no"), RuntimeError("no")])

    def fail_twice(_: wasinn.GraphSource) -> None:
        error = next(failures, None)
        if error is not None:
            raise error

    loader, registry = WatchedLoader(fail_twice), Registry({"m": SOURCE})

    def use(_: int) -> bool:
        try:
            registry.get("m", loader)
        except RuntimeError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(use, range(4))) == [False, False, True, True]


def test_preload_loads_all_or_the_ones_named() -> None:
    host = wasinn.Host(graphs={"a": SOURCE, "b": SOURCE, "c": SOURCE})
    host.preload("a", "b")
    assert sorted(host.registry._loaded) == ["a", "b"]
    host.preload()
    assert sorted(host.registry._loaded) == ["a", "b", "c"]
    with pytest.raises(wasinn.WasiNNError, match="no graph is called 'd'; known: a, b, c"):
        host.preload("d")


def test_instances_share_a_graph_and_count_their_own_handles(drive: MakeDriver) -> None:
    host = wasinn.Host(graphs={"a": SOURCE, "b": SOURCE})
    one, two = drive(host=host), drive(host=host)
    assert one.load_by_name("a") == (0, 0)
    assert one.load_by_name("b") == (0, 1)
    assert two.load_by_name("b") == (0, 0)
    assert one.instance.state.host._graphs[1].graph is two.instance.state.host._graphs[0].graph


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("other", "no graph is called 'other'; known: digits"),
        ("/etc/passwd", "never files of the host"),
        ("../model.onnx", "never files of the host"),
        ("model.onnx", "never files of the host"),
        ("x" * 5000, "no graph is called 'xxx"),
    ],
)
def test_a_name_that_is_not_there_is_not_found(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, name: str, hint: str
) -> None:
    guest = drive({"digits": SOURCE})
    with caplog.at_level(logging.WARNING, "wasinn.guest"):
        assert guest.load_by_name(name)[0] == 8
    assert hint in caplog.text
    assert len(caplog.text) < 2000


def test_names_are_not_empty_and_not_taken() -> None:
    registry = Registry({"m": SOURCE})
    assert ("m" in registry, list(registry), len(registry)) == (True, ["m"], 1)
    with pytest.raises(wasinn.ConfigError, match="two graphs called 'm'"):
        registry.add("m", SOURCE)
    with pytest.raises(wasinn.ConfigError, match="needs a name"):
        registry.add("", SOURCE)
