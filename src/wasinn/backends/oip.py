# SPDX-License-Identifier: Apache-2.0
"""Models on other servers, by the Open Inference Protocol, version 2: KServe, Triton, OpenVINO Model Server,
or `wasinn serve`.

The graph is the model's metadata; a compute is one request with all inputs, and gets all outputs. Contexts
share connections and hold nothing else, so any number of threads may compute at once.

WASI-NN has no texts: a port of BYTES is a port of u8. Where its shape says that it is one element (each
dimension 1, or left open), a guest passes and gets that element's content; else all elements in the form of
the protocol's binary extension, each behind its length as a little-endian u32.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from wasinn.backends.base import Backend, Execution, Graph, LoadOptions, Model
from wasinn.backends.common import one_line
from wasinn.backends.oip_calls import Call, Client, retried
from wasinn.backends.oip_http import HttpClient
from wasinn.backends.oip_ports import Port, read_ports
from wasinn.errors import ConfigError, WasiNNError, invalid_argument, runtime_error
from wasinn.oip.address import Address, parse_address
from wasinn.oip.messages import InferRequest, WireTensor
from wasinn.spec import Encoding, Target
from wasinn.tensors import Tensor, TensorSpec

logger = logging.getLogger("wasinn.host")


#: Of a request, so that its line is found in the other server's log; some servers fail without any.
_process, _requests = uuid.uuid4().hex[:8], itertools.count(1)


class OipBackend(Backend):
    """`oip`: see the head of this file. It loads no encoding, but models with a URL."""

    name: ClassVar[str] = "oip"
    encodings: ClassVar[Mapping[Encoding, int]] = {}
    extra: ClassVar[str] = "oip"

    def version(self) -> str | None:
        if importlib.util.find_spec("grpc") is None or importlib.util.find_spec("google.protobuf") is None:
            return "v2, HTTP only"
        return f"v2, grpcio {importlib.metadata.version('grpcio')}"

    def devices(self) -> Mapping[Target, str]:
        return {Target.CPU: "another server"}

    def load(self, model: Model, encoding: Encoding, target: Target, options: LoadOptions) -> Graph:
        """Reads the model's metadata from its server. Raises WasiNNError: not_found where the server has no
        such model, else as `Backend.load`."""
        if model.url is None:
            raise invalid_argument("backend oip loads models by their URL, as in oip:http://HOST:PORT/MODEL")
        try:
            address = parse_address(model.url)
        except ConfigError as error:
            raise invalid_argument(str(error)) from error
        _warn_of_open_token(address, model)
        client: Client
        if address.protocol == "http":
            client = HttpClient(address, model.remote)
        else:
            from wasinn.backends.oip_grpc import GrpcClient

            client = GrpcClient(address, model.remote)
        call = Call()
        metadata = retried(lambda: client.metadata(call), model.remote.retries, call)
        return OipGraph(model.url, client, model.remote.retries, metadata)


def _warn_of_open_token(address: Address, model: Model) -> None:
    near = address.host == "localhost" or address.host.startswith("127.") or address.host == "::1"
    if model.remote.token_file is not None and not address.tls and not near:
        logger.warning(
            "the token of %s goes to %s unencrypted, where anyone on the way can read it: use %ss://",
            model.url,
            address.host,
            address.protocol,
        )


class OipGraph:
    """A model on a server."""

    def __init__(self, url: str, client: Client, retries: int, metadata: Mapping[str, Any]) -> None:
        self.url = url
        self.client = client
        self.retries = retries
        self.input_ports = read_ports(url, metadata, "inputs")
        self.output_ports = read_ports(url, metadata, "outputs")
        self.inputs: tuple[TensorSpec, ...] = tuple(port.spec for port in self.input_ports)
        self.outputs: tuple[TensorSpec, ...] = tuple(port.spec for port in self.output_ports)

    def open(self) -> Execution:
        return OipExecution(self)


class OipExecution:
    """The inputs that were set, and the outputs of the last answer."""

    def __init__(self, graph: OipGraph) -> None:
        self._graph: OipGraph | None = graph
        self._call = Call()
        self._inputs: list[WireTensor | None] = [None] * len(graph.inputs)
        self._outputs: Sequence[Tensor] = ()

    def set_input(self, index: int, tensor: Tensor) -> None:
        self._inputs[index] = self._open().input_ports[index].outward(tensor)

    def compute(self) -> None:
        graph = self._open()
        inputs = tuple(tensor for tensor in self._inputs if tensor is not None)
        request = InferRequest(inputs, binary_output=True, id=f"{_process}-{next(_requests)}")
        try:
            response = retried(lambda: graph.client.infer(request, self._call), graph.retries, self._call)
        except WasiNNError as error:
            # A model that was there when it was loaded may be gone: to the guest the compute failed.
            raise runtime_error(f"{graph.url}: {error.reason}") from error
        found = {tensor.name: tensor for tensor in response.outputs}
        self._outputs = [self._output(graph, port, found) for port in graph.output_ports]

    @staticmethod
    def _output(graph: OipGraph, port: Port, found: Mapping[str, WireTensor]) -> Tensor:
        tensor = found.get(port.spec.name)
        if tensor is None:
            names = one_line(", ".join(found)) or "none"
            raise runtime_error(
                f"{graph.url}: the answer has no output {port.spec.name!r}, which the model's metadata "
                f"names; it has: {names}"
            )
        return port.inward(graph.url, tensor)

    def output(self, index: int) -> Tensor:
        return self._outputs[index]

    def interrupt(self) -> None:
        self._call.interrupt()

    def close(self) -> None:
        self._graph = None
        self._inputs = []
        self._outputs = ()

    def _open(self) -> OipGraph:
        assert self._graph is not None, "the execution is closed"
        return self._graph
