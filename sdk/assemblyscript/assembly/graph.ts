// SPDX-License-Identifier: Apache-2.0
// Models and computations. The host's handles come back with `close`, or when an object is collected.
import { Bytes } from "./bytes";
import { Handle, share } from "./handles";
import * as nn from "./imports";
import { Metadata, Port } from "./metadata";
import { Code, codeName, Failure, noMemory, Result } from "./result";
import { elementCount, Tensor } from "./tensor";
import { acrossType, Type, typeSize } from "./types";
import { readFile } from "./wasi";

export enum Encoding { OPENVINO, ONNX, TENSORFLOW, PYTORCH, TENSORFLOWLITE, AUTODETECT, GGML }

export enum Target { CPU, GPU, TPU }

const word = memory.data(8);
const ROOM = 1024;
const reason = memory.data(1024);
const rawTensor = memory.data(20);

/** The host's reason for the last call that failed; "" where it does not tell (NN_PORTABLE). */
function lastReason(): string {
  if (isDefined(NN_PORTABLE)) return "";
  const code = nn.lastError(reason, ROOM, word);
  const size = load<u32>(word);
  if (!code) return String.UTF8.decodeUnsafe(reason, <usize>size);
  if (code != Code.TOO_LARGE || size > 1 << 20) return "";
  const all = Bytes.raw(<i32>size);
  return all && !nn.lastError(all.pointer, size, word) ? all.toString() : "";
}

function answered(call: string, code: u32): Failure {
  const told = lastReason();
  const name = codeName(<i32>code);
  if (told.length) return new Failure(call + ": " + name + ": " + told, <i32>code);
  return new Failure(call + " answered " + name + " (" + code.toString() + "); the host's log says why", <i32>code);
}

@final export class Graph {
  private known: Metadata | null = null;

  private constructor(private handle: Handle, private loadedAs: string) {}

  /** A graph that the host knows by name; `config` is JSON for hosts that take one (WasmEdge's). */
  static named(name: string, config: string = ""): Result<Graph> {
    const text = String.UTF8.encode(name);
    const at = changetype<usize>(text), size = <u32>text.byteLength;
    let code: u32;
    if (config.length) {
      const json = String.UTF8.encode(config);
      code = nn.loadByNameWithConfig(at, size, changetype<usize>(json), <u32>json.byteLength, word);
    } else {
      code = nn.loadByName(at, size, word);
    }
    if (code) return Result.from<Graph>(answered("load_by_name('" + name + "')", code));
    return Graph.opened(name);
  }

  /** A graph of a model's files: one, or for OpenVINO the XML and the weights. */
  static ofBytes(files: Bytes[], encoding: Encoding, target: Target = Target.CPU): Result<Graph> {
    const builders = new StaticArray<u32>(files.length * 2);
    for (let i = 0; i < files.length; i++) {
      builders[i * 2] = <u32>files[i].pointer;
      builders[i * 2 + 1] = <u32>files[i].length;
    }
    const code = nn.load_(changetype<usize>(builders), <u32>files.length, encoding, target, word);
    return code ? Result.from<Graph>(answered("load", code)) : Graph.opened("loaded");
  }

  static ofFiles(paths: string[], encoding: Encoding, target: Target = Target.CPU): Result<Graph> {
    const files: Bytes[] = [];
    for (let i = 0; i < paths.length; i++) {
      const file = readFile(paths[i]);
      if (file.isFailed) return Result.from<Graph>(file.error);
      files.push(file.value);
    }
    const graph = Graph.ofBytes(files, encoding, target);
    // The host has its own copy.
    for (let i = 0; i < files.length; i++) files[i].free();
    return graph;
  }

  private static opened(name: string): Result<Graph> {
    const number = load<u32>(word);
    share(number);
    return Result.of(new Graph(new Handle(number, true), name));
  }

  /** What the graph takes and gives; asked of the host once. Other hosts than wasinn have no such call. */
  metadata(): Result<Metadata> {
    const known = this.known;
    if (known) return Result.of<Metadata>(known);
    if (isDefined(NN_PORTABLE)) {
      return Result.failed<Metadata>(
        "the program is built with NN_PORTABLE, without the host's metadata: give types and shapes yourself",
        Code.UNSUPPORTED_OPERATION,
      );
    }
    if (!this.handle.isOpen) return Result.from<Metadata>(this.isClosed());
    let size = 4096;
    while (true) {
      const text = Bytes.raw(size);
      if (!text) return noMemory<Metadata>("the metadata");
      const code = nn.graphMetadata(this.handle.number, text.pointer, <u32>size, word);
      const written = load<i32>(word);
      if (code == Code.TOO_LARGE && written > size && written < 1 << 28) {
        text.free();
        size = written;
        continue;
      }
      if (code) return Result.from<Metadata>(answered("graph_metadata", code));
      text.cut(written);
      const parsed = Metadata.parse(text.toString());
      text.free();
      if (!parsed.isFailed) this.known = parsed.value;
      return parsed;
    }
  }

  /** A place to compute in. */
  context(): Result<Context> {
    if (!this.handle.isOpen) return Result.from<Context>(this.isClosed());
    const code = nn.initExecutionContext(this.handle.number, word);
    if (code) return Result.from<Context>(answered("init_execution_context", code));
    return Result.of(new Context(this, new Handle(load<u32>(word), false)));
  }

  private isClosed(): Failure {
    return new Failure("the graph '" + this.loadedAs + "' is closed: load it again");
  }

  /** Gives the graph back: its contexts take no more input then. */
  close(): void {
    this.handle.close();
  }
}

@final export class Context {
  private sizes: i32[] = [];
  /** The first dim of the last input, which outputs of several dynamic dims are taken to have too. */
  private batch: i32 = -1;

  constructor(public graph: Graph, private handle: Handle) {}

  private check(call: string): Failure | null {
    return this.handle.isOpen ? null : new Failure(call + ": the context is closed: make another of its graph");
  }

  /** Sends input `index`; the host copies it. */
  setInput(index: i32, tensor: Tensor): Failure | null {
    const closed = this.check("set_input");
    if (closed) return closed;
    if (!tensor.data.pointer) return new Failure("set_input: the tensor's bytes were given back");
    const rank = tensor.dims.length, dims = new StaticArray<u32>(rank);
    for (let i = 0; i < rank; i++) dims[i] = <u32>tensor.dims[i];
    const raw = changetype<nn.RawTensor>(rawTensor);
    raw.dims = changetype<usize>(dims);
    raw.rank = <u32>rank;
    raw.type = acrossType(tensor.type);
    raw.data = tensor.data.pointer;
    raw.size = <u32>tensor.data.length;
    const code = nn.setInput(this.handle.number, <u32>index, rawTensor);
    if (code) return answered("set_input(" + index.toString() + ", " + tensor.toString() + ")", code);
    if (rank) this.batch = tensor.dims[0];
    return null;
  }

  setInputNamed(name: string, tensor: Tensor): Failure | null {
    const closed = this.check("set_input");
    if (closed) return closed;
    const metadata = this.graph.metadata();
    if (metadata.isFailed) return metadata.error;
    const index = metadata.value.inputIndex(name);
    return index.isFailed ? index.error : this.setInput(index.value, tensor);
  }

  compute(): Failure | null {
    const closed = this.check("compute");
    if (closed) return closed;
    const code = nn.compute(this.handle.number);
    return code ? answered("compute", code) : null;
  }

  /** Output `index` as the bytes that it is, of whatever size. */
  outputBytes(index: i32): Result<Bytes> {
    const closed = this.check("get_output");
    if (closed) return Result.from<Bytes>(closed);
    while (this.sizes.length <= index && index < 1024) this.sizes.push(0);
    // The size of the last answer, or by metadata; else the host's answer says what is needed.
    let size = index >= 0 && index < this.sizes.length ? this.sizes[index] : 0;
    if (!size) size = this.expected(index);
    while (true) {
      const bytes = Bytes.raw(size);
      if (!bytes) return noMemory<Bytes>("output " + index.toString() + " (" + size.toString() + " bytes)");
      const code = nn.getOutput(this.handle.number, <u32>index, bytes.pointer, <u32>size, word);
      const written = load<i32>(word);
      if (code == Code.TOO_LARGE && <u32>written > <u32>size) {
        bytes.free();
        size = written; // below 0 is above 2 GiB: no memory, at the next turn
        continue;
      }
      if (code) return Result.from<Bytes>(answered("get_output(" + index.toString() + ")", code));
      bytes.cut(written);
      if (index < this.sizes.length) this.sizes[index] = written;
      return Result.of<Bytes>(bytes);
    }
  }

  /** Output `index` into memory that is there already; the number of bytes written. */
  outputInto(index: i32, bytes: Bytes): Result<i32> {
    const closed = this.check("get_output");
    if (closed) return Result.from<i32>(closed);
    const code = nn.getOutput(this.handle.number, <u32>index, bytes.pointer, <u32>bytes.length, word);
    const written = load<u32>(word);
    if (!code) return Result.of(<i32>written);
    if (code != Code.TOO_LARGE || written <= <u32>bytes.length) return Result.from<i32>(answered("get_output", code));
    return Result.failed<i32>(
      "get_output(" + index.toString() + "): too_large: the output has " + written.toString()
        + " bytes, and the buffer " + bytes.length.toString() + ": make it larger, or call output()",
      Code.TOO_LARGE,
    );
  }

  /** Output `index` with the type and dims that the metadata names. */
  output(index: i32): Result<Tensor> {
    const closed = this.check("get_output");
    if (closed) return Result.from<Tensor>(closed);
    const metadata = this.graph.metadata();
    if (metadata.isFailed) return Result.from<Tensor>(metadata.error);
    const ports = metadata.value.outputs;
    if (index < 0 || index >= ports.length) {
      return Result.failed<Tensor>("get_output: there is no output " + index.toString() + ": the model has "
        + ports.length.toString() + ", counted from 0");
    }
    const bytes = this.outputBytes(index);
    if (bytes.isFailed) return Result.from<Tensor>(bytes.error);
    // Where neither the model nor a contract says the type (TorchScript), it is f32; one without a name here is bytes.
    const data = bytes.value, unsaid = ports[index].datatype.length || data.length & 3 ? Type.U8 : Type.F32;
    const told = metadata.value.outputType(index), type = told < 0 ? unsaid : told;
    const count = data.length / typeSize(type);
    const isRows = !ports[index].hasDims && this.batch > 0 && count % this.batch == 0;
    const dims = isRows ? [this.batch, count / this.batch] : solved(ports[index].dims, count, this.batch);
    return Tensor.ofBytes(type, dims, data);
  }

  outputNamed(name: string): Result<Tensor> {
    const closed = this.check("get_output");
    if (closed) return Result.from<Tensor>(closed);
    const metadata = this.graph.metadata();
    if (metadata.isFailed) return Result.from<Tensor>(metadata.error);
    const index = metadata.value.outputIndex(name);
    return index.isFailed ? Result.from<Tensor>(index.error) : this.output(index.value);
  }

  /** Gives the context back. */
  close(): void {
    this.handle.close();
  }

  private outputPort(index: i32): Port | null {
    const metadata = this.graph.metadata();
    if (metadata.isFailed) return null; // the call itself will say what is wrong
    const ports = metadata.value.outputs;
    return index >= 0 && index < ports.length ? ports[index] : null;
  }

  private expected(index: i32): i32 {
    const port: Port | null = isDefined(NN_PORTABLE) ? null : this.outputPort(index);
    if (port && port.hasDims && port.type >= 0) {
      const count = elementCount(port.dims);
      if (count > 0 && count < 1 << 26) return count * typeSize(port.type);
    }
    return 4096;
  }
}

/** Dims with what is dynamic filled in, so that they have `count` elements; one dim where that is not known. */
function solved(dims: i32[], count: i32, batch: i32): i32[] {
  const found = dims.slice(0);
  let unknown = 0;
  for (let i = 0; i < found.length; i++) if (found[i] < 0) unknown++;
  if (unknown > 1 && found[0] < 0 && batch > 0) {
    found[0] = batch;
    unknown--;
  }
  if (unknown == 1) {
    const at = found.indexOf(-1);
    found[at] = 1;
    const rest = elementCount(found);
    if (rest > 0) found[at] = count / rest;
  }
  return elementCount(found) == count ? found : [count];
}
