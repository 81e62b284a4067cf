// SPDX-License-Identifier: Apache-2.0
// A command that is served: each input comes back as it was read. An input "fail" is the guest's failure.
#define NN_SERVE_COMMAND
#include <serve.h>
#include <stdlib.h>
#include <string.h>

static bool echo_strings(const struct nn_request_tensor *each, struct nn_answer *answer) {
    size_t count = nn_request_strings(each);
    struct nn_string *strings = calloc(count + 1, sizeof *strings);
    for (size_t i = 0; i < count; i++)
        if (!nn_request_string(each, i, &strings[i])) return false;
    return nn_answer_strings(answer, each->name, each->tensor.rank, each->tensor.dims, strings);
}

static bool echo(const struct nn_request *request, struct nn_answer *answer) {
    for (uint32_t i = 0; i < request->count; i++) {
        const struct nn_request_tensor *each = &request->tensors[i];
        if (!strcmp(each->name, "fail")) return nn_fail(NN_RUNTIME_ERROR, "it failed as it was asked to");
        bool good = strcmp(each->datatype, "BYTES") ? nn_answer_tensor(answer, each->name, &each->tensor)
                                                    : echo_strings(each, answer);
        if (!good) return false;
    }
    return nn_request_find(request, "wanted") || nn_answer_refuse(answer, "%s", nn_error.text);
}

NN_SERVE(echo)
