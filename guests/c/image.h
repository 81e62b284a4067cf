// SPDX-License-Identifier: Apache-2.0
// Pictures as 8-bit RGB: PNG, BMP and the PNM family (PBM, PGM, PPM).
#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// More than this is refused before anything is allocated: a few bytes of a bad file can claim
// any size.
#define IMAGE_MAX_PIXELS (64u << 20)

struct image {
    uint32_t width, height;
    uint8_t *rgb;  // width * height * 3 bytes, rows from the top
};

// On failure `*error` is a sentence for the user, and nothing needs freeing.
bool image_decode(const uint8_t *file, size_t size, struct image *image, const char **error);
void image_free(struct image *image);

// For the decoders. They check the size before they compute with it; allocating checks it too, and
// gives black pixels.
bool image_size_allowed(uint64_t width, uint64_t height, const char **error);
bool image_allocate(struct image *image, uint64_t width, uint64_t height, const char **error);

bool png_decode(const uint8_t *file, size_t size, struct image *image, const char **error);
bool bmp_decode(const uint8_t *file, size_t size, struct image *image, const char **error);
bool pnm_decode(const uint8_t *file, size_t size, struct image *image, const char **error);

#endif
