// SPDX-License-Identifier: Apache-2.0
// The PNM family: P1..P3 are text, P4..P6 the same in binary; bitmap, grey and colour.
import { Bytes } from "../bytes";
import { Result } from "../result";
import { Picture, wrongSize } from "./picture";

let at: usize = 0, end: usize = 0;

function isSpace(c: u32): bool {
  return c == 32 || (c >= 9 && c <= 13);
}

function skipSpace(): void {
  while (at < end) {
    const c = load<u8>(at);
    if (c == 0x23) { // a comment, to the end of its line
      while (at < end && load<u8>(at) != 10) at++;
    } else if (isSpace(c)) {
      at++;
    } else {
      return;
    }
  }
}

/** The next decimal number of at most `most` digits, or -1. */
function number(most: i32): i32 {
  skipSpace();
  let value = 0, digits = 0;
  for (; digits < most && at < end; digits++, at++) {
    const digit = <u32>load<u8>(at) - 48;
    if (digit > 9) break;
    value = value * 10 + <i32>digit;
  }
  return digits ? value : -1;
}

/** Level `value` of 0..`most` as 0..255, as the host does it: rounded, but of 16-bit grey the upper byte. */
function scale(value: u32, most: u32, isGrey: bool): u8 {
  const share = <f64>min(value, most) / most;
  return most > 255 && isGrey ? <u8>(<u32>nearest(share * 65535) >> 8) : <u8>nearest(share * 255);
}

function readText(bitmap: bool, most: i32, isGrey: bool, out: usize, count: usize): bool {
  // Bits need no space between them.
  for (const last = out + count; out < last; out++) {
    const value = number(bitmap ? 1 : 9);
    if (value < 0 || value > most) return false;
    store<u8>(out, bitmap ? (value ? 0 : 255) : scale(value, most, isGrey));
  }
  return true;
}

function readBinary(most: u32, isGrey: bool, out: usize, count: usize): bool {
  const bytes: usize = most > 255 ? 2 : 1;
  if (count > (end - at) / bytes) return false;
  if (bytes == 2) {
    for (const last = out + count; out < last; out++, at += 2) {
      store<u8>(out, scale(<u32>load<u8>(at) << 8 | load<u8>(at, 1), most, isGrey));
    }
    return true;
  }
  const levels = new StaticArray<u8>(256);
  for (let i = 0; i < 256; i++) levels[i] = scale(i, most, isGrey);
  for (const last = out + count; out < last; out++, at++) store<u8>(out, unchecked(levels[load<u8>(at)]));
  return true;
}

/** Binary bitmaps: eight pixels in a byte, rows padded to whole bytes, 1 is black. */
function readBits(width: u32, height: u32, out: usize): bool {
  const stride = (width >> 3) + u32((width & 7) != 0);
  if (height > <u32>(end - at) / stride) return false;
  for (let y: u32 = 0; y < height; y++, at += stride) {
    for (let x: u32 = 0; x < width; x++) {
      store<u8>(out++, load<u8>(at + (x >> 3)) >> (7 - (x & 7)) & 1 ? 0 : 255);
    }
  }
  return true;
}

export function decodePnm(file: Bytes): Result<Picture> {
  const kind = <i32>load<u8>(file.pointer, 1) - 48;
  const isBinary = kind >= 4, isBitmap = kind % 3 == 1, isColour = kind % 3 == 0;
  at = file.pointer + 2;
  end = file.pointer + <usize>file.length;
  const width = number(9), height = number(9), most = isBitmap ? 1 : number(5);
  if (width < 0 || height < 0 || most < 1 || most > 65535 || at >= end || !isSpace(load<u8>(at))) {
    return Result.failed<Picture>("its header is damaged");
  }
  at++; // one space exactly: the next byte may be a pixel that looks like one
  const wrong = wrongSize(width, height);
  if (wrong.length) return Result.failed<Picture>(wrong);
  const samples = <u64>width * height * (isColour ? 3 : 1);
  // The least that so many samples take; checked before they are allocated.
  if (samples / (isBinary && isBitmap ? 8 : 1) > <u64>file.length) {
    return Result.failed<Picture>("the file ends before its pixels do");
  }
  const made = Picture.make(width, height);
  if (made.isFailed) return made;
  const rgb = made.value.rgb.pointer;
  const good = !isBinary ? readText(isBitmap, most, !isColour, rgb, <usize>samples)
    : isBitmap ? readBits(width, height, rgb) : readBinary(most, !isColour, rgb, <usize>samples);
  if (!good) {
    made.value.free();
    return Result.failed<Picture>("its pixels are damaged, or the file ends before they do");
  }
  // One value for each pixel becomes three, from the end so that none is overwritten unread.
  if (!isColour) {
    for (let i = <usize>samples; i-- > 0;) {
      const level = load<u8>(rgb + i), pixel = rgb + i * 3;
      store<u8>(pixel, level);
      store<u8>(pixel, level, 1);
      store<u8>(pixel, level, 2);
    }
  }
  return made;
}
