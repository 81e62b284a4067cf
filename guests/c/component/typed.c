// SPDX-License-Identifier: Apache-2.0
// A component that exports functions for others to call, and needs nothing but wasi:nn:
//
//   infer:    func(graph: string, dims: list<u32>, ty: tensor-type, data: list<u8>)
//                 -> result<list<u8>, string>
//   classify: func(graph: string, dims: list<u32>, values: list<f32>, count: u32)
//                 -> result<list<tuple<u32, f32>>, string>
//   describe: func(graph: string) -> result<string, string>
//
// `infer` gives the bytes of the first output. `classify` takes values of f32 and gives the largest `count`
// values of an f32 output with their places, the largest first. `describe` gives the graph's tensors as JSON.

#include "wit_nn.h"

#include <string.h>

IMPORT("wasinn:nn/introspection@0.1.0", "graph-metadata")
void graph_metadata(uint32_t graph, struct result *json);

struct best {
    uint32_t index;
    float value;
};

// What an export returns lies here until `cabi_post_...` frees it.
static struct result answer;

static struct result *failed(uint32_t error) {
    answer.failed = 1;
    error_data(error, &answer.list);
    error_drop(error);
    return &answer;
}

static struct result *refused(const char *why) {
    answer.failed = 1;
    answer.list = (struct list){strdup(why), (uint32_t)strlen(why)};
    return &answer;
}

static void free_list(struct list *list) {
    if (list->size) free(list->data);
    list->size = 0;
}

static struct result *open_graph(struct list *name, uint32_t *graph) {
    struct result result;
    graph_load_by_name(name->data, name->size, &result);
    free_list(name);
    *graph = result.handle;
    return result.failed ? failed(result.handle) : NULL;
}

// Takes `tensor`; fills `output` with the bytes of the first output, or returns the answer that says why not.
static struct result *compute(uint32_t graph, uint32_t tensor, struct list *output) {
    struct result made, outputs;
    graph_context(graph, &made);
    if (made.failed) {
        tensor_drop(tensor);
        return failed(made.handle);
    }
    // A decimal number in place of a name counts as the index.
    struct named_tensor input = {{"0", 1}, tensor};
    context_compute(made.handle, &input, 1, &outputs);
    context_drop(made.handle);
    if (outputs.failed) return failed(outputs.handle);
    struct named_tensor *found = outputs.list.data;
    for (uint32_t i = 0; i < outputs.list.size; i++) {
        if (i == 0) tensor_data(found[i].tensor, output);
        tensor_drop(found[i].tensor);
        free_list(&found[i].name);
    }
    if (!outputs.list.size) return refused("the graph has no output");
    free_list(&outputs.list);
    return NULL;
}

EXPORT("infer")
struct result *infer(char *name, uint32_t name_size, uint32_t *dims, uint32_t rank, uint32_t type,
                     uint8_t *data, uint32_t size) {
    struct list graph_name = {name, name_size}, given_dims = {dims, rank}, given = {data, size};
    uint32_t graph;
    struct result *refusal = open_graph(&graph_name, &graph);
    if (!refusal) {
        uint32_t tensor = tensor_new(dims, rank, type, data, size);
        answer.failed = 0;
        refusal = compute(graph, tensor, &answer.list);
        graph_drop(graph);
    }
    free_list(&given_dims);
    free_list(&given);
    return refusal ? refusal : &answer;
}

static int better(const void *a, const void *b) {
    const struct best *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

EXPORT("classify")
struct result *classify(char *name, uint32_t name_size, uint32_t *dims, uint32_t rank, float *values,
                        uint32_t size, uint32_t count) {
    struct result *result =
        infer(name, name_size, dims, rank, WIT_FP32, (uint8_t *)values, size * sizeof *values);
    if (result->failed) return result;
    struct list bytes = answer.list;
    uint32_t classes = bytes.size / sizeof(float);
    struct best *best = calloc(classes ? classes : 1, sizeof *best);
    if (!best) __builtin_trap();
    const float *scores = bytes.data;
    for (uint32_t i = 0; i < classes; i++) best[i] = (struct best){i, scores[i]};
    free_list(&bytes);
    qsort(best, classes, sizeof *best, better);
    answer.list = (struct list){best, count < classes ? count : classes};
    if (!answer.list.size) free(best);
    return &answer;
}

EXPORT("describe")
struct result *describe(char *name, uint32_t name_size) {
    struct list graph_name = {name, name_size};
    uint32_t graph;
    struct result *refusal = open_graph(&graph_name, &graph);
    if (refusal) return refusal;
    graph_metadata(graph, &answer);
    graph_drop(graph);
    return &answer;
}

static void free_answer(void) { free_list(&answer.list); }

EXPORT("cabi_post_infer") void post_infer(struct result *result) { (void)result, free_answer(); }
EXPORT("cabi_post_classify") void post_classify(struct result *result) { (void)result, free_answer(); }
EXPORT("cabi_post_describe") void post_describe(struct result *result) { (void)result, free_answer(); }
