// SPDX-License-Identifier: Apache-2.0
#include "nn.h"

#include "file.h"

#include <stdlib.h>
#include <string.h>

// The host's graph, of each struct nn_graph that has it and of the contexts made of it. It ends with the last
// of them: a host gives all who load a name the same handle.
struct nn_loaded {
    uint32_t handle;
    uint32_t users;
    struct nn_metadata *metadata;  // NULL until it is asked for
    bool no_metadata;              // asked for in vain
    struct nn_loaded *next;
};

static struct nn_loaded *all_loaded;

static void leave(struct nn_loaded *loaded) {
    if (!loaded || --loaded->users) return;
    struct nn_loaded **at = &all_loaded;
    while (*at != loaded) at = &(*at)->next;
    *at = loaded->next;
#ifdef NN_HAS_WASMEDGE
    nn_unload(loaded->handle);
#endif
    nn_metadata_free(loaded->metadata);
    free(loaded);
}

// Takes the handle that a call gave.
static bool keep(struct nn_graph *graph, const char *call, uint32_t code, uint32_t handle) {
    if (code) return nn_fail_call(call, code);
    struct nn_loaded *loaded = all_loaded;
    while (loaded && loaded->handle != handle) loaded = loaded->next;
    if (!loaded) {
        loaded = calloc(1, sizeof *loaded);
        if (!loaded) {
#ifdef NN_HAS_WASMEDGE
            nn_unload(handle);
#endif
            return nn_fail_memory("a graph");
        }
        loaded->handle = handle;
        loaded->next = all_loaded;
        all_loaded = loaded;
    }
    loaded->users++;
    nn_graph_free(graph);  // of what it was before
    graph->loaded = loaded;
    return true;
}

bool nn_graph_by_name(struct nn_graph *graph, const char *name) {
    uint32_t handle = 0, code = nn_load_by_name(name, (uint32_t)strlen(name), &handle);
    return keep(graph, "load_by_name", code, handle);
}

bool nn_graph_by_name_with_config(struct nn_graph *graph, const char *name, const char *config) {
#if defined NN_HAS_WASMEDGE && !defined NN_COMPONENT
    uint32_t handle = 0, code = nn_load_by_name_with_config(name, (uint32_t)strlen(name), config,
                                                            (uint32_t)strlen(config), &handle);
    return keep(graph, "load_by_name_with_config", code, handle);
#else
    (void)graph, (void)name, (void)config;
    return nn_refuse(NN_UNSUPPORTED_OPERATION, "load_by_name_with_config",
                     "this guest was built for hosts that do not have it");
#endif
}

bool nn_graph_load(struct nn_graph *graph, const struct nn_builder *parts, uint32_t count,
                   enum nn_encoding encoding, enum nn_target target) {
    uint32_t handle = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!parts[i].data && parts[i].size)
            return nn_refuse(NN_INVALID_ARGUMENT, "load", "part %u of the model has no data", (unsigned)i);
    uint32_t code = nn_load(parts, count, (uint32_t)encoding, (uint32_t)target, &handle);
    return keep(graph, "load", code, handle);
}

bool nn_graph_load_files(struct nn_graph *graph, const char *const *paths, uint32_t count,
                         enum nn_encoding encoding, enum nn_target target) {
    struct nn_builder *parts = calloc(count + 1, sizeof *parts);
    bool good = parts || nn_fail_memory("a model");
    for (uint32_t i = 0; good && i < count; i++) {
        uint8_t *data;
        size_t size;
        good = nn_file_read(paths[i], &data, &size);
        parts[i] = (struct nn_builder){data, (uint32_t)size};
    }
    good = good && nn_graph_load(graph, parts, count, encoding, target);
    for (uint32_t i = 0; parts && i < count; i++) free((void *)parts[i].data);  // the host has its own copy
    free(parts);
    return good;
}

void nn_graph_free(struct nn_graph *graph) {
    leave(graph->loaded);
    graph->loaded = NULL;
}

// ---- Metadata ----

#ifdef NN_HAS_WASINN
static struct nn_metadata *ask(uint32_t graph) {
    uint32_t size = 4096, written = 0;
    for (;;) {
        char *text = malloc(size);
        if (!text) return nn_fail_memory("the metadata"), NULL;
        uint32_t code = nn_graph_metadata(graph, text, size, &written);
        struct nn_metadata *found = code ? NULL : nn_metadata_parse(text, written);
        free(text);
        if (code != NN_TOO_LARGE || written <= size) {
            if (code) nn_fail_call("graph_metadata", code);
            return found;
        }
        size = written;
    }
}
#endif

static const struct nn_metadata *info(struct nn_loaded *loaded, const char *what) {
    if (!loaded) {
        nn_refuse(NN_INVALID_ARGUMENT, "graph_metadata", "the %s is closed, or was never opened", what);
        return NULL;
    }
#ifdef NN_HAS_WASINN
    if (!loaded->metadata && (loaded->no_metadata || !(loaded->metadata = ask(loaded->handle)))) {
        if (loaded->no_metadata)
            nn_fail(NN_RUNTIME_ERROR, "the host could not say what the graph takes and gives");
        loaded->no_metadata = true;
    }
#else
    nn_refuse(NN_UNSUPPORTED_OPERATION, "graph_metadata",
              "this guest was built with NN_PORTABLE, without wasinn's graph_metadata: it has to say types "
              "and dims itself, and indices for names");
#endif
    return loaded->metadata;
}

const struct nn_metadata *nn_graph_info(const struct nn_graph *graph) { return info(graph->loaded, "graph"); }
const struct nn_metadata *nn_context_info(const struct nn_context *context) {
    return info(context->loaded, "context");
}

// ---- Contexts ----

bool nn_context_open(struct nn_context *context, const struct nn_graph *graph) {
    struct nn_loaded *loaded = graph->loaded;
    if (!loaded)
        return nn_refuse(NN_INVALID_ARGUMENT, "init_execution_context",
                         "the graph is closed, or was never loaded");
    uint32_t handle = 0, code = nn_init_execution_context(loaded->handle, &handle);
    if (code) return nn_fail_call("init_execution_context", code);
    loaded->users++;
    nn_context_free(context);
    *context = (struct nn_context){handle, loaded};
    return true;
}

void nn_context_free(struct nn_context *context) {
    if (!context->loaded) return;
#ifdef NN_HAS_WASMEDGE
    nn_finalize_execution_context(context->handle);
#endif
    leave(context->loaded);
    *context = (struct nn_context){0};
}

static bool is_open(const struct nn_context *context, const char *call) {
    return context->loaded ||
           nn_refuse(NN_INVALID_ARGUMENT, call, "the context is closed, or was never opened");
}

bool nn_input_set(struct nn_context *context, uint32_t index, const struct nn_tensor *tensor) {
    if (!is_open(context, "set_input") || !nn_tensor_check(tensor, "set_input")) return false;
    const struct nn_raw_tensor raw = {tensor->dims, tensor->rank, nn_type_to_send(tensor->type), tensor->data,
                                      (uint32_t)tensor->size};
    uint32_t code = nn_set_input(context->handle, index, &raw);
    return code ? nn_fail_call("set_input", code) : true;
}

bool nn_input_set_named(struct nn_context *context, const char *name, const struct nn_tensor *tensor) {
    if (!is_open(context, "set_input")) return false;
    const struct nn_metadata *metadata = nn_context_info(context);
    int index = metadata ? nn_find_input(metadata, name) : -1;
    return index >= 0 && nn_input_set(context, (uint32_t)index, tensor);
}

bool nn_context_compute(struct nn_context *context) {
    if (!is_open(context, "compute")) return false;
    uint32_t code = nn_compute(context->handle);
    return code ? nn_fail_call("compute", code) : true;
}

// Enough for most outputs: a first buffer that is too small costs a failed call, which hosts log.
enum { FIRST_CAPACITY = 64 * 1024 };

// What the metadata says of an output, without an error where it says nothing.
static const struct nn_port *port_of(const struct nn_context *context, uint32_t index) {
#ifdef NN_HAS_WASINN
    struct nn_error before = nn_error;
    const struct nn_metadata *metadata = context->loaded->no_metadata ? NULL : nn_context_info(context);
    if (!metadata) nn_error = before;
    return metadata && index < metadata->output_count ? &metadata->outputs[index].port : NULL;
#else
    (void)context, (void)index;
    return NULL;
#endif
}

// The bytes that an output takes, 0 where a dim is open.
static uint64_t bytes_of(const struct nn_port *port) {
    uint64_t bytes = port && port->rank >= 0 ? nn_type_size(port->type) : 0;
    for (int i = 0; bytes && i < port->rank; i++) {
        if (port->dims[i] < 0) return 0;
        bytes *= (uint64_t)port->dims[i];
        if (bytes > UINT32_MAX) return 0;
    }
    return bytes;
}

// Type and dims for the bytes that came. One open dim is what is left of them.
static void describe(struct nn_tensor *tensor, const struct nn_port *port) {
    // A file without types (TorchScript) mostly gives f32.
    uint8_t type = !port ? NN_NO_TYPE : port->type == NN_NO_TYPE ? NN_F32 : port->type;
    uint32_t size = nn_type_size(type), dims[NN_MAX_RANK];
    tensor->type = NN_U8;
    tensor->rank = 1;
    tensor->dims[0] = (uint32_t)tensor->size;
    if (!size || tensor->size % size) return;
    tensor->type = type;
    tensor->dims[0] = (uint32_t)(tensor->size / size);
    uint64_t rest = tensor->size / size;
    int open = -1;
    bool empty = false;  // a dim of 0
    if (port->rank < 0) return;
    for (int i = 0; i < port->rank; i++) {
        if (port->dims[i] < 0) {
            if (open >= 0) return;
            open = i;
            continue;
        }
        dims[i] = (uint32_t)port->dims[i];
        if (dims[i] ? rest % dims[i] : rest) return;
        if (dims[i]) rest /= dims[i];
        empty = empty || !dims[i];
    }
    if (open >= 0)
        dims[open] = (uint32_t)rest;
    else if (rest != !empty)
        return;
    tensor->rank = (uint32_t)port->rank;
    memcpy(tensor->dims, dims, tensor->rank * sizeof *dims);
}

bool nn_output_get(struct nn_context *context, uint32_t index, struct nn_tensor *tensor) {
    if (!is_open(context, "get_output")) return false;
    const struct nn_port *port = port_of(context, index);
    uint64_t known = bytes_of(port);
    size_t wanted = known ? (size_t)known : tensor->capacity ? tensor->capacity : FIRST_CAPACITY;
    for (;;) {
        uint32_t written = 0;
        if (!nn_tensor_reserve(tensor, wanted)) return false;
        uint32_t code =
            nn_get_output(context->handle, index, tensor->data, (uint32_t)tensor->capacity, &written);
        if (!code) {
            tensor->size = written;
            describe(tensor, port);
            return true;
        }
        // Ask again only if the answer says that a larger buffer helps.
        if (code != NN_TOO_LARGE || written <= tensor->capacity) return nn_fail_call("get_output", code);
        wanted = written;
    }
}

bool nn_output_get_named(struct nn_context *context, const char *name, struct nn_tensor *tensor) {
    if (!is_open(context, "get_output")) return false;
    const struct nn_metadata *metadata = nn_context_info(context);
    int index = metadata ? nn_find_output(metadata, name) : -1;
    return index >= 0 && nn_output_get(context, (uint32_t)index, tensor);
}

bool nn_output_read(struct nn_context *context, uint32_t index, void *buffer, size_t size, size_t *written) {
    *written = 0;
    if (!is_open(context, "get_output")) return false;
    uint32_t got = 0, code = nn_get_output(context->handle, index, buffer, (uint32_t)size, &got);
    if (code == NN_TOO_LARGE && got > size)
        return nn_refuse(code, "get_output", "output %u has %u bytes, and the buffer %u", (unsigned)index,
                         (unsigned)got, (unsigned)size);
    if (code) return nn_fail_call("get_output", code);
    *written = got;
    return true;
}

bool nn_tensor_as(struct nn_tensor *tensor, uint8_t type, uint32_t rank, const uint32_t *dims) {
    struct nn_tensor as = {.type = type, .rank = rank, .data = tensor->data, .size = tensor->size};
    if (rank <= NN_MAX_RANK && rank) memcpy(as.dims, dims, rank * sizeof *dims);
    if (!nn_tensor_check(&as, "tensor")) return false;
    tensor->type = type;
    tensor->rank = rank;
    memcpy(tensor->dims, as.dims, sizeof as.dims);
    return true;
}
