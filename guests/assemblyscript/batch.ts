// SPDX-License-Identifier: Apache-2.0
// Classifies many pictures in one context; several in one computation where the model's first dimension is dynamic.
//
//     wasinn run --graph default=onnx:@digits_batch --dir pictures::/p batch.wasm [--name NAME] [--size N] /p/*.png
import {
  exit, Failure, general, Graph, Picture, preprocess, print, printError, programArguments, Tensor, topK, wholeNumber,
} from "wasinn";

function usage(problem: string): void {
  printError("batch: " + problem + "; usage: batch [--name NAME] [--size N] PICTURE...");
  exit(2);
}

const words = programArguments();
const pictures: string[] = [];
let name = "default", size = 8;
for (let i = 0; i < words.length; i++) {
  const word = words[i];
  if (word == "--name" || word == "--size") {
    if (++i == words.length) usage(word + " needs a value");
    else if (word == "--name") name = words[i];
    else size = wholeNumber(words[i]);
    if (size < 1) usage("--size needs a number above 0, not '" + words[i] + "'");
  } else if (word.startsWith("--")) {
    usage("there is no option " + word);
  } else {
    pictures.push(word);
  }
}
if (!pictures.length) usage("no picture is given");

// `value` of a Result that failed prints the error and ends the program.
const graph = Graph.named(name).value;
const metadata = graph.metadata().value;
const input = metadata.pictureInput().value;
const output = metadata.outputOf(["logits", "probabilities", "raw"]).value;
const context = graph.context().value;
if (!input.isBatched) size = 1;

/** One computation; a line for each picture. */
function compute(paths: string[], tensors: Tensor[]): Failure | null {
  const batch = Tensor.joined(tensors);
  if (batch.isFailed && tensors.length > 1) return batch.error;
  // A tensor without a batch dimension goes as it is.
  let failure = context.setInput(input.index, batch.isFailed ? tensors[0] : batch.value);
  if (!failure) failure = context.compute();
  if (failure) return failure;
  const answer = context.output(output.index);
  if (answer.isFailed) return answer.error;
  const dims = answer.value.dims;
  if (tensors.length > 1 && (!dims.length || dims[0] != tensors.length)) {
    return new Failure("the output '" + output.name + "' has not a row for each picture of the batch: "
      + answer.value.toString());
  }
  for (let i = 0; i < paths.length; i++) {
    const part = tensors.length > 1 ? answer.value.part(i) : answer;
    if (part.isFailed) return part.error;
    const scored = topK(part.value, output, 1);
    if (scored.isFailed) return scored.error;
    if (!scored.value.length) return new Failure("the output '" + output.name + "' is empty");
    const best = scored.value[0];
    print(paths[i] + "\t" + best.index.toString() + "\t" + general(best.score, 6) + "\t" + best.label);
  }
  return null;
}

let allGood = true, paths: string[] = [], tensors: Tensor[] = [];
for (let i = 0; i < pictures.length; i++) {
  const picture = Picture.read(pictures[i]);
  if (picture.isFailed) {
    printError("batch: " + picture.error.text);
    allGood = false;
  } else {
    const tensor = preprocess(picture.value, input);
    picture.value.free();
    if (tensor.isFailed) {
      printError("batch: " + pictures[i] + ": " + tensor.error.text);
      allGood = false;
    } else {
      paths.push(pictures[i]);
      tensors.push(tensor.value);
    }
  }
  if (tensors.length == size || (tensors.length && i + 1 == pictures.length)) {
    const failure = compute(paths, tensors);
    if (failure) {
      printError("batch: " + failure.text);
      exit(1);
    }
    paths = [];
    tensors = [];
  }
}
if (!allGood) exit(1);
