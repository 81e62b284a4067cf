// A guest that classifies a picture: `wasinn run --graph default=MODEL --dir DIR @NAME@.wasm DIR/PICTURE`.
// What the model takes and gives, the guest asks of the host: any classifier of pictures will do.
import {
  exit, fixed, Graph, Picture, preprocess, print, printError, programArguments, topK,
} from "wasinn";

function fail(text: string): i32 {
  printError("@NAME@: " + text);
  return 1;
}

function main(): i32 {
  const words = programArguments();
  if (words.length != 1) return fail("one picture is wanted (PNG, BMP, PPM or PGM)");
  const picture = Picture.read(words[0]);
  if (picture.isFailed) return fail(picture.error.text);

  // `value` of what failed prints the error and ends the program.
  const graph = Graph.named("default").value;
  const metadata = graph.metadata().value;
  const input = metadata.pictureInput().value;
  const output = metadata.outputOf(["logits", "probabilities"]).value;
  const context = graph.context().value;

  const tensor = preprocess(picture.value, input).value;
  const failure = context.setInput(input.index, tensor) || context.compute();
  if (failure) return fail(failure.text);
  const best = topK(context.output(output.index).value, output, 3).value;
  for (let i = 0; i < best.length; i++) {
    print(best[i].name + "\t" + fixed(best[i].score * 100, 2) + "%");
  }
  return 0;
}

exit(main());
