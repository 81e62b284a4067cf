// SPDX-License-Identifier: Apache-2.0
// Talks with a language model, and prints what it says as it says it: the answer to PROMPT, or without one a
// conversation, whose turns are the lines of stdin. The conversation is the option `chat`: the model's own template
// makes one text of its messages. With --plain there is none, and the model goes on writing where PROMPT ends.

#include "options.h"

#include <generate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *program = "chat";

static const char usage[] = "usage: chat [--name NAME] [--system TEXT] [--plain] [--option KEY=VALUE]... [PROMPT]";

struct chat {
    const char *name, *prompt;
    bool plain;
    struct nn_options options;  // of the command line
    struct nn_text messages;    // of the conversation so far
};

// One answer, printed piece by piece; it becomes part of the conversation.
static bool answer(struct chat *chat, struct nn_context *context, const char *prompt) {
    NN_OPTIONS(options);
    NN_GENERATION(generation);
    NN_TEXT(whole);
    if (!chat->plain && !nn_option_json(&options, "chat", chat->messages.data ? chat->messages.data : "true"))
        return complain();
    // Options of the command line come last, and so count.
    if (!nn_options_add(&options, &chat->options) || !nn_generate(&generation, context, prompt, &options))
        return complain();
    while (nn_generate_next(&generation)) {
        fwrite(generation.piece, 1, generation.size, stdout);
        fflush(stdout);
        if (!nn_text_add(&whole, generation.piece, generation.size)) return complain();
    }
    // Of a prompt that is too long there is nothing to end the line of.
    if (whole.size || generation.end == NN_END_OF_SEQUENCE) putchar('\n');
    fflush(stdout);
    if (generation.end != NN_END_OF_SEQUENCE) return complain();
    return (nn_message_add(&chat->messages, "user", prompt) &&
            nn_message_add(&chat->messages, "assistant", whole.data ? whole.data : "")) || complain();
}

static _Noreturn void wrong(const char *problem, const char *word) {
    fprintf(stderr, "%s: %s %s\n%s\n", program, problem, word, usage);
    exit(2);
}

static void read_command_line(int argc, char **argv, struct chat *chat) {
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(word, "--help")) {
            puts(usage);
            exit(0);
        } else if (!strcmp(word, "--plain")) {
            chat->plain = true;
        } else if (!strcmp(word, "--name") || !strcmp(word, "--system") || !strcmp(word, "--option")) {
            if (!value) wrong(word, "needs a value");
            if (word[2] == 'n') chat->name = value;
            if (word[2] == 's' && !nn_message_add(&chat->messages, "system", value)) complain(), exit(1);
            if (word[2] == 'o' && !nn_option_word(&chat->options, value)) wrong(nn_error.text, "");
            i++;
        } else if (!strncmp(word, "--", 2)) {
            wrong("there is no option", word);
        } else if (chat->prompt) {
            wrong("one prompt is wanted (is it in quotes?), and then came", word);
        } else {
            chat->prompt = word;
        }
    }
}

int main(int argc, char **argv) {
    static struct chat chat = {.name = "default"};
    read_command_line(argc, argv, &chat);
    NN_GRAPH(graph);
    NN_CONTEXT(context);
    if (!nn_graph_by_name(&graph, chat.name) || !nn_context_open(&context, &graph)) return complain(), 1;
    if (chat.prompt) return answer(&chat, &context, chat.prompt) ? 0 : 1;
    NN_TEXT(line);
    while (nn_text_line(&line, stdin))
        if (line.size && !answer(&chat, &context, line.data)) return 1;
    return 0;
}
