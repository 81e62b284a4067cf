# SPDX-License-Identifier: Apache-2.0
"""Graphs that compute what several callers ask at once: every caller gets its own rows, whatever happens."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
import wasinn
from conftest import require_backend
from wasinn.errors import WasiNNError, runtime_error
from wasinn.graphs import batching
from wasinn.graphs.batched import BatchedExecution, BatchedGraph
from wasinn.graphs.loader import Loader
from wasinn.graphs.loading import opening
from wasinn.spec import ErrorCode, TensorType
from wasinn.tensors import Tensor, TensorSpec

ROW = 3
Compute = Callable[[dict[int, Tensor]], list[Tensor]]


class Graph:
    """x f32 [?,?] -> y: a runtime whose computes can be held up, counted, and made to fail."""

    def __init__(self, compute: Compute | None = None) -> None:
        self.inputs = (
            TensorSpec("x", TensorType.F32, (None, None)),
            TensorSpec("z", TensorType.F32, (None, None), optional=True),
        )
        self.outputs = (TensorSpec("y", TensorType.F32, (None, None)),)
        self.compute = compute or double
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.sizes: list[int] = []
        self.opened = self.closed = self.interrupted = self.at_once = self.most_at_once = 0

    def open(self) -> Execution:
        self.opened += 1
        return Execution(self)


class Execution:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._inputs: dict[int, Tensor] = {}
        self._outputs: list[Tensor] = []
        self._ended = threading.Event()

    def set_input(self, index: int, tensor: Tensor) -> None:
        assert not self._ended.is_set(), "one that was interrupted serves no more"
        self._inputs[index] = Tensor(tensor.dims, tensor.type, memoryview(bytes(tensor.data)))

    def compute(self) -> None:
        graph = self._graph
        graph.at_once += 1
        graph.most_at_once = max(graph.most_at_once, graph.at_once)
        try:
            graph.sizes.append(self._inputs[0].dims[0])
            graph.entered.release()
            while not graph.gate.wait(0.005):
                if self._ended.is_set():
                    raise runtime_error("interrupted")
            self._outputs = graph.compute(self._inputs)
        finally:
            graph.at_once -= 1

    def output(self, index: int) -> Tensor:
        return self._outputs[index]

    def interrupt(self) -> None:
        self._graph.interrupted += 1
        self._ended.set()

    def close(self) -> None:
        self._graph.closed += 1


def double(inputs: dict[int, Tensor]) -> list[Tensor]:
    total = inputs[0].numpy() * 2
    return [Tensor.of(total + inputs[1].numpy() if 1 in inputs else total)]


def rows(value: float, count: int = 1, width: int = ROW) -> np.ndarray[Any, Any]:
    return np.full((count, width), value, "<f4") + np.arange(width, dtype="<f4") / 8


def opened(graph: BatchedGraph, array: np.ndarray[Any, Any]) -> BatchedExecution:
    execution = graph.open()
    assert isinstance(execution, BatchedExecution)
    execution.set_input(0, Tensor.of(array))
    return execution


def answer(execution: BatchedExecution) -> np.ndarray[Any, Any]:
    execution.compute()
    return execution.output(0).numpy()


class Held:
    """A graph whose only lane is busy until the block ends: what is asked in it becomes one batch."""

    def __init__(self, inner: Graph, graph: BatchedGraph) -> None:
        self._inner = inner
        self.first = opened(graph, rows(99))

    def __enter__(self) -> Held:
        self._inner.gate.clear()
        self.first.begin(lambda: None)
        assert self._inner.entered.acquire(timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.gate.set()


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


def begun(execution: BatchedExecution) -> threading.Event:
    done = threading.Event()
    execution.begin(done.set)
    return done


# -- what becomes one batch ---------------------------------------------------------------------------


def test_what_queues_while_a_lane_computes_is_the_next_batch() -> None:
    inner = Graph()
    graph = BatchedGraph(inner)
    told: list[int] = []
    graph.on_batch = told.append
    executions = [opened(graph, rows(n, count)) for n, count in enumerate((1, 3, 2, 1))]
    with Held(inner, graph) as held:
        waits = [begun(each) for each in executions[:3]]
        thread = threading.Thread(target=executions[3].compute)  # a thread and those without: one queue
        thread.start()
        assert wait_for(lambda: graph.waiting == 4)
    assert all(wait.wait(10) for wait in waits)
    thread.join()
    for n, (each, count) in enumerate(zip(executions[:3], (1, 3, 2), strict=True)):
        assert np.array_equal(answer(each), 2 * rows(n, count))
    assert np.array_equal(executions[3].output(0).numpy(), 2 * rows(3))
    assert np.array_equal(answer(held.first), 2 * rows(99))
    assert inner.sizes == [1, 7, 1], "one alone, seven rows at once, and one again to see that rows are apart"
    assert told == [1, 7]


def test_an_idle_lane_waits_for_nobody() -> None:
    inner = Graph()
    execution = opened(BatchedGraph(inner), rows(1))
    assert np.array_equal(answer(execution), 2 * rows(1))
    execution.compute()  # its inputs stay
    assert inner.sizes == [1, 1]
    assert inner.opened == 1


def test_only_what_is_alike_but_for_the_rows_shares_a_batch() -> None:
    inner = Graph()
    graph = BatchedGraph(inner)
    narrow = [opened(graph, rows(n)) for n in range(2)]
    wide = [opened(graph, rows(n, 1, 5)) for n in range(2, 4)]
    both = opened(graph, rows(4))
    both.set_input(1, Tensor.of(rows(100)))
    order = [narrow[0], wide[0], both, narrow[1], wide[1]]
    with Held(inner, graph):
        for each in order:
            each.begin(lambda: None)
    assert np.array_equal(answer(both), 2 * rows(4) + rows(100))
    for n, each in enumerate(narrow):
        assert np.array_equal(answer(each), 2 * rows(n)), "not plus what another gave as z"
    for n, each in enumerate(wide):
        assert np.array_equal(answer(each), 2 * rows(n + 2, 1, 5))
    assert [size for size in inner.sizes if size == 2] == [2, 2]


def test_an_execution_that_took_an_optional_input_does_not_serve_who_gives_none() -> None:
    inner = Graph()
    graph = BatchedGraph(inner)
    both = opened(graph, rows(1))
    both.set_input(1, Tensor.of(rows(50)))
    assert np.array_equal(answer(both), 2 * rows(1) + rows(50))
    assert np.array_equal(answer(opened(graph, rows(1))), 2 * rows(1))


def test_a_batch_has_no_more_rows_than_it_may_and_keeps_the_order() -> None:
    inner = Graph()
    graph = BatchedGraph(inner, max_batch=4)
    counts = [1, 2, 2, 1, 9, 1]
    executions = [opened(graph, rows(n, count)) for n, count in enumerate(counts)]
    finished: list[int] = []
    with Held(inner, graph):
        for n, each in enumerate(executions):
            each.begin(lambda n=n: finished.append(n))  # type: ignore[misc]
    assert wait_for(lambda: len(finished) == len(counts))
    assert finished == [0, 1, 2, 3, 4, 5]
    assert max(size for size in inner.sizes if size != 9) <= 4
    assert 9 in inner.sizes, "one request of too many rows is computed alone"
    for n, (each, count) in enumerate(zip(executions, counts, strict=True)):
        assert np.array_equal(answer(each), 2 * rows(n, count))


def test_inputs_of_different_rows_are_the_model_s_affair() -> None:
    inner = Graph(lambda inputs: [Tensor.of(inputs[0].numpy() + inputs[1].numpy().sum())])
    graph = BatchedGraph(inner)
    execution = opened(graph, rows(1, 2))
    execution.set_input(1, Tensor.of(rows(0, 5)))
    with Held(inner, graph) as held:
        held.first.set_input(1, Tensor.of(rows(0)))
        execution.begin(lambda: None)
        opened(graph, rows(1, 2)).begin(lambda: None)
    assert answer(execution).shape == (2, ROW)
    assert 4 not in inner.sizes


def test_as_many_batches_at_once_as_there_are_lanes() -> None:
    inner = Graph()
    graph = BatchedGraph(inner, max_batch=1, lanes=2)
    executions = [opened(graph, rows(n)) for n in range(6)]
    inner.gate.clear()
    waits = [begun(each) for each in executions[:3]]
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(answer, each) for each in executions[3:]]
        assert inner.entered.acquire(timeout=10)
        assert inner.entered.acquire(timeout=10)
        assert wait_for(lambda: graph.waiting == 4)
        inner.gate.set()
        for n, each in enumerate(answers, 3):
            assert np.array_equal(each.result(10), 2 * rows(n))
    assert all(wait.wait(10) for wait in waits)
    assert inner.most_at_once == 2


# -- an event loop ------------------------------------------------------------------------------------


async def infer(execution: BatchedExecution, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    execution.set_input(0, Tensor.of(array))
    execution.begin(lambda: loop.call_soon_threadsafe(done.set_result, None))
    await done
    return answer(execution)


def test_what_is_ready_on_a_loop_goes_together() -> None:
    inner = Graph()
    graph = BatchedGraph(inner)

    async def caller(n: int) -> None:
        execution = opened(graph, rows(0))
        for step in range(3):
            assert np.array_equal(await infer(execution, rows(10 * n + step)), 2 * rows(10 * n + step))

    async def main() -> None:
        await asyncio.gather(*(caller(n) for n in range(8)))

    asyncio.run(main())
    assert inner.sizes[0] == 8, "none ran ahead of the others"
    assert sum(inner.sizes) == 24 + 1


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4), st.booleans()), min_size=2, max_size=10),
    st.integers(1, 2),
    st.integers(1, 8),
)
def test_rows_never_mix(callers: list[tuple[int, int, bool]], lanes: int, max_batch: int) -> None:
    inner = Graph()
    graph = BatchedGraph(inner, max_batch, lanes)

    def check(execution: BatchedExecution, n: int, step: int, shape: tuple[int, int]) -> None:
        found = execution.output(0).numpy()
        assert np.array_equal(found, 2 * rows(1000 * n + step, *shape))

    def in_thread(n: int, shape: tuple[int, int]) -> None:
        execution = opened(graph, rows(0))
        for step in range(4):
            execution.set_input(0, Tensor.of(rows(1000 * n + step, *shape)))
            execution.compute()
            check(execution, n, step, shape)

    async def on_loop(n: int, shape: tuple[int, int]) -> None:
        execution = opened(graph, rows(0))
        for step in range(4):
            found = await infer(execution, rows(1000 * n + step, *shape))
            assert np.array_equal(found, 2 * rows(1000 * n + step, *shape))

    async def main() -> None:
        calls = []
        for n, (count, width, threaded) in enumerate(callers):
            shape = (count, width)
            calls.append(asyncio.to_thread(in_thread, n, shape) if threaded else on_loop(n, shape))
        await asyncio.wait_for(asyncio.gather(*calls), 30)

    asyncio.run(main())
    assert graph.waiting == 0
    assert graph.batching
    assert inner.most_at_once <= lanes


# -- errors -------------------------------------------------------------------------------------------


def refuses_negative(inputs: dict[int, Tensor]) -> list[Tensor]:
    if (inputs[0].numpy() < 0).any():
        raise runtime_error("a negative number")
    return double(inputs)


def test_a_bad_request_costs_itself() -> None:
    inner = Graph(refuses_negative)
    graph = BatchedGraph(inner)
    executions = [opened(graph, rows(value)) for value in (1, -5, 2)]
    with Held(inner, graph):
        waits = [begun(each) for each in executions]
    assert all(wait.wait(10) for wait in waits)
    assert np.array_equal(answer(executions[0]), 2 * rows(1))
    assert np.array_equal(answer(executions[2]), 2 * rows(2))
    with pytest.raises(WasiNNError, match="a negative number"):
        executions[1].compute()
    assert graph.batching, "the next ones share again"
    executions[1].set_input(0, Tensor.of(rows(7)))
    assert np.array_equal(answer(executions[1]), 2 * rows(7))


def test_what_is_no_error_of_ours_comes_as_one() -> None:
    def broken(inputs: dict[int, Tensor]) -> list[Tensor]:
        raise ZeroDivisionError("by zero")

    graph = BatchedGraph(Graph(broken))
    with pytest.raises(WasiNNError, match="ZeroDivisionError: by zero") as caught:
        opened(graph, rows(1)).compute()
    assert caught.value.code is ErrorCode.RUNTIME_ERROR


def together(inner: Graph, graph: BatchedGraph, count: int) -> list[np.ndarray[Any, Any]]:
    executions = [opened(graph, rows(n)) for n in range(count)]
    with Held(inner, graph):
        for each in executions:
            each.begin(lambda: None)
    return [answer(each) for each in executions]


def test_a_model_whose_outputs_have_no_rows_is_computed_singly(caplog: pytest.LogCaptureFixture) -> None:
    inner = Graph(lambda inputs: [Tensor.of(inputs[0].numpy().sum(axis=0, keepdims=True))])
    graph = BatchedGraph(inner)
    with caplog.at_level(logging.WARNING):
        found = together(inner, graph, 3)
        again = together(inner, graph, 3)
    for answers in (found, again):
        assert [each.tolist() for each in answers] == [rows(n).tolist() for n in range(3)]
    assert not graph.batching
    assert inner.sizes == [1, 3, 1, 1, 1] + [1] * 4
    assert "output 'y' came as [1,3] for inputs of 3 rows" in caplog.text


def test_a_model_that_mixes_rows_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    """The shapes are right; only the numbers tell."""
    inner = Graph(lambda inputs: [Tensor.of(inputs[0].numpy() - inputs[0].numpy().mean(axis=0))])
    graph = BatchedGraph(inner)
    with caplog.at_level(logging.WARNING):
        found = together(inner, graph, 3)
    assert [each.tolist() for each in found] == [np.zeros((1, ROW)).tolist()] * 3
    assert not graph.batching
    assert "output 0 depend on the other rows of a batch" in caplog.text


# -- the end of those who wait ------------------------------------------------------------------------


def test_an_interrupt_ends_one_s_wait_and_no_one_else_s() -> None:
    inner = Graph()
    graph = BatchedGraph(inner)
    executions = [opened(graph, rows(n)) for n in range(3)]
    with Held(inner, graph), ThreadPoolExecutor(1) as threads:
        waits = [begun(executions[0]), begun(executions[1])]
        waiting = threads.submit(executions[2].compute)
        assert wait_for(lambda: graph.waiting == 3)
        for each in executions[1:]:
            each.interrupt()
        with pytest.raises(WasiNNError, match="the compute was ended"):
            waiting.result(10)
        assert waits[1].wait(10), "while the lane is still busy"
        assert graph.waiting == 1
    assert np.array_equal(answer(executions[0]), 2 * rows(0))
    assert inner.interrupted == 0
    for each in executions[1:]:
        with pytest.raises(WasiNNError, match="the compute was ended"):
            each.compute()
        assert begun(each).wait(10)
        with pytest.raises(WasiNNError, match="the compute was ended"):
            each.compute()


def test_a_compute_that_nobody_wants_any_more_is_ended() -> None:
    inner = Graph()
    graph = BatchedGraph(inner)
    inner.gate.clear()
    one = opened(graph, rows(1))
    one.begin(lambda: None)
    assert inner.entered.acquire(timeout=10)
    two = [opened(graph, rows(n)) for n in (2, 3)]
    for each in two:
        each.begin(lambda: None)
    one.close()
    assert inner.entered.acquire(timeout=10), "the batch behind it is begun"
    assert inner.sizes == [1, 2]
    two[0].close()
    time.sleep(0.02)
    assert inner.interrupted == 1, "another one waits for it"
    two[1].interrupt()
    assert wait_for(lambda: inner.interrupted == 2 and inner.closed == 2)
    inner.gate.set()
    assert np.array_equal(answer(opened(graph, rows(4))), 2 * rows(4)), "by a fresh execution"


@pytest.mark.parametrize("lanes", [1, 2])
def test_nobody_is_left_waiting_and_nobody_gets_another_s_rows(lanes: int) -> None:
    """Callers on two loops and in threads, some of which fail, are interrupted, or go away."""
    inner = Graph(refuses_negative)
    graph = BatchedGraph(inner, 6, lanes)
    counted = [0, 0, 0]

    def look(value: float, shape: tuple[int, int], found: BaseException | np.ndarray[Any, Any]) -> None:
        if isinstance(found, WasiNNError):
            refused = value < 0 and "a negative number" in found.reason
            assert refused or "the compute was ended" in found.reason
            counted[1 if refused else 2] += 1
        else:
            assert value >= 0
            assert np.array_equal(found, 2 * rows(value, *shape))
            counted[0] += 1

    def chosen(random: np.random.Generator, at: int) -> tuple[float, tuple[int, int], float]:
        value = float(at) if random.random() < 0.9 else -10.0
        shape = (int(random.integers(1, 4)), int(random.integers(2, 4)))
        return value, shape, random.random() * 0.002

    def in_thread(seed: int) -> None:
        random = np.random.default_rng(seed)
        for step in range(40):
            value, shape, later = chosen(random, 1000 * seed + step)
            execution = opened(graph, rows(value, *shape))
            timer = threading.Timer(later, execution.interrupt if step % 4 else execution.close)
            if step % 2:
                timer.start()
            try:
                look(value, shape, answer(execution).copy())
            except WasiNNError as error:
                look(value, shape, error)

    async def caller(seed: int) -> None:
        loop, random = asyncio.get_running_loop(), np.random.default_rng(seed)
        for step in range(40):
            value, shape, later = chosen(random, 1000 * seed + step)
            execution = opened(graph, rows(0))
            if step % 3 == 0:
                loop.call_later(later, execution.interrupt)
            try:
                look(value, shape, await infer(execution, rows(value, *shape)))
            except WasiNNError as error:
                look(value, shape, error)

    async def main(first: int) -> None:
        await asyncio.wait_for(asyncio.gather(*(caller(seed) for seed in range(first, first + 4))), 30)

    with ThreadPoolExecutor(6) as threads:
        calls = [threads.submit(asyncio.run, main(first)) for first in (10, 20)]
        calls += [threads.submit(in_thread, seed) for seed in range(4)]
        for call in calls:
            call.result(40)
    assert sum(counted) == 12 * 40
    assert min(counted[:2]) > 0
    assert wait_for(lambda: graph.waiting == 0 and inner.at_once == 0)
    assert graph.batching
    assert inner.most_at_once <= lanes
    assert np.array_equal(answer(opened(graph, rows(3))), 2 * rows(3))


def test_opening_that_hangs_holds_a_lane_no_longer_than_somebody_waits() -> None:
    """As a worker process can that has stopped."""
    inner = Graph()
    hung = threading.Event()

    def hang() -> Execution:
        ended = threading.Event()
        with opening.loading.ended_by(ended.set):
            hung.set()
            assert ended.wait(10)
        raise runtime_error("opening a context was ended")

    graph = BatchedGraph(inner)
    one, two = opened(graph, rows(1)), opened(graph, rows(2))
    really, inner.open = inner.open, hang  # type: ignore[method-assign]
    one.begin(lambda: None)
    assert hung.wait(10)
    two.begin(lambda: None)
    inner.open = really  # type: ignore[method-assign]
    one.interrupt()
    assert np.array_equal(answer(two), 2 * rows(2))


def test_an_idle_graph_goes_with_its_last_context() -> None:
    inner = Graph()
    graph = BatchedGraph(inner)
    execution = opened(graph, rows(1))
    assert begun(execution).wait(10)
    execution.compute()
    inside, queue = weakref.ref(inner), weakref.ref(graph._queue)
    del graph
    assert np.array_equal(answer(execution), 2 * rows(1)), "a context keeps it"
    execution.close()
    del execution, inner
    assert wait_for(lambda: gc.collect() >= 0 and inside() is None and queue() is None)


def test_threads_that_went_idle_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_IDLE_SECONDS", 0.001)
    graph = BatchedGraph(Graph())
    for n in range(20):
        execution = opened(graph, rows(n))
        assert begun(execution).wait(10)
        assert np.array_equal(answer(execution), 2 * rows(n))
        time.sleep(0.0005 * (n % 4))


# -- what can be batched -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "words"),
    [((1, 4), "its first dimension is 1"), ((), "it has no dimensions"), ((8, None), "is f32 [8,?]")],
    ids=["fixed", "scalar", "inner"],
)
@pytest.mark.parametrize("port", ["inputs", "outputs"])
def test_a_graph_without_an_open_first_dimension_is_refused(
    port: str, dims: tuple[int | None, ...], words: str
) -> None:
    inner = Graph()
    setattr(inner, port, (TensorSpec("p", TensorType.F32, dims),))
    with pytest.raises(WasiNNError, match="open first dimension") as caught:
        BatchedGraph(inner)
    assert words in caught.value.reason
    assert f"{port[:-1]} 'p'" in caught.value.reason
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPERATION


# -- in a host -----------------------------------------------------------------------------------------


def linear() -> bytes:
    """y = x @ w, f32 ["n", 4] -> ["n", 3]."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ports = [("x", TensorProto.FLOAT, ["n", 4])], [("y", TensorProto.FLOAT, ["n", 3])]
    return models.onnx_model([node], *ports, {"w": np.arange(12, dtype="<f4").reshape(4, 3)})


def test_guests_of_a_host_share_batches_on_onnx_runtime() -> None:
    require_backend("onnxruntime")
    from driver import Driver

    host = wasinn.Host(graphs={"m": wasinn.GraphSource.from_bytes(linear(), batch=True)})
    host.preload()
    loaded = host.registry.loaded("m")
    assert loaded is not None
    assert loaded.batched is not None
    sizes: list[int] = []
    loaded.batched.on_batch = sizes.append

    def guest(seed: int) -> None:
        driver = Driver(host)
        context = driver.open("m")
        start = driver._next
        for step in range(30):
            driver._next = start
            count = (seed + step) % 3 + 1
            values = np.random.default_rng((seed, step)).integers(-9, 9, (count, 4)).astype("<f4")
            assert driver.set_f32(context, 0, values) == 0
            assert driver.compute(context) == 0
            wanted = values @ np.arange(12, dtype="<f4").reshape(4, 3)
            assert driver.get_f32(context, 0) == wanted.ravel().tolist()
        driver.close()

    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(guest, seed) for seed in range(6)]:
            done.result(30)
    assert loaded.batched.batching
    assert sum(sizes) == sum((seed + step) % 3 + 1 for seed in range(6) for step in range(30))


def test_a_source_that_cannot_be_batched_does_not_load() -> None:
    require_backend("onnxruntime")
    source = wasinn.GraphSource.from_bytes(models.identity(), batch=8)
    with pytest.raises(WasiNNError, match="export the model with a dynamic batch axis"):
        Loader().load(source)


def test_one_bad_row_in_a_worker_process_costs_itself() -> None:
    """Gather refuses an index that is not there: ONNX Runtime's error is of the whole compute."""
    require_backend("onnxruntime")
    node = helper.make_node("Gather", ["w", "x"], ["y"])
    model = models.onnx_model(
        [node],
        [("x", TensorProto.INT64, ["n"])],
        [("y", TensorProto.FLOAT, ["n"])],
        {"w": np.arange(5, dtype="<f4")},
    )
    source = wasinn.GraphSource.from_bytes(model, isolation="process", batch=8)
    graph = Loader().load(source).batched
    assert graph is not None
    executions = []
    for index in (1, 70, 4):
        execution = graph.open()
        execution.set_input(0, Tensor.of(np.array([index], "<i8")))
        executions.append(execution)
    with ThreadPoolExecutor(3) as threads:
        for _ in range(10):
            answers = [threads.submit(each.compute) for each in executions]
            assert answers[0].exception() is None
            assert isinstance(answers[1].exception(), WasiNNError)
            assert answers[2].exception() is None
            assert [executions[0].output(0).numpy()[0], executions[2].output(0).numpy()[0]] == [1, 4]
