// What a picture shows: the three best classes of the model that the host has as "default".
//
//     @NAME@ PICTURE

#include <nn.h>
#include <scores.h>
#include <stdio.h>
#include <stdlib.h>

static bool classify(const char *path) {
    // These are freed at the end of the block, in whatever way it is left.
    NN_GRAPH(graph);
    NN_CONTEXT(context);
    NN_IMAGE(picture);
    NN_TENSOR(input);
    NN_TENSOR(output);
    const struct nn_metadata *model;
    if (!nn_graph_by_name(&graph, "default") || !nn_context_open(&context, &graph) ||
        !(model = nn_graph_info(&graph)))
        return false;

    // The graph's contract says how a picture becomes a tensor, and what the scores are called.
    int in = nn_image_input(model), out = nn_output_of_kind(model, "logits", "probabilities");
    if (in < 0 || out < 0) return false;
    if (!nn_image_read(&picture, path) ||
        !nn_preprocess_image(&model->inputs[in].preprocess, &picture, &input) ||
        !nn_input_set(&context, (uint32_t)in, &input) || !nn_context_compute(&context) ||
        !nn_output_get(&context, (uint32_t)out, &output))
        return false;

    size_t count = nn_tensor_count(&output), best[3];
    float *scores = nn_scores(&output, &model->outputs[out], 0, &count);
    if (!scores) return false;
    size_t found = nn_top_k(scores, count, 3, best);
    for (size_t i = 0; i < found; i++) {
        const char *label = nn_label(&model->outputs[out], best[i]);
        printf("%6.2f%%  class %u%s%s\n", 100 * (double)scores[best[i]], (unsigned)best[i], label ? "  " : "",
               label ? label : "");
    }
    free(scores);
    return true;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: @NAME@ PICTURE\n");
        return 2;
    }
    if (classify(argv[1])) return 0;
    fprintf(stderr, "@NAME@: %s\n", nn_error.text);
    return 1;
}
