// SPDX-License-Identifier: Apache-2.0
// How a request and an answer of a guest that is served lie in memory: little-endian, from a multiple of 8 on.
// docs/serving-guests.md says it in words; serve.h is what most guests want. Needs no libc.
#ifndef NN_SERVE_MESSAGE_H
#define NN_SERVE_MESSAGE_H

#include <stdint.h>

#define NN_MESSAGE_MAGIC 0x31746e77u  // "wnt1"
#define NN_REFUSAL_MAGIC 0x31656e77u  // "wne1"; then `count` bytes of text

struct nn_message {
    uint32_t magic, count;  // then so many tensors
};

// Then `rank` dims of 8 bytes, the name and the datatype, zeros up to a multiple of 8, the data, and zeros again.
struct nn_message_tensor {
    uint32_t name_size, datatype_size, rank, reserved;
    uint64_t data_size;
};

_Static_assert(sizeof(struct nn_message) == 8, "a message begins with two words");
_Static_assert(sizeof(struct nn_message_tensor) == 24, "a tensor begins with six words");

#define NN_MESSAGE_PADDED(size) (((uint64_t)(size) + 7) & ~(uint64_t)7)

// What a reactor exports: where a request of so many bytes can be written (0: nowhere), and its answer: the place
// in the upper half, the length in the lower, or 0 where the guest failed.
#define NN_EXPORT_ALLOC __attribute__((export_name("wasinn_alloc")))
#define NN_EXPORT_HANDLE __attribute__((export_name("wasinn_handle")))
#define NN_ANSWER(place, size) ((uint64_t)(uintptr_t)(place) << 32 | (uint32_t)(size))

#endif
