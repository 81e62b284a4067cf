// SPDX-License-Identifier: Apache-2.0
#include "checksum.h"

uint32_t nn_crc32(const uint8_t *data, size_t size) {
    uint32_t table[16];  // half a byte at a time: a small table is enough
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 4; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
        table[i] = value;
    }
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc = crc >> 4 ^ table[(crc ^ data[i]) & 15];
        crc = crc >> 4 ^ table[(crc ^ data[i] >> 4) & 15];
    }
    return ~crc;
}

uint32_t nn_adler32(const uint8_t *data, size_t size) {
    uint32_t low = 1, high = 0;
    while (size) {
        size_t chunk = size < 5552 ? size : 5552;  // the most before a 32-bit sum can overflow
        size -= chunk;
        while (chunk--) high += low += *data++;
        low %= 65521;
        high %= 65521;
    }
    return high << 16 | low;
}
