// SPDX-License-Identifier: Apache-2.0
// The checksums of PNG and of zlib.
#ifndef NN_CHECKSUM_H
#define NN_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint32_t nn_crc32(const uint8_t *data, size_t size);
uint32_t nn_adler32(const uint8_t *data, size_t size);

#endif
