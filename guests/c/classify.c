// SPDX-License-Identifier: Apache-2.0
// Classifies pictures: decode, resize, one input, one output of scores, the best few printed.
// One graph and one execution context serve all pictures.

#include "image.h"
#include "model.h"
#include "preprocess.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *program = "classify";

enum softmax { SOFTMAX_AUTO, SOFTMAX_YES, SOFTMAX_NO };

struct options {
    struct model_choice model;
    struct preprocess input;
    bool range_given;  // --range, --mean or --std
    const char *labels_path;
    long label_offset;
    long top;
    enum softmax softmax;
    bool u8_scores, output_type_given;
    bool tsv;
};

struct labels {
    char *text;  // the file, with its line ends turned into ends of strings
    char **lines;
    size_t count;
};

static const char help[] =
    "usage: classify [options] PICTURE...      (PNG, BMP, PBM, PGM or PPM)\n"
    "model\n"
    "  --name NAME          a model that the host has preloaded (default: default)\n"
    "  --model FILE         a model file instead; again for its further files\n"
    "  --encoding E         openvino onnx tensorflow pytorch tensorflowlite autodetect ggml\n"
    "                       (default: autodetect)\n"
    "  --target T           cpu gpu tpu\n"
    "input\n"
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

// ---- Options ----

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
    static const char *const colours[] = {"rgb", "bgr", "gray", NULL};
    static const char *const resizes[] = {"bilinear", "nearest", NULL};
    static const char *const types[] = {"f32", "u8", NULL};
    static const char *const softmaxes[] = {"auto", "yes", "no", NULL};
    struct preprocess *in = &o->input;

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
        in->layout = (enum layout)word(name, value, layouts);
    } else if (!strcmp(name, "--colour") || !strcmp(name, "--color")) {
        in->colour = (enum colour)word(name, value, colours);
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
        in->as_u8 = word(name, value, types) == 1;
    } else if (!strcmp(name, "--resize")) {
        in->resize = (enum resize)word(name, value, resizes);
    } else if (!strcmp(name, "--crop")) {
        in->crop = (uint32_t)integer(name, value, 1);
    } else if (!strcmp(name, "--labels")) {
        o->labels_path = value;
    } else if (!strcmp(name, "--label-offset")) {
        o->label_offset = integer(name, value, -1000000);
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

// Options may stand anywhere; the pictures are moved to the front of argv. Returns their count.
static int read_options(int argc, char **argv, struct options *o) {
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
            o->input.invert = true;
        } else if (!strcmp(word, "--tsv")) {
            o->tsv = true;
        } else {
            char *equals = strchr(argv[i], '=');  // --option=value is --option value
            if (equals) *equals = 0;
            if (!equals && i + 1 == argc) usage(word, "needs a value");
            set_option(o, word, equals ? equals + 1 : argv[++i]);
        }
    }
    struct preprocess *in = &o->input;
    if (!pictures) usage("no picture", "is given");
    if (o->model.file_count && o->model.name) usage("--model", "and --name exclude each other");
    if (!o->model.name) o->model.name = "default";
    if (in->as_u8 && o->range_given)
        usage("--type u8", "sends bytes as they are, without --range, --mean and --std");
    if (in->crop && (in->crop < in->width || in->crop < in->height))
        usage("--crop", "must not be smaller than --size");
    return pictures;
}

// ---- Labels ----

static bool read_labels(const char *path, struct labels *labels) {
    uint8_t *data;
    size_t size;
    if (!file_read(path, &data, &size)) return false;
    char *text = realloc(data, size + 1);
    size_t most = 1;
    for (size_t i = 0; text && i < size; i++) most += text[i] == '\n';
    char **lines = malloc(most * sizeof *lines);
    if (!text || !lines) {
        fprintf(stderr, "classify: %s: there is not enough memory\n", path);
        return false;
    }
    text[size] = 0;
    *labels = (struct labels){text, lines, 0};
    for (char *line = text; line < text + size;) {
        char *end = memchr(line, '\n', (size_t)(text + size - line));
        char *next = end ? end + 1 : text + size;
        if (!end) end = text + size;
        if (end > line && end[-1] == '\r') end--;
        *end = 0;
        lines[labels->count++] = line;
        line = next;
    }
    return true;
}

static const char *label_of(const struct labels *labels, size_t class, long offset) {
    int64_t line = (int64_t)class + offset;
    if (line < 0 || line >= (int64_t)labels->count || !*labels->lines[line]) return NULL;
    return labels->lines[line];
}

// ---- Scores ----

// Each from 0 to 1, with room for what rounding adds. The sum says nothing: quantized scores miss 1,
// and independent classes have no sum to keep.
static bool are_probabilities(const float *scores, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!(scores[i] >= 0 && scores[i] <= 1.001f)) return false;
    return true;
}

static void apply_softmax(float *scores, size_t count) {
    float most = scores[0];
    for (size_t i = 1; i < count; i++) most = fmaxf(most, scores[i]);
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        scores[i] = expf(scores[i] - most);  // the largest first made 0, so that none overflows
        sum += scores[i];
    }
    for (size_t i = 0; i < count; i++) scores[i] = (float)(scores[i] / sum);
}

// Whether the output's bytes can be scores of the type that is expected.
static bool check_output(const struct options *o, const struct output *output) {
    static const char other[] = "--output-type u8";
    if (o->u8_scores) return true;
    if (!output_check_size(output, 0, "f32", sizeof(float), other)) return false;
    if (!o->output_type_given) output_check_f32(output, 0, other);
    return true;
}

// The output's bytes as scores; the caller frees them.
static float *read_scores(const struct options *o, const struct output *output, size_t *count) {
    *count = o->u8_scores ? output->size : output->size / sizeof(float);
    float *scores = malloc((*count ? *count : 1) * sizeof *scores);
    if (!scores) return NULL;
    if (o->u8_scores)
        for (size_t i = 0; i < *count; i++) scores[i] = (float)output->data[i] / 255;
    else
        memcpy(scores, output->data, *count * sizeof *scores);
    bool wanted = o->softmax == SOFTMAX_YES ||
                  (o->softmax == SOFTMAX_AUTO && !o->u8_scores && !are_probabilities(scores, *count));
    if (wanted && *count) apply_softmax(scores, *count);
    return scores;
}

// The `top` best classes, best first; of equal scores the lower class. Not a number is worst.
static size_t rank(const float *scores, size_t count, size_t top, size_t *best) {
    size_t found = 0;
    for (size_t class = 0; class < count; class++) {
        size_t at = found;
        while (at > 0 && (scores[class] > scores[best[at - 1]] || isnan(scores[best[at - 1]]))) at--;
        if (at >= top) continue;
        if (found < top) found++;
        memmove(best + at + 1, best + at, (found - 1 - at) * sizeof *best);
        best[at] = class;
    }
    return found;
}

static void print_scores(const struct options *o, const struct labels *labels, const char *picture,
                         const float *scores, const size_t *best, size_t found) {
    if (!o->tsv) printf("%s\n", picture);
    int width = 0;     // of the label column
    bool raw = false;  // some score is no share of 1: the model's own numbers are printed
    for (size_t i = 0; i < found; i++)
        raw = raw || !are_probabilities(&scores[best[i]], 1);
    for (int print = o->tsv; print < 2; print++) {
        for (size_t i = 0; i < found; i++) {
            char number[32];
            snprintf(number, sizeof number, "class %u", (unsigned)best[i]);
            const char *label = label_of(labels, best[i], o->label_offset);
            double score = (double)scores[best[i]];
            if (o->tsv) {
                printf("%s\t%u\t%u\t%.6g\t%s\n", picture, (unsigned)i + 1, (unsigned)best[i], score,
                       label ? label : "");
                continue;
            }
            if (!label) label = number;
            if (!print) {  // the first time only measures
                if ((int)strlen(label) > width) width = (int)strlen(label);
            } else if (raw) {
                printf("%3u  %-*s  %12.3f\n", (unsigned)i + 1, width, label, score);
            } else {
                printf("%3u  %-*s  %6.2f%%\n", (unsigned)i + 1, width, label, score * 100);
            }
        }
    }
}

// ---- One picture ----

static bool read_tensor(const struct options *o, const char *picture, void *tensor) {
    uint8_t *file;
    size_t size;
    if (!file_read(picture, &file, &size)) return false;
    struct image image;
    const char *error;
    bool good = image_decode(file, size, &image, &error);
    free(file);
    good = good && preprocess(&o->input, &image, tensor, &error);
    image_free(&image);
    if (!good) fprintf(stderr, "classify: %s: %s\n", picture, error);
    return good;
}

static bool infer(const struct options *o, uint32_t context, const void *tensor,
                  struct output *output) {
    const struct preprocess *in = &o->input;
    uint32_t channel_count = preprocess_channels(in);
    const uint32_t nchw[] = {1, channel_count, in->height, in->width};
    const uint32_t nhwc[] = {1, in->height, in->width, channel_count};
    const struct nn_tensor input = {
        in->layout == LAYOUT_NCHW ? nchw : nhwc, 4, in->as_u8 ? NN_U8 : NN_F32,
        tensor, (uint32_t)preprocess_bytes(in),
    };
    uint32_t code = nn_set_input(context, 0, &input);
    if (code) return call_failed("set_input", code);
    code = nn_compute(context);
    if (code) return call_failed("compute", code);
    return output_read(context, 0, output);
}

int main(int argc, char **argv) {
    struct options o = {
        .model = {.encoding = NN_AUTODETECT, .target = NN_CPU},
        .input = {.width = 224, .height = 224, .high = 1, .std = {1, 1, 1}},
        .top = 5,
    };
    int pictures = read_options(argc, argv, &o);
    struct labels labels = {0};
    if (o.labels_path && !read_labels(o.labels_path, &labels)) return 1;
    uint32_t context;
    if (!model_open(&o.model, &context)) return 1;

    void *tensor = malloc(preprocess_bytes(&o.input));
    struct output output = {0};
    bool all_good = true;
    for (int i = 0; i < pictures; i++) {
        if (!tensor || !read_tensor(&o, argv[i], tensor)) {
            if (!tensor) fprintf(stderr, "classify: there is not enough memory for the input\n");
            all_good = false;
            continue;
        }
        if (!infer(&o, context, tensor, &output) || !check_output(&o, &output)) return 1;
        size_t count;
        float *scores = read_scores(&o, &output, &count);
        size_t top = (size_t)o.top < count ? (size_t)o.top : count;
        size_t *best = malloc((top + 1) * sizeof *best);
        if (!scores || !best) {
            fprintf(stderr, "classify: there is not enough memory for the scores\n");
            return 1;
        }
        size_t found = rank(scores, count, top, best);
        print_scores(&o, &labels, argv[i], scores, best, found);
        fflush(stdout);  // each picture's answer as soon as it is known
        free(scores);
        free(best);
    }
    return all_good ? 0 : 1;
}
