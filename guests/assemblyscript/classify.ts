// SPDX-License-Identifier: Apache-2.0
// Classifies pictures with a model that the host has. Everything about the model is asked of the host.
//
//     wasinn run --graph default=onnx:@digits --dir pictures::/p classify.wasm [--top K] [--tsv] /p/seven.png
import {
  areProbabilities, Context, exit, fixed, general, Graph, InputContract, OutputContract, Picture, preprocess, print,
  printError, programArguments, Result, Scored, topK, wholeNumber,
} from "wasinn";

class Options {
  name: string = "default";
  top: i32 = 5;
  tsv: bool = false;
  pictures: string[] = [];
}

function usage(problem: string): void {
  printError("classify: " + problem + "; usage: classify [--name NAME] [--top K] [--tsv] PICTURE...");
  exit(2);
}

function readOptions(): Options {
  const words = programArguments(), options = new Options();
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (word == "--tsv") {
      options.tsv = true;
    } else if (word == "--name" || word == "--top") {
      if (++i == words.length) usage(word + " needs a value");
      else if (word == "--name") options.name = words[i];
      else options.top = wholeNumber(words[i]);
      if (options.top < 1) usage("--top needs a number above 0, not '" + words[i] + "'");
    } else if (word.startsWith("--")) {
      usage("there is no option " + word);
    } else {
      options.pictures.push(word);
    }
  }
  if (!options.pictures.length) usage("no picture is given");
  return options;
}

function classify(context: Context, input: InputContract, output: OutputContract,
  path: string, top: i32): Result<Scored[]> {
  const picture = Picture.read(path);
  if (picture.isFailed) return Result.from<Scored[]>(picture.error);
  const tensor = preprocess(picture.value, input);
  picture.value.free();
  if (tensor.isFailed) return Result.failed<Scored[]>(path + ": " + tensor.error.text);
  let failure = context.setInput(input.index, tensor.value);
  tensor.value.data.free();
  if (!failure) failure = context.compute();
  if (failure) return Result.from<Scored[]>(failure);
  const answer = context.output(output.index);
  return answer.isFailed ? Result.from<Scored[]>(answer.error) : topK(answer.value, output, top);
}

function show(path: string, scored: Scored[], tsv: bool): void {
  const scores = new StaticArray<f64>(scored.length);
  let width = 0;
  for (let i = 0; i < scored.length; i++) {
    scores[i] = scored[i].score;
    width = max(width, scored[i].name.length);
  }
  const areShares = areProbabilities(scores);
  if (!tsv) print(path);
  for (let i = 0; i < scored.length; i++) {
    const each = scored[i], rank = (i + 1).toString();
    if (tsv) {
      print(path + "\t" + rank + "\t" + each.index.toString() + "\t" + general(each.score, 6) + "\t" + each.label);
    } else {
      const number = areShares ? fixed(each.score * 100, 2).padStart(6) + "%" : fixed(each.score, 3).padStart(12);
      print(rank.padStart(3) + "  " + each.name.padEnd(width) + "  " + number);
    }
  }
}

// `value` of a Result that failed prints the error and ends the program.
const options = readOptions();
const graph = Graph.named(options.name).value;
const metadata = graph.metadata().value;
const input = metadata.pictureInput().value;
const output = metadata.outputOf(["logits", "probabilities", "raw"]).value;
const context = graph.context().value;
let allGood = true;
for (let i = 0; i < options.pictures.length; i++) {
  const scored = classify(context, input, output, options.pictures[i], options.top);
  if (scored.isFailed) {
    printError("classify: " + scored.error.text);
    allGood = false;
  } else {
    show(options.pictures[i], scored.value, options.tsv);
  }
}
if (!allGood) exit(1);
