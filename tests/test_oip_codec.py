# SPDX-License-Identifier: Apache-2.0
"""The wire format of the Open Inference Protocol: what goes out comes in again, and what is wrong is said."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasinn.errors import ConfigError
from wasinn.oip import datatypes, rest
from wasinn.oip.address import Address, parse_address
from wasinn.oip.errors import OipError
from wasinn.oip.messages import (
    DATATYPES,
    InferRequest,
    InferResponse,
    RequestedOutput,
    WireTensor,
)


def body(**document: Any) -> bytes:
    return json.dumps(document).encode()


def one(datatype: str, shape: list[int], data: Any, **more: Any) -> bytes:
    return body(inputs=[{"name": "x", "datatype": datatype, "shape": shape, "data": data, **more}])


def whole(parts: rest.Parts) -> bytes:
    return b"".join(bytes(part) for part in parts)


def values(tensor: WireTensor) -> list[Any]:
    found: list[Any] = np.frombuffer(tensor.data, datatypes.NUMPY_OF[tensor.datatype]).tolist()
    return found


def says_why(error: OipError) -> None:
    assert str(error)


names = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable())


@st.composite
def tensors(draw: st.DrawFn, only_json: bool = False) -> tuple[WireTensor, ...]:
    """Tensors of other names, of any datatype and small shapes."""
    able = sorted(set(DATATYPES) - ({"FP16", "BF16"} if only_json else set()))
    found = []
    for name in draw(st.lists(names, max_size=3, unique=True)):
        datatype = draw(st.sampled_from(able))
        shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
        count = datatypes.count(shape)
        size = DATATYPES[datatype]
        if size is None:
            element = st.text(max_size=5).map(str.encode) if only_json else st.binary(max_size=5)
            data = datatypes.pack_bytes(draw(st.lists(element, min_size=count, max_size=count)))
        elif datatype == "BOOL":
            data = bytes(draw(st.lists(st.sampled_from([0, 1]), min_size=count, max_size=count)))
        else:
            data = draw(st.binary(min_size=count * size, max_size=count * size))
            if only_json and datatype.startswith("FP"):  # one NaN is written as another
                data = np.nan_to_num(np.frombuffer(data, datatypes.NUMPY_OF[datatype])).tobytes()
        found.append(WireTensor(name, datatype, shape, data))
    return tuple(found)


parameters = st.dictionaries(
    names.filter(lambda name: not name.startswith("binary_data")),
    st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=4) | st.floats(allow_nan=False),
    max_size=2,
)


@given(tensors(), parameters, st.text(max_size=4).filter(str.isprintable), st.booleans())
def test_a_binary_request_comes_in_as_it_went_out(
    inputs: tuple[WireTensor, ...], more: dict[str, Any], ident: str, binary_output: bool
) -> None:
    outputs = (RequestedOutput("y"), RequestedOutput("z", True, {"classification": 3}))
    parts, length = rest.encode_request(InferRequest(inputs, outputs, ident, more, binary_output))
    assert (length is None) == (not inputs)
    got = rest.decode_request(whole(parts), length)
    assert got.inputs == inputs
    assert got.id == ident
    assert got.binary_output == binary_output
    assert [(each.name, each.binary) for each in got.outputs] == [("y", None), ("z", True)]
    assert got.outputs[1].parameters["classification"] == 3
    assert {key: got.parameters[key] for key in more} == more


@given(tensors(only_json=True))
def test_a_json_request_comes_in_as_it_went_out(inputs: tuple[WireTensor, ...]) -> None:
    parts, length = rest.encode_request(InferRequest(inputs), binary=False)
    assert length is None
    assert rest.decode_request(whole(parts)).inputs == inputs


@given(tensors(only_json=True), st.data())
def test_an_answer_comes_in_as_it_went_out_binary_where_it_was_asked_so(
    outputs: tuple[WireTensor, ...], data: st.DataObject
) -> None:
    asked = tuple(
        RequestedOutput(each.name, data.draw(st.sampled_from([True, False, None]))) for each in outputs
    )
    by_default = data.draw(st.booleans())
    binary = [by_default if each.binary is None else each.binary for each in asked]
    answer = InferResponse("m", outputs, "1", "id", {"a": 1})
    parts, length = rest.encode_response(answer, InferRequest((), asked, binary_output=by_default))
    assert len(parts) == 1 + sum(binary)
    assert (length is None) == (not any(binary))
    document = json.loads(bytes(parts[0]))
    assert ["data" not in each for each in document["outputs"]] == binary
    assert rest.decode_response(whole(parts), length) == answer


@given(st.binary(max_size=60), st.none() | st.integers(-2, 70))
def test_any_bytes_are_a_request_or_an_error_with_words(content: bytes, length: int | None) -> None:
    for decode in (rest.decode_request, rest.decode_response):
        try:
            decode(content, length)
        except OipError as error:
            says_why(error)
    rest.decode_error(content)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.sampled_from(["x", "", "FP32", "BYTES", "INT8", "BF16", "BOOL", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": anything,
            "datatype": anything | st.sampled_from(sorted(DATATYPES)),
            "shape": anything | st.lists(st.integers(0, 2), max_size=3),
            "data": anything | st.lists(anything, max_size=4),
            "parameters": anything
            | st.fixed_dictionaries({"binary_data_size": anything | st.integers(0, 9)}),
        },
    ),
    st.binary(max_size=8),
)
def test_any_json_is_a_request_of_whole_tensors_or_an_error_with_words(
    tensor: dict[str, Any], binary: bytes
) -> None:
    """Whatever passes has as many bytes as its shape says: no runtime looks again."""
    tensor.setdefault("name", "x")
    header = json.dumps({"inputs": [tensor]}).encode()
    try:
        request = rest.decode_request(header + binary, len(header) if binary else None)
    except OipError as error:
        says_why(error)
        return
    (found,) = request.inputs
    datatypes.check_data("input", found.name, found.datatype, found.shape, found.data)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "wanted"),
    [
        ("FP32", [2, 2], [[1, 2.5], [3, 4]], [1.0, 2.5, 3.0, 4.0]),
        ("FP32", [2, 2], [1, 2.5, 3, 4], [1.0, 2.5, 3.0, 4.0]),
        ("FP64", [], [0.1], [0.1]),
        ("INT64", [2], [9007199254740993, -(1 << 63)], [9007199254740993, -(1 << 63)]),
        ("UINT64", [1], [(1 << 64) - 1], [(1 << 64) - 1]),
        ("INT8", [2], [-128, 127], [-128, 127]),
        ("BOOL", [3], [True, False, 1], [True, False, True]),
        ("FP32", [0, 3], [], []),
        ("FP32", [2, 0], [[], []], []),
    ],
)
def test_json_data(datatype: str, shape: list[int], data: Any, wanted: list[Any]) -> None:
    (tensor,) = rest.decode_request(one(datatype, shape, data)).inputs
    assert values(tensor) == wanted
    assert tensor.shape == tuple(shape)


def test_json_not_a_number_is_read_and_written() -> None:
    (tensor,) = rest.decode_request(one("FP32", [3], [float("nan"), float("inf"), float("-inf")])).inputs
    found = values(tensor)
    assert np.isnan(found[0])
    assert found[1:] == [float("inf"), float("-inf")]
    parts, _ = rest.encode_response(InferResponse("m", [tensor]), InferRequest(()))
    assert b"[NaN,Infinity,-Infinity]" in bytes(parts[0])


def test_texts_are_bytes_in_utf_8() -> None:
    (tensor,) = rest.decode_request(one("BYTES", [2], ["ä", ""])).inputs
    assert datatypes.unpack_bytes(tensor.data) == ["ä".encode(), b""]
    assert bytes(tensor.data) == struct.pack("<I", 2) + "ä".encode() + struct.pack("<I", 0)


def test_binary_data_is_a_view_of_the_body() -> None:
    parts, length = rest.encode_request(InferRequest([WireTensor("x", "UINT8", (3,), b"abc")]))
    content = bytearray(whole(parts))
    (tensor,) = rest.decode_request(memoryview(content), length).inputs
    content[-1:] = b"z"
    assert bytes(tensor.data) == b"abz"


BINARY = {"parameters": {"binary_data_size": 4}}
X = {"name": "x", "datatype": "FP32", "shape": [1]}


@pytest.mark.parametrize(
    ("content", "length", "words"),
    [
        (b"", None, "the request is not JSON"),
        (b"[1]", None, "must be a JSON object; got [1]"),
        (b"\xff\xfe", None, "byte 0 is not UTF-8; binary data needs the header Inference-Header-Content-L"),
        (b"[" * 100_000, None, "nested too deep"),
        (b"{}", None, '"inputs" must be a list; got none'),
        (body(inputs=[7]), None, "an input must be a JSON object; got 7"),
        (body(inputs=[{**X, "name": ""}]), None, "has no \"name\", a text that is not empty; got ''"),
        (body(inputs=[{**X, "datatype": "fp32"}]), None, "the datatype must be one of BOOL, UINT8"),
        (body(inputs=[{**X, "shape": [-1], "data": []}]), None, "what is sent has no dynamic dimension"),
        (body(inputs=[{**X, "shape": [True], "data": [1]}]), None, "the shape must be whole numbers"),
        (body(inputs=[{**X, "shape": [1] * 33, "data": [1]}]), None, "at most 32 dimensions; got 33"),
        (body(inputs=[{**X, "shape": 1}]), None, "the shape must be a list of numbers; got 1"),
        (body(inputs=[X]), None, 'has neither "data" nor the parameter "binary_data_size"'),
        (body(inputs=[{**X, "data": [1]}] * 2), None, "there are two inputs called 'x'"),
        (body(inputs=[{**X, "data": 1}]), None, "data must be a list; got 1"),
        (body(inputs=[{**X, "parameters": 1}]), None, "the parameters of input 'x' must be a JSON object"),
        (
            body(inputs=[{**X, "parameters": {"shared_memory_region": "r"}}]),
            None,
            "shared memory is not supp",
        ),
        (body(inputs=[{**X, **BINARY}]), None, "no header Inference-Header-Content-Length says where"),
        (body(inputs=[{**X, **BINARY, "data": [1]}]), 200, "the body has"),
        (body(inputs=[], id=7), None, '"id" must be a text; got 7'),
        (body(inputs=[], outputs=["y"]), None, "an output that is asked for is {\"name\": NAME}; got 'y'"),
        (body(inputs=[], outputs=[{"name": "y"}] * 2), None, "the output 'y' is asked for twice"),
        (body(inputs=[], parameters={"binary_data_output": 1}), None, "must be true or false; got 1"),
        (one("FP32", [2], [1]), None, "shape [2] has 2 elements; the data has 1"),
        (one("FP32", [2, 3], [[1, 2], [3, 4], [5, 6]]), None, "not nested as the shape [2, 3] says"),
        (one("FP32", [2, 2], [[1, 2], [3]]), None, "not nested as the shape"),
        (one("FP32", [2, 2], [[1, 2], 3]), None, "not nested as the shape"),
        (one("FP32", [2], [[1, 2]]), None, "not nested as the shape"),
        (one("FP32", [1], ["1.5"]), None, "FP32 is numbers; got '1.5'"),
        (one("FP32", [1], [True]), None, "FP32 is numbers; got True"),
        (one("FP32", [1], [1e39]), None, "a number is too large for FP32"),
        (one("FP64", [1], [10**400]), None, "a number is too large for FP64"),
        (one("INT32", [1], [1.5]), None, "INT32 is whole numbers; got 1.5"),
        (one("UINT8", [2], [1, 300]), None, "UINT8 is from 0 to 255; got 300"),
        (one("UINT64", [1], [-1]), None, "UINT64 is from 0 to 18446744073709551615; got -1"),
        (one("BOOL", [1], [2]), None, "BOOL is true and false"),
        (one("BOOL", [1], ["true"]), None, "BOOL is true and false; got 'true'"),
        (one("BYTES", [1], [5]), None, "BYTES is texts (other bytes need binary data); got 5"),
        (one("BYTES", [1], ["\ud800"]), None, "half of a surrogate pair"),
        (one("FP16", [1], [1.0]), None, "FP16 cannot be written as JSON; send binary data"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_what_is_wrong_is_said(content: bytes, length: int | None, words: str) -> None:
    with pytest.raises(OipError) as caught:
        rest.decode_request(content, length)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "shape", "size", "binary", "words"),
    [
        ("FP32", [2], 4, b"1234", "FP32 [2] is 8 bytes; got 4"),
        ("FP32", [1], 8, b"1234", "binary_data_size is 8, and 4 bytes are left"),
        ("FP32", [1], 4, b"12345", "5 bytes of binary data follow the JSON, and binary_data_size"),
        ("FP32", [1], -1, b"1234", "must be a number of bytes; got -1"),
        ("FP32", [1 << 62, 4], 4, b"1234", "is 73786976294838206464 bytes; got 4"),
        ("BYTES", [1], 4, b"\5\0\0\0", "says that it has 5 bytes, and 0 follow"),
        ("BYTES", [1], 3, b"\5\0\0", "at byte 0 only 3 follow"),
        ("BYTES", [2], 5, b"\1\0\0\0a", "BYTES [2] has 2 elements; the data has 1"),
    ],
)
def test_what_is_wrong_in_binary_data_is_said(
    datatype: str, shape: list[int], size: int, binary: bytes, words: str
) -> None:
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
    header = body(inputs=[tensor])
    with pytest.raises(OipError) as caught:
        rest.decode_request(header + binary, len(header))
    assert words in str(caught.value)


def test_a_header_length_of_0_is_refused_with_the_reason() -> None:
    with pytest.raises(OipError, match="raw binary requests are not understood"):
        rest.decode_request(b"1234", 0)


def test_an_answer_that_json_cannot_say_tells_to_ask_for_binary_data() -> None:
    for tensor in (
        WireTensor("y", "FP16", (1,), b"12"),
        WireTensor("y", "BYTES", (1,), datatypes.pack_bytes([b"\xff"])),
    ):
        answer = InferResponse("m", [tensor])
        with pytest.raises(OipError, match="binary_data: true"):
            rest.encode_response(answer, InferRequest(()))
        parts, _ = rest.encode_response(answer, InferRequest((), binary_output=True))
        assert bytes(parts[1]) == tensor.data


def test_an_error_that_a_server_says() -> None:
    assert rest.decode_error(b'{"error": "no such model"}') == "no such model"
    for other in (b"<html>", b'{"error": 7}', b"[]", b"\xff"):
        assert rest.decode_error(other) is None


def test_datatypes_are_of_one_size_in_all_tables() -> None:
    for datatype, size in DATATYPES.items():
        if size is not None:
            assert datatypes.TYPE_OF[datatype].size == size
            assert datatype == "BF16" or datatypes.NUMPY_OF[datatype].itemsize == size


# gRPC


@pytest.fixture(scope="module")
def codec() -> Any:
    pytest.importorskip("google.protobuf", reason="protobuf is not installed: wasinn[oip]")
    from wasinn.oip import grpc_codec

    return grpc_codec


@given(
    sent=st.tuples(tensors(), st.just(True)) | st.tuples(tensors(only_json=True), st.just(False)),
    more=parameters,
)
def test_a_grpc_request_and_answer_come_in_as_they_went_out(
    codec: Any, sent: tuple[tuple[WireTensor, ...], bool], more: dict[str, Any]
) -> None:
    from wasinn.oip.grpc_messages import ModelInferRequest, ModelInferResponse

    inputs, raw = sent
    request = InferRequest(inputs, (RequestedOutput("y", None, more),), "id", more, True)
    message = codec.request_to_message(request, "m", "2", raw=raw)
    message = ModelInferRequest.FromString(message.SerializeToString())
    assert (message.model_name, message.model_version) == ("m", "2")
    assert codec.request_from_message(message) == request
    answer = InferResponse("m", inputs, "2", "id", more)
    message = codec.response_to_message(answer, raw=raw)
    assert codec.response_from_message(ModelInferResponse.FromString(message.SerializeToString())) == answer


@given(content=st.binary(max_size=40))
def test_any_grpc_message_is_a_request_or_an_error_with_words(codec: Any, content: bytes) -> None:
    from google.protobuf.message import DecodeError

    from wasinn.oip.grpc_messages import ModelInferRequest

    tensor = ModelInferRequest.InferInputTensor
    for kind in (ModelInferRequest, tensor):
        try:
            message = kind.FromString(content)
        except DecodeError:
            continue
        if kind is tensor:
            message = ModelInferRequest(inputs=[message])
        try:
            codec.request_from_message(message)
        except OipError as error:
            says_why(error)


def test_what_is_wrong_in_a_grpc_request_is_said(codec: Any) -> None:
    from wasinn.oip.grpc_messages import ModelInferRequest

    def refused(words: str, raw: list[bytes] = [], **tensor: Any) -> None:  # noqa: B006
        message = ModelInferRequest(raw_input_contents=raw)
        message.inputs.add(**{"name": "x", "datatype": "FP32", "shape": [1], **tensor})
        with pytest.raises(OipError) as caught:
            codec.request_from_message(message)
        assert words in str(caught.value)

    refused("FP32 [1] is 4 bytes; got 3", [b"123"])
    refused("there are 1 inputs, and 2 raw_input_contents", [b"1234", b"1234"])
    refused(
        "has typed contents, and there are raw_input_contents", [b"1234"], contents={"fp32_contents": [1]}
    )
    # Empty ones, which MLServer sends beside raw data, say nothing.
    message = ModelInferRequest(raw_input_contents=[b"1234"])
    message.inputs.add(name="x", datatype="FP32", shape=[1]).contents.SetInParent()
    assert codec.request_from_message(message).inputs[0].data == b"1234"
    refused("FP32 is sent in fp32_contents, not in int_contents", contents={"int_contents": [1]})
    refused("FP32 [1] has 1 elements; fp32_contents has 2", contents={"fp32_contents": [1, 2]})
    refused("FP32 [1] has 1 elements; fp32_contents has 0")
    refused("BF16 has no typed contents", datatype="BF16", contents={"fp32_contents": [1]})
    refused("UINT8 is from 0 to 255", datatype="UINT8", contents={"uint_contents": [256]})
    refused("INT8 is from -128 to 127", datatype="INT8", contents={"int_contents": [-129]})
    refused("the shape must be whole numbers", shape=[-1])
    refused("the datatype must be one of", datatype="FLOAT")
    refused("shared memory is not supp", parameters={"shared_memory_region": {"string_param": "r"}})
    refused("the parameter 'p' has no value", parameters={"p": {}})


def test_the_messages_are_those_of_tritons_client_which_lives_in_the_same_process(codec: Any) -> None:
    theirs = pytest.importorskip(
        "tritonclient.grpc.service_pb2", reason="tritonclient[grpc] is not installed"
    )
    from wasinn.oip import grpc_messages

    def fields(message: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field in message.fields:
            found[field.name] = (
                field.number,
                field.type,
                field.is_repeated if hasattr(field, "is_repeated") else field.label,
                field.containing_oneof and field.containing_oneof.name,
                field.message_type and (field.message_type.full_name, fields(field.message_type)),
            )
        return found

    checked = 0
    for name, method in grpc_messages.METHODS.items():
        other = theirs.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[name]
        for mine, reference in (
            (method.request.DESCRIPTOR, other.input_type),
            (method.response.DESCRIPTOR, other.output_type),
        ):
            assert mine.full_name == reference.full_name
            assert fields(mine) == fields(reference)
            checked += 1
    assert checked == 20
    assert grpc_messages.Method.path("ServerLive") == "/inference.GRPCInferenceService/ServerLive"


# Addresses


@pytest.mark.parametrize(
    ("url", "wanted", "path"),
    [
        ("http://h/m", Address("http", False, "h", 80, "m"), "/v2/models/m"),
        ("https://h:1/m/2/", Address("http", True, "h", 1, "m", "2"), "/v2/models/m/versions/2"),
        ("grpcs://[::1]:9/a%2Fb", Address("grpc", True, "::1", 9, "a/b"), "/v2/models/a%2Fb"),
        (
            "http://h/a/b/v2/models/m/versions/3",
            Address("http", False, "h", 80, "m", "3", "/a/b"),
            "/a/b/v2/models/m/versions/3",
        ),
    ],
    ids=["plain", "version", "grpc", "prefix"],
)
def test_an_address(url: str, wanted: Address, path: str) -> None:
    assert parse_address(url) == wanted
    assert wanted.path == path


def test_an_ipv6_server_is_in_brackets() -> None:
    assert parse_address("grpc://[::1]:9/m").server == "[::1]:9"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("h/m", "is not http://HOST:PORT/MODEL"),
        ("ftp://h/m", "is not http://HOST:PORT/MODEL"),
        ("http:///m", "names no host"),
        ("http://h:port/m", "is no URL"),
        ("http://h", "names no model"),
        ("http://h/a/b/c", "a slash in a name is written %2F"),
        ("grpc://h/m", "needs a port, as in grpc://h:8001/m"),
        ("grpc://h:1/p/v2/models/m", "has no prefix"),
        ("http://me:secret@h/m", "use token_file=FILE"),
        ("http://h/m?x=1", "options of a graph are given by name"),
    ],
)
def test_an_address_that_is_wrong(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(url)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_null_is_what_was_left_out() -> None:
    """KServe's server writes every field of an answer."""
    body = b"""{"model_name": "m", "model_version": null, "id": null, "parameters": null, "outputs": [
        {"name": "y", "shape": [1], "datatype": "FP32", "parameters": null, "data": [2.0]}]}"""
    answer = rest.decode_response(body, None)
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "", "")
    assert [bytes(each.data) for each in answer.outputs] == [struct.pack("<f", 2.0)]
    head = b"""{"model_name": "m", "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": null,
        "parameters": {"binary_data_size": 4}}]}"""
    answer = rest.decode_response(head + b"1234", len(head))
    assert bytes(answer.outputs[0].data) == b"1234"
