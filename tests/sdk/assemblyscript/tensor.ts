// SPDX-License-Identifier: Apache-2.0
// Preprocesses pictures: `tensor JSON PICTURE...`, where JSON (or @FILE with it) is one input of a contract. Writes
// the length (u32) and the bytes of each tensor to stdout; a length of 0, and an error, where there is none.
import {
  Bytes, exit, InputContract, Picture, preprocess, printBytes, printError, programArguments, readFile, Result, Tensor,
} from "wasinn";

function tensorOf(json: string, path: string): Result<Tensor> {
  let text = json;
  if (json.startsWith("@")) {
    const file = readFile(json.slice(1));
    if (file.isFailed) return Result.from<Tensor>(file.error);
    text = file.value.toString();
    file.value.free();
  }
  const input = InputContract.parse(text);
  if (input.isFailed) return Result.failed<Tensor>(path + ": " + input.error.text);
  const picture = Picture.read(path);
  if (picture.isFailed) return Result.from<Tensor>(picture.error);
  const tensor = preprocess(picture.value, input.value);
  picture.value.free();
  return tensor.isFailed ? Result.failed<Tensor>(path + ": " + tensor.error.text) : tensor;
}

const words = programArguments();
if (words.length < 2 || words.length % 2) {
  printError("tensor: usage: tensor JSON PICTURE [JSON PICTURE]...");
  exit(2);
}
let allGood = true;
for (let i = 0; i + 1 < words.length; i += 2) {
  const made = tensorOf(words[i], words[i + 1]);
  if (made.isFailed) {
    printError(made.error.text);
    allGood = false;
  }
  const length: StaticArray<i32> = [made.isFailed ? 0 : made.value.data.length];
  const head: Bytes | null = Bytes.of<i32>(length);
  if (head) printBytes(head);
  if (made.isFailed) continue;
  printBytes(made.value.data);
  made.value.data.free();
}
if (!allGood) exit(1);
