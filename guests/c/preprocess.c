// SPDX-License-Identifier: Apache-2.0
#include "preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// 8-bit pixels with 1 (gray) or 3 interleaved channels.
struct pixels {
    uint32_t width, height, channels;
    uint8_t *data;
};

static bool pixels_allocate(struct pixels *p, uint32_t width, uint32_t height, uint32_t channels) {
    *p = (struct pixels){width, height, channels, NULL};
    uint64_t size = (uint64_t)width * height * channels;
    if (size <= UINT32_MAX / 2) p->data = malloc((size_t)size);
    return p->data != NULL;
}

// ---- Bilinear, with the arithmetic of Pillow's Image.resize ----
//
// Models are usually trained and checked with Pillow, so its result is the right one to give. Each
// output pixel is a weighted mean over a triangle as wide as two input pixels, or two output
// pixels when shrinking (which is what prevents aliasing). Rows and columns are two passes, with 8
// bits in between, and weights in fixed point with 22 bits of fraction.

enum { FRACTION = 22 };

// Output pixel i is the sum of weights[i * stride + k] * input[first[i] + k] over k < count[i].
struct filter {
    uint32_t *first, *count;
    int32_t *weights;
    uint32_t stride;
};

static void filter_free(struct filter *f) {
    free(f->first);
    free(f->count);
    free(f->weights);
}

static bool filter_make(struct filter *f, uint32_t from, uint32_t to) {
    double scale = (double)from / to;
    double reach = scale > 1 ? scale : 1;  // half the triangle's base, in input pixels
    *f = (struct filter){.stride = (uint32_t)ceil(reach) * 2 + 1};
    uint64_t size = (uint64_t)to * f->stride * sizeof *f->weights;
    double *exact = malloc(f->stride * sizeof *exact);
    f->first = malloc((size_t)to * sizeof *f->first);
    f->count = malloc((size_t)to * sizeof *f->count);
    if (size <= UINT32_MAX / 2) f->weights = malloc((size_t)size);
    if (!exact || !f->first || !f->count || !f->weights) {
        free(exact);
        return false;
    }
    for (uint32_t i = 0; i < to; i++) {
        double centre = (i + 0.5) * scale;
        int64_t first = (int64_t)(centre - reach + 0.5), end = (int64_t)(centre + reach + 0.5);
        if (first < 0) first = 0;
        if (end > from) end = from;
        uint32_t count = (uint32_t)(end - first);
        double sum = 0;
        for (uint32_t k = 0; k < count; k++) {
            double away = fabs((k + (double)first - centre + 0.5) * (1 / reach));
            exact[k] = away < 1 ? 1 - away : 0;
            sum += exact[k];
        }
        for (uint32_t k = 0; k < count; k++)
            f->weights[(size_t)i * f->stride + k] =
                (int32_t)(exact[k] / sum * (1 << FRACTION) + 0.5);
        f->first[i] = (uint32_t)first;
        f->count[i] = count;
    }
    free(exact);
    return true;
}

// One output value: `input` is its first input value, the next ones are `step` apart.
static uint8_t weigh(const int32_t *weights, uint32_t count, const uint8_t *input, size_t step) {
    int32_t sum = 1 << (FRACTION - 1);
    for (uint32_t k = 0; k < count; k++, input += step) sum += *input * weights[k];
    // The weights' own rounding can lift a sum of whites above 255.
    return sum >> FRACTION > 255 ? 255 : (uint8_t)(sum >> FRACTION);
}

static bool resize_rows(const struct pixels *in, struct pixels *out, uint32_t width) {
    struct filter f;
    bool good = filter_make(&f, in->width, width) &&
                pixels_allocate(out, width, in->height, in->channels);
    uint8_t *to = out->data;
    for (uint32_t y = 0; good && y < in->height; y++) {
        const uint8_t *row = in->data + (size_t)y * in->width * in->channels;
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < in->channels; c++)
                *to++ = weigh(f.weights + (size_t)x * f.stride, f.count[x],
                              row + (size_t)f.first[x] * in->channels + c, in->channels);
    }
    filter_free(&f);
    return good;
}

static bool resize_columns(const struct pixels *in, struct pixels *out, uint32_t height) {
    struct filter f;
    bool good = filter_make(&f, in->height, height) &&
                pixels_allocate(out, in->width, height, in->channels);
    size_t row_size = (size_t)in->width * in->channels;
    uint8_t *to = out->data;
    for (uint32_t y = 0; good && y < height; y++)
        for (size_t x = 0; x < row_size; x++)
            *to++ = weigh(f.weights + (size_t)y * f.stride, f.count[y],
                          in->data + f.first[y] * row_size + x, row_size);
    filter_free(&f);
    return good;
}

// The order of the passes changes the rounding in between, by one step of 255 at most. This is the
// order of Pillow 13, found by comparing; older ones always do the rows first.
static bool columns_first(const struct pixels *in, uint32_t width, uint32_t height) {
    int64_t shrink_x = (int64_t)in->width - width, shrink_y = (int64_t)in->height - height;
    return shrink_y > 0 && shrink_y > 2 * shrink_x;
}

static bool resize_bilinear(const struct pixels *in, struct pixels *out, uint32_t width,
                            uint32_t height) {
    struct pixels middle = {0};
    bool good;
    if (columns_first(in, width, height))
        good = resize_columns(in, &middle, height) && resize_rows(&middle, out, width);
    else
        good = resize_rows(in, &middle, width) && resize_columns(&middle, out, height);
    free(middle.data);
    return good;
}

// The input pixel under each output pixel's centre. Where that is on the border of two, the choice
// depends on how the position is rounded: added up step by step, as Pillow does.
static uint32_t *nearest_positions(uint32_t from, uint32_t to) {
    uint32_t *positions = malloc((size_t)to * sizeof *positions);
    double step = (double)from / to, at = step * 0.5;
    for (uint32_t i = 0; positions && i < to; i++, at += step)
        positions[i] = at < from ? (uint32_t)at : from - 1;
    return positions;
}

static bool resize_nearest(const struct pixels *in, struct pixels *out, uint32_t width,
                           uint32_t height) {
    uint32_t *columns = nearest_positions(in->width, width);
    uint32_t *rows = nearest_positions(in->height, height);
    bool good = columns && rows && pixels_allocate(out, width, height, in->channels);
    uint8_t *to = out->data;
    for (uint32_t y = 0; good && y < height; y++) {
        const uint8_t *row = in->data + (size_t)rows[y] * in->width * in->channels;
        for (uint32_t x = 0; x < width; x++, to += in->channels)
            memcpy(to, row + (size_t)columns[x] * in->channels, in->channels);
    }
    free(columns);
    free(rows);
    return good;
}

// ---- Tensor ----

uint32_t preprocess_channels(const struct preprocess *o) {
    return o->colour == COLOUR_GRAY ? 1 : 3;
}

size_t preprocess_bytes(const struct preprocess *o) {
    return (size_t)o->width * o->height * preprocess_channels(o) * (o->as_u8 ? 1 : sizeof(float));
}

// ITU-R 601-2 luma in 16-bit fixed point, as Pillow's convert("L").
static uint8_t luma(const uint8_t *rgb) {
    return (uint8_t)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 0x8000u) >> 16);
}

// Half of `n`, to the even number where it is odd: so torchvision's CenterCrop rounds.
static uint32_t half_to_even(uint32_t n) { return n / 2 + (n % 4 == 3); }

// The middle of `in`, of the tensor's size, becomes the tensor.
static void fill_tensor(const struct preprocess *o, const struct pixels *in, void *tensor) {
    uint32_t left = half_to_even(in->width - o->width), top = half_to_even(in->height - o->height);
    uint8_t *bytes = tensor;
    float *floats = tensor;
    for (uint32_t c = 0; c < in->channels; c++) {
        uint32_t source = o->colour == COLOUR_BGR ? 2 - c : c;
        float value[256];  // every pixel value's result, worked out once
        for (int v = 0; v < 256; v++)
            value[v] = (float)((o->low + v * (o->high - o->low) / 255 - o->mean[c]) / o->std[c]);
        bool planar = o->layout == LAYOUT_NCHW;
        size_t at = planar ? (size_t)c * o->width * o->height : c;
        size_t step = planar ? 1 : in->channels;
        for (uint32_t y = 0; y < o->height; y++) {
            const uint8_t *p = in->data +
                               ((size_t)(top + y) * in->width + left) * in->channels + source;
            for (uint32_t x = 0; x < o->width; x++, p += in->channels, at += step) {
                uint8_t v = o->invert ? (uint8_t)(255 - *p) : *p;
                if (o->as_u8)
                    bytes[at] = v;
                else
                    floats[at] = value[v];
            }
        }
    }
}

bool preprocess(const struct preprocess *o, const struct image *image, void *tensor,
                const char **error) {
    uint32_t width = o->width, height = o->height;
    if (o->crop) {
        bool wide = image->width > image->height;
        uint64_t longer = wide ? image->width : image->height;
        uint64_t shorter = wide ? image->height : image->width;
        longer = longer * o->crop / shorter;
        if (longer > UINT32_MAX) longer = UINT32_MAX;  // too much to allocate, which says so
        width = wide ? (uint32_t)longer : o->crop;
        height = wide ? o->crop : (uint32_t)longer;
        if (width < o->width || height < o->height) {
            *error = "the crop's resized picture is smaller than the tensor";
            return false;
        }
    }
    struct pixels in = {image->width, image->height, 3, image->rgb}, gray = {0}, out = {0};
    bool good = true;
    if (o->colour == COLOUR_GRAY) {
        good = pixels_allocate(&gray, in.width, in.height, 1);
        size_t count = (size_t)in.width * in.height;
        for (size_t i = 0; good && i < count; i++) gray.data[i] = luma(in.data + i * 3);
        in = gray;
    }
    good = good && (o->resize == RESIZE_NEAREST ? resize_nearest : resize_bilinear)(
                       &in, &out, width, height);
    if (good)
        fill_tensor(o, &out, tensor);
    else
        *error = "there is not enough memory to resize the picture";
    free(gray.data);
    free(out.data);
    return good;
}
