// SPDX-License-Identifier: Apache-2.0
// A classifier that is served: pictures come in, the best classes go out, with their labels.
//
//   in    image   BYTES, any shape: files (PNG, BMP, PNM), or UINT8 [H,W,3]: the pixels of one picture
//         top     INT32 [1], optional: how many classes, 5 if it is not there
//   out   scores  FP32 [pictures, top], the best first
//         classes INT32 [pictures, top]
//         labels  BYTES [pictures, top]: the class's number where the model's contract has no labels
//
// The graph is "default", or the first word of `args`. How a picture becomes a tensor is what its contract says.

#include <nn.h>
#include <scores.h>
#include <serve.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t DEFAULT_TOP = 5;

struct classifier {
    struct nn_graph graph;
    struct nn_context context;
    const struct nn_input *input;
    const struct nn_output *output;
    uint32_t input_index, output_index;
};

static bool open_classifier(struct classifier *to) {
    const char *name = nn_serve_argument(1);
    if (!nn_graph_by_name(&to->graph, name ? name : "default") || !nn_context_open(&to->context, &to->graph))
        return false;
    const struct nn_metadata *metadata = nn_graph_info(&to->graph);
    int input = metadata ? nn_image_input(metadata) : -1;
    int output = input < 0 ? -1 : nn_output_of_kind(metadata, "logits", "probabilities");
    if (output < 0) return false;
    to->input_index = (uint32_t)input;
    to->output_index = (uint32_t)output;
    to->input = &metadata->inputs[input];
    to->output = &metadata->outputs[output];
    return true;
}

// Answers of all pictures, row by row.
struct rows {
    uint32_t pictures, top;
    float *scores;
    int32_t *classes;
    const char **labels;
};

static bool allocate(struct rows *rows) {
    size_t cells = (size_t)rows->pictures * rows->top + 1;
    rows->scores = calloc(cells, sizeof *rows->scores);
    rows->classes = calloc(cells, sizeof *rows->classes);
    rows->labels = calloc(cells, sizeof *rows->labels);
    return (rows->scores && rows->classes && rows->labels) || nn_fail_memory("the answer");
}

static const char *label_of(const struct nn_output *output, size_t class) {
    const char *label = nn_label(output, class);
    if (label) return label;
    char *number = malloc(16);  // stays until the instance ends
    if (number) snprintf(number, 16, "%u", (unsigned)class);
    return number ? number : "";
}

// One picture through the model, into row `row`; the number of classes is known with the first.
static bool classify(struct classifier *with, const struct nn_image *picture, struct nn_tensor *tensor, uint32_t row,
                     struct rows *rows) {
    NN_TENSOR(output);
    if (!nn_preprocess_image(&with->input->preprocess, picture, tensor) ||
        !nn_input_set(&with->context, with->input_index, tensor) || !nn_context_compute(&with->context) ||
        !nn_output_get(&with->context, with->output_index, &output))
        return false;
    size_t count = nn_tensor_count(&output);
    float *scores = nn_scores(&output, with->output, 0, &count);
    if (!scores) return false;
    if (!row) {
        if (rows->top > count) rows->top = (uint32_t)count;
        if (!allocate(rows)) return false;
    }
    size_t *best = malloc((rows->top + 1) * sizeof *best);
    if (!best) return nn_fail_memory("the answer");
    size_t found = nn_top_k(scores, count, rows->top, best);
    for (size_t i = 0; i < found; i++) {
        size_t cell = (size_t)row * rows->top + i;
        rows->scores[cell] = scores[best[i]];
        rows->classes[cell] = (int32_t)best[i];
        rows->labels[cell] = label_of(with->output, best[i]);
    }
    free(best);
    free(scores);
    return true;
}

static bool answer_rows(struct nn_answer *answer, const struct rows *rows) {
    NN_TENSOR(scores);
    NN_TENSOR(classes);
    uint32_t dims[] = {rows->pictures, rows->top};
    size_t cells = (size_t)dims[0] * dims[1];
    return nn_tensor_of(&scores, NN_F32, 2, dims, rows->scores, cells * sizeof *rows->scores) &&
           nn_tensor_of(&classes, NN_I32, 2, dims, rows->classes, cells * sizeof *rows->classes) &&
           nn_answer_tensor(answer, "scores", &scores) && nn_answer_tensor(answer, "classes", &classes) &&
           nn_answer_texts(answer, "labels", 2, dims, rows->labels);
}

// The picture of an element of BYTES, or of the pixels; false and an error where it is none.
static bool read_picture(const struct nn_request_tensor *from, uint32_t index, struct nn_image *picture) {
    const struct nn_tensor *pixels = &from->tensor;
    struct nn_string file;
    if (pixels->type == NN_U8)
        return nn_image_of_rgb(picture, pixels->dims[1], pixels->dims[0], pixels->data);
    return nn_request_string(from, index, &file) && nn_image_decode(picture, file.data, file.size);
}

// Whether the request can be answered, and for how many pictures and classes.
static bool plan(const struct nn_request *request, const struct nn_request_tensor **image, struct rows *rows) {
    rows->top = DEFAULT_TOP;
    *image = nn_request_find(request, "image");
    if (!*image) return false;
    for (uint32_t i = 0; i < request->count; i++) {
        const struct nn_request_tensor *each = &request->tensors[i];
        if (each == *image) continue;
        if (strcmp(each->name, "top"))
            return nn_fail(NN_INVALID_ARGUMENT, "the inputs are 'image' and 'top' (INT32 [1]), not '%s' (%s)",
                           each->name, each->datatype);
        const struct nn_tensor *top = nn_request_tensor(request, "top", NN_I32);
        if (!top) return false;
        if (nn_tensor_count(top) != 1 || *(const int32_t *)top->data < 1)
            return nn_fail(NN_INVALID_ARGUMENT, "the input 'top' must be one number of 1 or more");
        rows->top = (uint32_t)*(const int32_t *)top->data;
    }
    const struct nn_tensor *tensor = &(*image)->tensor;
    bool is_pixels = tensor->type == NN_U8 && tensor->rank == 3 && tensor->dims[2] == 3;
    rows->pictures = is_pixels ? 1 : (uint32_t)nn_request_strings(*image);
    if (rows->pictures) return true;
    return nn_fail(NN_INVALID_ARGUMENT, "the input 'image' is %s %s, and must be UINT8 [height,width,3] or files (BYTES)",
                   (*image)->datatype, nn_dims_text(tensor->rank, tensor->dims));
}

static bool answer(const struct nn_request *request, struct nn_answer *answer) {
    struct rows rows;
    const struct nn_request_tensor *image;
    if (!plan(request, &image, &rows)) return nn_answer_refuse(answer, "%s", nn_error.text);
    // The instance answers this one request, so nothing is freed.
    struct classifier classifier = {0};
    if (!open_classifier(&classifier)) return false;
    NN_TENSOR(tensor);
    for (uint32_t i = 0; i < rows.pictures; i++) {
        NN_IMAGE(picture);
        if (!read_picture(image, i, &picture))
            return nn_answer_refuse(answer, "picture %u: %s", (unsigned)i, nn_error.text);
        if (!classify(&classifier, &picture, &tensor, i, &rows)) return false;
    }
    return answer_rows(answer, &rows);
}

NN_SERVE(answer)
