// SPDX-License-Identifier: Apache-2.0
// A request handler without a main: the host calls it once for each request.
//
//   in = alloc(size)         the host writes the request there
//   n  = handle(in, size)    the answer's size, or minus an nn_errno
//   answer()                 where the answer's bytes are
//
// Each request does the whole sequence, graph included, because hosts give each request an
// instance of its own. No libc: an instance should cost next to nothing.

#include <wasi_nn.h>

#define EXPORT(name) __attribute__((export_name(name)))

enum { PAGE = 65536, VALUES = 16 };

static uint8_t small_request[16 * 1024];
static uint8_t *large_request;  // grown on demand, and kept: wasm memory cannot be given back
static uint32_t large_capacity;
static float output[VALUES];

EXPORT("alloc") uint8_t *alloc(uint32_t size) {
    if (size <= sizeof small_request) return small_request;
    if (size <= large_capacity) return large_request;
    uint32_t pages = size / PAGE + (size % PAGE != 0);
    uint32_t first = __builtin_wasm_memory_grow(0, pages);
    if (first == UINT32_MAX) return 0;
    large_request = (uint8_t *)(uintptr_t)(first * PAGE);
    large_capacity = pages * PAGE;
    return large_request;
}

EXPORT("handle") int32_t handle(const uint8_t *request, uint32_t size) {
    static const char name[] = "tiny";
    static const uint32_t dims[] = {1, VALUES};
    // The model's input is the head of the request; the rest is there only to be carried.
    const struct nn_raw_tensor tensor = {dims, 2, NN_F32, request, VALUES * sizeof(float)};
    if (size < tensor.data_size) return -NN_INVALID_ARGUMENT;

    uint32_t graph, context, written = 0;
    uint32_t code = nn_load_by_name(name, sizeof name - 1, &graph);
    if (!code) code = nn_init_execution_context(graph, &context);
    if (!code) code = nn_set_input(context, 0, &tensor);
    if (!code) code = nn_compute(context);
    if (!code) code = nn_get_output(context, 0, output, sizeof output, &written);
    return code ? -(int32_t)code : (int32_t)written;
}

EXPORT("answer") const void *answer(void) { return output; }
