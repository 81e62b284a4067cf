# SPDX-License-Identifier: Apache-2.0
"""Guests, models and moments with which a prepared store could be told from the ordinary way."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import tomllib
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import models
import wasinn
from conftest import require_backend
from prepared_guests import BYTES, ROOM, byte, call, request, telling, tensor
from served_guests import Loop, Models, data, served_models
from wasinn.contracts.parse import parse_contract
from wasinn.graphs.batch_compute import Batches
from wasinn.oip.messages import InferRequest, WireTensor
from wasinn.runtime import lanes, prepared, prepared_store
from wasinn.serve.errors import ServeError
from wasinn.serve.guest_model import ServedGuest

#: The name of a graph, and a tensor of the request's bytes.
SEGMENTS = data(16, b"tiny") + tensor(64, (1, 16), 1, BYTES, 64)
OPENED = call("load_by_name", 16, 4, ROOM) + call("init_execution_context", 0, ROOM + 4)
SET = call("set_input", 0, 0, 64)
COMPUTED = call("compute", 0)
GOT = call("get_output", 0, 0, ROOM + 512, 512, ROOM + 8)
COURSE = OPENED + SET + COMPUTED + GOT
X = request(*range(64))


def if_first(value: int, then: str) -> str:
    return f"(if (i32.eq {byte(0)} (i32.const {value})) (then {then}))"


class Ways:
    """Asks guests with prepared stores and without, which must be the same; counts what stores answered: all
    but the first, unless the machine has so much to do that a guest seems to run for long."""

    def __init__(self, served: Models) -> None:
        self.served = served
        self.prepared = 0
        self.made: list[ServedGuest] = []

    def make(self, guest: bytes, **source: Any) -> tuple[ServedGuest, ServedGuest]:
        some, others = (self.served.make(guest, **source) for _ in range(2))
        others._prepared = None
        self.made.append(some)
        return some, others

    def ask(self, model: ServedGuest, sent: WireTensor, deadline: float = 30) -> Any:
        async def answer() -> Any:
            try:
                (output,) = (await model.infer(InferRequest([sent]), deadline)).outputs
            except ServeError as error:
                return error.status, error.kind, error.reason
            return bytes(output.data)

        return self.served.loop.wait(answer())

    def same(self, guest: bytes, *sent: WireTensor, **source: Any) -> list[Any]:
        """What is answered in both ways, one after the other."""
        some, others = self.make(guest, **source)
        answers = [self.ask(some, each) for each in sent]
        assert answers == [self.ask(others, each) for each in sent]
        return answers


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    yield from served_models(tmp_path_factory.mktemp("served"))


@pytest.fixture
def ways(served: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ways]:
    found = Ways(served)
    answer = prepared_store.PreparedStore.answer

    def counted(store: Any) -> bytes:
        content = answer(store)
        found.prepared += 1
        return content

    monkeypatch.setattr(prepared_store.PreparedStore, "answer", counted)
    monkeypatch.setattr(prepared, "_FIRST_REST", 0)
    yield found
    for model in found.made:
        model.close()
    assert prepared._all._open == 0


#: `with_graph(source)`: Ways with another graph called "tiny".
WithGraph = Callable[[Any], Ways]


@pytest.fixture
def with_graph(ways: Ways, tmp_path: Path) -> Iterator[WithGraph]:
    hosts: list[wasinn.Host] = []

    def make(source: Any) -> Ways:
        if isinstance(source, bytes):
            source = wasinn.GraphSource.from_bytes(source)
        host = wasinn.Host({"tiny": source})
        host.preload()
        hosts.append(host)
        ways.served = Models(host, ways.served.loop, tmp_path)
        return ways

    yield make
    for host in hosts:
        host.close()


# -- what a guest can do ------------------------------------------------------------------------------


def test_outputs_of_no_elements_grow_again(with_graph: WithGraph) -> None:
    """What was learned of a request in which nothing was found does not hide what is found later."""
    find = models.onnx_model(
        [helper.make_node("NonZero", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, (1, 16))],
        [("y", TensorProto.INT64, (2, None))],
    )
    ways = with_graph(find)
    nothing, all_of_it = request(*[0] * 64), request(*[1] * 64)
    answers = ways.same(telling(COURSE, SEGMENTS), nothing, nothing, all_of_it, nothing)
    assert answers[0] == answers[1] == answers[3] != answers[2]
    assert ways.prepared >= 1


def test_an_output_without_a_value_is_an_error_every_time(
    with_graph: WithGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = with_graph(models.add((1, 16)))
    from wasinn.backends.onnxruntime import OnnxRuntimeExecution
    from wasinn.errors import runtime_error

    output = OnnxRuntimeExecution.output

    def without(execution: Any, index: int) -> Any:
        if index == 1:
            raise runtime_error("the optional output has no value for these inputs")
        return output(execution, index)

    monkeypatch.setattr(OnnxRuntimeExecution, "output", without)
    second = call("set_input", 0, 1, 64)
    reads = if_first(1, call("get_output", 0, 1, ROOM + 512, 512, ROOM + 8))
    guest = telling(OPENED + SET + second + COMPUTED + GOT + reads, SEGMENTS)
    other = request(1, *[0] * 63)
    answers = ways.same(guest, X, X, other, X)
    assert answers[0] == answers[1] == answers[3]
    assert ways.prepared >= 1


@pytest.mark.parametrize("left_out", ["args_get", "environ_get"])
def test_who_cannot_read_the_arguments_is_told_of_none(ways: Ways, left_out: str) -> None:
    sizes = call("args_sizes_get", ROOM + 200, ROOM + 204) + call("environ_sizes_get", ROOM + 208, ROOM + 212)
    guest = telling(COURSE + sizes, SEGMENTS, left_out=(left_out,))
    ways.same(guest, X, X, X, args=("one", ""), env={"A": "b", "C": ""})
    assert ways.prepared >= 1


@pytest.mark.parametrize(
    "wrong",
    [
        call("args_sizes_get", ROOM + 201, ROOM + 204),
        call("environ_sizes_get", ROOM + 200, ROOM + 206),
        call("args_get", ROOM + 202, ROOM + 300),
        call("environ_get", ROOM + 201, ROOM + 300),
        call("args_sizes_get", ROOM + 200, ROOM + 200),
        call("args_get", ROOM + 200, ROOM + 200),
        call("args_get", ROOM + 200, ROOM + 196),
        call("args_get", ROOM + 200, ROOM + 202),
        call("environ_get", ROOM + 200, ROOM + 201),
        call("args_get", 262144 - 8, ROOM),
        call("args_get", ROOM, 262144 - 8),
    ],
)
def test_arguments_at_strange_places(ways: Ways, wrong: str) -> None:
    guest = telling(COURSE + if_first(1, wrong), SEGMENTS)
    ways.same(guest, X, X, request(1, *[0] * 63), X, args=("one", "", "three"), env={"A": "b", "C": ""})
    assert ways.prepared >= 1


OWN = """
[input.x]
type = "f32"
layout = "NCHW"
size = [4, 4]
range = [0, 1]
"""


@pytest.mark.parametrize(
    "then",
    [SET.replace("(i32.const 64)", "(i32.const 128)") + SET + COMPUTED, SET.replace("64", "128", 1)],
    ids=["another", "none"],
)
def test_an_input_that_is_refused_for_what_it_holds(with_graph: WithGraph, then: str) -> None:
    """The guest is told, also where it never computes on it."""
    own = parse_contract(tomllib.loads(OWN), Path(), "own.toml", OWN)
    model = models.identity(dims=(1, 3, 4, 4))
    ways = with_graph(wasinn.GraphSource.from_bytes(model, contract=own, strict="true"))
    half = data(256, np.full(48, 0.5, "f4").tobytes())
    bad = data(512, np.full(48, np.nan, "f4").tobytes())
    places = tensor(64, (1, 3, 4, 4), 1, 256, 192) + tensor(128, (1, 3, 4, 4), 1, 512, 192)
    guest = telling(
        OPENED + f"(if (i32.eq {byte(0)} (i32.const 1)) (then {then}) (else {SET}{COMPUTED}{GOT}))",
        data(16, b"tiny") + places + half + bad,
    )
    answers = ways.same(guest, X, X, request(1, *[0] * 63), X)
    assert answers[0] == answers[1] == answers[3]
    assert int.from_bytes(answers[2][8:12], "little") == 1, "invalid_argument is noted"
    assert ways.prepared >= 1


def test_what_a_model_remembers_is_of_one_request(with_graph: WithGraph, tmp_path: Path) -> None:
    require_backend("torch")
    import torch

    from zoo import pytorch

    class Counter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count += 1
            return x + self.count

    model = pytorch.exported(Counter(), torch.ones(1, 16))
    ways = with_graph(wasinn.GraphSource.from_bytes(model, encoding="pytorch"))
    answers = ways.same(telling(COURSE + COMPUTED + GOT, SEGMENTS), *[X] * 6)
    assert len(set(answers)) == 1
    assert ways.prepared >= 3


# -- moments ----------------------------------------------------------------------------------------------


def test_the_deadline_is_of_both_ways_together(
    with_graph: WithGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wasinn.graphs.timing._QUICK_SECONDS", 0.0)
    ways = with_graph(models.identity(dims=(1, 16)))
    loops = if_first(1, "(loop $l (br $l))")
    some, others = ways.make(telling(COURSE + loops, SEGMENTS))
    assert ways.ask(some, X) == ways.ask(some, X) == ways.ask(others, X)
    compute = prepared_store.PreparedStore.compute

    def slow(store: Any) -> int:
        time.sleep(0.4)
        return compute(store)

    monkeypatch.setattr(prepared_store.PreparedStore, "compute", slow)
    start = time.perf_counter()
    other = request(1, *[0] * 63)
    answer = ways.ask(some, other, 0.6)
    assert time.perf_counter() - start < 0.9
    assert answer == ways.ask(others, other, 0.6)
    assert answer[:2] == (504, "deadline")


def test_that_all_are_in_use_is_no_failure(with_graph: WithGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasinn.graphs.timing._QUICK_SECONDS", 0.0)
    monkeypatch.setattr(prepared, "_MAX_OPEN", 2)
    prepared.forget_prepared()
    ways = with_graph(models.identity(dims=(1, 16)))
    some, others = ways.make(telling(COURSE, SEGMENTS))
    wanted = ways.ask(others, X)

    async def many() -> list[Any]:
        answers = await asyncio.gather(*(some.infer(InferRequest([X]), 30) for _ in range(8)))
        return [bytes(each.outputs[0].data) for each in answers]

    for _ in range(5):
        assert set(ways.served.loop.wait(many())) == {wanted}
    assert some._prepared is not None
    assert some._prepared._failures < 5
    assert prepared._all._open == 2
    assert ways.prepared >= 2


def test_nothing_is_learned_of_a_graph_that_is_gone(
    with_graph: WithGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph is loaded anew while the request is under way from which is learned."""
    ways = with_graph(models.identity(dims=(1, 16)))
    some, _ = ways.make(telling(COURSE, SEGMENTS))
    learn = prepared.Prepared.learn

    def late(self: Any, instance: Any) -> None:
        ways.served.host.unload("tiny")
        ways.served.host.preload()
        learn(self, instance)

    monkeypatch.setattr(prepared.Prepared, "learn", late)
    wanted = ways.ask(some, X)
    assert some._prepared is not None
    assert some._prepared._plan is None
    monkeypatch.setattr(prepared.Prepared, "learn", learn)
    assert {ways.ask(some, X) for _ in range(4)} == {wanted}
    assert ways.prepared >= 1


def test_two_that_learn_at_once_learn_one_thing(with_graph: WithGraph) -> None:
    ways = with_graph(models.identity(dims=(1, 16)))
    some, _ = ways.make(telling(COURSE, SEGMENTS))

    async def two() -> None:
        await asyncio.gather(*(some.infer(InferRequest([X]), 30) for _ in range(6)))

    ways.served.loop.wait(two())
    assert some._prepared is not None
    plan = some._prepared._plan
    ways.ask(some, X)
    assert some._prepared._plan is plan is not None
    assert ways.prepared >= 1


def test_a_store_that_works_while_its_graph_is_unloaded_is_not_kept(
    with_graph: WithGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wasinn.graphs.timing._QUICK_SECONDS", 0.0)
    ways = with_graph(models.identity(dims=(1, 16)))
    some, _ = ways.make(telling(COURSE, SEGMENTS))
    wanted = ways.ask(some, X)
    ways.ask(some, X)
    compute = prepared_store.PreparedStore.compute

    def unloading(store: Any) -> int:
        ways.served.host.unload("tiny")
        return compute(store)

    monkeypatch.setattr(prepared_store.PreparedStore, "compute", unloading)
    loaded: Any = ways.served.host.registry.loaded("tiny")
    gone = weakref.ref(loaded.graph)
    del loaded
    assert ways.ask(some, X) == wanted
    gc.collect()
    assert gone() is None
    assert prepared._all._open == 0


@pytest.mark.parametrize("tables", [1, 8])
def test_a_store_holds_so_much_of_the_pool_and_no_more(ways: Ways, tables: int) -> None:
    more = SEGMENTS + "(table 10 funcref)" * tables
    some, others = ways.make(telling(COURSE, more))
    assert {ways.ask(some, X) for _ in range(40)} == {ways.ask(others, X)}
    assert ways.prepared >= 30
    assert some._prepared is not None
    assert some._prepared._plan is not None
    assert some._prepared._plan.instances * tables == 16


def test_a_directory_that_is_gone_is_told(ways: Ways, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    some, others = ways.make(telling(COURSE, SEGMENTS), dirs=(f"{folder}::/data",))
    assert ways.ask(some, X) == ways.ask(some, X) == ways.ask(others, X)
    folder.rmdir()
    answer = ways.ask(some, X)
    assert answer == ways.ask(others, X)
    assert answer[0] == 500


def test_a_model_that_is_closed_while_a_lane_computes(
    with_graph: WithGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wasinn.graphs.timing._QUICK_SECONDS", 0.0)
    ways = with_graph(models.identity(dims=(1, 16)))
    some, _ = ways.make(telling(COURSE, SEGMENTS))
    wanted = ways.ask(some, X)
    begun, compute = threading.Event(), prepared_store.PreparedStore.compute

    def slow(store: Any) -> int:
        begun.set()
        time.sleep(0.1)
        return compute(store)

    monkeypatch.setattr(prepared_store.PreparedStore, "compute", slow)

    async def closed() -> bytes:
        task = asyncio.ensure_future(some.infer(InferRequest([X]), 30))
        while not (begun.is_set() or task.done()):
            await asyncio.sleep(0.005)
        some.close()
        return bytes((await task).outputs[0].data)

    assert ways.served.loop.wait(closed()) == wanted
    assert prepared._all._open == 0


def test_the_deadline_holds_in_a_batch(with_graph: WithGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.identity(dims=("n", 16))
    ways = with_graph(wasinn.GraphSource.from_bytes(model, batch="true"))
    some, others = ways.make(telling(COURSE, SEGMENTS))
    wanted = ways.ask(some, X)
    assert ways.ask(some, X) == wanted
    alone = Batches._alone

    def slow(self: Any, queue: Any, job: Any) -> None:
        time.sleep(0.3)
        alone(self, queue, job)

    monkeypatch.setattr(Batches, "_alone", slow)
    start = time.perf_counter()
    answer = ways.ask(some, X, 0.1)
    assert time.perf_counter() - start < 0.25
    assert answer == ways.ask(others, X, 0.1)
    assert answer[:2] == (504, "deadline")
    monkeypatch.setattr(Batches, "_alone", alone)
    assert ways.ask(some, X) == wanted
    assert not prepared_store.working


def test_a_closed_model_keeps_no_stores(ways: Ways) -> None:
    some, _ = ways.make(telling(COURSE, SEGMENTS))
    wanted = ways.ask(some, X)
    some.close()
    assert {ways.ask(some, X) for _ in range(3)} == {wanted}
    assert (ways.prepared, prepared._all._open) == (0, 0)


def test_a_loop_that_ends_while_a_lane_computes(
    with_graph: WithGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is freed all the same."""
    monkeypatch.setattr("wasinn.graphs.timing._QUICK_SECONDS", 0.0)
    ways = with_graph(models.identity(dims=(1, 16)))
    loop = Loop()
    asked = Models(ways.served.host, loop, ways.served._folder / "other")
    asked._folder.mkdir()
    model = asked.make(telling(COURSE, SEGMENTS))
    for _ in range(3):
        asked.infer(model, X)
    compute, deleted = prepared_store.PreparedStore.compute, threading.Event()
    begun, delete = threading.Event(), prepared_store.PreparedStore._delete

    def slow(store: Any) -> int:
        begun.set()
        time.sleep(0.2)
        return compute(store)

    def noted(store: Any) -> None:
        delete(store)
        deleted.set()

    monkeypatch.setattr(prepared_store.PreparedStore, "compute", slow)
    monkeypatch.setattr(prepared_store.PreparedStore, "_delete", noted)

    async def cancelled() -> None:
        task = asyncio.ensure_future(model.infer(InferRequest([X]), 30))
        while not (begun.is_set() or task.done()):
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])

    loop.wait(cancelled())
    assert not deleted.is_set()
    loop.close()
    assert deleted.wait(5)
    model.close()


def test_where_no_thread_can_be_had_nothing_is_left(
    with_graph: WithGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wasinn.graphs.timing._QUICK_SECONDS", 0.0)
    ways = with_graph(models.identity(dims=(1, 16)))
    some, _ = ways.make(telling(COURSE, SEGMENTS))
    wanted = ways.ask(some, X)
    start = lanes.Lanes.start_compute

    def fails(self: Any, function: Any) -> Any:
        monkeypatch.setattr(lanes.Lanes, "start_compute", start)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(lanes.Lanes, "start_compute", fails)
    assert ways.ask(some, X) == wanted
    assert (ways.prepared, prepared._all._open) == (0, 0)
