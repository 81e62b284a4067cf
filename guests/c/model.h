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

// The index of `word` in a list that ends with NULL, or -1. Encodings and targets are in the
// order of their numbers.
int word_index(const char *word, const char *const *words);
extern const char *const encoding_words[], *const target_words[];

// Reads "1x3x224x224" or "scalar" (no dimensions); the count, or -1.
int parse_dims(const char *text, uint32_t *dims, int max);

#endif
