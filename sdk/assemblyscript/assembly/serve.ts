// SPDX-License-Identifier: Apache-2.0
// Guests that `wasinn serve` answers requests with: one function gets a request and fills an answer.
//
//     function answer(request: Request, answer: Answer): Failure | null {
//       const x = request.tensor("x");
//       if (x.isFailed) return x.error;
//       ...
//       return answer.tensor("y", y);
//     }
//     export function wasinn_alloc(size: u32): usize { return serveAlloc(size); }
//     export function wasinn_handle(place: usize, size: u32): u64 { return serveHandle(answer, place, size); }
//
// compiled with --exportStart _initialize. A command has `serveCommand(answer);` in the place of the exports.
//
// A failure of Code.REQUEST is the caller's fault, who gets its text with status 400 (`Failure.ofRequest` makes one);
// any other is the guest's: status 500. What is wrong with a request's tensors is found here, and is of that code.
import { Bytes } from "./bytes";
import { Code, Failure, Result } from "./result";
import { numberType, Tensor } from "./tensor";
import { dimsText } from "./text";
import { datatypeName, typeOf } from "./types";
import { exit, printBytes, printError, readStdin } from "./wasi";

const MAGIC: u32 = 0x31746e77, REFUSAL: u32 = 0x31656e77; // "wnt1", "wne1"
const MOST_DIMS: u32 = 32;

/** What answers a request: null, or why it cannot. */
export type Handler = (request: Request, answer: Answer) => Failure | null;

function bad<T>(reason: string): Result<T> {
  return Result.failed<T>("the request " + reason, Code.REQUEST);
}

function noRoom(): Failure {
  return new Failure("there is not enough memory for the request or its answer", Code.MISSING_MEMORY);
}

function padded(size: i64): i64 {
  return (size + 7) & ~7;
}

/** A tensor of a request; the datatype is the Open Inference Protocol's. Its bytes lie in the request. */
@final export class Input {
  constructor(
    public name: string, public datatype: string, public dims: i32[],
    /** The address of the first byte. */
    public pointer: usize,
    public size: i32,
  ) {}

  /** A copy of the bytes as a tensor; fails for BYTES. */
  tensor(): Result<Tensor> {
    const type = typeOf(this.datatype);
    if (type < 0) return this.wrong<Tensor>("of numbers");
    const data = copyOf(this.pointer, this.size);
    return data ? Tensor.ofBytes(type, this.dims, data) : Result.from<Tensor>(noRoom());
  }

  /** The numbers, which must be of the type T; a copy. */
  values<T>(): Result<StaticArray<T>> {
    const wanted = datatypeName(numberType<T>());
    if (this.datatype != wanted) return this.wrong<StaticArray<T>>(wanted);
    const tensor = this.tensor();
    return tensor.isFailed ? Result.from<StaticArray<T>>(tensor.error) : tensor.value.values<T>();
  }

  /** Copies of the elements of BYTES: files, or texts in UTF-8 (`toString`). */
  strings(): Result<Bytes[]> {
    const found: Bytes[] = [];
    if (this.datatype != "BYTES") return this.wrong<Bytes[]>("BYTES");
    let at: i64 = 0;
    while (at < this.size) {
      const start = at + 4;
      const size: i64 = start > this.size ? -1 : <i64>load<u32>(this.pointer + <usize>at);
      if (size < 0 || start + size > this.size) return bad<Bytes[]>("is cut off in '" + this.name + "'");
      const element = copyOf(this.pointer + <usize>start, <i32>size);
      if (!element) return Result.from<Bytes[]>(noRoom());
      found.push(element);
      at = start + size;
    }
    return Result.of(found);
  }

  private wrong<T>(wanted: string): Result<T> {
    return Result.failed<T>(
      "the input '" + this.name + "' is " + this.datatype + ", and must be " + wanted, Code.REQUEST,
    );
  }
}

function copyOf(pointer: usize, size: i32): Bytes | null {
  const copy = Bytes.raw(size);
  if (copy) memory.copy(copy.pointer, pointer, <usize>size);
  return copy;
}

/** The tensors of a request. */
@final export class Request {
  inputs: Input[] = [];

  /** From a message as the server sends it. */
  static parse(message: Bytes): Result<Request> {
    const request = new Request(), total: i64 = message.length, base = message.pointer;
    if (total < 8 || load<u32>(base) != MAGIC) return bad<Request>("is no message: it does not begin with \"wnt1\"");
    let at: i64 = 8;
    for (let left = load<u32>(base, 4); left > 0; left--) {
      if (total - at < 24) return bad<Request>("is cut off");
      const head = base + <usize>at;
      const nameSize: i64 = load<u32>(head), datatypeSize: i64 = load<u32>(head, 4);
      const rank = load<u32>(head, 8), size = load<u64>(head, 16);
      if (rank > MOST_DIMS) return bad<Request>("has a tensor of too many dims");
      const words = at + 24 + 8 * <i64>rank, start = padded(words + nameSize + datatypeSize);
      if (start > total || size > <u64>(total - start)) return bad<Request>("is cut off");
      const dims: i32[] = [];
      for (let d: u32 = 0; d < rank; d++) {
        const dim = load<u64>(head + 24 + <usize>d * 8);
        if (dim > <u64>i32.MAX_VALUE) return bad<Request>("has a dim of more than 31 bits");
        dims.push(<i32>dim);
      }
      const text = base + <usize>words;
      request.inputs.push(new Input(
        String.UTF8.decodeUnsafe(text, <usize>nameSize),
        String.UTF8.decodeUnsafe(text + <usize>nameSize, <usize>datatypeSize),
        dims, base + <usize>start, <i32>size,
      ));
      at = padded(start + <i64>size);
      if (at > total) return bad<Request>("is cut off");
    }
    return Result.of(request);
  }

  /** The input of that name; null where it is not there. */
  find(name: string): Input | null {
    for (let i = 0; i < this.inputs.length; i++) if (this.inputs[i].name == name) return this.inputs[i];
    return null;
  }

  /** The input of that name; the failure lists what there is. */
  input(name: string): Result<Input> {
    const found = this.find(name);
    if (found) return Result.of<Input>(found);
    let known = "";
    for (let i = 0; i < this.inputs.length; i++) known += (i ? ", '" : "'") + this.inputs[i].name + "'";
    return bad<Input>("has no input '" + name + "'; it has " + (known.length ? known : "none"));
  }

  /** The same as a tensor. */
  tensor(name: string): Result<Tensor> {
    const found = this.input(name);
    return found.isFailed ? Result.from<Tensor>(found.error) : found.value.tensor();
  }
}

/** The tensors of an answer; each function copies, and is null or why it could not. */
@final export class Answer {
  private message: Bytes | null = Bytes.make(1024);
  private size: i32 = 8;
  private count: u32 = 0;

  tensor(name: string, tensor: Tensor): Failure | null {
    const data = tensor.data;
    const at = this.head(name, datatypeName(tensor.type), tensor.dims, data.length);
    if (!at) return noRoom();
    memory.copy(at, data.pointer, <usize>data.length);
    return null;
  }

  /** A tensor of BYTES: texts. */
  strings(name: string, dims: i32[], texts: string[]): Failure | null {
    const elements: Bytes[] = [];
    for (let i = 0; i < texts.length; i++) {
      const element = Bytes.text(texts[i]);
      if (!element) return noRoom();
      elements.push(element);
    }
    return this.bytes(name, dims, elements);
  }

  /** A tensor of BYTES: files, say. */
  bytes(name: string, dims: i32[], elements: Bytes[]): Failure | null {
    let count: i64 = 1, size: i64 = 0;
    for (let i = 0; i < dims.length; i++) count *= dims[i];
    if (count != elements.length) {
      return new Failure("the dims " + dimsText(dims) + " do not hold " + elements.length.toString() + " elements");
    }
    for (let i = 0; i < elements.length; i++) size += 4 + <i64>elements[i].length;
    let at = size > 1 << 30 ? 0 : this.head(name, "BYTES", dims, <i32>size);
    if (!at) return noRoom();
    for (let i = 0; i < elements.length; i++) {
      const each = elements[i];
      store<u32>(at, each.length);
      memory.copy(at + 4, each.pointer, <usize>each.length);
      at += 4 + <usize>each.length;
    }
    return null;
  }

  /** The message; null where there was no memory for it. */
  finish(): Bytes | null {
    const message = this.message;
    if (!message) return null;
    store<u32>(message.pointer, MAGIC);
    store<u32>(message.pointer, this.count, 4);
    message.cut(this.size);
    return message;
  }

  /** All of a tensor but its data, with room for that: its address, 0 where there is no memory. */
  private head(name: string, datatype: string, dims: i32[], size: i32): usize {
    const nameSize = String.UTF8.byteLength(name), datatypeSize = String.UTF8.byteLength(datatype);
    const start = padded(<i64>this.size + 24 + 8 * dims.length + nameSize + datatypeSize);
    const end = padded(start + size);
    const message = this.grown(end);
    if (!message) return 0;
    let at = message.pointer + <usize>this.size;
    memory.fill(at, 0, <usize>(end - this.size));
    store<u32>(at, nameSize);
    store<u32>(at, datatypeSize, 4);
    store<u32>(at, dims.length, 8);
    store<u64>(at, size, 16);
    at += 24;
    for (let i = 0; i < dims.length; i++, at += 8) store<u64>(at, dims[i]);
    String.UTF8.encodeUnsafe(changetype<usize>(name), name.length, at);
    String.UTF8.encodeUnsafe(changetype<usize>(datatype), datatype.length, at + <usize>nameSize);
    this.count++;
    this.size = <i32>end;
    return message.pointer + <usize>start;
  }

  private grown(needed: i64): Bytes | null {
    const message = this.message;
    if (!message || needed > 1 << 30) return null;
    if (needed <= message.length) return message;
    const larger = Bytes.raw(<i32>min<i64>(max<i64>(needed, <i64>message.length * 2), 1 << 30));
    if (!larger) return null;
    memory.copy(larger.pointer, message.pointer, <usize>this.size);
    message.free();
    this.message = larger;
    return larger;
  }
}

function refusal(text: string): Bytes | null {
  const size = String.UTF8.byteLength(text), message = Bytes.make(8 + size);
  if (!message) return null;
  store<u32>(message.pointer, REFUSAL);
  store<u32>(message.pointer, size, 4);
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, message.pointer + 8);
  return message;
}

/** The answer's message, or a refusal's; null after an error on stderr. */
function respond(handler: Handler, message: Bytes): Bytes | null {
  const request = Request.parse(message), answer = new Answer();
  const failure = request.isFailed ? request.error : handler(request.value, answer);
  if (failure && failure.code != Code.REQUEST) {
    printError(failure.text);
    return null;
  }
  const made = failure ? refusal(failure.text) : answer.finish();
  if (!made) printError(noRoom().text);
  return made;
}

/** The request and the answer of an instance: the host reads and writes them after a call has returned. */
let received: Bytes | null = null, answered: Bytes | null = null;

/** Where a request of so many bytes can be written; 0 where there is no memory. For the export wasinn_alloc. */
export function serveAlloc(size: u32): usize {
  const room: Bytes | null = size > 1 << 30 ? null : Bytes.raw(<i32>size);
  received = room;
  return room ? room.pointer : 0;
}

/** For the export wasinn_handle. */
export function serveHandle(handler: Handler, place: usize, size: u32): u64 {
  const message = received;
  if (!message || message.pointer != place || <u32>message.length != size) {
    printError("wasinn_handle got another place than wasinn_alloc gave");
    return 0;
  }
  const made = respond(handler, message);
  answered = made;
  return made ? <u64>made.pointer << 32 | <u64>made.length : 0;
}

/** Answers the request on stdin, to stdout; ends the program with exit code 1 where that fails. */
export function serveCommand(handler: Handler): void {
  const message = readStdin();
  if (message.isFailed) printError(message.error.text);
  const made: Bytes | null = message.isFailed ? null : respond(handler, message.value);
  if (!made || !printBytes(made)) exit(1);
}
