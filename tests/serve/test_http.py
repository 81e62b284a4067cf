# SPDX-License-Identifier: Apache-2.0
"""The REST side of the Open Inference Protocol, over real connections: what is asked and what is answered."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from onnx import TensorProto

import models
import wasinn
from serving import Serving, tensor
from wasinn.errors import ConfigError
from wasinn.serve.settings import GuestSource, Settings

X4 = tensor("x", "FP32", [1, 4], [1, 2, 3, 4])


def host_of(**graphs: bytes) -> wasinn.Host:
    return wasinn.Host(graphs={name: wasinn.GraphSource.from_bytes(each) for name, each in graphs.items()})


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    host = host_of(
        same=models.identity(),
        add=models.add(),
        rows=models.identity(dims=("n", 4)),
        flags=models.identity(TensorProto.BOOL, (3,)),
        big=models.identity(TensorProto.INT64, (2,)),
        half=models.identity(TensorProto.BFLOAT16, (2,)),
        broken=b"no model at all",
    )
    host.registry.add("seven", wasinn.GraphSource.parse("onnx:@digits.onnx"))
    with Serving(host, Settings(access_log="stderr", console=False, max_body=1 << 20)) as serving:
        yield serving


def binary_body(*arrays: tuple[str, str, np.ndarray], **more: object) -> tuple[bytes, dict[str, str]]:
    """A request with binary tensor data, and its headers."""
    inputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": list(array.shape),
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, datatype, array in arrays
    ]
    head = json.dumps({"inputs": inputs, **more}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return head + b"".join(array.tobytes() for _, _, array in arrays), headers


# -- what is there ----------------------------------------------------------------------------------------


def test_health_and_metadata(server: Serving) -> None:
    assert server.get("/v2/health/live").status == 200
    ready = server.get("/v2/health/ready")
    assert (ready.status, ready.json()) == (200, {"ready": True})
    about = server.get("/v2").json()
    assert (about["name"], about["version"]) == ("wasinn", wasinn.__version__)
    assert "binary_tensor_data" in about["extensions"]
    assert server.get("/v2/").status in (200, 307)
    assert "same" in server.get("/v2/models").json()["models"]


def test_the_metadata_of_a_model(server: Serving) -> None:
    found = server.get("/v2/models/rows").json()
    assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert (found["name"], found["versions"], found["platform"]) == ("rows", ["1"], "onnxruntime")
    assert server.get("/v2/models/rows/versions/1").json() == found
    assert server.get("/v2/models/rows/ready").status == 200
    assert server.get("/v2/models/rows/versions/1/ready").json() == {"name": "rows", "ready": True}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/models/nix", "there is no model 'nix'; this server has: "),
        ("/v2/models/nix/ready", "there is no model 'nix'"),
        ("/v2/models/same/versions/2", "has no version '2'; it has one, '1'"),
        ("/v3", "there is nothing at '/v3'"),
    ],
)
def test_what_is_not_there_is_404(server: Serving, path: str, words: str) -> None:
    found = server.get(path)
    assert found.status == 404
    assert words in found.error


def test_other_methods_are_405(server: Serving) -> None:
    assert "is a POST" in server.get("/v2/models/same/infer").error
    assert server.request("DELETE", "/v2/models/same").status == 405
    assert server.request("PUT", "/v2").json() == {"error": "PUT is not for '/v2'; GET is"}
    found = server.request("GET", "/v2/repository/models/same/unload")
    assert (found.status, found.json()) == (
        405,
        {"error": "GET is not for '/v2/repository/models/same/unload'; POST is"},
    )


def test_a_model_that_cannot_be_loaded_leaves_the_others(server: Serving) -> None:
    entry = next(each for each in server.get("/v2/repository/index").json() if each["name"] == "broken")
    assert entry["state"] == "UNAVAILABLE"
    assert "broken" in entry["reason"]
    assert server.get("/v2/models/broken/ready").status == 400
    refused = server.infer("broken", X4)
    assert (refused.status, "is not ready" in refused.error) == (404, True)


def test_names_that_cannot_be_served_together() -> None:
    from wasinn.serve.frontend import Frontend

    host = host_of(same=models.identity())
    with pytest.raises(ConfigError, match="a guest and a graph are both called 'same'"):
        Frontend(host, Settings(guests={"same": GuestSource("x.wasm")}))
    with pytest.raises(ConfigError, match="there is no graph 'other'; the graphs are: same"):
        Frontend(host, Settings(models=["other"]))


# -- inferences -------------------------------------------------------------------------------------------


def test_json_tensors(server: Serving) -> None:
    answer = server.infer("same", X4, id="a-7")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {
        "model_name": "same",
        "model_version": "1",
        "id": "a-7",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}],
    }
    nested = dict(X4, data=[[1, 2, 3, 4]])
    assert server.infer("same", nested).json()["outputs"] == answer.json()["outputs"]


def test_every_request_gets_its_own_answer(server: Serving) -> None:
    """The executions are used again and again, also with other shapes."""
    for rows in (1, 3, 2, 3, 1):
        data = [float(rows * 100 + each) for each in range(rows * 4)]
        answer = server.infer("rows", tensor("x", "FP32", [rows, 4], data)).json()["outputs"][0]
        assert (answer["shape"], answer["data"]) == ([rows, 4], data)


def test_several_inputs_and_chosen_outputs(server: Serving) -> None:
    a, b = tensor("a", "FP32", [1, 4], [5] * 4), tensor("b", "FP32", [1, 4], [2] * 4)
    answer = server.infer("add", b, a).json()["outputs"]
    assert {each["name"]: each["data"] for each in answer} == {"sum": [7] * 4, "difference": [3] * 4}
    answer = server.infer("add", a, b, outputs=[{"name": "difference"}, {"name": "sum"}]).json()["outputs"]
    assert [each["name"] for each in answer] == ["difference", "sum"]
    answer = server.infer("add", a, b, outputs=[{"name": "sum"}]).json()["outputs"]
    assert [each["name"] for each in answer] == ["sum"]


def test_binary_tensors(server: Serving) -> None:
    given = np.array([[1.5, -2, 3, 4]], np.float32)
    body, headers = binary_body(("x", "FP32", given), parameters={"binary_data_output": True})
    answer = server.request("POST", "/v2/models/same/infer", body, headers)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    length = int(answer.headers["Inference-Header-Content-Length"])
    output = json.loads(answer.body[:length])["outputs"][0]
    assert output == {
        "name": "y",
        "datatype": "FP32",
        "shape": [1, 4],
        "parameters": {"binary_data_size": 16},
    }
    assert answer.body[length:] == given.tobytes()


def test_a_large_answer_comes_in_its_parts(server: Serving) -> None:
    given = np.arange(4 * 50_000, dtype=np.float32).reshape(-1, 4)
    body, headers = binary_body(("x", "FP32", given), parameters={"binary_data_output": True})
    answer = server.request("POST", "/v2/models/rows/infer", body, headers)
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.body[length:] == given.tobytes()


def test_whole_numbers_keep_their_value(server: Serving) -> None:
    wide = [2**62 + 1, -(2**53) - 1]
    assert server.infer("big", tensor("x", "INT64", [2], wide)).json()["outputs"][0]["data"] == wide
    flags = tensor("x", "BOOL", [3], [True, False, True])
    assert server.infer("flags", flags).json()["outputs"][0]["data"] == [True, False, True]


def test_bf16_is_itself_and_not_fp16(server: Serving) -> None:
    given = np.array([0x3F80, 0x4000], np.uint16)
    body, headers = binary_body(("x", "BF16", given), parameters={"binary_data_output": True})
    answer = server.request("POST", "/v2/models/half/infer", body, headers)
    assert (answer.status, answer.body[-4:]) == (200, given.tobytes())
    body, headers = binary_body(("x", "FP16", given))
    refused = server.request("POST", "/v2/models/half/infer", body, headers)
    assert (refused.status, "wanted BF16 [2], got FP16" in refused.error) == (400, True)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_packed_bodies(server: Serving, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    body = pack(json.dumps({"inputs": [X4]}).encode())
    path, headers = "/v2/models/same/infer", {"Content-Encoding": encoding}
    assert server.request("POST", path, body, headers).json()["outputs"][0]["data"] == [1, 2, 3, 4]
    assert server.request("POST", path, body[:-3], headers).status == 400
    bomb = server.request("POST", path, pack(bytes(5 << 20)), headers)
    assert (bomb.status, "max_body" in bomb.error) == (413, True)
    other = server.request("POST", path, body, {"Content-Encoding": "br"})
    assert (other.status, "got 'br'" in other.error) == (415, True)


def test_a_picture_of_a_seven(server: Serving) -> None:
    port = server.get("/v2/models/seven").json()["inputs"][0]
    shape = [1 if dim == -1 else dim for dim in port["shape"]]
    given = np.zeros(shape, np.float32)
    answer = server.infer("seven", tensor(port["name"], "FP32", shape, given.ravel().tolist()))
    assert answer.status == 200
    assert len(answer.json()["outputs"][0]["data"]) == 10


# -- requests that are wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"inputs": []}, "the model has 1 input, and the request lacks: 'x' (FP32 [1,4])"),
        ({"inputs": [dict(X4, name="z")]}, "the model has no input 'z'; it has: 'x' (FP32 [1,4])"),
        ({"inputs": [X4, X4]}, "two inputs called 'x'"),
        ({"inputs": [tensor("x", "FP32", [4], [1] * 4)]}, "is the batch dimension missing"),
        ({"inputs": [tensor("x", "FP64", [1, 4], [1] * 4)]}, "wanted f32 [1,4], got f64 [1,4]"),
        ({"inputs": [tensor("x", "BYTES", [1], ["a"])]}, "wanted FP32 [1,4], got BYTES [1]"),
        ({"inputs": [tensor("x", "FP32", [1, 4], [1] * 3)]}, "x"),
        ({"inputs": [X4], "outputs": [{"name": "z"}]}, "the model has no output 'z'; it has: 'y'"),
        ({"inputs": [X4], "outputs": [{"name": "y"}, {"name": "y"}]}, "y"),
        (
            {"inputs": [X4], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
            "the parameter classification belongs to an extension that this server has not",
        ),
        ({"inputs": [X4], "parameters": {"sequence_id": 9}}, "a request's state is its own here"),
        ({"inputs": [X4], "parameters": {"timeout": "soon"}}, "a number of microseconds above 0"),
        ([1], "a JSON object"),
    ],
    ids=[
        "no-input", "name", "twice", "batch", "type", "bytes", "short", "output", "output-twice",
        "classification", "sequence", "timeout", "list",
    ],
)  # fmt: skip
def test_a_request_that_does_not_fit_is_400(server: Serving, request_: object, words: str) -> None:
    found = server.post("/v2/models/same/infer", request_)
    assert found.status == 400
    assert words in found.error


def test_a_body_that_is_no_request_is_400(server: Serving) -> None:
    path = "/v2/models/same/infer"
    for body in (b"", b"{", b"\xff\xfe", b"[" * 20000):
        assert server.request("POST", path, body).status == 400
    found = server.request("POST", path, b"{}", {"Inference-Header-Content-Length": "many"})
    assert (found.status, "must be a number of bytes, got 'many'" in found.error) == (400, True)
    found = server.request("POST", path, b"{}", {"Inference-Header-Content-Length": "99"})
    assert found.status == 400


def test_a_form_is_415_with_the_way_out(server: Serving) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    found = server.request("POST", "/v2/models/same/infer", b"{}", form)
    assert (found.status, "-H 'Content-Type: application/json'" in found.error) == (415, True)
    assert server.request("POST", "/v2/repository/models/same/unload", b"{}", form).status == 415


def test_a_picture_as_it_is_is_415_with_the_way_out(server: Serving) -> None:
    found = server.request("POST", "/v2/models/same/infer", b"\x89PNG", {"Content-Type": "image/png"})
    assert (found.status, "got 'image/png' (a file is sent as binary data" in found.error) == (415, True)


def test_a_page_of_another_server_is_refused(server: Serving) -> None:
    """A browser would send such a request for any page that somebody looks at."""
    path = "/v2/repository/models/same/unload"
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{server.port + 1}"):
        assert server.post(path, {}, {"Origin": origin}).status == 403
    assert server.get("/v2/models/same/ready").status == 200
    own = {"Origin": f"http://127.0.0.1:{server.port}"}
    assert server.post("/v2/models/same/infer", {"inputs": [X4]}, own).status == 200
    proxied = {"Origin": "https://models.example", "X-Forwarded-Host": "models.example"}
    assert server.post("/v2/models/same/infer", {"inputs": [X4]}, proxied).status == 200


# -- tokens, metrics, the log -------------------------------------------------------------------------------


def test_tokens() -> None:
    settings = Settings(access_log="off", console=False, tokens=("first", "second"))
    with Serving(host_of(same=models.identity()), settings) as server:
        path = "/v2/models/same/infer"
        for headers in ({}, {"Authorization": "Bearer third"}, {"Authorization": "Basic first"}):
            refused = server.post(path, {"inputs": [X4]}, headers)
            assert refused.status == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        for token in ("first", "second"):
            good = {"Authorization": f"Bearer {token}", "Origin": "http://elsewhere.example"}
            assert server.post(path, {"inputs": [X4]}, good).status == 200
        for open_path in ("/v2/health/live", "/v2/health/ready"):
            assert server.get(open_path).status == 200
        for closed in ("/v2", "/metrics", "/v2/models/same", "/v2/repository/index"):
            assert server.get(closed).status == 401


def test_metrics_count_what_was_asked(server: Serving) -> None:
    def value(line: str) -> float:
        found = [each for each in server.get("/metrics").body.decode().splitlines() if each.startswith(line)]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    good = 'wasinn_requests_total{model="same",status="200"}'
    bad = 'wasinn_requests_total{model="same",status="400"}'
    unknown = 'wasinn_requests_total{model="",status="404"}'
    before = [value(line) for line in (good, bad, unknown)]
    server.infer("same", X4)
    server.infer("same", X4)
    server.infer("same")
    server.infer("made-up-by-a-caller", X4)
    assert [value(line) for line in (good, bad, unknown)] == [before[0] + 2, before[1] + 1, before[2] + 1]
    text = server.get("/metrics").body.decode()
    assert "made-up" not in text
    assert value('wasinn_failures_total{kind="invalid",model="same"}') >= 1
    assert value('wasinn_request_seconds_count{model="same"}') >= 3
    assert value('wasinn_compute_seconds_count{model="same"}') >= 2
    assert value('wasinn_model_ready{model="same"}') == 1
    assert value('wasinn_model_ready{model="broken"}') == 0
    assert value('wasinn_executions_idle{model="same"}') >= 1
    assert value('wasinn_requests_running{model="same"}') == 0


def test_the_access_log(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wasinn.access")
    server.infer("same", X4, id='evil"\n\x1b[31m')
    server.infer("nix", X4)
    server.get("/v2/models/same")
    server.get("/v2/health/live")
    lines = [each.getMessage() for each in caplog.records if each.name == "wasinn.access"]
    assert len(lines) == 3
    assert 'http "POST /v2/models/same/infer" 200 ' in lines[0]
    assert r'id="evil\"\n\x1b[31m"' in lines[0]
    assert 'http "POST /v2/models/nix/infer" 404 ' in lines[1]
    assert lines[1].endswith('error="not_found"')
    assert 'http "GET /v2/models/same" 200 ' in lines[2]


def test_any_bytes_on_the_wire_leave_the_server_up(server: Serving) -> None:
    for raw in (
        b"\x00" * 64,
        b"POST /v2/models/same/infer HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v2/models/same/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v2/models/%ff%fe/ready HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v2/models//infer HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        struct.pack("<I", 7) * 1000,
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
            assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert server.infer("same", X4).status == 200
