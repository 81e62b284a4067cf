// SPDX-License-Identifier: Apache-2.0
// The vectors that a language model makes of texts: a line of JSON for each, or with --compare how alike they are,
// from -1 to 1, a row for each.

#include "options.h"

#include <generate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *program = "embed";

static const char usage[] = "usage: embed [--name NAME] [--compare] [--option KEY=VALUE]... TEXT...";

struct vector {
    float *numbers;
    size_t count;
};

static bool print(const char *text, const struct vector *vector) {
    NN_TEXT(json);
    if (!nn_text_add_json(&json, text)) return complain();
    printf("{\"text\": %s, \"embedding\": [", json.data);
    for (size_t i = 0; i < vector->count; i++) printf("%s%.9g", i ? ", " : "", (double)vector->numbers[i]);
    puts("]}");
    fflush(stdout);
    return true;
}

static _Noreturn void wrong(const char *problem, const char *word) {
    fprintf(stderr, "%s: %s %s\n%s\n", program, problem, word, usage);
    exit(2);
}

int main(int argc, char **argv) {
    const char *name = "default";
    bool compare = false;
    int count = 0;  // of the texts, which move to the front of argv
    NN_OPTIONS(options);
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        bool is_name = !strcmp(word, "--name");
        if (!strcmp(word, "--help")) {
            puts(usage);
            return 0;
        } else if (!strcmp(word, "--compare")) {
            compare = true;
        } else if (is_name || !strcmp(word, "--option")) {
            if (++i == argc) wrong(word, "needs a value");
            if (is_name) name = argv[i];
            if (!is_name && !nn_option_word(&options, argv[i])) wrong(nn_error.text, "");
        } else if (!strncmp(word, "--", 2)) {
            wrong("there is no option", word);
        } else {
            argv[count++] = word;
        }
    }
    if (!count) wrong("no text is given", "");
    NN_GRAPH(graph);
    NN_CONTEXT(context);
    if (!nn_graph_by_name(&graph, name) || !nn_context_open(&context, &graph)) return complain(), 1;
    struct vector *vectors = calloc((size_t)count, sizeof *vectors);
    if (!vectors) return 1;
    for (int i = 0; i < count; i++) {
        vectors[i].numbers = nn_embed(&context, argv[i], &options, &vectors[i].count);
        if (!vectors[i].numbers) {
            fprintf(stderr, "%s: %s: %s\n", program, argv[i], nn_error.text);
            return 1;
        }
        if (!compare && !print(argv[i], &vectors[i])) return 1;
    }
    for (int row = 0; compare && row < count; row++) {
        for (int i = 0; i < count; i++)
            printf("%7.4f ", nn_cosine(vectors[row].numbers, vectors[i].numbers, vectors[row].count));
        printf(" %s\n", argv[row]);
    }
    for (int i = 0; i < count; i++) free(vectors[i].numbers);
    free(vectors);
    return 0;
}
