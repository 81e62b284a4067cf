// SPDX-License-Identifier: Apache-2.0
#include "preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct nn_preprocess nn_preprocess_defaults = {
    .layout = "NCHW", .type = NN_F32, .width = 224, .height = 224,
    .high = 1, .std = {1, 1, 1}, .antialias = true,
};

// ---- What a contract says ----

// The index of a word in a list that ends with NULL, or -1 and an error.
static int word(const struct nn_json *object, const char *key, const char *const *words) {
    const char *text = nn_json_text(object, key, words[0]);
    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], text)) return i;
    nn_fail(NN_UNSUPPORTED_OPERATION, "the contract's %s \"%s\" is not known to this SDK", key, text);
    return -1;
}

// One number for each channel; one alone is for all. False for a count between.
static bool per_channel(const struct nn_json *object, const char *key, uint32_t channels, double out[3]) {
    double found[3];
    uint32_t count = nn_json_numbers(object, key, found, 3);
    if (!count) return true;
    for (uint32_t c = 0; c < 3; c++) out[c] = found[count == 1 ? 0 : c < count ? c : 0];
    return count == 1 || count >= channels;
}

// A number of pixels; 0 for what is none.
static uint32_t pixels(double number) {
    return number >= 1 && number <= 1 << 20 && number == floor(number) ? (uint32_t)number : 0;
}

bool nn_preprocess_read(const struct nn_json *input, struct nn_preprocess *p) {
    static const char *const layouts[] = {"NCHW", "NHWC", "CHW", "HWC", "NHW", "HW", NULL};
    static const char *const colours[] = {"RGB", "BGR", "GRAY", NULL};
    static const char *const resizes[] = {"bilinear", "nearest", "bicubic", "area", NULL};
    static const char *const fits[] = {"stretch", "crop", "letterbox", NULL};
    const struct nn_json *image = nn_json_get(input, "image");
    if (!image || image->kind != NN_JSON_OBJECT)
        return nn_fail(NN_INVALID_ARGUMENT, "the input is no picture: it has no \"image\"");
    int layout = word(image, "layout", layouts), colour = word(image, "colour", colours);
    int resize = word(image, "resize", resizes), fit = word(image, "fit", fits);
    if (layout < 0 || colour < 0 || resize < 0 || fit < 0) return false;
    struct nn_preprocess made = nn_preprocess_defaults;
    strcpy(made.layout, layouts[layout]);
    made.colour = (enum nn_colour)colour;
    made.resize = (enum nn_resize)resize;
    made.fit = (enum nn_fit)fit;
    made.type = nn_type_of_name(nn_json_text(input, "type", "f32"));
    made.antialias = nn_json_bool(image, "antialias", true);
    made.invert = nn_json_bool(image, "invert", false);
    double size[2] = {0}, range[2] = {0, 1}, fill[3] = {0};
    nn_json_numbers(image, "size", size, 2);
    made.height = pixels(size[0]);
    made.width = pixels(size[1]);
    if (!made.height || !made.width)
        return nn_fail(NN_INVALID_ARGUMENT, "the contract's size is no [height, width]");
    nn_json_numbers(image, "range", range, 2);
    made.low = range[0];
    made.high = range[1];
    made.crop = pixels(nn_json_number(image, "crop", 0));
    per_channel(image, "fill", 3, fill);
    for (int c = 0; c < 3; c++) made.fill[c] = fill[c] <= 0 ? 0 : fill[c] >= 255 ? 255 : (uint8_t)fill[c];
    uint32_t channels = nn_preprocess_channels(&made);
    if (!per_channel(image, "mean", channels, made.mean) || !per_channel(image, "std", channels, made.std))
        return nn_fail(NN_INVALID_ARGUMENT, "the contract's mean and std have a number for each channel");
    if (made.type == NN_NO_TYPE)
        return nn_fail(NN_UNSUPPORTED_OPERATION, "the contract's type \"%s\" is not known to this SDK",
                       nn_json_text(input, "type", ""));
    *p = made;
    return true;
}

// ---- Size ----

// A picture that is to be cut is resized whole first, as others do it, unless that takes more pixels.
enum { MOST_PIXELS = 1 << 24 };

static struct nn_box whole_box(const struct nn_image *picture) {
    return (struct nn_box){0, 0, picture->width, picture->height};
}

// Half of `n`, to the even number where it is odd: so torchvision's CenterCrop rounds.
static uint64_t half_to_even(uint64_t n) { return n / 2 + (n % 4 == 3); }

static void cut(const struct nn_image *from, uint32_t left, uint32_t top, struct nn_image *to) {
    for (uint32_t y = 0; y < to->height; y++)
        memcpy(to->rgb + (size_t)y * to->width * 3, from->rgb + ((size_t)(top + y) * from->width + left) * 3,
               (size_t)to->width * 3);
}

static bool crop(const struct nn_preprocess *p, const struct nn_image *picture, struct nn_image *out) {
    uint64_t w = picture->width, h = picture->height, width, height;
    if (p->crop) {
        bool wide = w > h;
        uint64_t longer = (wide ? w : h) * p->crop / (wide ? h : w);
        width = wide ? longer : p->crop;
        height = wide ? p->crop : longer;
        if (width < p->width || height < p->height)
            return nn_fail(
                NN_INVALID_ARGUMENT,
                "a picture of %ux%u pixels with crop %u becomes %ux%u, too small to cut %ux%u out of it",
                (unsigned)w, (unsigned)h, (unsigned)p->crop, (unsigned)width, (unsigned)height,
                (unsigned)p->width, (unsigned)p->height);
    } else if (p->height * w >= p->width * h) {  // the height needs the larger scale
        width = w * p->height / h;
        height = p->height;
    } else {
        width = p->width;
        height = h * p->width / w;
    }
    uint64_t left = half_to_even(width - p->width), top = half_to_even(height - p->height);
    if (width > MOST_PIXELS || height > MOST_PIXELS || width * height > MOST_PIXELS) {
        // Only what is kept. It differs at the cut's edges, where a filter cannot look beyond, and nowhere
        // else.
        double scale_x = (double)width / (double)w, scale_y = (double)height / (double)h;
        struct nn_box box = {(double)left / scale_x, (double)top / scale_y,
                             fmin((double)(left + p->width) / scale_x, (double)w),
                             fmin((double)(top + p->height) / scale_y, (double)h)};
        return nn_image_resize(picture, &box, p->width, p->height, p->resize, p->antialias, out);
    }
    struct nn_box box = whole_box(picture);
    const char *error;
    NN_IMAGE(whole);
    if (!nn_image_resize(picture, &box, (uint32_t)width, (uint32_t)height, p->resize, p->antialias, &whole))
        return false;
    if (!nn_image_allocate(out, p->width, p->height, &error)) return nn_fail(NN_TOO_LARGE, "%s", error);
    cut(&whole, (uint32_t)left, (uint32_t)top, out);
    return true;
}

static bool letterbox(const struct nn_preprocess *p, const struct nn_image *picture, struct nn_image *out) {
    double scale = fmin((double)p->height / picture->height, (double)p->width / picture->width);
    uint32_t height = (uint32_t)fmax(1, rint(picture->height * scale));
    uint32_t width = (uint32_t)fmax(1, rint(picture->width * scale));
    uint32_t left = (p->width - width) / 2, top = (p->height - height) / 2;
    struct nn_box box = whole_box(picture);
    const char *error;
    NN_IMAGE(inner);
    if (!nn_image_resize(picture, &box, width, height, p->resize, p->antialias, &inner)) return false;
    if (!nn_image_allocate(out, p->width, p->height, &error)) return nn_fail(NN_TOO_LARGE, "%s", error);
    for (size_t i = 0; i < (size_t)p->width * p->height * 3; i++) out->rgb[i] = p->fill[i % 3];
    for (uint32_t y = 0; y < height; y++)
        memcpy(out->rgb + ((size_t)(top + y) * p->width + left) * 3, inner.rgb + (size_t)y * width * 3,
               (size_t)width * 3);
    return true;
}

static bool fit(const struct nn_preprocess *p, const struct nn_image *picture, struct nn_image *out) {
    if (p->fit == NN_CROP) return crop(p, picture, out);
    if (p->fit == NN_LETTERBOX) return letterbox(p, picture, out);
    struct nn_box box = whole_box(picture);
    return nn_image_resize(picture, &box, p->width, p->height, p->resize, p->antialias, out);
}

// ---- Numbers ----

uint32_t nn_preprocess_channels(const struct nn_preprocess *p) { return p->colour == NN_GRAY ? 1 : 3; }

uint32_t nn_preprocess_dims(const struct nn_preprocess *p, uint32_t batch, uint32_t dims[4]) {
    uint32_t rank = 0;
    for (const char *letter = p->layout; *letter && rank < 4; letter++)
        dims[rank++] = *letter == 'N'   ? batch
                       : *letter == 'C' ? nn_preprocess_channels(p)
                       : *letter == 'H' ? p->height
                                        : p->width;
    return rank;
}

// The scale and zero point of a channel; false and an error where the quantization is not of channels.
static bool channel_quantization(const struct nn_preprocess *p, uint32_t channel, double *scale,
                                 double *zero) {
    const struct nn_quantization *q = &p->quantization;
    *scale = 1;
    *zero = 0;
    if (!q->count) return true;
    const char *at = strchr(p->layout, 'C');
    bool fits = q->count == 1 || (at && q->axis == at - p->layout && q->count == nn_preprocess_channels(p));
    if (!fits)
        return nn_fail(
            NN_UNSUPPORTED_OPERATION,
            "the input's quantization has %u scales along dim %d: one for the whole tensor or one for "
            "each channel of %s can be computed",
            (unsigned)q->count, q->axis, p->layout);
    *scale = q->scales[q->count == 1 ? 0 : channel];
    *zero = q->zero_points[q->count == 1 ? 0 : channel];
    return true;
}

static bool is_float(uint8_t type) {
    return type == NN_F16 || type == NN_F32 || type == NN_F64 || type == NN_BF16;
}

// The tensor's element for each level of a channel, worked out once. In the host's own order and precision,
// so that the bits are the same: f32, or f64 for integers that f32 does not hold.
static bool levels(const struct nn_preprocess *p, uint32_t channel, uint8_t elements[256 * 8]) {
    double quantum, zero;
    if (!channel_quantization(p, channel, &quantum, &zero)) return false;
    double span = (p->high - p->low) / 255, scale = p->invert ? -span : span;
    double offset = p->invert ? p->high : p->low;
    scale = scale / p->std[channel] / quantum;
    offset = (offset - p->mean[channel]) / p->std[channel] / quantum;
    // What rounding errors made is not there: bytes that need no arithmetic stay as they are.
    if (fabs(scale - 1) < 1e-9) scale = 1;
    if (fabs(offset) < 1e-9) offset = 0;
    bool whole = !is_float(p->type), wide = p->type == NN_F64 || (whole && nn_type_size(p->type) > 2);
    for (int level = 0; level < 256; level++) {
        double value = wide ? level * scale + offset : (double)((float)level * (float)scale + (float)offset);
        if (whole) value = (isnan(value) ? 0 : round(value)) + zero;
        nn_store_number(elements, p->type, (size_t)level, value);
    }
    return true;
}

// ITU-R 601-2 luma in 16-bit fixed point, as Pillow's convert("L").
static uint8_t luma(const uint8_t *rgb) {
    return (uint8_t)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 0x8000u) >> 16);
}

static bool fill_tensor(const struct nn_preprocess *p, const struct nn_image *in, uint8_t *data) {
    uint32_t channels = nn_preprocess_channels(p), size = nn_type_size(p->type);
    size_t count = (size_t)p->width * p->height;
    bool planar = p->layout[strlen(p->layout) - 1] != 'C';
    for (uint32_t c = 0; c < channels; c++) {
        uint8_t elements[256 * 8];
        if (!levels(p, c, elements)) return false;
        uint32_t source = p->colour == NN_BGR ? 2 - c : c;
        uint8_t *to = data + (planar ? c * count : c) * size;
        size_t step = (planar ? 1 : channels) * size;
        for (size_t i = 0; i < count; i++, to += step) {
            uint8_t level = p->colour == NN_GRAY ? luma(in->rgb + i * 3) : in->rgb[i * 3 + source];
            if (size == 4)
                memcpy(to, elements + (size_t)level * 4, 4);
            else
                memcpy(to, elements + (size_t)level * size, size);
        }
    }
    return true;
}

bool nn_preprocess_new(const struct nn_preprocess *p, uint32_t batch, struct nn_tensor *tensor) {
    uint32_t dims[4], rank = nn_preprocess_dims(p, batch, dims);
    return nn_tensor_new(tensor, p->type, rank, dims);
}

bool nn_preprocess_at(const struct nn_preprocess *p, const struct nn_image *picture, uint32_t index,
                      struct nn_tensor *tensor) {
    uint64_t bytes = (uint64_t)p->width * p->height;  // step by step: nothing wraps
    bytes = bytes > UINT32_MAX ? UINT32_MAX : bytes * nn_preprocess_channels(p) * nn_type_size(p->type);
    if (!tensor->capacity || bytes > tensor->size || (uint64_t)index * bytes > tensor->size - bytes)
        return nn_refuse(NN_INVALID_ARGUMENT, "preprocess", "%s has no place for picture %u",
                         nn_dims_text(tensor->rank, tensor->dims), (unsigned)index);
    if (!picture->rgb) return nn_refuse(NN_INVALID_ARGUMENT, "preprocess", "the picture is empty");
    NN_IMAGE(fitted);
    return fit(p, picture, &fitted) &&
           fill_tensor(p, &fitted, (uint8_t *)tensor->data + (size_t)(index * bytes));
}

bool nn_preprocess_image(const struct nn_preprocess *p, const struct nn_image *picture,
                         struct nn_tensor *tensor) {
    return nn_preprocess_new(p, 1, tensor) && nn_preprocess_at(p, picture, 0, tensor);
}
