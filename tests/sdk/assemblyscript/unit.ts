// SPDX-License-Identifier: Apache-2.0
// What the SDK computes, without a model: `unit WHAT ARGUMENT...` prints the answer.
import {
  best, Bytes, exit, fixed, general, Json, palette, print, printError, programArguments, Quantization,
    softmax, Tensor, Type,
} from "wasinn";
import { fromHalf, toHalf } from "wasinn/assembly/types";

function numbers(words: string[]): StaticArray<f64> {
  const all = new StaticArray<f64>(words.length - 1);
  for (let i = 1; i < words.length; i++) all[i - 1] = parseFloat(words[i]);
  return all;
}

/** A JSON value written again, without spaces. */
function written(json: Json): string {
  const text: string[] = [];
  for (let i = 0; i < json.items.length; i++) text.push(written(json.items[i]));
  switch (json.kind) {
    case 0: return "null";
    case 1: return json.isTrue ? "true" : "false";
    case 2: return json.number.toString();
    case 3: return "'" + json.text + "'";
    case 4: return "[" + text.join(",") + "]";
    default: return "{" + text.join(",") + "}";
  }
}

/** All halves there and back; how many changed. */
function halves(): i32 {
  let changed = 0;
  for (let bits = 0; bits < 65536; bits++) {
    const value = fromHalf(<u16>bits);
    if (value == value && toHalf(value) != <u16>bits) changed++;
  }
  return changed;
}

/** Takes and gives back memory many times; the pages at the end. */
function memoryUsed(): i32 {
  for (let i = 0; i < 2000; i++) {
    const bytes = Bytes.make((1 + i % 7) * 1000003);
    if (!bytes) return -1;
    bytes[bytes.length - 1] = 7;
    if (i & 1) bytes.free();
  }
  return memory.size();
}

function main(): i32 {
  const words = programArguments(), what = words[0];
  if (what == "general") {
    for (let i = 1; i < words.length; i++) print(general(parseFloat(words[i]), 6));
  } else if (what == "fixed") {
    for (let i = 1; i < words.length; i++) print(fixed(parseFloat(words[i]), 2));
  } else if (what == "softmax") {
    const all = softmax(numbers(words));
    for (let i = 0; i < all.length; i++) print(all[i].toString());
  } else if (what == "best") {
    print(best(numbers(words), 4).join(" "));
  } else if (what == "halves") {
    print(halves().toString());
  } else if (what == "half") {
    for (let i = 1; i < words.length; i++) print(toHalf(<f32>parseFloat(words[i])).toString());
  } else if (what == "json") {
    for (let i = 1; i < words.length; i++) {
      const json = Json.parse(words[i]);
      print(json.isFailed ? "error " + json.error.text : written(json.value));
    }
  } else if (what == "palette") {
    print(palette().join(" "));
  } else if (what == "memory") {
    print(memoryUsed().toString());
  } else if (what == "huge") {
    const bytes = Bytes.make(i32(parseInt(words[1])));
    print(bytes ? "there" : "no memory");
  } else if (what == "quantize") {
    const reals = Bytes.of<f64>(numbers(words));
    if (!reals) return 1;
    const by = new Quantization([0.5, 0.25], [3, -3], 1), dims = [reals.length / 16, 2];
    const tensor = Tensor.ofReals(Type.I8, dims, reals, by).value, back = tensor.reals(by);
    for (let i = 0; back && i < tensor.length; i++) print(tensor.get(i).toString() + " "
      + back.at<f64>(i).toString());
  } else {
    printError("unit: there is no '" + what + "'");
    return 2;
  }
  return 0;
}

exit(main());
