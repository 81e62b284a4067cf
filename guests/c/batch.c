// SPDX-License-Identifier: Apache-2.0
// Classifies many pictures with one context: several in each compute where the model takes them, else one by
// one.

#include "options.h"

#include <limits.h>
#include <scores.h>
#include <stdio.h>
#include <stdlib.h>

const char *program = "batch";

struct batch {
    struct nn_context *context;
    const struct nn_input *input;
    const struct nn_output *output;
    uint32_t in, out;  // their indices
    uint32_t fixed;    // pictures of a compute, or 0: any number
    struct nn_tensor tensor, scores;
};

// Reads pictures into the tensor until it holds `most`; their number. `*at` goes on; bad ones are told and
// left out.
static uint32_t read_pictures(struct batch *batch, char **paths, int count, int *at, uint32_t most,
                              const char **names, bool *all_good) {
    uint32_t found = 0;
    for (; found < most && *at < count; ++*at) {
        NN_IMAGE(picture);
        if (!nn_image_read(&picture, paths[*at])) {
            *all_good = complain();
        } else if (!nn_preprocess_at(&batch->input->preprocess, &picture, found, &batch->tensor)) {
            fprintf(stderr, "batch: %s: %s\n", paths[*at], nn_error.text);
            *all_good = false;
        } else {
            names[found++] = paths[*at];
        }
    }
    return found;
}

static bool compute(struct batch *batch, uint32_t pictures, const char **names) {
    // A model of a fixed batch gets all of it, whatever is in the places that are left.
    uint32_t sent = batch->fixed ? batch->fixed : pictures;
    struct nn_tensor filled = batch->tensor;
    if (!batch->fixed) {
        filled.size = filled.size / filled.dims[0] * pictures;
        filled.dims[0] = pictures;
    }
    if (!nn_input_set(batch->context, batch->in, &filled) || !nn_context_compute(batch->context) ||
        !nn_output_get(batch->context, batch->out, &batch->scores))
        return complain();
    size_t all = nn_tensor_count(&batch->scores), each = all / sent;
    if (!each || all % sent) {
        fprintf(stderr, "batch: %u pictures were sent, and the output '%s' is %s %s\n", (unsigned)sent,
                batch->output->port.name, nn_type_name(batch->scores.type),
                nn_dims_text(batch->scores.rank, batch->scores.dims));
        return false;
    }
    for (uint32_t i = 0; i < pictures; i++) {
        size_t count = each, best = 0;
        float *scores = nn_scores(&batch->scores, batch->output, i * each, &count);
        if (!scores) return complain();
        if (nn_top_k(scores, count, 1, &best)) {
            const char *label = nn_label(batch->output, best);
            printf("%s\t%u\t%.6g\t%s\n", names[i], (unsigned)best, (double)scores[best], label ? label : "");
        }
        free(scores);
    }
    return true;
}

int main(int argc, char **argv) {
    struct plain_options options = {
        .name = "default",
        .number_option = "--size",
        .number = 8,
        .least_files = 1,
        .most_files = INT_MAX,
        .usage = "[--name NAME] [--size N] PICTURE...",
    };
    int count = plain_arguments(argc, argv, &options);
    NN_GRAPH(graph);
    NN_CONTEXT(context);
    const struct nn_metadata *metadata;
    if (!nn_graph_by_name(&graph, options.name) || !nn_context_open(&context, &graph) ||
        !(metadata = nn_graph_info(&graph)))
        return complain(), 1;
    int in = nn_image_input(metadata), out = nn_output_of_kind(metadata, "logits", "probabilities");
    if (in < 0 || out < 0) return complain(), 1;

    struct batch batch = {
        .context = &context,
        .input = &metadata->inputs[in],
        .output = &metadata->outputs[out],
        .in = (uint32_t)in,
        .out = (uint32_t)out,
        .fixed = nn_batch_of(&metadata->inputs[in]),
    };
    uint32_t most = batch.fixed ? batch.fixed : (uint32_t)options.number;
    const char **names = calloc(most, sizeof *names);
    bool all_good = true;
    if (!names && !nn_fail_memory("the pictures")) return complain(), 1;
    if (!nn_preprocess_new(&batch.input->preprocess, most, &batch.tensor)) return complain(), 1;
    for (int at = 0; at < count;) {
        uint32_t found = read_pictures(&batch, argv, count, &at, most, names, &all_good);
        if (found && !compute(&batch, found, names)) return 1;
        fflush(stdout);
    }
    nn_tensor_free(&batch.tensor);
    nn_tensor_free(&batch.scores);
    free(names);
    return all_good ? 0 : 1;
}
