// SPDX-License-Identifier: Apache-2.0
#include "file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Twice as much would not be a size any more.
static const size_t MOST_BYTES = (size_t)1 << 31;

bool nn_file_read(const char *path, uint8_t **data, size_t *size) {
    *data = NULL;
    *size = 0;
    FILE *file = fopen(path, "rb");
    bool good = file != NULL;
    size_t capacity = 0;
    while (good) {
        if (*size + 1 >= capacity) {
            capacity = capacity ? capacity * 2 : 64 * 1024;
            uint8_t *larger = capacity <= MOST_BYTES ? realloc(*data, capacity) : NULL;
            if (!larger) {
                errno = ENOMEM;
                good = false;
                break;
            }
            *data = larger;
        }
        size_t got = fread(*data + *size, 1, capacity - 1 - *size, file);
        *size += got;
        if (!got) {
            good = !ferror(file);
            break;
        }
    }
    if (good) {
        (*data)[*size] = 0;
    } else {
        const char *hint = errno == ENOENT ? " (a guest sees only what --dir gives it)" : "";
        nn_fail(NN_NOT_FOUND, "%s: %s%s", path, strerror(errno), hint);
        free(*data);
        *data = NULL;
        *size = 0;
    }
    if (file) fclose(file);
    return good;
}

bool nn_file_write(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    bool good = file && (!size || fwrite(data, 1, size, file) == size);
    int why = good ? 0 : errno;
    if (file && fclose(file) && good) {
        good = false;
        why = errno;
    }
    // A directory that may not be written to shows in several errors, of which none says it.
    if (!good)
        nn_fail(NN_RUNTIME_ERROR, "%s cannot be written: %s%s", path, strerror(why),
                file ? "" : " (is its directory given with :rw?)");
    return good;
}
