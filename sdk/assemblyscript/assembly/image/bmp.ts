// SPDX-License-Identifier: Apache-2.0
// BMP without compression: palettes of 1, 4 and 8 bits, 16, 24 and 32 bits, and bit masks.
import { Bytes } from "../bytes";
import { Result } from "../result";
import { Picture, wrongSize } from "./picture";

const FILE_HEADER: usize = 14;
const BI_RGB = 0, BI_BITFIELDS = 3, BI_ALPHABITFIELDS = 6;

@final class Mask {
  private shift: u32 = 0;
  /** 0 where the file has no such colour. */
  private most: u32 = 0;

  /** False where the bits are not side by side. */
  set(bits: u32): bool {
    if (!bits) return true;
    this.shift = ctz(bits);
    this.most = bits >> this.shift;
    return (this.most & this.most + 1) == 0;
  }

  apply(pixel: u32): u8 {
    return this.most ? <u8>(<u64>(pixel >> this.shift & this.most) * 255 / this.most) : 0;
  }
}

export function decodeBmp(file: Bytes): Result<Picture> {
  const damaged = "its header is damaged";
  const at = file.pointer, size = <usize>file.length;
  if (size < FILE_HEADER + 12) return Result.failed<Picture>(damaged);
  const pixelsAt = <u64>load<u32>(at, 10), header = at + FILE_HEADER, headerSize = load<u32>(header);
  if (headerSize > <u32>(size - FILE_HEADER)) return Result.failed<Picture>(damaged);
  let compression: u32 = BI_RGB, colours: u32 = 0, entry: u64 = 4, width: i64, height: i64, depth: u32;
  if (headerSize == 12) { // the oldest header, from OS/2
    width = load<u16>(header, 4);
    height = load<u16>(header, 6);
    depth = load<u16>(header, 10);
    entry = 3;
  } else if (headerSize >= 40) {
    width = load<i32>(header, 4);
    height = load<i32>(header, 8);
    depth = load<u16>(header, 14);
    compression = load<u32>(header, 16);
    colours = load<u32>(header, 32);
  } else {
    return Result.failed<Picture>("its header is of a kind that is not known here");
  }
  const masked = compression == BI_BITFIELDS || compression == BI_ALPHABITFIELDS;
  if (compression != BI_RGB && !masked) return Result.failed<Picture>("it is compressed, which is not read here");
  if (depth != 1 && depth != 4 && depth != 8 && depth != 16 && depth != 24 && depth != 32) {
    return Result.failed<Picture>("it has a number of bits per pixel that is not known here");
  }
  if (masked && depth != 16 && depth != 32) {
    return Result.failed<Picture>("it has bit masks, but not 16 or 32 bits per pixel");
  }
  if (width < 0) return Result.failed<Picture>(damaged);
  const bottomUp = height > 0; // the usual order; a negative height means from the top
  if (height < 0) height = -height;

  // Masks and palette follow the header. Larger headers have the masks inside, at the place where they follow the
  // 40-byte one.
  let palette = <u64>FILE_HEADER + headerSize;
  const masks = [new Mask(), new Mask(), new Mask()];
  if (masked) {
    if (size < FILE_HEADER + 40 + 12) return Result.failed<Picture>(damaged);
    for (let c = 0; c < 3; c++) {
      if (!masks[c].set(load<u32>(header + 40 + 4 * c))) return Result.failed<Picture>(damaged);
    }
    if (headerSize == 40) palette += compression == BI_BITFIELDS ? 12 : 16;
  } else {
    for (let c: u32 = 0; c < 3; c++) masks[c].set(depth == 16 ? <u32>0x7c00 >> 5 * c : <u32>0xff0000 >> 8 * c);
  }
  const table = new StaticArray<u8>(768); // RGB; entries that the file lacks stay black
  if (depth <= 8) {
    const most: u32 = 1 << depth;
    if (colours == 0 || colours > most) colours = most;
    // A file may stop its palette early by starting the pixels.
    for (let i: u32 = 0; i < colours && palette + entry <= pixelsAt; i++, palette += entry) {
      if (palette + entry > size) return Result.failed<Picture>(damaged);
      for (let c: u32 = 0; c < 3; c++) table[i * 3 + c] = load<u8>(at + <usize>palette + 2 - c);
    }
  }

  const wrong = wrongSize(width, height);
  if (wrong.length) return Result.failed<Picture>(wrong);
  // Rows are padded to four bytes. Checked before the pixels are allocated.
  const stride = (<u64>width * depth + 31) / 32 * 4;
  if (pixelsAt < FILE_HEADER + 12 || pixelsAt > size || stride * <u64>height > size - pixelsAt) {
    return Result.failed<Picture>("the file ends before its pixels do");
  }
  const made = Picture.make(<i32>width, <i32>height);
  if (made.isFailed) return made;
  let rgb = made.value.rgb.pointer;
  for (let y: u64 = 0; y < <u64>height; y++) {
    let row = at + <usize>(pixelsAt + stride * (bottomUp ? <u64>height - 1 - y : y));
    for (let x: u32 = 0; x < <u32>width; x++, rgb += 3) {
      if (depth <= 8) {
        const bit = x * depth;
        const index = <u32>load<u8>(row + (bit >> 3)) >> (8 - depth - (bit & 7)) & (1 << depth) - 1;
        const colour = changetype<usize>(table) + index * 3;
        store<u8>(rgb, load<u8>(colour));
        store<u8>(rgb, load<u8>(colour, 1), 1);
        store<u8>(rgb, load<u8>(colour, 2), 2);
      } else if (depth == 24) {
        store<u8>(rgb, load<u8>(row, 2));
        store<u8>(rgb, load<u8>(row, 1), 1);
        store<u8>(rgb, load<u8>(row), 2);
        row += 3;
      } else {
        const pixel: u32 = depth == 16 ? load<u16>(row) : load<u32>(row);
        for (let c = 0; c < 3; c++) store<u8>(rgb + c, unchecked(masks[c]).apply(pixel));
        row += depth / 8;
      }
    }
  }
  return made;
}
