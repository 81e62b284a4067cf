// SPDX-License-Identifier: Apache-2.0
// mistakes WHICH: makes one mistake with @identity (input x f32 [1,4]) and prints what the SDK says of it.

#include <nn.h>
#include <stdio.h>
#include <string.h>

static const float values[5] = {1, 2, 3, 4, 5};
static const uint32_t dims[] = {1, 4};

static bool make(const char *which) {
    NN_GRAPH(graph);
    NN_CONTEXT(context);
    NN_TENSOR(tensor);
    NN_TENSOR(output);
    if (!strcmp(which, "unknown-graph")) return nn_graph_by_name(&graph, "nobody");
    if (!nn_graph_by_name(&graph, "default")) return false;
    if (!strcmp(which, "closed-graph")) {
        nn_graph_free(&graph);
        return nn_context_open(&context, &graph);
    }
    if (!nn_context_open(&context, &graph) || !nn_tensor_of(&tensor, NN_F32, 2, dims, values, 16))
        return false;
    if (!strcmp(which, "closed-context")) {
        nn_context_free(&context);
        return nn_input_set(&context, 0, &tensor);
    }
    if (!strcmp(which, "wrong-dims")) {
        static const uint32_t five[] = {1, 5};
        return nn_tensor_of(&tensor, NN_F32, 2, five, values, 20) && nn_input_set(&context, 0, &tensor);
    }
    if (!strcmp(which, "wrong-bytes")) return nn_tensor_of(&tensor, NN_F32, 2, dims, values, 12);
    if (!strcmp(which, "wrong-type"))
        return nn_tensor_of(&tensor, NN_U8, 2, dims, values, 4) && nn_input_set(&context, 0, &tensor);
    if (!strcmp(which, "no-such-input")) return nn_input_set_named(&context, "pixels", &tensor);
    if (!strcmp(which, "no-input")) return nn_context_compute(&context);
    if (!strcmp(which, "freed-tensor")) {
        nn_tensor_free(&tensor);
        tensor = (struct nn_tensor){.type = NN_F32, .rank = 2, .dims = {1, 4}};
        return nn_input_set(&context, 0, &tensor);
    }
    if (!nn_input_set_named(&context, "x", &tensor) || !nn_context_compute(&context)) return false;
    if (!strcmp(which, "no-such-output")) return nn_output_get_named(&context, "scores", &output);
    if (!strcmp(which, "small-buffer")) {
        uint8_t buffer[8];
        size_t written;
        return nn_output_read(&context, 0, buffer, sizeof buffer, &written);
    }
    if (!strcmp(which, "wrong-view")) {
        size_t count;
        return nn_output_get(&context, 0, &output) && nn_tensor_i32(&output, &count);
    }
    // "none": the way it goes without a mistake.
    size_t count;
    const float *found = nn_output_get_named(&context, "y", &output) ? nn_tensor_f32(&output, &count) : NULL;
    if (!found || count != 4 || memcmp(found, values, 16)) return false;
    return true;
}

int main(int argc, char **argv) {
    static const char *const known[] = {
        "wrong-dims",    "wrong-bytes",   "wrong-type",     "closed-context", "closed-graph", "unknown-graph",
        "no-such-input", "no-such-output", "small-buffer",  "no-input",       "freed-tensor", "wrong-view",
        "none",
    };
    const int count = sizeof known / sizeof *known;
    for (int i = 0; argc == 2 && i < count; i++) {
        if (strcmp(known[i], argv[1])) continue;
        puts(make(argv[1]) ? "no error" : nn_error.text);
        return 0;
    }
    fprintf(stderr, "mistakes: '%s' is none of", argc > 1 ? argv[1] : "");
    for (int i = 0; i < count; i++) fprintf(stderr, " %s", known[i]);
    fprintf(stderr, "\n");
    return 2;
}
