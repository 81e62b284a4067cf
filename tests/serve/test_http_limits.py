# SPDX-License-Identifier: Apache-2.0
"""What the server refuses, ends and survives: too many requests, too large or slow ones, callers that go."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
import wasinn
from serving import Serving, tensor
from wasinn.oip.messages import InferRequest, InferResponse
from wasinn.serve.admission import Gate
from wasinn.serve.errors import ServeError
from wasinn.serve.repository import Slot
from wasinn.serve.settings import Settings

X4 = tensor("x", "FP32", [1, 4], [1, 2, 3, 4])


def host_of(**graphs: bytes) -> wasinn.Host:
    return wasinn.Host(graphs={name: wasinn.GraphSource.from_bytes(each) for name, each in graphs.items()})


def until(condition: Callable[[], object]) -> None:
    """Waits for what must come soon; how soon is not asked."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


class Held:
    """A model that answers when it is told to: what is tried here is what stands before a model."""

    name, kind = "held", "graph"

    def __init__(self) -> None:
        self.inside = self.cancelled = self.closed = 0
        self.open = asyncio.Event()
        self.deadlines: list[float] = []

    def metadata(self) -> dict[str, Any]:
        return {"name": self.name, "inputs": [], "outputs": []}

    async def infer(self, request: InferRequest, deadline: float) -> InferResponse:
        self.deadlines.append(deadline)
        self.inside += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1
        return InferResponse(self.name, (), "1", request.id)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    settings = Settings(
        access_log="off",
        console=False,
        max_body=1 << 16,
        max_concurrency=2,
        max_queue=2,
        queue_timeout=0.2,
        body_timeout=0.3,
        deadline=60,
    )
    # `held` is in the registry, so that it has a name; `hold` puts another model into its place.
    with Serving(host_of(same=models.identity(), held=models.identity()), settings) as serving:
        yield serving


@pytest.fixture
def held(server: Serving) -> Iterator[Held]:
    entry = server.frontend.repository.entries["held"]
    real = entry.slot
    model: Held = server.call(Held)
    entry.slot = Slot(model)
    yield model
    server.call(model.open.set)
    until(lambda: server.frontend.in_flight == 0)
    entry.slot = real


def ask(server: Serving, **parameters: object) -> Any:
    return server.post("/v2/models/held/infer", {"inputs": [], "parameters": parameters})


# -- how many ---------------------------------------------------------------------------------------------


def test_beyond_the_queue_is_429_with_the_time_to_wait(server: Serving, held: Held) -> None:
    gate = server.frontend.repository.entries["held"].gate
    with ThreadPoolExecutor(4) as callers:
        running = [callers.submit(ask, server) for _ in range(2)]
        until(lambda: held.inside == 2)
        waiting = [callers.submit(ask, server) for _ in range(2)]
        until(lambda: gate.waiting == 2)
        # Refused before the body is there: it never comes.
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(b"POST /v2/models/held/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            head = connection.recv(65536).lower()
        assert b" 429 " in head
        assert b"retry-after: 1\r\n" in head
        assert server.infer("same", X4).status == 200  # its gate is its own
        # Who waits longer than is allowed gets 503; who runs is answered.
        assert {each.result().status for each in waiting} == {503}
        server.call(held.open.set)
        assert {each.result().status for each in running} == {200}
    assert (gate.running, gate.waiting) == (0, 0)


def test_who_waits_comes_in_when_one_is_done(server: Serving, held: Held) -> None:
    with ThreadPoolExecutor(4) as callers:
        asked = [callers.submit(ask, server) for _ in range(4)]
        until(lambda: server.frontend.repository.entries["held"].gate.waiting == 2)
        server.call(held.open.set)
        assert {each.result().status for each in asked} == {200}


@given(st.integers(1, 3), st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_gate_loses_no_place(most: int, room: int, choose: random.Random) -> None:
    """Callers come, leave and are cancelled in any order: no more than `most` are inside, none waits beside
    a free place, and those who wait come in in their order."""

    async def play() -> None:
        gate = Gate("model", most, room, 100.0)
        inside: dict[int, asyncio.Event] = {}
        order: list[int] = []
        tasks: dict[int, asyncio.Task[None]] = {}

        async def visit(number: int) -> None:
            if not gate.try_enter():
                await gate.enter()
                order.append(number)
            inside[number] = asyncio.Event()
            try:
                assert len(inside) <= most
                await inside[number].wait()
            finally:
                del inside[number]
                gate.leave()

        for number in range(40):
            action = choose.random()
            if action < 0.5:
                tasks[number] = asyncio.ensure_future(visit(number))
                tasks[number].add_done_callback(lambda task: task.cancelled() or task.exception())
            elif action < 0.75 and inside:
                inside[choose.choice(sorted(inside))].set()
            elif tasks:
                tasks[choose.choice(sorted(tasks))].cancel()
            for _ in range(choose.randrange(3)):
                await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert gate.running == len(inside)
        assert gate.running == most or gate.waiting == 0
        assert order == sorted(order)
        while not all(task.done() for task in tasks.values()):
            for each in list(inside.values()):
                each.set()
            await asyncio.sleep(0)
        refused = [task.exception() for task in tasks.values() if not task.cancelled()]
        assert all(each is None or (isinstance(each, ServeError) and each.status == 429) for each in refused)
        assert (gate.running, gate.waiting) == (0, 0)

    asyncio.run(play())


# -- bodies -----------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_413(server: Serving) -> None:
    path, large = "/v2/models/same/infer", bytes((1 << 16) + 1)
    found = server.request("POST", path, large)
    assert (found.status, "65537 bytes" in found.error) == (413, True)
    connection = server.connect()
    try:
        connection.request("POST", path, iter([large[:40000], large[40000:], bytes(9)]), encode_chunked=True)
        assert connection.getresponse().status == 413
    finally:
        connection.close()
    exact = json.dumps({"inputs": [X4]}).encode().ljust(1 << 16)
    assert server.request("POST", path, exact).status == 200


def test_a_body_in_chunks(server: Serving) -> None:
    body = json.dumps({"inputs": [X4]}).encode()
    connection = server.connect()
    try:
        for _ in range(2):  # on one connection
            pieces = iter([body[:5], body[5:20], body[20:]])
            connection.request("POST", "/v2/models/same/infer", pieces, encode_chunked=True)
            answer = connection.getresponse()
            assert json.loads(answer.read())["outputs"][0]["data"] == [1, 2, 3, 4]
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/v2/models/same/infer", "/v2/repository/index"])
def test_a_body_that_does_not_come_is_408(server: Serving, path: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n".encode() + b"{")
        head = connection.recv(65536)
    assert b" 408 " in head


def test_all_bodies_together_have_a_limit() -> None:
    from wasinn.serve.body import Body, Budget

    async def nothing() -> dict[str, Any]:
        raise AssertionError("no byte was to be read")

    budget = Budget(1 << 20)
    first, second = Body(nothing, 1 << 20, budget), Body(nothing, 1 << 20, budget)
    first.expect(b"800000")
    with pytest.raises(ServeError, match="all together") as refused:
        second.expect(b"800000")
    assert refused.value.status == 429
    first.free()
    first.free()
    second.expect(b"800000")
    second.free()
    assert budget.held == 0


# -- ends -------------------------------------------------------------------------------------------------


def test_a_caller_that_goes_ends_its_request(server: Serving, held: Held) -> None:
    body = json.dumps({"inputs": []}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = f"POST /v2/models/held/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        until(lambda: held.inside == 1)
    until(lambda: held.cancelled == 1)
    until(lambda: server.frontend.in_flight == 0)
    assert server.frontend.repository.entries["held"].gate.running == 0
    assert b'wasinn_requests_total{model="held",status="499"}' in server.get("/metrics").body


def test_a_caller_may_shorten_the_deadline(server: Serving, held: Held) -> None:
    server.call(held.open.set)
    assert ask(server).status == 200
    assert ask(server, timeout=250_000).status == 200
    assert ask(server, timeout=10**12).status == 200
    assert held.deadlines == [60, 0.25, 60]


def test_a_compute_ends_at_the_deadline_and_the_next_one_works() -> None:
    settings = Settings(access_log="off", console=False, deadline=0.3)
    data = [0.5] * (256 * 256)
    x = tensor("x", "FP32", [256, 256], data)
    with Serving(host_of(slow=models.slow(10**9), same=models.identity()), settings) as server:
        found = server.infer("slow", x)
        assert (found.status, "the deadline passed" in found.error) == (504, True)
        assert server.infer("same", X4).status == 200
        pool = server.frontend.repository.entries["slow"].model.pool
        until(lambda: pool.given_up == 0)
        assert (pool.used, pool.idle) == (0, 0)
        assert server.infer("slow", x).status == 504


def test_others_are_answered_while_one_computes_and_its_caller_may_go() -> None:
    settings = Settings(access_log="off", console=False)
    x = tensor("x", "FP32", [256, 256], [0.5] * (256 * 256))
    body = json.dumps({"inputs": [x]}).encode()
    with Serving(host_of(slow=models.slow(10**9), same=models.identity()), settings) as server:
        pool = server.frontend.repository.entries["slow"].model.pool
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            head = f"POST /v2/models/slow/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            until(lambda: pool.used == 1)
            for _ in range(5):
                assert server.infer("same", X4).status == 200
            assert server.frontend.in_flight == 1
        until(lambda: server.frontend.in_flight == 0 and pool.used == 0)  # the compute has ended, too


def test_a_drain_answers_what_runs_and_refuses_what_comes(held: Held, server: Serving) -> None:
    with ThreadPoolExecutor(1) as callers:
        running = callers.submit(ask, server)
        until(lambda: held.inside == 1)
        server.call(server.frontend.begin_drain)
        try:
            refused = server.infer("same", X4)
            assert (refused.status, refused.headers["Connection"]) == (503, "close")
            assert server.get("/v2/health/ready").status == 400
            assert server.get("/v2/health/live").status == 200
            assert server.wait(server.frontend.drain(0.01)) == 1
            server.call(held.open.set)
            assert running.result().status == 200
            assert server.wait(server.frontend.drain(20)) == 0
        finally:
            server.frontend.draining = False


# -- models that come and go ------------------------------------------------------------------------------


def test_unload_and_load(server: Serving) -> None:
    registry = server.host.registry
    assert registry.loaded("same") is not None
    assert server.post("/v2/repository/models/same/unload", {}).status == 200
    assert registry.loaded("same") is None
    refused = server.infer("same", X4)
    assert (refused.status, refused.error) == (404, "model 'same' is not ready: unloaded")
    assert server.get("/v2/models/same/ready").status == 400
    assert server.get("/v2/health/ready").status == 200  # it is as somebody wanted it
    index = {each["name"]: each["state"] for each in server.post("/v2/repository/index", {}).json()}
    assert index == {"same": "UNAVAILABLE", "held": "READY"}
    ready = server.post("/v2/repository/index", {"ready": True}).json()
    assert [each["name"] for each in ready] == ["held"]
    assert server.post("/v2/repository/models/same/load").status == 200
    assert server.infer("same", X4).status == 200


def test_unload_waits_for_the_requests_under_way(server: Serving, held: Held) -> None:
    with ThreadPoolExecutor(2) as callers:
        running = callers.submit(ask, server)
        until(lambda: held.inside == 1)
        unloading = callers.submit(server.post, "/v2/repository/models/held/unload", {})
        until(lambda: server.frontend.repository.entries["held"].state == "UNAVAILABLE")
        assert ask(server).status == 404
        assert (held.closed, unloading.done()) == (0, False)
        server.call(held.open.set)
        assert running.result().status == 200
        assert unloading.result().status == 200
    assert held.closed == 1
    assert server.post("/v2/repository/models/held/load").status == 200


def test_a_load_that_fails_leaves_the_model_that_is_there(tmp_path: Any) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(models.identity())
    host = wasinn.Host(graphs={"same": f"onnx:{file}"})
    with Serving(host) as server:
        file.write_bytes(b"nothing")
        refused = server.post("/v2/repository/models/same/load")
        assert refused.status == 400
        assert refused.error.startswith("model 'same' could not be loaded: ")
        assert refused.error.endswith("; the one that was loaded before is still served")
        assert server.infer("same", X4).status == 200
        node = helper.make_node("Neg", ["x"], ["y"])
        ports = [("x", TensorProto.FLOAT, (1, 4))], [("y", TensorProto.FLOAT, (1, 4))]
        file.write_bytes(models.onnx_model([node], *ports))
        assert server.post("/v2/repository/models/same/load").status == 200
        assert server.infer("same", X4).json()["outputs"][0]["data"] == [-1, -2, -3, -4]


def test_what_the_repository_refuses(server: Serving) -> None:
    assert server.post("/v2/repository/models/nix/load").status == 404
    changed = server.post("/v2/repository/models/same/load", {"parameters": {"config": "{}"}})
    assert (changed.status, "'config'" in changed.error) == (400, True)
    assert server.post("/v2/repository/index", {"ready": 1}).status == 400
    assert server.request("POST", "/v2/repository/index", b"{").status == 400
    settings = Settings(access_log="off", console=False, repository=False)
    with Serving(host_of(same=models.identity()), settings) as closed:
        for action in ("load", "unload"):
            assert closed.post(f"/v2/repository/models/same/{action}").status == 403
        assert closed.infer("same", X4).status == 200


def test_reloads_under_load_lose_no_request(server: Serving) -> None:
    stop, statuses = threading.Event(), []

    def ask_on() -> None:
        while not stop.is_set():
            statuses.append(server.infer("same", X4).status)

    with ThreadPoolExecutor(2) as callers:
        asking = [callers.submit(ask_on) for _ in range(2)]
        try:
            for _ in range(5):
                assert server.post("/v2/repository/models/same/load").status == 200
        finally:
            stop.set()
        for each in asking:
            each.result()
    assert set(statuses) == {200}


# -- what one request leaves to the next --------------------------------------------------------------------


def test_an_optional_input_is_not_kept_for_the_next_request() -> None:
    """What a caller sends must never come into another's answer."""
    from wasinn.serve.pool import Pool
    from wasinn.spec import TensorType
    from wasinn.tensors import TensorSpec

    class Execution:
        closed = False

        def close(self) -> None:
            self.closed = True

    class Graph:
        outputs = ()

        def __init__(self, optional: bool) -> None:
            self.inputs = (TensorSpec("x", TensorType.F32, (1,), optional=optional),)

        def open(self) -> Any:
            return Execution()

    for optional in (False, True):
        pool = Pool(Graph(optional), keeps=True)
        assert pool.take() is None
        execution = pool.open()
        pool.put_back(execution, True)
        assert (pool.used, pool.idle, execution.closed) == (0, int(not optional), optional)
