# SPDX-License-Identifier: Apache-2.0
"""Graphs on other servers: against `wasinn serve` itself over both protocols, and against a server that does
all that a server should not."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
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
from onnx import TensorProto

import models
import wasinn
from conftest import MakeDriver, Run
from other_server import OtherServer, answer
from wasinn import ConfigError, ErrorCode, GraphSource, WasiNNError, shipped
from wasinn.backends import oip_http
from wasinn.backends.base import Model, Remote
from wasinn.backends.oip import OipBackend, OipGraph, _warn_of_open_token
from wasinn.backends.oip_ports import read_ports
from wasinn.oip import rest
from wasinn.oip.address import parse_address
from wasinn.oip.datatypes import pack_bytes
from wasinn.oip.messages import WireTensor
from wasinn.runtime.direct import DirectGraph
from wasinn.spec import Encoding, Target, TensorType
from wasinn.tensors import Tensor

TYPES = {
    "bool": (TensorProto.BOOL, TensorType.BOOL),
    "u8": (TensorProto.UINT8, TensorType.U8),
    "i16": (TensorProto.INT16, TensorType.I16),
    "i64": (TensorProto.INT64, TensorType.I64),
    "u64": (TensorProto.UINT64, TensorType.U64),
    "f16": (TensorProto.FLOAT16, TensorType.F16),
    "bf16": (TensorProto.BFLOAT16, TensorType.BF16),
    "f64": (TensorProto.DOUBLE, TensorType.F64),
}
PROTOCOLS = ("http", "grpc")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of wasinn's own, in this process."""
    for module in ("starlette", "uvicorn", "grpc", "prometheus_client"):
        pytest.importorskip(module, reason=f"{module} is not installed: wasinn[serve]")
    sys.path.append(str(Path(__file__).parent / "serve"))
    from grpc_serving import GrpcServing, text_guest
    from wasinn.serve.settings import DeclaredTensor, Settings

    text = DeclaredTensor("xx", "BYTES", (1,))
    guest = text_guest(tmp_path_factory.mktemp("guest"), inputs=(text,), outputs=(text,))
    graphs = {name: models.identity(number, (2, None)) for name, (number, _) in TYPES.items()}
    graphs |= {"add": models.add((None, 4)), "slow": models.slow(20_000)}
    settings = Settings(access_log="off", console=False, guests={"text": guest}, deadline=20)
    graphs["digits"] = shipped.resolve("@digits.onnx", "models").read_bytes()
    with GrpcServing(graphs, settings) as server:
        yield server


@pytest.fixture(params=PROTOCOLS)
def at(request: pytest.FixtureRequest, serving: Any) -> Callable[[str], str]:
    """The URL of a model, over one protocol and the other."""
    port = serving.port if request.param == "http" else serving.grpc.port
    return lambda model: f"{request.param}://127.0.0.1:{port}/{model}"


@pytest.fixture
def server() -> Iterator[OtherServer]:
    with OtherServer() as other:
        yield other


def load(url: str, **options: Any) -> OipGraph:
    source = GraphSource.from_url(url, **{"retries": 0, "timeout": 10, **options})
    graph = OipBackend().load(source.model, Encoding.AUTODETECT, Target.CPU, source.options)
    assert isinstance(graph, OipGraph)
    return graph


def compute(graph: OipGraph, *arrays: Any) -> list[Any]:
    execution = graph.open()
    for index, array in enumerate(arrays):
        tensor = array if isinstance(array, Tensor) else Tensor.of(np.asarray(array))
        execution.set_input(index, tensor)
    execution.compute()
    found = [execution.output(index).numpy().copy() for index in range(len(graph.outputs))]
    execution.close()
    return found


def fails(call: Callable[[], Any], code: ErrorCode = ErrorCode.RUNTIME_ERROR) -> str:
    with pytest.raises(WasiNNError) as caught:
        call()
    assert caught.value.code is code, caught.value
    return caught.value.reason


X = np.array([1, 2.5, -3], "<f4")


# -- against wasinn serve ------------------------------------------------------------------------------


def test_a_model_on_another_server_is_as_it_is_here(at: Callable[[str], str]) -> None:
    here = DirectGraph("digits", GraphSource.from_files("@digits.onnx"))
    there = DirectGraph("digits", GraphSource.from_url(at("digits")))
    assert [(each.name, each.type, each.dims) for each in here.inputs] == [
        (each.name, each.type, each.dims) for each in there.inputs
    ]
    picture = np.random.default_rng(1).random([dim or 1 for dim in here.inputs[0].dims or ()], "f4")
    mine, other = (graph.infer({0: Tensor.of(picture)}).outputs[0] for graph in (here, there))
    np.testing.assert_array_equal(mine, other)
    here.close()
    there.close()


def test_several_inputs_and_outputs_and_open_dimensions(at: Callable[[str], str]) -> None:
    graph = load(at("add"))
    assert graph.inputs[0].dims == (None, 4)
    for rows in (1, 3):
        a, b = np.full((rows, 4), 5, "<f4"), np.ones((rows, 4), "<f4")
        total, difference = compute(graph, a, b)
        np.testing.assert_array_equal(total, a + b)
        np.testing.assert_array_equal(difference, a - b)


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_types_come_back_bit_by_bit(at: Callable[[str], str], kind: str) -> None:
    graph = load(at(kind))
    wanted = TYPES[kind][1]
    assert graph.inputs[0].type is wanted
    data = bytes(range(1, 1 + 6 * wanted.size)) if wanted is not TensorType.BOOL else b"\0\1\1\0\0\1"
    execution = graph.open()
    execution.set_input(0, Tensor((2, 3), wanted, memoryview(data)))
    execution.compute()
    got = execution.output(0)
    assert (got.dims, got.type, bytes(got.data)) == ((2, 3), wanted, data)


def test_a_text_is_the_content_of_one_element(at: Callable[[str], str]) -> None:
    graph = load(at("text"))
    assert (graph.inputs[0].type, graph.inputs[0].dims) == (TensorType.U8, None)
    (got,) = compute(graph, np.frombuffer("grüße".encode(), np.uint8))
    assert bytes(got) == "grüße".encode()
    # What the server's guest refuses is the compute's error, with its words.
    assert "the guest says no" in fails(lambda: compute(graph, np.frombuffer(b"no", np.uint8)))


def test_a_model_that_is_not_there_is_not_found(at: Callable[[str], str]) -> None:
    assert "missing" in fails(lambda: load(at("missing")), ErrorCode.NOT_FOUND)


def test_an_error_of_the_server_keeps_its_words(at: Callable[[str], str]) -> None:
    graph = load(at("add"))
    said = fails(lambda: compute(graph, np.ones((1, 5), "<f4"), np.ones((1, 4), "<f4")))
    assert "[1,5]" in said
    assert at("add") in said


def test_many_threads_share_a_graph_and_get_their_own_answers(at: Callable[[str], str]) -> None:
    graph = load(at("add"))

    def one(number: int) -> bool:
        a = np.full((1, 4), number, "<f4")
        total, difference = compute(graph, a, a)
        return bool((total == 2 * number).all() and (difference == 0).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(64)))


def test_an_interrupt_ends_the_wait_and_the_guest_over_there(serving: Any, at: Callable[[str], str]) -> None:
    graph = load(at("slow"))
    execution = graph.open()
    execution.set_input(0, Tensor.of(np.ones((256, 256), "<f4")))
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(fails(execution.compute)))
    thread.start()
    serving.wait_for_requests(1)
    execution.interrupt()
    thread.join(5)
    assert not thread.is_alive()
    assert "was ended" in said[0]
    assert "was ended" in fails(execution.compute)
    assert serving.is_idle(), "the server goes on for nobody"


def test_a_guest_uses_such_a_graph_by_name(drive: MakeDriver, at: Callable[[str], str]) -> None:
    driver = drive({"add": GraphSource.from_url(at("add"))})
    context = driver.open("add")
    for index in (0, 1):
        assert driver.set_f32(context, index, np.ones((1, 4), "<f4")) == 0
    assert driver.compute(context) == 0
    assert driver.get_f32(context, 0) == [2.0] * 4


def test_the_deadline_of_a_guest_ends_its_compute(
    drive: MakeDriver, serving: Any, at: Callable[[str], str]
) -> None:
    """The guest's thread is inside the call to the other server, which takes far longer."""
    driver = drive({"slow": GraphSource.from_url(at("slow"))}, limits=wasinn.Limits(deadline=0.3))
    context = driver.open("slow")
    driver.set_f32(context, 0, np.ones((256, 256), "<f4"))
    with contextlib.suppress(wasinn.GuestTrap):  # which comes where the guest runs on after the errno
        assert driver.compute(context) == ErrorCode.RUNTIME_ERROR
    assert serving.is_idle(), "the server goes on for nobody"


def test_the_tools_take_such_graphs(run: Run, tmp_path: Path, at: Callable[[str], str]) -> None:
    graph = f"oip:{at('add')}?timeout=10"
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.full((1, 4), 3, "<f4"))
    text = run("inspect", graph)
    assert at("add") in text
    assert "difference" in text
    (report,) = json.loads(run("inspect", "--json", graph))
    assert report["platform"] == "oip"
    given = (f"--input=a={tmp_path / 'a.npy'}", f"--input=b={tmp_path / 'b.npy'}")
    assert "6" in run("infer", graph, *given)
    missing = run("inspect", f"oip:{at('missing')}?retries=0", fails=1)
    assert missing == ""


def test_compare_holds_a_graph_there_against_one_here(
    run: Run, tmp_path: Path, at: Callable[[str], str]
) -> None:
    contract = shipped.ROOT / "models" / "digits.onnx.contract.toml"
    report = tmp_path / "report.json"
    sides = [f"@digits.onnx?contract={contract}", f"oip:{at('digits')}?contract={contract}"]
    picture = shipped.ROOT / "pictures" / "four.png"
    run("compare", picture, "--graph", sides[0], "--graph", sides[1], "--json", report)
    first, second = json.loads(report.read_text())["sides"]
    assert (first["backend"], second["backend"], second["name"]) == ("onnxruntime", "oip", "digits")
    assert second["largest"] == 0


# -- what goes wrong between here and there ------------------------------------------------------------


def test_connections_are_kept_and_shared(server: OtherServer) -> None:
    graph = load(server.url)
    for _ in range(5):
        np.testing.assert_array_equal(compute(graph, X)[0], X)
    assert server.connections == 1


def test_a_server_without_the_binary_extension_is_sent_json() -> None:
    with OtherServer(binary=False) as server:
        graph = load(server.url)
        np.testing.assert_array_equal(compute(graph, X)[0], X)
        path, headers = server.requests[-1]
        assert path == "/v2/models/m/infer"
        assert headers["Content-Type"] == "application/json"
        assert rest.HEADER_LENGTH not in headers


def test_a_connection_that_was_closed_while_idle_costs_nothing(server: OtherServer) -> None:
    graph = load(server.url)

    def last(handler: Any, body: bytes) -> Any:
        handler.close_connection = True  # and does not say so
        return server.echo(handler, body)

    server.infer = last
    for _ in range(3):
        np.testing.assert_array_equal(compute(graph, X)[0], X)


def test_what_fails_on_the_way_is_tried_again_as_often_as_said(server: OtherServer) -> None:
    graph = load(server.url, retries=2)
    asked = 0

    def third(handler: Any, body: bytes) -> Any:
        nonlocal asked
        asked += 1
        return server.echo(handler, body) if asked % 4 == 0 else None

    server.infer = third
    graph.client._idle.clear()  # type: ignore[attr-defined]
    asked = 1
    np.testing.assert_array_equal(compute(graph, X)[0], X)
    assert asked == 4
    server.infer = lambda handler, body: None
    said = fails(lambda: compute(graph, X))
    assert "it was closed without an answer (3 attempts in" in said


def test_an_error_is_not_tried_again(server: OtherServer) -> None:
    graph = load(server.url, retries=5)
    server.infer = lambda handler, body: answer(503, {"error": "the queue is full"})
    before = len(server.requests)
    assert "answered 503: the queue is full" in fails(lambda: compute(graph, X))
    assert len(server.requests) == before + 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_is_not_there(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    said = fails(lambda: load(f"{protocol}://127.0.0.1:{port}/m", retries=1))
    assert f"{protocol}://127.0.0.1:{port} cannot be reached" in said
    assert "(2 attempts in" in said


def test_a_server_that_dies_and_comes_back_over_http() -> None:
    with OtherServer() as server:
        graph = load(server.url, retries=1)
        compute(graph, X)
    assert "cannot be reached" in fails(lambda: compute(graph, X))
    with OtherServer(server.port):
        np.testing.assert_array_equal(compute(graph, X)[0], X)


def test_a_server_that_dies_and_comes_back_over_grpc() -> None:
    server, port = start_grpc()
    graph = load(f"grpc://127.0.0.1:{port}/m", retries=3)
    np.testing.assert_array_equal(compute(graph, X)[0], X)
    server.stop(0).wait()
    quick = load_like(graph, retries=0)
    assert "cannot be reached" in fails(lambda: compute(quick, X))
    server, _ = start_grpc(port)
    np.testing.assert_array_equal(compute(graph, X)[0], X)
    server.stop(0).wait()


def test_a_grpc_server_is_reached_at_once_though_a_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server, port = start_grpc()
    np.testing.assert_array_equal(compute(load(f"grpc://127.0.0.1:{port}/m", retries=0), X)[0], X)
    server.stop(0).wait()


def test_a_grpc_server_that_is_far_away_is_reached() -> None:
    server, port = start_grpc()
    with socket.create_server(("127.0.0.1", 0)) as front:

        def forward(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 16):
                    time.sleep(0.4)
                    target.sendall(data)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = front.accept()
                    far = socket.create_connection(("127.0.0.1", port))
                    for ends in ((near, far), (far, near)):
                        threading.Thread(target=forward, args=ends, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        far_port = front.getsockname()[1]
        load(f"grpc://127.0.0.1:{far_port}/m", retries=0, timeout=10)
        front.shutdown(socket.SHUT_RDWR)
    server.stop(0).wait()


def test_a_call_that_a_grpc_server_drops_is_tried_again() -> None:
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed: wasinn[oip]")
    drops = iter([True, True, False])

    def drop(context: Any) -> None:
        if next(drops):
            context.abort(grpc.StatusCode.CANCELLED, "the server shuts down")

    server, port = start_grpc(before=drop)
    graph = load(f"grpc://127.0.0.1:{port}/m", retries=1)
    quick = load_like(graph, retries=0)
    assert "dropped the call: the server shuts down" in fails(lambda: compute(quick, X))
    np.testing.assert_array_equal(compute(graph, X)[0], X)
    server.stop(0).wait()


def start_grpc(
    port: int = 0, credentials: Any = None, before: Callable[[Any], None] = lambda context: None
) -> tuple[Any, int]:
    """A server of gRPC with the model "m", y = x, that gives typed contents, as some servers do."""
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed: wasinn[oip]")
    from wasinn.oip import grpc_codec, grpc_messages
    from wasinn.oip.messages import InferResponse

    def infer(message: Any, context: Any) -> Any:
        before(context)
        (x,) = grpc_codec.request_from_message(message).inputs
        answered = InferResponse("m", [WireTensor("y", x.datatype, x.shape, x.data)])
        return grpc_codec.response_to_message(answered, raw=False)

    def metadata(message: Any, context: Any) -> Any:
        if dict(context.invocation_metadata()).get("authorization") not in (None, "Bearer right"):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is wrong")
        found = grpc_messages.ModelMetadataResponse(name="m")
        found.inputs.add(name="x", datatype="FP32", shape=[-1])
        found.outputs.add(name="y", datatype="FP32", shape=[-1])
        return found

    server = grpc.server(ThreadPoolExecutor(2))
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            function, grpc_messages.METHODS[name].request.FromString, lambda m: m.SerializeToString()
        )
        for name, function in (("ModelInfer", infer), ("ModelMetadata", metadata))
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(grpc_messages.SERVICE, handlers),))
    if credentials is None:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        port = server.add_secure_port(f"localhost:{port}", credentials)
    server.start()
    return server, port


def load_like(graph: OipGraph, retries: int) -> OipGraph:
    """The same graph on the same channel, with other retries."""
    other = object.__new__(OipGraph)
    other.__dict__.update(graph.__dict__, retries=retries)
    return other


def test_a_server_that_does_not_answer_in_time(server: OtherServer) -> None:
    graph = load(server.url, timeout=0.2, retries=5)
    go_on = threading.Event()

    def never(handler: Any, body: bytes) -> Any:
        go_on.wait(10)

    server.infer = never
    asked = len(server.requests)
    assert "has not answered in 0.2 s" in fails(lambda: compute(graph, X))
    go_on.set()
    assert len(server.requests) == asked + 1, "a timeout is not tried again"
    server.infer = server.echo
    np.testing.assert_array_equal(compute(graph, X)[0], X)


def test_a_server_that_sends_a_byte_now_and_then_is_not_waited_for_for_ever(server: OtherServer) -> None:
    graph = load(server.url, timeout=0.3)
    go_on = threading.Event()

    def drip(handler: Any, body: bytes) -> Any:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not go_on.wait(0.05):
            handler.wfile.write(b" ")

    server.infer = drip
    assert "has not answered in 0.3 s" in fails(lambda: compute(graph, X))
    go_on.set()


def test_an_interrupt_ends_a_pause_and_a_connection_that_is_being_made(
    server: OtherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = load(server.url, retries=10, timeout=60)
    hold = threading.Event()
    for connect in (lambda connection: hold.wait(30), _refused):
        monkeypatch.setattr(oip_http.http.client.HTTPConnection, "connect", connect)
        graph.client._idle.clear()  # type: ignore[attr-defined]
        execution = graph.open()
        execution.set_input(0, Tensor.of(X))
        said: list[str] = []
        thread = threading.Thread(target=lambda e=execution, s=said: s.append(fails(e.compute)))  # type: ignore[misc]
        thread.start()
        time.sleep(0.15)  # let it come to where it waits
        execution.interrupt()
        thread.join(5)
        assert not thread.is_alive()
        assert "was ended" in said[0]
    hold.set()


def _refused(connection: Any) -> None:
    raise ConnectionRefusedError(111, "Connection refused")


WRONG_LENGTH = (200, {rest.HEADER_LENGTH: "-1"}, b"{}")
Y = {"name": "y", "datatype": "FP32", "shape": [1], "data": [1]}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (answer(200, []), "the answer must be a JSON object"),
        ((200, {}, b"\xff\xfe"), "the answer is not JSON"),
        (answer(200, {}), '"outputs" must be a list'),
        (
            answer(200, {"outputs": []}),
            "the answer has no output 'y', which the model's metadata names; it has",
        ),
        (
            answer(200, {"outputs": [{**Y, "datatype": "INT8"}]}),
            "is FP32 by the model's metadata, and the answer",
        ),
        (answer(200, {"outputs": [{**Y, "shape": [2]}]}), "shape [2] has 2 elements; the data has 1"),
        (WRONG_LENGTH, "is '-1', which is no number of bytes"),
        ((200, {rest.HEADER_LENGTH: "99"}, b"{}"), "is 99, and the body has 2 bytes"),
        ((200, {"Content-Length": "50"}, b"{}"), "closed in the middle of the answer"),
        ((502, {}, b"<html>\x1b[31mBad Gateway"), "answered 502: <html>\\x1b[31mBad Gateway"),
        (
            answer(308, {}, Location="http://elsewhere/"),
            "it sends on to http://elsewhere/: give that address",
        ),
        (answer(401, {"error": "no token"}), "answered 401: no token; give its token by token_file=FILE"),
        (answer(404, {"error": "unloaded"}), "answered 404: unloaded"),
    ],
    ids=range(13),
)
def test_answers_that_are_none_are_said(server: OtherServer, found: Any, words: str) -> None:
    graph = load(server.url)

    def once(handler: Any, body: bytes) -> Any:
        handler.close_connection = True
        return found

    server.infer = once
    assert words in fails(lambda: compute(graph, X))
    server.infer = server.echo
    np.testing.assert_array_equal(compute(graph, X)[0], X)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"inputs": []}, ErrorCode.UNSUPPORTED_OPERATION, "the server names no inputs of the model"),
        ({"inputs": 7}, ErrorCode.UNSUPPORTED_OPERATION, "the server names no inputs of the model"),
        ({"outputs": ["y"]}, ErrorCode.RUNTIME_ERROR, "is no object: 'y'"),
        ({"outputs": [{"datatype": "FP32"}]}, ErrorCode.RUNTIME_ERROR, "has no name"),
        ({"outputs": [{**Y, "shape": [-2]}]}, ErrorCode.RUNTIME_ERROR, "has no shape of whole numbers"),
        (
            {"outputs": [{**Y, "datatype": "FP8"}]},
            ErrorCode.UNSUPPORTED_OPERATION,
            "is a 'FP8', which is none",
        ),
        ({"outputs": [Y, Y]}, ErrorCode.RUNTIME_ERROR, "two outputs of the model have the same name"),
    ],
    ids=range(7),
)
def test_metadata_that_is_none_is_said(
    server: OtherServer, change: dict[str, Any], code: ErrorCode, words: str
) -> None:
    server.document |= change
    assert words in fails(lambda: load(server.url), code)


def test_metadata_as_other_servers_have_it() -> None:
    text = {"name": "x", "datatype": "INT64", "shape": ["-1", "3"]}  # 64-bit numbers as texts
    bare = {"name": "y", "datatype": None, "shape": None}
    known = {
        **PORT_I8,
        "quantization": {"scale": [0.5], "zero_point": [3]},
        "optional": True,
        "aliases": ["z"],
    }
    ports = read_ports("u", {"inputs": [text, bare, known]}, "inputs")
    assert ports[0].spec.dims == (None, 3)
    assert (ports[1].spec.any_type, ports[1].spec.dims) == (True, None)
    spec = ports[2].spec
    assert (spec.optional, spec.aliases, spec.quantization and spec.quantization.scales) == (
        True,
        ("z",),
        (0.5,),
    )
    (damaged,) = read_ports(
        "u", {"inputs": [{**PORT_I8, "quantization": {"scale": "much", "zero_point": [3]}}]}, "inputs"
    )
    assert damaged.spec.quantization is None


PORT_I8 = {"name": "q", "datatype": "INT8", "shape": [4]}


def test_texts_of_several_elements_are_in_the_form_of_the_protocol() -> None:
    def port(*shape: int) -> Any:
        document = {"outputs": [{"name": "t", "datatype": "BYTES", "shape": list(shape)}]}
        return read_ports("u", document, "outputs")[0]

    def u8(data: bytes) -> Tensor:
        return Tensor((len(data),), TensorType.U8, memoryview(data))

    two = pack_bytes([b"a", b"bc"])
    assert port(2).outward(u8(two)) == WireTensor("t", "BYTES", (2,), two)
    assert port(-1, 2).outward(u8(two)).shape == (1, 2)
    assert "takes each behind its length" in fails(
        lambda: port(3).outward(u8(two)), ErrorCode.INVALID_ARGUMENT
    )
    assert "takes each behind its length" in fails(
        lambda: port(2).outward(u8(b"a,bc")), ErrorCode.INVALID_ARGUMENT
    )
    assert bytes(port(2).inward("u", WireTensor("t", "BYTES", (2,), two)).data) == two
    # One element, also where the shape is open: its content.
    for shape in ((), (1,), (-1,), (-1, 1)):
        sent = port(*shape).outward(u8(b"abc"))
        assert (sent.shape, sent.data) == ((1,) * len(shape), pack_bytes([b"abc"]))
        assert bytes(port(*shape).inward("u", sent).data) == b"abc"
    assert "came with 2 elements of BYTES" in fails(
        lambda: port(-1).inward("u", WireTensor("t", "BYTES", (2,), two))
    )


# -- tokens and certificates ---------------------------------------------------------------------------


def test_a_token_is_sent_and_read_anew_when_it_changes(
    server: OtherServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    graph = load(server.url, token_file=str(file))
    assert server.requests[-1][1]["Authorization"] == "Bearer first"
    file.write_text("another")
    compute(graph, X)
    assert server.requests[-1][1]["Authorization"] == "Bearer another"
    assert not caplog.records, "nobody listens on this machine"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"Bearer abc", "the token alone, without Bearer"),
        (b"\xff", "ASCII characters only"),
    ],
    ids=["empty", "bearer", "binary"],
)
def test_a_token_file_that_is_wrong(server: OtherServer, tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    assert words in fails(lambda: load(server.url, token_file=str(file)))
    assert not server.requests


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cert.pem and key.pem for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem "
        "-days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def test_a_certificate_is_checked_over_http(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with OtherServer(tls=context) as server:
        said = fails(lambda: load(server.url))
        assert "its certificate is not trusted" in said
        assert "ca=FILE" in said
        graph = load(server.url, ca=str(certificate / "cert.pem"))
        np.testing.assert_array_equal(compute(graph, X)[0], X)
        assert "cannot be used" in fails(lambda: load(server.url, ca=str(certificate / "key.pem")))


def test_a_certificate_and_a_token_are_checked_over_grpc(certificate: Path, tmp_path: Path) -> None:
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed: wasinn[oip]")
    pair = (certificate / "key.pem").read_bytes(), (certificate / "cert.pem").read_bytes()
    server, port = start_grpc(credentials=grpc.ssl_server_credentials([pair]))
    url = f"grpcs://localhost:{port}/m"
    assert "cannot be reached" in fails(lambda: load(url))
    token = tmp_path / "token"
    token.write_text("right")
    options = {"ca": str(certificate / "cert.pem"), "token_file": str(token)}
    np.testing.assert_array_equal(compute(load(url, **options), X)[0], X)
    token.write_text("wrong!")
    assert "answered UNAUTHENTICATED: the token is wrong; give its token by token_file" in fails(
        lambda: load(url, **options)
    )
    server.stop(0).wait()


def test_a_token_that_goes_out_in_the_open_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for url, warned in (("http://far.example/m", True), ("https://far.example/m", False)):
        caplog.clear()
        _warn_of_open_token(parse_address(url), Model(url=url, remote=Remote(token_file=Path("t"))))
        assert any("unencrypted" in record.getMessage() for record in caplog.records) == warned


# -- sources -------------------------------------------------------------------------------------------


def test_a_source_with_a_url() -> None:
    source = GraphSource.parse("oip:https://h/m/2?timeout=2.5&retries=0&batch=true&dims=reshape")
    assert (source.model.url, source.backend, source.batch) == ("https://h/m/2", "oip", 64)
    assert (source.model.remote.timeout, source.model.remote.retries) == (2.5, 0)
    assert str(source) == "oip:https://h/m/2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("oip:http://h/m?threads=2", "threads is not for a graph with a URL: its own server chooses them"),
        ("oip:http://h/m?isolation=process", "isolation is not for a graph with a URL"),
        ("oip:http://h/m?backend=onnxruntime", "has the backend 'oip', not 'onnxruntime'"),
        ("oip:http://h/m?timeout=0", "timeout must be a number of seconds above 0"),
        ("oip:http://h/m?timeout=nan", "timeout must be a number of seconds above 0"),
        ("oip:http://h/m?retries=-1", "retries must be a number from 0 to 10"),
        ("oip:http://h/m?token_file=/missing", "token_file: there is no file '/missing'"),
        ("oip:h/m", "'h/m' is not http://HOST:PORT/MODEL"),
        ("@digits.onnx?timeout=5", "timeout is for graphs with a URL"),
        ("@digits.onnx?batch=0", "batch must be true, false or the most rows"),
        ("@digits.onnx?batch=5000", "2 to 4096, got '5000'"),
    ],
)
def test_a_source_that_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GraphSource.parse(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("value", "rows"), [("true", 64), ("2", 2), ("4096", 4096), ("false", None), ("1", None)]
)
def test_batch(value: str, rows: int | None) -> None:
    assert GraphSource.parse(f"@digits.onnx?batch={value}").batch == rows
    assert GraphSource.from_files("@digits.onnx", batch=json.loads(value)).batch == rows
