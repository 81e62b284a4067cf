// SPDX-License-Identifier: Apache-2.0
// A segmenter's answer: the class of each pixel.
import { Bytes } from "./bytes";
import { OutputContract } from "./metadata";
import { dequantized } from "./quantization";
import { noMemory, Result } from "./result";
import { Tensor } from "./tensor";
import { dimsText } from "./text";
import { readNumber, typeSize } from "./types";

/** The class of each pixel, one byte each. */
@final export class Mask {
  constructor(public width: i32, public height: i32, public classes: Bytes) {}

  /** How many pixels each class 0 to 255 has. */
  counts(): StaticArray<i32> {
    const counts = new StaticArray<i32>(256);
    for (let i = 0; i < this.classes.length; i++) counts[load<u8>(this.classes.pointer + <usize>i)]++;
    return counts;
  }
}

/**
 * Layouts with C hold a score for each class: the largest counts, of equal ones the lowest class, a NaN never. A
 * single channel is the probability of class 1. Layouts without C hold the class itself.
 */
export function maskOf(tensor: Tensor, output: OutputContract): Result<Mask> {
  const what = "output '" + output.name + "' " + dimsText(tensor.dims) + ": ";
  let dims = tensor.dims, layout = output.layout;
  if (layout.startsWith("N")) layout = layout.slice(1);
  if (layout != "CHW" && layout != "HWC" && layout != "HW") {
    return Result.failed<Mask>(what + "a mask has no layout '" + output.layout
      + "': there are NCHW, NHWC, CHW, HWC, NHW, HW");
  }
  if (dims.length == layout.length + 1) {
    if (dims[0] != 1) return Result.failed<Mask>(what + "a batch, and one mask is wanted");
    dims = dims.slice(1);
  }
  if (dims.length != layout.length) {
    return Result.failed<Mask>(what + "a mask of layout " + output.layout
      + " has other dims: write its layout into the contract");
  }
  const at = layout.indexOf("C"), channels = at < 0 ? 0 : dims[at];
  const height = dims[layout.indexOf("H")], width = dims[layout.indexOf("W")];
  if (height < 1 || width < 1 || (at >= 0 && channels < 1)) return Result.failed<Mask>(what
    + "a mask without pixels or channels");
  if (channels > 256) return Result.failed<Mask>(what + "more than 256 classes fit no palette");
  const pixels = width * height, classes = Bytes.raw(pixels);
  if (!classes) return noMemory<Mask>("the mask");
  const size = typeSize(tensor.type), data = tensor.data.pointer;
  // From one channel of a pixel to the next, and from one pixel to the next, in bytes.
  const across = <usize>(at == 0 ? pixels * size : size), along = <usize>(at == 0 || at < 0 ? size : size * channels);
  const by = output.quantization, scaled = by != null && channels == 1;
  // Of one scale the largest score is the largest integer; of one for each class it need not be.
  const each = by != null && by.scales.length > 1 && by.scales.length == channels;
  for (let i = 0; i < pixels; i++) {
    const from = data + <usize>i * along;
    let found = 0;
    if (channels > 1) {
      let most: f64 = -Infinity;
      for (let c = 0; c < channels; c++) {
        let score = readNumber(tensor.type, from + across * <usize>c);
        if (each && by) score = dequantized(score, by.scales[c], by.zeroPoints[c], tensor.type);
        if (score > most) {
          most = score;
          found = c;
        }
      }
    } else {
      let value = readNumber(tensor.type, from);
      if (scaled && by) value = dequantized(value, by.scales[0], by.zeroPoints[0], tensor.type);
      if (channels == 1) {
        found = i32(value > 0.5);
      } else {
        value = nearest(value);
        if (!(value >= 0 && value <= 255)) {
          classes.free();
          return Result.failed<Mask>(what + "a value " + value.toString() + " is no class from 0 to 255");
        }
        found = <i32>value;
      }
    }
    store<u8>(classes.pointer + <usize>i, <u8>found);
  }
  return Result.of(new Mask(width, height, classes));
}

// Okabe and Ito's colours, which people with the common kinds of colour blindness tell apart, after a dark gray for
// class 0, most often the background.
const FIRST: StaticArray<u8> = [
  64, 64, 64, 230, 159, 0, 86, 180, 233, 0, 158, 115, 240, 228, 66, 0, 114, 178, 213, 94, 0, 204, 121, 167,
];
const SATURATION: StaticArray<f64> = [0.75, 0.5, 0.95];
const BRIGHTNESS: StaticArray<f64> = [0.92, 0.68, 0.5];

/** RGB of 256 classes, the host's: after the first eight around the colour circle by the golden section. */
export function palette(): StaticArray<u8> {
  const colours = new StaticArray<u8>(768);
  for (let i = 0; i < 24; i++) colours[i] = FIRST[i];
  for (let step = 0; step < 248; step++) {
    const hue = (0.03 + step * 0.6180339887498949) % 1.0;
    const s = SATURATION[step % 3], v = BRIGHTNESS[step / 3 % 3];
    const sector = <i32>(hue * 6), rest = hue * 6 - sector;
    const p = v * (1 - s), q = v * (1 - s * rest), t = v * (1 - s * (1 - rest));
    const red = sector == 1 ? q : sector == 2 || sector == 3 ? p : sector == 4 ? t : v;
    const green = sector == 0 ? t : sector == 1 || sector == 2 ? v : sector == 3 ? q : p;
    const blue = sector == 0 || sector == 1 ? p : sector == 2 ? t : sector == 5 ? q : v;
    const at = 24 + step * 3;
    colours[at] = <u8>nearest(red * 255);
    colours[at + 1] = <u8>nearest(green * 255);
    colours[at + 2] = <u8>nearest(blue * 255);
  }
  return colours;
}
