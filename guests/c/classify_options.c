// SPDX-License-Identifier: Apache-2.0
#include "classify_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: classify [options] PICTURE...      (PNG, BMP, PBM, PGM or PPM)\n"
    "model\n"
    "  --name NAME          a model that the host has preloaded (default: default)\n"
    "  --model FILE         a model file instead; again for its further files\n"
    "  --encoding E         openvino onnx tensorflow pytorch tensorflowlite autodetect ggml\n"
    "                       (default: autodetect)\n"
    "  --target T           cpu gpu tpu\n"
    "input, where the graph has no contract that says it\n"
    "  --size HxW           default 224x224\n"
    "  --layout L           nchw (default) or nhwc\n"
    "  --colour C           rgb (default), bgr or gray\n"
    "  --type T             f32 (default) or u8\n"
    "  --range LO,HI        what 0 and 255 become, default 0,1\n"
    "  --mean A[,B,C]       subtracted after --range, in the tensor's channel order\n"
    "  --std A[,B,C]        divided by after --mean\n"
    "  --resize R           bilinear (default) or nearest\n"
    "  --crop N             resize the shorter side to N, then cut out the centre\n"
    "  --invert             dark becomes light\n"
    "output\n"
    "  --output-type T      f32 (default), or u8 where 255 means 1 (quantized models)\n"
    "  --softmax S          yes, no or auto (default: unless all scores are 0 to 1)\n"
    "  --top K              default 5\n"
    "  --labels FILE        one label on each line\n"
    "  --label-offset N     class 0 has line N of the labels, counted from 0\n"
    "  --tsv                picture, rank, class, score, label, with tabs between\n";

_Noreturn static void usage(const char *option, const char *problem) {
    fprintf(stderr, "classify: %s %s (classify --help lists the options)\n", option, problem);
    exit(2);
}

static int word(const char *option, const char *value, const char *const *words) {
    int index = word_index(value, words);
    if (index >= 0) return index;
    fprintf(stderr, "classify: %s is one of", option);
    for (; *words; words++) fprintf(stderr, " %s", *words);
    fprintf(stderr, ", not '%s'\n", value);
    exit(2);
}

static long integer(const char *option, const char *value, long least) {
    char *end;
    long number = strtol(value, &end, 10);
    if (end == value || *end || number < least) usage(option, "has a number that is not allowed");
    return number;
}

// Reads up to `max` numbers with commas between them; the count.
static int numbers(const char *option, const char *value, double *out, int max) {
    for (int count = 0; count < max;) {
        char *end;
        out[count++] = strtod(value, &end);
        if (end == value) break;
        if (!*end) return count;
        if (*end != ',') break;
        value = end + 1;
    }
    usage(option, "takes numbers with commas between them");
}

static void channels(const char *option, const char *value, double out[3]) {
    int count = numbers(option, value, out, 3);
    if (count == 2) usage(option, "takes one number, or three");
    if (count == 1) out[1] = out[2] = out[0];  // one for all channels
}

static void set_option(struct options *o, const char *name, const char *value) {
    static const char *const layouts[] = {"nchw", "nhwc", NULL};
    static const char *const layout_names[] = {"NCHW", "NHWC"};
    static const char *const colours[] = {"rgb", "bgr", "gray", NULL};
    static const char *const resizes[] = {"bilinear", "nearest", NULL};
    static const char *const types[] = {"f32", "u8", NULL};
    static const char *const softmaxes[] = {"auto", "yes", "no", NULL};
    static const char *const inputs[] = {"--size", "--layout", "--colour", "--color", "--range", "--mean",
                                         "--std",  "--type",   "--resize", "--crop",  NULL};
    struct nn_preprocess *in = &o->input;
    if (word_index(name, inputs) >= 0) o->input_given = true;

    if (!strcmp(name, "--model")) {
        if (o->model.file_count == MODEL_MAX_FILES) usage(name, "is given too often");
        o->model.files[o->model.file_count++] = value;
    } else if (!strcmp(name, "--name")) {
        o->model.name = value;
    } else if (!strcmp(name, "--encoding")) {
        int encoding = encoding_index(value);
        o->model.encoding = (uint32_t)(encoding < 0 ? word(name, value, encoding_words) : encoding);
    } else if (!strcmp(name, "--target")) {
        o->model.target = (uint32_t)word(name, value, target_words);
    } else if (!strcmp(name, "--size")) {
        uint32_t size[2];
        if (parse_dims(value, size, 2) != 2 || !size[0] || !size[1] || size[0] > 16384 ||
            size[1] > 16384)
            usage(name, "takes HEIGHTxWIDTH, such as 224x224");
        in->height = size[0];
        in->width = size[1];
    } else if (!strcmp(name, "--layout")) {
        strcpy(in->layout, layout_names[word(name, value, layouts)]);
    } else if (!strcmp(name, "--colour") || !strcmp(name, "--color")) {
        in->colour = (enum nn_colour)word(name, value, colours);
    } else if (!strcmp(name, "--range")) {
        double range[2];
        if (numbers(name, value, range, 2) != 2) usage(name, "takes LO,HI");
        in->low = range[0];
        in->high = range[1];
        o->range_given = true;
    } else if (!strcmp(name, "--mean")) {
        channels(name, value, in->mean);
        o->range_given = true;
    } else if (!strcmp(name, "--std")) {
        channels(name, value, in->std);
        for (int c = 0; c < 3; c++)
            if (in->std[c] == 0) usage(name, "cannot be 0");
        o->range_given = true;
    } else if (!strcmp(name, "--type")) {
        in->type = word(name, value, types) ? NN_U8 : NN_F32;
    } else if (!strcmp(name, "--resize")) {
        in->resize = (enum nn_resize)word(name, value, resizes);
    } else if (!strcmp(name, "--crop")) {
        in->crop = (uint32_t)integer(name, value, 1);
        in->fit = NN_CROP;
    } else if (!strcmp(name, "--labels")) {
        o->labels_path = value;
    } else if (!strcmp(name, "--label-offset")) {
        o->label_offset = integer(name, value, -1000000);
        o->label_offset_given = true;
    } else if (!strcmp(name, "--top")) {
        o->top = integer(name, value, 1);
    } else if (!strcmp(name, "--softmax")) {
        o->softmax = (enum softmax)word(name, value, softmaxes);
    } else if (!strcmp(name, "--output-type")) {
        o->u8_scores = word(name, value, types) == 1;
        o->output_type_given = true;
    } else {
        usage(name, "is not an option");
    }
}

// Options may stand anywhere.
int read_options(int argc, char **argv, struct options *o) {
    *o = (struct options){
        .model = {.encoding = NN_AUTODETECT, .target = NN_CPU},
        .input = nn_preprocess_defaults,
        .top = 5,
    };
    int pictures = 0;
    bool only_pictures = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (only_pictures || word[0] != '-') {
            argv[pictures++] = argv[i];
        } else if (!strcmp(word, "--")) {
            only_pictures = true;
        } else if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            fputs(help, stdout);
            exit(0);
        } else if (!strcmp(word, "--invert")) {
            o->input.invert = o->input_given = true;
        } else if (!strcmp(word, "--tsv")) {
            o->tsv = true;
        } else {
            char *equals = strchr(argv[i], '=');  // --option=value is --option value
            if (equals) *equals = 0;
            if (!equals && i + 1 == argc) usage(word, "needs a value");
            set_option(o, word, equals ? equals + 1 : argv[++i]);
        }
    }
    struct nn_preprocess *in = &o->input;
    if (!pictures) usage("no picture", "is given");
    if (o->model.file_count && o->model.name) usage("--model", "and --name exclude each other");
    if (!o->model.name) o->model.name = "default";
    if (in->type == NN_U8 && o->range_given)
        usage("--type u8", "sends bytes as they are, without --range, --mean and --std");
    if (in->crop && (in->crop < in->width || in->crop < in->height))
        usage("--crop", "must not be smaller than --size");
    if (in->type == NN_U8) in->high = 255;
    return pictures;
}
