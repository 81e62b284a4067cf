// SPDX-License-Identifier: Apache-2.0
// What the command-line guests share: opening a model, reading an output, and saying what failed.
#ifndef MODEL_H
#define MODEL_H

#include "wasi_nn.h"

#include <stdbool.h>
#include <stddef.h>

enum { MODEL_MAX_FILES = 4 };

struct model_choice {
    const char *files[MODEL_MAX_FILES];  // sent as bytes, in order, if there are any
    uint32_t file_count;
    const char *name;  // otherwise the host's model of this name
    uint32_t encoding, target;
};

// A buffer that grows to the size of the outputs read into it.
struct output {
    uint8_t *data;
    uint32_t size, capacity;
};

extern const char *program;  // for messages

// The text for a failed call, on stderr; returns false so that callers can return it.
bool call_failed(const char *call, uint32_t code);

// Each prints its own error and returns false on failure.
bool model_open(const struct model_choice *choice, uint32_t *context);
bool output_read(uint32_t context, uint32_t index, struct output *output);
bool file_read(const char *path, uint8_t **data, size_t *size);

// A guest sees an output's bytes, not their type. The first refuses bytes that are no whole numbers
// of the type; the second, for a type that is only assumed, warns when they are unlikely to be f32.
// `option` is what names the type.
bool output_check_size(const struct output *output, uint32_t index, const char *type,
                       size_t type_size, const char *option);
void output_check_f32(const struct output *output, uint32_t index, const char *option);

// The index of `word` in a list that ends with NULL, or -1. Encodings and targets are in the
// order of their numbers.
int word_index(const char *word, const char *const *words);
extern const char *const encoding_words[], *const target_words[];

// An encoding's number from its name or a usual short one, such as tflite; or -1.
int encoding_index(const char *word);

// Reads "1x3x224x224" or "scalar" (no dimensions); the count, or -1.
int parse_dims(const char *text, uint32_t *dims, int max);

#endif
