// SPDX-License-Identifier: Apache-2.0
// Pictures as 8-bit RGB: PNG, BMP and the PNM family (PBM, PGM, PPM) are read, PNG with a palette is written.
#ifndef NN_IMAGE_H
#define NN_IMAGE_H

#include "error.h"

// More than this is refused before anything is allocated: a few bytes of a bad file can claim
// any size.
#define NN_IMAGE_MAX_PIXELS (64u << 20)

struct nn_image {
    uint32_t width, height;
    uint8_t *rgb;  // width * height * 3 bytes, rows from the top
};

// A picture that is freed at the end of its block.
#define NN_IMAGE(name) __attribute__((cleanup(nn_image_free))) struct nn_image name = {0}

// `image` is one from NN_IMAGE, all zeros, or used before. On failure it is empty.
bool nn_image_read(struct nn_image *image, const char *path);
bool nn_image_decode(struct nn_image *image, const uint8_t *file, size_t size);
// A copy of pixels from elsewhere: a camera, or a decoder of JPEG.
bool nn_image_of_rgb(struct nn_image *image, uint32_t width, uint32_t height, const uint8_t *rgb);
void nn_image_free(struct nn_image *image);

// A PNG file with an index for each pixel and a palette of 256 times RGB; the caller frees it.
bool nn_png_of_indices(uint32_t width, uint32_t height, const uint8_t *indices, const uint8_t palette[768],
                       uint8_t **file, size_t *size);

// -- for the decoders --
// They check the size before they compute with it; allocating checks it too, and gives black pixels. `*error`
// is a sentence about the picture.
bool nn_image_size_allowed(uint64_t width, uint64_t height, const char **error);
bool nn_image_allocate(struct nn_image *image, uint64_t width, uint64_t height, const char **error);

bool nn_png_decode(const uint8_t *file, size_t size, struct nn_image *image, const char **error);
bool nn_bmp_decode(const uint8_t *file, size_t size, struct nn_image *image, const char **error);
bool nn_pnm_decode(const uint8_t *file, size_t size, struct nn_image *image, const char **error);

#endif
