// SPDX-License-Identifier: Apache-2.0
#include "text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool nn_text_add(struct nn_text *text, const char *data, size_t size) {
    if (size >= SIZE_MAX / 2 - text->size) return nn_fail_memory("a text");
    size_t needed = text->size + size + 1;
    if (needed > text->capacity) {
        size_t capacity = needed < 64 ? 64 : needed + needed / 2;
        char *grown = realloc(text->data, capacity);
        if (!grown) return nn_fail_memory("a text");
        text->data = grown;
        text->capacity = capacity;
    }
    if (size) memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = 0;
    return true;
}

bool nn_text_add_string(struct nn_text *text, const char *string) { return nn_text_add(text, string, strlen(string)); }

static bool add_character(struct nn_text *text, char character) {
    char escape[8];
    if (character == '"' || character == '\\')
        snprintf(escape, sizeof escape, "\\%c", character);
    else if ((unsigned char)character < ' ')
        snprintf(escape, sizeof escape, "\\u%04x", (unsigned)character);
    else
        return nn_text_add(text, &character, 1);
    return nn_text_add_string(text, escape);
}

bool nn_text_add_json(struct nn_text *text, const char *string) {
    size_t before = text->size;
    bool good = nn_text_add(text, "\"", 1);
    for (; good && *string; string++) good = add_character(text, *string);
    good = good && nn_text_add(text, "\"", 1);
    if (!good && text->data) text->data[text->size = before] = 0;
    return good;
}

bool nn_text_line(struct nn_text *text, FILE *file) {
    nn_text_clear(text);
    int byte;
    while ((byte = getc(file)) != EOF && byte != '\n')
        if (!nn_text_add(text, &(char){(char)byte}, 1)) return false;
    if (text->size && text->data[text->size - 1] == '\r') text->data[--text->size] = 0;
    return byte != EOF || text->size;
}

void nn_text_clear(struct nn_text *text) {
    text->size = 0;
    if (text->data) text->data[0] = 0;
}

void nn_text_free(struct nn_text *text) {
    free(text->data);
    *text = (struct nn_text){0};
}
