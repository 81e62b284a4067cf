// SPDX-License-Identifier: Apache-2.0
#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

// The root is followed by the text, in which strings are unescaped in place.
struct parser {
    char *at;
    const char *error;
    int depth;
};

static struct nn_json *value(struct parser *p);

static void *failed(struct parser *p, const char *error) {
    if (!p->error) p->error = error;
    return NULL;
}

static void skip_space(struct parser *p) {
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r') p->at++;
}

static int hex4(const char *text) {
    int code = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;  // an early end has a 0 here
        code = code << 4 | digit;
    }
    return code;
}

static char *put_utf8(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 63));
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    }
    return out;
}

// What is escaped is never shorter than what it stands for, so the string fits where it was.
static const char *string(struct parser *p) {
    char *start = ++p->at, *out = start;
    for (;;) {
        char c = *p->at++;
        if (c == '"') break;
        if (!c) return p->at--, failed(p, "a string has no end");
        if (c != '\\') {
            *out++ = c;
            continue;
        }
        static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
        c = *p->at++;
        if (c == 'u') {
            int code = hex4(p->at);
            if (code < 0) return failed(p, "an escape is damaged");
            p->at += 4;
            int low =
                code >= 0xd800 && code < 0xdc00 && p->at[0] == '\\' && p->at[1] == 'u' ? hex4(p->at + 2) : -1;
            if (low >= 0xdc00 && low < 0xe000) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                p->at += 6;
            } else if (code >= 0xd800 && code < 0xe000) {
                code = 0xfffd;  // half of a pair
            }
            // A 0 would end the string for C.
            out = put_utf8(out, code ? (uint32_t)code : 0xfffd);
            continue;
        }
        const char *found = NULL;
        for (const char *each = escapes; *each && !found; each += 2)
            if (*each == c) found = each;
        if (!found) return p->at--, failed(p, "an escape is damaged");
        *out++ = found[1];
    }
    *out = 0;
    return start;
}

static void items(struct parser *p, struct nn_json *parent, char end) {
    struct nn_json **last = &parent->first;
    p->at++;
    skip_space(p);
    if (*p->at == end) {
        p->at++;
        return;
    }
    for (;;) {
        const char *key = NULL;
        skip_space(p);
        if (end == '}') {
            if (*p->at != '"') return (void)failed(p, "an object's member has no name");
            key = string(p);
            skip_space(p);
            if (!key || *p->at != ':') return (void)failed(p, "an object's member has no value");
            p->at++;
        }
        struct nn_json *item = value(p);
        if (!item) return;
        item->key = key;
        *last = item;
        last = &item->next;
        parent->count++;
        skip_space(p);
        if (*p->at == end) break;
        if (*p->at != ',') return (void)failed(p, "a comma or an end is missing");
        p->at++;
    }
    p->at++;
}

static void scalar(struct parser *p, struct nn_json *made) {
    static const struct {
        const char *word;
        enum nn_json_kind kind;
    } words[] = {{"null", NN_JSON_NULL}, {"false", NN_JSON_FALSE}, {"true", NN_JSON_TRUE}};
    for (int i = 0; i < 3; i++) {
        size_t size = strlen(words[i].word);
        if (strncmp(p->at, words[i].word, size)) continue;
        made->kind = words[i].kind;
        p->at += size;
        return;
    }
    char *end = p->at;
    if (*p->at == '-' || (*p->at >= '0' && *p->at <= '9')) made->number = strtod(p->at, &end);
    made->kind = NN_JSON_NUMBER;
    if (end == p->at || isnan(made->number)) failed(p, "there is something that is no value");
    p->at = end;
}

static struct nn_json *value(struct parser *p) {
    skip_space(p);
    if (++p->depth > MAX_DEPTH) return failed(p, "it is nested too deep");
    struct nn_json *made = calloc(1, sizeof *made);
    if (!made) return failed(p, "there is not enough memory");
    if (*p->at == '{' || *p->at == '[') {
        made->kind = *p->at == '{' ? NN_JSON_OBJECT : NN_JSON_ARRAY;
        items(p, made, *p->at == '{' ? '}' : ']');
    } else if (*p->at == '"') {
        made->kind = NN_JSON_STRING;
        made->text = string(p);
    } else {
        scalar(p, made);
    }
    p->depth--;
    if (!p->error) return made;
    nn_json_free(made);
    return NULL;
}

struct nn_json *nn_json_parse(const char *text, size_t size) {
    struct {
        struct nn_json root;
        char text[];
    } *whole = malloc(sizeof *whole + size + 1);
    if (!whole) return nn_fail_memory("a JSON text"), NULL;
    memcpy(whole->text, text, size);
    whole->text[size] = 0;
    struct parser p = {whole->text, NULL, 0};
    struct nn_json *found = value(&p);
    skip_space(&p);
    if (found && p.at != whole->text + size) {
        failed(&p, "something follows it");
        nn_json_free(found);
        found = NULL;
    }
    if (!found) {
        nn_fail(NN_INVALID_ARGUMENT, "it is no JSON: %s (at byte %u)", p.error,
                (unsigned)(p.at - whole->text));
        free(whole);
        return NULL;
    }
    whole->root = *found;
    free(found);
    return &whole->root;
}

void nn_json_free(struct nn_json *json) {
    if (!json) return;
    for (struct nn_json *item = json->first, *next; item; item = next) {
        next = item->next;
        nn_json_free(item);
    }
    free(json);
}

const struct nn_json *nn_json_get(const struct nn_json *object, const char *key) {
    if (!object || object->kind != NN_JSON_OBJECT) return NULL;
    for (const struct nn_json *item = object->first; item; item = item->next)
        if (!strcmp(item->key, key)) return item;
    return NULL;
}

const char *nn_json_text(const struct nn_json *object, const char *key, const char *otherwise) {
    const struct nn_json *found = nn_json_get(object, key);
    return found && found->kind == NN_JSON_STRING ? found->text : otherwise;
}

double nn_json_number(const struct nn_json *object, const char *key, double otherwise) {
    const struct nn_json *found = nn_json_get(object, key);
    return found && found->kind == NN_JSON_NUMBER ? found->number : otherwise;
}

long nn_json_integer(const struct nn_json *object, const char *key, long otherwise) {
    double number = nn_json_number(object, key, (double)otherwise);
    if (isnan(number)) return otherwise;
    return number < INT32_MIN ? INT32_MIN : number > INT32_MAX ? INT32_MAX : (long)number;
}

bool nn_json_bool(const struct nn_json *object, const char *key, bool otherwise) {
    const struct nn_json *found = nn_json_get(object, key);
    if (!found || (found->kind != NN_JSON_TRUE && found->kind != NN_JSON_FALSE)) return otherwise;
    return found->kind == NN_JSON_TRUE;
}

uint32_t nn_json_numbers(const struct nn_json *object, const char *key, double *out, uint32_t max) {
    const struct nn_json *found = nn_json_get(object, key);
    uint32_t count = 0;
    if (!found || !max) return 0;
    if (found->kind == NN_JSON_NUMBER) return out[0] = found->number, 1;
    if (found->kind != NN_JSON_ARRAY) return 0;
    for (const struct nn_json *item = found->first; item && count < max; item = item->next)
        if (item->kind == NN_JSON_NUMBER) out[count++] = item->number;
    return count;
}
