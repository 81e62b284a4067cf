// SPDX-License-Identifier: Apache-2.0
#include "generate.h"

#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT = 0, OPTIONS = 1, TEXT = 0, METADATA = 1 };

// ---- Options ----

bool nn_option_json(struct nn_options *options, const char *key, const char *json) {
    struct nn_text *members = &options->members;
    size_t before = members->size;
    if ((!before || nn_text_add(members, ",", 1)) && nn_text_add_json(members, key) && nn_text_add(members, ":", 1) &&
        nn_text_add_string(members, json))
        return true;
    if (members->data) members->data[members->size = before] = 0;
    return false;
}

bool nn_option_number(struct nn_options *options, const char *key, double value) {
    char text[40];
    if (!isfinite(value)) return nn_fail(NN_INVALID_ARGUMENT, "option %s: a number is wanted, not %g", key, value);
    snprintf(text, sizeof text, "%.17g", value);
    return nn_option_json(options, key, text);
}

bool nn_option_bool(struct nn_options *options, const char *key, bool value) {
    return nn_option_json(options, key, value ? "true" : "false");
}

bool nn_option_text(struct nn_options *options, const char *key, const char *value) {
    NN_TEXT(json);
    return nn_text_add_json(&json, value) && nn_option_json(options, key, json.data);
}

bool nn_option_word(struct nn_options *options, const char *word) {
    const char *equals = strchr(word, '=');
    NN_TEXT(key);
    if (!equals || equals == word)
        return nn_fail(NN_INVALID_ARGUMENT, "an option is KEY=VALUE, such as temp=0, not '%s'", word);
    if (!nn_text_add(&key, word, (size_t)(equals - word))) return false;
    const char *value = equals + 1;
    const struct nn_error before = nn_error;
    struct nn_json *json = nn_json_parse(value, strlen(value));
    nn_json_free(json);
    nn_error = before;
    return json ? nn_option_json(options, key.data, value) : nn_option_text(options, key.data, value);
}

bool nn_options_add(struct nn_options *options, const struct nn_options *others) {
    struct nn_text *members = &options->members;
    size_t before = members->size;
    if (!others->members.size) return true;
    if ((!before || nn_text_add(members, ",", 1)) && nn_text_add_string(members, others->members.data)) return true;
    if (members->data) members->data[members->size = before] = 0;
    return false;
}

void nn_options_free(struct nn_options *options) { nn_text_free(&options->members); }

bool nn_message_add(struct nn_text *messages, const char *role, const char *content) {
    NN_TEXT(all);
    bool first = messages->size < 2;
    // The bracket at the end makes room for one message more.
    if (!nn_text_add(&all, first ? "[" : messages->data, first ? 1 : messages->size - 1) ||
        !nn_text_add_string(&all, first ? "{\"role\":" : ",{\"role\":") || !nn_text_add_json(&all, role) ||
        !nn_text_add_string(&all, ",\"content\":") || !nn_text_add_json(&all, content) ||
        !nn_text_add_string(&all, "}]"))
        return false;
    struct nn_text old = *messages;
    *messages = all;
    all = old;  // freed
    return true;
}

// ---- Text ----

static bool set_bytes(struct nn_context *context, uint32_t index, const char *data, size_t size) {
    struct nn_tensor tensor = {0};
    if (size > UINT32_MAX) return nn_fail(NN_TOO_LARGE, "a prompt of %zu bytes", size);
    const uint32_t dims[] = {(uint32_t)size};
    return nn_tensor_of(&tensor, NN_U8, 1, dims, data, size) && nn_input_set(context, index, &tensor);
}

static bool set_options(struct nn_context *context, const struct nn_options *options, const char *more) {
    NN_TEXT(json);
    const char *members = options && options->members.size ? options->members.data : "";
    return nn_text_add(&json, "{", 1) && nn_text_add_string(&json, members) &&
           nn_text_add_string(&json, *members && *more ? "," : "") && nn_text_add_string(&json, more) &&
           nn_text_add(&json, "}", 1) && set_bytes(context, OPTIONS, json.data, json.size);
}

// The sequence is left: what follows starts anew.
static void finish(struct nn_generation *generation) {
#ifdef NN_HAS_STREAMING
    if (generation->open && generation->context->loaded) nn_fini_single(generation->context->handle);
#endif
    generation->open = false;
}

bool nn_generate(struct nn_generation *generation, struct nn_context *context, const char *prompt,
                 const struct nn_options *options) {
    finish(generation);
    generation->context = context;
    generation->piece = "";
    generation->size = 0;
    generation->tokens = 0;
    generation->end = NN_INVALID_ARGUMENT;  // should this fail, there is nothing to come
    // The options first: how a prompt is read is among them.
    if ((options && !set_options(context, options, "")) || !set_bytes(context, PROMPT, prompt, strlen(prompt)))
        return false;
    generation->end = 0;
    return true;
}

// The host keeps the sequence, so that its tokens can still be counted.
static bool ended(struct nn_generation *generation, uint32_t code) {
    generation->piece = "";
    generation->size = 0;
    generation->end = code;
    return false;
}

#ifdef NN_HAS_STREAMING
bool nn_generate_next(struct nn_generation *generation) {
    if (!generation->context || generation->end) return false;
    if (!generation->context->loaded) {
        nn_refuse(NN_INVALID_ARGUMENT, "compute_single", "the context is closed");
        return ended(generation, NN_INVALID_ARGUMENT);
    }
    uint32_t handle = generation->context->handle, code = nn_compute_single(handle);
    if (code) {
        if (code != NN_END_OF_SEQUENCE) nn_fail_call("compute_single", code);
        return ended(generation, code);
    }
    generation->open = true;
    size_t room = 256;
    for (;;) {
        uint32_t written = 0;
        // One byte stays for the 0.
        if (!nn_tensor_reserve(&generation->text, room + 1)) return ended(generation, nn_error.code);
        code = nn_get_output_single(handle, TEXT, generation->text.data, (uint32_t)generation->text.capacity - 1,
                                    &written);
        if (!code) generation->size = written;
        if (code != NN_TOO_LARGE || written < generation->text.capacity) break;
        room = written;
    }
    if (code) {
        nn_fail_call("get_output_single", code);
        return ended(generation, code);
    }
    ((char *)generation->text.data)[generation->size] = 0;
    generation->piece = generation->text.data;
    generation->tokens++;
    return true;
}
#else
bool nn_generate_next(struct nn_generation *generation) {
    if (!generation->context || generation->end) return false;
    if (generation->open) return ended(generation, NN_END_OF_SEQUENCE);
    if (!nn_context_compute(generation->context) || !nn_output_get(generation->context, TEXT, &generation->text))
        return ended(generation, nn_error.code);
    NN_TENSOR(copy);  // with a 0 at its end
    size_t size = generation->text.size;
    if (!nn_tensor_reserve(&copy, size + 1)) return ended(generation, nn_error.code);
    if (size) memcpy(copy.data, generation->text.data, size);
    ((char *)copy.data)[size] = 0;
    struct nn_tensor old = generation->text;
    generation->text = copy;
    copy = old;  // freed
    generation->piece = generation->text.data;
    generation->size = size;
    generation->tokens++;
    generation->open = true;
    return true;
}
#endif

void nn_generation_free(struct nn_generation *generation) {
    finish(generation);
    nn_tensor_free(&generation->text);
    *generation = (struct nn_generation){0};
}

// An output that is JSON, for nn_json_free.
static struct nn_json *read_json(struct nn_context *context, uint32_t index) {
    NN_TENSOR(output);
    return nn_output_get(context, index, &output) ? nn_json_parse(output.data, output.size) : NULL;
}

bool nn_context_usage(struct nn_context *context, struct nn_usage *usage) {
    struct nn_json *json = read_json(context, METADATA);
    if (!json) return false;
    usage->prompt_tokens = (long)nn_json_number(json, "input_tokens", 0);
    usage->generated_tokens = (long)nn_json_number(json, "output_tokens", 0);
    nn_json_free(json);
    return true;
}

// ---- Embeddings ----

static float *numbers_of(const struct nn_json *array, size_t *count) {
    float *numbers = NULL;
    *count = 0;
    if (!array || array->kind != NN_JSON_ARRAY || !array->count) {
        nn_fail(NN_RUNTIME_ERROR, "the answer has no \"embedding\": is the model one for text?");
    } else if (!(numbers = malloc(array->count * sizeof *numbers))) {
        nn_fail_memory("an embedding");
    } else {
        for (const struct nn_json *item = array->first; item; item = item->next)
            numbers[(*count)++] = (float)item->number;
    }
    return numbers;
}

float *nn_embed(struct nn_context *context, const char *text, const struct nn_options *options, size_t *count) {
    *count = 0;
    if (!set_options(context, options, "\"embedding\":true") || !set_bytes(context, PROMPT, text, strlen(text)) ||
        !nn_context_compute(context))
        return NULL;
    struct nn_json *json = read_json(context, TEXT);
    float *numbers = json ? numbers_of(nn_json_get(json, "embedding"), count) : NULL;
    nn_json_free(json);
    return numbers;
}

double nn_cosine(const float *a, const float *b, size_t count) {
    double both = 0, of_a = 0, of_b = 0;
    for (size_t i = 0; i < count; i++) {
        both += (double)a[i] * (double)b[i];
        of_a += (double)a[i] * (double)a[i];
        of_b += (double)b[i] * (double)b[i];
    }
    return of_a > 0 && of_b > 0 ? both / sqrt(of_a * of_b) : 0;
}
