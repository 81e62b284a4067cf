// SPDX-License-Identifier: Apache-2.0
// A guest of WasmEdge's language models, as its authors write them: the prompt's dims are [1], buffers have
// 24,576 bytes, and options are JSON, in input 1 or as the config of the load.
//
//   language_model whole NAME PROMPT OPTIONS CONFIG     the measures before, the text, the measures after
//   language_model stream NAME PROMPT OPTIONS CONFIG    each piece on a line of its own, then the whole text
//   language_model forever NAME PROMPT OPTIONS CONFIG   whole and in pieces, again and again, until that fails
//   language_model bytes FILE PROMPT OPTIONS            as whole, with a model that it brings
// OPTIONS - are none. The exit code is 10, 20, ... and the errno of what failed.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define NN(name) __attribute__((import_module("wasi_ephemeral_nn"), import_name(name)))
struct builder { const void *data; uint32_t size; };
struct tensor {
    const uint32_t *dims;
    uint32_t rank;
    uint8_t type, garbage[3];
    const void *data;
    uint32_t size;
};
NN("load") uint32_t load(const struct builder *, uint32_t, uint32_t, uint32_t, uint32_t *);
NN("load_by_name_with_config")
uint32_t load_by_name_with_config(const char *, uint32_t, const char *, uint32_t, uint32_t *);
NN("init_execution_context") uint32_t init_execution_context(uint32_t, uint32_t *);
NN("set_input") uint32_t set_input(uint32_t, uint32_t, const struct tensor *);
NN("compute") uint32_t compute(uint32_t);
NN("compute_single") uint32_t compute_single(uint32_t);
NN("get_output") uint32_t get_output(uint32_t, uint32_t, void *, uint32_t, uint32_t *);
NN("get_output_single") uint32_t get_output_single(uint32_t, uint32_t, void *, uint32_t, uint32_t *);
NN("fini_single") uint32_t fini_single(uint32_t);
NN("unload") uint32_t unload(uint32_t);

enum { U8 = 3, GGML = 6, CPU = 0, END_OF_SEQUENCE = 100, CONTEXT_FULL = 101 };
static char buffer[24576], model[1 << 20];

static uint32_t set_text(uint32_t context, uint32_t index, const char *text) {
    const uint32_t dims[] = {1};
    struct tensor tensor = {dims, 1, U8, {0xAB, 0xCD, 0xEF}, text, (uint32_t)strlen(text)};
    return set_input(context, index, &tensor);
}

static int show(uint32_t code, uint32_t size) {
    if (code) return (int)code;
    fwrite(buffer, 1, size, stdout);
    putchar('\n');
    return 0;
}

static int stream(uint32_t context) {
    uint32_t code, size;
    while (!(code = compute_single(context))) {
        if ((code = get_output_single(context, 0, buffer, sizeof buffer, &size))) return 60 + (int)code;
        show(0, size);
    }
    if (code != END_OF_SEQUENCE) return 70 + (int)code;
    code = get_output(context, 0, buffer, sizeof buffer, &size);
    if (show(code, size)) return 80 + (int)code;
    return (int)fini_single(context);
}

static int whole(uint32_t context) {
    uint32_t code, size;
    code = get_output(context, 1, buffer, sizeof buffer, &size);
    if (show(code, size)) return 60 + (int)code;
    if ((code = compute(context))) return 70 + (int)code;
    code = get_output(context, 0, buffer, sizeof buffer, &size);
    if (show(code, size)) return 80 + (int)code;
    code = get_output(context, 1, buffer, sizeof buffer, &size);
    return show(code, size);
}

static int forever(uint32_t context) {
    for (;;) {
        uint32_t code = compute(context);
        if (code && code != CONTEXT_FULL) return 70 + (int)code;
        while (!(code = compute_single(context))) continue;
        if (code != END_OF_SEQUENCE && code != CONTEXT_FULL) return 80 + (int)code;
        if (fini_single(context)) return 9;
    }
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    uint32_t graph, context, code;
    if (!strcmp(argv[1], "bytes")) {
        FILE *file = fopen(argv[2], "rb");
        if (!file) return 3;
        struct builder builder = {model, (uint32_t)fread(model, 1, sizeof model, file)};
        fclose(file);
        code = load(&builder, 1, GGML, CPU, &graph);
    } else {
        code = load_by_name_with_config(argv[2], strlen(argv[2]), argv[5], strlen(argv[5]), &graph);
    }
    if (code) return 10 + (int)code;
    if ((code = init_execution_context(graph, &context))) return 20 + (int)code;
    if ((code = set_text(context, 0, argv[3]))) return 30 + (int)code;
    if (strcmp(argv[4], "-") && (code = set_text(context, 1, argv[4]))) return 40 + (int)code;
    int failed = !strcmp(argv[1], "stream")    ? stream(context)
                 : !strcmp(argv[1], "forever") ? forever(context)
                                               : whole(context);
    if (failed) return failed;
    return (int)unload(graph);
}
