// SPDX-License-Identifier: Apache-2.0
// BMP without compression: palettes of 1, 4 and 8 bits, 16, 24 and 32 bits, and bit masks.
#include "image.h"

#include <string.h>

enum { FILE_HEADER = 14, BI_RGB = 0, BI_BITFIELDS = 3, BI_ALPHABITFIELDS = 6 };

struct mask {
    uint32_t shift, max;  // max is 0 where the file has no such colour
};

struct bmp {
    uint32_t depth;  // bits of a pixel
    struct mask masks[3];
    uint8_t palette[256][3];  // entries that the file lacks stay black
};

static uint32_t little16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t little32(const uint8_t *p) { return little16(p) | little16(p + 2) << 16; }

static bool set_mask(struct mask *mask, uint32_t bits) {
    *mask = (struct mask){0, 0};
    if (!bits) return true;
    mask->shift = (uint32_t)__builtin_ctz(bits);
    mask->max = bits >> mask->shift;
    return (mask->max & (mask->max + 1)) == 0;  // the bits must be side by side
}

static uint8_t apply_mask(const struct mask *mask, uint32_t pixel) {
    if (!mask->max) return 0;
    return (uint8_t)((uint64_t)(pixel >> mask->shift & mask->max) * 255 / mask->max);
}

static void read_row(const struct bmp *bmp, const uint8_t *row, uint32_t width, uint8_t *rgb) {
    for (uint32_t x = 0; x < width; x++, rgb += 3) {
        if (bmp->depth <= 8) {
            uint32_t bit = x * bmp->depth;
            uint32_t index = row[bit / 8] >> (8 - bmp->depth - bit % 8) & ((1u << bmp->depth) - 1);
            memcpy(rgb, bmp->palette[index], 3);
        } else if (bmp->depth == 24) {
            const uint8_t *p = row + (size_t)x * 3;
            rgb[0] = p[2], rgb[1] = p[1], rgb[2] = p[0];
        } else {
            uint32_t pixel =
                bmp->depth == 16 ? little16(row + (size_t)x * 2) : little32(row + (size_t)x * 4);
            for (int c = 0; c < 3; c++) rgb[c] = apply_mask(&bmp->masks[c], pixel);
        }
    }
}

bool nn_bmp_decode(const uint8_t *file, size_t size, struct nn_image *image, const char **error) {
    struct bmp bmp = {0};
    *error = "its header is damaged";
    if (size < FILE_HEADER + 12) return false;
    uint32_t pixels_at = little32(file + 10);
    const uint8_t *header = file + FILE_HEADER;
    uint32_t header_size = little32(header);
    if (header_size > size - FILE_HEADER) return false;
    uint32_t compression = BI_RGB, colours = 0, palette_entry = 4;
    int64_t width, height;
    if (header_size == 12) {  // the oldest header, from OS/2
        width = little16(header + 4);
        height = little16(header + 6);
        bmp.depth = little16(header + 10);
        palette_entry = 3;
    } else if (header_size >= 40) {
        width = (int32_t)little32(header + 4);
        height = (int32_t)little32(header + 8);
        bmp.depth = little16(header + 14);
        compression = little32(header + 16);
        colours = little32(header + 32);
    } else {
        *error = "its header is of a kind that this program does not know";
        return false;
    }
    bool masked = compression == BI_BITFIELDS || compression == BI_ALPHABITFIELDS;
    if (compression != BI_RGB && !masked) {
        *error = "it is compressed, which this program does not read";
        return false;
    }
    if (bmp.depth != 1 && bmp.depth != 4 && bmp.depth != 8 && bmp.depth != 16 &&
        bmp.depth != 24 && bmp.depth != 32) {
        *error = "it has a number of bits per pixel that this program does not know";
        return false;
    }
    if (masked && bmp.depth != 16 && bmp.depth != 32) {
        *error = "it has bit masks, but not 16 or 32 bits per pixel";
        return false;
    }
    if (width < 0) return false;
    bool bottom_up = height > 0;  // the usual order; a negative height means from the top
    if (height < 0) height = -height;

    // Masks and palette follow the header. Larger headers have the masks inside, at the place
    // where they follow the 40-byte one.
    uint64_t at = FILE_HEADER + (uint64_t)header_size;
    if (masked) {
        if (size < FILE_HEADER + 40 + 12) return false;
        for (int c = 0; c < 3; c++)
            if (!set_mask(&bmp.masks[c], little32(header + 40 + 4 * c))) return false;
        if (header_size == 40) at += compression == BI_BITFIELDS ? 12 : 16;
    } else if (bmp.depth == 16) {
        for (int c = 0; c < 3; c++) set_mask(&bmp.masks[c], 0x7c00u >> 5 * c);
    } else if (bmp.depth == 32) {
        for (int c = 0; c < 3; c++) set_mask(&bmp.masks[c], 0xff0000u >> 8 * c);
    }
    if (bmp.depth <= 8) {
        uint32_t most = 1u << bmp.depth;
        if (colours == 0 || colours > most) colours = most;
        // A file may stop its palette early by starting the pixels.
        for (uint32_t i = 0; i < colours && at + palette_entry <= pixels_at; i++) {
            if (at + palette_entry > size) return false;
            for (int c = 0; c < 3; c++) bmp.palette[i][c] = file[at + 2 - (uint32_t)c];
            at += palette_entry;
        }
    }

    if (!nn_image_size_allowed((uint64_t)width, (uint64_t)height, error)) return false;
    // Rows are padded to four bytes. Checked before the pixels are allocated.
    uint64_t stride = ((uint64_t)width * bmp.depth + 31) / 32 * 4;
    if (pixels_at < FILE_HEADER + 12 || pixels_at > size ||
        stride * (uint64_t)height > size - pixels_at) {
        *error = "the file ends before its pixels do";
        return false;
    }
    if (!nn_image_allocate(image, (uint64_t)width, (uint64_t)height, error)) return false;
    for (uint32_t y = 0; y < image->height; y++) {
        uint32_t from = bottom_up ? image->height - 1 - y : y;
        read_row(&bmp, file + pixels_at + stride * from, image->width,
                 image->rgb + (size_t)y * image->width * 3);
    }
    return true;
}
