// SPDX-License-Identifier: Apache-2.0
// JSON as a tree, to read with.
#ifndef NN_JSON_H
#define NN_JSON_H

#include "error.h"

enum nn_json_kind {
    NN_JSON_NULL, NN_JSON_FALSE, NN_JSON_TRUE, NN_JSON_NUMBER, NN_JSON_STRING, NN_JSON_ARRAY, NN_JSON_OBJECT
};

struct nn_json {
    enum nn_json_kind kind;
    const char *key;   // of an object's member
    double number;
    const char *text;  // of a string: UTF-8, ended by a 0
    uint32_t count;    // of an array's or object's items
    struct nn_json *first, *next;  // its first item; its own neighbour
};

// NULL and an error where `text` is no JSON.
struct nn_json *nn_json_parse(const char *text, size_t size);
void nn_json_free(struct nn_json *root);

// Each takes NULL as a value that is not there.
const struct nn_json *nn_json_get(const struct nn_json *object, const char *key);  // NULL without it
const char *nn_json_text(const struct nn_json *object, const char *key, const char *otherwise);
double nn_json_number(const struct nn_json *object, const char *key, double otherwise);
// The same without a fraction, kept within 32 bits.
long nn_json_integer(const struct nn_json *object, const char *key, long otherwise);
bool nn_json_bool(const struct nn_json *object, const char *key, bool otherwise);
// Up to `max` numbers of an array, or a number alone; how many.
uint32_t nn_json_numbers(const struct nn_json *object, const char *key, double *out, uint32_t max);

#endif
