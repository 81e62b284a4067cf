// SPDX-License-Identifier: Apache-2.0
// From a picture to the tensor that a model wants.
#ifndef PREPROCESS_H
#define PREPROCESS_H

#include "image.h"

enum resize { RESIZE_BILINEAR, RESIZE_NEAREST };
enum layout { LAYOUT_NCHW, LAYOUT_NHWC };
enum colour { COLOUR_RGB, COLOUR_BGR, COLOUR_GRAY };

struct preprocess {
    uint32_t width, height;  // of the tensor
    uint32_t crop;           // 0, or: resize the shorter side to this, then cut out the centre
    enum resize resize;
    enum layout layout;
    enum colour colour;
    bool invert;        // 255 - v, for dark-on-light pictures and models that want the opposite
    bool as_u8;         // bytes as they are; range, mean and std are for f32 only
    double low, high;   // what 0 and 255 become
    double mean[3], std[3];  // then (v - mean) / std, for each channel in the tensor's own order
};

uint32_t preprocess_channels(const struct preprocess *options);
size_t preprocess_bytes(const struct preprocess *options);

// Fills `tensor`, which has preprocess_bytes(); false if there is not enough memory, or the crop
// is smaller than the tensor.
bool preprocess(const struct preprocess *options, const struct image *image, void *tensor,
                const char **error);

#endif
