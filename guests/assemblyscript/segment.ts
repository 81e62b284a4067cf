// SPDX-License-Identifier: Apache-2.0
// Segments a picture with a model that the host has: writes the output's bytes, and a PNG whose pixel values are
// the classes.
//
//     wasinn run --graph default=... --dir data::/p:rw segment.wasm /p/street.png /p/out.tensor /p/out.png
import {
  encodePalettePng, exit, Graph, maskOf, palette, Picture, preprocess, print, printError, programArguments, writeFile,
} from "wasinn";

function fail(text: string, code: i32 = 1): i32 {
  printError("segment: " + text);
  return code;
}

const USAGE = "; usage: segment [--name NAME] PICTURE OUT.tensor OUT.png";

function main(): i32 {
  const words = programArguments(), files: string[] = [];
  let name = "default";
  for (let i = 0; i < words.length; i++) {
    if (words[i] == "--name") {
      if (++i == words.length) return fail("--name needs a value" + USAGE, 2);
      name = words[i];
    } else if (words[i].startsWith("--")) {
      return fail("there is no option " + words[i] + USAGE, 2);
    } else {
      files.push(words[i]);
    }
  }
  if (files.length != 3) return fail("a picture and two files to write are wanted" + USAGE, 2);

  // `value` of a Result that failed prints the error and ends the program.
  const picture = Picture.read(files[0]).value;
  const graph = Graph.named(name).value;
  const metadata = graph.metadata().value;
  const input = metadata.pictureInput().value;
  const output = metadata.outputOf(["mask"]).value;
  const context = graph.context().value;

  const tensor = preprocess(picture, input);
  picture.free();
  if (tensor.isFailed) return fail(files[0] + ": " + tensor.error.text);
  const failure = context.setInput(input.index, tensor.value) || context.compute();
  if (failure) return fail(failure.text);
  const answer = context.output(output.index).value;
  const mask = maskOf(answer, output).value;
  writeFile(files[1], answer.data).value;
  writeFile(files[2], encodePalettePng(mask.width, mask.height, mask.classes, palette()).value).value;

  const counts = mask.counts();
  for (let i = 0; i < counts.length; i++) {
    if (counts[i]) print("class " + i.toString() + "\t" + output.label(i) + "\t" + counts[i].toString());
  }
  return 0;
}

exit(main());
