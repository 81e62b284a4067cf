// SPDX-License-Identifier: Apache-2.0
// Graphs by each way: `graphs named NAME CONFIG`, `graphs files ENCODING PATH...`, and `graphs lost NAME`, which
// makes many contexts and keeps none.
import { Encoding, exit, Graph, print, printError, programArguments, Result, Tensor } from "wasinn";

function opened(words: string[]): Result<Graph> {
  if (words[0] == "named") return Graph.named(words[1], words[2]);
  return Graph.ofFiles(words.slice(2), <Encoding>i32(parseInt(words[1])));
}

function computed(graph: Graph): i32 {
  const context = graph.context().value;
  const port = graph.metadata().value.inputs[0];
  const failure = context.setInputNamed(port.name, Tensor.of<f32>([1, 4], [1, 2, 3, 4]).value) || context.compute();
  if (failure) {
    printError(failure.text);
    return 1;
  }
  const output = context.output(0).value, values = output.values<f32>().value;
  print(output.toString() + " " + values.join(" "));
  const wrong = output.values<i32>();
  print(wrong.error.text);
  context.close();
  context.close();
  return 0;
}

function main(): i32 {
  const words = programArguments();
  if (words[0] == "lost") {
    for (let i = 0; i < 5000; i++) {
      const context = Graph.named(words[1]).value.context().value;
      context.setInput(0, Tensor.of<f32>([1, 4], [1, 2, 3, <f32>i]).value);
    }
    print("done");
    return 0;
  }
  const graph = opened(words);
  if (graph.isFailed) {
    printError(graph.error.text);
    return 1;
  }
  return computed(graph.value);
}

exit(main());
