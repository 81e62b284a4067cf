// SPDX-License-Identifier: Apache-2.0
#include "metadata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool nn_quantization_read(const struct nn_json *json, struct nn_quantization *q) {
    const struct nn_json *scales = nn_json_get(json, "scale");
    *q = (struct nn_quantization){.axis = -1};
    if (!scales) return true;
    uint32_t count = scales->kind == NN_JSON_ARRAY ? scales->count : 1;
    double *numbers = count ? calloc((size_t)count * 2, sizeof *numbers) : NULL;
    if (!numbers) return !count || nn_fail_memory("a quantization");
    uint32_t found = nn_json_numbers(json, "scale", numbers, count);
    uint32_t zeros = nn_json_numbers(json, "zero_point", numbers + count, count);
    for (uint32_t i = zeros; zeros == 1 && i < count; i++) numbers[count + i] = numbers[count];
    if (found != count || (zeros > 1 && zeros != count)) {
        free(numbers);
        return nn_fail(NN_INVALID_ARGUMENT,
                       "the metadata has a quantization without a number for each scale and zero point");
    }
    int axis = (int)nn_json_integer(json, "axis", -1);
    *q = (struct nn_quantization){count, axis < 0 ? -1 : axis, numbers, numbers + count};
    return true;
}

static void read_dims(const struct nn_json *dims, struct nn_port *port) {
    port->rank = -1;
    if (!dims || dims->kind != NN_JSON_ARRAY || dims->count > NN_MAX_RANK) return;
    port->rank = 0;
    for (const struct nn_json *item = dims->first; item; item = item->next) {
        double dim = item->kind == NN_JSON_NUMBER ? item->number : -1;
        port->dims[port->rank++] = dim >= 0 && dim <= UINT32_MAX ? (int64_t)dim : -1;
    }
}

static bool read_port(const struct nn_json *json, struct nn_port *port) {
    port->json = json;
    port->name = nn_json_text(json, "name", "");
    port->type = nn_type_of_name(nn_json_text(json, "datatype", NULL));
    read_dims(nn_json_get(json, "shape"), port);
    return nn_quantization_read(nn_json_get(json, "quantization"), &port->quantization);
}

// Without a contract: a tensor with 1 or 3 channels where a picture has them is taken for one.
static void guess_image(struct nn_input *input) {
    const struct nn_port *port = &input->port;
    struct nn_preprocess p = nn_preprocess_defaults;
    const int64_t *dims = port->dims;
    bool batch = port->rank == 4;
    if (port->rank != 3 && port->rank != 4) return;
    if (batch) dims++;
    bool first = dims[0] == 1 || dims[0] == 3, last = dims[2] == 1 || dims[2] == 3;
    if (first == last && !(first && dims[1] > 3)) return;
    int64_t height = first ? dims[1] : dims[0], width = first ? dims[2] : dims[1];
    if (height < 1 || width < 1 || height > 16384 || width > 16384) return;
    snprintf(p.layout, sizeof p.layout, "%s%s", batch ? "N" : "", first ? "CHW" : "HWC");
    p.height = (uint32_t)height;
    p.width = (uint32_t)width;
    p.colour = (first ? dims[0] : dims[2]) == 1 ? NN_GRAY : NN_RGB;
    p.type = port->type == NN_NO_TYPE ? NN_F32 : port->type;
    if (p.type == NN_U8)
        p.high = 255;  // the picture's bytes as they are
    else if (port->quantization.count)
        p.quantization = port->quantization;
    else if (nn_type_size(p.type) && p.type != NN_F16 && p.type != NN_F32 && p.type != NN_F64)
        p.high = 255;
    input->is_image = true;
    input->preprocess = p;
}

static void copy_strings(const struct nn_json *list, struct nn_output *output) {
    if (!list || list->kind != NN_JSON_ARRAY || !list->count) return;
    free(output->labels);  // of an entry before, for the same output
    output->label_count = 0;
    output->labels = calloc(list->count, sizeof *output->labels);
    if (!output->labels) return;
    for (const struct nn_json *item = list->first; item; item = item->next)
        output->labels[output->label_count++] = item->kind == NN_JSON_STRING ? item->text : "";
}

static bool read_contract(struct nn_metadata *m, const struct nn_json *contract) {
    const struct nn_json *inputs = nn_json_get(contract, "inputs"),
                         *outputs = nn_json_get(contract, "outputs");
    m->has_contract = contract && contract->kind == NN_JSON_OBJECT;
    for (const struct nn_json *each = inputs ? inputs->first : NULL; each; each = each->next) {
        double index = nn_json_number(each, "index", -1);
        if (!(index >= 0 && index < m->input_count)) continue;
        struct nn_input *input = &m->inputs[(uint32_t)index];
        input->port.contract_name = nn_json_text(each, "name", NULL);
        input->is_image = nn_json_get(each, "image") != NULL;
        if (!input->is_image) continue;
        if (!nn_preprocess_read(each, &input->preprocess)) return false;
        struct nn_quantization q;
        if (!nn_quantization_read(nn_json_get(each, "quantization"), &q)) return false;
        free((void *)input->port.quantization.scales);  // the contract's in its place
        input->port.quantization = input->preprocess.quantization = q;
    }
    for (const struct nn_json *each = outputs ? outputs->first : NULL; each; each = each->next) {
        double index = nn_json_number(each, "index", -1);
        if (!(index >= 0 && index < m->output_count)) continue;
        struct nn_output *output = &m->outputs[(uint32_t)index];
        output->port.contract_name = nn_json_text(each, "name", NULL);
        output->kind = nn_json_text(each, "kind", NULL);
        output->layout = nn_json_text(each, "layout", NULL);
        output->label_offset = nn_json_integer(each, "label_offset", 0);
        copy_strings(nn_json_get(each, "labels"), output);
        uint8_t type = nn_type_of_name(nn_json_text(each, "type", NULL));
        if (type != NN_NO_TYPE) output->port.type = type;
        struct nn_quantization q;
        if (!nn_quantization_read(nn_json_get(each, "quantization"), &q)) return false;
        free((void *)output->port.quantization.scales);
        output->port.quantization = q;
    }
    return true;
}

struct nn_metadata *nn_metadata_parse(const char *text, size_t size) {
    struct nn_metadata *m = calloc(1, sizeof *m);
    if (!m) return nn_fail_memory("the metadata"), NULL;
    m->json = nn_json_parse(text, size);
    const struct nn_json *inputs = nn_json_get(m->json, "inputs"), *outputs = nn_json_get(m->json, "outputs");
    uint32_t input_count = inputs ? inputs->count : 0, output_count = outputs ? outputs->count : 0;
    m->inputs = calloc(input_count + 1, sizeof *m->inputs);
    m->outputs = calloc(output_count + 1, sizeof *m->outputs);
    bool good = m->json != NULL;
    if (good && (!m->inputs || !m->outputs)) good = nn_fail_memory("the metadata");
    for (const struct nn_json *each = good && inputs ? inputs->first : NULL; good && each; each = each->next)
        good = read_port(each, &m->inputs[m->input_count++].port);
    for (const struct nn_json *each = good && outputs ? outputs->first : NULL; good && each;
         each = each->next)
        good = read_port(each, &m->outputs[m->output_count++].port);
    for (uint32_t i = 0; good && i < m->input_count; i++) guess_image(&m->inputs[i]);
    good = good && read_contract(m, nn_json_get(m->json, "contract"));
    if (good) return m;
    nn_metadata_free(m);
    return NULL;
}

void nn_metadata_free(struct nn_metadata *m) {
    if (!m) return;
    for (uint32_t i = 0; i < m->input_count; i++) free((void *)m->inputs[i].port.quantization.scales);
    for (uint32_t i = 0; i < m->output_count; i++) {
        free((void *)m->outputs[i].port.quantization.scales);
        free(m->outputs[i].labels);
    }
    free(m->inputs);
    free(m->outputs);
    nn_json_free(m->json);
    free(m);
}

// ---- Names ----

static bool is_called(const struct nn_port *port, const char *name) {
    if (!strcmp(port->name, name)) return true;
    if (port->contract_name && !strcmp(port->contract_name, name)) return true;
    const struct nn_json *aliases = nn_json_get(port->json, "aliases");
    for (const struct nn_json *each = aliases ? aliases->first : NULL; each; each = each->next)
        if (each->kind == NN_JSON_STRING && !strcmp(each->text, name)) return true;
    return false;
}

// "'x', 'y' (index 1)", cut off where it gets long.
static void list_name(char *list, size_t size, const struct nn_port *port) {
    size_t at = strlen(list);
    if (at + 1 >= size) return;
    snprintf(list + at, size - at, "%s'%s'", at ? ", " : "", port->name);
    at = strlen(list);
    if (port->contract_name && strcmp(port->contract_name, port->name))
        snprintf(list + at, size - at, " (in the contract '%s')", port->contract_name);
}

int nn_find_input(const struct nn_metadata *m, const char *name) {
    char list[1024] = "";
    for (uint32_t i = 0; i < m->input_count; i++) {
        if (is_called(&m->inputs[i].port, name)) return (int)i;
        list_name(list, sizeof list, &m->inputs[i].port);
    }
    nn_refuse(NN_NOT_FOUND, "set_input", "the graph has no input '%s'; it has %s", name,
              *list ? list : "none");
    return -1;
}

int nn_find_output(const struct nn_metadata *m, const char *name) {
    char list[1024] = "";
    for (uint32_t i = 0; i < m->output_count; i++) {
        if (is_called(&m->outputs[i].port, name)) return (int)i;
        list_name(list, sizeof list, &m->outputs[i].port);
    }
    nn_refuse(NN_NOT_FOUND, "get_output", "the graph has no output '%s'; it has %s", name,
              *list ? list : "none");
    return -1;
}

int nn_image_input(const struct nn_metadata *m) {
    for (uint32_t i = 0; i < m->input_count; i++)
        if (m->inputs[i].is_image) return (int)i;
    nn_fail(NN_NOT_FOUND,
            m->has_contract ? "no input is a picture in the graph's contract"
                            : "no input looks like a picture: give the graph a contract (docs/contracts.md)");
    return -1;
}

int nn_output_of_kind(const struct nn_metadata *m, const char *kind, const char *or_kind) {
    for (uint32_t i = 0; i < m->output_count; i++) {
        const char *found = m->outputs[i].kind;
        if (found && (!strcmp(found, kind) || (or_kind && !strcmp(found, or_kind)))) return (int)i;
    }
    for (uint32_t i = 0; i < m->output_count; i++)
        if (!m->outputs[i].kind || !strcmp(m->outputs[i].kind, "raw")) return (int)i;
    nn_fail(NN_NOT_FOUND, "no output has \"%s\" in the graph's contract", kind);
    return -1;
}

const char *nn_label(const struct nn_output *output, size_t class) {
    int64_t at = (int64_t)class + output->label_offset;
    if (at < 0 || at >= (int64_t)output->label_count || !*output->labels[at]) return NULL;
    return output->labels[at];
}

uint32_t nn_batch_of(const struct nn_input *input) {
    if (input->preprocess.layout[0] != 'N' || input->port.rank < 1) return 1;
    return input->port.dims[0] < 0 ? 0 : (uint32_t)input->port.dims[0];
}
