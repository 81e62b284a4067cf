// SPDX-License-Identifier: Apache-2.0
#include "scores.h"

#include "file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool nn_are_probabilities(const float *scores, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!(scores[i] >= 0 && scores[i] <= 1.001f)) return false;
    return true;
}

void nn_softmax(float *scores, size_t count) {
    if (!count) return;
    float most = scores[0];
    for (size_t i = 1; i < count; i++) most = fmaxf(most, scores[i]);
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        // The largest first made 0, so that none overflows. Infinite ones share the whole.
        float shifted = isinf(most) && scores[i] == most ? 0 : scores[i] - most;
        sum += scores[i] = (float)exp((double)shifted);
    }
    for (size_t i = 0; i < count; i++) scores[i] = (float)((double)scores[i] / sum);
}

size_t nn_top_k(const float *scores, size_t count, size_t k, size_t *best) {
    size_t found = 0;
    for (size_t class = 0; class < count; class++) {
        size_t at = found;
        if (isnan(scores[class])) {
            if (found < k) best[found++] = class;  // behind all that came; those to come pass it
            continue;
        }
        while (at > 0 && (scores[class] > scores[best[at - 1]] || isnan(scores[best[at - 1]]))) at--;
        if (at >= k) continue;
        if (found < k) found++;
        memmove(best + at + 1, best + at, (found - 1 - at) * sizeof *best);
        best[at] = class;
    }
    return found;
}

float *nn_scores(const struct nn_tensor *tensor, const struct nn_output *output, size_t first,
                 size_t *count) {
    size_t all = nn_tensor_count(tensor);
    if (first > all || *count > all - first) {
        nn_fail(NN_INVALID_ARGUMENT, "scores %u to %u were asked for, and the output has %u", (unsigned)first,
                (unsigned)(first + *count), (unsigned)all);
        return NULL;
    }
    if (!*count) {
        nn_fail(NN_INVALID_ARGUMENT, "the output has no scores");
        return NULL;
    }
    float *scores = *count < UINT32_MAX / 8 ? malloc((*count + 1) * sizeof *scores) : NULL;
    if (!scores) return nn_fail_memory("the scores"), NULL;
    if (!nn_dequantize_part(tensor, &output->port.quantization, first, *count, scores))
        return free(scores), NULL;
    bool logits = output->kind && !strcmp(output->kind, "logits");
    bool shares = output->kind && !strcmp(output->kind, "probabilities");
    if (*count == 1 && (logits || shares)) {
        // Softmax of one number is 1 whatever it is. Next to a 0, it is the sigmoid.
        if (logits) scores[1] = 0, nn_softmax(scores, 2);
        if (nn_label(output, 1) && !nn_label(output, 2)) {  // yes or no: what is left is class 0
            scores[1] = scores[0];
            scores[0] = 1 - scores[1];
            *count = 2;
        }
    } else if (logits || (!output->kind && !nn_are_probabilities(scores, *count))) {
        nn_softmax(scores, *count);
    }
    return scores;
}

bool nn_labels_read(const char *path, struct nn_output *output) {
    uint8_t *data;
    size_t size, most = 1;
    if (!nn_file_read(path, &data, &size)) return false;
    char *text = (char *)data;
    for (size_t i = 0; i < size; i++) most += text[i] == '\n';
    const char **lines = malloc(most * sizeof *lines);
    if (!lines) {
        free(data);
        return nn_fail_memory("the labels");
    }
    output->labels = lines;
    output->label_count = 0;
    for (char *line = text; line < text + size;) {
        char *end = memchr(line, '\n', (size_t)(text + size - line));
        char *next = end ? end + 1 : text + size;
        if (!end) end = text + size;
        if (end > line && end[-1] == '\r') end--;
        *end = 0;
        lines[output->label_count++] = line;
        line = next;
    }
    return true;
}
