// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include <errno.h>
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

bool call_failed(const char *call, uint32_t code) {
#ifdef NN_COMPONENT
    fprintf(stderr, "%s: %s answered %s: %s\n", program, call, nn_errno_name(code), nn_reason());
#else
    fprintf(stderr, "%s: %s answered %s (%u); the host's log says why\n", program, call,
            nn_errno_name(code), (unsigned)code);
#endif
    return false;
}

bool file_read(const char *path, uint8_t **data, size_t *size) {
    *data = NULL;
    *size = 0;
    FILE *file = fopen(path, "rb");
    bool good = file != NULL;
    size_t capacity = 0;
    while (good) {
        if (*size == capacity) {
            capacity = capacity ? capacity * 2 : 64 * 1024;
            uint8_t *larger = realloc(*data, capacity);
            if (!larger) {
                errno = ENOMEM;
                good = false;
                break;
            }
            *data = larger;
        }
        size_t got = fread(*data + *size, 1, capacity - *size, file);
        *size += got;
        if (!got) {
            good = !ferror(file);
            break;
        }
    }
    if (!good) {
        const char *hint = errno == ENOENT ? " (a guest sees only what --dir gives it)" : "";
        fprintf(stderr, "%s: %s: %s%s\n", program, path, strerror(errno), hint);
        free(*data);
        *data = NULL;
    }
    if (file) fclose(file);
    return good;
}

static bool load_files(const struct model_choice *choice, uint32_t *graph) {
    uint8_t *files[MODEL_MAX_FILES] = {0};
    struct nn_builder builders[MODEL_MAX_FILES];
    bool good = true;
    for (uint32_t i = 0; good && i < choice->file_count; i++) {
        size_t size;
        good = file_read(choice->files[i], &files[i], &size);
        builders[i] = (struct nn_builder){files[i], (uint32_t)size};
    }
    if (good) {
        uint32_t code =
            nn_load(builders, choice->file_count, choice->encoding, choice->target, graph);
        good = code ? call_failed("load", code) : true;
    }
    // The host has its own copy.
    for (uint32_t i = 0; i < choice->file_count; i++) free(files[i]);
    return good;
}

bool model_open(const struct model_choice *choice, uint32_t *context) {
    uint32_t graph, code;
    if (choice->file_count) {
        if (!load_files(choice, &graph)) return false;
    } else {
        code = nn_load_by_name(choice->name, (uint32_t)strlen(choice->name), &graph);
        if (code) return call_failed("load_by_name", code);
    }
    code = nn_init_execution_context(graph, context);
    return code ? call_failed("init_execution_context", code) : true;
}

// Enough for most outputs: a first buffer that is too small costs a failed call, which hosts log.
enum { FIRST_CAPACITY = 64 * 1024 };

bool output_read(uint32_t context, uint32_t index, struct output *output) {
    uint32_t wanted = output->capacity ? output->capacity : FIRST_CAPACITY;
    for (;;) {
        if (wanted > output->capacity) {
            uint8_t *larger = realloc(output->data, wanted);
            if (!larger) {
                fprintf(stderr, "%s: output %u takes %u bytes: there is not enough memory\n",
                        program, (unsigned)index, (unsigned)wanted);
                return false;
            }
            output->data = larger;
            output->capacity = wanted;
        }
        output->size = 0;
        uint32_t code =
            nn_get_output(context, index, output->data, output->capacity, &output->size);
        if (!code) return true;
        // Ask again only if the answer says that a larger buffer helps.
        if (code != NN_TOO_LARGE || output->size <= output->capacity)
            return call_failed("get_output", code);
        wanted = output->size;
    }
}

bool output_check_size(const struct output *output, uint32_t index, const char *type,
                       size_t type_size, const char *option) {
    if (output->size % type_size == 0) return true;
    fprintf(stderr, "%s: output %u has %u bytes, which are no %s numbers: is it of another type (%s)?\n",
            program, (unsigned)index, (unsigned)output->size, type, option);
    return false;
}

void output_check_f32(const struct output *output, uint32_t index, const char *option) {
    float most = 0;
    for (uint32_t i = 0; i + sizeof most <= output->size; i += sizeof most) {
        float value;
        memcpy(&value, output->data + i, sizeof value);
        if (isfinite(value)) most = fmaxf(most, fabsf(value));
    }
    // Integers that are read as f32 come out next to 0, or huge.
    if (most == 0 || (most > 1e-20f && most < 1e30f)) return;
    fprintf(stderr, "%s: output %u does not look like f32 numbers: is it of another type (%s)?\n",
            program, (unsigned)index, option);
}
