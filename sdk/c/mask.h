// SPDX-License-Identifier: Apache-2.0
// A segmenter's output: the class of each pixel, and colours.
#ifndef NN_MASK_H
#define NN_MASK_H

#include "metadata.h"

struct nn_mask {
    uint32_t width, height;
    uint8_t *classes;  // width * height, rows from the top
};

#define NN_MASK(name) __attribute__((cleanup(nn_mask_free))) struct nn_mask name = {0}

// By the output's layout. With a C: the largest score counts, of equal ones the lowest class; a single
// channel is the probability of class 1, which is where that is above 0.5. Without: the class itself. At most
// 256 classes.
bool nn_mask_read(struct nn_mask *mask, const struct nn_tensor *tensor, const struct nn_output *output);
void nn_mask_free(struct nn_mask *mask);

// wasinn's colours of the classes 0 to 255, RGB each.
void nn_mask_palette(uint8_t palette[768]);

// As a PNG whose pixels are the classes, in those colours.
bool nn_mask_write(const struct nn_mask *mask, const char *path);

#endif
