// SPDX-License-Identifier: Apache-2.0
// A component that does what a test says: each function of wasi:nn by numbers for handles, and what no good
// guest does. The functions' types are in tests/components/c_driver.py.
//
// No handle is kept in this memory, so all that a call was given and made is forgotten at its end.

#include "wit_nn.h"

extern uint8_t __heap_base;

enum realloc_mode { GOOD, NO_SHRINK, MISALIGNED, FAR_AWAY, TRAPS };

static uint8_t *next = &__heap_base;
static uint32_t realloc_mode;

static void copy(uint8_t *to, const uint8_t *from, uint32_t size) {
    while (size--) *to++ = *from++;
}

static void *take(uint32_t alignment, uint32_t size) {
    uint8_t *made = (uint8_t *)(((uint32_t)next + alignment - 1) & -alignment);
    uint32_t pages = ((uint32_t)made + size + 65535) / 65536, now = __builtin_wasm_memory_size(0);
    if (pages > now && __builtin_wasm_memory_grow(0, pages - now) == (size_t)-1) __builtin_trap();
    next = made + size;
    return made;
}

EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t alignment, size_t size) {
    switch (realloc_mode) {
        case NO_SHRINK:
            if (old_size > size) __builtin_trap();
            break;
        case MISALIGNED: return (uint8_t *)take(8, size + 8) + 1;
        case FAR_AWAY: return (void *)0xfffffff0u;
        case TRAPS: __builtin_trap();
    }
    if (old_size >= size) return old;
    void *made = take(alignment, size);
    copy(made, old, old_size);
    return made;
}

static void forget(void) { next = &__heap_base; }

#define POST(name) \
    EXPORT("cabi_post_" name)

// -- what is returned: result<T, tuple<u32, string>> --

struct fault {
    uint32_t code;
    struct list reason;
};

struct answer {
    uint32_t failed;
    union {
        uint32_t handle;
        struct list list;
        struct fault fault;
    };
};

static struct answer *answered(const struct result *result, bool is_list) {
    static struct answer answer;
    answer.failed = result->failed;
    if (result->failed) {
        answer.fault.code = error_code(result->handle);
        error_data(result->handle, &answer.fault.reason);
        error_drop(result->handle);
    } else if (is_list) {
        answer.list = result->list;
    } else {
        answer.handle = result->handle;
    }
    return &answer;
}

static struct list made_list;

// -- tensors --

EXPORT("tensor-new")
uint32_t make_tensor(uint32_t *dims, uint32_t rank, uint32_t type, uint8_t *data, uint32_t size) {
    return tensor_new(dims, rank, type, data, size);
}
POST("tensor-new") void post_tensor_new(uint32_t tensor) { (void)tensor, forget(); }

// Addresses as they are given.
EXPORT("tensor-raw")
uint32_t raw_tensor(uint32_t dims, uint32_t rank, uint32_t type, uint32_t data, uint32_t size) {
    return tensor_new((uint32_t *)dims, rank, type, (uint8_t *)data, size);
}

EXPORT("tensor-dims")
struct list *read_dims(uint32_t tensor) { return tensor_dimensions(tensor, &made_list), &made_list; }
POST("tensor-dims") void post_tensor_dims(struct list *list) { (void)list, forget(); }

EXPORT("tensor-type") uint32_t read_type(uint32_t tensor) { return tensor_type(tensor); }

EXPORT("tensor-data")
struct list *read_data(uint32_t tensor) { return tensor_data(tensor, &made_list), &made_list; }
POST("tensor-data") void post_tensor_data(struct list *list) { (void)list, forget(); }

EXPORT("tensor-drop") void drop_tensor(uint32_t tensor) { tensor_drop(tensor); }

// -- graphs --

EXPORT("load")
struct answer *load(struct list *builders, uint32_t count, uint32_t encoding, uint32_t target) {
    struct result result;
    graph_load(builders, count, encoding, target, &result);
    return answered(&result, false);
}
POST("load") void post_load(struct answer *answer) { (void)answer, forget(); }

// A model of `size` bytes that is none: `bytes`, and then zeros.
EXPORT("load-padded")
struct answer *load_padded(uint8_t *bytes, uint32_t count, uint32_t size, uint32_t encoding) {
    uint8_t *model = take(1, size);
    copy(model, bytes, count);
    struct list builder = {model, size};
    struct result result;
    graph_load(&builder, 1, encoding, 0, &result);
    return answered(&result, false);
}
POST("load-padded") void post_load_padded(struct answer *answer) { (void)answer, forget(); }

EXPORT("load-by-name")
struct answer *load_by_name(char *name, uint32_t size) {
    struct result result;
    graph_load_by_name(name, size, &result);
    return answered(&result, false);
}
POST("load-by-name") void post_load_by_name(struct answer *answer) { (void)answer, forget(); }

EXPORT("graph-context")
struct answer *make_context(uint32_t graph) {
    struct result result;
    graph_context(graph, &result);
    return answered(&result, false);
}
POST("graph-context") void post_graph_context(struct answer *answer) { (void)answer, forget(); }

EXPORT("graph-drop") void drop_graph(uint32_t graph) { graph_drop(graph); }

// -- inference --

EXPORT("compute")
struct answer *compute(uint32_t context, struct named_tensor *inputs, uint32_t count) {
    struct result result;
    context_compute(context, inputs, count, &result);
    return answered(&result, true);
}
POST("compute") void post_compute(struct answer *answer) { (void)answer, forget(); }

EXPORT("context-drop") void drop_context(uint32_t context) { context_drop(context); }

// -- errors that are kept --

EXPORT("fail")
uint32_t fail(char *name, uint32_t size) {
    struct result result;
    graph_load_by_name(name, size, &result);
    if (!result.failed) __builtin_trap();
    return result.handle;
}
POST("fail") void post_fail(uint32_t error) { (void)error, forget(); }

EXPORT("error-code") uint32_t read_code(uint32_t error) { return error_code(error); }
EXPORT("error-drop") void drop_error(uint32_t error) { error_drop(error); }

// -- what is hard to do from outside --

static uint8_t pattern(uint32_t place) { return (uint8_t)(place * 2654435761u >> 21); }

// A tensor of `size` bytes there and back; 0, or the place of the first byte that differs plus one.
EXPORT("round-trip")
uint32_t round_trip(uint32_t size) {
    uint8_t *data = take(1, size);
    for (uint32_t i = 0; i < size; i++) data[i] = pattern(i);
    uint32_t tensor = tensor_new(&size, 1, WIT_U8, data, size);
    forget();
    for (uint32_t i = 0; i < size; i++) data[i] = 0;
    struct list back;
    tensor_data(tensor, &back);
    tensor_drop(tensor);
    forget();
    if (back.size != size) return (uint32_t)-1;
    for (uint32_t i = 0; i < size; i++)
        if (((uint8_t *)back.data)[i] != pattern(i)) return i + 1;
    return 0;
}

// Makes a tensor, a graph, a context and an error, and ends without giving any of them back.
EXPORT("trap-holding")
void trap_holding(char *name, uint32_t size) {
    uint32_t one = 1;
    tensor_new(&one, 1, WIT_U8, &one, 1);
    struct result graph, context, error;
    graph_load_by_name(name, size, &graph);
    graph_context(graph.handle, &context);
    graph_load_by_name(name, 0, &error);
    __builtin_trap();
}

EXPORT("set-realloc") void set_realloc(uint32_t mode) { realloc_mode = mode; }
