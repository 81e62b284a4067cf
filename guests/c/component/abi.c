// SPDX-License-Identifier: Apache-2.0
#include "abi.h"

// The host calls this for what it writes. There is no way to answer that memory has run out but a trap.
EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t alignment, size_t size) {
    (void)old_size;
    // Nothing needs memory, but it must not be NULL, and must be aligned. free() of it would be wrong:
    // whoever frees a list looks at its count first.
    if (!size) return (void *)alignment;
    void *made = realloc(old_size ? old : NULL, size);
    if (!made) __builtin_trap();
    return made;
}
