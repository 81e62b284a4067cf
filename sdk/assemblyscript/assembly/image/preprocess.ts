// SPDX-License-Identifier: Apache-2.0
// From a picture to an input's tensor, as a contract says it.
import { Bytes } from "../bytes";
import { ImageSpec, InputContract } from "../metadata";
import { isWide, round32, round64 } from "../quantization";
import { noMemory, Result } from "../result";
import { elementCount, Tensor } from "../tensor";
import { isFloat, typeSize, writeNumber } from "../types";
import { Picture } from "./picture";
import { Box, resize } from "./resize";

/** A picture that is to be cut is resized whole first, unless that takes more pixels. */
const MOST_WHOLE: i64 = 1 << 24;

/** Python's round: halves to the even number. */
function roundEven(value: f64): i32 {
  return <i32>nearest(value);
}

/** Half of what is cut away, in the same way; of a long picture that is more than 32 bits hold. */
function halfOf(rest: i64): i64 {
  return <i64>nearest(<f64>rest / 2);
}

/** The picture at the contract's size; the picture itself where it has it. */
export function fitted(picture: Picture, image: ImageSpec): Result<Picture> {
  if (image.fit == "crop") return cropped(picture, image);
  if (image.fit == "letterbox") return letterboxed(picture, image);
  if (image.fit != "stretch") return Result.failed<Picture>("there is no fit '" + image.fit
    + "'; there are stretch, crop, letterbox");
  return resize(picture, image.height, image.width, image.resize, image.antialias);
}

function cropped(picture: Picture, image: ImageSpec): Result<Picture> {
  const w = <i64>picture.width, h = <i64>picture.height, height = <i64>image.height, width = <i64>image.width;
  let wholeW: i64, wholeH: i64;
  if (image.crop) {
    const longer = max(w, h) * image.crop / min(w, h);
    wholeH = w > h ? image.crop : longer;
    wholeW = w > h ? longer : image.crop;
    if (wholeH < height || wholeW < width) {
      return Result.failed<Picture>(
        "a picture of " + w.toString() + "x" + h.toString() + " pixels with crop = " + image.crop.toString()
          + " becomes " + wholeW.toString() + "x" + wholeH.toString() + ", too small to cut " + width.toString() + "x"
          + height.toString() + " out of it: crop must be " + max(height, width).toString()
          + " or more, or be left out",
      );
    }
  } else if (height * w >= width * h) { // the height needs the larger scale
    wholeH = height;
    wholeW = w * height / h;
  } else {
    wholeH = h * width / w;
    wholeW = width;
  }
  const top = halfOf(wholeH - height), left = halfOf(wholeW - width);
  if (wholeH * wholeW > MOST_WHOLE) {
    const scaleX = <f64>wholeW / <f64>w, scaleY = <f64>wholeH / <f64>h;
    const right = <f64>(left + width) / scaleX, bottom = <f64>(top + height) / scaleY;
    const box = new Box(<f64>left / scaleX, <f64>top / scaleY, min(right, <f64>w), min(bottom, <f64>h));
    return resize(picture, image.height, image.width, image.resize, image.antialias, box);
  }
  const resized = resize(picture, <i32>wholeH, <i32>wholeW, image.resize, image.antialias);
  if (resized.isFailed || (wholeH == height && wholeW == width)) return resized;
  const whole = resized.value, made = Picture.make(image.width, image.height);
  if (!made.isFailed) {
    const stride = image.width * 3;
    for (let y = 0; y < image.height; y++) {
      memory.copy(
        made.value.rgb.pointer + <usize>(y * stride),
        whole.rgb.pointer + <usize>((top + y) * wholeW + left) * 3, <usize>stride,
      );
    }
  }
  if (whole !== picture) whole.free();
  return made;
}

function letterboxed(picture: Picture, image: ImageSpec): Result<Picture> {
  const w = picture.width, h = picture.height, height = image.height, width = image.width;
  const scale = min(<f64>height / h, <f64>width / w);
  const innerH = max(1, roundEven(h * scale)), innerW = max(1, roundEven(w * scale));
  const top = (height - innerH) >> 1, left = (width - innerW) >> 1;
  const resized = resize(picture, innerH, innerW, image.resize, image.antialias);
  if (resized.isFailed) return resized;
  const inner = resized.value, made = Picture.make(width, height);
  if (!made.isFailed) {
    let out = made.value.rgb.pointer;
    for (const end = out + <usize>made.value.rgb.length; out < end; out += 3) {
      for (let c = 0; c < 3; c++) store<u8>(out + c, <u8>max(min(image.fill[c], 255), 0));
    }
    for (let y = 0; y < innerH; y++) {
      memory.copy(
        made.value.rgb.pointer + <usize>((top + y) * width + left) * 3,
        inner.rgb.pointer + <usize>(y * innerW * 3), <usize>(innerW * 3),
      );
    }
  }
  if (inner !== picture) inner.free();
  return made;
}

/** The number of each level 0 to 255 in each channel, as the bytes of the tensor's type: 256 * channels. */
function levels(input: InputContract, image: ImageSpec): Result<Bytes> {
  const channels = image.channels, quantization = input.quantization, type = input.type;
  if (quantization && quantization.axis >= 0
    && (quantization.axis != image.layout.indexOf("C") || quantization.scales.length != channels)) {
    return Result.failed<Bytes>("only one quantization of the whole tensor or one for each channel can be computed");
  }
  const scale: f64[] = [], offset: f64[] = [], shift: f64[] = [];
  let whole = !isFloat(type), same = true;
  for (let c = 0; c < channels; c++) {
    let a = (image.high - image.low) / 255, b = image.low;
    if (image.invert) {
      a = -a;
      b = image.high;
    }
    a /= image.std[c];
    b = (b - image.mean[c]) / image.std[c];
    let point: f64 = 0;
    if (quantization) {
      const each = quantization.axis < 0 ? 0 : c;
      a /= quantization.scales[each];
      b /= quantization.scales[each];
      if (whole) point = quantization.zeroPoints[each];
    }
    // What rounding errors of f64 made is not there: bytes that need no arithmetic stay as they are.
    if (Math.abs(a - 1) < 1e-9) a = 1;
    if (Math.abs(b) < 1e-9) b = 0;
    const total = b + point;
    same = same && whole && a == 1 && Math.abs(total - nearest(total)) < 1e-6;
    scale.push(a);
    offset.push(b);
    shift.push(point);
  }
  const size = typeSize(type), table = Bytes.raw(256 * channels * size);
  if (!table) return noMemory<Bytes>("the levels");
  let at = table.pointer;
  for (let c = 0; c < channels; c++) {
    const b = same ? 0 : offset[c], point = same ? nearest(offset[c] + shift[c]) : shift[c];
    for (let level = 0; level < 256; level++, at += <usize>size) {
      let value: f64;
      if (isWide(type)) {
        value = level * scale[c] + b;
        if (whole) value = round64(value) + point;
      } else {
        // In f32, as the host does it.
        const product = <f32>level * <f32>scale[c], narrow = product + <f32>b;
        value = whole ? <f64>(round32(narrow) + <f32>point) : <f64>narrow;
      }
      writeNumber(type, at, value);
    }
  }
  return Result.of<Bytes>(table);
}

function spread<T>(picture: Picture, image: ImageSpec, table: usize, out: usize): void {
  const pixels = picture.width * picture.height, channels = image.channels;
  const planes = !image.layout.endsWith("C");
  let rgb = picture.rgb.pointer;
  if (channels == 1) {
    for (let i = 0; i < pixels; i++, rgb += 3, out += sizeof<T>()) {
      // ITU-R 601 luma with 16 bits of fraction, as Pillow's mode L.
      const red = <u32>load<u8>(rgb), green = <u32>load<u8>(rgb, 1), blue = <u32>load<u8>(rgb, 2);
      const level = red * 19595 + green * 38470 + blue * 7471 + 0x8000 >> 16;
      store<T>(out, load<T>(table + (<usize>level << alignof<T>())));
    }
    return;
  }
  const step: usize = planes ? sizeof<T>() : sizeof<T>() * 3;
  for (let c = 0; c < 3; c++) {
    let from = rgb + <usize>(image.colour == "BGR" ? 2 - c : c);
    let to = out + (planes ? <usize>pixels * c : <usize>c) * sizeof<T>();
    const numbers = table + <usize>(c << 8) * sizeof<T>();
    for (let i = 0; i < pixels; i++, from += 3, to += step) {
      store<T>(to, load<T>(numbers + (<usize>load<u8>(from) << alignof<T>())));
    }
  }
}

/** A picture as the tensor that the input takes, with a batch of 1; the numbers are those that the host makes. */
export function preprocess(picture: Picture, input: InputContract): Result<Tensor> {
  const image = input.image;
  if (!image) return Result.failed<Tensor>("input '" + input.name + "' is no picture in its contract");
  if (!picture.rgb.pointer) return Result.failed<Tensor>("the picture was given back");
  if (!typeSize(input.type)) return Result.failed<Tensor>("there is no tensor type " + input.type.toString());
  const table = levels(input, image);
  if (table.isFailed) return Result.from<Tensor>(table.error);
  const made = fitted(picture, image);
  if (made.isFailed) return Result.from<Tensor>(made.error);
  const size = typeSize(input.type), dims = image.dims, count = elementCount(dims);
  const data: Bytes | null = count < 0 || count > 1 << 27 ? null : Bytes.raw(count * size);
  if (data) {
    const from = table.value.pointer;
    switch (size) {
      case 1: spread<u8>(made.value, image, from, data.pointer); break;
      case 2: spread<u16>(made.value, image, from, data.pointer); break;
      case 4: spread<u32>(made.value, image, from, data.pointer); break;
      default: spread<u64>(made.value, image, from, data.pointer);
    }
  }
  if (made.value !== picture) made.value.free();
  return data ? Tensor.ofBytes(input.type, dims, data) : noMemory<Tensor>("the input");
}
