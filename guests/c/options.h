// SPDX-License-Identifier: Apache-2.0
// What the command lines share: which model, and the words of options.
#ifndef OPTIONS_H
#define OPTIONS_H

#include <nn.h>

extern const char *program;  // for messages

// nn_error on stderr; false, so that callers can return it.
bool complain(void);

enum { MODEL_MAX_FILES = 4 };

struct model_choice {
    const char *files[MODEL_MAX_FILES];  // sent as bytes, in order, if there are any
    uint32_t file_count;
    const char *name;  // otherwise the host's model of this name
    uint32_t encoding, target;
};

// A context of the chosen model.
bool model_open(const struct model_choice *choice, struct nn_graph *graph, struct nn_context *context);

// A guest may not know an output's type. The first refuses bytes that are no whole numbers
// of the type; the second, for a type that is only assumed, warns when they are unlikely to be f32.
// `option` is what names the type.
bool output_check_size(const struct nn_tensor *output, uint32_t index, uint8_t type, const char *option);
void output_check_f32(const struct nn_tensor *output, uint32_t index, const char *option);

// The index of `word` in a list that ends with NULL, or -1. Encodings and targets are in the
// order of their numbers.
int word_index(const char *word, const char *const *words);
extern const char *const encoding_words[], *const target_words[];

// An encoding's number from its name or a usual short one, such as tflite; or -1.
int encoding_index(const char *word);

// Reads "1x3x224x224" or "scalar" (no dimensions); the count, or -1.
int parse_dims(const char *text, uint32_t *dims, int max);

// -- the plain command line of segment and batch: --name NAME, --OPTION N, then files --

struct plain_options {
    const char *name;
    const char *number_option;  // NULL where there is none
    long number;
    int least_files, most_files;
    const char *usage;
};

// Moves the files to the front of `argv`; their count. Ends the program where the line is wrong.
int plain_arguments(int argc, char **argv, struct plain_options *options);

#endif
