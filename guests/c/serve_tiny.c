// SPDX-License-Identifier: Apache-2.0
// The least that can be served: FP32 "x" [1,16] goes through the graph "tiny", and FP32 "y" [1,N] comes back. No libc,
// and no more of the message than this one request needs: an instance should cost next to nothing. serve.c is what
// a guest looks like with the SDK.

#include <serve_message.h>
#include <wasi_nn.h>

#include <stddef.h>

enum { PAGE = 65536, VALUES = 16, BYTES = VALUES * sizeof(float) };

static uint64_t small_request[1024];
static struct {
    struct nn_message head;
    char text[48];
} refusal = {{NN_REFUSAL_MAGIC, 36}, "it takes one tensor, FP32 \"x\" [1,16]"};
// The name and the datatype together are the first 8 bytes.
static struct answer {
    struct nn_message head;
    struct nn_message_tensor tensor;
    uint64_t dims[2];
    char words[8];
    float data[VALUES];
} answer = {{NN_MESSAGE_MAGIC, 1}, {1, 4, 2, 0, BYTES}, {1, VALUES}, "yFP32", {0}};

NN_EXPORT_ALLOC void *serve_alloc(uint32_t size) {
    if (size <= sizeof small_request) return small_request;
    uint32_t first = __builtin_wasm_memory_grow(0, size / PAGE + (size % PAGE != 0));
    return first == UINT32_MAX ? 0 : (void *)(uintptr_t)(first * PAGE);
}

// A request is what `answer` is, but for its name and its data.
static int is_good(const char *request, uint32_t size) {
    const char *wanted = (const char *)&answer, *words = request + offsetof(struct answer, words);
    if (size != sizeof answer || words[0] != 'x') return 0;
    for (uint32_t i = 0; i < offsetof(struct answer, data); i++)
        if (request + i != words && request[i] != wanted[i]) return 0;
    return 1;
}

NN_EXPORT_HANDLE uint64_t serve_handle(const char *request, uint32_t size) {
    static const char graph_name[] = "tiny";
    static const uint32_t dims[] = {1, VALUES};
    if (!is_good(request, size)) return NN_ANSWER(&refusal, sizeof refusal.head + refusal.head.count);
    const struct nn_raw_tensor tensor = {dims, 2, NN_F32, request + sizeof answer - BYTES, BYTES};
    uint32_t graph, context, written = 0;
    uint32_t code = nn_load_by_name(graph_name, sizeof graph_name - 1, &graph);
    if (!code) code = nn_init_execution_context(graph, &context);
    if (!code) code = nn_set_input(context, 0, &tensor);
    if (!code) code = nn_compute(context);
    if (!code) code = nn_get_output(context, 0, answer.data, BYTES, &written);
    if (code || written % 8) return 0;
    answer.tensor.data_size = written;
    answer.dims[1] = written / sizeof(float);
    return NN_ANSWER(&answer, offsetof(struct answer, data) + written);
}
