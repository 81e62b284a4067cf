# SPDX-License-Identifier: Apache-2.0
"""Ports of a model on another server: from its metadata, and tensors on the way there and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wasinn.errors import WasiNNError, invalid_argument, runtime_error, unsupported
from wasinn.oip.datatypes import DATATYPE_OF, TYPE_OF, check_data, count, pack_bytes, walk_bytes
from wasinn.oip.errors import OipError, shown
from wasinn.oip.messages import DATATYPES, WireTensor
from wasinn.spec import ErrorCode, TensorType
from wasinn.tensors import MAX_RANK, Quantization, SpecDims, Tensor, TensorSpec

#: The parts of a Quantization in metadata of `wasinn serve`; larger ones are a mistake.
_MAX_CHANNELS = 1 << 16


@dataclass(frozen=True)
class Port:
    """An input or output. `datatype` is the protocol's, None where the server does not say; `shape` that of a
    BYTES port, None where it is not fixed how many dimensions there are."""

    spec: TensorSpec
    datatype: str | None
    shape: SpecDims | None = None

    @property
    def _one(self) -> bool:
        """Whether a BYTES port is one element, whose content a guest passes."""
        return self.shape is None or all(dim in (None, 1) for dim in self.shape)

    def outward(self, tensor: Tensor) -> WireTensor:
        """A copy of a guest's tensor for the wire. Raises WasiNNError (invalid_argument)."""
        name = self.spec.name
        if self.datatype == "BYTES":
            return self._texts(tensor)
        datatype = self.datatype or DATATYPE_OF.get(tensor.type)
        if datatype is None:
            raise invalid_argument(f"the protocol has no datatype for {tensor.type.label}")
        return WireTensor(name, datatype, tensor.dims, bytes(tensor.data))

    def _texts(self, tensor: Tensor) -> WireTensor:
        name = self.spec.name
        if self._one:
            shape = (1,) * (1 if self.shape is None else len(self.shape))
            return WireTensor(name, "BYTES", shape, pack_bytes([tensor.data]))
        assert self.shape is not None
        data = bytes(tensor.data)
        try:
            elements = sum(1 for _ in walk_bytes(data))
            fixed = count(dim for dim in self.shape if dim is not None)
            opened = [index for index, dim in enumerate(self.shape) if dim is None]
            # What is left for the open dimensions is the first one's.
            rest = elements // fixed if fixed and opened else 1
            shape = tuple(
                (rest if index == opened[0] else 1) if dim is None else dim
                for index, dim in enumerate(self.shape)
            )
            check_data("input", name, "BYTES", shape, data)
        except OipError as error:
            raise invalid_argument(
                f"{error}; a port of BYTES with several elements takes each behind its length as a "
                "little-endian u32"
            ) from error
        return WireTensor(name, "BYTES", shape, data)

    def inward(self, url: str, tensor: WireTensor) -> Tensor:
        """A tensor of an answer as guests see it. Raises WasiNNError (runtime_error)."""
        name = self.spec.name
        if self.datatype is not None and tensor.datatype != self.datatype:
            raise runtime_error(
                f"{url}: output {shown(name)} is {self.datatype} by the model's metadata, and the answer has "
                f"{tensor.datatype}"
            )
        data = memoryview(tensor.data)
        if tensor.datatype != "BYTES":
            return Tensor(tensor.shape, TYPE_OF[tensor.datatype], data)
        if self._one:
            elements = list(walk_bytes(data))
            if len(elements) != 1:
                raise runtime_error(
                    f"{url}: output {shown(name)} came with {len(elements)} elements of BYTES, shape "
                    f"{list(tensor.shape)}; a guest can be given one"
                )
            data = elements[0]
        return Tensor((len(data),), TensorType.U8, data)


def read_ports(url: str, metadata: Mapping[str, Any], key: str) -> tuple[Port, ...]:
    """The ports of a model's metadata; `key` is "inputs" or "outputs". Raises WasiNNError:
    unsupported_operation for one that WASI-NN has no tensors for, runtime_error for metadata that is none."""
    what = key[:-1]
    given = metadata.get(key)
    if not isinstance(given, list) or not given:
        raise unsupported(
            f"{url}: the server names no {key} of the model, and without their types and shapes a guest's "
            "tensors cannot be sent"
        )
    try:
        ports = tuple(_port(what, each) for each in given)
    except WasiNNError as error:
        raise WasiNNError(error.code, f"{url}: {error.reason}") from error
    names = [port.spec.name for port in ports]
    if len(set(names)) != len(names):
        raise runtime_error(f"{url}: two {key} of the model have the same name")
    return ports


def _port(what: str, given: Any) -> Port:
    if not isinstance(given, dict):
        raise runtime_error(f"an {what} in the model's metadata is no object: {shown(given)}")
    name, datatype = given.get("name"), given.get("datatype")
    if not isinstance(name, str) or not name:
        raise runtime_error(f"an {what} in the model's metadata has no name: {shown(given)}")
    dims = _dims(what, name, given.get("shape"))
    if datatype == "BYTES":
        return Port(TensorSpec(name, TensorType.U8, None, any_size=True), datatype, dims)
    optional = given.get("optional") is True
    aliases = _aliases(given.get("aliases"))
    if datatype is None or datatype == "":
        return Port(
            TensorSpec(name, TensorType.F32, dims, any_type=True, aliases=aliases, optional=optional), None
        )
    if datatype not in TYPE_OF:
        raise WasiNNError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"the {what} {shown(name)} is a {shown(datatype)}, which is none of {', '.join(DATATYPES)}",
        )
    quantization = _quantization(given.get("quantization"))
    spec = TensorSpec(name, TYPE_OF[datatype], dims, quantization, aliases=aliases, optional=optional)
    return Port(spec, datatype)


def _dims(what: str, name: str, shape: Any) -> SpecDims | None:
    """A shape of the metadata; null (of `wasinn serve`) is one that is not fixed at all."""
    if shape is None:
        return None
    # Some servers write numbers as texts, as JSON from protobuf has 64-bit ones.
    if isinstance(shape, list) and all(isinstance(dim, str) and dim.lstrip("-").isdigit() for dim in shape):
        shape = [int(dim) for dim in shape]
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_RANK
        or not all(type(dim) is int and -1 <= dim < 1 << 63 for dim in shape)
    ):
        raise runtime_error(
            f"the {what} {shown(name)} in the model's metadata has no shape of whole numbers, -1 for an open "
            f"one: {shown(shape)}"
        )
    return tuple(None if dim == -1 else dim for dim in shape)


def _aliases(given: Any) -> tuple[str, ...]:
    """What else a port is called, where the server is a `wasinn serve`."""
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        return ()
    return tuple(given[:8])


def _quantization(given: Any) -> Quantization | None:
    """What a port's integers stand for, where the server is a `wasinn serve`; None where it is not clear."""
    if not isinstance(given, dict):
        return None
    scales, zeros, axis = given.get("scale"), given.get("zero_point"), given.get("axis")
    if not isinstance(scales, list) or not isinstance(zeros, list) or len(scales) != len(zeros):
        return None
    if not 0 < len(scales) <= _MAX_CHANNELS:
        return None
    if {*map(type, scales)} - {int, float} or {*map(type, zeros)} - {int}:
        return None
    if axis is not None and type(axis) is not int:
        return None
    return Quantization(tuple(float(each) for each in scales), tuple(zeros), axis)
