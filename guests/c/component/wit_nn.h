// SPDX-License-Identifier: Apache-2.0
// The imports of wasi:nn (2024-10-28) as a C component sees them; src/wasinn/shipped/wit has them in WIT.
#ifndef WIT_NN_H
#define WIT_NN_H

#include "abi.h"

#define NN_VERSION "@0.2.0-rc-2024-10-28"

enum wit_type { WIT_FP16, WIT_FP32, WIT_FP64, WIT_BF16, WIT_U8, WIT_I32, WIT_I64 };

// Not the numbers of witx: these two are the other way round there.
enum wit_encoding { WIT_GGML = 5, WIT_AUTODETECT = 6 };

enum wit_error {
    WIT_INVALID_ARGUMENT,
    WIT_INVALID_ENCODING,
    WIT_TIMEOUT,
    WIT_RUNTIME_ERROR,
    WIT_UNSUPPORTED_OPERATION,
    WIT_TOO_LARGE,
    WIT_NOT_FOUND,
    WIT_SECURITY,
    WIT_UNKNOWN,
};

// tuple<string, tensor>
struct named_tensor {
    struct list name;
    uint32_t tensor;  // own
};

// -- wasi:nn/tensor --

IMPORT("wasi:nn/tensor" NN_VERSION, "[constructor]tensor")
uint32_t tensor_new(const uint32_t *dims, uint32_t rank, uint32_t type, const void *data,
                    uint32_t size);
IMPORT("wasi:nn/tensor" NN_VERSION, "[method]tensor.dimensions")
void tensor_dimensions(uint32_t tensor, struct list *dims);
IMPORT("wasi:nn/tensor" NN_VERSION, "[method]tensor.ty")
uint32_t tensor_type(uint32_t tensor);
IMPORT("wasi:nn/tensor" NN_VERSION, "[method]tensor.data")
void tensor_data(uint32_t tensor, struct list *data);
IMPORT("wasi:nn/tensor" NN_VERSION, "[resource-drop]tensor")
void tensor_drop(uint32_t tensor);

// -- wasi:nn/graph --

IMPORT("wasi:nn/graph" NN_VERSION, "load")
void graph_load(const struct list *builders, uint32_t count, uint32_t encoding, uint32_t target,
                struct result *graph);
IMPORT("wasi:nn/graph" NN_VERSION, "load-by-name")
void graph_load_by_name(const char *name, uint32_t size, struct result *graph);
IMPORT("wasi:nn/graph" NN_VERSION, "[method]graph.init-execution-context")
void graph_context(uint32_t graph, struct result *context);
IMPORT("wasi:nn/graph" NN_VERSION, "[resource-drop]graph")
void graph_drop(uint32_t graph);

// -- wasi:nn/inference --

// Takes the inputs away, whether it succeeds or not; the outputs are the caller's to drop.
IMPORT("wasi:nn/inference" NN_VERSION, "[method]graph-execution-context.compute")
void context_compute(uint32_t context, const struct named_tensor *inputs, uint32_t count,
                     struct result *outputs);
IMPORT("wasi:nn/inference" NN_VERSION, "[resource-drop]graph-execution-context")
void context_drop(uint32_t context);

// -- wasi:nn/errors --

IMPORT("wasi:nn/errors" NN_VERSION, "[method]error.code")
uint32_t error_code(uint32_t error);
IMPORT("wasi:nn/errors" NN_VERSION, "[method]error.data")
void error_data(uint32_t error, struct list *text);
IMPORT("wasi:nn/errors" NN_VERSION, "[resource-drop]error")
void error_drop(uint32_t error);

#endif
