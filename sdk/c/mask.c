// SPDX-License-Identifier: Apache-2.0
#include "mask.h"

#include "file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// A layout for as many dims as the output has, where the contract has none.
static const char *likely_layout(const struct nn_tensor *t) {
    if (t->rank == 2) return "HW";
    if (t->rank == 3) return t->dims[0] == 1 ? "NHW" : "CHW";
    // Channels are fewer than pixels.
    return t->rank == 4 && t->dims[3] < t->dims[1] && t->dims[3] < t->dims[2] ? "NHWC" : "NCHW";
}

static bool refuse(const struct nn_tensor *t, const char *layout, const char *why) {
    return nn_fail(NN_INVALID_ARGUMENT, "a mask of layout %s, and the output is %s: %s", layout,
                   nn_dims_text(t->rank, t->dims), why);
}

static bool class_of(double value, uint8_t *class) {
    value = rint(value);
    if (!(value >= 0 && value <= 255)) return false;
    *class = (uint8_t)value;
    return true;
}

bool nn_mask_read(struct nn_mask *mask, const struct nn_tensor *t, const struct nn_output *output) {
    const char *layout = output->layout ? output->layout : likely_layout(t);
    const uint32_t *dims = t->dims;
    const char *letters = layout + (layout[0] == 'N');
    nn_mask_free(mask);
    if (!nn_tensor_check(t, "mask")) return false;
    if (strcmp(letters, "HW") && strcmp(letters, "CHW") && strcmp(letters, "HWC"))
        return refuse(t, layout, "a mask has NCHW, NHWC, CHW, HWC, NHW or HW");
    if (t->rank == strlen(letters) + 1) {
        if (*dims++ != 1) return refuse(t, layout, "one mask is wanted, not a batch");
    } else if (t->rank != strlen(letters)) {
        return refuse(t, layout, "write its layout into the contract");
    }
    bool last = letters[strlen(letters) - 1] == 'C', first = letters[0] == 'C';
    size_t channels = first ? dims[0] : last ? dims[2] : 1;
    mask->height = dims[first];
    mask->width = dims[first + 1];
    if (channels > 256) return refuse(t, layout, "more than 256 classes fit no palette");
    if (!t->size) return refuse(t, layout, "it is empty");
    size_t count = (size_t)mask->width * mask->height;
    float *scores = malloc(nn_tensor_count(t) * sizeof *scores);
    mask->classes = malloc(count);
    bool good = scores && mask->classes;
    if (!good) nn_fail_memory("the mask");
    good = good && nn_dequantize(t, &output->port.quantization, scores);
    size_t step = first ? count : 1, pixel = last ? channels : 1;
    for (size_t i = 0; good && i < count; i++) {
        const float *of = scores + i * pixel;
        if (!first && !last) {
            // Classes are no real numbers: what a quantization would make of them is not meant.
            good = class_of(nn_number(t->data, t->type, i), &mask->classes[i]) ||
                   refuse(t, layout,
                          "without a C it holds classes, and here is a value that is no class of 0 to 255");
        } else if (channels == 1) {
            mask->classes[i] = of[0] > 0.5f;
        } else {
            size_t best = 0;
            for (size_t c = 1; c < channels; c++) {
                float at = of[c * step], most = of[best * step];
                if (at > most || (isnan(most) && !isnan(at) && at > -INFINITY)) best = c;
            }
            mask->classes[i] = (uint8_t)(isnan(of[best * step]) ? 0 : best);
        }
    }
    free(scores);
    if (!good) nn_mask_free(mask);
    return good;
}

void nn_mask_free(struct nn_mask *mask) {
    free(mask->classes);
    *mask = (struct nn_mask){0};
}

static void hsv(double hue, double saturation, double value, uint8_t rgb[3]) {
    int sector = (int)(hue * 6);
    double part = hue * 6 - sector, p = value * (1 - saturation), q = value * (1 - saturation * part),
           t = value * (1 - saturation * (1 - part));
    const double all[6][3] = {{value, t, p}, {q, value, p}, {p, value, t},
                              {p, q, value}, {t, p, value}, {value, p, q}};
    for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)rint(255 * all[sector % 6][c]);
}

void nn_mask_palette(uint8_t palette[768]) {
    // Okabe and Ito's colours, which people with the common kinds of colour blindness tell apart
    // (https://jfly.uni-koeln.de/color/), after a dark gray for class 0, most often the background.
    static const uint8_t first[8][3] = {{64, 64, 64},   {230, 159, 0}, {86, 180, 233}, {0, 158, 115},
                                        {240, 228, 66}, {0, 114, 178}, {213, 94, 0},   {204, 121, 167}};
    static const double saturations[] = {0.75, 0.5, 0.95}, values[] = {0.92, 0.68, 0.5};
    memcpy(palette, first, sizeof first);
    // The others go around the colour circle by the golden section.
    for (int index = 8; index < 256; index++) {
        int step = index - 8;
        hsv(fmod(0.03 + step * 0.6180339887498949, 1), saturations[step % 3], values[step / 3 % 3],
            palette + (size_t)index * 3);
    }
}

bool nn_mask_write(const struct nn_mask *mask, const char *path) {
    uint8_t palette[768], *file;
    size_t size;
    nn_mask_palette(palette);
    if (!nn_png_of_indices(mask->width, mask->height, mask->classes, palette, &file, &size)) return false;
    bool good = nn_file_write(path, file, size);
    free(file);
    return good;
}
