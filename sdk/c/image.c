// SPDX-License-Identifier: Apache-2.0
#include "image.h"

#include "file.h"

#include <stdlib.h>
#include <string.h>

bool nn_image_size_allowed(uint64_t width, uint64_t height, const char **error) {
    if (width == 0 || height == 0) {
        *error = "the picture is empty (its width or height is 0)";
        return false;
    }
    // The sides are at most 32 bits each, so the product cannot wrap.
    if (width > UINT32_MAX || height > UINT32_MAX || width * height > NN_IMAGE_MAX_PIXELS) {
        *error = "the picture is too large (more than 64 megapixels)";
        return false;
    }
    return true;
}

bool nn_image_allocate(struct nn_image *image, uint64_t width, uint64_t height, const char **error) {
    if (!nn_image_size_allowed(width, height, error)) return false;
    image->width = (uint32_t)width;
    image->height = (uint32_t)height;
    image->rgb = calloc((size_t)(width * height), 3);
    if (!image->rgb) *error = "there is not enough memory for the picture";
    return image->rgb != NULL;
}

void nn_image_free(struct nn_image *image) {
    free(image->rgb);
    *image = (struct nn_image){0};
}

static bool decode(const uint8_t *file, size_t size, struct nn_image *image, const char **error) {
    nn_image_free(image);
    *error = "the format is not known (PNG, BMP, PBM, PGM and PPM are)";
    bool done = false;
    if (size >= 4 && !memcmp(file, "\x89PNG", 4))
        done = nn_png_decode(file, size, image, error);
    else if (size >= 2 && file[0] == 'B' && file[1] == 'M')
        done = nn_bmp_decode(file, size, image, error);
    else if (size >= 2 && file[0] == 'P' && file[1] >= '1' && file[1] <= '6')
        done = nn_pnm_decode(file, size, image, error);
    else if (size >= 2 && file[0] == 0xff && file[1] == 0xd8)
        *error = "it is a JPEG, which this program cannot read: convert it to PNG, BMP or PPM";
    if (!done) nn_image_free(image);
    return done;
}

bool nn_image_decode(struct nn_image *image, const uint8_t *file, size_t size) {
    const char *error;
    return decode(file, size, image, &error) || nn_fail(NN_INVALID_ARGUMENT, "%s", error);
}

bool nn_image_read(struct nn_image *image, const char *path) {
    uint8_t *file;
    size_t size;
    const char *error;
    if (!nn_file_read(path, &file, &size)) return false;
    bool good = decode(file, size, image, &error);
    free(file);
    return good || nn_fail(NN_INVALID_ARGUMENT, "%s: %s", path, error);
}

bool nn_image_of_rgb(struct nn_image *image, uint32_t width, uint32_t height, const uint8_t *rgb) {
    const char *error;
    struct nn_image made = {0};
    if (!rgb) return nn_refuse(NN_INVALID_ARGUMENT, "image", "there are no pixels");
    if (!nn_image_allocate(&made, width, height, &error)) return nn_fail(NN_INVALID_ARGUMENT, "%s", error);
    memcpy(made.rgb, rgb, (size_t)width * height * 3);
    nn_image_free(image);
    *image = made;
    return true;
}
