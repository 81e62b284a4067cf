# SPDX-License-Identifier: Apache-2.0
"""Worker processes that several server processes share: one for all, also after crashes and hangs."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from conftest import require_backend
from test_isolation import chain, is_alive, slow_to_load
from wasinn.backends.base import Execution, Interruptible, LoadOptions, Model
from wasinn.errors import WasiNNError
from wasinn.graphs import worker_client
from wasinn.graphs.isolated import IsolatedGraph
from wasinn.graphs.loading import Loading
from wasinn.graphs.shared_workers import SharedWorkers
from wasinn.graphs.worker_client import SharedWorker
from wasinn.graphs.worker_process import WorkerPool
from wasinn.spec import Encoding, Target
from wasinn.tensors import Tensor

ADD = models.add()


@pytest.fixture(autouse=True)
def _backend() -> None:
    require_backend("onnxruntime")


@pytest.fixture
def workers() -> Iterator[SharedWorkers]:
    with SharedWorkers() as found:
        yield found
    worker_client.connect(None)


class Process:
    """What a server process has: a connection of its own, and its graphs."""

    def __init__(self, workers: SharedWorkers) -> None:
        self._address = workers.address
        self.graphs: list[IsolatedGraph] = []
        worker_client.connect(workers.address)
        self.client = worker_client.current()

    def load(
        self,
        model: bytes | Path = ADD,
        loading: Loading | None = None,
        backend: str = "onnxruntime",
        timeout: float | None = None,
    ) -> IsolatedGraph:
        worker_client._client = self.client
        content = Model(builders=(model,)) if isinstance(model, bytes) else Model(files=(model,))
        options = LoadOptions(threads=1)
        loading = loading or Loading()
        graph = IsolatedGraph(backend, content, Encoding.ONNX, Target.CPU, options, loading, timeout)
        self.graphs.append(graph)
        return graph

    def die(self) -> None:
        """As its end would: the connection breaks."""
        assert self.client is not None
        self.client._channel.shut()


def number_of(graph: IsolatedGraph) -> int:
    worker = graph.worker(Loading())
    assert isinstance(worker, SharedWorker)
    return worker.number


def pid_of(workers: SharedWorkers, graph: IsolatedGraph) -> int:
    return workers._shares[number_of(graph)].worker._process.pid


def add(execution: Execution, a: float, b: float) -> None:
    for index, value in enumerate((a, b)):
        execution.set_input(index, Tensor.of(np.full((1, 4), value, "<f4")))
    execution.compute()
    assert execution.output(0).numpy().tolist() == [[a + b] * 4]
    assert execution.output(1).numpy().tolist() == [[a - b] * 4]


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


OTHER = """
import sys
sys.path.insert(0, sys.argv[2])
import numpy as np
from wasinn.graphs import worker_client
from wasinn.graphs.source import GraphSource
from wasinn.graphs.loader import Loader
from wasinn.tensors import Tensor
worker_client.connect(sys.argv[1])
graph = Loader().load(GraphSource.parse("onnx:" + sys.argv[3] + "?isolation=process&threads=1")).graph
execution = graph.open()
for n in range(50):
    execution.set_input(0, Tensor.of(np.full((1, 4), n, "<f4")))
    execution.set_input(1, Tensor.of(np.full((1, 4), 1, "<f4")))
    execution.compute()
    assert execution.output(0).numpy().tolist() == [[n + 1] * 4], n
print(graph._owned.current.number, flush=True)
sys.stdin.readline()
execution.set_input(0, Tensor.of(np.full((1, 4), 5, "<f4")))
execution.compute()
print(execution.output(0).numpy()[0, 0], graph._owned.current.number, flush=True)
sys.stdin.readline()
"""


def test_processes_share_one_worker_and_the_one_that_takes_its_place(
    workers: SharedWorkers, tmp_path: Path
) -> None:
    file = tmp_path / "add.onnx"
    file.write_bytes(ADD)
    command = [sys.executable, "-c", OTHER, workers.address, str(Path(__file__).parents[1]), str(file)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        graph = Process(workers).load(file)
        execution = graph.open()
        for n in range(50):
            add(execution, n, 2 * n)
        first = int(other.stdout.readline())
        assert first == number_of(graph)
        assert len(workers._shares) == 1
        pid = pid_of(workers, graph)
        worker = graph.worker(Loading())
        os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: not worker.alive)
        add(execution, 3, 4)  # no call was in it: nothing was lost
        other.stdin.write("\n")
        other.stdin.flush()
        value, second = other.stdout.readline().split()
        assert (float(value), int(second)) == (6.0, number_of(graph))
        assert int(second) != first
    finally:
        other.kill()
        other.communicate()
    assert wait_for(lambda: len(workers._shares) == 1)
    add(execution, 5, 6)  # the end of another process changes nothing here


def test_a_worker_ends_with_its_last_user(workers: SharedWorkers) -> None:
    one, two = Process(workers), Process(workers)
    graphs = [one.load(), two.load()]
    pid = pid_of(workers, graphs[0])
    assert pid == pid_of(workers, graphs[1])
    graphs.pop(0)
    one.graphs.clear()
    add(graphs[0].open(), 1, 2)
    two.die()
    assert wait_for(lambda: not is_alive(pid))
    assert not workers._groups
    assert pid_of(workers, one.load()) != pid


def test_what_is_loaded_otherwise_is_another_worker(workers: SharedWorkers, tmp_path: Path) -> None:
    process = Process(workers)
    file = tmp_path / "m.onnx"
    file.write_bytes(ADD)
    numbers = [number_of(process.load(each)) for each in (ADD, models.identity(), file)]
    os.utime(file, (1, 1))
    numbers.append(number_of(process.load(file)))
    assert len(set(numbers)) == 4, "other bytes, a file, and a file that has changed"
    own = IsolatedGraph(
        "onnxruntime", Model(builders=(ADD,)), Encoding.ONNX, Target.CPU, LoadOptions(), Loading(WorkerPool())
    )
    assert not isinstance(own.worker(Loading()), SharedWorker), "what a guest brings is its own"


def test_a_model_that_cannot_be_loaded_says_so_to_each(workers: SharedWorkers) -> None:
    for process in (Process(workers), Process(workers)):
        with pytest.raises(WasiNNError, match="ONNX"):
            process.load(b"nonsense")
    assert wait_for(lambda: not workers._shares and not workers._groups)


def test_a_crash_costs_the_calls_inside_and_says_why(workers: SharedWorkers) -> None:
    slow = models.slow(200000)
    graphs = [Process(workers).load(slow) for _ in range(2)]
    executions = [graph.open() for graph in graphs]
    for each in executions:
        each.set_input(0, Tensor.of(np.zeros((256, 256), "<f4")))
    pid = pid_of(workers, graphs[0])
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(each.compute) for each in executions]
        time.sleep(0.2)
        os.kill(pid, signal.SIGABRT)
        for answer in answers:
            error = answer.exception(20)
            assert isinstance(error, WasiNNError)
            assert "worker process died while computing: SIGABRT" in error.reason
    assert number_of(graphs[0]) == number_of(graphs[1])
    assert pid_of(workers, graphs[0]) != pid


def test_a_hung_compute_is_given_up_and_costs_no_other_process_its_call(workers: SharedWorkers) -> None:
    """tract cannot be interrupted: what ends its compute is the end of its process."""
    require_backend("tract")
    model = chain(1000)
    one, two = Process(workers), Process(workers)
    graphs = [process.load(model, backend="tract") for process in (one, two)]
    hung, patient = (graph.open() for graph in graphs)
    for each in (hung, patient):
        each.set_input(0, Tensor.of(np.zeros((256, 256), "<f4")))
    pid, number = pid_of(workers, graphs[0]), number_of(graphs[0])
    assert isinstance(hung, Interruptible)
    with ThreadPoolExecutor(2) as threads:
        lost, answer = threads.submit(hung.compute), threads.submit(patient.compute)
        time.sleep(0.1)
        hung.interrupt()
        assert isinstance(lost.exception(5), WasiNNError)
        assert not answer.done(), "it comes back at once"
        fresh = number_of(graphs[0])
        assert fresh != number
        assert answer.result(60) is None
    assert wait_for(lambda: not is_alive(pid)), "the process goes when the calls of others are done"
    assert number_of(graphs[1]) == fresh, "and the other has the same new one"


def test_a_load_ends_when_nobody_waits_for_it(workers: SharedWorkers) -> None:
    processes = [Process(workers), Process(workers)]
    loadings = [Loading(), Loading()]
    errors: list[Any] = [None, None]

    def load(at: int) -> None:
        try:
            processes[at].load(slow, loadings[at])
        except WasiNNError as error:
            errors[at] = error

    slow = slow_to_load()
    threads = []
    for at in range(2):
        threads.append(threading.Thread(target=load, args=(at,)))
        threads[at].start()
        assert wait_for(lambda at=at: sum(len(each.waiting) for each in workers._groups.values()) == at + 1)  # type: ignore[misc]
    (group,) = workers._groups.values()
    assert wait_for(lambda: group.loading is not None)
    loading = group.loading
    assert loading is not None
    loadings[0].interrupt("a deadline")
    threads[0].join(10)
    assert "the load was ended: a deadline" in errors[0].reason
    assert loading.alive, "the other waits for it"
    loadings[1].interrupt("another")
    threads[1].join(10)
    assert "the load was ended: another" in errors[1].reason
    assert wait_for(lambda: not loading.alive and not workers._groups)


def test_a_load_that_takes_too_long_is_ended(workers: SharedWorkers) -> None:
    with pytest.raises(WasiNNError, match=r"not loaded after 0\.5 seconds"):
        Process(workers).load(slow_to_load(), timeout=0.5)


def test_the_end_of_the_parent_is_an_error_with_a_reason(workers: SharedWorkers) -> None:
    graph = Process(workers).load()
    execution = graph.open()
    pid = pid_of(workers, graph)
    folder = Path(workers.address).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    workers.close()
    assert not folder.exists()
    assert not is_alive(pid)
    with pytest.raises(WasiNNError, match=r"gone|ended"):
        add(execution, 1, 2)
    with pytest.raises(OSError):
        worker_client.connect(workers.address)
