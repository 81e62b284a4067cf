// SPDX-License-Identifier: Apache-2.0
// What goes without wasinn's own functions (built with NN_PORTABLE): author's shapes, an error's code, no metadata.
import { exit, Graph, print, programArguments, Tensor } from "wasinn";

function main(): i32 {
  const graph = Graph.named(programArguments()[0]);
  if (graph.isFailed) {
    print(graph.error.text);
    return 0;
  }
  const context = graph.value.context().value;
  const failure = context.setInput(0, Tensor.of<f32>([1, 4], [1, 2, 3, 4]).value) || context.compute();
  if (failure) return 1;
  const output = context.outputBytes(0).value;
  for (let i = 0; i < 4; i++) print(output.at<f32>(i).toString());
  print(graph.value.metadata().error.text);
  context.close();
  graph.value.close();
  return 0;
}

exit(main());
