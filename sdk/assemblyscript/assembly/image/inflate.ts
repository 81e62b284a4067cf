// SPDX-License-Identifier: Apache-2.0
// Deflate (RFC 1951) inside zlib (RFC 1950), from memory to memory.

const MAX_LENGTH = 15;
/** Codes of up to so many bits are found with one look into a table. */
const QUICK = 10;

const LENGTH_BASE: StaticArray<u16> = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
];
const LENGTH_BITS: StaticArray<u8> = [
  0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];
const DISTANCE_BASE: StaticArray<u16> = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
  8193, 12289, 16385, 24577,
];
const ORDER: StaticArray<u8> = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

function reverse16(v: u32): u32 {
  v = (v & 0x5555) << 1 | (v >> 1 & 0x5555);
  v = (v & 0x3333) << 2 | (v >> 2 & 0x3333);
  v = (v & 0x0f0f) << 4 | (v >> 4 & 0x0f0f);
  return (v & 0x00ff) << 8 | (v >> 8 & 0x00ff);
}

/**
 * A canonical Huffman code. Codes of one length are consecutive numbers, and longer codes are larger when all
 * are written from the left of a 16-bit word: a code's length is the first whose `limit` (exclusive) is above
 * the next 16 bits of input.
 */
@final class Huffman {
  limit: StaticArray<u32> = new StaticArray<u32>(16);
  firstCode: StaticArray<u32> = new StaticArray<u32>(16);
  firstSymbol: StaticArray<u32> = new StaticArray<u32>(16);
  symbols: StaticArray<u16> = new StaticArray<u16>(288);
  /** By the next bits of input: symbol * 16 + length, or 0 for longer codes and for none. */
  quick: StaticArray<u16> = new StaticArray<u16>(1 << QUICK);

  build(lengths: StaticArray<u8>, from: i32, count: i32): bool {
    const ofLength = new StaticArray<u32>(16), next = new StaticArray<u32>(16);
    for (let i = 0; i < count; i++) ofLength[lengths[from + i]]++;
    let code: u32 = 0, symbol: u32 = 0;
    for (let length = 1; length <= MAX_LENGTH; length++) {
      this.firstCode[length] = code;
      this.firstSymbol[length] = next[length] = symbol;
      code += ofLength[length] << (16 - length);
      symbol += ofLength[length];
      this.limit[length] = code;
      if (code > 1 << 16) return false; // more codes than that length has
    }
    this.quick.fill(0);
    for (let i = 0; i < count; i++) {
      const length = <i32>lengths[from + i];
      if (!length) continue;
      const place = next[length]++;
      this.symbols[place] = <u16>i;
      if (length > QUICK) continue;
      const left = this.firstCode[length] + (place - this.firstSymbol[length] << (16 - length));
      for (let at = reverse16(left); at < 1 << QUICK; at += 1 << length) {
        this.quick[at] = <u16>(i << 4 | length);
      }
    }
    return true;
  }
}

let input: usize = 0, inputEnd: usize = 0, output: usize = 0, outputStart: usize = 0, outputEnd: usize = 0;
/** Bits read but not used, the next one lowest; and how many of them were made up after the input's end. */
let bits: u64 = 0, bitCount: u32 = 0, missing: u32 = 0;

/** At least 32 bits. */
function refill(): void {
  if (inputEnd - input >= 8) {
    // Whole bytes only: what does not fit is read again.
    bits |= load<u64>(input) << bitCount;
    const bytes = 63 - bitCount >> 3;
    input += bytes;
    bitCount += bytes << 3;
    return;
  }
  while (bitCount < 48) {
    if (input < inputEnd) bits |= <u64>load<u8>(input++) << bitCount;
    else missing += 8; // zeros: looking past the end is fine, using it is not
    bitCount += 8;
  }
}

function drop(count: u32): void {
  bits >>= count;
  bitCount -= count;
}

function take(count: u32): u32 {
  if (bitCount < 32) refill();
  const value = <u32>bits & (1 << count) - 1;
  drop(count);
  return value;
}

/** The made-up bits are the last ones: some were used if fewer are left. */
function ranOut(): bool {
  return missing > bitCount;
}

/** A symbol, or -1 for bits that are no code (a code may leave some unused). */
function symbolOf(h: Huffman): i32 {
  if (bitCount < 32) refill();
  const quick = <u32>unchecked(h.quick[<u32>bits & (1 << QUICK) - 1]);
  if (quick) {
    drop(quick & 15);
    return quick >> 4;
  }
  const next = reverse16(<u32>bits);
  for (let length = 1; length <= MAX_LENGTH; length++) {
    if (next < unchecked(h.limit[length])) {
      drop(length);
      return h.symbols[unchecked(h.firstSymbol[length]) + (next - unchecked(h.firstCode[length]) >> (16 - length))];
    }
  }
  return -1;
}

function storedBlock(): bool {
  drop(bitCount & 7);
  const size = take(16), complement = take(16);
  if (ranOut() || (size ^ complement) != 0xffff) return false;
  // The whole bytes that were read ahead, without made-up ones, go back.
  input -= <usize>(bitCount - missing >> 3);
  bits = 0;
  bitCount = 0;
  missing = 0;
  if (<usize>size > inputEnd - input || <usize>size > outputEnd - output) return false;
  memory.copy(output, input, <usize>size);
  input += <usize>size;
  output += <usize>size;
  return true;
}

function compressedBlock(literals: Huffman, distances: Huffman): bool {
  while (true) {
    let symbol = symbolOf(literals);
    if (symbol < 0 || ranOut()) return false;
    if (symbol == 256) return true;
    if (symbol < 256) {
      if (output == outputEnd) return false;
      store<u8>(output++, <u8>symbol);
      continue;
    }
    symbol -= 257;
    if (symbol >= 29) return false;
    const length = <usize>LENGTH_BASE[symbol] + take(LENGTH_BITS[symbol]);
    const code = symbolOf(distances);
    if (code < 0 || code >= 30) return false;
    const distance = <usize>DISTANCE_BASE[code] + take(code < 2 ? 0 : code / 2 - 1);
    if (ranOut() || distance > output - outputStart || length > outputEnd - output) return false;
    if (distance >= length) {
      memory.copy(output, output - distance, length);
      output += length;
    } else { // the copy repeats what it writes
      for (const end = output + length; output < end; output++) store<u8>(output, load<u8>(output - distance));
    }
  }
}

function fixedBlock(literals: Huffman, distances: Huffman): bool {
  const lengths = new StaticArray<u8>(288);
  lengths.fill(8, 0, 144).fill(9, 144, 256).fill(7, 256, 280).fill(8, 280, 288);
  literals.build(lengths, 0, 288);
  lengths.fill(5, 0, 30);
  distances.build(lengths, 0, 30);
  return compressedBlock(literals, distances);
}

function dynamicBlock(literals: Huffman, distances: Huffman): bool {
  const literalCount = <i32>take(5) + 257, distanceCount = <i32>take(5) + 1, orderCount = <i32>take(4) + 4;
  if (literalCount > 286 || distanceCount > 30) return false;
  // The code lengths are themselves compressed, with a code given first.
  const lengths = new StaticArray<u8>(286 + 30);
  for (let i = 0; i < orderCount; i++) lengths[ORDER[i]] = <u8>take(3);
  if (!literals.build(lengths, 0, 19)) return false;
  lengths.fill(0);
  const total = literalCount + distanceCount;
  for (let at = 0; at < total;) {
    const symbol = symbolOf(literals);
    if (symbol < 0 || ranOut()) return false;
    if (symbol < 16) {
      lengths[at++] = <u8>symbol;
      continue;
    }
    if (symbol == 16 && at == 0) return false;
    const value: u8 = symbol == 16 ? lengths[at - 1] : 0;
    const repeat = symbol == 16 ? 3 + <i32>take(2) : symbol == 17 ? 3 + <i32>take(3) : 11 + <i32>take(7);
    if (repeat > total - at) return false;
    lengths.fill(value, at, at + repeat);
    at += repeat;
  }
  return literals.build(lengths, 0, literalCount) && distances.build(lengths, literalCount, distanceCount)
    && compressedBlock(literals, distances);
}

export function adler32(from: usize, size: usize): u32 {
  let low: u32 = 1, high: u32 = 0;
  while (size) {
    const end = from + min<usize>(size, 5552); // the most before a 32-bit sum can overflow
    size -= end - from;
    for (; from < end; from++) {
      low += load<u8>(from);
      high += low;
    }
    low %= 65521;
    high %= 65521;
  }
  return high << 16 | low;
}

/** Fills the output exactly; why not, or "". */
export function inflate(from: usize, size: usize, to: usize, capacity: usize): string {
  const damaged = "its compressed data is damaged", early = "its compressed data ends too early";
  input = from;
  inputEnd = from + size;
  output = outputStart = to;
  outputEnd = to + capacity;
  bits = 0;
  bitCount = missing = 0;
  const header = take(8) << 8 | take(8);
  if (ranOut()) return early;
  // Method 8 (deflate), a header that divides by 31, and no preset dictionary.
  if ((header >> 8 & 15) != 8 || header % 31 || header & 0x20) return damaged;
  const literals = new Huffman(), distances = new Huffman();
  for (let last: u32 = 0; !last;) {
    last = take(1);
    const kind = take(2);
    const good = kind == 0 ? storedBlock()
      : kind == 1 ? fixedBlock(literals, distances)
      : kind == 2 ? dynamicBlock(literals, distances) : false;
    if (ranOut()) return early;
    if (!good) return damaged;
  }
  if (output != outputEnd) return "its compressed data holds fewer pixels than its header says";
  drop(bitCount & 7);
  let expected: u32 = 0;
  for (let i = 0; i < 4; i++) expected = expected << 8 | take(8);
  if (ranOut()) return early;
  return expected == adler32(to, capacity) ? "" : "its checksum does not match its pixels";
}
