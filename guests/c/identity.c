// SPDX-License-Identifier: Apache-2.0
// The smallest whole use of WASI-NN: send four numbers through a model that returns its input.
//
//   identity NAME        a model that the host has preloaded under NAME
//   identity FILE.onnx   a model file, sent to the host as bytes

#include <wasi_nn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t model[64 * 1024];

static int failed(const char *call, uint32_t code) {
    fprintf(stderr, "identity: %s answered %s; the host's log says why\n", call,
            nn_errno_name(code));
    return 1;
}

static uint32_t load_file(const char *path, uint32_t *graph) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "identity: %s cannot be opened: is its directory given to the guest (--dir)?\n",
                path);
        exit(1);
    }
    size_t size = fread(model, 1, sizeof model, file);
    fclose(file);
    struct nn_builder builder = {model, size};
    return nn_load(&builder, 1, NN_ONNX, NN_CPU, graph);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: identity NAME | FILE.onnx\n");
        return 2;
    }
    const char *name = argv[1];
    const char *ending = strrchr(name, '.');
    uint32_t graph, context, written, code;

    // 1. A graph: the model itself.
    if (ending && !strcmp(ending, ".onnx")) {
        code = load_file(name, &graph);
        if (code) return failed("load", code);
    } else {
        code = nn_load_by_name(name, strlen(name), &graph);
        if (code) return failed("load_by_name", code);
    }

    // 2. An execution context: holds the inputs and outputs of one use of the graph.
    code = nn_init_execution_context(graph, &context);
    if (code) return failed("init_execution_context", code);

    // 3. Input, compute, output.
    const float input[4] = {1, 2, 3, 4};
    float output[4] = {0};
    const uint32_t dims[] = {1, 4};
    const struct nn_raw_tensor tensor = {dims, 2, NN_F32, input, sizeof input};
    code = nn_set_input(context, 0, &tensor);
    if (code) return failed("set_input", code);
    code = nn_compute(context);
    if (code) return failed("compute", code);
    code = nn_get_output(context, 0, output, sizeof output, &written);
    if (code) return failed("get_output", code);

    // Whole numbers are enough here, and printing no fractions keeps the guest small.
    printf("%u bytes:", (unsigned)written);
    for (int i = 0; i < 4; i++) printf(" %d", (int)output[i]);
    printf("\n");
    if (written != sizeof input || memcmp(input, output, sizeof input)) {
        fprintf(stderr, "identity: the output is not the input\n");
        return 1;
    }
    return 0;
}
