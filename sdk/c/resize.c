// SPDX-License-Identifier: Apache-2.0
#include "resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 3 };

// One side of what is resized: `from` pixels, of which [start, end) become `to`.
struct side {
    uint32_t from, to;
    double start, end;
};

static double cubic(double away, double a) {
    if (away < 1) return ((a + 2) * away - (a + 3)) * away * away + 1;
    return away < 2 ? ((a * away - 5 * a) * away + 8 * a) * away - 4 * a : 0;
}

// ---- With antialias, by the arithmetic of Pillow's Image.resize ----
//
// Models are usually trained and checked with Pillow, so its result is the right one to give. Each
// output pixel is a weighted mean; of "bilinear" over a triangle as wide as two input pixels, or two output
// pixels when shrinking (which is what prevents aliasing). Rows and columns are two passes, with 8
// bits in between, and weights in fixed point with 22 bits of fraction.

enum { FRACTION = 22 };

// Output pixel i is the sum of weights[i * stride + k] * input[first[i] + k] over k < count[i].
struct weights {
    uint32_t *first, *count;
    int32_t *weights;
    uint32_t stride;
};

static void weights_free(struct weights *w) {
    free(w->first);
    free(w->count);
    free(w->weights);
}

static double weight(enum nn_resize filter, double away) {
    if (filter == NN_BICUBIC) return cubic(fabs(away), -0.5);
    if (filter == NN_AREA) return away > -0.5 && away <= 0.5 ? 1 : 0;
    return fabs(away) < 1 ? 1 - fabs(away) : 0;
}

static bool weights_make(struct weights *w, const struct side *side, enum nn_resize filter) {
    double scale = (side->end - side->start) / side->to;
    double spread = scale > 1 ? scale : 1;
    double reach = spread * (filter == NN_BICUBIC ? 2 : filter == NN_AREA ? 0.5 : 1);
    *w = (struct weights){.stride = (uint32_t)ceil(reach) * 2 + 1};
    uint64_t size = (uint64_t)side->to * w->stride * sizeof *w->weights;
    double *exact = malloc(w->stride * sizeof *exact);
    w->first = malloc((size_t)side->to * sizeof *w->first);
    w->count = malloc((size_t)side->to * sizeof *w->count);
    if (size <= UINT32_MAX / 2) w->weights = malloc((size_t)size);
    if (!exact || !w->first || !w->count || !w->weights) {
        free(exact);
        return false;
    }
    for (uint32_t i = 0; i < side->to; i++) {
        double centre = side->start + (i + 0.5) * scale;
        int64_t first = (int64_t)(centre - reach + 0.5), end = (int64_t)(centre + reach + 0.5);
        if (first < 0) first = 0;
        if (end > side->from) end = side->from;
        uint32_t count = (uint32_t)(end - first);
        double sum = 0;
        for (uint32_t k = 0; k < count; k++) {
            exact[k] = weight(filter, (k + (double)first - centre + 0.5) * (1 / spread));
            sum += exact[k];
        }
        for (uint32_t k = 0; k < count; k++) {
            double share = (sum != 0 ? exact[k] / sum : exact[k]) * (1 << FRACTION);
            w->weights[(size_t)i * w->stride + k] = (int32_t)(share < 0 ? share - 0.5 : share + 0.5);
        }
        w->first[i] = (uint32_t)first;
        w->count[i] = count;
    }
    free(exact);
    return true;
}

// One output value: `input` is its first input value, the next ones are `step` apart.
static uint8_t weigh(const int32_t *weights, uint32_t count, const uint8_t *input, size_t step) {
    int32_t sum = 1 << (FRACTION - 1);
    for (uint32_t k = 0; k < count; k++, input += step) sum += *input * weights[k];
    // The weights' own rounding can lift a sum of whites above 255, and "bicubic" overshoots.
    sum >>= FRACTION;
    return sum > 255 ? 255 : sum < 0 ? 0 : (uint8_t)sum;
}

static bool allocate(struct nn_image *image, uint32_t width, uint32_t height) {
    uint64_t size = (uint64_t)width * height * CHANNELS;
    *image = (struct nn_image){width, height, NULL};
    if (size <= UINT32_MAX / 2) image->rgb = malloc((size_t)size);
    return image->rgb != NULL;
}

static bool weigh_rows(const struct nn_image *in, const struct side *side, enum nn_resize filter,
                       struct nn_image *out) {
    struct weights w;
    bool good = weights_make(&w, side, filter) && allocate(out, side->to, in->height);
    uint8_t *to = out->rgb;
    for (uint32_t y = 0; good && y < in->height; y++) {
        const uint8_t *row = in->rgb + (size_t)y * in->width * CHANNELS;
        for (uint32_t x = 0; x < side->to; x++)
            for (uint32_t c = 0; c < CHANNELS; c++)
                *to++ = weigh(w.weights + (size_t)x * w.stride, w.count[x],
                              row + (size_t)w.first[x] * CHANNELS + c, CHANNELS);
    }
    weights_free(&w);
    return good;
}

static bool weigh_columns(const struct nn_image *in, const struct side *side, enum nn_resize filter,
                          struct nn_image *out) {
    struct weights w;
    bool good = weights_make(&w, side, filter) && allocate(out, in->width, side->to);
    size_t row_size = (size_t)in->width * CHANNELS;
    uint8_t *to = out->rgb;
    for (uint32_t y = 0; good && y < side->to; y++)
        for (size_t x = 0; x < row_size; x++)
            *to++ = weigh(w.weights + (size_t)y * w.stride, w.count[y], in->rgb + w.first[y] * row_size + x,
                          row_size);
    weights_free(&w);
    return good;
}

// The order of the passes changes the rounding in between, by one step of 255 at most. This is the
// order of Pillow 13, found by comparing; older ones always do the rows first.
static bool columns_first(const struct nn_image *in, uint32_t width, uint32_t height) {
    int64_t shrink_x = (int64_t)in->width - width, shrink_y = (int64_t)in->height - height;
    return shrink_y > 0 && shrink_y > 2 * shrink_x;
}

static bool resize_weighing(const struct nn_image *in, const struct side *across, const struct side *down,
                            enum nn_resize filter, struct nn_image *out) {
    struct nn_image middle = {0};
    bool good;
    if (columns_first(in, across->to, down->to))
        good = weigh_columns(in, down, filter, &middle) && weigh_rows(&middle, across, filter, out);
    else
        good = weigh_rows(in, across, filter, &middle) && weigh_columns(&middle, down, filter, out);
    free(middle.rgb);
    return good;
}

// ---- Nearest ----

// The input pixel under each output pixel's centre. Where that is on the border of two, the choice
// depends on how the position is rounded: added up step by step, as Pillow does.
static uint32_t *nearest_positions(const struct side *side) {
    uint32_t *positions = malloc((size_t)side->to * sizeof *positions);
    double step = (side->end - side->start) / side->to, at = side->start + step * 0.5;
    for (uint32_t i = 0; positions && i < side->to; i++, at += step)
        positions[i] = at < side->from ? (uint32_t)at : side->from - 1;
    return positions;
}

static bool resize_nearest(const struct nn_image *in, const struct side *across, const struct side *down,
                           struct nn_image *out) {
    uint32_t *columns = nearest_positions(across);
    uint32_t *rows = nearest_positions(down);
    bool good = columns && rows && allocate(out, across->to, down->to);
    uint8_t *to = out->rgb;
    for (uint32_t y = 0; good && y < down->to; y++) {
        const uint8_t *row = in->rgb + (size_t)rows[y] * in->width * CHANNELS;
        for (uint32_t x = 0; x < across->to; x++, to += CHANNELS)
            memcpy(to, row + (size_t)columns[x] * CHANNELS, CHANNELS);
    }
    free(columns);
    free(rows);
    return good;
}

// ---- Without antialias: 2 or 4 neighbours of one place, the picture's border repeated ----

enum { MAX_TAPS = 4 };

struct taps {
    uint32_t at[MAX_TAPS];
    float weights[MAX_TAPS];
};

static struct taps *taps_make(const struct side *side, bool four) {
    struct taps *taps = malloc((size_t)side->to * sizeof *taps);
    double step = (side->end - side->start) / side->to;
    for (uint32_t i = 0; taps && i < side->to; i++) {
        double place = side->start + (i + 0.5) * step - 0.5, first = floor(place), away = place - first;
        for (int k = 0; k < (four ? 4 : 2); k++) {
            int offset = four ? k - 1 : k;
            double at = first + offset;
            taps[i].at[k] = at < 0 ? 0 : at > side->from - 1 ? side->from - 1 : (uint32_t)at;
            taps[i].weights[k] = (float)(four ? cubic(fabs(away - offset), -0.75) : k ? away : 1 - away);
        }
    }
    return taps;
}

// `in` has rows of `row` values; each group of `group` neighbours moves together.
static float *sample(const float *in, uint32_t lines, const struct side *side, bool four, size_t group) {
    struct taps *taps = taps_make(side, four);
    uint64_t size = (uint64_t)lines * side->to * group * sizeof(float);
    float *out = taps && size <= UINT32_MAX / 2 ? malloc((size_t)size) : NULL;
    float *to = out;
    for (uint32_t line = 0; out && line < lines; line++) {
        const float *from = in + (size_t)line * side->from * group;
        for (uint32_t i = 0; i < side->to; i++)
            for (size_t g = 0; g < group; g++) {
                float sum = 0;
                for (int k = 0; k < (four ? 4 : 2); k++)
                    sum += from[taps[i].at[k] * group + g] * taps[i].weights[k];
                *to++ = sum;
            }
    }
    free(taps);
    return out;
}

static bool resize_sampling(const struct nn_image *in, const struct side *across, const struct side *down,
                            bool four, struct nn_image *out) {
    size_t count = (size_t)in->width * in->height * CHANNELS;
    float *values = count <= UINT32_MAX / 8 ? malloc(count * sizeof *values) : NULL;
    float *middle = NULL, *last = NULL;
    for (size_t i = 0; values && i < count; i++) values[i] = in->rgb[i];
    // The side that loses more first.
    if (values && (uint64_t)down->to * in->width <= (uint64_t)across->to * in->height) {
        middle = sample(values, 1, down, four, (size_t)in->width * CHANNELS);
        if (middle) last = sample(middle, down->to, across, four, CHANNELS);
    } else if (values) {
        middle = sample(values, in->height, across, four, CHANNELS);
        if (middle) last = sample(middle, 1, down, four, (size_t)across->to * CHANNELS);
    }
    bool good = last && allocate(out, across->to, down->to);
    count = (size_t)across->to * down->to * CHANNELS;
    for (size_t i = 0; good && i < count; i++) {
        float level = floorf(last[i] + 0.5f);
        out->rgb[i] = level < 0 ? 0 : level > 255 ? 255 : (uint8_t)level;
    }
    free(values);
    free(middle);
    free(last);
    return good;
}

// ---- Area without antialias: the mean of what a pixel covers, pixels at its edges in part ----

// `in` and the result as in `sample`.
static double *cover(const double *in, uint32_t lines, const struct side *side, size_t group) {
    uint64_t size = (uint64_t)lines * side->to * group * sizeof(double);
    double *out = size <= UINT32_MAX / 2 ? calloc((size_t)size, 1) : NULL;
    double step = (side->end - side->start) / side->to;
    for (uint32_t i = 0; out && i < side->to; i++) {
        double edges[2] = {side->start + i * step, side->start + (i + 1) * step}, parts[2];
        uint32_t whole[2];
        for (int e = 0; e < 2; e++) {
            double at = floor(edges[e]);
            whole[e] = at < 0 ? 0 : at > side->from - 1 ? side->from - 1 : (uint32_t)at;
            parts[e] = fmin(fmax(edges[e] - whole[e], 0), 1);
        }
        for (uint32_t line = 0; line < lines; line++)
            for (size_t g = 0; g < group; g++) {
                const double *from = in + (size_t)line * side->from * group + g;
                double sum = 0;
                for (uint32_t at = whole[0]; at < whole[1]; at++) sum += from[at * group];
                sum = sum - from[whole[0] * group] * parts[0] + from[whole[1] * group] * parts[1];
                out[((size_t)line * side->to + i) * group + g] = sum / step;
            }
    }
    return out;
}

static bool resize_covering(const struct nn_image *in, const struct side *across, const struct side *down,
                            struct nn_image *out) {
    size_t count = (size_t)in->width * in->height * CHANNELS;
    double *values = count <= UINT32_MAX / 16 ? malloc(count * sizeof *values) : NULL;
    for (size_t i = 0; values && i < count; i++) values[i] = in->rgb[i];
    double *middle = values ? cover(values, 1, down, (size_t)in->width * CHANNELS) : NULL;
    free(values);
    double *last = middle ? cover(middle, down->to, across, CHANNELS) : NULL;
    free(middle);
    bool good = last && allocate(out, across->to, down->to);
    count = (size_t)across->to * down->to * CHANNELS;
    for (size_t i = 0; good && i < count; i++) {
        double level = floor(last[i] + 0.5);
        out->rgb[i] = level < 0 ? 0 : level > 255 ? 255 : (uint8_t)level;
    }
    free(last);
    return good;
}

bool nn_image_resize(const struct nn_image *from, const struct nn_box *box, uint32_t width, uint32_t height,
                     enum nn_resize filter, bool antialias, struct nn_image *to) {
    struct side across = {from->width, width, box->left, box->right};
    struct side down = {from->height, height, box->top, box->bottom};
    struct nn_image made = {0};
    bool good;
    if (!from->rgb || !width || !height)
        return nn_refuse(NN_INVALID_ARGUMENT, "resize",
                         "a picture of %ux%u pixels cannot become one of %ux%u", (unsigned)from->width,
                         (unsigned)from->height, (unsigned)width, (unsigned)height);
    if (filter == NN_NEAREST)
        good = resize_nearest(from, &across, &down, &made);
    else if (antialias)
        good = resize_weighing(from, &across, &down, filter, &made);
    else if (filter == NN_AREA)
        good = resize_covering(from, &across, &down, &made);
    else
        good = resize_sampling(from, &across, &down, filter == NN_BICUBIC, &made);
    if (!good) {
        nn_image_free(&made);
        return nn_fail_memory("resizing the picture");
    }
    nn_image_free(to);
    *to = made;
    return true;
}
