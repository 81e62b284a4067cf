# SPDX-License-Identifier: Apache-2.0
"""The messages of the protocol's gRPC side (package `inference`, as in grpc_predict_v2 and its extensions for
streams and model repositories).

They live in a descriptor pool of their own: other packages, Triton's client among them, register the same
names in protobuf's default pool, and a process may hold both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field: Any = descriptor_pb2.FieldDescriptorProto

_SCALARS: dict[str, int] = {
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}

_PACKAGE = "inference"
_PARAMETERS = "parameters: map InferParameter"
_TENSOR = ("name: string", "datatype: string", "shape: repeated int64", _PARAMETERS)
_OPTIONS = ("repository_name: string", "model_name: string", "parameters: map ModelRepositoryParameter")

#: Message by message, fields in the order of their numbers, which begin at 1. `|` is a member of the one
#: oneof that a message may have, `map` one from texts, and a dot in a name is a message within another.
_MESSAGES: dict[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live: bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready: bool",),
    "ModelReadyRequest": ("name: string", "version: string"),
    "ModelReadyResponse": ("ready: bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name: string", "version: string", "extensions: repeated string"),
    "ModelMetadataRequest": ("name: string", "version: string"),
    "ModelMetadataResponse": (
        "name: string",
        "versions: repeated string",
        "platform: string",
        "inputs: repeated ModelMetadataResponse.TensorMetadata",
        "outputs: repeated ModelMetadataResponse.TensorMetadata",
    ),
    "ModelMetadataResponse.TensorMetadata": ("name: string", "datatype: string", "shape: repeated int64"),
    "InferParameter": (
        "|bool_param: bool",
        "|int64_param: int64",
        "|string_param: string",
        "|double_param: double",
        "|uint64_param: uint64",
    ),
    "InferTensorContents": (
        "bool_contents: repeated bool",
        "int_contents: repeated int32",
        "int64_contents: repeated int64",
        "uint_contents: repeated uint32",
        "uint64_contents: repeated uint64",
        "fp32_contents: repeated float",
        "fp64_contents: repeated double",
        "bytes_contents: repeated bytes",
    ),
    "ModelInferRequest": (
        "model_name: string",
        "model_version: string",
        "id: string",
        _PARAMETERS,
        "inputs: repeated ModelInferRequest.InferInputTensor",
        "outputs: repeated ModelInferRequest.InferRequestedOutputTensor",
        "raw_input_contents: repeated bytes",
    ),
    "ModelInferRequest.InferInputTensor": (*_TENSOR, "contents: InferTensorContents"),
    "ModelInferRequest.InferRequestedOutputTensor": ("name: string", _PARAMETERS),
    "ModelInferResponse": (
        "model_name: string",
        "model_version: string",
        "id: string",
        _PARAMETERS,
        "outputs: repeated ModelInferResponse.InferOutputTensor",
        "raw_output_contents: repeated bytes",
    ),
    "ModelInferResponse.InferOutputTensor": (*_TENSOR, "contents: InferTensorContents"),
    "ModelStreamInferResponse": ("error_message: string", "infer_response: ModelInferResponse"),
    "ModelRepositoryParameter": (
        "|bool_param: bool",
        "|int64_param: int64",
        "|string_param: string",
        "|bytes_param: bytes",
    ),
    "RepositoryIndexRequest": ("repository_name: string", "ready: bool"),
    "RepositoryIndexResponse": ("models: repeated RepositoryIndexResponse.ModelIndex",),
    "RepositoryIndexResponse.ModelIndex": (
        "name: string",
        "version: string",
        "state: string",
        "reason: string",
    ),
    "RepositoryModelLoadRequest": _OPTIONS,
    "RepositoryModelLoadResponse": (),
    "RepositoryModelUnloadRequest": _OPTIONS,
    "RepositoryModelUnloadResponse": (),
}


def _classes() -> dict[str, Any]:
    """The message classes by name, of a pool of their own."""
    file = descriptor_pb2.FileDescriptorProto(
        name="wasinn/open_inference_protocol.proto", package=_PACKAGE, syntax="proto3"
    )
    made: dict[str, Any] = {}
    for name, fields in _MESSAGES.items():
        outer, _, inner = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=inner)
        for number, text in enumerate(fields, 1):
            _add_field(made[name], f".{_PACKAGE}.{name}", number, text)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


def _add_field(message: Any, full_name: str, number: int, text: str) -> None:
    name, _, kind = text.partition(": ")
    label, _, kind = kind.rpartition(" ")
    field = message.field.add(
        name=name.removeprefix("|"),
        number=number,
        label=_Field.LABEL_REPEATED if label else _Field.LABEL_OPTIONAL,
    )
    if name.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if label == "map":  # a map is a repeated message of keys and values
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
        entry.field.add(
            name="value",
            number=2,
            label=_Field.LABEL_OPTIONAL,
            type=_Field.TYPE_MESSAGE,
            type_name=f".{_PACKAGE}.{kind}",
        )
        field.type, field.type_name = _Field.TYPE_MESSAGE, f"{full_name}.ParametersEntry"
    elif kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


_CLASSES = _classes()

ServerLiveRequest: Any = _CLASSES["ServerLiveRequest"]
ServerLiveResponse: Any = _CLASSES["ServerLiveResponse"]
ServerReadyRequest: Any = _CLASSES["ServerReadyRequest"]
ServerReadyResponse: Any = _CLASSES["ServerReadyResponse"]
ModelReadyRequest: Any = _CLASSES["ModelReadyRequest"]
ModelReadyResponse: Any = _CLASSES["ModelReadyResponse"]
ServerMetadataRequest: Any = _CLASSES["ServerMetadataRequest"]
ServerMetadataResponse: Any = _CLASSES["ServerMetadataResponse"]
ModelMetadataRequest: Any = _CLASSES["ModelMetadataRequest"]
ModelMetadataResponse: Any = _CLASSES["ModelMetadataResponse"]
ModelInferRequest: Any = _CLASSES["ModelInferRequest"]
ModelInferResponse: Any = _CLASSES["ModelInferResponse"]
ModelStreamInferResponse: Any = _CLASSES["ModelStreamInferResponse"]
RepositoryIndexRequest: Any = _CLASSES["RepositoryIndexRequest"]
RepositoryIndexResponse: Any = _CLASSES["RepositoryIndexResponse"]
RepositoryModelLoadRequest: Any = _CLASSES["RepositoryModelLoadRequest"]
RepositoryModelLoadResponse: Any = _CLASSES["RepositoryModelLoadResponse"]
RepositoryModelUnloadRequest: Any = _CLASSES["RepositoryModelUnloadRequest"]
RepositoryModelUnloadResponse: Any = _CLASSES["RepositoryModelUnloadResponse"]

#: The service, whose methods have the paths `/SERVICE/METHOD`.
SERVICE = f"{_PACKAGE}.GRPCInferenceService"


class Method(NamedTuple):
    """A method's messages; of ModelStreamInfer both sides send as many as they like."""

    request: Any
    response: Any

    @staticmethod
    def path(name: str) -> str:
        """A method's path, as gRPC calls it."""
        return f"/{SERVICE}/{name}"


METHODS: dict[str, Method] = {
    "ServerLive": Method(ServerLiveRequest, ServerLiveResponse),
    "ServerReady": Method(ServerReadyRequest, ServerReadyResponse),
    "ModelReady": Method(ModelReadyRequest, ModelReadyResponse),
    "ServerMetadata": Method(ServerMetadataRequest, ServerMetadataResponse),
    "ModelMetadata": Method(ModelMetadataRequest, ModelMetadataResponse),
    "ModelInfer": Method(ModelInferRequest, ModelInferResponse),
    "ModelStreamInfer": Method(ModelInferRequest, ModelStreamInferResponse),
    "RepositoryIndex": Method(RepositoryIndexRequest, RepositoryIndexResponse),
    "RepositoryModelLoad": Method(RepositoryModelLoadRequest, RepositoryModelLoadResponse),
    "RepositoryModelUnload": Method(RepositoryModelUnloadRequest, RepositoryModelUnloadResponse),
}
