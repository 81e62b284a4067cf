// SPDX-License-Identifier: Apache-2.0
// Makes one mistake with the graph "default" (input x, f32 [1,4]; output y) and prints what it is told.
import { Bytes, Context, exit, Failure, Graph, print, printError, programArguments, Result, Tensor } from "wasinn";

const KNOWN = [
  "wrong-dims", "wrong-bytes", "wrong-type", "closed-context", "closed-graph", "unknown-graph", "no-such-input",
  "no-such-output", "small-buffer", "no-input",
];

function failureOf<T>(result: Result<T>): Failure | null {
  return result.isFailed ? result.error : null;
}

function make(which: string): Failure | null {
  if (which == "unknown-graph") return failureOf(Graph.named("nobody"));
  const good = Tensor.of<f32>([1, 4], [1, 2, 3, 4]).value;
  if (which == "wrong-bytes") return failureOf(Tensor.of<f32>([1, 4], [1, 2, 3]));
  const graph = Graph.named("default").value;
  if (which == "closed-graph") {
    graph.close();
    return failureOf<Context>(graph.context());
  }
  const context = graph.context().value;
  if (which == "wrong-dims") return context.setInput(0, Tensor.of<f32>([1, 5], [1, 2, 3, 4, 5]).value);
  if (which == "wrong-type") return context.setInput(0, Tensor.of<u8>([1, 4], [1, 2, 3, 4]).value);
  if (which == "closed-context") {
    context.close();
    return context.compute();
  }
  if (which == "no-such-input") return context.setInputNamed("pixels", good);
  if (which == "no-input") return context.compute();
  context.setInput(0, good);
  context.compute();
  if (which == "no-such-output") return failureOf(context.outputNamed("scores"));
  const small = Bytes.make(8);
  return small ? failureOf(context.outputInto(0, small)) : null;
}

const words = programArguments();
if (words.length != 1 || !KNOWN.includes(words[0])) {
  printError("mistakes: '" + words.join(" ") + "' is no mistake: there are " + KNOWN.join(", "));
  exit(2);
}
tell(make(words[0]));

function tell(failure: Failure | null): void {
  if (failure) {
    print(failure.text);
    return;
  }
  printError("mistakes: nothing failed");
  exit(1);
}
