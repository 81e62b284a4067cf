// SPDX-License-Identifier: Apache-2.0
// PNG: every colour type and depth, interlaced or not. Alpha is dropped, 16-bit samples keep their
// upper byte.
#include "checksum.h"
#include "image.h"
#include "inflate.h"

#include <stdlib.h>
#include <string.h>

enum { GREY = 0, RGB = 2, PALETTE = 3, GREY_ALPHA = 4, RGB_ALPHA = 6 };

struct png {
    uint32_t width, height;
    uint32_t depth;     // bits of one sample
    uint32_t colour;    // the colour type
    uint32_t channels;  // samples of one pixel
    bool interlaced;
    uint8_t palette[256 * 3];  // entries that the file lacks stay black
    bool has_palette;
    const uint8_t *data;  // the zlib stream: all IDAT chunks, joined
    size_t data_size;
};

// Adam7 sends seven small pictures: pass k has the pixels (x + i * dx, y + j * dy).
struct pass {
    uint32_t x, y, dx, dy;
};
static const struct pass adam7[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                    {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
static const struct pass whole = {0, 0, 1, 1};

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool read_header(struct png *png, const uint8_t *chunk, size_t size, const char **error) {
    // For each colour type: the samples of a pixel, and the depths allowed as a set of bits.
    static const uint8_t channels[] = {1, 0, 3, 1, 2, 0, 4};
    static const uint32_t depths[] = {0x10116, 0, 0x10100, 0x116, 0x10100, 0, 0x10100};
    *error = "its header is damaged";
    if (size != 13) return false;
    png->width = big_endian(chunk);
    png->height = big_endian(chunk + 4);
    png->depth = chunk[8];
    png->colour = chunk[9];
    png->interlaced = chunk[12] == 1;
    if (png->colour > 6 || png->depth > 16 || !(depths[png->colour] >> png->depth & 1)) {
        *error = "its header has a colour type and depth that PNG does not allow";
        return false;
    }
    png->channels = channels[png->colour];
    return chunk[10] == 0 && chunk[11] == 0 && chunk[12] <= 1;
}

// Walks the chunks, filling `png`; the IDAT chunks are joined in `joined`, which has room.
static bool read_chunks(struct png *png, const uint8_t *file, size_t size, uint8_t *joined,
                        const char **error) {
    size_t at = 8;
    bool first = true;
    while (size - at >= 12) {
        size_t length = big_endian(file + at);
        const uint8_t *type = file + at + 4, *body = file + at + 8;
        if (length > size - at - 12) break;
        at += 12 + length;
        // An upper-case first letter means that the picture cannot be understood without it.
        bool critical = !(type[0] & 0x20);
        if (critical && nn_crc32(type, length + 4) != big_endian(body + length)) {
            *error = "a checksum in it does not match";
            return false;
        }
        if (first != !memcmp(type, "IHDR", 4)) {
            *error = "its header is not where it must be";
            return false;
        }
        if (first) {
            if (!read_header(png, body, length, error)) return false;
            first = false;
        } else if (!memcmp(type, "PLTE", 4)) {
            if (length % 3 || length > sizeof png->palette) {
                *error = "its palette has an impossible size";
                return false;
            }
            memcpy(png->palette, body, length);
            png->has_palette = true;
        } else if (!memcmp(type, "IDAT", 4)) {
            memcpy(joined + png->data_size, body, length);
            png->data_size += length;
        } else if (!memcmp(type, "IEND", 4)) {
            png->data = joined;
            return true;
        } else if (critical) {
            *error = "it has a chunk of a kind that this program does not know";
            return false;
        }
    }
    *error = "the file ends too early";
    return false;
}

// The size of a pass in pixels; a small picture leaves some passes empty.
static uint32_t pass_width(const struct png *png, const struct pass *p) {
    return png->width > p->x ? (png->width - p->x - 1) / p->dx + 1 : 0;
}

static uint32_t pass_height(const struct png *png, const struct pass *p) {
    return png->height > p->y ? (png->height - p->y - 1) / p->dy + 1 : 0;
}

static size_t row_bytes(const struct png *png, uint32_t width) {
    return (size_t)(((uint64_t)width * png->channels * png->depth + 7) / 8);
}

static uint8_t paeth(int left, int above, int corner) {
    int guess = left + above - corner;
    int to_left = abs(guess - left), to_above = abs(guess - above), to_corner = abs(guess - corner);
    if (to_left <= to_above && to_left <= to_corner) return (uint8_t)left;
    return (uint8_t)(to_above <= to_corner ? above : corner);
}

// Undoes a row's filter in place. `above` is the row before it, zeros for the first.
static bool unfilter(uint8_t filter, uint8_t *row, const uint8_t *above, size_t size, size_t step) {
    if (filter > 4) return false;
    for (size_t i = 0; i < size; i++) {
        uint8_t left = i < step ? 0 : row[i - step];
        uint8_t corner = i < step ? 0 : above[i - step];
        switch (filter) {
            case 1: row[i] += left; break;
            case 2: row[i] += above[i]; break;
            case 3: row[i] += (uint8_t)((left + above[i]) / 2); break;
            case 4: row[i] += paeth(left, above[i], corner); break;
        }
    }
    return true;
}

// Sample `index` of a row in its own depth, cut to 8 bits from 16.
static uint8_t sample(const uint8_t *row, uint32_t depth, size_t index) {
    if (depth == 16) return row[index * 2];
    if (depth == 8) return row[index];
    size_t bit = index * depth;
    return (uint8_t)(row[bit / 8] >> (8 - depth - bit % 8) & ((1u << depth) - 1));
}

static void write_row(const struct png *png, const uint8_t *row, uint32_t width, uint8_t *rgb,
                      size_t rgb_step) {
    // Grey of 1, 2 or 4 bits is spread over 0..255; palette indexes are left alone.
    uint8_t spread = png->depth < 8 ? (uint8_t)(255 / ((1u << png->depth) - 1)) : 1;
    for (uint32_t x = 0; x < width; x++, rgb += rgb_step) {
        size_t at = (size_t)x * png->channels;
        uint8_t value = sample(row, png->depth, at);
        if (png->colour == PALETTE) {
            memcpy(rgb, png->palette + value * 3, 3);
        } else if (png->channels >= 3) {
            rgb[0] = value;
            rgb[1] = sample(row, png->depth, at + 1);
            rgb[2] = sample(row, png->depth, at + 2);
        } else {
            memset(rgb, value * spread, 3);
        }
    }
}

// One pass from `raw`; returns where the next one starts, or NULL for a bad filter.
static uint8_t *read_pass(const struct png *png, const struct pass *p, uint8_t *raw,
                          const uint8_t *zeros, struct nn_image *image) {
    uint32_t width = pass_width(png, p), height = pass_height(png, p);
    if (width == 0) return raw;
    size_t size = row_bytes(png, width), step = png->channels * png->depth / 8;
    const uint8_t *above = zeros;
    for (uint32_t y = 0; y < height; y++) {
        uint8_t *row = raw + 1;  // after the filter's byte
        if (!unfilter(raw[0], row, above, size, step ? step : 1)) return NULL;
        size_t first = (size_t)(p->y + y * p->dy) * png->width + p->x;
        write_row(png, row, width, image->rgb + first * 3, (size_t)p->dx * 3);
        above = row;
        raw = row + size;
    }
    return raw;
}

static bool read_pixels(const struct png *png, struct nn_image *image, const char **error) {
    const struct pass *passes = png->interlaced ? adam7 : &whole;
    int pass_count = png->interlaced ? 7 : 1;
    uint64_t raw_size = 0;
    for (int i = 0; i < pass_count; i++) {
        uint32_t width = pass_width(png, &passes[i]), height = pass_height(png, &passes[i]);
        if (width) raw_size += (1 + (uint64_t)row_bytes(png, width)) * height;
    }
    // Deflate cannot shrink by more than 1032: a small file that claims many pixels is refused
    // before they are allocated.
    if (raw_size / 1032 > png->data_size) {
        *error = "its compressed data holds fewer pixels than its header says";
        return false;
    }
    size_t widest = row_bytes(png, png->width);
    uint8_t *raw = malloc((size_t)raw_size), *zeros = calloc(1, widest);
    bool good = raw && zeros && nn_image_allocate(image, png->width, png->height, error);
    if (!raw || !zeros) {
        *error = "there is not enough memory for the picture";
    } else if (good && (good = nn_zlib_inflate(png->data, png->data_size, raw, (size_t)raw_size,
                                            error))) {
        uint8_t *next = raw;
        for (int i = 0; i < pass_count && next; i++)
            next = read_pass(png, &passes[i], next, zeros, image);
        good = next != NULL;
        if (!good) *error = "it uses a row filter that PNG does not have";
    }
    free(raw);
    free(zeros);
    return good;
}

bool nn_png_decode(const uint8_t *file, size_t size, struct nn_image *image, const char **error) {
    if (size < 8 || memcmp(file, "\x89PNG\r\n\x1a\n", 8)) {
        *error = "its PNG signature is damaged";
        return false;
    }
    struct png png = {0};
    uint8_t *joined = malloc(size);
    *error = "there is not enough memory for the picture";
    bool good = joined && read_chunks(&png, file, size, joined, error);
    if (good && png.colour == PALETTE && !png.has_palette) {
        *error = "its palette is missing";
        good = false;
    }
    good = good && nn_image_size_allowed(png.width, png.height, error);
    good = good && read_pixels(&png, image, error);
    free(joined);
    return good;
}
