# SPDX-License-Identifier: Apache-2.0
"""The gRPC server, by calls of grpcio with this project's own messages: answers, and what each failure is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import models
from grpc_serving import GrpcServing, text_guest
from wasinn.errors import ConfigError
from wasinn.oip import grpc_messages as messages
from wasinn.serve.grpc_server import make_grpc_server
from wasinn.serve.grpc_status import code_of, cut
from wasinn.serve.settings import Settings

A = np.array([[1, 2, 3, 4]], np.float32)
B = np.array([[10, 20, 30, 40]], np.float32)
_MAX_BODY = 1 << 16
_CONCURRENCY = 4


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServing]:
    graphs = {
        "add": models.add(("rows", 4)),
        "spare": models.add(("rows", 4)),
        "echo": models.identity(TensorProto.INT8, ("rows",)),
    }
    folder = tmp_path_factory.mktemp("guests")
    guests = {
        "text": text_guest(folder),
        "short": text_guest(folder, deadline=0.1),
        "one": text_guest(folder, max_concurrency=1, max_queue=0),
    }
    chosen = Settings(guests=guests, max_body=_MAX_BODY, max_concurrency=_CONCURRENCY, access_log="off")
    with GrpcServing(graphs, chosen) as running:
        yield running


@pytest.fixture(scope="module")
def channel(serving: GrpcServing) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(serving.grpc_address) as opened:
        yield opened


def call(channel: grpc.Channel, name: str, request: Any = None, **options: Any) -> Any:
    """The answer to a unary call; `request` is a message or bytes."""
    method = messages.METHODS[name]
    given = method.request() if request is None else request
    unary = channel.unary_unary(messages.Method.path(name), None, method.response.FromString)
    return unary(given if isinstance(given, bytes) else given.SerializeToString(), timeout=20, **options)


def refused(
    channel: grpc.Channel, name: str, request: Any, code: grpc.StatusCode, *words: str, **options: Any
) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, name, request, **options)
    said = caught.value
    assert said.code() is code, said
    for word in words:
        assert word in said.details()
    return said


def infer_request(model: str, *inputs: tuple[str, str, list[int], bytes], **options: Any) -> Any:
    """A ModelInferRequest with raw data; inputs are (name, datatype, shape, data)."""
    message = messages.ModelInferRequest(model_name=model, **options)
    for name, datatype, shape, data in inputs:
        message.inputs.add(name=name, datatype=datatype, shape=shape)
        message.raw_input_contents.append(data)
    return message


def add_request(model: str = "add", **options: Any) -> Any:
    both = (("a", "FP32", [1, 4], A.tobytes()), ("b", "FP32", [1, 4], B.tobytes()))
    return infer_request(model, *both, **options)


def text_request(model: str, text: bytes) -> Any:
    return infer_request(model, ("in", "BYTES", [1], len(text).to_bytes(4, "little") + text))


# -- answers ------------------------------------------------------------------------------------------


def test_raw_tensors(channel: grpc.Channel) -> None:
    answer = call(channel, "ModelInfer", add_request(id="seven"))
    assert (answer.id, answer.model_name, answer.model_version) == ("seven", "add", "1")
    assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [
        ("sum", "FP32", [1, 4]),
        ("difference", "FP32", [1, 4]),
    ]
    assert list(answer.raw_output_contents) == [(A + B).tobytes(), (A - B).tobytes()]


def test_typed_tensors(channel: grpc.Channel) -> None:
    request = messages.ModelInferRequest(model_name="add")
    for name, array in (("a", A), ("b", B)):
        added = request.inputs.add(name=name, datatype="FP32", shape=array.shape)
        added.contents.fp32_contents.extend(array.ravel().tolist())
    assert call(channel, "ModelInfer", request).raw_output_contents[0] == (A + B).tobytes()

    request = messages.ModelInferRequest(model_name="echo")
    added = request.inputs.add(name="x", datatype="INT8", shape=[2])
    added.contents.int_contents.extend([-128, 127])
    assert call(channel, "ModelInfer", request).raw_output_contents[0] == b"\x80\x7f"


def test_a_typed_number_out_of_range(channel: grpc.Channel) -> None:
    request = messages.ModelInferRequest(model_name="echo")
    request.inputs.add(name="x", datatype="INT8", shape=[1]).contents.int_contents.append(300)
    refused(channel, "ModelInfer", request, grpc.StatusCode.INVALID_ARGUMENT, "'x'", "INT8")


def test_a_guest_answers_bytes(channel: grpc.Channel) -> None:
    answer = call(channel, "ModelInfer", text_request("text", "wörter".encode()))
    assert answer.outputs[0].datatype == "BYTES"
    assert answer.raw_output_contents[0][4:] == "wörter".encode()


def test_metadata_and_health(channel: grpc.Channel) -> None:
    assert call(channel, "ServerLive").live
    assert call(channel, "ServerReady").ready
    assert call(channel, "ServerMetadata").name == "wasinn"
    model = call(channel, "ModelMetadata", messages.ModelMetadataRequest(name="add"))
    assert [(each.name, list(each.shape)) for each in model.inputs] == [("a", [-1, 4]), ("b", [-1, 4])]
    for name, version, ready in (
        ("add", "", True),
        ("add", "1", True),
        ("add", "2", False),
        ("x", "", False),
    ):
        asked = messages.ModelReadyRequest(name=name, version=version)
        assert call(channel, "ModelReady", asked).ready is ready
    asked = messages.ModelMetadataRequest(name="x")
    refused(channel, "ModelMetadata", asked, grpc.StatusCode.NOT_FOUND, "'x'")


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"", b"\x08\x01"),
        (b"\x0a\x1einference.GRPCInferenceService", b"\x08\x01"),
        (b"\x0a\x03foo", grpc.StatusCode.NOT_FOUND),
        (b"\x0a\xff", grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["server", "service", "unknown", "broken"],
)
def test_grpc_health(channel: grpc.Channel, request_bytes: bytes, expected: Any) -> None:
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    if isinstance(expected, bytes):
        assert check(request_bytes, timeout=10) == expected
    else:
        with pytest.raises(grpc.RpcError) as caught:
            check(request_bytes, timeout=10)
        assert caught.value.code() is expected


def test_repository(channel: grpc.Channel) -> None:
    def state() -> tuple[str, str]:
        index = call(channel, "RepositoryIndex").models
        return next((each.state, each.reason) for each in index if each.name == "spare")

    assert state() == ("READY", "")
    call(channel, "RepositoryModelUnload", messages.RepositoryModelUnloadRequest(model_name="spare"))
    assert state()[0] == "UNAVAILABLE"
    ready = call(channel, "RepositoryIndex", messages.RepositoryIndexRequest(ready=True)).models
    assert "spare" not in [each.name for each in ready]
    refused(channel, "ModelInfer", add_request("spare"), grpc.StatusCode.NOT_FOUND, "spare", "not ready")
    load = messages.RepositoryModelLoadRequest(model_name="spare")
    load.parameters["config"].string_param = "{}"
    refused(channel, "RepositoryModelLoad", load, grpc.StatusCode.INVALID_ARGUMENT, "config")
    load.parameters.clear()
    call(channel, "RepositoryModelLoad", load)
    assert state() == ("READY", "")
    assert call(channel, "ModelInfer", add_request("spare")).outputs
    index = messages.RepositoryIndexRequest(repository_name="other")
    refused(channel, "RepositoryIndex", index, grpc.StatusCode.INVALID_ARGUMENT, "repository_name")
    load.model_name = "nothing"
    refused(channel, "RepositoryModelLoad", load, grpc.StatusCode.NOT_FOUND, "nothing")


# -- refusals -----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"\x0a\x03add" + tail))
def test_any_bytes_are_the_callers_fault(channel: grpc.Channel, content: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "ModelInfer", content)
    assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert caught.value.details()


def test_bytes_that_are_no_message(channel: grpc.Channel) -> None:
    words = ("ModelInfer", "inference.ModelInferRequest", "3 bytes")
    refused(channel, "ModelInfer", b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, *words)


def test_what_triton_has_and_this_server_has_not(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(messages.Method.path("ModelStatistics"))(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "no ModelStatistics" in caught.value.details()


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (add_request("nothing"), grpc.StatusCode.NOT_FOUND, ["'nothing'"]),
        (add_request(model_version="9"), grpc.StatusCode.NOT_FOUND, ["'9'"]),
        (infer_request("add"), grpc.StatusCode.INVALID_ARGUMENT, ["'a'", "'b'"]),
        (infer_request("echo", ("x", "INT8", [3], b"12")), grpc.StatusCode.INVALID_ARGUMENT, ["3", "2"]),
        (infer_request("echo", ("x", "INT9", [2], b"12")), grpc.StatusCode.INVALID_ARGUMENT, ["INT9"]),
        (infer_request("echo", ("x", "INT8", [-2], b"12")), grpc.StatusCode.INVALID_ARGUMENT, ["-2"]),
        (infer_request("echo", ("x", "UINT8", [2], b"12")), grpc.StatusCode.INVALID_ARGUMENT, ["UINT8"]),
        (text_request("text", b"no"), grpc.StatusCode.INVALID_ARGUMENT, ["the guest says no"]),
        (text_request("text", b"trap"), grpc.StatusCode.INTERNAL, ["text", "unreachable"]),
        (text_request("short", b"spin"), grpc.StatusCode.DEADLINE_EXCEEDED, ["short", "deadline"]),
    ],
    ids=["model", "version", "missing", "size", "type", "negative", "other", "refusal", "trap", "deadline"],
)
def test_refusals(channel: grpc.Channel, request_: Any, code: grpc.StatusCode, words: list[str]) -> None:
    refused(channel, "ModelInfer", request_, code, *words)
    assert call(channel, "ModelInfer", text_request("text", b"fine")).outputs


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip], ids=["plain", "gzip"])
def test_a_message_that_is_too_large(channel: grpc.Channel, compression: Any) -> None:
    """Also one that is small until it is unpacked."""
    request = infer_request("echo", ("x", "INT8", [_MAX_BODY], bytes(_MAX_BODY)))
    refused(
        channel, "ModelInfer", request, grpc.StatusCode.RESOURCE_EXHAUSTED, "larger", compression=compression
    )
    assert call(channel, "ModelInfer", add_request()).outputs


# -- callers that do not wait ---------------------------------------------------------------------------


def test_a_client_deadline_ends_the_guest(serving: GrpcServing, channel: grpc.Channel) -> None:
    unary = channel.unary_unary(messages.Method.path("ModelInfer"))
    with pytest.raises(grpc.RpcError) as caught:
        unary(text_request("text", b"spin").SerializeToString(), timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert serving.is_idle()


def test_cancelling_ends_the_guest(serving: GrpcServing, channel: grpc.Channel) -> None:
    unary = channel.unary_unary(messages.Method.path("ModelInfer"))
    future = unary.future(text_request("text", b"spin").SerializeToString())
    serving.wait_for_requests(1)
    future.cancel()
    assert serving.is_idle()


def test_a_full_queue(serving: GrpcServing, channel: grpc.Channel) -> None:
    unary = channel.unary_unary(messages.Method.path("ModelInfer"))
    future = unary.future(text_request("one", b"spin").SerializeToString())
    serving.wait_for_requests(1)
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    said = refused(channel, "ModelInfer", text_request("one", b"fine"), code, "'one'", "busy")
    pushback = dict(said.trailing_metadata())["grpc-retry-pushback-ms"]
    assert int(pushback) >= 1000
    future.cancel()
    assert serving.is_idle()
    assert call(channel, "ModelInfer", text_request("one", b"fine")).outputs


# -- streams ------------------------------------------------------------------------------------------


def stream(channel: grpc.Channel, requests: Iterator[Any] | list[Any], **options: Any) -> Any:
    method = messages.METHODS["ModelStreamInfer"]
    both = channel.stream_stream(
        messages.Method.path("ModelStreamInfer"), method.request.SerializeToString, method.response.FromString
    )
    return both(iter(requests), timeout=20, **options)


def test_a_stream_answers_in_order_and_goes_on(channel: grpc.Channel) -> None:
    requests = [add_request("nothing" if turn == 7 else "add", id=str(turn)) for turn in range(40)]
    requests[20] = text_request("text", b"no")
    answers = list(stream(channel, requests))
    assert [each.infer_response.id for each in answers] == [each.id for each in requests]
    wrong = {turn: each.error_message for turn, each in enumerate(answers) if each.error_message}
    assert sorted(wrong) == [7, 20]
    assert "'nothing'" in wrong[7]
    assert "the guest says no" in wrong[20]
    last = answers[-1].infer_response
    assert last.raw_output_contents[0] == (A + B).tobytes()
    assert last.parameters["triton_final_response"].bool_param


def test_cancelling_a_stream_ends_its_guests(serving: GrpcServing, channel: grpc.Channel) -> None:
    opened = stream(channel, [text_request("text", b"spin")] * 40)
    serving.wait_for_requests(_CONCURRENCY)  # the others wait in the connection
    opened.cancel()
    assert serving.is_idle()


def test_a_message_that_is_too_large_ends_its_stream(serving: GrpcServing, channel: grpc.Channel) -> None:
    large = infer_request("echo", ("x", "INT8", [_MAX_BODY], bytes(_MAX_BODY)))
    with pytest.raises(grpc.RpcError) as caught:
        list(stream(channel, [add_request(), large]))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert serving.is_idle()


# -- the server's own faults ----------------------------------------------------------------------------


def test_a_fault_of_the_server(
    serving: GrpcServing,
    channel: grpc.Channel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_ready: bool) -> Any:
        raise RuntimeError("a secret")

    monkeypatch.setattr(serving.frontend.repository, "index", broken)
    said = refused(channel, "RepositoryIndex", None, grpc.StatusCode.INTERNAL, "RuntimeError", "log")
    assert "secret" not in said.details()
    assert "a secret" in caplog.text


def test_a_cancellation_from_within_is_answered(
    serving: GrpcServing, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled() -> Any:
        raise asyncio.CancelledError

    monkeypatch.setattr(serving.frontend, "server_metadata", cancelled)
    refused(channel, "ServerMetadata", None, grpc.StatusCode.UNAVAILABLE, "ended by the server")


def test_draining(serving: GrpcServing, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.frontend, "draining", True)
    assert call(channel, "ServerLive").live
    assert not call(channel, "ServerReady").ready
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10) == b"\x08\x02"
    refused(channel, "ModelInfer", add_request(), grpc.StatusCode.UNAVAILABLE, "shutting down")


def test_words_of_any_length_and_kind_fit(channel: grpc.Channel) -> None:
    """gRPC's trailers have room for 8 KiB; what is longer would be lost with its code."""
    for name in ("x" * 50_000, "\u20ac" * 20_000, "a\nb\0"):
        refused(channel, "ModelInfer", add_request(name), grpc.StatusCode.NOT_FOUND, "no model")
    assert cut("short: \u20ac") == "short: \u20ac"
    for text in ("x" * 50_000, "\u20ac" * 50_000, "\ud800" * 9000):
        assert cut(text).endswith("...")
        assert len(cut(text).encode()) < 8000


@pytest.mark.parametrize(
    ("status", "name"), [(418, "INVALID_ARGUMENT"), (599, "INTERNAL"), (413, "RESOURCE_EXHAUSTED")]
)
def test_codes(status: int, name: str) -> None:
    assert code_of(status).name == name


def test_an_address_that_is_taken(serving: GrpcServing) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        async def make() -> Any:
            return make_grpc_server(serving.frontend, serving.settings, address)

        with pytest.raises(ConfigError, match=address):
            serving.wait(make())
