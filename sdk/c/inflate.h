// SPDX-License-Identifier: Apache-2.0
#ifndef NN_INFLATE_H
#define NN_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Decompresses one zlib stream (RFC 1950) that must hold exactly `output_size` bytes.
bool nn_zlib_inflate(const uint8_t *input, size_t input_size, uint8_t *output, size_t output_size,
                  const char **error);

#endif
