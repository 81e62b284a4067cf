// SPDX-License-Identifier: Apache-2.0
// decode FILE: reads samples from FILE (a length in 4 bytes, then so many bytes, again and again) and damages
// each ROUNDS times by chance; every result goes through the decoder of pictures or of JSON. Prints what
// became of them.

#include <file.h>
#include <nn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;

static uint32_t chance(uint32_t below) {
    state = state * 1664525 + 1013904223;
    return below ? (state >> 8) % below : 0;
}

int main(int argc, char **argv) {
    uint8_t *data;
    size_t size, good = 0, bad = 0;
    if (argc != 4 || !nn_file_read(argv[1], &data, &size)) return 2;
    bool json = !strcmp(argv[3], "json");
    uint32_t rounds = (uint32_t)strtoul(argv[2], NULL, 10);
    for (size_t at = 0; at + 4 <= size;) {
        uint32_t length;
        memcpy(&length, data + at, 4);
        for (uint32_t round = 0; round < rounds; round++) {
            uint32_t left = chance(4) ? length : chance(length);
            uint8_t *sample = malloc(left + 1);
            if (!sample) return 3;
            memcpy(sample, data + at + 4, left);
            for (uint32_t i = chance(6); i && left; i--) {
                uint32_t place = chance(2) ? chance(left) : chance(left < 70 ? left : 70);
                sample[place] = (uint8_t)chance(256);
            }
            bool read;
            if (json) {
                struct nn_metadata *found = nn_metadata_parse((char *)sample, left);
                read = found != NULL;
                nn_metadata_free(found);
            } else {
                NN_IMAGE(picture);
                NN_TENSOR(tensor);
                read = nn_image_decode(&picture, sample, left);
                struct nn_preprocess small = nn_preprocess_defaults;
                small.width = small.height = 4;
                small.resize = NN_NEAREST;
                if (read && !nn_preprocess_image(&small, &picture, &tensor)) return 4;
            }
            if (!read && !nn_error.text[0]) return 5;
            nn_error.text[0] = 0;
            read ? good++ : bad++;
            free(sample);
        }
        at += 4 + length;
    }
    printf("%u good, %u bad\n", (unsigned)good, (unsigned)bad);
    return 0;
}
