// SPDX-License-Identifier: Apache-2.0
// The PNM family: P1..P3 are text, P4..P6 the same in binary; bitmap, grey and colour.
#include "image.h"

#include <string.h>

struct text {
    const uint8_t *file;
    size_t size, at;
};

static bool is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void skip_space(struct text *text) {
    while (text->at < text->size) {
        uint8_t c = text->file[text->at];
        if (c == '#') {  // a comment, to the end of its line
            while (text->at < text->size && text->file[text->at] != '\n') text->at++;
        } else if (is_space(c)) {
            text->at++;
        } else {
            break;
        }
    }
}

// The next decimal number of at most `max_digits` digits, or -1.
static int64_t number(struct text *text, int max_digits) {
    skip_space(text);
    int64_t value = 0;
    int digits = 0;
    while (digits < max_digits && text->at < text->size) {
        uint8_t c = text->file[text->at];
        if (c < '0' || c > '9') break;
        value = value * 10 + (c - '0');
        text->at++;
        digits++;
    }
    return digits ? value : -1;
}

// The level of a number up to `max`. Grey of more than 8 bits keeps its upper byte, as 16-bit PNG does;
// colours are scaled: so Pillow and the host do.
static uint8_t scale(uint32_t value, uint32_t max, bool grey) {
    if (value > max) value = max;
    if (grey && max > 255) return (uint8_t)(((uint64_t)value * 65535 + max / 2) / max >> 8);
    return (uint8_t)((value * 255 + max / 2) / max);
}

// The text forms: a number for each sample. Bits need no space between them.
static bool read_text(struct text *text, bool bitmap, bool grey, uint32_t max, uint8_t *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int64_t value = number(text, bitmap ? 1 : 9);
        if (value < 0 || value > max) return false;
        out[i] = bitmap ? (value ? 0 : 255) : scale((uint32_t)value, max, grey);
    }
    return true;
}

static bool read_binary(struct text *text, bool grey, uint32_t max, uint8_t *out, size_t count) {
    uint32_t bytes = max > 255 ? 2 : 1;
    if (count > (text->size - text->at) / bytes) return false;
    const uint8_t *p = text->file + text->at;
    for (size_t i = 0; i < count; i++, p += bytes)
        out[i] = scale(bytes == 2 ? (uint32_t)p[0] << 8 | p[1] : p[0], max, grey);
    return true;
}

// Binary bitmaps: eight pixels in a byte, rows padded to whole bytes, 1 is black.
static bool read_bits(struct text *text, uint32_t width, uint32_t height, uint8_t *out) {
    size_t stride = width / 8 + (width % 8 != 0);
    if (height > (text->size - text->at) / stride) return false;
    for (uint32_t y = 0; y < height; y++) {
        const uint8_t *row = text->file + text->at + y * stride;
        for (uint32_t x = 0; x < width; x++)
            out[(size_t)y * width + x] = row[x / 8] >> (7 - x % 8) & 1 ? 0 : 255;
    }
    return true;
}

bool nn_pnm_decode(const uint8_t *file, size_t size, struct nn_image *image, const char **error) {
    struct text text = {file, size, 2};
    int kind = file[1] - '0';
    bool binary = kind >= 4, bitmap = kind % 3 == 1, colour = kind % 3 == 0;
    *error = "its header is damaged";
    int64_t width = number(&text, 9), height = number(&text, 9);
    int64_t max = bitmap ? 1 : number(&text, 5);
    if (width < 0 || height < 0 || max < 1 || max > 65535) return false;
    if (text.at == size || !is_space(file[text.at])) return false;
    text.at++;  // one space exactly: the next byte may be a pixel that looks like one

    uint64_t samples = (uint64_t)width * (uint64_t)height * (colour ? 3 : 1);
    // The least that so many samples take; checked before they are allocated.
    if (samples / (binary && bitmap ? 8 : 1) > size) {
        *error = "the file ends before its pixels do";
        return false;
    }
    if (!nn_image_allocate(image, (uint64_t)width, (uint64_t)height, error)) return false;
    bool good = !binary  ? read_text(&text, bitmap, !colour, (uint32_t)max, image->rgb, (size_t)samples)
                : bitmap ? read_bits(&text, image->width, image->height, image->rgb)
                         : read_binary(&text, !colour, (uint32_t)max, image->rgb, (size_t)samples);
    if (!good) {
        *error = "its pixels are damaged, or the file ends before they do";
        return false;
    }
    // One value for each pixel becomes three, from the end so that none is overwritten unread.
    if (!colour)
        for (size_t i = (size_t)samples; i-- > 0;) memset(image->rgb + i * 3, image->rgb[i], 3);
    return true;
}
