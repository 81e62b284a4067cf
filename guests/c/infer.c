// SPDX-License-Identifier: Apache-2.0
// Raw tensors in, raw tensors out: any model, with inputs from files of bare values.
//
// What the model accepts is for the host to say: nothing is checked here that it checks too.

#include "options.h"

#include <file.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *program = "infer";

enum { MAX_TENSORS = 16, SHOWN = 8 };

#define TYPES "f16 f32 f64 u8 i32 i64"
#define NO_TYPE "has a type that is none of " TYPES "; i8 passes as u8"
static const char *const type_words[] = {"f16", "f32", "f64", "u8", "i32", "i64", NULL};

struct input {
    uint32_t index;
    struct nn_tensor tensor;
};

struct wanted {
    uint32_t index;
    int type;
    bool type_given;
};

static const char help[] =
    "usage: infer (--model FILE [--encoding E] [--target T] | --name NAME)\n"
    "             --input INDEX:TYPE:DIMS:FILE ...  [--output INDEX[:TYPE]] ...\n"
    "             [--top K] [--save FILE] [--repeat N]\n"
    "  TYPE      " TYPES " (i8 passes as u8)\n"
    "  E         openvino onnx tensorflow pytorch tensorflowlite autodetect (default) ggml\n"
    "  T         cpu gpu tpu\n"
    "  DIMS      such as 1x3x224x224, or scalar\n"
    "  --model   again for a model's further files\n"
    "  --output  default 0:f32\n"
    "  --top     the K largest values instead of the first ones\n"
    "  --save    all outputs' bytes, one after the other\n"
    "  --repeat  set the inputs and compute N times\n";

_Noreturn static void usage(const char *option, const char *problem) {
    fprintf(stderr, "infer: %s %s (infer --help lists the options)\n", option, problem);
    exit(2);
}

static uint32_t number(const char *option, const char *text, char **end) {
    if (*text < '0' || *text > '9') usage(option, "needs a number");
    return (uint32_t)strtoul(text, end, 10);
}

// Cuts `text` at its first colon and returns what follows.
static char *cut(char *text) {
    char *colon = strchr(text, ':');
    if (!colon) usage("--input", "takes INDEX:TYPE:DIMS:FILE");
    *colon = 0;
    return colon + 1;
}

static void parse_input(char *text, struct input *input) {
    char *type = cut(text), *dims = cut(type), *path = cut(dims), *end;
    input->index = number("--input", text, &end);
    int type_index = word_index(type, type_words);
    if (type_index < 0) usage("--input", NO_TYPE);
    uint32_t sizes[NN_MAX_RANK];
    int count = parse_dims(dims, sizes, NN_MAX_RANK);
    if (count < 0) usage("--input", "has dimensions that are not like 1x3x224x224");
    uint8_t *data;
    size_t size;
    if (!nn_file_read(path, &data, &size)) exit((complain(), 1));
    if (!nn_tensor_of(&input->tensor, (uint8_t)type_index, (uint32_t)count, sizes, data, size))
        exit((complain(), 1));
}

static void parse_output(char *text, struct wanted *wanted) {
    char *end;
    wanted->index = number("--output", text, &end);
    wanted->type_given = *end == ':';
    if (*end && !wanted->type_given) usage("--output", "takes INDEX[:TYPE]");
    wanted->type = wanted->type_given ? word_index(end + 1, type_words) : NN_F32;
    if (wanted->type < 0) usage("--output", NO_TYPE);
}

// The largest values, found one by one: K is small.
static void print_top(const struct nn_tensor *output, int type, size_t count, uint32_t top) {
    double last = INFINITY;
    size_t last_at = 0;
    for (uint32_t k = 0; k < top; k++) {
        size_t best_at = count;
        double best = 0;
        for (size_t i = 0; i < count; i++) {
            double value = nn_number(output->data, (uint8_t)type, i);
            bool printed = k > 0 && (value > last || (value == last && i <= last_at));
            if (printed || isnan(value)) continue;
            if (best_at == count || value > best) best = value, best_at = i;
        }
        if (best_at == count) return;
        printf("%u %.3f\n", (unsigned)best_at, best);
        last = best;
        last_at = best_at;
    }
}

static bool print_output(const struct wanted *wanted, const struct nn_tensor *output, uint32_t top) {
    static const char other[] = "--output INDEX:TYPE";
    uint8_t type = (uint8_t)wanted->type;
    if (!output_check_size(output, wanted->index, type, other)) return false;
    if (!wanted->type_given) output_check_f32(output, wanted->index, other);
    size_t count = output->size / nn_type_size(type);
    printf("output %u: %u bytes\n", (unsigned)wanted->index, (unsigned)output->size);
    if (top) {
        print_top(output, wanted->type, count, top);
        return true;
    }
    for (size_t i = 0; i < count && i < SHOWN; i++)
        printf(i ? " %.7g" : "%.7g", nn_number(output->data, (uint8_t)wanted->type, i));
    printf(count > SHOWN ? " ...\n" : "\n");
    return true;
}

static bool compute(struct nn_context *context, const struct input *inputs, int count) {
    for (int i = 0; i < count; i++)
        if (!nn_input_set(context, inputs[i].index, &inputs[i].tensor)) return complain();
    return nn_context_compute(context) || complain();
}

int main(int argc, char **argv) {
    struct model_choice model = {.encoding = NN_AUTODETECT, .target = NN_CPU};
    static struct input inputs[MAX_TENSORS];
    struct wanted outputs[MAX_TENSORS] = {{0, NN_F32, false}};
    int input_count = 0, output_count = 0;
    uint32_t top = 0, repeat = 1;
    const char *save = NULL;

    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        char *value = argv[i + 1], *end;
        if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
            fputs(help, stdout);
            return 0;
        }
        if (!value) usage(name, "needs a value, or is not an option");
        i++;
        if (!strcmp(name, "--model") && model.file_count < MODEL_MAX_FILES) {
            model.files[model.file_count++] = value;
        } else if (!strcmp(name, "--name")) {
            model.name = value;
        } else if (!strcmp(name, "--encoding")) {
            int encoding = encoding_index(value);
            if (encoding < 0) usage(name, "is not known");
            model.encoding = (uint32_t)encoding;
        } else if (!strcmp(name, "--target")) {
            int target = word_index(value, target_words);
            if (target < 0) usage(name, "is not known");
            model.target = (uint32_t)target;
        } else if (!strcmp(name, "--input") && input_count < MAX_TENSORS) {
            parse_input(value, &inputs[input_count++]);
        } else if (!strcmp(name, "--output") && output_count < MAX_TENSORS) {
            parse_output(value, &outputs[output_count++]);
        } else if (!strcmp(name, "--top")) {
            top = number(name, value, &end);
        } else if (!strcmp(name, "--save")) {
            save = value;
        } else if (!strcmp(name, "--repeat")) {
            repeat = number(name, value, &end);
        } else {
            usage(name, "is not an option, or is given too often");
        }
    }
    if (!model.name == !model.file_count) usage("one of --model and --name", "is needed");
    if (!output_count) output_count = 1;

    NN_GRAPH(graph);
    NN_CONTEXT(context);
    NN_TENSOR(output);
    if (!model_open(&model, &graph, &context)) return 1;
    for (uint32_t n = 0; n < repeat; n++)
        if (!compute(&context, inputs, input_count)) return 1;

    FILE *file = save ? fopen(save, "wb") : NULL;
    bool saved = !save || file, printed = true;
    for (int i = 0; i < output_count; i++) {
        if (!nn_output_get(&context, outputs[i].index, &output)) return complain(), 1;
        printed = print_output(&outputs[i], &output, top) && printed;
        if (file && fwrite(output.data, 1, output.size, file) != output.size) saved = false;
    }
    if (file && fclose(file)) saved = false;
    if (!saved) fprintf(stderr, "infer: %s cannot be written: is its directory given with :rw?\n", save);
    return saved && printed ? 0 : 1;
}
