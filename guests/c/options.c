// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const encoding_words[] = {"openvino",       "onnx",       "tensorflow", "pytorch",
                                      "tensorflowlite", "autodetect", "ggml",       NULL};
static const char *const encoding_aliases[] = {"openvino", "onnx", "tf",   "torch",
                                               "tflite",   "auto", "gguf", NULL};
const char *const target_words[] = {"cpu", "gpu", "tpu", NULL};

int word_index(const char *word, const char *const *words) {
    for (int i = 0; words[i]; i++)
        if (!strcmp(word, words[i])) return i;
    return -1;
}

int encoding_index(const char *word) {
    int index = word_index(word, encoding_words);
    return index < 0 ? word_index(word, encoding_aliases) : index;
}

int parse_dims(const char *text, uint32_t *dims, int max) {
    if (!strcmp(text, "scalar")) return 0;
    for (int count = 0; count < max; text++) {
        if (*text < '0' || *text > '9') return -1;
        char *end;
        dims[count++] = (uint32_t)strtoul(text, &end, 10);
        text = end;
        if (!*text) return count;
        if (*text != 'x') return -1;
    }
    return -1;
}

bool complain(void) {
    fprintf(stderr, "%s: %s\n", program, nn_error.text);
    return false;
}

bool model_open(const struct model_choice *choice, struct nn_graph *graph, struct nn_context *context) {
    enum nn_encoding encoding = (enum nn_encoding)choice->encoding;
    enum nn_target target = (enum nn_target)choice->target;
    bool loaded = choice->file_count
                      ? nn_graph_load_files(graph, choice->files, choice->file_count, encoding, target)
                      : nn_graph_by_name(graph, choice->name);
    return (loaded && nn_context_open(context, graph)) || complain();
}

bool output_check_size(const struct nn_tensor *output, uint32_t index, uint8_t type, const char *option) {
    if (output->size % nn_type_size(type) == 0) return true;
    fprintf(stderr, "%s: output %u has %u bytes, which are no %s numbers: is it of another type (%s)?\n",
            program, (unsigned)index, (unsigned)output->size, nn_type_name(type), option);
    return false;
}

void output_check_f32(const struct nn_tensor *output, uint32_t index, const char *option) {
    double most = 0;
    for (size_t i = 0; i < output->size / sizeof(float); i++) {
        double value = nn_number(output->data, NN_F32, i);
        if (isfinite(value)) most = fmax(most, fabs(value));
    }
    // Integers that are read as f32 come out next to 0, or huge.
    if (most == 0 || (most > 1e-20 && most < 1e30)) return;
    fprintf(stderr, "%s: output %u does not look like f32 numbers: is it of another type (%s)?\n",
            program, (unsigned)index, option);
}

_Noreturn static void usage(const char *option, const char *problem, const char *text) {
    fprintf(stderr, "%s: %s %s\nusage: %s %s\n", program, option, problem, program, text);
    exit(2);
}

int plain_arguments(int argc, char **argv, struct plain_options *o) {
    int files = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        bool number = o->number_option && !strcmp(word, o->number_option);
        if (word[0] != '-') {
            argv[files++] = argv[i];
        } else if (!strcmp(word, "--help")) {
            printf("usage: %s %s\n", program, o->usage);
            exit(0);
        } else if (!number && strcmp(word, "--name")) {
            usage(word, "is not an option", o->usage);
        } else if (++i == argc) {
            usage(word, "needs a value", o->usage);
        } else if (number) {
            char *end;
            o->number = strtol(argv[i], &end, 10);
            if (end == argv[i] || *end || o->number < 1 || o->number > 65536)
                usage(word, "takes a number from 1 to 65536", o->usage);
        } else {
            o->name = argv[i];
        }
    }
    if (files < o->least_files || files > o->most_files) usage("files", "are missing, or too many", o->usage);
    return files;
}
