// SPDX-License-Identifier: Apache-2.0
#include "tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct type {
    uint8_t number, size, to_send;
    const char *name, *other_name;  // the second is the Open Inference Protocol's
};

static const struct type types[] = {
    {NN_F16, 2, NN_F16, "f16", "FP16"},   {NN_F32, 4, NN_F32, "f32", "FP32"},
    {NN_F64, 8, NN_F64, "f64", "FP64"},   {NN_U8, 1, NN_U8, "u8", "UINT8"},
    {NN_I32, 4, NN_I32, "i32", "INT32"},  {NN_I64, 8, NN_I64, "i64", "INT64"},
    {NN_BF16, 2, NN_F16, "bf16", "BF16"}, {NN_I8, 1, NN_U8, "i8", "INT8"},
    {NN_U16, 2, NN_F16, "u16", "UINT16"}, {NN_I16, 2, NN_F16, "i16", "INT16"},
    {NN_U32, 4, NN_I32, "u32", "UINT32"}, {NN_U64, 8, NN_I64, "u64", "UINT64"},
    {NN_BOOL, 1, NN_U8, "bool", "BOOL"},
};

static const struct type *type_of(uint8_t number) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].number == number) return &types[i];
    return NULL;
}

uint32_t nn_type_size(uint8_t type) {
    const struct type *found = type_of(type);
    return found ? found->size : 0;
}

const char *nn_type_name(uint8_t type) {
    const struct type *found = type_of(type);
    return found ? found->name : "no type";
}

uint8_t nn_type_to_send(uint8_t type) {
    const struct type *found = type_of(type);
    return found ? found->to_send : type;
}

uint8_t nn_type_of_name(const char *name) {
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, name) || !strcmp(types[i].other_name, name)) return types[i].number;
    return NN_NO_TYPE;
}

const char *nn_dims_text(uint32_t rank, const uint32_t *dims) {
    static char texts[2][NN_MAX_RANK * 11 + 3];
    static int turn;
    char *text = texts[turn ^= 1], *at = text;
    *at++ = '[';
    for (uint32_t i = 0; i < rank && i < NN_MAX_RANK; i++)
        at += snprintf(at, 12, i ? ",%u" : "%u", (unsigned)dims[i]);
    *at++ = ']';
    *at = 0;
    return text;
}

// The bytes that dims and a type take, or UINT64_MAX where that is more than a guest's memory.
static uint64_t bytes_of(uint8_t type, uint32_t rank, const uint32_t *dims) {
    uint64_t bytes = nn_type_size(type);
    for (uint32_t i = 0; i < rank; i++)
        if (!dims[i]) return 0;
    for (uint32_t i = 0; i < rank; i++) {
        bytes *= dims[i];
        if (bytes > UINT32_MAX) return UINT64_MAX;
    }
    return bytes;
}

static bool check(const char *call, uint8_t type, uint32_t rank, const uint32_t *dims, uint64_t *bytes) {
    if (!type_of(type)) return nn_refuse(NN_INVALID_ARGUMENT, call, "%u is no tensor type", (unsigned)type);
    if (rank > NN_MAX_RANK)
        return nn_refuse(NN_INVALID_ARGUMENT, call, "a tensor has at most %d dims, not %u", NN_MAX_RANK,
                         (unsigned)rank);
    *bytes = bytes_of(type, rank, dims);
    if (*bytes == UINT64_MAX)
        return nn_refuse(NN_TOO_LARGE, call, "%s %s is more than 4 GiB", nn_type_name(type),
                         nn_dims_text(rank, dims));
    return true;
}

bool nn_tensor_check(const struct nn_tensor *t, const char *call) {
    uint64_t bytes;
    if (!check(call, t->type, t->rank, t->dims, &bytes)) return false;
    if (bytes && !t->data)
        return nn_refuse(NN_INVALID_ARGUMENT, call, "the tensor has no data: it was freed, or never made");
    if (bytes != t->size)
        return nn_refuse(NN_INVALID_ARGUMENT, call, "%s %s takes %u bytes, and the tensor has %u",
                         nn_type_name(t->type), nn_dims_text(t->rank, t->dims), (unsigned)bytes,
                         (unsigned)t->size);
    return true;
}

static void describe(struct nn_tensor *t, uint8_t type, uint32_t rank, const uint32_t *dims) {
    t->type = type;
    t->rank = rank;
    if (rank) memmove(t->dims, dims, rank * sizeof *dims);
}

bool nn_tensor_reserve(struct nn_tensor *t, size_t size) {
    t->size = 0;
    if (size <= t->capacity) return true;
    if (t->capacity) free(t->data);
    t->capacity = 0;
    t->data = malloc(size);
    if (!t->data) return nn_fail_memory("a tensor");
    t->capacity = size;
    return true;
}

bool nn_tensor_new(struct nn_tensor *t, uint8_t type, uint32_t rank, const uint32_t *dims) {
    uint64_t bytes;
    if (!check("tensor", type, rank, dims, &bytes)) return false;
    if (!nn_tensor_reserve(t, (size_t)bytes)) return false;
    describe(t, type, rank, dims);
    t->size = (size_t)bytes;
    if (bytes) memset(t->data, 0, (size_t)bytes);
    return true;
}

bool nn_tensor_of(struct nn_tensor *t, uint8_t type, uint32_t rank, const uint32_t *dims, const void *data,
                  size_t size) {
    uint64_t bytes;
    if (!check("tensor", type, rank, dims, &bytes)) return false;
    if (bytes != size)
        return nn_refuse(NN_INVALID_ARGUMENT, "tensor", "%s %s takes %u bytes, and %u were given",
                         nn_type_name(type), nn_dims_text(rank, dims), (unsigned)bytes, (unsigned)size);
    if (t->capacity && t->data == data)
        return nn_refuse(NN_INVALID_ARGUMENT, "tensor",
                         "the data is the tensor's own: nn_tensor_as says what it is");
    describe(t, type, rank, dims);  // first: the dims may be its own
    if (t->capacity) free(t->data);
    t->capacity = 0;
    t->data = (void *)data;  // written to by nobody: its capacity is 0
    t->size = size;
    return true;
}

void nn_tensor_free(struct nn_tensor *t) {
    if (t->capacity) free(t->data);
    *t = (struct nn_tensor){0};
}

size_t nn_tensor_count(const struct nn_tensor *t) {
    uint32_t size = nn_type_size(t->type);
    return size ? t->size / size : 0;
}

const void *nn_tensor_values(const struct nn_tensor *t, uint8_t type, size_t *count) {
    *count = 0;
    if (!nn_tensor_check(t, "tensor")) return NULL;
    if (t->type != type) {
        nn_refuse(NN_INVALID_ARGUMENT, "tensor", "it is %s %s, and %s was asked for", nn_type_name(t->type),
                  nn_dims_text(t->rank, t->dims), nn_type_name(type));
        return NULL;
    }
    *count = nn_tensor_count(t);
    return *count ? t->data : "";  // an empty tensor is no failure
}

// -- numbers --

static double half_value(uint16_t half) {
    int exponent = half >> 10 & 31, fraction = half & 1023;
    double value = exponent == 31 ? (fraction ? NAN : INFINITY)
                   : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                  : ldexp(fraction, -24);
    return half >> 15 ? -value : value;
}

// f16 of an f32, halves to the even one.
static uint16_t half_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);   // NaN
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);  // rounds to 65536 or more
    if (magnitude < 0x38800000) {                                   // below 2^-14: subnormal
        float scaled = fabsf(value) * 16777216.0f;                  // 2^24: exact
        return (uint16_t)(sign | (uint32_t)rintf(scaled));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

static uint16_t brain_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

double nn_number(const void *data, uint8_t type, size_t index) {
    union {
        uint16_t u16;
        int16_t i16;
        float f32;
        double f64;
        uint8_t u8;
        int8_t i8;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        uint64_t u64;
    } v;
    uint32_t size = nn_type_size(type);
    memcpy(&v, (const uint8_t *)data + index * size, size);  // it need not be aligned
    switch (type) {
        case NN_F16: return half_value(v.u16);
        case NN_F32: return (double)v.f32;
        case NN_F64: return v.f64;
        case NN_BF16: v.u32 = (uint32_t)v.u16 << 16; return (double)v.f32;
        case NN_I8: return v.i8;
        case NN_U16: return v.u16;
        case NN_I16: return v.i16;
        case NN_I32: return v.i32;
        case NN_U32: return v.u32;
        case NN_I64: return (double)v.i64;
        case NN_U64: return (double)v.u64;
        default: return v.u8;
    }
}

// The limits of an integer type as doubles; those of 64 bits are one too large, and treated apart.
static bool limits(uint8_t type, double *low, double *high) {
    switch (type) {
        case NN_U8: *low = 0, *high = 255; return true;
        case NN_BOOL: *low = 0, *high = 1; return true;
        case NN_I8: *low = -128, *high = 127; return true;
        case NN_U16: *low = 0, *high = 65535; return true;
        case NN_I16: *low = -32768, *high = 32767; return true;
        case NN_I32: *low = -2147483648.0, *high = 2147483647.0; return true;
        case NN_U32: *low = 0, *high = 4294967295.0; return true;
        case NN_I64: *low = -9223372036854775808.0, *high = 9223372036854775808.0; return true;
        case NN_U64: *low = 0, *high = 18446744073709551616.0; return true;
        default: return false;
    }
}

void nn_store_number(void *data, uint8_t type, size_t index, double value) {
    uint32_t size = nn_type_size(type);
    uint8_t *at = (uint8_t *)data + index * size;
    double low, high;
    if (!limits(type, &low, &high)) {
        float f32 = (float)value;
        uint16_t u16 = type == NN_BF16 ? brain_of(f32) : half_of(f32);
        memcpy(at, type == NN_F64 ? (void *)&value : type == NN_F32 ? (void *)&f32 : (void *)&u16, size);
        return;
    }
    value = isnan(value) ? 0 : round(value);
    if (value < low) value = low;
    if (type == NN_U64) {
        uint64_t u64 = value >= high ? UINT64_MAX : (uint64_t)value;
        memcpy(at, &u64, size);
        return;
    }
    int64_t i64 = type == NN_I64 && value >= high ? INT64_MAX : (int64_t)(value > high ? high : value);
    memcpy(at, &i64, size);  // little-endian: the low bytes come first
}

// -- quantization --

// How many neighbours share an index of the axis, or 0 with an error where the quantization does not fit.
static size_t stride_of(const struct nn_tensor *t, const struct nn_quantization *q) {
    if (!q || !q->count || q->axis < 0 || q->count == 1) return nn_tensor_count(t) + 1;
    if ((uint32_t)q->axis >= t->rank || t->dims[q->axis] != q->count) {
        nn_fail(NN_INVALID_ARGUMENT, "the quantization has %u scales along dim %d, and the tensor is %s",
                (unsigned)q->count, q->axis, nn_dims_text(t->rank, t->dims));
        return 0;
    }
    size_t stride = 1;
    for (uint32_t i = (uint32_t)q->axis + 1; i < t->rank; i++) stride *= t->dims[i];
    return stride;
}

bool nn_dequantize(const struct nn_tensor *t, const struct nn_quantization *q, float *out) {
    return nn_dequantize_part(t, q, 0, nn_tensor_count(t), out);
}

bool nn_dequantize_part(const struct nn_tensor *t, const struct nn_quantization *q, size_t first,
                        size_t count, float *out) {
    if (!nn_tensor_check(t, "dequantize")) return false;
    size_t all = nn_tensor_count(t), stride = stride_of(t, q);
    if (first > all || count > all - first)
        return nn_refuse(NN_INVALID_ARGUMENT, "dequantize",
                         "%u elements from element %u were asked for, and there are %u",
                         (unsigned)count, (unsigned)first, (unsigned)all);
    if (count && !stride) return false;
    bool small = nn_type_size(t->type) <= 2;  // computed in f32, as TensorFlow Lite does
    for (size_t i = first; i < first + count; i++) {
        double value = nn_number(t->data, t->type, i);
        if (q && q->count) {
            size_t at = i / stride % q->count;
            if (small)
                value = (double)(((float)value - (float)q->zero_points[at]) * (float)q->scales[at]);
            else
                value = (value - q->zero_points[at]) * q->scales[at];
        }
        out[i - first] = (float)value;
    }
    return true;
}

bool nn_quantize(struct nn_tensor *t, const struct nn_quantization *q, const float *values) {
    if (!nn_tensor_check(t, "quantize")) return false;
    if (t->size && !t->capacity)
        return nn_refuse(NN_INVALID_ARGUMENT, "quantize", "the tensor's memory is not its own");
    size_t count = nn_tensor_count(t), stride = stride_of(t, q);
    if (count && !stride) return false;
    bool wide = nn_type_size(t->type) > 2;
    for (size_t i = 0; i < count; i++) {
        double value = (double)values[i];
        if (q && q->count) {
            size_t at = i / stride % q->count;
            value = wide ? value / q->scales[at] : (double)(values[i] / (float)q->scales[at]);
            value = (isnan(value) ? 0 : round(value)) + q->zero_points[at];
        }
        nn_store_number(t->data, t->type, i, value);
    }
    return true;
}
