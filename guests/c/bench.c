// SPDX-License-Identifier: Apache-2.0
// Times set_input + compute + get_output from inside the guest; prints one line of JSON.
//
//   bench ITERATIONS WARMUP OUTPUT_BYTES DIMS NAME_OR_PATH [by-name|by-load]

#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *program = "bench";

// The calls of wasi_nn.h themselves: a measure of the host has nothing of the SDK in it.
static uint32_t context;
static struct nn_raw_tensor input;
static uint8_t *output;
static uint32_t output_size, written;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

_Noreturn static void failed(const char *call, uint32_t code) {
    nn_fail_call(call, code);
    complain();
    exit(1);
}

// What is measured. Not inlined, so that each loop below runs the same code.
__attribute__((noinline)) static void iterate(void) {
    uint32_t code = nn_set_input(context, 0, &input);
    if (code) failed("set_input", code);
    code = nn_compute(context);
    if (code) failed("compute", code);
    code = nn_get_output(context, 0, output, output_size, &written);
    if (code) failed("get_output", code);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// The same values every time, in -0.5..0.5.
static void fill(float *values, uint32_t count) {
    uint32_t state = 12345;
    for (uint32_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        values[i] = (float)(state >> 8) / 16777216.0f - 0.5f;
    }
}

// FNV-1a: shows that two hosts gave the same output.
static uint32_t checksum(const uint8_t *data, uint32_t size) {
    uint32_t hash = 2166136261;
    for (uint32_t i = 0; i < size; i++) hash = (hash ^ data[i]) * 16777619;
    return hash;
}

int main(int argc, char **argv) {
    uint32_t dims[NN_MAX_RANK];
    int dims_count = argc >= 6 ? parse_dims(argv[4], dims, NN_MAX_RANK) : -1;
    uint32_t iterations = argc >= 6 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    const char *how = argc == 7 ? argv[6] : "by-name";
    bool load = !strcmp(how, "by-load");
    if (argc > 7 || dims_count < 0 || !iterations || (!load && strcmp(how, "by-name"))) {
        fputs("usage: bench ITERATIONS WARMUP OUTPUT_BYTES DIMS NAME_OR_PATH [by-name|by-load]\n",
              stderr);
        return 2;
    }
    uint32_t warmup = (uint32_t)strtoul(argv[2], NULL, 10);
    output_size = (uint32_t)strtoul(argv[3], NULL, 10);

    struct model_choice model = {.name = argv[5], .encoding = NN_AUTODETECT, .target = NN_CPU};
    if (load) model.files[model.file_count++] = argv[5];
    NN_GRAPH(graph);
    NN_CONTEXT(opened);
    if (!model_open(&model, &graph, &opened)) return 1;
    context = opened.handle;

    uint64_t count = 1;
    for (int i = 0; i < dims_count; i++) count *= dims[i];
    if (count > 1u << 28) {  // 1 GiB
        fprintf(stderr, "bench: the input is too large\n");
        return 2;
    }
    float *values = malloc((size_t)count * sizeof *values + 1);
    uint64_t *times = malloc(iterations * sizeof *times);
    output = calloc(1, output_size + 1);
    if (!values || !times || !output) {
        fprintf(stderr, "bench: there is not enough memory\n");
        return 1;
    }
    fill(values, (uint32_t)count);
    input = (struct nn_raw_tensor){dims, (uint32_t)dims_count, NN_F32, values,
                                   (uint32_t)(count * sizeof *values)};

    for (uint32_t i = 0; i < warmup; i++) iterate();
    for (uint32_t i = 0; i < iterations; i++) {
        uint64_t start = now();
        iterate();
        times[i] = now() - start;
    }
    // Again without a clock in between: a clock is a call to the host too.
    uint64_t start = now();
    for (uint32_t i = 0; i < iterations; i++) iterate();
    uint64_t loop = now() - start;

    qsort(times, iterations, sizeof *times, by_value);
    printf("{\"iterations\": %u, \"min_ns\": %llu, \"median_ns\": %llu, \"mean_ns\": %llu, "
           "\"loop_ns\": %llu, \"written\": %u, \"checksum\": \"%08x\"}\n",
           (unsigned)iterations, (unsigned long long)times[0],
           (unsigned long long)times[iterations / 2], (unsigned long long)(loop / iterations),
           (unsigned long long)loop, (unsigned)written, (unsigned)checksum(output, written));
    return 0;
}
