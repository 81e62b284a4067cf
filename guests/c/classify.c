// SPDX-License-Identifier: Apache-2.0
// Classifies pictures: decode, make a tensor, compute, print the best few scores. One graph and one execution
// context serve all pictures.
//
// How a tensor is made and what the scores are is what the graph's contract says; without one, what the
// model's file tells; and if there is any option about the input, the options say all of it.

#include "classify_options.h"

#include <scores.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *program = "classify";

// A byte of --output-type u8 is so many parts of 1.
static const double one_of_255 = 1.0 / 255, zero = 0;

// Which tensors, and how they are made and read.
struct plan {
    uint32_t input_index, output_index;
    struct nn_preprocess input;
    struct nn_output output;
    bool by_options;  // the output's type as well
};

static bool make_plan(const struct options *o, const struct nn_graph *graph, struct plan *plan) {
    *plan = (struct plan){.input = o->input, .by_options = true};
    const struct nn_metadata *metadata = o->input_given ? NULL : nn_graph_info(graph);
    int input = metadata ? nn_image_input(metadata) : -1;
    if (input >= 0) {
        int output = nn_output_of_kind(metadata, "logits", "probabilities");
        if (output < 0) return complain();
        plan->input_index = (uint32_t)input;
        plan->output_index = (uint32_t)output;
        plan->input = metadata->inputs[input].preprocess;
        plan->output = metadata->outputs[output];
        plan->by_options = o->output_type_given;
    } else if (metadata && metadata->has_contract) {
        return complain();
    }
    if (plan->by_options) {
        plan->output.port.type = o->u8_scores ? NN_U8 : NN_F32;
        plan->output.port.quantization = (struct nn_quantization){o->u8_scores, -1, &one_of_255, &zero};
    }
    if (o->label_offset_given || o->labels_path) plan->output.label_offset = o->label_offset;
    return !o->labels_path || nn_labels_read(o->labels_path, &plan->output) || complain();
}

// The output's bytes as scores; the caller frees them.
static float *read_scores(const struct options *o, const struct plan *plan, struct nn_tensor *output,
                          size_t *count) {
    static const char other[] = "--output-type u8";
    struct nn_output how = plan->output;
    if (plan->by_options) {
        uint8_t type = how.port.type;
        if (!output_check_size(output, plan->output_index, type, other)) return NULL;
        if (!o->output_type_given) output_check_f32(output, plan->output_index, other);
        uint32_t elements = (uint32_t)(output->size / nn_type_size(type));
        if (!nn_tensor_as(output, type, 1, &elements)) return complain(), NULL;
    }
    if (plan->by_options && o->u8_scores) how.kind = "raw";  // they are shares already
    if (o->softmax != SOFTMAX_AUTO) how.kind = o->softmax == SOFTMAX_YES ? "logits" : "raw";
    *count = nn_tensor_count(output);
    float *scores = nn_scores(output, &how, 0, count);
    if (!scores) complain();
    return scores;
}

static void print_scores(const struct options *o, const struct nn_output *output, const char *picture,
                         const float *scores, const size_t *best, size_t found) {
    if (!o->tsv) printf("%s\n", picture);
    int width = 0;     // of the label column
    bool raw = false;  // some score is no share of 1: the model's own numbers are printed
    for (size_t i = 0; i < found; i++) raw = raw || !nn_are_probabilities(&scores[best[i]], 1);
    for (int print = o->tsv; print < 2; print++) {
        for (size_t i = 0; i < found; i++) {
            char number[32];
            snprintf(number, sizeof number, "class %u", (unsigned)best[i]);
            const char *label = nn_label(output, best[i]);
            double score = (double)scores[best[i]];
            if (o->tsv) {
                printf("%s\t%u\t%u\t%.6g\t%s\n", picture, (unsigned)i + 1, (unsigned)best[i], score,
                       label ? label : "");
                continue;
            }
            if (!label) label = number;
            if (!print) {  // the first time only measures
                if ((int)strlen(label) > width) width = (int)strlen(label);
            } else if (raw) {
                printf("%3u  %-*s  %12.3f\n", (unsigned)i + 1, width, label, score);
            } else {
                printf("%3u  %-*s  %6.2f%%\n", (unsigned)i + 1, width, label, score * 100);
            }
        }
    }
    fflush(stdout);  // each picture's answer as soon as it is known
}

int main(int argc, char **argv) {
    struct options o;
    int pictures = read_options(argc, argv, &o);
    struct plan plan;
    NN_GRAPH(graph);
    NN_CONTEXT(context);
    NN_TENSOR(input);
    NN_TENSOR(output);
    if (!model_open(&o.model, &graph, &context) || !make_plan(&o, &graph, &plan)) return 1;
    bool all_good = true;
    for (int i = 0; i < pictures; i++) {
        NN_IMAGE(picture);
        if (!nn_image_read(&picture, argv[i])) {
            all_good = complain();
            continue;
        }
        if (!nn_preprocess_image(&plan.input, &picture, &input)) {
            fprintf(stderr, "classify: %s: %s\n", argv[i], nn_error.text);
            all_good = false;
            continue;
        }
        if (!nn_input_set(&context, plan.input_index, &input) || !nn_context_compute(&context) ||
            !nn_output_get(&context, plan.output_index, &output))
            return complain(), 1;
        size_t count;
        float *scores = read_scores(&o, &plan, &output, &count);
        size_t top = (size_t)o.top < count ? (size_t)o.top : count;
        size_t *best = scores ? malloc((top + 1) * sizeof *best) : NULL;
        if (!best) return 1;
        print_scores(&o, &plan.output, argv[i], scores, best, nn_top_k(scores, count, top, best));
        free(scores);
        free(best);
    }
    return all_good ? 0 : 1;
}
