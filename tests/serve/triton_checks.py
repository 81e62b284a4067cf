# SPDX-License-Identifier: Apache-2.0
"""What a user of `tritonclient` does, over HTTP and over gRPC: run as a program, beside the server.

`python triton_checks.py HTTP_ADDRESS GRPC_ADDRESS` writes a JSON object {check: "" or what went wrong}. It is
a process of its own, as the client's own messages of the protocol are then the only ones in it.

The server has: `add` (a, b -> sum, difference: FP32 [-1,4]), `echo_TYPE` (x -> y: [-1,3], see TYPES), `text`
(a guest: echoes its BYTES inputs; answers "no" with a refusal), `spare` (like `add`, nobody else's).
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

TYPES = ("BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "UINT64", "FP16", "FP32", "FP64")
_NUMPY = {"BOOL": np.bool_, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64}

A = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
B = np.array([[0.5, 0, -1, 2], [1, 1, 1, 1]], np.float32)


class Side:
    """One protocol: its client and its module."""

    def __init__(self, kind: str, address: str) -> None:
        self.kind = kind
        self.address = address
        self.module: Any = getattr(tritonclient, kind)
        self.client: Any = self.module.InferenceServerClient(address)

    def tensor(self, name: str, array: Any, json_data: bool = False) -> Any:
        tensor = self.module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        if json_data:
            tensor.set_data_from_numpy(array, binary_data=False)
        else:
            tensor.set_data_from_numpy(array)
        return tensor

    def wanted(self, *names: str, **options: Any) -> list[Any]:
        return [self.module.InferRequestedOutput(name, **options) for name in names]

    def sum_inputs(self, json_data: bool = False) -> list[Any]:
        return [self.tensor("a", A, json_data), self.tensor("b", B, json_data)]

    def refused(self, *words: str, status: str = "", **call: Any) -> None:
        """`infer(**call)` is refused with `words`, and with one of the statuses `HTTP|GRPC`."""
        call = {"model_name": "add", "inputs": self.sum_inputs(), **call}
        expect(lambda: self.client.infer(**call), *words, status=self.status(status))

    def status(self, both: str) -> str:
        """Of "400|INVALID_ARGUMENT", this side's."""
        return both.split("|")[self.kind == "grpc"] if both else ""


def expect(call: Callable[[], Any], *words: str, status: str = "") -> None:
    try:
        answer = call()
    except InferenceServerException as error:
        said = f"{error.status()} {error.message()}"
        for word in (*words, status):
            assert word in said, f"{word!r} is not in {said!r}"
        return
    raise AssertionError(f"not refused, but {answer!r}")


def health(side: Side) -> None:
    assert side.client.is_server_live()
    assert side.client.is_server_ready()
    assert side.client.is_model_ready("add")
    assert side.client.is_model_ready("add", "1")
    assert not side.client.is_model_ready("nothing")
    assert not side.client.is_model_ready("add", "7")


def server_metadata(side: Side) -> None:
    options = {"as_json": True} if side.kind == "grpc" else {}
    found = side.client.get_server_metadata(**options)
    assert found["name"] == "wasinn", found
    assert found["version"], found
    assert "model_repository" in found["extensions"], found


def model_metadata(side: Side) -> None:
    options = {"as_json": True} if side.kind == "grpc" else {}
    found = side.client.get_model_metadata("add", **options)
    assert found["name"] == "add", found
    assert found["versions"] == ["1"], found
    assert found["platform"], found
    tensors = {each["name"]: each for each in (*found["inputs"], *found["outputs"])}
    assert list(tensors) == ["a", "b", "sum", "difference"], found
    for each in tensors.values():
        assert each["datatype"] == "FP32", found
        assert [int(size) for size in each["shape"]] == [-1, 4], found
    expect(lambda: side.client.get_model_metadata("nothing"), "nothing", status=side.status("404|NOT_FOUND"))


def two_inputs_two_outputs(side: Side) -> None:
    answer = side.client.infer("add", side.sum_inputs(), request_id="my-7")
    np.testing.assert_array_equal(answer.as_numpy("sum"), A + B)
    np.testing.assert_array_equal(answer.as_numpy("difference"), A - B)
    found = answer.get_response()
    if side.kind == "grpc":
        assert (found.id, found.model_name, found.model_version) == ("my-7", "add", "1"), found
    else:
        assert (found["id"], found["model_name"], found["model_version"]) == ("my-7", "add", "1"), found


def inputs_in_any_order(side: Side) -> None:
    answer = side.client.infer("add", side.sum_inputs()[::-1], model_version="1")
    np.testing.assert_array_equal(answer.as_numpy("difference"), A - B)


def requested_outputs(side: Side) -> None:
    answer = side.client.infer("add", side.sum_inputs(), outputs=side.wanted("difference"))
    np.testing.assert_array_equal(answer.as_numpy("difference"), A - B)
    assert answer.as_numpy("sum") is None
    answer = side.client.infer("add", side.sum_inputs(), outputs=side.wanted("difference", "sum"))
    found = answer.get_response()
    outputs = found.outputs if side.kind == "grpc" else found["outputs"]
    names = [each.name if side.kind == "grpc" else each["name"] for each in outputs]
    assert names == ["difference", "sum"], names
    side.refused("nope", outputs=side.wanted("nope"), status="400|INVALID_ARGUMENT")


def datatypes(side: Side) -> None:
    for datatype in TYPES:
        kind = _NUMPY.get(datatype, getattr(np, datatype.lower(), None))
        array = np.arange(6).reshape(2, 3).astype(kind)
        if np.issubdtype(kind, np.integer):
            limits = np.iinfo(kind)
            array[0] = limits.min, limits.max, 0
        elif np.issubdtype(kind, np.floating):
            array[0] = np.inf, np.nan, -0.0
        answer = side.client.infer(f"echo_{datatype}", [side.tensor("x", array)]).as_numpy("y")
        assert answer.dtype == array.dtype, datatype
        assert answer.tobytes() == array.tobytes(), (datatype, answer)


def json_data(side: Side) -> None:
    """Tensors as JSON, one way and both ways; integers keep all of their bits."""
    if side.kind == "grpc":
        return  # the client has binary data only
    for inputs_json in (True, False):
        outputs = side.wanted("sum", binary_data=False) + side.wanted("difference", binary_data=True)
        answer = side.client.infer("add", side.sum_inputs(inputs_json), outputs=outputs)
        np.testing.assert_array_equal(answer.as_numpy("sum"), A + B)
        np.testing.assert_array_equal(answer.as_numpy("difference"), A - B)
        assert "data" in answer.get_output("sum"), answer.get_response()
        assert "data" not in answer.get_output("difference"), answer.get_response()
    for kind, name in ((np.int64, "INT64"), (np.uint64, "UINT64")):
        array = np.array([[np.iinfo(kind).max, np.iinfo(kind).min, (1 << 53) + 1]], kind)
        call = side.client.infer(
            f"echo_{name}",
            [side.tensor("x", array, json_data=True)],
            outputs=side.wanted("y", binary_data=False),
        )
        np.testing.assert_array_equal(call.as_numpy("y"), array)


def bytes_tensors(side: Side) -> None:
    array = np.array([[b"one", b""], ["zw\u00f6lf \U0001f600".encode(), b"\x00\xff"]], np.object_)
    answer = side.client.infer("text", [side.tensor("in", array)]).as_numpy("in")
    assert answer.shape == (2, 2)
    assert answer.tolist() == array.tolist(), answer
    if side.kind == "http":
        words = np.array(["eins", "zw\u00f6lf"], np.object_)
        answer = side.client.infer(
            "text", [side.tensor("in", words, json_data=True)], outputs=side.wanted("in", binary_data=False)
        )
        assert answer.get_output("in")["data"] == words.tolist(), answer.get_response()


def guests_refusal(side: Side) -> None:
    array = np.array([b"no"], np.object_)
    call = {"model_name": "text", "inputs": [side.tensor("in", array)]}
    side.refused("the guest says no", **call, status="400|INVALID_ARGUMENT")


def classification(side: Side) -> None:
    wanted = side.wanted("sum", class_count=2)
    side.refused("classification", outputs=wanted, status="400|INVALID_ARGUMENT")


def wrong_requests(side: Side) -> None:
    bad = "400|INVALID_ARGUMENT"
    side.refused("nothing", model_name="nothing", status="404|NOT_FOUND")
    side.refused("7", model_version="7", status="404|NOT_FOUND")
    side.refused("'b'", inputs=side.sum_inputs()[:1], status=bad)
    side.refused("'c'", inputs=[*side.sum_inputs(), side.tensor("c", A)], status=bad)
    side.refused("'a'", inputs=[side.sum_inputs()[0]] * 2, status=bad)
    wide = side.tensor("a", np.zeros((2, 5), np.float32))
    side.refused("'a'", "5", "4", inputs=[wide, side.tensor("b", B)], status=bad)
    doubles = side.tensor("a", A.astype(np.float64))
    side.refused("'a'", "64", "32", inputs=[doubles, side.tensor("b", B)], status=bad)
    answer = side.client.infer("add", side.sum_inputs())  # and none of it harmed the server
    np.testing.assert_array_equal(answer.as_numpy("sum"), A + B)


def parameters(side: Side) -> None:
    """Those of the caller's own do no harm; a sequence, which needs a server that knows of it, is refused."""
    own = {"mine": 1, "x": 2.5, "text": "t", "yes": True}
    answer = side.client.infer("add", side.sum_inputs(), priority=2, timeout=10_000_000, parameters=own)
    np.testing.assert_array_equal(answer.as_numpy("sum"), A + B)
    call = {"model_name": "add", "inputs": side.sum_inputs(), "sequence_id": 5, "sequence_start": True}
    expect(lambda: side.client.infer(**call), "sequence", status=side.status("400|INVALID_ARGUMENT"))


def compression(side: Side) -> None:
    if side.kind == "grpc":
        ways = [{"compression_algorithm": "gzip"}]
    else:
        ways = [{f"{which}_compression_algorithm": "gzip"} for which in ("request", "response")]
    for way in ways:
        answer = side.client.infer("add", side.sum_inputs(), **way)
        np.testing.assert_array_equal(answer.as_numpy("sum"), A + B)


def large_tensors(side: Side) -> None:
    array = np.random.default_rng(0).random((400_000, 3), np.float32)  # more than gRPC's default of 4 MiB
    answer = side.client.infer("echo_FP32", [side.tensor("x", array)]).as_numpy("y")
    np.testing.assert_array_equal(answer, array)


def repository(side: Side) -> None:
    def states() -> dict[str, str]:
        if side.kind == "http":
            found = side.client.get_model_repository_index()
        else:
            found = side.client.get_model_repository_index(as_json=True)["models"]
        return {each["name"]: each["state"] for each in found}

    assert {"add", "spare", "text", "echo_FP32"} <= set(states())
    assert states()["spare"] == "READY"
    side.client.unload_model("spare")
    assert states()["spare"] == "UNAVAILABLE"
    assert not side.client.is_model_ready("spare")
    side.refused("spare", model_name="spare")
    side.client.load_model("spare")
    assert states()["spare"] == "READY"
    answer = side.client.infer("spare", side.sum_inputs())
    np.testing.assert_array_equal(answer.as_numpy("sum"), A + B)
    expect(lambda: side.client.load_model("nothing"), "nothing")
    expect(lambda: side.client.unload_model("nothing"), "nothing")


def not_served(side: Side) -> None:
    """What Triton has and this server has not: said in words."""
    expect(side.client.get_system_shared_memory_status)
    expect(side.client.get_inference_statistics)
    if side.kind == "grpc":
        expect(side.client.get_inference_statistics, "ModelStatistics", status="UNIMPLEMENTED")


def async_infer(side: Side) -> None:
    if side.kind == "http":
        with side.module.InferenceServerClient(side.address, concurrency=4) as client:
            for answer in [client.async_infer("add", side.sum_inputs()) for _ in range(8)]:
                np.testing.assert_array_equal(answer.get_result().as_numpy("sum"), A + B)
        return
    answers: queue.Queue[Any] = queue.Queue()
    for _ in range(8):
        side.client.async_infer(
            "add", side.sum_inputs(), callback=lambda result, error: answers.put((result, error))
        )
    for _ in range(8):
        result, error = answers.get(timeout=10)
        assert error is None, error
        np.testing.assert_array_equal(result.as_numpy("sum"), A + B)


def stream(side: Side) -> None:
    """One stream, many requests: answers in their order, a bad one in between costs itself only."""
    if side.kind == "http":
        return
    answers: queue.Queue[Any] = queue.Queue()
    side.client.start_stream(lambda result, error: answers.put((result, error)))
    for turn in range(20):
        name = "nothing" if turn == 3 else "add"
        inputs = [side.tensor("a", A + turn), side.tensor("b", B)]
        side.client.async_stream_infer(
            name, inputs, request_id=str(turn), enable_empty_final_response=turn % 2 == 0
        )
    for turn in range(20):
        result, error = answers.get(timeout=10)
        if turn == 3:
            assert result is None
            assert "nothing" in str(error), error
            continue
        assert error is None, error
        assert result.get_response().id == str(turn)
        assert result.get_response().parameters["triton_final_response"].bool_param
        np.testing.assert_array_equal(result.as_numpy("sum"), A + turn + B)
    side.client.stop_stream()


def clients_of_asyncio(side: Side) -> None:
    async def use() -> None:
        module = getattr(tritonclient, side.kind).aio
        async with module.InferenceServerClient(side.address) as client:
            assert await client.is_model_ready("add")
            calls = [client.infer("add", side.sum_inputs()) for _ in range(8)]
            for answer in await asyncio.gather(*calls):
                np.testing.assert_array_equal(answer.as_numpy("sum"), A + B)
            try:
                await client.infer("nothing", side.sum_inputs())
                refused = ""
            except InferenceServerException as error:
                refused = error.message()
            assert "nothing" in refused, refused

    asyncio.run(use())


CHECKS = (
    health,
    server_metadata,
    model_metadata,
    two_inputs_two_outputs,
    inputs_in_any_order,
    requested_outputs,
    datatypes,
    json_data,
    bytes_tensors,
    guests_refusal,
    classification,
    wrong_requests,
    parameters,
    compression,
    large_tensors,
    repository,
    not_served,
    async_infer,
    stream,
    clients_of_asyncio,
)


def main() -> None:
    results = {}
    for kind, address in zip(("http", "grpc"), sys.argv[1:3], strict=True):
        side = Side(kind, address)
        for check in CHECKS:
            try:
                check(side)
                results[f"{kind}-{check.__name__}"] = ""
            except Exception:
                results[f"{kind}-{check.__name__}"] = traceback.format_exc()
        side.client.close()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
