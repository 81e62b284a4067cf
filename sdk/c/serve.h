// SPDX-License-Identifier: Apache-2.0
// Guests that `wasinn serve` answers requests with: one function gets the request's tensors and makes the answer's.
// docs/serving-guests.md has the whole picture.
//
//     static bool answer(const struct nn_request *request, struct nn_answer *answer) {
//         const struct nn_tensor *x = nn_request_tensor(request, "x", NN_F32);
//         if (!x) return nn_answer_refuse(answer, "%s", nn_error.text);
//         NN_GRAPH(graph);
//         NN_CONTEXT(context);
//         NN_TENSOR(y);
//         return nn_graph_by_name(&graph, "model") && nn_context_open(&context, &graph) &&
//                nn_input_set(&context, 0, x) && nn_context_compute(&context) &&
//                nn_output_get(&context, 0, &y) && nn_answer_tensor(answer, "y", &y);
//     }
//     NN_SERVE(answer)
//
// Built with -mexec-model=reactor the server calls it; with -DNN_SERVE_COMMAND, and not as a reactor, it is a command
// that reads the request from stdin and writes the answer to stdout.
#ifndef NN_SERVE_H
#define NN_SERVE_H

#include "serve_message.h"
#include "tensor.h"
#include "text.h"

struct nn_request_tensor {
    const char *name, *datatype;  // the datatype of the Open Inference Protocol: "FP32", "BYTES"
    struct nn_tensor tensor;      // its data lies in the request. Of BYTES the type is NN_NO_TYPE
};

// An element of a tensor of BYTES.
struct nn_string {
    const void *data;
    size_t size;
};

struct nn_request {
    uint32_t count;
    struct nn_request_tensor *tensors;
};

// The tensor of that name, or NULL and an error that lists what there is.
const struct nn_request_tensor *nn_request_find(const struct nn_request *request, const char *name);
// The same where it must have that type (NN_NO_TYPE: any).
const struct nn_tensor *nn_request_tensor(const struct nn_request *request, const char *name, uint8_t type);
// How many elements a tensor of BYTES has; 0 for another.
size_t nn_request_strings(const struct nn_request_tensor *tensor);
// Element `index` of a tensor of BYTES, where it lies: a file, a text without a 0 behind it.
bool nn_request_string(const struct nn_request_tensor *tensor, size_t index, struct nn_string *string);

struct nn_answer {
    struct nn_text message;
    uint32_t count;
};

// Each copies; false where there is no memory, or the tensor's dims and bytes do not belong together.
bool nn_answer_tensor(struct nn_answer *answer, const char *name, const struct nn_tensor *tensor);
// A tensor of BYTES of as many strings as the dims say; the second of texts that end with a 0.
bool nn_answer_strings(struct nn_answer *answer, const char *name, uint32_t rank, const uint32_t *dims,
                       const struct nn_string *strings);
bool nn_answer_texts(struct nn_answer *answer, const char *name, uint32_t rank, const uint32_t *dims,
                     const char *const *texts);
// The request is at fault, and the caller gets these words (400). True: a refusal is an answer.
__attribute__((format(printf, 2, 3))) bool nn_answer_refuse(struct nn_answer *answer, const char *format, ...);

// False: the guest failed, and nn_error says why; the caller gets 500, with those words.
typedef bool nn_handler(const struct nn_request *request, struct nn_answer *answer);

// The words behind the guest's name in `args`: 1 is the first of them. NULL where there are fewer.
const char *nn_serve_argument(uint32_t index);

// For NN_SERVE.
void *nn_serve_alloc(uint32_t size);
uint64_t nn_serve_handle(nn_handler *handler, const void *message, uint32_t size);
int nn_serve_command(nn_handler *handler);

#ifdef NN_SERVE_COMMAND
#define NN_SERVE(handler) \
    int main(void) { return nn_serve_command(handler); }
#else
#define NN_SERVE(handler)                                                                 \
    NN_EXPORT_ALLOC void *nn_exported_alloc(uint32_t size) { return nn_serve_alloc(size); } \
    NN_EXPORT_HANDLE uint64_t nn_exported_handle(const void *message, uint32_t size) {      \
        return nn_serve_handle(handler, message, size);                                     \
    }
#endif

#endif
