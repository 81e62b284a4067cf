# SPDX-License-Identifier: Apache-2.0
"""Requests and answers of the protocol's REST side: JSON, and behind it the binary tensor data of the
extension of that name, where the header `Inference-Header-Content-Length` says how long the JSON is.

Binary data is never copied when it is read: tensors are views of the body. NaN and the infinities are
written and read as `NaN`, `Infinity` and `-Infinity`, as other servers and Python's clients have them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from wasinn.oip.datatypes import check_data, check_head
from wasinn.oip.errors import OipError, shown
from wasinn.oip.json_data import read_data, write_data
from wasinn.oip.messages import InferRequest, InferResponse, RequestedOutput, WireTensor

#: The header with the length of the JSON, where binary data follows.
HEADER_LENGTH = "Inference-Header-Content-Length"

Parts = list[bytes | memoryview]

#: JSON beyond so many bytes is looked at before it is read: how many lists, objects and keys it may have, and
#: how many values. What is in texts counts as well.
_LARGE = 1 << 20
_MOST_PARTS, _MOST_VALUES = 1 << 19, 1 << 23


def decode_request(body: bytes | memoryview, header_length: int | None = None) -> InferRequest:
    """The request in `body`. `header_length`: what the header of that name says, None without it. Raises
    OipError."""
    document, binary = _split(body, header_length, "request")
    given = _list(document, "inputs", required=True)
    inputs = _tensors("input", given, binary)
    parameters = _parameters("the request", document)
    return InferRequest(
        inputs,
        _requested(_list(document, "outputs")),
        _text(document, "id"),
        parameters,
        _flag("the request", parameters, "binary_data_output") or False,
    )


def encode_response(response: InferResponse, request: InferRequest) -> tuple[Parts, int | None]:
    """The parts of an answer's body, and the value of the header that an answer with binary data has.

    An output is binary where the request says so. Raises OipError for one that JSON cannot say and that was
    not asked for as binary data: the caller's mistake.
    """
    wanted = {each.name: each.binary for each in request.outputs}
    parts: Parts = []
    outputs = []
    for tensor in response.outputs:
        binary = wanted.get(tensor.name)
        outputs.append(_written(tensor, request.binary_output if binary is None else binary, parts))
    document: dict[str, Any] = {"model_name": response.model_name}
    if response.model_version:
        document["model_version"] = response.model_version
    if response.id:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = dict(response.parameters)
    document["outputs"] = outputs
    return _joined(document, parts)


def encode_request(request: InferRequest, binary: bool = True) -> tuple[Parts, int | None]:
    """The parts of a request's body, and the value of the header; None where all is JSON. Raises OipError."""
    parts: Parts = []
    document: dict[str, Any] = {"inputs": [_written(each, binary, parts) for each in request.inputs]}
    if request.id:
        document["id"] = request.id
    parameters = dict(request.parameters)
    if request.binary_output:
        parameters["binary_data_output"] = True
    if parameters:
        document["parameters"] = parameters
    if request.outputs:
        document["outputs"] = [_asked(each) for each in request.outputs]
    return _joined(document, parts)


def decode_response(body: bytes | memoryview, header_length: int | None = None) -> InferResponse:
    """The answer in `body`. Raises OipError."""
    document, binary = _split(body, header_length, "answer")
    return InferResponse(
        _text(document, "model_name"),
        _tensors("output", _list(document, "outputs", required=True), binary),
        _text(document, "model_version"),
        _text(document, "id"),
        _parameters("the answer", document),
    )


def decode_error(body: bytes | memoryview) -> str | None:
    """What a server says in `{"error": TEXT}`; None where the body is anything else."""
    try:
        document = json.loads(str(body, "utf-8"))
    except (ValueError, RecursionError):
        return None
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) and error else None


def _split(
    body: bytes | memoryview, header_length: int | None, what: str
) -> tuple[dict[str, Any], memoryview | None]:
    """The JSON object, and the binary data where the header says that there is some."""
    binary = None
    if header_length is not None:
        if header_length == 0:
            raise OipError(
                f"{HEADER_LENGTH} is 0: the {what} needs a JSON object before its binary data, which says "
                "what the data is (raw binary requests are not understood)"
            )
        if not 0 < header_length <= len(body):
            raise OipError(f"{HEADER_LENGTH} is {header_length}, and the body has {len(body)} bytes")
        view = memoryview(body)
        body, binary = view[:header_length], view[header_length:]
    try:
        text = str(body, "utf-8")
        if len(text) > _LARGE and what == "request":
            _check_count(text)
        document = json.loads(text)
    except UnicodeDecodeError as error:
        hint = "" if binary is not None else f"; binary data needs the header {HEADER_LENGTH}"
        raise OipError(f"the {what} is not JSON: byte {error.start} is not UTF-8{hint}") from None
    except json.JSONDecodeError as error:
        raise OipError(f"the {what} is not JSON: {error}") from None
    except ValueError:  # Python's limit
        raise OipError(f"the {what} is not JSON of this protocol: a number has thousands of digits") from None
    except RecursionError:
        raise OipError(f"the {what} is not JSON of this protocol: it is nested too deep") from None
    if type(document) is not dict:
        raise OipError(f"the {what} must be a JSON object; got {shown(document)}")
    return document, binary


def _check_count(text: str) -> None:
    """JSON of some bytes can become a hundred times as many of Python's objects, and take as long. Raises
    OipError."""
    parts = text.count("[") + text.count("{") + text.count(":")
    values = text.count(",")
    if parts > _MOST_PARTS or values > _MOST_VALUES:
        found = f"{parts} lists, objects and keys" if parts > _MOST_PARTS else f"{values} values"
        most = _MOST_PARTS if parts > _MOST_PARTS else _MOST_VALUES
        raise OipError(
            f"the request's JSON has {found}, and {most} is the most that is read; send flat data, or better "
            f"binary data (binary_data_size, and the header {HEADER_LENGTH})"
        )


def _tensors(what: str, given: list[Any], binary: memoryview | None) -> tuple[WireTensor, ...]:
    tensors: list[WireTensor] = []
    names: set[str] = set()
    at = 0
    for each in given:
        if type(each) is not dict:
            raise OipError(f"an {what} must be a JSON object; got {shown(each)}")
        name, datatype = each.get("name"), each.get("datatype")
        shape = check_head(what, name, datatype, each.get("shape"))
        assert isinstance(name, str)
        assert isinstance(datatype, str)
        if name in names:
            raise OipError(f"there are two {what}s called {shown(name)}")
        names.add(name)
        parameters = _parameters(f"{what} {shown(name)}", each)
        size = parameters.get("binary_data_size")
        data: bytes | memoryview
        if size is not None:
            data = _slice(what, name, size, binary, at, each.get("data") is not None)
            at += len(data)
            check_data(what, name, datatype, shape, data)
            # The size tells how this came, not what it is.
            parameters = {key: value for key, value in parameters.items() if key != "binary_data_size"}
        elif each.get("data") is not None:
            data = read_data(name, datatype, shape, each["data"])
        elif "shared_memory_region" in parameters:
            raise OipError(f"{what} {shown(name)}: shared memory is not supported; send the data itself")
        else:
            raise OipError(f'{what} {shown(name)} has neither "data" nor the parameter "binary_data_size"')
        tensors.append(WireTensor(name, datatype, shape, data, parameters))
    if binary is not None and at != len(binary):
        raise OipError(
            f"{len(binary)} bytes of binary data follow the JSON, and binary_data_size of the {what}s adds "
            f"up to {at}"
        )
    return tuple(tensors)


def _slice(what: str, name: str, size: object, binary: memoryview | None, at: int, also: bool) -> memoryview:
    if type(size) is not int or size < 0:
        raise OipError(f"{what} {shown(name)}: binary_data_size must be a number of bytes; got {shown(size)}")
    if also:
        raise OipError(f'{what} {shown(name)} has "data" and "binary_data_size"; give one of them')
    if binary is None:
        raise OipError(
            f"{what} {shown(name)} has binary_data_size, and no header {HEADER_LENGTH} says where JSON ends"
        )
    if size > len(binary) - at:
        raise OipError(
            f"{what} {shown(name)}: binary_data_size is {size}, and {len(binary) - at} bytes are left"
        )
    return binary[at : at + size]


def _requested(given: list[Any]) -> tuple[RequestedOutput, ...]:
    outputs: list[RequestedOutput] = []
    names: set[str] = set()
    for each in given:
        name = each.get("name") if type(each) is dict else None
        if type(name) is not str or not name:
            raise OipError(f'an output that is asked for is {{"name": NAME}}; got {shown(each)}')
        if name in names:
            raise OipError(f"the output {shown(name)} is asked for twice")
        names.add(name)
        parameters = _parameters(f"output {shown(name)}", each)
        outputs.append(
            RequestedOutput(name, _flag(f"output {shown(name)}", parameters, "binary_data"), parameters)
        )
    return tuple(outputs)


def _list(document: Mapping[str, Any], key: str, required: bool = False) -> list[Any]:
    value = document.get(key)
    if value is None and not required:  # servers in Python write null for what they leave out
        return []
    if type(value) is not list:
        raise OipError(f'"{key}" must be a list; got {"none" if value is None else shown(value)}')
    return value


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if type(value) is not str:
        raise OipError(f'"{key}" must be a text; got {shown(value)}')
    return value


def _parameters(where: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    value = document.get("parameters")
    if value is None:
        return {}
    if type(value) is not dict:
        raise OipError(f"the parameters of {where} must be a JSON object; got {shown(value)}")
    return value


def _flag(where: str, parameters: Mapping[str, Any], key: str) -> bool | None:
    value = parameters.get(key)
    if value is not None and type(value) is not bool:
        raise OipError(f"{key} of {where} must be true or false; got {shown(value)}")
    return value


def _written(tensor: WireTensor, binary: bool, parts: Parts) -> dict[str, Any]:
    """A tensor in JSON; where it is `binary`, its data is added to `parts`."""
    document: dict[str, Any] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
    }
    parameters = dict(tensor.parameters)
    if binary:
        parameters["binary_data_size"] = len(tensor.data)
        parts.append(tensor.data)
    else:
        document["data"] = write_data(tensor)
    if parameters:
        document["parameters"] = parameters
    return document


def _asked(output: RequestedOutput) -> dict[str, Any]:
    parameters = dict(output.parameters)
    if output.binary is not None:
        parameters["binary_data"] = output.binary
    return {"name": output.name, "parameters": parameters} if parameters else {"name": output.name}


def _joined(document: Mapping[str, Any], parts: Sequence[bytes | memoryview]) -> tuple[Parts, int | None]:
    try:
        header = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, that came as an escape in JSON and can go back only as one.
        header = json.dumps(document, separators=(",", ":")).encode()
    return [header, *parts], len(header) if parts else None
