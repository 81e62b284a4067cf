// SPDX-License-Identifier: Apache-2.0
// From a picture to the tensor that a model wants, by the arithmetic of contracts (docs/contracts.md):
//
// 1. `fit` and `resize` bring the picture to the size; `invert` turns each level p into 255 - p.
// 2. `colour` orders the channels (gray is ITU-R 601 luma).
// 3. value = (low + p / 255 * (high - low) - mean) / std, with mean and std in the order of the channels.
// 4. With a quantization, value / scale + zero point; integers are rounded (halves away from zero) and
//    saturated.
// 5. `layout` orders the dims.
#ifndef NN_PREPROCESS_H
#define NN_PREPROCESS_H

#include "json.h"
#include "resize.h"
#include "tensor.h"

enum nn_colour { NN_RGB, NN_BGR, NN_GRAY };
// A picture of another shape: stretched, cut out of the middle, or shown whole between bars.
enum nn_fit { NN_STRETCH, NN_CROP, NN_LETTERBOX };

struct nn_preprocess {
    char layout[5];  // NCHW NHWC CHW HWC NHW HW
    uint8_t type;
    uint32_t width, height;
    enum nn_colour colour;
    double low, high;
    double mean[3], std[3];
    enum nn_resize resize;
    bool antialias;
    enum nn_fit fit;
    uint32_t crop;    // of NN_CROP: what the shorter side gets before the cut; 0: what just covers the size
    uint8_t fill[3];  // of NN_LETTERBOX: the bars' RGB
    bool invert;
    struct nn_quantization quantization;
};

// RGB, 0 to 1, f32, bilinear with antialias, stretched; layout NCHW, 224x224.
extern const struct nn_preprocess nn_preprocess_defaults;

// From one element of a contract's inputs in the metadata, where `image` is its own "image". The
// quantization's numbers are the caller's to set. False for what this SDK does not know.
bool nn_preprocess_read(const struct nn_json *input, struct nn_preprocess *preprocess);

uint32_t nn_preprocess_channels(const struct nn_preprocess *preprocess);
uint32_t nn_preprocess_dims(const struct nn_preprocess *preprocess, uint32_t batch,
                            uint32_t dims[4]);  // the rank

// A tensor of `batch` pictures (1 without an N in the layout), with zeros; nn_preprocess_at fills one of
// them.
bool nn_preprocess_new(const struct nn_preprocess *preprocess, uint32_t batch, struct nn_tensor *tensor);
bool nn_preprocess_at(const struct nn_preprocess *preprocess, const struct nn_image *picture, uint32_t index,
                      struct nn_tensor *tensor);
// Both, for one picture.
bool nn_preprocess_image(const struct nn_preprocess *preprocess, const struct nn_image *picture,
                         struct nn_tensor *tensor);

#endif
