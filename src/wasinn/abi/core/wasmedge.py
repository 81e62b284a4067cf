# SPDX-License-Identifier: Apache-2.0
"""What WasmEdge adds to `wasi_ephemeral_nn`: options by name, streaming, and the end of handles.

Source: the WASI-NN plugin of WasmEdge. On graphs that do not stream, the streaming calls are
invalid_argument.
"""

from __future__ import annotations

from wasinn.abi.core.memory import GuestMemory
from wasinn.abi.core.state import Function, InstanceState, shown
from wasinn.abi.core.witx import MODULE


def load_by_name_with_config(
    state: InstanceState,
    memory: GuestMemory,
    name: int,
    length: int,
    config: int,
    config_length: int,
    out: int,
) -> None:
    memory.check_u32(out, "the place for the graph handle")
    text = memory.text(name, length, "the graph's name")
    state.detail = shown(text)
    options = memory.text(config, config_length, "the config")
    handle = state.host.load_by_name(text, options)
    memory.write_u32(out, handle)
    if state.trace:
        state.detail = f"{text!r}, graph {handle}"


def get_output_single(
    state: InstanceState, memory: GuestMemory, context: int, index: int, buffer: int, size: int, written: int
) -> None:
    memory.check_u32(written, "the place for the number of bytes written")
    memory.view(buffer, size, "the output buffer")
    state.host.streaming_call(context, "get_output_single")


def compute_single(state: InstanceState, memory: GuestMemory, context: int) -> None:
    state.host.streaming_call(context, "compute_single")


def fini_single(state: InstanceState, memory: GuestMemory, context: int) -> None:
    state.host.streaming_call(context, "fini_single")


def unload(state: InstanceState, memory: GuestMemory, graph: int) -> None:
    if state.hot_path is not None:
        state.hot_path.forget_graph(graph)
    state.host.unload(graph)


def finalize_execution_context(state: InstanceState, memory: GuestMemory, context: int) -> None:
    if state.hot_path is not None:
        state.hot_path.release(context)
    state.host.finalize_execution_context(context)


FUNCTIONS = (
    Function(
        MODULE,
        "load_by_name_with_config",
        "name length config config_length out",
        load_by_name_with_config,
    ),
    Function(MODULE, "get_output_single", "context index buffer size written", get_output_single),
    Function(MODULE, "compute_single", "context", compute_single),
    Function(MODULE, "fini_single", "context", fini_single),
    Function(MODULE, "unload", "graph", unload),
    Function(MODULE, "finalize_execution_context", "context", finalize_execution_context),
)
