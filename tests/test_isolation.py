# SPDX-License-Identifier: Apache-2.0
"""Graphs in worker processes: the same answers, and what becomes of crashes, hangs and deadlines."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
import wasinn
from calls import reason, reasons
from conftest import MakeDriver, require_backend
from driver import Driver
from wasinn.graphs import messages
from wasinn.graphs.channel import Channel
from wasinn.graphs.isolated import IsolatedExecution, IsolatedGraph
from wasinn.graphs.messages import Layout, Loaded
from wasinn.spec import Encoding

RUNTIME_ERROR, BUSY = 5, 4


@pytest.fixture(autouse=True)
def _backend() -> None:
    require_backend("onnxruntime")


def isolated(model: bytes, **options: Any) -> wasinn.GraphSource:
    return wasinn.GraphSource.from_bytes(model, isolation="process", **options)


def graph_of(driver: Driver, context: int) -> IsolatedGraph:
    graph = driver.instance.state.host.context(context).graph.graph
    assert isinstance(graph, IsolatedGraph)
    return graph


def worker_of(driver: Driver, context: int) -> int:
    """The process id of the worker that computes for a context."""
    worker = graph_of(driver, context)._owned.current
    assert worker is not None
    return worker._process.pid


def kill(driver: Driver, context: int) -> None:
    process = graph_of(driver, context)._owned.current
    assert process is not None
    process._process.send_signal(signal.SIGKILL)
    process._process.wait(10)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def is_stopped(pid: int) -> bool:
    """Whether every thread of a process has stopped."""
    states = [path.read_text(encoding="utf-8") for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state.rsplit(")", 1)[1].split()[0] == "T" for state in states)


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def infer(driver: Driver, context: int, values: Any) -> list[float]:
    assert driver.set_f32(context, 0, values) == 0
    assert driver.compute(context) == 0
    return driver.get_f32(context, 0)


# -- the same answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("hot", [False, True])
def test_a_graph_in_a_worker_answers_as_one_here(drive: MakeDriver, hot: bool) -> None:
    guest = drive({"m": isolated(models.add())}, hot=hot)
    context = guest.open("m")
    assert worker_of(guest, context) != os.getpid()
    for step in range(6):
        assert guest.set_f32(context, 0, [[1, 2, 3, step]]) == 0
        assert guest.set_f32(context, 1, [[10, 20, 30, 40]]) == 0
        for _ in range(2):  # inputs stay
            assert guest.compute(context) == 0
            assert guest.get_f32(context, 0) == [11, 22, 33, 40 + step]
            assert guest.get_f32(context, 1) == [-9, -18, -27, step - 40]


def test_shapes_that_change_grow_the_memory(drive: MakeDriver) -> None:
    guest = drive({"m": isolated(models.identity(TensorProto.FLOAT, ["n", 3]))})
    context = guest.open("m")
    for rows in (1, 7, 2000, 3, 0, 5000, 1):
        values = np.random.default_rng(rows).random((rows, 3)).astype("<f4")
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        code, data, _ = guest.get_output(context, 0, 65536)
        assert (code, data) == (0, values.tobytes())


def test_outputs_of_a_shape_that_the_data_gives(drive: MakeDriver) -> None:
    node = helper.make_node("NonZero", ["x"], ["y"])
    ports = [("x", TensorProto.FLOAT, ["n"])], [("y", TensorProto.INT64, [1, "m"])]
    guest = drive({"m": isolated(models.onnx_model([node], *ports))})
    context = guest.open("m")
    for count in (3, 0, 4000, 1):
        assert guest.set_f32(context, 0, np.ones(count, "<f4")) == 0
        assert guest.compute(context) == 0
        code, data, _ = guest.get_output(context, 0)
        assert (code, data) == (0, np.arange(count, dtype="<i8").tobytes())


def test_contexts_of_one_worker_compute_side_by_side() -> None:
    host = wasinn.Host(graphs={"m": isolated(models.add())})

    def work(seed: int) -> bool:
        driver = Driver(host)
        context = driver.open("m")
        start = driver._next
        for step in range(100):
            driver._next = start
            a, b = np.random.default_rng((seed, step)).random((2, 1, 4)).astype("<f4")
            assert driver.set_f32(context, 0, a) == 0
            assert driver.set_f32(context, 1, b) == 0
            assert driver.compute(context) == 0
            if driver.get_f32(context, 0) != (a + b).ravel().tolist():
                return False
        driver.close()
        return True

    with ThreadPoolExecutor(4) as executor:
        assert all(executor.map(work, range(4)))


def test_an_error_of_the_backend_comes_through(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    guest = drive({"bad": isolated(models.identity()[:40], encoding="onnx")})
    with caplog.at_level(logging.WARNING):
        assert guest.load_by_name("bad")[0] == 2
    assert "an ONNX model that is cut short" in reason(caplog)


# -- crashes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hot", [False, True])
def test_a_worker_that_dies_is_replaced_and_the_inputs_stay(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool
) -> None:
    guest = drive({"m": isolated(models.identity())}, hot=hot)
    context, other = guest.open("m"), guest.open("m")
    for _ in range(3):
        assert infer(guest, context, [[1, 2, 3, 4]]) == [1, 2, 3, 4]
    assert infer(guest, other, [[5, 6, 7, 8]]) == [5, 6, 7, 8]
    before = worker_of(guest, context)
    kill(guest, context)
    assert guest.compute(context) == 0, "nothing was lost: it had no call in it"
    assert guest.get_f32(context, 0) == [1, 2, 3, 4]
    assert worker_of(guest, context) != before
    assert infer(guest, other, [[9, 9, 9, 9]]) == [9, 9, 9, 9]


def test_a_worker_killed_in_the_middle_of_a_compute_is_one_error(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    guest = drive({"m": isolated(models.slow(20000))})
    context = guest.open("m")
    assert guest.set_f32(context, 0, np.zeros((256, 256))) == 0
    threading.Timer(0.3, kill, (guest, context)).start()
    with caplog.at_level(logging.WARNING):
        assert guest.compute(context) == RUNTIME_ERROR
    assert "worker process died while computing: SIGKILL" in reason(caplog)
    assert guest.get_output(context, 0, 64)[0] == RUNTIME_ERROR, "no stale output"
    assert guest.compute(context) == 0
    code, _, size = guest.get_output(context, 0, 1 << 20)
    assert (code, size) == (0, 256 * 256 * 4)


def test_the_signal_that_ended_a_worker_is_in_the_reason(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    guest = drive({"m": isolated(models.slow(20000))})
    context = guest.open("m")
    assert guest.set_f32(context, 0, np.zeros((256, 256))) == 0

    def abort() -> None:
        os.kill(worker_of(guest, context), signal.SIGABRT)

    threading.Timer(0.3, abort).start()
    with caplog.at_level(logging.WARNING):
        assert guest.compute(context) == RUNTIME_ERROR
    assert "SIGABRT" in reason(caplog)


# -- deadlines ----------------------------------------------------------------------------------------


def slow_to_load() -> bytes:
    """A chain of products of constants, which ONNX Runtime computes when it loads: many seconds."""
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["c0"])]
    nodes += [helper.make_node("MatMul", [f"c{at}", f"c{at}"], [f"c{at + 1}"]) for at in range(400)]
    nodes.append(helper.make_node("Add", ["x", "c400"], ["y"]))
    size = [2000, 2000]
    return models.onnx_model(
        nodes,
        [("x", TensorProto.FLOAT, size)],
        [("y", TensorProto.FLOAT, size)],
        {"shape": np.array(size, "<i8")},
    )


ISOLATE_ONNX = wasinn.Permissions(isolate=frozenset({Encoding.ONNX}))


def test_a_deadline_ends_a_load() -> None:
    driver = Driver(wasinn.Host(permissions=ISOLATE_ONNX, limits=wasinn.Limits(deadline=1.0)))
    start = time.monotonic()
    assert driver.load(slow_to_load())[0] == RUNTIME_ERROR
    assert time.monotonic() - start < 5
    assert driver.instance.control.limit == "deadline"
    driver.close()


def test_a_load_that_takes_too_long_is_ended(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    permissions = wasinn.Permissions(isolate=frozenset({Encoding.ONNX}), max_load_seconds=4.0)
    guest = drive(permissions=permissions)
    with caplog.at_level(logging.WARNING):
        assert guest.load(slow_to_load())[0] == RUNTIME_ERROR
    assert "not loaded after 4 seconds" in reason(caplog)
    assert guest.load(models.identity())[0] == 0


def chain(products: int) -> bytes:
    """x f32 [256,256] -> y, by so many products one after the other, without a loop."""
    nodes = []
    for at in range(products):
        nodes.append(helper.make_node("MatMul", [f"t{at}", f"t{at}"], [f"p{at}"]))
        nodes.append(helper.make_node("Tanh", [f"p{at}"], [f"t{at + 1}"]))
    size = [256, 256]
    return models.onnx_model(
        nodes, [("t0", TensorProto.FLOAT, size)], [(f"t{products}", TensorProto.FLOAT, size)]
    )


def test_a_deadline_ends_a_compute_and_the_others_go_on() -> None:
    """tract cannot be interrupted: what ends its compute is the end of its process."""
    require_backend("tract")
    source = isolated(chain(1500), encoding="onnx", backend="tract")
    host = wasinn.Host(graphs={"m": source})
    host.preload()
    patient = Driver(host)
    slow = patient.open("m")
    assert patient.set_f32(slow, 0, np.zeros((256, 256))) == 0
    pid = worker_of(patient, slow)
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(patient.compute, slow)
        hurried = Driver(host, limits=wasinn.Limits(deadline=0.3))
        start = time.monotonic()
        context = hurried.open("m")
        assert hurried.set_f32(context, 0, np.zeros((256, 256))) == 0
        assert hurried.compute(context) == RUNTIME_ERROR
        assert hurried.instance.control.limit == "deadline"
        assert time.monotonic() - start < 3
        assert answer.result() == 0, "a compute of another guest in the same process"
    assert wait_for(lambda: not is_alive(pid)), "the process with the lost compute goes when the others end"
    assert patient.compute(slow) == 0, "and the next compute has another one"
    hurried.close()
    patient.close()


def test_a_backend_that_can_end_a_compute_keeps_its_process() -> None:
    host = wasinn.Host(graphs={"m": isolated(models.slow(100000))})
    host.preload()
    driver = Driver(host, limits=wasinn.Limits(deadline=0.3))
    context = driver.open("m")
    pid = worker_of(driver, context)
    assert driver.set_f32(context, 0, np.zeros((256, 256))) == 0
    assert driver.compute(context) == RUNTIME_ERROR
    assert driver.instance.control.limit == "deadline"
    assert is_alive(pid)
    driver.close()


@pytest.mark.parametrize("moment", ["load", "open", "set_input", "compute"])
def test_a_deadline_holds_wherever_a_worker_is_waited_for(moment: str) -> None:
    """The worker is stopped, as one that hangs in the interpreter would be."""
    dynamic = models.identity(TensorProto.FLOAT, ["n"])
    host = wasinn.Host(graphs={"m": isolated(dynamic)})
    host.preload()
    driver = Driver(host, limits=wasinn.Limits(deadline=1.5))
    context = driver.open("m")
    pid = worker_of(driver, context)
    if moment != "set_input":
        assert driver.set_f32(context, 0, [1, 2]) == 0
    held = [driver.context(0)[1] for _ in range(3)]  # none is left over for "open"
    if moment == "load":
        kill(driver, context)
        with graph_of(driver, context)._lock:  # as if another guest's load took for ever
            assert driver.compute(context) == RUNTIME_ERROR
    else:
        os.kill(pid, signal.SIGSTOP)
        assert wait_for(lambda: is_stopped(pid))
        try:
            answers = {
                "open": lambda: driver.context(0)[0],
                "set_input": lambda: driver.set_f32(context, 0, [1, 2]),
                "compute": lambda: driver.compute(context),
            }
            assert answers[moment]() == RUNTIME_ERROR
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert driver.instance.control.limit == "deadline"
    assert held
    driver.close()


def test_a_load_that_hangs_keeps_no_other_guest_from_its_deadline() -> None:
    host = wasinn.Host(graphs={"m": isolated(models.identity())})
    host.preload()
    one, other = Driver(host), Driver(host, limits=wasinn.Limits(deadline=1.0))
    mine, theirs = one.open("m"), other.open("m")
    assert other.set_f32(theirs, 0, [[1, 2, 3, 4]]) == 0
    kill(one, mine)
    with ThreadPoolExecutor(1) as executor, graph_of(one, mine)._lock:  # a load that takes for ever
        answer = executor.submit(other.compute, theirs)
        assert one.call("finalize_execution_context", mine) == 0, "does not wait for it"
        assert answer.result(timeout=20) == RUNTIME_ERROR
    assert other.instance.control.limit == "deadline"
    one.close()
    other.close()


# -- the end ----------------------------------------------------------------------------------------


def test_a_guest_s_own_worker_ends_with_its_graph_and_with_the_instance(drive: MakeDriver) -> None:
    guest = drive(permissions=ISOLATE_ONNX)
    pids = []
    for _ in range(2):
        code, graph = guest.load(models.identity())
        assert code == 0
        code, context = guest.context(graph)
        assert infer(guest, context, [[1, 2, 3, 4]]) == [1, 2, 3, 4]
        pids.append(worker_of(guest, context))
        if len(pids) == 1:
            assert guest.call("unload", graph) == 0
            assert is_alive(pids[0]), "a context keeps its graph"
            assert guest.get_f32(context, 0) == [1, 2, 3, 4]
            assert guest.call("finalize_execution_context", context) == 0
    assert pids[0] == pids[1], "its next load need not start a process"
    assert guest.load(b"nonsense")[0] == 2
    guest.close()
    assert wait_for(lambda: not is_alive(pids[1]))


def test_a_guest_has_no_process_that_was_another_s(drive: MakeDriver) -> None:
    host = wasinn.Host(permissions=ISOLATE_ONNX)
    pids = []
    for _ in range(2):
        guest = drive(host=host)
        assert guest.load(models.identity())[0] == 0
        assert guest.context(0)[0] == 0
        pids.append(worker_of(guest, 0))
    assert pids[0] != pids[1]


def test_an_instance_has_only_so_many_workers(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    permissions = wasinn.Permissions(isolate=frozenset({Encoding.ONNX}), max_workers=2)
    guest = drive(permissions=permissions)
    assert [guest.load(models.identity())[0] for _ in range(2)] == [0, 0]
    with caplog.at_level(logging.WARNING):
        assert guest.load(models.identity())[0] == BUSY
    assert "2 graphs in worker processes" in reason(caplog)
    assert guest.call("unload", 0) == 0
    assert guest.load(models.identity())[0] == 0


def test_the_end_of_this_process_ends_its_workers() -> None:
    text = """
import os, sys, wasinn
host = wasinn.Host(graphs={"m": "onnx:@identity?isolation=process"})
host.preload()
print(host.registry._loaded["m"].graph._owned.current._process.pid, flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert is_alive(pid)
    process.kill()
    process.communicate()
    assert wait_for(lambda: not is_alive(pid))


def test_a_fork_has_workers_of_its_own() -> None:
    text = """
import os, sys, wasinn
sys.path.insert(0, sys.argv[1])
from driver import Driver
host = wasinn.Host(graphs={"m": "onnx:@identity?isolation=process"})
driver = Driver(host)
context = driver.open("m")
ours = host.registry._loaded["m"].graph
def run():
    assert driver.set_f32(context, 0, [[1, 2, 3, 4]]) == 0
    assert driver.compute(context) == 0
    assert driver.get_f32(context, 0) == [1, 2, 3, 4]
    return ours._owned.current._process.pid
first = run()
child = os.fork()
if child == 0:
    os._exit(0 if run() != first else 1)
assert os.waitpid(child, 0)[1] == 0
assert run() == first
"""
    command = [sys.executable, "-c", text, str(Path(__file__).parent)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_a_closed_context_held_is_not_the_next_one_s(drive: MakeDriver) -> None:
    guest = drive({"m": isolated(models.identity())})
    first = guest.open("m")
    assert infer(guest, first, [[1, 2, 3, 4]]) == [1, 2, 3, 4]
    assert guest.call("finalize_execution_context", first) == 0
    second = guest.open("m")
    assert guest.compute(second) == 1, "its input is missing"
    assert guest.get_output(second, 0)[0] == RUNTIME_ERROR
    assert infer(guest, second, [[4, 3, 2, 1]]) == [4, 3, 2, 1]


# -- whose bytes ------------------------------------------------------------------------------------


def test_bytes_of_onnx_are_parsed_here_and_those_of_tflite_in_a_worker(drive: MakeDriver) -> None:
    require_backend("litert")
    guest = drive()
    tflite = (Path(wasinn.__file__).parent / "shipped/models/digits.tflite").read_bytes()
    assert guest.load(models.identity(), encoding=1) == (0, 0)
    assert guest.load(tflite, encoding=4) == (0, 1)
    graphs = guest.instance.state.host._graphs
    assert [graphs[0].isolated, graphs[1].isolated] == [False, True]


def test_the_operator_s_graphs_are_loaded_here_unless_told(drive: MakeDriver) -> None:
    require_backend("litert")
    host = wasinn.Host(graphs={"m": "tensorflowlite:@digits.tflite"})
    guest = drive(host=host)
    context = guest.open("m")
    assert not guest.instance.state.host.context(context).graph.isolated


@pytest.mark.parametrize(("text", "code"), [("none", 0), ("all", 0), ("onnx,tflite", 0), ("onyx", 2)])
def test_the_command_line_says_which_encodings_are_isolated(text: str, code: int) -> None:
    command = [sys.executable, "-m", "wasinn", "run", "--isolate", text, "--graph", "m=onnx:@identity"]
    done = subprocess.run(
        [*command, "@identity", "m"], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    if code:
        assert "--isolate: 'onyx' is no encoding of a model" in done.stderr


# -- what a worker says is data ----------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_nonsense_from_a_worker_is_a_value_error(value: Any) -> None:
    body = json.dumps(value).encode()
    for decode in (messages.decode_shapes, Loaded.decode):
        with contextlib.suppress(ValueError):
            decode(body)


@given(st.binary(max_size=64))
def test_bytes_from_a_worker_are_a_value_error(body: bytes) -> None:
    for decode in (messages.decode_shapes, Loaded.decode):
        with contextlib.suppress(ValueError):
            decode(body)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"?",
        b"k",
        b'e[0, "fine"]',
        b"e" + b"[" * 100000,
        b"o[]",
        b'o[[0, "fine"]]',
        b'o[[[4], "f32", 15]]',
        b'o[[[1, 4], "f32", -16]]',
        b'o[[[], "f99", 4]]',
        b"o" + b"[" * 100000,
        b'o[[[%s 1], "u8", 1]]' % (b"1," * 200000),
        b'o[[[2305843009213693951], "u8", 2305843009213693951]]',
    ],
    ids=lambda answer: answer[:24].decode(),
)
def test_a_worker_that_lies_costs_one_error(
    drive: MakeDriver, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    guest = drive({"m": isolated(models.identity(TensorProto.FLOAT, [1, "n"]))})
    context = guest.open("m")
    assert guest.set_f32(context, 0, [[1, 2, 3, 4]]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(Channel, "receive", lambda self, timeout=None: answer)
        assert guest.compute(context) == RUNTIME_ERROR
    assert guest.get_output(context, 0)[0] == RUNTIME_ERROR
    kill(guest, context)  # what it really said is still in the socket
    assert infer(guest, context, [[1, 2, 3, 4]]) == [1, 2, 3, 4]


def test_big_inputs_are_given_back_when_small_ones_follow(drive: MakeDriver) -> None:
    guest = drive({"m": isolated(models.identity(TensorProto.FLOAT, ["n"]))})
    context = guest.open("m")
    assert guest.set_f32(context, 0, np.zeros(500_000)) == 0
    execution = guest.instance.state.host.context(context).execution
    assert isinstance(execution, IsolatedExecution)
    assert execution._session.layout.size >= 2_000_000
    assert guest.set_f32(context, 0, [1]) == 0
    assert execution._session.layout.size < 100_000
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [1]


def test_a_worker_that_talks_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-v` writes a line to stderr for each import, more than a pipe holds."""
    monkeypatch.setenv("PYTHONVERBOSE", "2")
    host = wasinn.Host(graphs={"m": isolated(models.identity(), load_timeout=60)})
    host.preload()


def test_no_file_is_left_open_by_loads_that_fail(drive: MakeDriver) -> None:
    guest = drive(permissions=ISOLATE_ONNX)
    assert guest.load(b"nonsense")[0] == 2
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        assert guest.load(b"nonsense")[0] == 2
    # What earlier tests left may go meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= before


def test_an_instance_has_only_so_many_isolated_contexts(drive: MakeDriver) -> None:
    guest = drive({"m": isolated(models.identity())})
    assert guest.load_by_name("m") == (0, 0)
    codes = [guest.context(0)[0] for _ in range(130)]
    assert codes == [0] * 128 + [BUSY] * 2


def test_the_package_imports_where_there_are_no_workers() -> None:
    """Windows has neither fcntl nor resource."""
    text = (
        "import sys; sys.modules['fcntl'] = sys.modules['resource'] = None\n"
        "import wasinn\n"
        "host = wasinn.Host(graphs={'m': 'onnx:@identity'})\n"
        "assert host.run('@identity', ['m']).ok\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True, timeout=60)


def test_tract_s_graphs_are_isolated_unasked_and_counted(drive: MakeDriver) -> None:
    require_backend("tract")
    host = wasinn.Host(backends={"onnx": "tract"}, permissions=wasinn.Permissions(max_workers=1))
    guest = drive(host=host)
    assert guest.load(models.identity())[0] == 0
    assert guest.instance.state.host._graphs[0].isolated
    assert guest.load(models.identity())[0] == BUSY


@given(st.lists(st.integers(0, 1 << 20), max_size=5), st.lists(st.integers(0, 1 << 20), max_size=5))
def test_regions_of_an_arena_do_not_overlap(inputs: list[int], outputs: list[int]) -> None:
    layout = Layout.of(inputs, outputs)
    regions = sorted((*layout.inputs, *layout.outputs))
    for (start, size), (following, _) in pairwise(regions):
        assert start + size <= following
    assert all(start + size <= layout.size and start % 64 == 0 for start, size in regions)


def test_failures_are_one_line_each(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    guest = drive({"m": isolated(models.identity())})
    context = guest.open("m")
    with caplog.at_level(logging.WARNING):
        assert guest.compute(context) == 1
    assert len(reasons(caplog)) == 1
