// SPDX-License-Identifier: Apache-2.0
// The shortest guest that is of use: a request's tensors go through a graph, and what comes out is the answer.
//
//   in    the graph's inputs, by name; a request of one tensor for a graph of one input may call it anything
//   out   the graph's outputs, by name
//
// The graph is "default", or the first word of `args`. A guest of yours does its own work before and after.

#include <nn.h>
#include <serve.h>

static const struct nn_request_tensor *tensor_for(const struct nn_request *request, const struct nn_metadata *graph,
                                                  uint32_t input) {
    if (graph->input_count == 1 && request->count == 1) return &request->tensors[0];
    return nn_request_find(request, graph->inputs[input].port.name);
}

static bool serve(const struct nn_request *request, struct nn_answer *answer) {
    const char *name = nn_serve_argument(1);
    NN_GRAPH(graph);
    NN_CONTEXT(context);
    if (!nn_graph_by_name(&graph, name ? name : "default") || !nn_context_open(&context, &graph)) return false;
    const struct nn_metadata *info = nn_graph_info(&graph);
    if (!info) return false;
    for (uint32_t i = 0; i < info->input_count; i++) {
        const struct nn_request_tensor *given = tensor_for(request, info, i);
        // What is missing, or does not fit, is the caller's mistake, and the error says which.
        if (!given || !nn_input_set(&context, i, &given->tensor)) return nn_answer_refuse(answer, "%s", nn_error.text);
    }
    if (!nn_context_compute(&context)) return false;
    for (uint32_t i = 0; i < info->output_count; i++) {
        NN_TENSOR(output);
        if (!nn_output_get(&context, i, &output)) return false;
        if (!nn_answer_tensor(answer, info->outputs[i].port.name, &output)) return false;
    }
    return true;
}

NN_SERVE(serve)
