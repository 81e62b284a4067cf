// SPDX-License-Identifier: Apache-2.0
// Whole files.
#ifndef NN_FILE_H
#define NN_FILE_H

#include "error.h"

// The file's bytes, for the caller to free, with a 0 behind them that `size` does not count.
bool nn_file_read(const char *path, uint8_t **data, size_t *size);
bool nn_file_write(const char *path, const void *data, size_t size);

#endif
