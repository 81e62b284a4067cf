// SPDX-License-Identifier: Apache-2.0
// The class of each pixel: a picture through a network of segmentation, its output as it is into one file,
// and a mask with the classes as colours into another.

#include "options.h"

#include <file.h>
#include <mask.h>
#include <stdio.h>

const char *program = "segment";

static bool compute(const char *name, const char *path, struct nn_tensor *output, struct nn_mask *mask,
                    const struct nn_output **how, struct nn_graph *graph) {
    NN_CONTEXT(context);
    NN_IMAGE(picture);
    NN_TENSOR(input);
    const struct nn_metadata *metadata;
    if (!nn_image_read(&picture, path) || !nn_graph_by_name(graph, name) ||
        !nn_context_open(&context, graph) || !(metadata = nn_graph_info(graph)))
        return false;
    int in = nn_image_input(metadata), out = nn_output_of_kind(metadata, "mask", NULL);
    if (in < 0 || out < 0) return false;
    *how = &metadata->outputs[out];
    return nn_preprocess_image(&metadata->inputs[in].preprocess, &picture, &input) &&
           nn_input_set(&context, (uint32_t)in, &input) && nn_context_compute(&context) &&
           nn_output_get(&context, (uint32_t)out, output) && nn_mask_read(mask, output, *how);
}

int main(int argc, char **argv) {
    struct plain_options options = {
        .name = "default",
        .least_files = 3,
        .most_files = 3,
        .usage = "[--name NAME] PICTURE OUT.tensor OUT.png",
    };
    plain_arguments(argc, argv, &options);
    NN_GRAPH(graph);
    NN_TENSOR(output);
    NN_MASK(mask);
    const struct nn_output *how;
    if (!compute(options.name, argv[0], &output, &mask, &how, &graph) ||
        !nn_file_write(argv[1], output.data, output.size) || !nn_mask_write(&mask, argv[2]))
        return complain(), 1;

    uint32_t pixels[256] = {0};
    for (size_t i = 0; i < (size_t)mask.width * mask.height; i++) pixels[mask.classes[i]]++;
    for (unsigned class = 0; class < 256; class++) {
        const char *label = nn_label(how, class);
        if (pixels[class]) printf("class %u\t%s\t%u\n", class, label ? label : "", (unsigned)pixels[class]);
    }
    return 0;
}
