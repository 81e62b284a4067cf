// SPDX-License-Identifier: Apache-2.0
// A classifier's output: scores, the best of them, and labels from a file.
#ifndef NN_SCORES_H
#define NN_SCORES_H

#include "metadata.h"

// The scores of one picture out of an output: dequantized, and logits through softmax (by the output's kind,
// or where nobody said it, unless all are 0 to 1). `first` and `count` say which elements; a single logit
// goes through the sigmoid function, and is split in two where there are two labels. The caller frees them.
float *nn_scores(const struct nn_tensor *tensor, const struct nn_output *output, size_t first, size_t *count);

void nn_softmax(float *scores, size_t count);

// Each from 0 to 1, with room for what rounding adds. The sum says nothing: quantized scores miss 1,
// and independent classes have no sum to keep.
bool nn_are_probabilities(const float *scores, size_t count);

// The `k` best classes, best first; of equal scores the lower class. Not a number is worst. `best` has room
// for k; how many there are.
size_t nn_top_k(const float *scores, size_t count, size_t k, size_t *best);

// A label on each line of a file, for `output`. Both stay for as long as the program runs.
bool nn_labels_read(const char *path, struct nn_output *output);

#endif
