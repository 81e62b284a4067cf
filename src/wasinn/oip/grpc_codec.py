# SPDX-License-Identifier: Apache-2.0
"""Between the messages of the protocol's gRPC side and requests and answers.

Tensors go raw (`raw_input_contents`, one for each in their order) or typed (`contents` of each), never both
in one message; FP16 and BF16 have no typed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wasinn.oip import grpc_messages
from wasinn.oip.datatypes import NUMPY_OF, check_data, check_head, count, pack_bytes, unpack_bytes
from wasinn.oip.errors import OipError, shown
from wasinn.oip.messages import InferRequest, InferResponse, RequestedOutput, WireTensor

#: The field of `contents` by datatype.
_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def request_from_message(message: Any) -> InferRequest:
    """The request in a ModelInferRequest. Raises OipError."""
    outputs: list[RequestedOutput] = []
    for each in message.outputs:
        if not each.name:
            raise OipError("an output that is asked for has no name")
        if any(each.name == other.name for other in outputs):
            raise OipError(f"the output {shown(each.name)} is asked for twice")
        outputs.append(RequestedOutput(each.name, None, parameters_from(each.parameters)))
    return InferRequest(
        _tensors("input", message.inputs, message.raw_input_contents),
        tuple(outputs),
        message.id,
        parameters_from(message.parameters),
        binary_output=True,
    )


def request_to_message(
    request: InferRequest, model_name: str, model_version: str = "", raw: bool = True
) -> Any:
    """A ModelInferRequest. Raises OipError for a tensor or a parameter that cannot be sent."""
    message = grpc_messages.ModelInferRequest(
        model_name=model_name, model_version=model_version, id=request.id
    )
    _add_parameters(message.parameters, request.parameters)
    for tensor in request.inputs:
        _add_tensor(message.inputs, message.raw_input_contents, tensor, raw)
    for each in request.outputs:
        _add_parameters(message.outputs.add(name=each.name).parameters, each.parameters)
    return message


def response_to_message(response: InferResponse, raw: bool = True) -> Any:
    """A ModelInferResponse. Raises OipError for a tensor or a parameter that cannot be sent."""
    message = grpc_messages.ModelInferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id
    )
    _add_parameters(message.parameters, response.parameters)
    for tensor in response.outputs:
        _add_tensor(message.outputs, message.raw_output_contents, tensor, raw)
    return message


def response_from_message(message: Any) -> InferResponse:
    """The answer in a ModelInferResponse. Raises OipError."""
    return InferResponse(
        message.model_name,
        _tensors("output", message.outputs, message.raw_output_contents),
        message.model_version,
        message.id,
        parameters_from(message.parameters),
    )


def _tensors(what: str, given: Sequence[Any], raw: Sequence[bytes]) -> tuple[WireTensor, ...]:
    if raw and len(raw) != len(given):
        raise OipError(
            f"there are {len(given)} {what}s, and {len(raw)} raw_{what}_contents: give one for each, in "
            "their order, or typed contents in all"
        )
    tensors: list[WireTensor] = []
    names: set[str] = set()
    for index, each in enumerate(given):
        name, datatype = each.name, each.datatype
        shape = check_head(what, name, datatype, list(each.shape))
        if name in names:
            raise OipError(f"there are two {what}s called {shown(name)}")
        names.add(name)
        parameters = parameters_from(each.parameters)
        if "shared_memory_region" in parameters:
            raise OipError(f"{what} {shown(name)}: shared memory is not supported; send the data itself")
        if raw:
            if each.contents.ListFields():  # MLServer sends empty ones with raw data
                raise OipError(f"{what} {shown(name)} has typed contents, and there are raw_{what}_contents")
            data = raw[index]
            check_data(what, name, datatype, shape, data)
        else:
            data = _typed(what, name, datatype, shape, each.contents)
        tensors.append(WireTensor(name, datatype, shape, data, parameters))
    return tuple(tensors)


def _typed(what: str, name: str, datatype: str, shape: tuple[int, ...], contents: Any) -> bytes:
    """The bytes of typed contents. Raises OipError."""
    field = _FIELDS.get(datatype)
    if field is None:
        raise OipError(f"{what} {shown(name)}: {datatype} has no typed contents; send raw_{what}_contents")
    strangers = [found.name for found, _ in contents.ListFields() if found.name != field]
    if strangers:
        raise OipError(f"{what} {shown(name)}: {datatype} is sent in {field}, not in {strangers[0]}")
    values = getattr(contents, field)
    wanted = count(shape)
    if len(values) != wanted:
        raise OipError(
            f"{what} {shown(name)}: {datatype} {list(shape)} has {wanted} elements; {field} has {len(values)}"
        )
    if datatype == "BYTES":
        return pack_bytes(values)
    array = np.array(values, {"int_contents": "<i4", "uint_contents": "<u4"}.get(field, NUMPY_OF[datatype]))
    dtype = NUMPY_OF[datatype]
    if array.dtype.itemsize != dtype.itemsize:
        limits = np.iinfo(dtype)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise OipError(
                f"{what} {shown(name)}: {datatype} is from {limits.min} to {limits.max}; a number is outside"
            )
        array = array.astype(dtype)
    return array.tobytes()


def _add_tensor(tensors: Any, raws: Any, tensor: WireTensor, raw: bool) -> None:
    added = tensors.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    if tensor.parameters:
        _add_parameters(added.parameters, tensor.parameters)
    if raw:
        data = tensor.data
        raws.append(data if type(data) is bytes else bytes(data))
        return
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        raise OipError(f"tensor {shown(tensor.name)}: {tensor.datatype} has no typed contents; send it raw")
    added.contents.SetInParent()  # no elements are typed contents as well
    values: Any
    if tensor.datatype == "BYTES":
        values = unpack_bytes(tensor.data)
    elif tensor.datatype == "BOOL":
        values = (np.frombuffer(tensor.data, np.uint8) != 0).tolist()
    else:
        values = np.frombuffer(tensor.data, NUMPY_OF[tensor.datatype]).tolist()
    getattr(added.contents, field).extend(values)


def parameters_from(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as Python's values. Raises OipError for one without a value."""
    if not given:
        return {}
    result: dict[str, Any] = {}
    for key, value in given.items():
        field = value.WhichOneof("parameter_choice")
        if field is None:
            raise OipError(f"the parameter {shown(key)} has no value of a type that is known")
        result[key] = getattr(value, field)
    return result


def _add_parameters(target: Any, parameters: Mapping[str, Any]) -> None:
    for key, value in parameters.items():
        if isinstance(value, bool):
            target[key].bool_param = value
        elif isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
            if value < 1 << 63:
                target[key].int64_param = value
            else:
                target[key].uint64_param = value
        elif isinstance(value, float):
            target[key].double_param = value
        elif isinstance(value, str):
            target[key].string_param = value
        else:
            raise OipError(
                f"the parameter {shown(key)} must be a number, a text, true or false; got {shown(value)}"
            )
