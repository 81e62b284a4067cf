// SPDX-License-Identifier: Apache-2.0
// Bytes of which there may be many. AssemblyScript's own arrays trap where the memory does not grow, and a small
// file can claim a large picture: here that is null, and an error that can be told. The memory itself is not
// the garbage collector's, but it comes back when an object is collected, or at once with `free`.
import { closed } from "./handles";

const PAGE: usize = 65536;
/** Before the bytes of a large block: its size, and the next free block. */
const HEADER: usize = 16;

@unmanaged class Block {
  size: usize = 0;
  next: usize = 0;
}

/** The free blocks by address. */
let firstFree: usize = 0;

function block(at: usize): Block {
  return changetype<Block>(at);
}

function fromFree(size: usize): usize {
  let before: usize = 0;
  for (let at = firstFree; at; before = at, at = block(at).next) {
    if (block(at).size < size) continue;
    let next = block(at).next;
    if (block(at).size > size) {
      const rest = at + size;
      block(rest).size = block(at).size - size;
      block(rest).next = next;
      block(at).size = size;
      next = rest;
    }
    if (before) block(before).next = next;
    else firstFree = next;
    return at;
  }
  return 0;
}

/** 0 where there is no memory. */
function acquire(bytes: usize): usize {
  if (bytes < PAGE) return heap.alloc(bytes);
  const size = (bytes + HEADER + PAGE - 1) & ~(PAGE - 1);
  let at = fromFree(size);
  if (!at) {
    __collect(); // lost objects may have blocks
    at = fromFree(size);
  }
  if (!at) {
    const grown = memory.grow(<i32>(size / PAGE));
    if (grown < 0) return 0;
    at = <usize>grown * PAGE;
    block(at).size = size;
  }
  return at + HEADER;
}

function release(pointer: usize, bytes: usize): void {
  if (bytes < PAGE) {
    heap.free(pointer);
    return;
  }
  const at = pointer - HEADER;
  let before: usize = 0, after = firstFree;
  while (after && after < at) {
    before = after;
    after = block(after).next;
  }
  block(at).next = after;
  if (after && at + block(at).size == after) {
    block(at).size += block(after).size;
    block(at).next = block(after).next;
  }
  if (!before) {
    firstFree = at;
  } else if (before + block(before).size == at) {
    block(before).size += block(at).size;
    block(before).next = block(at).next;
  } else {
    block(before).next = at;
  }
}

/** A run of bytes of a fixed length; at most 1 GiB. */
@final export class Bytes {
  private constructor(
    /** The address of the first byte, for calls and inner loops; 0 after `free`. */
    public pointer: usize,
    public length: i32,
    private capacity: usize,
  ) {}

  /** Zeros, or null where there is not enough memory. */
  static make(length: i32): Bytes | null {
    const bytes = Bytes.raw(length);
    if (bytes) memory.fill(bytes.pointer, 0, <usize>length);
    return bytes;
  }

  /** As `make`, with any content. */
  static raw(length: i32): Bytes | null {
    if (length < 0 || length > 1 << 30) return null;
    const capacity = max<usize>(<usize>length, 16);
    // The object first: what it allocates may collect garbage, but must not lose the memory.
    const bytes = new Bytes(0, length, capacity);
    bytes.pointer = acquire(capacity);
    return bytes.pointer ? bytes : null;
  }

  /** A copy of an array of numbers, little-endian; null where there is not enough memory. */
  static of<T>(values: StaticArray<T>): Bytes | null {
    const size = values.length << alignof<T>();
    const bytes = Bytes.raw(size);
    if (bytes) memory.copy(bytes.pointer, changetype<usize>(values), <usize>size);
    return bytes;
  }

  /** UTF-8, without a zero at the end. */
  static text(text: string): Bytes | null {
    const bytes = Bytes.raw(String.UTF8.byteLength(text));
    if (bytes) String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, bytes.pointer);
    return bytes;
  }

  @operator("[]") private __get(index: i32): u8 {
    if (<u32>index >= <u32>this.length) throw new RangeError("Bytes: index out of range");
    return load<u8>(this.pointer + <usize>index);
  }

  @operator("[]=") private __set(index: i32, value: u8): void {
    if (<u32>index >= <u32>this.length) throw new RangeError("Bytes: index out of range");
    store<u8>(this.pointer + <usize>index, value);
  }

  /** Number `index` of those of type T that the bytes hold. */
  at<T>(index: i32): T {
    if (<u32>index >= <u32>this.length / <u32>sizeof<T>()) throw new RangeError("Bytes: index out of range");
    return load<T>(this.pointer + (<usize>index << alignof<T>()));
  }

  /** A copy of `length` bytes from `start`, both cut to what there is; null where there is no memory. */
  slice(start: i32, length: i32): Bytes | null {
    start = min(max(start, 0), this.length);
    length = min(max(length, 0), this.length - start);
    const part = Bytes.raw(length);
    if (part) memory.copy(part.pointer, this.pointer + <usize>start, <usize>length);
    return part;
  }

  /** The bytes as UTF-8. */
  toString(): string {
    return String.UTF8.decodeUnsafe(this.pointer, <usize>this.length);
  }

  /** Keeps only the first `length` bytes. */
  cut(length: i32): void {
    this.length = min(max(length, 0), this.length);
  }

  /** Gives the memory back now; there are no bytes then. */
  free(): void {
    if (this.pointer) release(this.pointer, this.capacity);
    this.pointer = 0;
    this.length = 0;
  }
}

// The garbage collector calls this for what it frees. A global name: a program can have only one.
// @ts-ignore: a decorator on a function
@global
export function __finalize(object: usize): void {
  const id = load<u32>(object - 8); // the header's class
  if (id == idof<Bytes>()) {
    const bytes = changetype<Bytes>(object);
    if (bytes.pointer) bytes.free();
  } else {
    closed(id, object);
  }
}
