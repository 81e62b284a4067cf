# SPDX-License-Identifier: Apache-2.0
"""What WasmEdge adds to `wasi_ephemeral_nn`: options by name, streaming, and the end of handles.

Source: the WASI-NN plugin of WasmEdge. On graphs that do not stream, the streaming calls are
invalid_argument. `compute_single` at the end of a sequence is end_of_sequence, which is no failure.
"""

from __future__ import annotations

from wasinn.abi.core.memory import GuestMemory
from wasinn.abi.core.state import Function, InstanceState, shown
from wasinn.abi.core.witx import MODULE, write_output
from wasinn.errors import WasiNNError
from wasinn.spec import ErrorCode


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
    try:
        handle = state.host.load_by_name(text, options)
    except WasiNNError as error:
        if error.code is not ErrorCode.NOT_FOUND:
            raise
        raise WasiNNError(ErrorCode.MODEL_NOT_FOUND, error.reason) from None
    memory.write_u32(out, handle)
    if state.trace:
        state.detail = f"{text!r}, graph {handle}"


def get_output_single(
    state: InstanceState, memory: GuestMemory, context: int, index: int, buffer: int, size: int, written: int
) -> None:
    memory.check_u32(written, "the place for the number of bytes written")
    target = memory.view(buffer, size, "the output buffer")
    write_output(state, memory, index, state.host.output_single(context, index), target, written)


def compute_single(state: InstanceState, memory: GuestMemory, context: int) -> None:
    state.host.compute_single(context)


def fini_single(state: InstanceState, memory: GuestMemory, context: int) -> None:
    state.host.fini_single(context)


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
