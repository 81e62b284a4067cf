// SPDX-License-Identifier: Apache-2.0
// The host's functions: WASI-NN's in witx form with its current numbering, and wasinn's own. Only those that a
// program calls become imports.

/** A tensor as it crosses: five words. */
@unmanaged export class RawTensor {
  dims: usize = 0;
  rank: u32 = 0;
  type: u32 = 0; // the host reads its first byte
  data: usize = 0;
  size: u32 = 0;
}

@external("wasi_ephemeral_nn", "load")
export declare function load_(builders: usize, count: u32, encoding: u32, target: u32, graph: usize): u32;

@external("wasi_ephemeral_nn", "load_by_name")
export declare function loadByName(name: usize, size: u32, graph: usize): u32;

@external("wasi_ephemeral_nn", "init_execution_context")
export declare function initExecutionContext(graph: u32, context: usize): u32;

@external("wasi_ephemeral_nn", "set_input")
export declare function setInput(context: u32, index: u32, tensor: usize): u32;

@external("wasi_ephemeral_nn", "compute")
export declare function compute(context: u32): u32;

@external("wasi_ephemeral_nn", "get_output")
export declare function getOutput(context: u32, index: u32, buffer: usize, size: u32, written: usize): u32;

// What WasmEdge adds.
@external("wasi_ephemeral_nn", "load_by_name_with_config")
export declare function loadByNameWithConfig(
  name: usize, size: u32, config: usize, configSize: u32, graph: usize,
): u32;

@external("wasi_ephemeral_nn", "unload")
export declare function unload(graph: u32): u32;

@external("wasi_ephemeral_nn", "finalize_execution_context")
export declare function finalizeExecutionContext(context: u32): u32;

// What wasinn adds.
@external("wasinn", "graph_metadata")
export declare function graphMetadata(graph: u32, buffer: usize, size: u32, written: usize): u32;

@external("wasinn", "last_error")
export declare function lastError(buffer: usize, size: u32, written: usize): u32;
