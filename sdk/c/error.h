// SPDX-License-Identifier: Apache-2.0
// What failed last, in words.
#ifndef NN_ERROR_H
#define NN_ERROR_H

#include "wasi_nn.h"

#include <stdbool.h>
#include <stddef.h>

enum { NN_ERROR_SIZE = 2048 };

// Every function of the SDK that returns false or NULL has said here why:
//
//   set_input answered invalid_argument (1): input 0 ('x') is [1,4], and the tensor [1,5]   the host's reason
//   init_execution_context: invalid_argument: the graph is closed                             the SDK's own
//   /p/cat.png: its compressed data ends too early                                            a file
struct nn_error {
    uint32_t code;  // an nn_errno
    char text[NN_ERROR_SIZE];
};

// Good until the next failure. A core module has one thread.
extern struct nn_error nn_error;

// Sets nn_error and returns false. What does not fit is cut off.
__attribute__((format(printf, 2, 3))) bool nn_fail(uint32_t code, const char *format, ...);

// As nn_fail, for what the SDK refuses by itself: "CALL: ERRNO: ...".
__attribute__((format(printf, 3, 4))) bool nn_refuse(uint32_t code, const char *call, const char *format,
                                                     ...);

// Sets nn_error to what the host answered to `call`, with its reason where it gives one; returns false.
bool nn_fail_call(const char *call, uint32_t code);

// As nn_fail, for a lack of memory for `what`.
bool nn_fail_memory(const char *what);

#endif
