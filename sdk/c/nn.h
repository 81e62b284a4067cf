// SPDX-License-Identifier: Apache-2.0
// WASI-NN for guests in C: graphs, contexts and tensors that check what they are given, say in words what is
// wrong, and free themselves. docs/sdk-c.md is the way in.
//
//     NN_GRAPH(graph);
//     NN_CONTEXT(context);
//     NN_TENSOR(output);
//     if (!nn_graph_by_name(&graph, "default") || !nn_context_open(&context, &graph) || ...
//         !nn_context_compute(&context) || !nn_output_get(&context, 0, &output)) {
//         fprintf(stderr, "%s\n", nn_error.text);
//         return 1;
//     }
//
// Every function that can fail returns false and sets nn_error.
#ifndef NN_NN_H
#define NN_NN_H

#include "error.h"
#include "metadata.h"
#include "tensor.h"
#include "wasi_nn.h"

// A model of the host's. Handles end when nobody uses them any more: a context keeps its graph.
struct nn_loaded;

struct nn_graph {
    struct nn_loaded *loaded;  // NULL: closed
};

struct nn_context {
    uint32_t handle;           // for calls of wasi_nn.h
    struct nn_loaded *loaded;  // NULL: closed
};

// Freed at the end of the block, in the reverse order.
#define NN_GRAPH(name) __attribute__((cleanup(nn_graph_free))) struct nn_graph name = {0}
#define NN_CONTEXT(name) __attribute__((cleanup(nn_context_free))) struct nn_context name = {0}

// A model that the host has under this name; with options for it as JSON, {"threads": 2} (WasmEdge and
// wasinn).
bool nn_graph_by_name(struct nn_graph *graph, const char *name);
bool nn_graph_by_name_with_config(struct nn_graph *graph, const char *name, const char *config);
// A model's bytes, or its files: one, or OpenVINO's XML and weights. The host keeps a copy.
bool nn_graph_load(struct nn_graph *graph, const struct nn_builder *parts, uint32_t count,
                   enum nn_encoding encoding, enum nn_target target);
bool nn_graph_load_files(struct nn_graph *graph, const char *const *paths, uint32_t count,
                         enum nn_encoding encoding, enum nn_target target);
void nn_graph_free(struct nn_graph *graph);

// Inputs, outputs and contract; asked for once, and the graph's own. NULL and an error where the host has
// none (built with -DNN_PORTABLE).
const struct nn_metadata *nn_graph_info(const struct nn_graph *graph);
const struct nn_metadata *nn_context_info(const struct nn_context *context);

bool nn_context_open(struct nn_context *context, const struct nn_graph *graph);
void nn_context_free(struct nn_context *context);

// The host copies the data. A name is the model's, the contract's or an alias.
bool nn_input_set(struct nn_context *context, uint32_t index, const struct nn_tensor *tensor);
bool nn_input_set_named(struct nn_context *context, const char *name, const struct nn_tensor *tensor);

bool nn_context_compute(struct nn_context *context);

// The output with the type and dims that the metadata says, in memory of `tensor` that is made as large as it
// must be. Where the model's file has no type it is taken for f32. Without metadata it is u8 of one dim, for
// nn_tensor_as to say what it is.
bool nn_output_get(struct nn_context *context, uint32_t index, struct nn_tensor *tensor);
bool nn_output_get_named(struct nn_context *context, const char *name, struct nn_tensor *tensor);
// The output's bytes into memory of the caller's.
bool nn_output_read(struct nn_context *context, uint32_t index, void *buffer, size_t size, size_t *written);

// The same bytes as another type and other dims.
bool nn_tensor_as(struct nn_tensor *tensor, uint8_t type, uint32_t rank, const uint32_t *dims);

#endif
