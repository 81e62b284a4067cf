// SPDX-License-Identifier: Apache-2.0
// The WASI-NN imports as a core wasm32 guest sees them (module `wasi_ephemeral_nn`): what nn.h is made of.
// Every call returns an nn_errno; results come back through the last pointer.
//
// A guest is instantiated only where every function that it uses is there. Six are WASI-NN's; some hosts lack
// the others, and -DNN_PORTABLE leaves those out. With -DNN_WASMEDGE as well, WasmEdge's three stay.
#ifndef NN_WASI_NN_H
#define NN_WASI_NN_H

#include <stdint.h>

enum nn_errno {
    NN_SUCCESS = 0,
    NN_INVALID_ARGUMENT = 1,
    NN_INVALID_ENCODING = 2,
    NN_MISSING_MEMORY = 3,
    NN_BUSY = 4,
    NN_RUNTIME_ERROR = 5,
    NN_UNSUPPORTED_OPERATION = 6,
    NN_TOO_LARGE = 7,
    NN_NOT_FOUND = 8,
    // WasmEdge's, of language models.
    NN_END_OF_SEQUENCE = 100,
    NN_CONTEXT_FULL = 101,
    NN_PROMPT_TOO_LONG = 102,
    NN_MODEL_NOT_FOUND = 103,
};

enum nn_encoding {
    NN_OPENVINO = 0,
    NN_ONNX = 1,
    NN_TENSORFLOW = 2,
    NN_PYTORCH = 3,
    NN_TENSORFLOWLITE = 4,
    NN_AUTODETECT = 5,
    NN_GGML = 6,
};

enum nn_target { NN_CPU = 0, NN_GPU = 1, NN_TPU = 2 };

enum nn_type { NN_F16 = 0, NN_F32 = 1, NN_F64 = 2, NN_U8 = 3, NN_I32 = 4, NN_I64 = 5 };

// One piece of a model: most formats have one, OpenVINO has two (the XML, then the weights).
struct nn_builder {
    const uint8_t *data;
    uint32_t size;
};

struct nn_raw_tensor {
    const uint32_t *dims;
    uint32_t dims_count;
    uint8_t type;  // one byte, then three of padding: hosts must read only the byte
    const void *data;
    uint32_t data_size;
};

_Static_assert(sizeof(struct nn_builder) == 8, "a builder is two words");
_Static_assert(sizeof(struct nn_raw_tensor) == 20, "a tensor is five words");

// A guest that is built as a component has these calls from component/nn.c.
#ifdef NN_COMPONENT
#define NN_IMPORT_FROM(module, name)
#else
#define NN_IMPORT_FROM(module, name) __attribute__((import_module(module), import_name(name)))
#endif
#define NN_IMPORT(name) NN_IMPORT_FROM("wasi_ephemeral_nn", name)

NN_IMPORT("load")
uint32_t nn_load(const struct nn_builder *builders, uint32_t builder_count, uint32_t encoding,
                 uint32_t target, uint32_t *graph);

NN_IMPORT("load_by_name")
uint32_t nn_load_by_name(const char *name, uint32_t name_size, uint32_t *graph);

NN_IMPORT("init_execution_context")
uint32_t nn_init_execution_context(uint32_t graph, uint32_t *context);

NN_IMPORT("set_input")
uint32_t nn_set_input(uint32_t context, uint32_t index, const struct nn_raw_tensor *tensor);

NN_IMPORT("compute")
uint32_t nn_compute(uint32_t context);

// A buffer that is too small is answered with NN_TOO_LARGE, and `*written` is then the size needed.
NN_IMPORT("get_output")
uint32_t nn_get_output(uint32_t context, uint32_t index, void *buffer, uint32_t buffer_size,
                       uint32_t *written);

#if !defined NN_PORTABLE || defined NN_WASMEDGE
#define NN_HAS_WASMEDGE
// What WasmEdge adds: options as JSON, and the handles' ends.
NN_IMPORT("load_by_name_with_config")
uint32_t nn_load_by_name_with_config(const char *name, uint32_t name_size, const char *config,
                                     uint32_t config_size, uint32_t *graph);

NN_IMPORT("unload")
uint32_t nn_unload(uint32_t graph);

NN_IMPORT("finalize_execution_context")
uint32_t nn_finalize_execution_context(uint32_t context);

#endif

#ifndef NN_PORTABLE
#define NN_HAS_WASINN
// wasinn's own: the graph's inputs, outputs and contract as JSON. A buffer that is too small is answered as
// in nn_get_output.
NN_IMPORT_FROM("wasinn", "graph_metadata")
uint32_t nn_graph_metadata(uint32_t graph, char *buffer, uint32_t buffer_size, uint32_t *written);

// Why the last call that failed did, in words (UTF-8). A buffer that is too small is answered as in
// nn_get_output.
NN_IMPORT_FROM("wasinn", "last_error")
uint32_t nn_last_error(char *buffer, uint32_t buffer_size, uint32_t *written);
#endif

static inline const char *nn_errno_name(uint32_t code) {
    static const char *const names[] = {
        "success",       "invalid_argument",      "invalid_encoding", "missing_memory", "busy",
        "runtime_error", "unsupported_operation", "too_large",        "not_found",
    };
    static const char *const language[] = {"end_of_sequence", "context_full", "prompt_too_long",
                                           "model_not_found"};
    if (code - 100 < sizeof language / sizeof *language) return language[code - 100];
    return code < sizeof names / sizeof *names ? names[code] : "unknown error";
}

#endif
