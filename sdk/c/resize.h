// SPDX-License-Identifier: Apache-2.0
// 8-bit RGB pixels at another size.
#ifndef NN_RESIZE_H
#define NN_RESIZE_H

#include "image.h"

enum nn_resize { NN_BILINEAR, NN_NEAREST, NN_BICUBIC, NN_AREA };

// In pixels of the picture; fractions are allowed.
struct nn_box {
    double left, top, right, bottom;
};

// The part `box` of a picture, brought to `width` x `height`; `to` is made. With `antialias` as Pillow does
// it: shrinking weighs every pixel. Without, each pixel is one sample at its own centre, as OpenCV does it.
bool nn_image_resize(const struct nn_image *from, const struct nn_box *box, uint32_t width, uint32_t height,
                     enum nn_resize filter, bool antialias, struct nn_image *to);

#endif
