// SPDX-License-Identifier: Apache-2.0
// A guest as they were built before October 2023: u8 is 2, and the padding after the type is garbage.
//
//   old_tflite MODEL     loads it as bytes, sends 64 pixels (their number times 4), prints the outputs
#include <stdint.h>
#include <stdio.h>

#define NN(name) __attribute__((import_module("wasi_ephemeral_nn"), import_name(name)))
struct builder { const void *data; uint32_t size; };
struct old_tensor {
    const uint32_t *dims;
    uint32_t rank;
    uint32_t type;  // as a word: the low byte counts, the others hold what the stack held
    const void *data;
    uint32_t size;
};
NN("load") uint32_t load(const struct builder *, uint32_t, uint32_t, uint32_t, uint32_t *);
NN("init_execution_context") uint32_t init_execution_context(uint32_t, uint32_t *);
NN("set_input") uint32_t set_input(uint32_t, uint32_t, const struct old_tensor *);
NN("compute") uint32_t compute(uint32_t);
NN("get_output") uint32_t get_output(uint32_t, uint32_t, void *, uint32_t, uint32_t *);

static uint8_t model[1 << 16];

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    FILE *file = fopen(argv[1], "rb");
    if (!file) return 3;
    struct builder builder = {model, fread(model, 1, sizeof model, file)};
    fclose(file);
    uint32_t graph, context, written, code;
    if ((code = load(&builder, 1, 4, 0, &graph))) return 10 + code;
    if ((code = init_execution_context(graph, &context))) return 20 + code;
    uint8_t pixels[64], scores[10];
    for (int i = 0; i < 64; i++) pixels[i] = (uint8_t)(4 * i);
    const uint32_t dims[] = {1, 8, 8, 1};
    struct old_tensor tensor = {dims, 4, 0xDEADBE00u | 2u, pixels, sizeof pixels};
    if ((code = set_input(context, 0, &tensor))) return 30 + code;
    if ((code = compute(context))) return 40 + code;
    if ((code = get_output(context, 0, scores, sizeof scores, &written))) return 50 + code;
    for (uint32_t i = 0; i < written; i++) printf("%d ", scores[i]);
    return 0;
}
