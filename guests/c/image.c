// SPDX-License-Identifier: Apache-2.0
#include "image.h"

#include <stdlib.h>
#include <string.h>

bool image_size_allowed(uint64_t width, uint64_t height, const char **error) {
    if (width == 0 || height == 0) {
        *error = "the picture is empty (its width or height is 0)";
        return false;
    }
    // The sides are at most 32 bits each, so the product cannot wrap.
    if (width > UINT32_MAX || height > UINT32_MAX || width * height > IMAGE_MAX_PIXELS) {
        *error = "the picture is too large (more than 64 megapixels)";
        return false;
    }
    return true;
}

bool image_allocate(struct image *image, uint64_t width, uint64_t height, const char **error) {
    if (!image_size_allowed(width, height, error)) return false;
    image->width = (uint32_t)width;
    image->height = (uint32_t)height;
    image->rgb = calloc((size_t)(width * height), 3);
    if (!image->rgb) *error = "there is not enough memory for the picture";
    return image->rgb != NULL;
}

void image_free(struct image *image) {
    free(image->rgb);
    *image = (struct image){0};
}

bool image_decode(const uint8_t *file, size_t size, struct image *image, const char **error) {
    *image = (struct image){0};
    *error = "the format is not known (PNG, BMP, PBM, PGM and PPM are)";
    bool done = false;
    if (size >= 4 && !memcmp(file, "\x89PNG", 4))
        done = png_decode(file, size, image, error);
    else if (size >= 2 && file[0] == 'B' && file[1] == 'M')
        done = bmp_decode(file, size, image, error);
    else if (size >= 2 && file[0] == 'P' && file[1] >= '1' && file[1] <= '6')
        done = pnm_decode(file, size, image, error);
    else if (size >= 2 && file[0] == 0xff && file[1] == 0xd8)
        *error = "it is a JPEG, which this program cannot read: convert it to PNG, BMP or PPM";
    if (!done) image_free(image);
    return done;
}
