// SPDX-License-Identifier: Apache-2.0
#include "serve.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

static const char BYTES[] = "BYTES";

// ---- The request ----

static bool cut_off(void) { return nn_fail(NN_INVALID_ARGUMENT, "the request is no message, or is cut off"); }

// What lies in a message behind the head at `at`; where the next tensor is, or 0.
static uint64_t next_of(const struct nn_message_tensor *head, uint64_t at, uint64_t size, uint64_t *data) {
    uint64_t words = at + sizeof *head + 8 * (uint64_t)head->rank;
    *data = NN_MESSAGE_PADDED(words + head->name_size + head->datatype_size);
    if (*data > size || head->data_size > size - *data) return 0;
    uint64_t next = *data + NN_MESSAGE_PADDED(head->data_size);
    return next <= size ? next : 0;
}

static bool fill(struct nn_request_tensor *to, const uint8_t *message, uint64_t at, char **words) {
    struct nn_message_tensor head;
    memcpy(&head, message + at, sizeof head);
    const uint8_t *dims = message + at + sizeof head, *text = dims + 8 * (size_t)head.rank;
    to->name = *words;
    memcpy(*words, text, head.name_size);
    *words += head.name_size;
    *(*words)++ = 0;
    to->datatype = *words;
    memcpy(*words, text + head.name_size, head.datatype_size);
    *words += head.datatype_size;
    *(*words)++ = 0;
    if (head.rank > NN_MAX_RANK)
        return nn_fail(NN_INVALID_ARGUMENT, "the input '%s' has %u dims, and %d are the most here", to->name,
                       (unsigned)head.rank, NN_MAX_RANK);
    to->tensor = (struct nn_tensor){.rank = head.rank, .size = (size_t)head.data_size};
    to->tensor.type = strcmp(to->datatype, BYTES) ? nn_type_of_name(to->datatype) : NN_NO_TYPE;
    for (uint32_t i = 0; i < head.rank; i++) {
        uint64_t dim;
        memcpy(&dim, dims + 8 * i, sizeof dim);
        if (dim > UINT32_MAX)
            return nn_fail(NN_INVALID_ARGUMENT, "a dim of the input '%s' is more than 32 bits", to->name);
        to->tensor.dims[i] = (uint32_t)dim;
    }
    return true;
}

// The tensors of a message, whose data stay where they are; one block of memory, `request->tensors`.
static bool parse(struct nn_request *request, const uint8_t *message, uint64_t size) {
    struct nn_message start;
    struct nn_message_tensor head;
    if (size < sizeof start) return cut_off();
    memcpy(&start, message, sizeof start);
    if (start.magic != NN_MESSAGE_MAGIC) return cut_off();
    uint64_t at = sizeof start, data = 0, block = 0;
    for (uint32_t i = 0; i < start.count; i++) {
        if (at > size || size - at < sizeof head) return cut_off();
        memcpy(&head, message + at, sizeof head);
        block += sizeof *request->tensors + head.name_size + head.datatype_size + 2;
        at = next_of(&head, at, size, &data);
        if (!at) return cut_off();
    }
    request->count = start.count;
    request->tensors = malloc((size_t)block + 1);
    if (!request->tensors) return nn_fail_memory("the request");
    char *words = (char *)(request->tensors + start.count);
    at = sizeof start;
    for (uint32_t i = 0; i < start.count; i++) {
        if (!fill(&request->tensors[i], message, at, &words)) return false;
        memcpy(&head, message + at, sizeof head);
        at = next_of(&head, at, size, &data);
        request->tensors[i].tensor.data = (void *)(message + data);
    }
    return true;
}

const struct nn_request_tensor *nn_request_find(const struct nn_request *request, const char *name) {
    char known[256] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < request->count; i++) {
        const struct nn_request_tensor *each = &request->tensors[i];
        if (!strcmp(each->name, name)) return each;
        if (at < sizeof known)
            at += (size_t)snprintf(known + at, sizeof known - at, "%s'%s'", i ? ", " : "", each->name);
    }
    nn_fail(NN_NOT_FOUND, "the request has no input '%s'; it has %s", name, request->count ? known : "none");
    return NULL;
}

// By their numbers, from nn_type.
static const char *datatype_of(uint8_t type) {
    static const char *const datatypes[] = {"FP16", "FP32", "FP64", "UINT8", "INT32", "INT64"};
    static const char *const more[] = {"BF16", "INT8", "UINT16", "INT16", "UINT32", "UINT64", "BOOL"};
    return type <= NN_I64 ? datatypes[type] : more[type - NN_BF16];
}

const struct nn_tensor *nn_request_tensor(const struct nn_request *request, const char *name, uint8_t type) {
    const struct nn_request_tensor *found = nn_request_find(request, name);
    if (!found) return NULL;
    if (type == NN_NO_TYPE || found->tensor.type == type) return &found->tensor;
    nn_fail(NN_INVALID_ARGUMENT, "the input '%s' is %s, and must be %s", name, found->datatype,
            nn_type_size(type) ? datatype_of(type) : "of a type that there is");
    return NULL;
}

size_t nn_request_strings(const struct nn_request_tensor *each) {
    if (strcmp(each->datatype, BYTES)) return 0;
    size_t count = 1;
    for (uint32_t i = 0; i < each->tensor.rank; i++) count *= each->tensor.dims[i];
    return count;
}

bool nn_request_string(const struct nn_request_tensor *each, size_t index, struct nn_string *string) {
    const uint8_t *all = each->tensor.data;
    size_t at = 0, total = each->tensor.size;
    if (index >= nn_request_strings(each))
        return nn_fail(NN_INVALID_ARGUMENT, "the input '%s' (%s %s) has no element %u of BYTES", each->name,
                       each->datatype, nn_dims_text(each->tensor.rank, each->tensor.dims), (unsigned)index);
    for (size_t i = 0;; i++) {
        uint32_t length;
        if (total - at < sizeof length) return cut_off();
        memcpy(&length, all + at, sizeof length);
        at += sizeof length;
        if (length > total - at) return cut_off();
        if (i == index) {
            *string = (struct nn_string){all + at, length};
            return true;
        }
        at += length;
    }
}

// ---- The answer ----

static bool add_zeros(struct nn_text *message) {
    static const char zeros[8];
    return nn_text_add(message, zeros, -message->size % 8);
}

static bool add_start(struct nn_text *message) {
    struct nn_message start = {NN_MESSAGE_MAGIC, 0};
    return message->size || nn_text_add(message, (const char *)&start, sizeof start);
}

// All of a tensor but its data.
static bool add_head(struct nn_answer *answer, const char *name, const char *datatype, uint32_t rank,
                     const uint32_t *dims, uint64_t size) {
    struct nn_text *message = &answer->message;
    if (!add_start(message)) return false;
    struct nn_message_tensor head = {(uint32_t)strlen(name), (uint32_t)strlen(datatype), rank, 0, size};
    bool good = nn_text_add(message, (const char *)&head, sizeof head);
    for (uint32_t i = 0; good && i < rank; i++) {
        uint64_t dim = dims[i];
        good = nn_text_add(message, (const char *)&dim, sizeof dim);
    }
    good = good && nn_text_add_string(message, name) && nn_text_add_string(message, datatype);
    return good && add_zeros(message);
}

// Counts the tensor that was added; takes it away again where there was no memory for all of it.
static bool finish(struct nn_answer *answer, size_t before, bool good) {
    if (!good) {
        answer->message.size = before;
        return false;
    }
    answer->count++;
    memcpy(answer->message.data + offsetof(struct nn_message, count), &answer->count, sizeof answer->count);
    return true;
}

bool nn_answer_tensor(struct nn_answer *answer, const char *name, const struct nn_tensor *tensor) {
    if (!nn_tensor_check(tensor, "answer")) return false;
    size_t before = answer->message.size;
    bool good = add_head(answer, name, datatype_of(tensor->type), tensor->rank, tensor->dims, tensor->size) &&
                nn_text_add(&answer->message, tensor->data, tensor->size) && add_zeros(&answer->message);
    return finish(answer, before, good);
}

bool nn_answer_strings(struct nn_answer *answer, const char *name, uint32_t rank, const uint32_t *dims,
                       const struct nn_string *strings) {
    uint64_t count = 1, size = 0;
    for (uint32_t i = 0; i < rank; i++) count *= dims[i];
    for (uint64_t i = 0; i < count; i++) size += sizeof(uint32_t) + strings[i].size;
    struct nn_text *message = &answer->message;
    size_t before = message->size;
    bool good = add_head(answer, name, BYTES, rank, dims, size);
    for (uint64_t i = 0; good && i < count; i++) {
        uint32_t length = (uint32_t)strings[i].size;
        good = nn_text_add(message, (const char *)&length, sizeof length) &&
               nn_text_add(message, strings[i].data, length);
    }
    return finish(answer, before, good && add_zeros(message));
}

bool nn_answer_texts(struct nn_answer *answer, const char *name, uint32_t rank, const uint32_t *dims,
                     const char *const *texts) {
    uint64_t count = 1;
    for (uint32_t i = 0; i < rank; i++) count *= dims[i];
    struct nn_string *strings = malloc(((size_t)count + 1) * sizeof *strings);
    if (!strings) return nn_fail_memory("an answer");
    for (uint64_t i = 0; i < count; i++) strings[i] = (struct nn_string){texts[i], strlen(texts[i])};
    bool good = nn_answer_strings(answer, name, rank, dims, strings);
    free(strings);
    return good;
}

bool nn_answer_refuse(struct nn_answer *answer, const char *format, ...) {
    char text[NN_ERROR_SIZE];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    struct nn_message head = {NN_REFUSAL_MAGIC, (uint32_t)strlen(text)};
    nn_text_clear(&answer->message);
    answer->count = 0;
    return nn_text_add(&answer->message, (const char *)&head, sizeof head) &&
           nn_text_add_string(&answer->message, text);
}

// ---- How a guest is called ----

// Answers a message; false and an error on stderr where that fails.
static bool answer_message(nn_handler *handler, const void *message, uint32_t size, struct nn_answer *answer) {
    struct nn_request request = {0};
    bool good;
    if (!parse(&request, message, size))
        good = nn_answer_refuse(answer, "%s", nn_error.text);
    else
        good = handler(&request, answer);
    free(request.tensors);
    good = good && add_start(&answer->message);  // no tensors are an answer too
    if (!good) {
        char line[NN_ERROR_SIZE + 1];
        int length = snprintf(line, sizeof line, "%s\n", *nn_error.text ? nn_error.text : "it failed");
        for (ssize_t at = 0, wrote; at < length; at += wrote)
            if ((wrote = write(STDERR_FILENO, line + at, (size_t)(length - at))) <= 0) break;
    }
    return good;
}

void *nn_serve_alloc(uint32_t size) { return malloc(size ? size : 1); }

uint64_t nn_serve_handle(nn_handler *handler, const void *message, uint32_t size) {
    struct nn_answer answer = {0};  // its memory goes with the instance, after the host has read it
    if (!answer_message(handler, message, size, &answer)) return 0;
    return NN_ANSWER(answer.message.data, answer.message.size);
}

// All of stdin, for the caller to free; NULL and an error otherwise.
static uint8_t *read_stdin(size_t *size) {
    size_t capacity = 64 * 1024;
    uint8_t *data = malloc(capacity);
    for (*size = 0; data;) {
        ssize_t got = read(STDIN_FILENO, data + *size, capacity - *size);
        if (got <= 0) break;
        *size += (size_t)got;
        if (*size < capacity) continue;
        capacity *= 2;
        uint8_t *larger = capacity < (size_t)1 << 31 ? realloc(data, capacity) : NULL;
        if (!larger) free(data);
        data = larger;
    }
    if (!data) nn_fail_memory("the request");
    return data;
}

int nn_serve_command(nn_handler *handler) {
    struct nn_answer answer = {0};
    size_t size;
    uint8_t *message = read_stdin(&size);
    if (!message || !answer_message(handler, message, (uint32_t)size, &answer)) return 1;
    for (size_t at = 0; at < answer.message.size;) {
        ssize_t wrote = write(STDOUT_FILENO, answer.message.data + at, answer.message.size - at);
        if (wrote <= 0) return 1;
        at += (size_t)wrote;
    }
    return 0;
}

const char *nn_serve_argument(uint32_t index) {
    static uint8_t **words;
    static __wasi_size_t count;
    if (!words) {
        __wasi_size_t size;
        if (__wasi_args_sizes_get(&count, &size)) return NULL;
        uint8_t **found = malloc(count * sizeof *found + size + 1);
        if (!found || __wasi_args_get(found, (uint8_t *)(found + count))) return free(found), NULL;
        words = found;
    }
    return index < count ? (const char *)words[index] : NULL;
}
