# SPDX-License-Identifier: Apache-2.0
"""The functions of `wasi:nn/graph` and of `wasinn:nn/introspection`, for every snapshot at once.

A model's bytes come as text (`bulk.py`) or as lists, as a tensor's do.
"""

from __future__ import annotations

from collections.abc import Sequence

from wasinn.abi.component import capi, values
from wasinn.abi.component.calls import CONTEXT, GRAPH, Call, Function
from wasinn.abi.core.witx import MAX_BUILDERS
from wasinn.errors import WasiNNError, invalid_argument
from wasinn.spec import Encoding, ErrorCode, Target


def load(call: Call) -> None:
    count, first = values.items(call.argument(0))
    places = [first + number * capi.VALUE_SIZE for number in range(min(count, MAX_BUILDERS + 1))]
    sizes = [values.items(each)[0] for each in places]
    encoding, target = _encoding(call, 1), Target.parse(values.read_text(call.argument(2)))
    call.given = ("encoding", encoding.label, "builders", count, "bytes", sum(sizes))
    _check_builders(count)
    _check_load(call, encoding, sum(sizes))
    _load(call, [values.read_u8_list(each).tobytes() for each in places], encoding, target)


def begin_graph(call: Call) -> None:
    call.state.graph_buffers.begin(call.u32(0))


def push_graph(call: Call) -> None:
    call.state.graph_buffers.push(call.text(0), call.text(1))


def bulk_load(call: Call) -> None:
    buffers = call.state.graph_buffers
    count, total = buffers.count, buffers.total
    contents = buffers.take()
    encoding, target = _encoding(call, 0), Target.parse(values.read_text(call.argument(1)))
    call.given = ("encoding", encoding.label, "builders", count, "bytes", total)
    _check_builders(count)
    _check_load(call, encoding, total)
    if contents is None:
        raise WasiNNError(ErrorCode.TOO_LARGE, f"the model has {total} bytes")
    _load(call, contents, encoding, target)


def _check_builders(count: int) -> None:
    if count > MAX_BUILDERS:
        raise invalid_argument(f"{count} builders; no encoding has more than {MAX_BUILDERS}")


def _check_load(call: Call, encoding: Encoding, size: int) -> None:
    """What is not allowed is refused before it is copied."""
    if size:
        call.state.permissions.check_bytes(encoding, size)


def _load(call: Call, contents: Sequence[bytes], encoding: Encoding, target: Target) -> None:
    handle = call.state.host.load(contents, encoding, target)
    _add_graph(call, handle)


def load_by_name(call: Call) -> None:
    name = values.read_text(call.argument(0))
    call.given = ("name", name)
    _add_graph(call, call.state.host.load_by_name(name))


def _add_graph(call: Call, handle: int) -> None:
    rep = call.state.add_graph(handle)
    call.made = ("graph", rep)
    call.succeed(rep, GRAPH)


def init_execution_context(call: Call) -> None:
    state, graph = call.state, call.take(0)
    call.given = ("graph", graph)
    handle = state.graphs[graph]
    rep = state.add_context(handle, state.host.init_execution_context(handle))
    call.made = ("context", rep)
    call.succeed(rep, CONTEXT)


def _encoding(call: Call, number: int) -> Encoding:
    return Encoding.parse(values.read_text(call.argument(number)))


def graph_metadata(call: Call) -> None:
    graph = call.take(0)
    call.given = ("graph", graph)
    text = call.state.host.graph_metadata(call.state.graphs[graph]).decode()
    values.write_result(call.result, True, lambda place: values.write_text(place, text))


GRAPHS = (
    Function("load", load, True, "load"),
    Function("load-by-name", load_by_name, True, "load_by_name"),
    Function("[method]graph.init-execution-context", init_execution_context, True, "init_execution_context"),
    Function("wasinn-begin", begin_graph),
    Function("wasinn-push", push_graph),
    Function("wasinn-load", bulk_load, True, "load", known="load"),
)
INTROSPECTION = (Function("graph-metadata", graph_metadata, True, "graph_metadata"),)
