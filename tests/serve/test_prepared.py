# SPDX-License-Identifier: Apache-2.0
"""Prepared stores: what they answer is what the ordinary way answers, and how one comes to the other."""

from __future__ import annotations

import asyncio
import gc
import logging
import struct
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import models
import wasinn
from served_guests import Models, data, served_models
from wasinn.abi.core.prepared import FUNCTIONS, can_be_prepared, stub_text
from wasinn.oip.messages import InferRequest, WireTensor
from wasinn.runtime import prepared, prepared_store
from wasinn.serve.errors import ServeError
from wasinn.serve.guest_messages import encode
from wasinn.serve.guest_model import ServedGuest

# Where the guest below keeps things.
NAME, HANDLES, DIMS, TENSOR, REQUEST = 16, 64, 128, 192, 65536
X = [*range(16)]
#: A model that gives -x of x [1,16].
NEGATED = models.onnx_model(
    [helper.make_node("Neg", ["x"], ["y"])],
    [("x", TensorProto.FLOAT, (1, 16))],
    [("y", TensorProto.FLOAT, (1, 16))],
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """What makes models of guests, and asks them; the graph "tiny" gives back its [1,16]."""
    yield from served_models(tmp_path_factory.mktemp("served"))


def sums(*values: float, name: str = "x") -> WireTensor:
    return WireTensor(name, "FP32", (1, 16), struct.pack("<16f", *values))


def five_calls(before: str = "", after: str = "", graph: str = "tiny", more: str = "") -> bytes:
    """A guest that answers with its request, the data of which has been through the graph. `before` and
    `after` the calls; local 0 is where the request lies."""
    request = encode([sums(*X)])[1] - 64
    tensor = struct.pack("<5I", DIMS, 2, 1, REQUEST + request, 64)
    calls = f"""
      (call $must (call $load (i32.const {NAME}) (i32.const {len(graph)}) (i32.const {HANDLES})))
      (call $must (call $open (i32.load (i32.const {HANDLES})) (i32.const {HANDLES + 4})))
      (call $must (call $set (i32.load (i32.const {HANDLES + 4})) (i32.const 0) (i32.const {TENSOR})))
      (call $must (call $compute (i32.load (i32.const {HANDLES + 4}))))
      (call $must (call $get (i32.load (i32.const {HANDLES + 4})) (i32.const 0)
        (i32.const {REQUEST + request}) (i32.const 64) (i32.const {HANDLES + 8})))"""
    return f"""(module
      (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
      (import "wasi_ephemeral_nn" "init_execution_context" (func $open (param i32 i32) (result i32)))
      (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
      (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
      (import "wasi_ephemeral_nn" "get_output" (func $get (param i32 i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 4)
      (global $used (mut i32) (i32.const 0))
      {data(NAME, graph.encode())} {data(DIMS, struct.pack("<2I", 1, 16))} {data(TENSOR, tensor)}
      {data(1000, struct.pack("<II", 1024, 6))} {data(1024, b"hello" + bytes([10]))} {more}
      (func $must (param i32) (if (local.get 0) (then (unreachable))))
      (func (export "wasinn_alloc") (param i32) (result i32) (i32.const {REQUEST}))
      (func (export "wasinn_handle") (param i32 i32) (result i64)
        {before} {calls} {after}
        (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32))
                (i64.extend_i32_u (local.get 1)))))""".encode()


#: The first number of the request, rounded down.
FIRST = f"(i32.trunc_f32_s (f32.load (i32.const {REQUEST + encode([sums(*X)])[1] - 64})))"


class Ways:
    """Counts the requests that a prepared store has answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prepared = 0
        answer = prepared_store.PreparedStore.answer

        def counted(store: Any) -> bytes:
            found = answer(store)
            self.prepared += 1
            return found

        monkeypatch.setattr(prepared_store.PreparedStore, "answer", counted)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    # On a busy machine a guest that is quick may take long by the clock.
    monkeypatch.setattr(prepared_store, "_TICKS", 10_000)
    return Ways(monkeypatch)


def values(served: Models, model: ServedGuest, *numbers: float) -> list[float]:
    (output,) = served.infer(model, sums(*numbers)).outputs
    return list(struct.unpack("<16f", output.data))


def test_from_the_second_request_on_they_answer(served: Models, ways: Ways) -> None:
    model = served.make(five_calls())
    for turn in range(50):
        wanted = [float(each + turn) for each in X]
        assert values(served, model, *wanted) == wanted
    assert ways.prepared == 49
    model.close()


@pytest.mark.parametrize("guest", ["@serve_tiny", "@serve_graph"])
def test_the_shipped_guests_are_answered_so(served: Models, ways: Ways, guest: str) -> None:
    model = served.make(guest, args=("tiny",))
    x = np.random.default_rng(1).random(16, np.float32)
    for _ in range(10):
        assert values(served, model, *x) == x.tolist()
    assert ways.prepared == 9
    model.close()


def test_each_request_has_a_fresh_instance(served: Models, ways: Ways) -> None:
    once = "(if (global.get $used) (then (unreachable))) (global.set $used (i32.const 1))"
    kept = "(if (i32.load (i32.const 3000)) (then (unreachable))) (i32.store (i32.const 3000) (i32.const 1))"
    model = served.make(five_calls(before=once + kept))
    for _ in range(40):
        assert values(served, model, *X) == X
    assert ways.prepared == 39
    model.close()


@pytest.mark.parametrize("what", ["compute", "get"])
def test_nothing_is_left_of_the_request_before(served: Models, ways: Ways, what: str) -> None:
    """A guest that leaves out what sets the input, or computes, is told so, whoever was asked before it."""
    skipped = {
        "compute": "(call $must (call $compute (i32.const 0)))",
        "get": f"""(call $must (call $get (i32.const 0) (i32.const 0) (i32.const {REQUEST}) (i32.const 64)
            (i32.const {HANDLES})))""",
    }[what]
    opened = f"""
      (call $must (call $load (i32.const {NAME}) (i32.const 4) (i32.const {HANDLES})))
      (call $must (call $open (i32.const 0) (i32.const {HANDLES})))"""
    model = served.make(five_calls(before=f"(if (i32.eq {FIRST} (i32.const 7)) (then {opened} {skipped}))"))
    for _ in range(5):
        assert values(served, model, *X) == X
    assert ways.prepared == 4
    error = served.refused(model, sums(7, *X[1:]))
    assert (error.status, error.kind) == (500, "trap_unreachable")
    model.close()


def test_what_a_guest_writes_is_in_the_log_once(
    served: Models, ways: Ways, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    says = "(drop (call $write (i32.const 2) (i32.const 1000) (i32.const 1) (i32.const 1016)))"
    after = f"(if (i32.eq {FIRST} (i32.const 7)) (then {says}))"
    model = served.make(five_calls(after=after))
    for first in (0, 1, 7, 2, 7):
        assert values(served, model, first, *X[1:]) == [first, *X[1:]]
    assert sum("hello" in record.getMessage() for record in caplog.records) == 2
    assert ways.prepared >= 1
    model.close()


def test_a_trap_is_told_as_in_the_ordinary_way(served: Models, ways: Ways) -> None:
    model = served.make(five_calls(after=f"(if (i32.eq {FIRST} (i32.const 7)) (then (unreachable)))"))
    error = served.refused(model, sums(7, *X[1:]))
    for _ in range(3):
        assert values(served, model, *X) == X
    again = served.refused(model, sums(7, *X[1:]))
    assert (again.status, again.kind, again.reason) == (error.status, error.kind, error.reason)
    assert ways.prepared == 2
    model.close()


def test_a_guest_that_runs_for_long_is_a_fiber_again(served: Models) -> None:
    """Others are answered meanwhile, and the deadline ends it."""
    forever = f"(if (i32.eq {FIRST} (i32.const 7)) (then (loop $l (br $l))))"
    model, other = served.make(five_calls(before=forever)), served.make(five_calls())
    for _ in range(3):
        assert values(served, model, *X) == X == values(served, other, *X)

    async def both() -> tuple[float, ServeError]:
        slow = asyncio.ensure_future(model.infer(InferRequest([sums(7, *X[1:])]), 0.6))
        began, longest = time.perf_counter(), 0.0
        while time.perf_counter() - began < 0.4:
            start = time.perf_counter()
            await other.infer(InferRequest([sums(*X)]), 30)
            longest = max(longest, time.perf_counter() - start)
            await asyncio.sleep(0.002)
        with pytest.raises(ServeError) as raised:
            await slow
        return longest, raised.value

    longest, error = served.loop.wait(both())
    assert (error.status, error.kind) == (504, "deadline")
    assert longest < 0.4
    model.close()
    other.close()


def test_dims_that_change_are_answered_all_the_same(served: Models, tmp_path: Path, ways: Ways) -> None:
    """Two shapes by turns: the one that was not learned goes the ordinary way."""
    (tmp_path / "open.onnx").write_bytes(models.identity(dims=("n", 16)))
    with wasinn.Host({"tiny": f"onnx:{tmp_path}/open.onnx?threads=1"}) as host:
        model = Models(host, served.loop, tmp_path).make("@serve_graph", args=("tiny",))
        for turn in range(12):
            rows = 1 + turn % 4 // 3
            tensor = WireTensor("x", "FP32", (rows, 16), bytes(range(64)) * rows)
            (output,) = served.infer(model, tensor).outputs
            assert (output.shape, bytes(output.data)) == ((rows, 16), tensor.data)
        assert 0 < ways.prepared < 12
        model.close()


def test_a_batching_graph_computes_their_requests_together(
    served: Models, tmp_path: Path, ways: Ways
) -> None:
    (tmp_path / "rows.onnx").write_bytes(models.identity(dims=("n", 16)))
    with wasinn.Host({"tiny": f"onnx:{tmp_path}/rows.onnx?threads=1&batch=true"}) as host:
        host.preload()
        graph: Any = host.registry.loaded("tiny")
        rows: list[int] = []
        graph.batched.on_batch = rows.append
        model = Models(host, served.loop, tmp_path).make(five_calls())
        assert values(served, model, *X) == X

        async def many() -> None:
            sent = [sums(each, *X[1:]) for each in range(24)]
            answers = await asyncio.gather(*(model.infer(InferRequest([each]), 30) for each in sent))
            assert [bytes(each.outputs[0].data) for each in answers] == [each.data for each in sent]

        served.loop.wait(many())
        assert ways.prepared == 24
        assert sum(rows) >= 25
        assert max(rows) > 1
        model.close()


def test_slow_graphs_compute_in_lanes(
    served: Models, ways: Ways, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No compute is quick here, so that each is in a lane; a deadline and a cancel end the wait for it."""
    monkeypatch.setattr("wasinn.graphs.timing._QUICK_SECONDS", 0.0)
    (tmp_path / "slow.onnx").write_bytes(models.identity(dims=(1, 16)))
    with wasinn.Host({"tiny": f"onnx:{tmp_path}/slow.onnx?threads=1"}) as host:
        model = Models(host, served.loop, tmp_path).make(five_calls())
        for _ in range(5):
            assert values(served, model, *X) == X
        assert ways.prepared == 4
        compute = prepared_store.PreparedStore.compute
        inside: list[int] = []

        def slow(store: Any) -> int:
            inside.append(1)
            time.sleep(0.3)
            return compute(store)

        monkeypatch.setattr(prepared_store.PreparedStore, "compute", slow)
        error = served.refused(model, sums(*X), deadline=0.05)
        assert (error.status, error.kind, error.reason) == (
            504,
            "deadline",
            "guest it: the deadline of 0.05 s passed",
        )

        async def cancelled() -> None:
            task = asyncio.ensure_future(model.infer(InferRequest([sums(*X)]), 30))
            while len(inside) < 2:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        served.loop.wait(cancelled())
        monkeypatch.setattr(prepared_store.PreparedStore, "compute", compute)
        time.sleep(0.4)
        assert values(served, model, *X) == X
        model.close()
    assert not prepared_store.working


def test_a_graph_that_is_loaded_anew_is_used(served: Models, tmp_path: Path, ways: Ways) -> None:
    file = tmp_path / "it.onnx"
    file.write_bytes(models.identity(dims=(1, 16)))
    with wasinn.Host({"tiny": f"onnx:{file}?threads=1"}) as host:
        model = Models(host, served.loop, tmp_path).make(five_calls())
        for _ in range(5):
            assert values(served, model, *X) == X
        file.write_bytes(NEGATED)
        assert host.unload("tiny")
        for _ in range(5):
            assert values(served, model, *X) == [-each for each in X]
        assert ways.prepared == 8
        model.close()


def test_an_unloaded_graph_is_let_go(served: Models, tmp_path: Path, ways: Ways) -> None:
    (tmp_path / "it.onnx").write_bytes(models.identity(dims=(1, 16)))
    with wasinn.Host({"tiny": f"onnx:{tmp_path}/it.onnx?threads=1"}) as host:
        model = Models(host, served.loop, tmp_path).make(five_calls())
        for _ in range(5):
            values(served, model, *X)
        graph: Any = host.registry.loaded("tiny")
        gone = weakref.ref(graph.graph)
        del graph
        host.unload("tiny")
        gc.collect()
        assert (ways.prepared, gone()) == (4, None)
        model.close()


def test_there_are_not_too_many(served: Models, ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "_MAX_OPEN", 2)
    prepared.forget_prepared()
    several = [served.make(five_calls()) for _ in range(5)]
    for _ in range(4):
        for model in several:
            assert values(served, model, *X) == X
    assert ways.prepared == 15
    assert prepared._all._open <= 2
    for model in several:
        model.close()
    assert prepared._all._open == 0


def test_what_can_not_be_prepared() -> None:
    five = {each: (("i32",) * count, ("i32",)) for each, count in [*FUNCTIONS.items()][:5]}
    assert can_be_prepared(five)
    assert not can_be_prepared({each: five[each] for each in [*five][:4]})
    assert not can_be_prepared({**five, next(iter(five)): (("i64",), ("i32",))})
    assert "unreachable" in stub_text({("a", "b"): (("f64", "i64"), ("f32",))})
