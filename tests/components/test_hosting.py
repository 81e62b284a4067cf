# SPDX-License-Identifier: Apache-2.0
"""`wasi:nn` for components: every snapshot through a driver that passes raw handles and addresses."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import wasmtime
from onnx import TensorProto, helper

import models
from component_driver import ComponentDriver, Engine
from component_wat import SNAPSHOTS, Snapshot, rows
from wasinn.abi.component import bulk, hosting
from wasinn.abi.component.resources import MAX_RESOURCES, ComponentState
from wasinn.graphs.permissions import Permissions
from wasinn.host import GuestHost, Shared
from wasinn.spec import ErrorCode

NAMED = [each for each in SNAPSHOTS if each.named]
OLDER = [each for each in SNAPSHOTS if not each.named]
WITH_ERRORS = [each for each in SNAPSHOTS if not each.enum]

A = np.array([[1, 2, 3, 4]], np.float32)
B = np.array([[10, 20, 30, 40]], np.float32)
GRAPHS = {"add": models.add(), "x": models.identity()}

Drive = Callable[..., ComponentDriver]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.fixture
def drive(engine: Engine) -> Iterator[Drive]:
    """Makes drivers. At the end the tables of each must be empty."""
    made: list[ComponentDriver] = []

    def make(snapshot: Snapshot = SNAPSHOTS[0], graphs: Any = None, **options: Any) -> ComponentDriver:
        driver = ComponentDriver(engine, snapshot, GRAPHS if graphs is None else graphs, **options)
        made.append(driver)
        return driver

    yield make
    for driver in made:
        driver.close()
        state = driver.state
        assert state.held == 0
        assert not state._users
        assert state._held == state._reasons == 0
        assert not state.host._graphs
        assert not state.host._contexts


@pytest.fixture(params=["as-it-is", "rewritten"])
def guest(drive: Drive, request: pytest.FixtureRequest) -> Drive:
    """The same, for what must hold with and without the adapter."""

    def make(*arguments: Any, **options: Any) -> ComponentDriver:
        return drive(*arguments, private=False, rewritten=request.param == "rewritten", **options)

    return make


def every(chosen: list[Snapshot] | tuple[Snapshot, ...]) -> Any:
    return pytest.mark.parametrize("snapshot", chosen, ids=repr)


def traps(match: str) -> Any:
    return pytest.raises(wasmtime.WasmtimeError, match=match)


# -- what works ---------------------------------------------------------------------------------------


@every(SNAPSHOTS)
def test_inference_by_name_and_by_decimal_index(guest: Drive, snapshot: Snapshot) -> None:
    driver = guest(snapshot)
    context = driver.context("add")
    for inputs in ({"a": A, "b": B}, {"1": B, "0": A}, {"b": B, "0": A}):
        assert np.array_equal(driver.infer(context, inputs, "sum"), A + B)
        assert np.array_equal(driver.infer(context, inputs, "difference"), A - B)
    driver.call("drop-inference", context)
    assert driver.state.held == 0


@every(OLDER)
def test_an_output_by_its_decimal_index(guest: Drive, snapshot: Snapshot) -> None:
    driver = guest(snapshot)
    context = driver.context("add")
    driver.compute(context, ("a", driver.tensor_of(A)), ("b", driver.tensor_of(B)))
    for name, wanted in (("1", A - B), ("0", A + B)):
        kind, tensor = driver.get_output(context, name)
        assert kind == "ok"
        assert driver.read_tensor(tensor) == ((1, 4), "FP32", wanted.tobytes())


@every(SNAPSHOTS)
def test_a_model_from_bytes(guest: Drive, snapshot: Snapshot) -> None:
    driver = guest(snapshot, graphs={})
    for encoding in ("onnx", "autodetect"):
        kind, graph = driver.load(models.identity(), encoding=encoding)
        assert kind == "ok"
        kind, context = driver.init(graph)
        assert kind == "ok"
        assert np.array_equal(driver.infer(context, {"x": A}, "y"), A)
        driver.call("drop-graph", graph)
        driver.call("drop-inference", context)
    assert driver.state.held == 0


@every(SNAPSHOTS)
def test_a_tensor_gives_what_it_was_made_of(guest: Drive, snapshot: Snapshot) -> None:
    driver = guest(snapshot)
    for kind, size in {"FP16": 2, "FP32": 4, "FP64": 8, "BF16": 2, "U8": 1, "I32": 4, "I64": 8}.items():
        data = bytes(range(200, 256))[: 6 * size]
        tensor = driver.tensor([2, 1, 3], data, kind)
        assert driver.read_tensor(tensor) == ((2, 1, 3), kind, data)
        driver.call("drop-tensor", tensor)
    assert driver.state.held == 0


def test_a_tensor_may_be_anything_until_it_is_used(guest: Drive) -> None:
    """Its constructor has no error: what does not fit is said where it is given to a graph."""
    driver = guest()
    for dims, data in (([], b""), ([0], b""), ([2**32 - 1] * 40, b"x"), ([1, 4], b"short")):
        tensor = driver.tensor(dims, data)
        assert driver.read_tensor(tensor) == (tuple(dims), "FP32", data)
    driver.context("x")


@pytest.mark.parametrize(
    ("onnx_type", "dtype", "seen"),
    [
        (TensorProto.BOOL, np.bool_, "U8"),
        (TensorProto.INT8, np.int8, "U8"),
        (TensorProto.INT64, np.int64, "I64"),
        (TensorProto.FLOAT16, np.float16, "FP16"),
        (TensorProto.UINT32, np.uint32, "I32"),
    ],
)
def test_types_that_wit_has_no_name_for_are_seen_by_their_width(
    drive: Drive, onnx_type: int, dtype: Any, seen: str
) -> None:
    driver = drive(graphs={"x": models.identity(onnx_type)})
    data = np.array([[0, 1, 1, 0]], dtype).tobytes()
    kind, found = driver.compute(driver.context("x"), ("x", driver.tensor([1, 4], data, seen)))
    assert kind == "ok", found
    assert driver.read_tensor(found["y"]) == ((1, 4), seen, data)


@every([each for each in SNAPSHOTS if each.constructor])
def test_an_error_of_the_guests_own(guest: Drive, snapshot: Snapshot) -> None:
    driver = guest(snapshot)
    for number, code in enumerate(snapshot.codes):
        error = driver.call("error-new", number, *driver.string(f"grün {code}"))
        assert snapshot.codes[driver.call("error-code", error)] == code
        assert driver.text("error-data", error) == f"grün {code}"
        driver.call("drop-errors", error)
    assert driver.state.held == 0


@every(SNAPSHOTS)
def test_introspection_takes_the_graph_of_each_snapshot(drive: Drive, snapshot: Snapshot) -> None:
    driver = drive(snapshot)
    _, graph = driver.load_by_name("add")
    out = driver.out()
    driver.call("graph-metadata", graph, out)
    kind, pointer, size = driver.words(out, 3)
    assert kind & 0xFF == 0
    found = json.loads(driver.get(pointer, size))
    assert found == json.loads(driver.state.host.graph_metadata(0))
    assert [each["name"] for each in found["inputs"]] == ["a", "b"]


# -- errors -------------------------------------------------------------------------------------------


@every(SNAPSHOTS)
def test_each_failure_has_its_code_its_reason_and_one_line(
    guest: Drive, snapshot: Snapshot, caplog: pytest.LogCaptureFixture
) -> None:
    driver = guest(snapshot)
    context = driver.context("add")

    def fails(found: tuple[str, Any], code: str, call: str, reason: str) -> None:
        kind, why = found
        assert kind == code
        assert why is None if snapshot.enum else re.search(reason, why)
        (record,) = caplog.records
        line = record.getMessage()
        assert record.name == "wasinn.guest"
        assert line.startswith(f"driver: {call}(")
        assert re.search(reason, line)
        caplog.clear()

    caplog.set_level(logging.WARNING)
    method = "[method]graph-execution-context."
    first = method + ("compute" if snapshot.named else "set-input")
    a = [("a", driver.tensor_of(A)), ("b", driver.tensor([1, 4], b"123"))]
    fails(driver.load_by_name("nothing"), "not-found", "load-by-name", "no graph is called 'nothing'")
    fails(driver.load(), "invalid-argument", "load", "no builders")
    fails(driver.load(b"this is no model at all"), "invalid-encoding", "load", "not an ONNX model")
    fails(
        driver.load(b"x", encoding="pytorch"),
        "unsupported-operation",
        "load",
        "from a guest's bytes is refused",
    )
    fails(driver.compute(context, *a), "invalid-argument", first, "are 16 bytes, but the tensor's data has 3")
    wrong = ("c", driver.tensor_of(A))
    fails(driver.compute(context, wrong), "invalid-argument", first, r"no input 'c'; it has: 0 'a', 1 'b'")
    wrong = ("2", driver.tensor_of(A))
    fails(driver.compute(context, wrong), "invalid-argument", first, "no input '2'")
    wrong = ("a", driver.tensor_of(A.astype(np.float64)))
    fails(driver.compute(context, wrong), "invalid-argument", first, r"wanted f32 \[1,4\], got f64")
    wrong = ("a", driver.tensor([1] * 33, b"1234"))
    fails(driver.compute(context, wrong), "invalid-argument", first, "33 dimensions; at most 32")
    count = driver.state.stats.failures
    assert count == 9
    assert driver.state.held == 1, "what was given was consumed, and each error was dropped"


@every(OLDER)
def test_computing_in_steps_fails_as_for_core_modules(guest: Drive, snapshot: Snapshot) -> None:
    driver = guest(snapshot)
    context = driver.context("add")
    assert driver.run(context)[0] == "invalid-argument"
    assert driver.set_input(context, "a", driver.tensor_of(A))[0] == "ok"
    assert driver.run(context)[0] == "invalid-argument"
    assert driver.get_output(context, "sum")[0] == "runtime-error"
    assert driver.set_input(context, "b", driver.tensor_of(B))[0] == "ok"
    assert driver.run(context)[0] == "ok"
    assert driver.get_output(context, "nothing")[0] == "invalid-argument"
    assert driver.get_output(context, "sum")[0] == "ok"
    # A refused input leaves the one before it, and the outputs.
    assert driver.set_input(context, "b", driver.tensor([1, 3], bytes(12)))[0] == "invalid-argument"
    kind, tensor = driver.get_output(context, "sum")
    assert kind == "ok"
    assert driver.read_tensor(tensor)[2] == (A + B).tobytes()
    # A new input takes the outputs away.
    assert driver.set_input(context, "b", driver.tensor_of(A))[0] == "ok"
    assert driver.get_output(context, "sum")[0] == "runtime-error"


@every(NAMED)
def test_named_inputs_must_be_all_and_each_once(guest: Drive, snapshot: Snapshot) -> None:
    driver = guest(snapshot)
    context = driver.context("add")
    assert np.array_equal(driver.infer(context, {"a": A, "b": B}, "sum"), A + B)
    kind, why = driver.compute(context, ("a", driver.tensor_of(A)))
    assert kind == "invalid-argument", "nothing stays from the compute before"
    assert "these were not given: 1 ('b', f32 [1,4])" in why
    kind, why = driver.compute(context)
    assert kind == "invalid-argument"
    pair = ("a", driver.tensor_of(A)), ("0", driver.tensor_of(B))
    kind, why = driver.compute(context, *pair)
    assert kind == "invalid-argument"
    assert "input '0' (number 0) is given twice" in why
    assert driver.state.held == 1


@every(NAMED)
def test_outputs_do_not_change_with_the_next_compute(guest: Drive, snapshot: Snapshot) -> None:
    driver = guest(snapshot)
    context = driver.context("x")
    _, first = driver.compute(context, ("x", driver.tensor_of(A)))
    _, second = driver.compute(context, ("x", driver.tensor_of(B)))
    driver.call("drop-inference", context)
    assert driver.read_tensor(first["y"])[2] == A.tobytes()
    assert driver.read_tensor(second["y"])[2] == B.tobytes()


@every(SNAPSHOTS)
def test_too_many_contexts_have_the_code_that_the_snapshot_has(drive: Drive, snapshot: Snapshot) -> None:
    driver = drive(snapshot, permissions=Permissions(max_contexts=2))
    _, graph = driver.load_by_name("x")
    _, first = driver.init(graph)
    assert driver.init(graph)[0] == "ok"
    kind, why = driver.init(graph)
    assert kind == ("busy" if snapshot.enum else "runtime-error")
    assert why is None or "holds 2 contexts" in why
    driver.call("drop-inference", first)
    assert driver.init(graph)[0] == "ok"


def test_reasons_are_always_text(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone surrogate in a reason (a file name, say) would abort the process if it came through."""

    def fail(*_: Any) -> int:
        raise RuntimeError("bad \udcff name")

    driver = drive()
    monkeypatch.setattr(driver.state.host, "load_by_name", fail)
    assert driver.load_by_name("x") == ("runtime-error", "RuntimeError: bad ? name")


def test_failures_in_a_loop_do_not_fill_the_log(drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    driver = drive()
    name, out = driver.string("nothing\n" + "x" * 5000), driver.out()
    for _ in range(150):
        driver.call("load-by-name", *name, out)
        driver.call("drop-errors", driver.words(out, 2)[1])
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 101
    assert "no more of them are logged" in lines[-1]
    assert all("\n" not in line and len(line) < 1500 for line in lines)
    assert driver.state.stats.failures == 150
    assert driver.state.held == 0


def test_a_line_does_not_list_thousands_of_inputs(drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    driver = drive()
    context = driver.context("x")
    name = "n" * 70
    assert driver.compute(context, *((name, driver.tensor([], b"")) for _ in range(40)))[0] != "ok"
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.count("f32 [] (0 bytes)") == 8
    assert ", ...) -> invalid_argument" in line
    assert not driver.state.tensors


@every(SNAPSHOTS)
def test_stats_and_trace_read_as_those_of_core_modules(
    guest: Drive, snapshot: Snapshot, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wasinn.trace")
    driver = guest(snapshot, trace=True)
    context = driver.context("x")
    assert np.array_equal(driver.infer(context, {"x": A}, "y"), A)
    driver.load_by_name("nothing")
    stats = driver.state.stats
    wanted = {"load_by_name": 2, "init_execution_context": 1, "compute": 1}
    assert stats.calls == (wanted if snapshot.named else {**wanted, "set_input": 1, "get_output": 1})
    assert (stats.failures, stats.bytes_in, stats.bytes_out, stats.computes) == (1, 16, 16, 1)
    lines = [record.getMessage() for record in caplog.records if record.name == "wasinn.trace"]
    assert "load-by-name(name 'x') -> success  graph 0" in lines
    assert "[constructor]tensor(f32 [1,4] (16 bytes)) -> success  tensor 2" in lines
    method = "[method]graph-execution-context."
    if snapshot.named:
        call = (
            f"{method}compute(context 1, inputs 'x' f32 [1,4] (16 bytes)) -> success  "
            "outputs 'y' f32 [1,4] (16 bytes)"
        )
    else:
        call = f"{method}set-input(context 1, name 'x', tensor f32 [1,4] (16 bytes)) -> success"
    assert call in lines


# -- lifetimes ----------------------------------------------------------------------------------------


@every(SNAPSHOTS)
def test_a_context_keeps_its_graph(guest: Drive, snapshot: Snapshot) -> None:
    driver = guest(snapshot, permissions=Permissions(max_graphs=1))
    _, graph = driver.load_by_name("add")
    _, context = driver.init(graph)
    driver.call("drop-graph", graph)
    assert np.array_equal(driver.infer(context, {"a": A, "b": B}, "sum"), A + B)
    assert driver.load_by_name("x")[0] != "ok", "the graph is still held"
    driver.call("drop-inference", context)
    assert driver.load_by_name("x")[0] == "ok"


def test_handles_of_one_name_share_a_graph_until_the_last_is_dropped(drive: Drive) -> None:
    driver = drive()
    (_, first), (_, second) = driver.load_by_name("add"), driver.load_by_name("add")
    assert first != second
    assert list(driver.state.graphs.values()) == [0, 0]
    driver.call("drop-graph", first)
    kind, context = driver.init(second)
    assert kind == "ok"
    driver.call("drop-graph", second)
    kind, third = driver.load_by_name("add")
    assert list(driver.state.graphs.values()) == [0], "the context keeps it"
    driver.call("drop-graph", third)
    driver.call("drop-inference", context)
    assert not driver.state.host._graphs
    driver.load_by_name("add")
    assert list(driver.state.graphs.values()) == [1], "numbers of the host's are never reused"


@every(OLDER)
def test_a_tensor_is_consumed_whether_the_call_succeeds_or_not(guest: Drive, snapshot: Snapshot) -> None:
    for name, code in (("x", "ok"), ("nothing", "invalid-argument")):
        driver = guest(snapshot)
        context = driver.context("x")
        tensor = driver.tensor_of(A)
        assert driver.set_input(context, name, tensor)[0] == code
        assert not driver.state.tensors
        assert driver.state._held == 0
        with traps("unknown handle index"):
            driver.call("tensor-ty", tensor)


@every(NAMED)
def test_all_tensors_are_consumed_also_if_the_first_is_bad(guest: Drive, snapshot: Snapshot) -> None:
    driver = guest(snapshot)
    context = driver.context("add")
    inputs = [("nothing", driver.tensor_of(A)), ("a", driver.tensor_of(A)), ("b", driver.tensor_of(B))]
    assert driver.compute(context, *inputs)[0] == "invalid-argument"
    assert not driver.state.tensors
    with traps("unknown handle index"):
        driver.call("tensor-ty", inputs[2][1])


MISUSES: dict[str, tuple[Callable[[ComponentDriver], Any], str]] = {
    "used after its drop": (
        lambda d: (d.call("drop-tensor", t := d.tensor([1], b"abcd")), d.read_tensor(t)),
        "unknown handle",
    ),
    "dropped twice": (
        lambda d: [d.call("drop-tensor", t) for t in [d.tensor([1], b"abcd")] * 2],
        "unknown handle",
    ),
    "of another type": (lambda d: d.call("drop-graph", d.tensor([1], b"abcd")), "wrong type"),
    "given twice": (
        lambda d: d.compute(d.context("add"), *[(name, t) for t in [d.tensor_of(A)] for name in "ab"]),
        "unknown handle",
    ),
    "never given out": (lambda d: d.call("init-execution-context", 7, d.out()), "unknown handle"),
    "enum": (lambda d: d.call("tensor-new", 1024, 0, 7, 1024, 0), "discriminant 7 out of range"),
    "no UTF-8": (lambda d: d.load_by_name(b"\xff"), "invalid utf-8"),  # type: ignore[arg-type]
    "out of memory's bounds": (lambda d: d.call("tensor-new", 0xFFFFFF00, 9, 4, 0, 0), "out of bounds"),
    "a piece without a buffer": (
        lambda d: d.call("graph-push", 1024, 7, 1024, 1),
        "a piece without a buffer",
    ),
    "a piece past its buffer": (
        lambda d: (d.call("tensor-begin", 6), d.call("tensor-push", 1024, 7, 1024, 1)),
        "7 bytes for a buffer of 6",
    ),
    "high bits of another size": (
        lambda d: d.call("bulk-tensor", 1024, 0, 4, 1024, 8, 1024, 1),
        "8 bytes with 1 char",
    ),
    "a buffer that is not full": (
        lambda d: (d.call("graph-begin", 6), d.call("bulk-load", 1, 0, d.out())),
        "0 bytes came for a buffer of 6",
    ),
    "two buffers for a tensor": (lambda d: [d.call("tensor-begin", 0) for _ in range(2)], "two buffers"),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_misuse_traps_and_the_host_goes_on(drive: Drive, misuse: str) -> None:
    driver = drive()
    act, match = MISUSES[misuse]
    with traps(match):
        act(driver)
    driver.close()
    assert driver.state.held == 0
    other = drive()
    assert np.array_equal(other.infer(other.context("x"), {"x": A}, "y"), A)


def test_a_table_survives_what_it_does_not_know(drive: Drive) -> None:
    state = drive().state
    for drop in (state.drop_tensor, state.drop_graph, state.drop_context, state.drop_error):
        drop(12345)
    state.close()
    state.close()


def test_numbers_are_not_reused_while_they_are_in_use() -> None:
    state = ComponentState(GuestHost(Shared()))
    first = state.add_error("unknown", "")
    state._next = (1 << 32) - 1
    numbers = [state.add_error("unknown", "") for _ in range(3)]
    assert first == 0
    assert numbers == [(1 << 32) - 1, 1, 2]
    state.close()


# -- limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["list", "text", "pieces"])
def test_tensors_may_hold_so_many_bytes(drive: Drive, way: str) -> None:
    driver = drive(permissions=Permissions(max_input_bytes=10_000))
    data = bytes(1000)
    for _ in range(9):
        make(driver, way, data)
    with traps("too_large: the tensors of this instance would come to"):
        make(driver, way, data)
    assert driver.state._held < 10_000


def make(driver: ComponentDriver, way: str, data: bytes) -> int:
    """A u8 tensor by the fall-back, in one piece, or in several."""
    dims = driver.put(struct.pack("<I", len(data)))
    if way == "list":
        return int(driver.call("tensor-new", dims, 1, 4, driver.put(data), len(data)))
    if way == "text":
        return int(driver.call("bulk-tensor", dims, 1, 4, *piece(driver, data)))
    third = len(data) // 3
    driver.call("tensor-begin", len(data))
    driver.call("tensor-push", *piece(driver, data[:third]))
    driver.call("tensor-push", *piece(driver, data[third : 2 * third]))
    return int(driver.call("bulk-tensor", dims, 1, 4, *piece(driver, data[2 * third :])))


def piece(driver: ComponentDriver, data: bytes) -> tuple[int, int, int, int]:
    text = bulk.encode(data)
    place = driver.put(text)
    return place, len(data), place + len(data), len(text) - len(data)


@every(WITH_ERRORS)
def test_outputs_that_are_too_much_are_an_error_and_none_is_kept(drive: Drive, snapshot: Snapshot) -> None:
    nodes = [helper.make_node("Identity", ["x"], [name]) for name in ("y", "z")]
    ports = [(name, TensorProto.FLOAT, (1, 4)) for name in ("x", "y", "z")]
    graphs = {"two": models.onnx_model(nodes, ports[:1], ports[1:])}
    driver = drive(snapshot, graphs, permissions=Permissions(max_input_bytes=2 * A.nbytes))
    context = driver.context("two")
    kind, why = driver.compute(context, ("x", driver.tensor_of(A)))
    if not snapshot.named:
        assert kind == "ok"
        assert driver.get_output(context, "y")[0] == "ok"
        kind, why = driver.get_output(context, "z")
    assert kind == "too-large"
    assert re.search("tensors of this instance would come to .* bytes, and the permissions allow 32", why)
    assert len(driver.state.tensors) == (0 if snapshot.named else 1)


def test_reasons_are_bounded(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = drive()
    kind, why = driver.load_by_name("x" * 100_000)
    assert kind == "not-found"
    assert len(why) < 11_000
    monkeypatch.setattr("wasinn.abi.component.resources.MAX_REASONS", 100)
    with traps("too much text|not_found"):
        driver.load_by_name("y" * 1000)


def test_a_guest_that_makes_tensors_for_ever_is_ended(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_RESOURCES == 65536
    monkeypatch.setattr("wasinn.abi.component.resources.MAX_RESOURCES", 50)
    driver = drive()
    with traps("holds 50 tensors and errors"):
        for _ in range(60):
            driver.call("tensor-new", 1024, 0, 4, 1024, 0)
    assert driver.state.held == 50


def test_errors_that_are_never_dropped_end_the_guest(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasinn.abi.component.resources.MAX_RESOURCES", 50)
    driver = drive()
    name, out = driver.string("nothing"), driver.out()
    with traps("not_found: no graph is called 'nothing'"):
        for _ in range(60):
            driver.call("load-by-name", *name, out)
    assert driver.state.held == 50


@pytest.mark.parametrize("way", ["list", "pieces"])
def test_a_model_that_may_not_be_loaded_is_not_copied(drive: Drive, way: str) -> None:
    for permissions, code in (
        (Permissions(load=False), "unsupported-operation"),
        (Permissions(max_model_bytes=50), "too-large"),
    ):
        driver = drive(permissions=permissions)
        model = models.identity()
        if way == "list":
            assert driver.load(model)[0] == code
            continue
        driver.call("graph-begin", len(model))
        driver.call("graph-push", *piece(driver, model))
        assert driver.state.graph_buffers.held == 0
        out = driver.out()
        driver.call("bulk-load", 1, 0, out)
        assert driver.result(out)[0] == code


def test_builders_without_end_are_an_error(drive: Drive) -> None:
    driver = drive()
    for _ in range(100):
        driver.call("graph-begin", 0)
    assert len(driver.state.graph_buffers._kept) == 0
    out = driver.out()
    driver.call("bulk-load", 1, 0, out)
    assert driver.result(out) == ("invalid-argument", "100 builders; no encoding has more than 64")
    assert driver.load(*[b""] * 65)[0] == "invalid-argument"


# -- bulk data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 7, 13, 4096, 100_003])
@pytest.mark.parametrize("way", ["list", "text", "pieces"])
def test_bytes_cross_each_way(drive: Drive, way: str, size: int) -> None:
    driver = drive()
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    tensor = make(driver, way, data)
    assert driver.read_tensor(tensor) == ((size,), "U8", data)
    text = driver.data("bulk-data", tensor, 0)
    assert bulk.decode(text).tobytes() == data
    assert driver.data("bulk-data", tensor, size) == b""
    assert bulk.decode(driver.data("bulk-data", tensor, size // 2)).tobytes() == data[size // 2 :]
    driver.call("drop-tensor", tensor)
    assert driver.state.held == 0


def test_a_tensor_over_one_piece(drive: Drive) -> None:
    driver = drive()
    size = bulk.PIECE + 5
    text = driver.put(bytes([0x01]) * 65536)
    driver.call("tensor-begin", size)
    left = size
    while left:
        part = min(left, 65536)
        driver.call("tensor-push", text, part, text, bulk.high_size(part))
        left -= part
    tensor = driver.call("bulk-tensor", 1024, 0, 4, 0, 0, 0, 0)
    held = driver.state.tensors[0]
    assert len(held.data) == size
    driver.call("reset")
    out = driver.out()
    for start, count in ((0, bulk.PIECE), (bulk.PIECE, 5), (size, 0)):
        driver.call("reset")
        driver.call("bulk-data", tensor, start, out)
        assert driver.words(out, 2)[1] == bulk.text_size(count)


@pytest.mark.parametrize("builders", [1, 3])
def test_a_model_in_pieces(drive: Drive, builders: int) -> None:
    driver = drive(graphs={})
    model = models.identity()
    parts = [model] if builders == 1 else [model, b"", b"rest"]
    for each in parts:
        driver.call("graph-begin", len(each))
        for start in range(0, len(each), 70):
            driver.call("graph-push", *piece(driver, each[start : start + 70]))
    out = driver.out()
    driver.call("bulk-load", 1, 0, out)
    kind, value = driver.result(out)
    assert driver.state.graph_buffers.count == 0
    if builders == 1:
        assert kind == "ok"
        assert np.array_equal(driver.infer(driver.init(value)[1], {"x": A}, "y"), A)
    else:
        assert kind != "ok"


def test_a_tensor_that_would_fill_the_hosts_memory_is_not_listed(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wasinn.abi.component.tensor_functions.MAX_LISTED", 1000)
    driver = drive()
    assert driver.read_tensor(make(driver, "text", bytes(1000)))[2] == bytes(1000)
    with traps("1001 bytes for a component that was not rewritten"):
        driver.read_tensor(make(driver, "text", bytes(1001)))


@every(SNAPSHOTS)
def test_a_list_over_the_runtimes_limit_passes_through_the_adapter(drive: Drive, snapshot: Snapshot) -> None:
    driver = drive(snapshot, private=False, rewritten=True)
    for size in (2_900_000, bulk.PIECE, 2 * bulk.PIECE + 1):
        tensor = driver.call("tensor-new", 1024, 0, 4, 0, size)
        (held,) = driver.state.tensors.values()
        out = driver.out()
        driver.call("reset")
        driver.call("tensor-data", tensor, out)
        pointer, found = driver.words(out, 2)
        assert found == len(held.data) == size
        assert driver.get(pointer + size - 1000, 1000) == held.data[-1000:].tobytes()
        driver.call("reset")
        driver.call("drop-tensor", tensor)
    assert driver.state.held == 0
    assert driver.state.tensor_buffers.held == 0


def test_a_list_over_the_runtimes_limit_is_explained(drive: Drive) -> None:
    driver = drive(private=False)
    assert driver.call("tensor-new", 1024, 1, 4, 0, 2_700_000)
    with pytest.raises(wasmtime.WasmtimeError) as caught:
        driver.call("tensor-new", 1024, 1, 4, 0, 2_900_000)
    explained = hosting.explain_trap(str(caught.value))
    assert explained is not None
    assert "2.79 MB" in explained
    assert "load-by-name" in explained
    assert hosting.explain_trap("wasm trap: unreachable") is None


# -- random calls --------------------------------------------------------------------------------------


@every(SNAPSHOTS)
def test_random_calls_end_in_answers_and_traps_only(drive: Drive, snapshot: Snapshot) -> None:
    """Any function with any small numbers: pointers to nonsense, handles of other types, what there is."""
    random = np.random.default_rng(5)
    table = [(row.export, row.arity) for row in rows(snapshot, True)]
    table += [(f"drop-{each}", 1) for each in ("tensor", "graph", "inference")]
    ends: list[str] = []
    for _ in range(15):
        driver = drive(snapshot)
        x = driver.put(b"x")
        driver.tensor([1, 4], A.tobytes()), driver.context("x"), driver.load_by_name("x")
        choices = [0, 1, 2, 3, 4, 1024, x, driver.out(), 7, 8, 16]
        try:
            for _ in range(40):
                name, arity = table[random.integers(len(table))]
                driver.call(name, *(int(random.choice(choices)) for _ in range(arity)))
        except wasmtime.WasmtimeError as error:
            ends.append(str(error))
        assert driver.state.exception is None
        driver.close()
        assert driver.state.held == 0
    assert len(ends) > 8
    assert not [end for end in ends if "in the host" in end]


# -- the host's own troubles --------------------------------------------------------------------------


def test_what_no_error_can_carry_is_kept_and_ends_the_guest(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> int:
        raise KeyboardInterrupt

    driver = drive()
    monkeypatch.setattr(driver.state.host, "load_by_name", fail)
    with traps("KeyboardInterrupt in the host"):
        driver.load_by_name("x")
    assert isinstance(driver.state.exception, KeyboardInterrupt)


def test_an_unexpected_exception_is_an_error_of_the_guests(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> int:
        raise ZeroDivisionError("why")

    driver = drive()
    monkeypatch.setattr(driver.state.host, "load_by_name", fail)
    assert driver.load_by_name("x") == ("runtime-error", "ZeroDivisionError: why")
    assert driver.state.exception is None

    def no_memory(*_: Any) -> int:
        raise MemoryError

    monkeypatch.setattr(driver.state.host, "load_by_name", no_memory)
    assert driver.load_by_name("x")[0] == "too-large"


def test_a_destructor_that_fails_ends_the_guest(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = drive()
    context = driver.context("x")

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(driver.state.host, "finalize_execution_context", fail)
        with traps("ZeroDivisionError in the host"):
            driver.call("drop-inference", context)
    assert isinstance(driver.state.exception, ZeroDivisionError)
    assert not driver.state.contexts


def test_a_thread_without_an_instance_traps(drive: Drive) -> None:
    driver = drive()
    function = driver.instance.get_func(driver.store, "tensor-begin")
    assert function is not None
    with traps("KeyError in the host"):
        function(driver.store, 1)


def test_two_threads_and_two_hundred_runs(engine: Engine) -> None:
    """Each run has its own instance and state; all share one linker."""
    problems: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for number in range(100):
                driver = ComponentDriver(engine, SNAPSHOTS[number % len(SNAPSHOTS)], GRAPHS)
                context = driver.context("add")
                a = np.full((1, 4), seed * 1000 + number, np.float32)
                found = driver.infer(context, {"a": a, "b": B}, "difference")
                assert np.array_equal(found, a - B)
                if number % 3:
                    driver.call("drop-inference", context)
                    assert driver.state.held == 0
                driver.close()
                assert driver.state.held == 0
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert not hosting.running


def test_the_allocator_is_the_operators_to_choose() -> None:
    code = "from wasinn.abi.component.allocator import keep_freed_memory as k; print(k(), k())"

    def run(**environment: str) -> str:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MALLOC_", "GLIBC_", "WASINN_KEEP"))
        }
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, env=clean | environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    done = platform.libc_ver()[0] == "glibc"
    assert run() == f"{done} {done}"
    assert run(MALLOC_TRIM_THRESHOLD_="100000") == "False False"
    assert run(GLIBC_TUNABLES="glibc.malloc.trim_threshold=100000") == "False False"
    assert run(WASINN_KEEP_FREED_MEMORY="0") == "False False"


def test_every_code_has_a_case_in_every_snapshot() -> None:
    from wasinn.abi.component.snapshots import error_case

    for snapshot in SNAPSHOTS:
        for code in ErrorCode:
            assert error_case(code, tuple(snapshot.codes)) in snapshot.codes
    assert error_case(ErrorCode.BUSY, tuple(SNAPSHOTS[-1].codes)) == "busy"
    assert error_case(ErrorCode.BUSY) == "runtime-error"
