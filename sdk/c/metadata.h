// SPDX-License-Identifier: Apache-2.0
// What a graph takes and gives. Where the host knows a contract, that is what it says; otherwise what the
// model's file says, and what is likely of a picture.
#ifndef NN_METADATA_H
#define NN_METADATA_H

#include "preprocess.h"

struct nn_port {
    const char *name;           // the model's own
    const char *contract_name;  // the contract's, or NULL
    uint8_t type;               // NN_NO_TYPE: any
    int rank;                   // -1: any
    int64_t dims[NN_MAX_RANK];  // -1: any
    struct nn_quantization quantization;
    const struct nn_json *json;  // its entry in the model's metadata
};

struct nn_input {
    struct nn_port port;
    bool is_image;
    struct nn_preprocess preprocess;  // of a picture; its quantization is what values are to be sent with
};

struct nn_output {
    struct nn_port port;
    const char *kind;    // "logits" "probabilities" "mask" "boxes" "raw", or NULL: nobody said
    const char *layout;  // of a mask
    const char **labels;
    uint32_t label_count;
    long label_offset;
};

struct nn_metadata {
    bool has_contract;
    uint32_t input_count, output_count;
    struct nn_input *inputs;  // by the model's indices
    struct nn_output *outputs;
    struct nn_json *json;  // all of it
};

// From the host's JSON. nn_metadata_free frees it.
struct nn_metadata *nn_metadata_parse(const char *text, size_t size);
void nn_metadata_free(struct nn_metadata *metadata);

// The index of a name (the model's, the contract's, or an alias), or -1 and an error that lists what there
// is.
int nn_find_input(const struct nn_metadata *metadata, const char *name);
int nn_find_output(const struct nn_metadata *metadata, const char *name);

// The first input that is a picture, or -1 and an error.
int nn_image_input(const struct nn_metadata *metadata);
// The first output of that kind; otherwise the first of which nobody said what it is; otherwise -1 and an
// error.
int nn_output_of_kind(const struct nn_metadata *metadata, const char *kind, const char *or_kind);

// What class `class` is called, or NULL.
const char *nn_label(const struct nn_output *output, size_t class);

// How many pictures the input takes at once: 0 for any number.
uint32_t nn_batch_of(const struct nn_input *input);

// A quantization from its JSON, {"scale": [...], "zero_point": [...], "axis": 1}; free() its scales.
bool nn_quantization_read(const struct nn_json *json, struct nn_quantization *quantization);

#endif
