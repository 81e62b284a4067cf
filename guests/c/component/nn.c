// SPDX-License-Identifier: Apache-2.0
// The calls of sdk/c/wasi_nn.h over the component interface wasi:nn, so that the guests of this folder's
// parent become components as they are.
//
// One difference: `compute` takes the inputs away, so that each must be set before every compute.

#include <wasi_nn.h>
#include "wit_nn.h"

#include <stdio.h>
#include <string.h>

enum { MAX_INPUTS = 16 };

// The interface has no numbers: a name that is a decimal number counts as the index.
struct context {
    uint32_t handle;
    uint32_t input_count;
    struct named_tensor inputs[MAX_INPUTS];
    char names[MAX_INPUTS][11];
    struct named_tensor *outputs;
    uint32_t output_count;
};

static char *reason;

static uint32_t copy(const char *text, uint32_t size, char *buffer, uint32_t buffer_size, uint32_t *written) {
    *written = size;
    if (size > buffer_size) return NN_TOO_LARGE;
    if (size) memcpy(buffer, text, size);
    return NN_SUCCESS;
}

uint32_t nn_last_error(char *buffer, uint32_t buffer_size, uint32_t *written) {
    return copy(reason, reason ? (uint32_t)strlen(reason) : 0, buffer, buffer_size, written);
}

static uint32_t errno_of(uint32_t code) {
    switch (code) {
        case WIT_INVALID_ARGUMENT: return NN_INVALID_ARGUMENT;
        case WIT_INVALID_ENCODING: return NN_INVALID_ENCODING;
        case WIT_UNSUPPORTED_OPERATION: return NN_UNSUPPORTED_OPERATION;
        case WIT_TOO_LARGE: return NN_TOO_LARGE;
        case WIT_NOT_FOUND: return NN_NOT_FOUND;
        default: return NN_RUNTIME_ERROR;
    }
}

// Takes the error: keeps its reason, drops it.
static uint32_t failed(uint32_t error) {
    struct list text;
    error_data(error, &text);
    uint32_t code = errno_of(error_code(error));
    error_drop(error);
    free(reason);
    reason = malloc(text.size + 1);
    if (reason) {
        if (text.size) memcpy(reason, text.data, text.size);
        reason[text.size] = 0;
    }
    if (text.size) free(text.data);
    return code;
}

static uint32_t refused(uint32_t code, const char *why) {
    free(reason);
    reason = strdup(why);
    return code;
}

static uint32_t given(const struct result *result, uint32_t *handle) {
    if (result->failed) return failed(result->handle);
    *handle = result->handle;
    return NN_SUCCESS;
}

uint32_t nn_load(const struct nn_builder *builders, uint32_t builder_count, uint32_t encoding,
                 uint32_t target, uint32_t *graph) {
    if (encoding == NN_AUTODETECT)
        encoding = WIT_AUTODETECT;
    else if (encoding == NN_GGML)
        encoding = WIT_GGML;
    struct result result;
    _Static_assert(sizeof *builders == sizeof(struct list), "a builder is a list<u8>");
    graph_load((const struct list *)builders, builder_count, encoding, target, &result);
    return given(&result, graph);
}

uint32_t nn_load_by_name(const char *name, uint32_t name_size, uint32_t *graph) {
    struct result result;
    graph_load_by_name(name, name_size, &result);
    return given(&result, graph);
}

uint32_t nn_init_execution_context(uint32_t graph, uint32_t *context) {
    struct context *made = calloc(1, sizeof *made);
    if (!made) return refused(NN_RUNTIME_ERROR, "the guest is out of memory");
    struct result result;
    graph_context(graph, &result);
    uint32_t code = given(&result, &made->handle);
    if (code)
        free(made);
    else
        *context = (uint32_t)made;
    return code;
}

static struct named_tensor *input_of(struct context *context, uint32_t index) {
    char name[11];
    uint32_t size = (uint32_t)snprintf(name, sizeof name, "%u", (unsigned)index);
    for (uint32_t i = 0; i < context->input_count; i++) {
        struct named_tensor *input = &context->inputs[i];
        if (input->name.size == size && !memcmp(input->name.data, name, size)) {
            tensor_drop(input->tensor);  // set again
            return input;
        }
    }
    if (context->input_count == MAX_INPUTS) return NULL;
    char *kept = context->names[context->input_count];
    memcpy(kept, name, sizeof name);
    struct named_tensor *input = &context->inputs[context->input_count++];
    input->name = (struct list){kept, size};
    return input;
}

uint32_t nn_set_input(uint32_t context, uint32_t index, const struct nn_raw_tensor *tensor) {
    static const uint8_t types[] = {WIT_FP16, WIT_FP32, WIT_FP64, WIT_U8, WIT_I32, WIT_I64};
    struct named_tensor *input = input_of((struct context *)context, index);
    if (!input) return refused(NN_TOO_LARGE, "a guest of this kind sets at most 16 inputs");
    input->tensor = tensor_new(tensor->dims, tensor->dims_count, types[tensor->type % sizeof types],
                               tensor->data, tensor->data_size);
    return NN_SUCCESS;
}

static void free_outputs(struct context *context) {
    for (uint32_t i = 0; i < context->output_count; i++) {
        tensor_drop(context->outputs[i].tensor);
        if (context->outputs[i].name.size) free(context->outputs[i].name.data);
    }
    if (context->output_count) free(context->outputs);
    context->output_count = 0;
}

uint32_t nn_compute(uint32_t handle) {
    struct context *context = (struct context *)handle;
    free_outputs(context);
    struct result result;
    context_compute(context->handle, context->inputs, context->input_count, &result);
    context->input_count = 0;
    if (result.failed) return failed(result.handle);
    context->outputs = result.list.data;
    context->output_count = result.list.size;
    return NN_SUCCESS;
}

uint32_t nn_get_output(uint32_t handle, uint32_t index, void *buffer, uint32_t buffer_size,
                       uint32_t *written) {
    struct context *context = (struct context *)handle;
    if (index >= context->output_count)
        return refused(NN_INVALID_ARGUMENT, "there is no such output, or nothing was computed");
    struct list data;
    tensor_data(context->outputs[index].tensor, &data);
    *written = data.size;
    bool fits = data.size <= buffer_size;
    if (fits && data.size) memcpy(buffer, data.data, data.size);
    if (data.size) free(data.data);
    return fits ? NN_SUCCESS : refused(NN_TOO_LARGE, "the buffer for the output is too small");
}

IMPORT("wasinn:nn/introspection@0.1.0", "graph-metadata")
void wit_graph_metadata(uint32_t graph, struct result *json);

uint32_t nn_graph_metadata(uint32_t graph, char *buffer, uint32_t buffer_size, uint32_t *written) {
    struct result result;
    wit_graph_metadata(graph, &result);
    *written = 0;
    uint32_t code = NN_RUNTIME_ERROR;
    if (result.failed) {
        refused(code, "the host has no metadata of this graph");
    } else {
        code = copy(result.list.data, result.list.size, buffer, buffer_size, written);
    }
    if (result.list.size) free(result.list.data);
    return code;
}

uint32_t nn_unload(uint32_t graph) {
    graph_drop(graph);
    return NN_SUCCESS;
}

uint32_t nn_finalize_execution_context(uint32_t handle) {
    struct context *context = (struct context *)handle;
    free_outputs(context);
    for (uint32_t i = 0; i < context->input_count; i++) tensor_drop(context->inputs[i].tensor);
    context_drop(context->handle);
    free(context);
    return NN_SUCCESS;
}
