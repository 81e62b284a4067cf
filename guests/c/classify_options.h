// SPDX-License-Identifier: Apache-2.0
// The command line of classify.
#ifndef CLASSIFY_OPTIONS_H
#define CLASSIFY_OPTIONS_H

#include "options.h"

enum softmax { SOFTMAX_AUTO, SOFTMAX_YES, SOFTMAX_NO };

struct options {
    struct model_choice model;
    struct nn_preprocess input;
    bool input_given;  // any option of the input: then all of it is as the options say
    bool range_given;  // --range, --mean or --std
    const char *labels_path;
    long label_offset;
    bool label_offset_given;
    long top;
    enum softmax softmax;
    bool u8_scores, output_type_given;
    bool tsv;
};

// Fills `options` and moves the pictures to the front of `argv`; their count. Ends the program where the line
// is wrong.
int read_options(int argc, char **argv, struct options *options);

#endif
