// SPDX-License-Identifier: Apache-2.0
// Tensors: an element type, dims, and the bytes, last dim fastest.
#ifndef NN_TENSOR_H
#define NN_TENSOR_H

#include "error.h"

enum { NN_MAX_RANK = 8 };

// Types that models have and WASI-NN has no number for. Their bytes pass under the type of the same width: i8
// as u8, i16, u16 and bf16 as f16, u32 as i32, u64 as i64. A struct nn_tensor may have these; nn_input_set
// sends the other.
enum nn_more_types { NN_BF16 = 16, NN_I8, NN_U16, NN_I16, NN_U32, NN_U64, NN_BOOL, NN_NO_TYPE = 255 };

uint32_t nn_type_size(uint8_t type);            // bytes of one element; 0 for no type
const char *nn_type_name(uint8_t type);         // "f32"
uint8_t nn_type_of_name(const char *name);      // of "f32" or of "FP32"; NN_NO_TYPE for neither
uint8_t nn_type_to_send(uint8_t type);          // the nn_type of the same width

// A quantized tensor's numbers: real = scale * (number - zero_point). One pair for the whole tensor, or one
// for each index of the dimension `axis`.
struct nn_quantization {
    uint32_t count;  // 0: the tensor is not quantized
    int axis;        // -1: of the whole tensor
    const double *scales, *zero_points;
};

struct nn_tensor {
    uint8_t type;
    uint32_t rank;
    uint32_t dims[NN_MAX_RANK];
    void *data;
    size_t size;      // bytes
    size_t capacity;  // bytes of its own; 0 where `data` is someone else's
};

// A tensor that is freed at the end of its block.
#define NN_TENSOR(name) __attribute__((cleanup(nn_tensor_free))) struct nn_tensor name = {0}

// `tensor` is one from NN_TENSOR, all zeros, or used before: then its memory is used again.
// The first has values of 0; the second refers to the caller's `size` bytes, which must stay while it is
// used.
bool nn_tensor_new(struct nn_tensor *tensor, uint8_t type, uint32_t rank, const uint32_t *dims);
bool nn_tensor_of(struct nn_tensor *tensor, uint8_t type, uint32_t rank, const uint32_t *dims,
                  const void *data, size_t size);
void nn_tensor_free(struct nn_tensor *tensor);

// Room for `size` bytes; the content is lost.
bool nn_tensor_reserve(struct nn_tensor *tensor, size_t size);

// Whether the type, dims and bytes belong together. `call` is what the error names.
bool nn_tensor_check(const struct nn_tensor *tensor, const char *call);

size_t nn_tensor_count(const struct nn_tensor *tensor);  // elements
// "[1,3,224,224]", in a buffer that the call after the next writes over.
const char *nn_dims_text(uint32_t rank, const uint32_t *dims);

// The values, where the tensor has that type: NULL and an error otherwise.
const void *nn_tensor_values(const struct nn_tensor *tensor, uint8_t type, size_t *count);
static inline const float *nn_tensor_f32(const struct nn_tensor *tensor, size_t *count) {
    return nn_tensor_values(tensor, NN_F32, count);
}
static inline const double *nn_tensor_f64(const struct nn_tensor *tensor, size_t *count) {
    return nn_tensor_values(tensor, NN_F64, count);
}
static inline const uint8_t *nn_tensor_u8(const struct nn_tensor *tensor, size_t *count) {
    return nn_tensor_values(tensor, NN_U8, count);
}
static inline const int8_t *nn_tensor_i8(const struct nn_tensor *tensor, size_t *count) {
    return nn_tensor_values(tensor, NN_I8, count);
}
static inline const int32_t *nn_tensor_i32(const struct nn_tensor *tensor, size_t *count) {
    return nn_tensor_values(tensor, NN_I32, count);
}
static inline const int64_t *nn_tensor_i64(const struct nn_tensor *tensor, size_t *count) {
    return nn_tensor_values(tensor, NN_I64, count);
}

// One number of any type as a double: element `index` of `data`.
double nn_number(const void *data, uint8_t type, size_t index);
// A number as an element of any type: integers are rounded (halves away from zero) and saturated, NaN is 0.
void nn_store_number(void *data, uint8_t type, size_t index, double value);

// All of a tensor as real numbers of f32, dequantized where `quantization` is not NULL and has a scale. `out`
// has room for nn_tensor_count().
bool nn_dequantize(const struct nn_tensor *tensor, const struct nn_quantization *quantization, float *out);
// The same of `count` elements from element `first`.
bool nn_dequantize_part(const struct nn_tensor *tensor, const struct nn_quantization *quantization,
                        size_t first, size_t count, float *out);
// Real numbers as the tensor's: the way back, into its own memory. `values` are nn_tensor_count().
bool nn_quantize(struct nn_tensor *tensor, const struct nn_quantization *quantization, const float *values);

#endif
