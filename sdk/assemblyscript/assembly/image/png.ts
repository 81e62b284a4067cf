// SPDX-License-Identifier: Apache-2.0
// PNG: every colour type and depth, interlaced or not. Alpha and transparent colours are dropped, 16-bit samples
// keep their upper byte.
import { Bytes } from "../bytes";
import { noMemory, Result } from "../result";
import { crc32 } from "./crc";
import { inflate } from "./inflate";
import { Picture, wrongSize } from "./picture";

const PALETTE = 3;

// Adam7 sends seven small pictures: pass k has the pixels (X + i * DX, Y + j * DY). The eighth is a whole picture.
const X: StaticArray<u32> = [0, 4, 0, 2, 0, 1, 0, 0];
const Y: StaticArray<u32> = [0, 0, 4, 0, 2, 0, 1, 0];
const DX: StaticArray<u32> = [8, 8, 4, 4, 2, 2, 1, 1];
const DY: StaticArray<u32> = [8, 8, 8, 4, 4, 2, 2, 1];

// For each colour type: the samples of a pixel, and the depths allowed as a set of bits.
const CHANNELS: StaticArray<u32> = [1, 0, 3, 1, 2, 0, 4];
const DEPTHS: StaticArray<u32> = [0x10116, 0, 0x10100, 0x116, 0x10100, 0, 0x10100];

@final class Png {
  width: u32 = 0;
  height: u32 = 0;
  /** Bits of one sample. */
  depth: u32 = 0;
  colour: u32 = 0;
  channels: u32 = 0;
  interlaced: bool = false;
  /** Entries that the file lacks stay black. */
  palette: StaticArray<u8> = new StaticArray<u8>(768);
  hasPalette: bool = false;

  /** Reads all chunks before the pixels' meaning; IDAT bodies are joined. Why not, or "". */
  chunks(file: Bytes, joined: Bytes): string {
    const size = <usize>file.length;
    let at: usize = 8, first = true, filled: usize = 0;
    while (size - at >= 12) {
      const length = <usize>big32(file.pointer + at);
      const type = file.pointer + at + 4, body = type + 4;
      if (length > size - at - 12) break;
      at += 12 + length;
      // An upper-case first letter means that the picture cannot be understood without it.
      const critical = !(load<u8>(type) & 0x20);
      if (critical && crc32(type, length + 4) != big32(body + length)) return "a checksum in it does not match";
      const name = big32(type);
      if (first != (name == 0x49484452)) return "its header is not where it must be"; // IHDR
      if (first) {
        const wrong = this.header(body, length);
        if (wrong.length) return wrong;
        first = false;
      } else if (name == 0x504c5445) { // PLTE
        if (length % 3 || length > 768) return "its palette has an impossible size";
        memory.copy(changetype<usize>(this.palette), body, length);
        this.hasPalette = true;
      } else if (name == 0x49444154) { // IDAT
        memory.copy(joined.pointer + filled, body, length);
        filled += length;
      } else if (name == 0x49454e44) { // IEND
        joined.cut(<i32>filled);
        return "";
      } else if (critical) {
        return "it has a chunk of a kind that is not known here";
      }
    }
    return "the file ends too early";
  }

  private header(chunk: usize, size: usize): string {
    const damaged = "its header is damaged";
    if (size != 13) return damaged;
    this.width = big32(chunk);
    this.height = big32(chunk + 4);
    this.depth = load<u8>(chunk, 8);
    this.colour = load<u8>(chunk, 9);
    this.interlaced = load<u8>(chunk, 12) == 1;
    if (this.colour > 6 || this.depth > 16 || !(DEPTHS[this.colour] >> this.depth & 1)) {
      return "its header has a colour type and depth that PNG does not allow";
    }
    this.channels = CHANNELS[this.colour];
    return load<u8>(chunk, 10) || load<u8>(chunk, 11) || load<u8>(chunk, 12) > 1 ? damaged : "";
  }

  /** A pass's size in pixels; a small picture leaves some passes empty. */
  passWidth(pass: i32): u32 {
    return this.width > X[pass] ? (this.width - X[pass] - 1) / DX[pass] + 1 : 0;
  }

  passHeight(pass: i32): u32 {
    return this.height > Y[pass] ? (this.height - Y[pass] - 1) / DY[pass] + 1 : 0;
  }

  rowBytes(width: u32): usize {
    return <usize>((<u64>width * this.channels * this.depth + 7) / 8);
  }

  /** The bytes of all rows, each with its filter's. */
  rawBytes(): u64 {
    let total: u64 = 0;
    for (let pass = this.interlaced ? 0 : 7; pass < (this.interlaced ? 7 : 8); pass++) {
      const width = this.passWidth(pass);
      if (width) total += (1 + <u64>this.rowBytes(width)) * this.passHeight(pass);
    }
    return total;
  }

  /** All passes from `raw`, which is filtered in place; false for a filter that there is not. */
  read(raw: usize, zeros: usize, rgb: usize): bool {
    const step = max<u32>(this.channels * this.depth / 8, 1);
    for (let pass = this.interlaced ? 0 : 7; pass < (this.interlaced ? 7 : 8); pass++) {
      const width = this.passWidth(pass), height = this.passHeight(pass);
      if (!width) continue;
      const size = this.rowBytes(width);
      let above = zeros;
      for (let y: u32 = 0; y < height; y++) {
        const row = raw + 1;
        if (!unfilter(load<u8>(raw), row, above, size, step)) return false;
        const first = <usize>(Y[pass] + y * DY[pass]) * this.width + X[pass];
        this.writeRow(row, width, rgb + first * 3, DX[pass] * 3);
        above = row;
        raw = row + size;
      }
    }
    return true;
  }

  private writeRow(row: usize, width: u32, rgb: usize, step: usize): void {
    const depth = this.depth, channels = this.channels;
    const palette = this.colour == PALETTE ? changetype<usize>(this.palette) : 0;
    if (channels >= 3) {
      const bytes = <usize>(depth / 8), pixel = bytes * channels;
      for (let x: u32 = 0; x < width; x++, rgb += step, row += pixel) {
        store<u8>(rgb, load<u8>(row));
        store<u8>(rgb, load<u8>(row + bytes), 1);
        store<u8>(rgb, load<u8>(row + bytes * 2), 2);
      }
      return;
    }
    // Grey of 1, 2 or 4 bits is spread over 0..255; palette indexes are left alone.
    const mask: u32 = depth < 8 ? (1 << depth) - 1 : 255, spread: u32 = depth < 8 ? 255 / mask : 1;
    const pixel = channels * depth;
    for (let x: u32 = 0, bit: u64 = 0; x < width; x++, bit += pixel, rgb += step) {
      let value = <u32>load<u8>(row + <usize>(bit >> 3));
      if (depth < 8) value = value >> (8 - depth - (<u32>bit & 7)) & mask;
      if (palette) {
        store<u8>(rgb, load<u8>(palette + value * 3));
        store<u8>(rgb, load<u8>(palette + value * 3, 1), 1);
        store<u8>(rgb, load<u8>(palette + value * 3, 2), 2);
      } else {
        const level = <u8>(value * spread);
        store<u8>(rgb, level);
        store<u8>(rgb, level, 1);
        store<u8>(rgb, level, 2);
      }
    }
  }
}

function big32(at: usize): u32 {
  return bswap(load<u32>(at));
}

function paeth(left: i32, above: i32, corner: i32): i32 {
  const guess = left + above - corner;
  const toLeft = abs(guess - left), toAbove = abs(guess - above), toCorner = abs(guess - corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** Undoes a row's filter in place. `above` is the row before it, zeros for the first. */
function unfilter(filter: u32, row: usize, above: usize, size: usize, step: usize): bool {
  const start = min(step, size);
  switch (filter) {
    case 0: return true;
    case 1:
      for (let i = start; i < size; i++) store<u8>(row + i, load<u8>(row + i) + load<u8>(row + i - step));
      return true;
    case 2:
      for (let i: usize = 0; i < size; i++) store<u8>(row + i, load<u8>(row + i) + load<u8>(above + i));
      return true;
    case 3:
      for (let i: usize = 0; i < size; i++) {
        const left: u32 = i < step ? 0 : load<u8>(row + i - step);
        store<u8>(row + i, <u8>(<u32>load<u8>(row + i) + (left + load<u8>(above + i)) / 2));
      }
      return true;
    case 4:
      for (let i: usize = 0; i < size; i++) {
        const left: i32 = i < step ? 0 : load<u8>(row + i - step);
        const corner: i32 = i < step ? 0 : load<u8>(above + i - step);
        store<u8>(row + i, <u8>(<i32>load<u8>(row + i) + paeth(left, load<u8>(above + i), corner)));
      }
      return true;
    default: return false;
  }
}

export function decodePng(file: Bytes): Result<Picture> {
  if (file.length < 8 || load<u64>(file.pointer) != 0x0a1a0a0d474e5089) {
    return Result.failed<Picture>("its PNG signature is damaged");
  }
  const joined = Bytes.raw(file.length);
  if (!joined) return noMemory<Picture>("the picture");
  const picture = decodeJoined(file, joined);
  joined.free();
  return picture;
}

function decodeJoined(file: Bytes, joined: Bytes): Result<Picture> {
  const png = new Png();
  let wrong = png.chunks(file, joined);
  if (!wrong.length && png.colour == PALETTE && !png.hasPalette) wrong = "its palette is missing";
  if (!wrong.length) wrong = wrongSize(png.width, png.height);
  if (wrong.length) return Result.failed<Picture>(wrong);
  const size = png.rawBytes();
  // Deflate cannot shrink by more than 1032: a small file that claims many pixels is refused before they are
  // allocated.
  if (size / 1032 > <u64>joined.length) {
    return Result.failed<Picture>("its compressed data holds fewer pixels than its header says");
  }
  const zeros = Bytes.make(<i32>png.rowBytes(png.width)), raw: Bytes | null = zeros ? Bytes.raw(<i32>size) : null;
  const made = raw ? Picture.make(<i32>png.width, <i32>png.height) : noMemory<Picture>("the picture");
  if (!made.isFailed && raw && zeros) {
    wrong = inflate(joined.pointer, <usize>joined.length, raw.pointer, <usize>raw.length);
    if (!wrong.length && !png.read(raw.pointer, zeros.pointer, made.value.rgb.pointer)) {
      wrong = "it uses a row filter that PNG does not have";
    }
    if (wrong.length) made.value.free();
  }
  if (raw) raw.free();
  if (zeros) zeros.free();
  return wrong.length ? Result.failed<Picture>(wrong) : made;
}
