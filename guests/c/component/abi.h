// SPDX-License-Identifier: Apache-2.0
// The canonical ABI of components as wasm32 C sees it.
//
// A list or a string is an address and a count. A resource is a number: `own` says that whoever has it must
// drop it or give it away, `borrow` that it is lent for the length of a call. What a call returns is one
// word, or it is written to where the last parameter points. What the host writes lies in memory from
// `cabi_realloc`, and is the guest's to free.
#ifndef COMPONENT_ABI_H
#define COMPONENT_ABI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define IMPORT(interface, name) __attribute__((import_module(interface), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

struct list {
    void *data;
    uint32_t size;  // the count of its items
};

// result<T, E> where both fit in two words: `failed`, then T or E.
struct result {
    uint8_t failed;
    union {
        uint32_t handle;
        struct list list;
        uint8_t code;
    };
};

_Static_assert(sizeof(struct list) == 8, "a list is two words");
_Static_assert(sizeof(struct result) == 12, "a result of a list is three words");

void *cabi_realloc(void *old, size_t old_size, size_t alignment, size_t size);

#endif
