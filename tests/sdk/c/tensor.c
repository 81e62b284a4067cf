// SPDX-License-Identifier: Apache-2.0
// tensor [JSON PICTURE]...: what the SDK makes of each picture by one input of a contract (or by that in a
// file, @FILE), to stdout: the tensor's length in 4 bytes, then its bytes. A length of 0: refused, and stderr
// says why.

#include <file.h>
#include <nn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct nn_json *read_json(const char *text) {
    if (text[0] != '@') return nn_json_parse(text, strlen(text));
    uint8_t *data;
    size_t size;
    if (!nn_file_read(text + 1, &data, &size)) return NULL;
    struct nn_json *json = nn_json_parse((char *)data, size);
    free(data);
    return json;
}

static bool make(const char *json, const char *path, struct nn_tensor *tensor) {
    NN_IMAGE(picture);
    struct nn_preprocess how;
    struct nn_quantization quantization = {0};
    struct nn_json *input = read_json(json);
    bool good = input && nn_preprocess_read(input, &how) &&
                nn_quantization_read(nn_json_get(input, "quantization"), &quantization);
    nn_json_free(input);
    how.quantization = quantization;
    good = good && nn_image_read(&picture, path) && nn_preprocess_image(&how, &picture, tensor);
    free((void *)quantization.scales);
    return good;
}

int main(int argc, char **argv) {
    bool all_good = true;
    if (argc % 2 == 0) {
        fprintf(stderr, "usage: tensor [JSON PICTURE]...\n");
        return 2;
    }
    for (int i = 1; i < argc; i += 2) {
        NN_TENSOR(tensor);
        bool good = make(argv[i], argv[i + 1], &tensor);
        uint32_t size = good ? (uint32_t)tensor.size : 0;
        fwrite(&size, sizeof size, 1, stdout);
        if (size) fwrite(tensor.data, 1, size, stdout);
        if (good) continue;
        bool named = !strncmp(nn_error.text, argv[i + 1], strlen(argv[i + 1]));
        fprintf(stderr, "%s%s%s\n", named ? "" : argv[i + 1], named ? "" : ": ", nn_error.text);
        all_good = false;
    }
    return all_good ? 0 : 1;
}
