// SPDX-License-Identifier: Apache-2.0
// Language models: a prompt goes in, and text comes out piece by piece. docs/language-models.md has the options.
//
//     NN_OPTIONS(options);
//     NN_GENERATION(answer);
//     if (!nn_option_number(&options, "n-predict", 64) ||
//         !nn_generate(&answer, &context, "Once upon a time", &options)) ...
//     while (nn_generate_next(&answer)) {
//         fwrite(answer.piece, 1, answer.size, stdout);
//         fflush(stdout);
//     }
//     if (answer.end != NN_END_OF_SEQUENCE) fprintf(stderr, "%s\n", nn_error.text);
//
// Where the guest is built without WasmEdge's calls (-DNN_PORTABLE), or as a component, all of the text is one piece.
#ifndef NN_GENERATE_H
#define NN_GENERATE_H

#include "nn.h"
#include "text.h"

#if defined NN_HAS_WASMEDGE && !defined NN_COMPONENT
#define NN_HAS_STREAMING
// One token more. NN_END_OF_SEQUENCE at the end, then nn_fini_single lets it start anew.
NN_IMPORT("compute_single")
uint32_t nn_compute_single(uint32_t context);

// What the last nn_compute_single added to an output.
NN_IMPORT("get_output_single")
uint32_t nn_get_output_single(uint32_t context, uint32_t index, void *buffer, uint32_t buffer_size, uint32_t *written);

NN_IMPORT("fini_single")
uint32_t nn_fini_single(uint32_t context);
#endif

// ---- Options: a JSON object that goes with the prompt ----

struct nn_options {
    struct nn_text members;  // "key":value,"key":value
};
#define NN_OPTIONS(name) __attribute__((cleanup(nn_options_free))) struct nn_options name = {{0}}

// A key that is given again has the last value. False where there is no memory.
bool nn_option_number(struct nn_options *options, const char *key, double value);
bool nn_option_bool(struct nn_options *options, const char *key, bool value);
bool nn_option_text(struct nn_options *options, const char *key, const char *value);
// A value that is JSON: a list of stop sequences, the messages of a conversation.
bool nn_option_json(struct nn_options *options, const char *key, const char *json);
// "temp=0.2": a value that is JSON is taken so, another is text. False and an error without a key or a '='.
bool nn_option_word(struct nn_options *options, const char *word);
// All of `others`, which count before those that are there.
bool nn_options_add(struct nn_options *options, const struct nn_options *others);
void nn_options_free(struct nn_options *options);

// One more message of a conversation, in JSON for the option `chat`: what was said before the prompt, which is the
// user's next message. `messages` is empty, or of this function; `role` is "system", "user" or "assistant".
bool nn_message_add(struct nn_text *messages, const char *role, const char *content);

// ---- Text ----

struct nn_generation {
    struct nn_context *context;
    const char *piece;  // UTF-8, ended by a 0; may be empty: part of a character is held back
    size_t size;
    uint32_t tokens;        // how many pieces there were
    uint32_t end;           // an nn_errno, 0 while it goes on; see nn_generate_next
    bool open;              // the host has the sequence
    struct nn_tensor text;  // the memory of `piece`
};
// Also lets the host forget the sequence.
#define NN_GENERATION(name) __attribute__((cleanup(nn_generation_free))) struct nn_generation name = {0}

// Gives the context a prompt; `options` may be NULL: then those before hold. Nothing is computed yet.
bool nn_generate(struct nn_generation *generation, struct nn_context *context, const char *prompt,
                 const struct nn_options *options);

// The next piece. At the end false, and `end` is
//   NN_END_OF_SEQUENCE  the model's own end, a stop sequence, or the option n-predict: no error
//   NN_CONTEXT_FULL     the text so far is good, and there is no room for more (the option ctx-size)
//   NN_PROMPT_TOO_LONG  the prompt alone has more tokens than there is room for
// or another, each with an error in nn_error.
bool nn_generate_next(struct nn_generation *generation);
void nn_generation_free(struct nn_generation *generation);

// How many tokens the context's prompt has, and how many were generated: from nn_generate to nn_generation_free.
struct nn_usage {
    long prompt_tokens, generated_tokens;
};
bool nn_context_usage(struct nn_context *context, struct nn_usage *usage);

// ---- Embeddings ----

// The vector that the model makes of a text: `*count` numbers for the caller to free(); NULL and an error otherwise.
// `options` may be NULL; "embedding" is set here.
float *nn_embed(struct nn_context *context, const char *text, const struct nn_options *options, size_t *count);
// From -1 to 1: how far two vectors point the same way. 0 where one of them is all zeros.
double nn_cosine(const float *a, const float *b, size_t count);

#endif
