// SPDX-License-Identifier: Apache-2.0
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nn_error nn_error;

static bool set(uint32_t code, const char *prefix, const char *format, va_list values) {
    // Aside first: a value may be the last error's own text.
    char text[NN_ERROR_SIZE];
    int size = snprintf(text, sizeof text, "%s", prefix);
    if (size >= 0 && (size_t)size < sizeof text)
        vsnprintf(text + size, sizeof text - (size_t)size, format, values);
    nn_error.code = code;
    memcpy(nn_error.text, text, sizeof text);
    return false;
}

bool nn_fail(uint32_t code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    set(code, "", format, values);
    va_end(values);
    return false;
}

bool nn_refuse(uint32_t code, const char *call, const char *format, ...) {
    char prefix[96];
    snprintf(prefix, sizeof prefix, "%s: %s: ", call, nn_errno_name(code));
    va_list values;
    va_start(values, format);
    set(code, prefix, format, values);
    va_end(values);
    return false;
}

bool nn_fail_memory(const char *what) {
    return nn_fail(NN_RUNTIME_ERROR, "there is not enough memory for %s", what);
}

#ifdef NN_HAS_WASINN
// The host's words as a string that the caller frees; NULL where there are none.
static char *reason(void) {
    uint32_t size = 512, written = 0;
    for (int attempt = 0; attempt < 2; attempt++) {
        char *text = malloc((size_t)size + 1);
        if (!text) return NULL;
        uint32_t code = nn_last_error(text, size, &written);
        if (!code && written && written <= size) {
            text[written] = 0;
            return text;
        }
        free(text);
        if (code != NN_TOO_LARGE || written <= size || written > 1u << 20) return NULL;
        size = written;
    }
    return NULL;
}

bool nn_fail_call(const char *call, uint32_t code) {
    char *words = reason();
    // A component has no numbers.
#ifdef NN_COMPONENT
    nn_fail(code, "%s answered %s: %s", call, nn_errno_name(code), words ? words : "it gave no reason");
#else
    nn_fail(code, "%s answered %s (%u): %s", call, nn_errno_name(code), (unsigned)code,
            words ? words : "it gave no reason");
#endif
    free(words);
    return false;
}
#else
bool nn_fail_call(const char *call, uint32_t code) {
    return nn_fail(code, "%s answered %s (%u); the host's log may say why", call, nn_errno_name(code),
                   (unsigned)code);
}
#endif
