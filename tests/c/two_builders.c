// SPDX-License-Identifier: Apache-2.0
// A guest of OpenVINO's: the XML and the weights as two builders, which lie apart.
//
//   two_builders XML BIN     sends 64 numbers (their number / 64), prints the outputs in thousandths
#include <stdint.h>
#include <stdio.h>

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
NN("init_execution_context") uint32_t init_execution_context(uint32_t, uint32_t *);
NN("set_input") uint32_t set_input(uint32_t, uint32_t, const struct tensor *);
NN("compute") uint32_t compute(uint32_t);
NN("get_output") uint32_t get_output(uint32_t, uint32_t, void *, uint32_t, uint32_t *);

static uint8_t contents[2][1 << 16];

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    struct builder builders[2];
    for (int i = 0; i < 2; i++) {
        FILE *file = fopen(argv[1 + i], "rb");
        if (!file) return 3;
        builders[i] = (struct builder){contents[i], fread(contents[i], 1, sizeof contents[i], file)};
        fclose(file);
    }
    uint32_t graph, context, written, code;
    if ((code = load(builders, 2, 0, 0, &graph))) return 10 + code;
    if ((code = init_execution_context(graph, &context))) return 20 + code;
    float pixels[64], scores[10];
    for (int i = 0; i < 64; i++) pixels[i] = (float)i / 64;
    const uint32_t dims[] = {1, 1, 8, 8};
    struct tensor tensor = {dims, 4, 1, {0xAB, 0xCD, 0xEF}, pixels, sizeof pixels};
    if ((code = set_input(context, 0, &tensor))) return 30 + code;
    if ((code = compute(context))) return 40 + code;
    if ((code = get_output(context, 0, scores, sizeof scores, &written))) return 50 + code;
    for (uint32_t i = 0; i < written / 4; i++) printf("%d ", (int)(scores[i] * 1000 + 0.5f));
    return 0;
}
