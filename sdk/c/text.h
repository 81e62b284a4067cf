// SPDX-License-Identifier: Apache-2.0
// Text that grows, and JSON made of it.
#ifndef NN_TEXT_H
#define NN_TEXT_H

#include "error.h"

#include <stdio.h>

struct nn_text {
    char *data;   // ended by a 0; NULL while there is none
    size_t size;  // without the 0
    size_t capacity;
};

// Freed at the end of the block.
#define NN_TEXT(name) __attribute__((cleanup(nn_text_free))) struct nn_text name = {0}

// Each is false where there is no memory, and then leaves the text as it was.
bool nn_text_add(struct nn_text *text, const char *data, size_t size);
bool nn_text_add_string(struct nn_text *text, const char *string);
// A string of JSON, in its quotes. Bytes that are no UTF-8 are left for whoever reads it to refuse.
bool nn_text_add_json(struct nn_text *text, const char *string);
// The next line of a file in the place of what was there, without its end; false at the end.
bool nn_text_line(struct nn_text *text, FILE *file);
void nn_text_clear(struct nn_text *text);  // keeps its memory
void nn_text_free(struct nn_text *text);

#endif
