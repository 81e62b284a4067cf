// SPDX-License-Identifier: Apache-2.0
// Decodes many pictures: `pictures PATH COUNT` reads PATH0, PATH1, ... and prints "WIDTHxHEIGHT ADLER32" or the
// error of each. `pictures PATH` writes the one picture's pixels to stdout.
import { adler32 } from "wasinn/assembly/image/inflate";
import { exit, Picture, print, printBytes, programArguments, wholeNumber } from "wasinn";

function main(): i32 {
  const words = programArguments();
  if (words.length == 1) {
    const picture = Picture.read(words[0]).value;
    return printBytes(picture.rgb) ? 0 : 1;
  }
  const count = wholeNumber(words[1]);
  for (let i = 0; i < count; i++) {
    const read = Picture.read(words[0] + i.toString());
    if (read.isFailed) {
      print("error " + read.error.text);
      continue;
    }
    const picture = read.value, rgb = picture.rgb;
    print(picture.width.toString() + "x" + picture.height.toString() + " "
      + adler32(rgb.pointer, <usize>rgb.length).toString());
    // Every second one is left to the garbage collector.
    if (i & 1) picture.free();
  }
  return 0;
}

exit(main());
