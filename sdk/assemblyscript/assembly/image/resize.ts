// SPDX-License-Identifier: Apache-2.0
// Pictures of another size, with the same arithmetic as the host's: what a contract says "bilinear" gives the same
// pixels in both. With `antialias` that is Pillow's, in fixed point; without, one sample at each pixel's centre.
import { noMemory, Result } from "../result";
import { Bytes } from "../bytes";
import { Picture } from "./picture";

/** A part of a picture, in pixels; fractions are allowed. */
@final export class Box {
  constructor(public left: f64, public top: f64, public right: f64, public bottom: f64) {}
}

/** The picture itself where nothing changes, else a new one. `filter`: bilinear, bicubic, nearest or area. */
export function resize(
  picture: Picture, height: i32, width: i32, filter: string = "bilinear",
  antialias: bool = true, box: Box | null = null,
): Result<Picture> {
  if (!["bilinear", "bicubic", "nearest", "area"].includes(filter)) {
    return Result.failed<Picture>("there is no resize filter '" + filter
      + "'; there are bilinear, bicubic, nearest, area");
  }
  const isWhole = box == null
    || (box.left == 0 && box.top == 0 && box.right == picture.width && box.bottom == picture.height);
  if (isWhole && height == picture.height && width == picture.width) return Result.of(picture);
  const part: Box = box ? box : new Box(0, 0, picture.width, picture.height);
  if (filter == "nearest") return nearestPixels(picture, part, height, width);
  if (antialias) return filtered(picture, part, height, width, filter);
  if (filter == "area") return covered(picture, part, height, width);
  return sampled(picture, part, height, width, filter == "bicubic");
}

// ---- Pillow's filters ----

/** Bits after the point of a weight. */
const PRECISION = 22;

/** For each pixel along one side of the result: the first pixel that it takes, and weights of so many. */
@final class Weights {
  first: StaticArray<i32>;
  count: StaticArray<i32>;
  weights: StaticArray<i32>;

  constructor(length: i32, start: f64, end: f64, size: i32, filter: string, public most: i32) {
    this.first = new StaticArray<i32>(size);
    this.count = new StaticArray<i32>(size);
    this.weights = new StaticArray<i32>(size * most);
    const scale = (end - start) / size, wide = max(scale, 1.0);
    const support = supportOf(filter) * wide, inverse = 1 / wide;
    const shares = new StaticArray<f64>(most);
    for (let i = 0; i < size; i++) {
      const centre = start + (i + 0.5) * scale;
      const from = max(<i32>(centre - support + 0.5), 0);
      const count = max(min(<i32>(centre + support + 0.5), length) - from, 0);
      let total: f64 = 0;
      for (let k = 0; k < count; k++) {
        const share = weightOf(filter, (k + from - centre + 0.5) * inverse);
        shares[k] = share;
        total += share;
      }
      for (let k = 0; k < count; k++) {
        const share = (total != 0 ? shares[k] / total : shares[k]) * <f64>(1 << PRECISION);
        this.weights[i * most + k] = <i32>(share < 0 ? share - 0.5 : share + 0.5);
      }
      this.first[i] = from;
      this.count[i] = count;
    }
  }
}

function supportOf(filter: string): f64 {
  return filter == "bilinear" ? 1 : filter == "bicubic" ? 2 : 0.5;
}

function mostOf(start: f64, end: f64, size: i32, filter: string): f64 {
  return Math.ceil(supportOf(filter) * max((end - start) / size, 1.0)) * 2 + 1;
}

function weightOf(filter: string, x: f64): f64 {
  if (filter == "area") return x > -0.5 && x <= 0.5 ? 1 : 0;
  x = Math.abs(x);
  if (filter == "bilinear") return x < 1 ? 1 - x : 0;
  const a: f64 = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

function clip(sum: i32): u8 {
  return <u8>max(min(sum >> PRECISION, 255), 0);
}

function filtered(picture: Picture, box: Box, height: i32, width: i32, filter: string): Result<Picture> {
  const across = mostOf(box.left, box.right, width, filter), down = mostOf(box.top, box.bottom, height, filter);
  if (across * width + down * height > 2e7) return noMemory<Picture>("the weights of resizing");
  const rows = new Weights(picture.height, box.top, box.bottom, height, filter, <i32>down);
  // Rows that nothing is taken from need no columns.
  const first = rows.first[0], last = rows.first[height - 1] + rows.count[height - 1];
  let from = picture, top = 0;
  if (width != picture.width || box.left != 0 || box.right != width) {
    const columns = new Weights(picture.width, box.left, box.right, width, filter, <i32>across);
    const made = Picture.make(width, last - first);
    if (made.isFailed) return made;
    from = made.value;
    top = first;
    for (let y = 0; y < from.height; y++) {
      filterRow(picture.rgb.pointer + <usize>(y + first) * picture.width * 3, from.rgb.pointer
        + <usize>y * width * 3, columns, width);
    }
  }
  if (height == picture.height && box.top == 0 && box.bottom == height) return Result.of(from);
  const made = Picture.make(width, height);
  if (!made.isFailed) {
    const stride = <usize>width * 3;
    for (let y = 0; y < height; y++) {
      const start = from.rgb.pointer + <usize>(rows.first[y] - top) * stride;
      filterColumn(start, made.value.rgb.pointer + <usize>y * stride, stride, rows, y);
    }
  }
  if (from !== picture) from.free();
  return made;
}

function filterRow(row: usize, out: usize, columns: Weights, width: i32): void {
  for (let x = 0; x < width; x++, out += 3) {
    let red = 1 << (PRECISION - 1), green = red, blue = red;
    let pixel = row + <usize>unchecked(columns.first[x]) * 3;
    let at = x * columns.most;
    for (const end = at + unchecked(columns.count[x]); at < end; at++, pixel += 3) {
      const weight = unchecked(columns.weights[at]);
      red += <i32>load<u8>(pixel) * weight;
      green += <i32>load<u8>(pixel, 1) * weight;
      blue += <i32>load<u8>(pixel, 2) * weight;
    }
    store<u8>(out, clip(red));
    store<u8>(out, clip(green), 1);
    store<u8>(out, clip(blue), 2);
  }
}

function filterColumn(start: usize, out: usize, stride: usize, rows: Weights, y: i32): void {
  const begin = y * rows.most, end = begin + rows.count[y];
  for (let x: usize = 0; x < stride; x++) {
    let sum = 1 << (PRECISION - 1), from = start + x;
    for (let at = begin; at < end; at++, from += stride) sum += <i32>load<u8>(from) * unchecked(rows.weights[at]);
    store<u8>(out + x, clip(sum));
  }
}

/** The pixel under each centre. Places are added up, as Pillow does: its rounding decides on borders. */
function nearestPixels(picture: Picture, box: Box, height: i32, width: i32): Result<Picture> {
  const made = Picture.make(width, height);
  if (made.isFailed) return made;
  const columns = new StaticArray<i32>(width), stepX = (box.right - box.left) / width;
  let place = box.left + stepX * 0.5;
  for (let x = 0; x < width; x++, place += stepX) columns[x] = max(min(<i32>place, picture.width - 1), 0) * 3;
  const stepY = (box.bottom - box.top) / height;
  place = box.top + stepY * 0.5;
  let out = made.value.rgb.pointer;
  for (let y = 0; y < height; y++, place += stepY) {
    const row = picture.rgb.pointer + <usize>max(min(<i32>place, picture.height - 1), 0) * picture.width * 3;
    for (let x = 0; x < width; x++, out += 3) {
      const pixel = row + <usize>unchecked(columns[x]);
      store<u8>(out, load<u8>(pixel));
      store<u8>(out, load<u8>(pixel, 1), 1);
      store<u8>(out, load<u8>(pixel, 2), 2);
    }
  }
  return made;
}

// ---- One sample for each pixel ----

/** Along one side: the neighbours of each sample and their weights, `taps` of each. */
@final class Samples {
  taps: i32;
  index: StaticArray<i32>;
  weight: StaticArray<f32>;

  constructor(start: f64, end: f64, length: i32, size: i32, cubic: bool) {
    const taps = cubic ? 4 : 2;
    this.taps = taps;
    this.index = new StaticArray<i32>(size * taps);
    this.weight = new StaticArray<f32>(size * taps);
    for (let i = 0; i < size; i++) {
      const place = start + (i + 0.5) * ((end - start) / size) - 0.5;
      const first = Math.floor(place), away = place - first;
      for (let k = 0; k < taps; k++) {
        const offset = cubic ? k - 1 : k;
        // Beyond the border is the border.
        this.index[i * taps + k] = max(min(<i32>first + offset, length - 1), 0);
        this.weight[i * taps + k] = <f32>(cubic ? cubicWeight(Math.abs(away - offset)) : k ? away : 1 - away);
      }
    }
  }
}

/** The cubic convolution kernel (R. Keys, 1981). */
function cubicWeight(away: f64): f64 {
  const a: f64 = -0.75;
  if (away <= 1) return ((a + 2) * away - (a + 3)) * away * away + 1;
  return ((a * away - 5 * a) * away + 8 * a) * away - 4 * a;
}

/** AssemblyScript's own arrays trap where the memory does not grow: only small ones are made. */
const MOST_OF_LINE = 1 << 22;

function sampled(picture: Picture, box: Box, height: i32, width: i32, cubic: bool): Result<Picture> {
  const rows = new Samples(box.top, box.bottom, picture.height, height, cubic);
  const columns = new Samples(box.left, box.right, picture.width, width, cubic);
  if (max(picture.width, width) > MOST_OF_LINE) return noMemory<Picture>("resizing so wide a picture");
  const made = Picture.make(width, height);
  if (made.isFailed) return made;
  // The axis that loses more comes first, as at the host; in f32 the order shows in the last bit.
  const rowsFirst = <i64>height * picture.width <= <i64>width * picture.height;
  const whole = picture.width * 3, stride = width * 3, taps = rows.taps;
  const line = new StaticArray<f32>(max(whole, stride)), result = new StaticArray<f32>(stride);
  for (let y = 0; y < height; y++) {
    const target = rowsFirst ? line : result;
    for (let k = 0; k < taps; k++) {
      const source = picture.rgb.pointer + <usize>unchecked(rows.index[y * taps + k]) * whole;
      const weight = unchecked(rows.weight[y * taps + k]);
      if (rowsFirst) {
        for (let i = 0; i < whole; i++) {
          const part = <f32>load<u8>(source + i) * weight;
          unchecked(target[i] = k ? target[i] + part : part);
        }
      } else {
        for (let x = 0; x < width; x++) {
          for (let c = 0; c < 3; c++) {
            let sum: f32 = 0;
            for (let j = 0; j < taps; j++) {
              const from = unchecked(columns.index[x * taps + j]) * 3 + c;
              sum += <f32>load<u8>(source + from) * unchecked(columns.weight[x * taps + j]);
            }
            const i = x * 3 + c;
            unchecked(target[i] = k ? target[i] + sum * weight : sum * weight);
          }
        }
      }
    }
    if (rowsFirst) {
      for (let x = 0; x < width; x++) {
        for (let c = 0; c < 3; c++) {
          let sum: f32 = 0;
          for (let j = 0; j < taps; j++) {
            sum += unchecked(line[columns.index[x * taps + j] * 3 + c]) * unchecked(columns.weight[x * taps + j]);
          }
          unchecked(result[x * 3 + c] = sum);
        }
      }
    }
    const out = made.value.rgb.pointer + <usize>y * stride;
    for (let i = 0; i < stride; i++) store<u8>(out + i, <u8>max<f32>(min<f32>(Mathf.floor(unchecked(result[i])
      + 0.5), 255), 0));
  }
  return made;
}

/** The mean of what each pixel covers, where a pixel that is covered in part counts in part. */
function covered(picture: Picture, box: Box, height: i32, width: i32): Result<Picture> {
  const made = Picture.make(width, height), line = Bytes.raw(picture.width * 24);
  if (made.isFailed) return made;
  if (!line) return noMemory<Picture>("resizing");
  const whole = picture.width * 3, down = (box.bottom - box.top) / height, across = (box.right - box.left) / width;
  for (let y = 0; y < height; y++) {
    const top = box.top + y * down, bottom = box.top + (y + 1) * down;
    const first = cell(top, picture.height), last = cell(bottom, picture.height);
    const begun = share(top, first), rest = share(bottom, last);
    for (let i = 0; i < whole; i++) {
      let at = picture.rgb.pointer + <usize>first * whole + i, sum: f64 = -<f64>load<u8>(at) * begun;
      for (let row = first; row < last; row++, at += whole) sum += load<u8>(at);
      sum += <f64>load<u8>(picture.rgb.pointer + <usize>last * whole + i) * rest;
      store<f64>(line.pointer + (<usize>i << 3), sum / down);
    }
    const out = made.value.rgb.pointer + <usize>y * width * 3;
    for (let x = 0; x < width; x++) {
      const left = box.left + x * across, right = box.left + (x + 1) * across;
      const from = cell(left, picture.width), to = cell(right, picture.width);
      const cut = share(left, from), added = share(right, to);
      for (let c = 0; c < 3; c++) {
        let at = line.pointer + <usize>(from * 3 + c << 3), sum = -load<f64>(at) * cut;
        for (let column = from; column < to; column++, at += 24) sum += load<f64>(at);
        sum += load<f64>(line.pointer + <usize>(to * 3 + c << 3)) * added;
        store<u8>(out + x * 3 + c, <u8>max(min(Math.floor(sum / across + 0.5), 255), 0));
      }
    }
  }
  line.free();
  return made;
}

function cell(edge: f64, length: i32): i32 {
  return max(min(<i32>Math.floor(edge), length - 1), 0);
}

function share(edge: f64, cell: i32): f64 {
  return max(min(edge - cell, 1.0), 0.0);
}
