// SPDX-License-Identifier: Apache-2.0
// Deflate (RFC 1951) inside zlib (RFC 1950), from memory to memory.
#include "inflate.h"

#include "checksum.h"

#include <string.h>

enum { MAX_LENGTH = 15, MAX_SYMBOLS = 288 };

struct stream {
    const uint8_t *input;
    size_t input_size, input_at;
    uint32_t bits;  // read but not used yet, the next one lowest
    int bit_count;
    int missing;  // bits made up because the input ended
    uint8_t *output;
    size_t output_size, output_at;
};

// A canonical Huffman code. Codes of one length are consecutive numbers, and longer codes are
// larger when all are written from the left of a 16-bit word. So a code's length is the first one
// whose `limit` (left-aligned, exclusive) is above the next 16 bits of input.
struct huffman {
    uint32_t limit[MAX_LENGTH + 1];
    uint32_t first_code[MAX_LENGTH + 1];  // of that length, left-aligned
    uint16_t first_symbol[MAX_LENGTH + 1];
    uint16_t symbols[MAX_SYMBOLS];  // by length, then by value
};

static void need(struct stream *s, int count) {
    while (s->bit_count < count) {
        if (s->input_at < s->input_size)
            s->bits |= (uint32_t)s->input[s->input_at++] << s->bit_count;
        else
            s->missing += 8;  // zeros: looking ahead past the end is fine, using it is not
        s->bit_count += 8;
    }
}

static void drop(struct stream *s, int count) {
    s->bits >>= count;
    s->bit_count -= count;
}

static uint32_t take(struct stream *s, int count) {
    need(s, count);
    uint32_t value = s->bits & ((1u << count) - 1);
    drop(s, count);
    return value;
}

// The made-up bits are the last ones in the buffer: some were used if fewer are left there.
static bool ran_out(const struct stream *s) { return s->missing > s->bit_count; }

static bool huffman_build(struct huffman *h, const uint8_t *lengths, int count) {
    uint16_t of_length[MAX_LENGTH + 1] = {0};
    for (int i = 0; i < count; i++) of_length[lengths[i]]++;
    uint32_t code = 0;
    uint16_t symbol = 0;
    for (int length = 1; length <= MAX_LENGTH; length++) {
        h->first_code[length] = code;
        h->first_symbol[length] = symbol;
        code += (uint32_t)of_length[length] << (16 - length);
        symbol += of_length[length];
        h->limit[length] = code;
        if (code > 1u << 16) return false;  // more codes than that length has
    }
    uint16_t next[MAX_LENGTH + 1];
    memcpy(next, h->first_symbol, sizeof next);
    for (int i = 0; i < count; i++)
        if (lengths[i]) h->symbols[next[lengths[i]]++] = (uint16_t)i;
    return true;
}

static uint32_t reverse16(uint32_t v) {
    v = (v & 0x5555) << 1 | (v >> 1 & 0x5555);
    v = (v & 0x3333) << 2 | (v >> 2 & 0x3333);
    v = (v & 0x0f0f) << 4 | (v >> 4 & 0x0f0f);
    return (v & 0x00ff) << 8 | (v >> 8 & 0x00ff);
}

// A symbol, or -1 for bits that are no code (a code may leave some unused).
static int huffman_read(struct stream *s, const struct huffman *h) {
    need(s, 16);
    uint32_t next = reverse16(s->bits);
    for (int length = 1; length <= MAX_LENGTH; length++) {
        if (next < h->limit[length]) {
            drop(s, length);
            return h->symbols[h->first_symbol[length] +
                              ((next - h->first_code[length]) >> (16 - length))];
        }
    }
    return -1;
}

static bool stored_block(struct stream *s) {
    drop(s, s->bit_count % 8);
    uint32_t size = take(s, 16);
    uint32_t complement = take(s, 16);
    if (ran_out(s) || (size ^ complement) != 0xffff) return false;
    // The bit buffer is empty now: it never held more than the two whole bytes just taken.
    if (size > s->input_size - s->input_at || size > s->output_size - s->output_at) return false;
    memcpy(s->output + s->output_at, s->input + s->input_at, size);
    s->input_at += size;
    s->output_at += size;
    return true;
}

static bool compressed_block(struct stream *s, const struct huffman *literals,
                             const struct huffman *distances) {
    static const uint16_t length_base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,
                                           15, 17, 19, 23, 27, 31, 35, 43, 51,  59,
                                           67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint8_t length_bits[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                          2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t distance_base[] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,
                                             33,  49,  65,  97,  129, 193,  257,  385,  513,  769,
                                             1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289,
                                             16385, 24577};
    for (;;) {
        int symbol = huffman_read(s, literals);
        if (symbol < 0 || ran_out(s)) return false;
        if (symbol == 256) return true;
        if (symbol < 256) {
            if (s->output_at == s->output_size) return false;
            s->output[s->output_at++] = (uint8_t)symbol;
            continue;
        }
        symbol -= 257;
        if (symbol >= (int)(sizeof length_bits)) return false;
        uint32_t length = length_base[symbol] + take(s, length_bits[symbol]);
        int code = huffman_read(s, distances);
        if (code < 0 || code >= (int)(sizeof distance_base / sizeof *distance_base)) return false;
        uint32_t distance = distance_base[code] + take(s, code < 2 ? 0 : code / 2 - 1);
        if (ran_out(s) || distance > s->output_at || length > s->output_size - s->output_at)
            return false;
        // Byte by byte: the copy may overlap what it writes, and then repeats it.
        for (uint32_t i = 0; i < length; i++, s->output_at++)
            s->output[s->output_at] = s->output[s->output_at - distance];
    }
}

static bool fixed_block(struct stream *s) {
    uint8_t lengths[MAX_SYMBOLS];
    memset(lengths, 8, 144);
    memset(lengths + 144, 9, 112);
    memset(lengths + 256, 7, 24);
    memset(lengths + 280, 8, 8);
    struct huffman literals, distances;
    huffman_build(&literals, lengths, MAX_SYMBOLS);
    memset(lengths, 5, 30);
    huffman_build(&distances, lengths, 30);
    return compressed_block(s, &literals, &distances);
}

static bool dynamic_block(struct stream *s) {
    static const uint8_t order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    int literal_count = (int)take(s, 5) + 257;
    int distance_count = (int)take(s, 5) + 1;
    int order_count = (int)take(s, 4) + 4;
    if (literal_count > 286 || distance_count > 30) return false;

    // The code lengths are themselves compressed, with a code given first.
    uint8_t lengths[286 + 30] = {0};
    struct huffman literals, distances;
    for (int i = 0; i < order_count; i++) lengths[order[i]] = (uint8_t)take(s, 3);
    if (!huffman_build(&literals, lengths, sizeof order)) return false;

    int at = 0, total = literal_count + distance_count;
    while (at < total) {
        int symbol = huffman_read(s, &literals);
        if (symbol < 0 || ran_out(s)) return false;
        if (symbol < 16) {
            lengths[at++] = (uint8_t)symbol;
            continue;
        }
        uint8_t value = 0;
        int repeat;
        if (symbol == 16) {
            if (at == 0) return false;
            value = lengths[at - 1];
            repeat = 3 + (int)take(s, 2);
        } else {
            repeat = symbol == 17 ? 3 + (int)take(s, 3) : 11 + (int)take(s, 7);
        }
        if (repeat > total - at) return false;
        memset(lengths + at, value, (size_t)repeat);
        at += repeat;
    }
    return huffman_build(&literals, lengths, literal_count) &&
           huffman_build(&distances, lengths + literal_count, distance_count) &&
           compressed_block(s, &literals, &distances);
}

bool nn_zlib_inflate(const uint8_t *input, size_t input_size, uint8_t *output, size_t output_size,
                  const char **error) {
    struct stream s = {.input = input, .input_size = input_size,
                       .output = output, .output_size = output_size};
    *error = "its compressed data is damaged";
    uint32_t header = take(&s, 8) << 8;
    header |= take(&s, 8);
    // Method 8 (deflate), a header that divides by 31, and no preset dictionary.
    if (ran_out(&s) || (header >> 8 & 15) != 8 || header % 31 || header & 0x20) return false;

    for (bool last = false; !last;) {
        last = take(&s, 1);
        uint32_t kind = take(&s, 2);
        bool good = kind == 0   ? stored_block(&s)
                    : kind == 1 ? fixed_block(&s)
                    : kind == 2 ? dynamic_block(&s)
                                : false;
        if (!good || ran_out(&s)) {
            if (ran_out(&s)) *error = "its compressed data ends too early";
            return false;
        }
    }
    if (s.output_at != output_size) {
        *error = "its compressed data holds fewer pixels than its header says";
        return false;
    }
    drop(&s, s.bit_count % 8);
    uint32_t expected = 0;
    for (int i = 0; i < 4; i++) expected = expected << 8 | take(&s, 8);
    if (ran_out(&s) || expected != nn_adler32(output, output_size)) {
        *error = "its checksum does not match its pixels";
        return false;
    }
    return true;
}
