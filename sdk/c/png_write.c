// SPDX-License-Identifier: Apache-2.0
// PNG with a palette, for masks. Deflate with its fixed code, and of its matches only runs of one byte and
// repetitions of the row above: what masks are made of.
#include "checksum.h"
#include "image.h"

#include <stdlib.h>
#include <string.h>

struct bits {
    uint8_t *data;
    size_t size, capacity;
    uint32_t buffer;
    int count;
    bool full;  // no memory
};

static void put_byte(struct bits *b, uint8_t byte) {
    if (b->size == b->capacity) {
        size_t capacity = b->capacity ? b->capacity * 2 : 4096;
        uint8_t *larger = b->full ? NULL : realloc(b->data, capacity);
        if (!larger) {
            b->full = true;
            return;
        }
        b->data = larger;
        b->capacity = capacity;
    }
    b->data[b->size++] = byte;
}

static void put_bytes(struct bits *b, const void *data, size_t size) {
    for (size_t i = 0; i < size; i++) put_byte(b, ((const uint8_t *)data)[i]);
}

static void put_word(struct bits *b, uint32_t word) {
    for (int shift = 24; shift >= 0; shift -= 8) put_byte(b, (uint8_t)(word >> shift));
}

static void put_bits(struct bits *b, uint32_t value, int count) {
    b->buffer |= value << b->count;
    for (b->count += count; b->count >= 8; b->count -= 8, b->buffer >>= 8) put_byte(b, (uint8_t)b->buffer);
}

// Huffman codes go in from their highest bit.
static void put_code(struct bits *b, uint32_t code, int count) {
    uint32_t reversed = 0;
    for (int i = 0; i < count; i++) reversed |= (code >> i & 1) << (count - 1 - i);
    put_bits(b, reversed, count);
}

static void put_symbol(struct bits *b, uint32_t symbol) {
    if (symbol < 144)
        put_code(b, 0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(b, 0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(b, symbol - 256, 7);
    else
        put_code(b, 0xc0 + symbol - 280, 8);
}

// A match of 3 to 258 bytes, `distance` back.
static void put_match(struct bits *b, uint32_t length, uint32_t distance) {
    if (length == 258) {
        put_symbol(b, 285);
    } else {
        uint32_t rest = length - 3, extra = 0;
        while (rest >> extra >= 8) extra++;
        // Four symbols for each count of extra bits; the first eight have none.
        uint32_t symbol = rest < 8 ? rest : 4 + extra * 4 + ((rest >> extra) - 4);
        put_symbol(b, 257 + symbol);
        put_bits(b, rest & ((1u << extra) - 1), (int)extra);
    }
    uint32_t rest = distance - 1, extra = 0;
    while (rest >> extra >= 4) extra++;
    put_code(b, rest < 4 ? rest : 2 + extra * 2 + ((rest >> extra) - 2), 5);
    put_bits(b, rest & ((1u << extra) - 1), (int)extra);
}

static uint32_t match_length(const uint8_t *data, size_t at, size_t size, size_t distance) {
    uint32_t length = 0;
    if (distance > at || distance > 32768) return 0;
    while (length < 258 && at + length < size && data[at + length] == data[at + length - distance]) length++;
    return length;
}

static void deflate(struct bits *b, const uint8_t *data, size_t size, size_t row) {
    put_byte(b, 0x78);
    put_byte(b, 0x01);
    put_bits(b, 3, 3);  // the last block, of the fixed code
    for (size_t at = 0; at < size;) {
        uint32_t run = match_length(data, at, size, 1), above = match_length(data, at, size, row);
        if (run < 3 && above < 3) {
            put_symbol(b, data[at++]);
            continue;
        }
        put_match(b, run >= above ? run : above, run >= above ? 1 : (uint32_t)row);
        at += run >= above ? run : above;
    }
    put_symbol(b, 256);
    put_bits(b, 0, 7);  // to the end of a byte
    put_word(b, nn_adler32(data, size));
}

// A chunk's length and name; its content follows.
static size_t open_chunk(struct bits *b, const char name[4]) {
    b->buffer = 0;
    b->count = 0;
    put_word(b, 0);
    put_bytes(b, name, 4);
    return b->size;
}

static void close_chunk(struct bits *b, size_t start) {
    if (b->full) return;
    size_t length = b->size - start;
    for (int i = 0; i < 4; i++) b->data[start - 8 + (size_t)i] = (uint8_t)(length >> (24 - 8 * i));
    put_word(b, nn_crc32(b->data + start - 4, length + 4));
}

bool nn_png_of_indices(uint32_t width, uint32_t height, const uint8_t *indices, const uint8_t palette[768],
                       uint8_t **file, size_t *size) {
    const char *error;
    *file = NULL;
    *size = 0;
    if (!nn_image_size_allowed(width, height, &error)) return nn_fail(NN_INVALID_ARGUMENT, "PNG: %s", error);
    size_t row = (size_t)width + 1;  // each row begins with its filter: none
    uint8_t *rows = calloc(row, height);
    if (!rows) return nn_fail_memory("a PNG");
    for (uint32_t y = 0; y < height; y++) memcpy(rows + y * row + 1, indices + (size_t)y * width, width);

    struct bits b = {0};
    put_bytes(&b, "\x89PNG\r\n\x1a\n", 8);
    size_t chunk = open_chunk(&b, "IHDR");
    put_word(&b, width);
    put_word(&b, height);
    put_bytes(&b, "\x08\x03\0\0\0", 5);  // 8 bits, palette
    close_chunk(&b, chunk);
    chunk = open_chunk(&b, "PLTE");
    put_bytes(&b, palette, 768);
    close_chunk(&b, chunk);
    chunk = open_chunk(&b, "IDAT");
    deflate(&b, rows, row * height, row);
    close_chunk(&b, chunk);
    chunk = open_chunk(&b, "IEND");
    close_chunk(&b, chunk);
    free(rows);
    if (b.full) {
        free(b.data);
        return nn_fail_memory("a PNG");
    }
    *file = b.data;
    *size = b.size;
    return true;
}
