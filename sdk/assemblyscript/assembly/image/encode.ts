// SPDX-License-Identifier: Apache-2.0
// Palette PNGs: pixel values that are classes, each with its colour.
import { Bytes } from "../bytes";
import { noMemory, Result } from "../result";
import { crc32 } from "./crc";
import { adler32 } from "./inflate";

/** The most of a stored block. */
const BLOCK = 65535;

/**
 * A PNG of `width` x `height` pixels, one byte each; `palette` has RGB of up to 256 of them. The pixels are not
 * compressed.
 */
export function encodePalettePng(width: i32, height: i32, pixels: Bytes, palette: StaticArray<u8>): Result<Bytes> {
  const raw: i64 = (<i64>width + 1) * height;
  const colours = palette.length;
  if (width < 1 || height < 1 || <i64>width * height != pixels.length || raw > 1 << 29) {
    return Result.failed<Bytes>("a palette PNG of " + width.toString() + "x" + height.toString()
      + " pixels needs as many bytes, and "
      + pixels.length.toString() + " came");
  }
  if (colours % 3 || colours < 3 || colours > 768) {
    return Result.failed<Bytes>("a palette has 1 to 256 colours of three bytes, and " + colours.toString()
      + " bytes came");
  }
  const blocks = <i32>((raw + BLOCK - 1) / BLOCK), data = 2 + <i32>raw + blocks * 5 + 4;
  const rows = Bytes.raw(<i32>raw), file: Bytes | null = rows ? Bytes.raw(8 + 25 + 12 + colours + 12 + data + 12)
    : null;
  if (!rows || !file) return noMemory<Bytes>("a PNG");
  for (let y = 0; y < height; y++) {
    const row = rows.pointer + <usize>y * (<usize>width + 1);
    store<u8>(row, 0); // no filter
    memory.copy(row + 1, pixels.pointer + <usize>y * <usize>width, <usize>width);
  }
  let at = file.pointer;
  store<u64>(at, 0x0a1a0a0d474e5089);
  at += 8;

  let body = start(at, 0x49484452, 13); // IHDR
  store<u32>(body, bswap<u32>(width));
  store<u32>(body, bswap<u32>(height), 4);
  store<u32>(body, 0x0308, 8); // 8 bits, a palette; deflate, the usual filters
  store<u8>(body, 0, 12);
  at = finish(at);

  body = start(at, 0x504c5445, colours); // PLTE
  memory.copy(body, changetype<usize>(palette), <usize>colours);
  at = finish(at);

  body = start(at, 0x49444154, data); // IDAT
  store<u16>(body, 0x0178);
  body += 2;
  for (let done: i32 = 0; done < <i32>raw;) {
    const part = min(BLOCK, <i32>raw - done);
    store<u8>(body, <u8>(done + part == <i32>raw));
    store<u16>(body, <u16>part, 1);
    store<u16>(body, <u16>~part, 3);
    memory.copy(body + 5, rows.pointer + <usize>done, <usize>part);
    body += 5 + <usize>part;
    done += part;
  }
  store<u32>(body, bswap<u32>(adler32(rows.pointer, <usize>raw)));
  at = finish(at);

  start(at, 0x49454e44, 0); // IEND
  finish(at);
  rows.free();
  return Result.of<Bytes>(file);
}

/** Begins a chunk; where its body goes. */
function start(at: usize, type: u32, size: i32): usize {
  store<u32>(at, bswap<u32>(size));
  store<u32>(at, bswap(type), 4);
  return at + 8;
}

/** Ends the chunk that begins at `at`; where the next one goes. */
function finish(at: usize): usize {
  const size = <usize>bswap(load<u32>(at));
  store<u32>(at + 8 + size, bswap(crc32(at + 4, size + 4)));
  return at + 12 + size;
}
