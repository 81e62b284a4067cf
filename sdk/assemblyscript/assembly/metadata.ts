// SPDX-License-Identifier: Apache-2.0
// What a graph takes and gives, as the host tells it: ports, and the contract where the model has one.
import { Json, Kind } from "./json";
import { Quantization } from "./quantization";
import { Result } from "./result";
import { dimsText, names } from "./text";
import { isFloat, Type, typeOf } from "./types";

/** An input or output of the model itself. */
@final export class Port {
  name: string = "";
  datatype: string = "";
  /** A `Type`, or -1 where the host's word is none. */
  type: i32 = -1;
  /** Dynamic dims are -1. */
  dims: i32[] = [];
  /** False where the model does not even say how many dims there are. */
  hasDims: bool = false;
  quantization: Quantization | null = null;
  aliases: string[] = [];

  isCalled(name: string): bool {
    return this.name == name || this.aliases.includes(name);
  }
}

/** How a picture becomes numbers; the meaning of each is in the contract's documentation. */
@final export class ImageSpec {
  layout: string = "NCHW";
  height: i32 = 0;
  width: i32 = 0;
  colour: string = "RGB";
  low: f64 = 0;
  high: f64 = 1;
  mean: f64[] = [0, 0, 0];
  std: f64[] = [1, 1, 1];
  resize: string = "bilinear";
  antialias: bool = true;
  fit: string = "stretch";
  /** The shorter side before the cut; 0 for the scale that just covers the size. */
  crop: i32 = 0;
  fill: i32[] = [0, 0, 0];
  invert: bool = false;

  get channels(): i32 {
    return this.colour == "GRAY" ? 1 : 3;
  }

  /** The tensor's dims, with a batch of 1. */
  get dims(): i32[] {
    const dims: i32[] = [];
    for (let i = 0; i < this.layout.length; i++) {
      switch (this.layout.charCodeAt(i)) {
        case 0x43: dims.push(this.channels); break;
        case 0x48: dims.push(this.height); break;
        case 0x57: dims.push(this.width); break;
        default: dims.push(1);
      }
    }
    return dims;
  }
}

@final export class InputContract {
  name: string = "";
  index: i32 = 0;
  type: i32 = Type.F32;
  /** Those of the model; empty where it does not say. */
  dims: i32[] = [];
  quantization: Quantization | null = null;
  image: ImageSpec | null = null;

  /** Whether several pictures go into one computation. */
  get isBatched(): bool {
    const image = this.image;
    return this.dims.length > 0 && this.dims[0] == -1 && image != null && image.layout.startsWith("N");
  }

  /** One input of a contract, as JSON. */
  static parse(text: string): Result<InputContract> {
    const json = Json.parse(text);
    return json.isFailed ? Result.from<InputContract>(json.error) : InputContract.read(json.value);
  }

  static read(json: Json): Result<InputContract> {
    const input = new InputContract();
    input.name = json.get("name").text;
    input.index = json.get("index").integer;
    const what = "input '" + input.name + "' of the contract: ";
    const type = json.get("type");
    if (!type.isNull) input.type = typeOf(type.text);
    if (input.type < 0) return Result.failed<InputContract>(what + "there is no type '" + type.text + "'");
    input.dims = json.get("dims").integers();
    input.quantization = readQuantization(json.get("quantization"));
    const image = json.get("image");
    if (image.isNull) return Result.of(input);
    const read = readImage(image);
    if (read.isFailed) return Result.failed<InputContract>(what + read.error.text);
    input.image = read.value;
    return Result.of(input);
  }
}

@final export class OutputContract {
  name: string = "";
  index: i32 = 0;
  /** "logits", "probabilities", "mask", "boxes", "raw"; "" where there is no contract. */
  kind: string = "";
  layout: string = "NCHW";
  type: i32 = Type.F32;
  quantization: Quantization | null = null;
  labels: string[] = [];
  labelOffset: i32 = 0;

  /** What class `index` is called; "" without a label. */
  label(index: i32): string {
    const at = index + this.labelOffset;
    return at >= 0 && at < this.labels.length ? this.labels[at] : "";
  }

  /** The label, or "class 7". */
  nameOf(index: i32): string {
    const label = this.label(index);
    return label.length ? label : "class " + index.toString();
  }
}

@final export class Metadata {
  name: string = "";
  inputs: Port[] = [];
  outputs: Port[] = [];
  hasContract: bool = false;
  private contractInputs: InputContract[] = [];
  private contractOutputs: OutputContract[] = [];

  static parse(text: string): Result<Metadata> {
    const parsed = Json.parse(text);
    if (parsed.isFailed) return Result.failed<Metadata>("the host's metadata: " + parsed.error.text);
    const json = parsed.value, found = new Metadata();
    found.name = json.get("name").text;
    found.inputs = readPorts(json.get("inputs"));
    found.outputs = readPorts(json.get("outputs"));
    const contract = json.get("contract");
    found.hasContract = contract.kind == Kind.OBJECT;
    const inputs = contract.get("inputs").items, outputs = contract.get("outputs").items;
    for (let i = 0; i < inputs.length; i++) {
      const input = InputContract.read(inputs[i]);
      if (input.isFailed) return Result.from<Metadata>(input.error);
      found.contractInputs.push(input.value);
    }
    for (let i = 0; i < outputs.length; i++) found.contractOutputs.push(readOutput(outputs[i]));
    return Result.of(found);
  }

  /** The index of the input of that name, the contract's or the model's. */
  inputIndex(name: string): Result<i32> {
    for (let i = 0; i < this.contractInputs.length; i++) {
      if (this.contractInputs[i].name == name) return Result.of(this.contractInputs[i].index);
    }
    return portIndex(this.inputs, name, "input");
  }

  outputIndex(name: string): Result<i32> {
    for (let i = 0; i < this.contractOutputs.length; i++) {
      if (this.contractOutputs[i].name == name) return Result.of(this.contractOutputs[i].index);
    }
    return portIndex(this.outputs, name, "output");
  }

  /** The type of output `index`: the contract's, else the model's; -1 where nobody says it. */
  outputType(index: i32): i32 {
    for (let i = 0; i < this.contractOutputs.length; i++) {
      const output = this.contractOutputs[i];
      if (output.index == index && output.type >= 0) return output.type;
    }
    return index >= 0 && index < this.outputs.length ? this.outputs[index].type : -1;
  }

  /** The input that is a picture: the contract's, or the first port that can be one. */
  pictureInput(): Result<InputContract> {
    for (let i = 0; i < this.contractInputs.length; i++) {
      if (this.contractInputs[i].image) return Result.of(this.contractInputs[i]);
    }
    let shown = "";
    for (let i = 0; i < this.inputs.length; i++) {
      const found = derived(this.inputs[i]);
      if (found) {
        found.index = i;
        return Result.of<InputContract>(found);
      }
      const port = this.inputs[i];
      shown += (i ? ", " : "") + "'" + port.name + "' " + port.datatype + " " + dimsText(port.dims);
    }
    return Result.failed<InputContract>(
      "no input is known to be a picture with a fixed size (" + shown + "): give the model a contract with one",
    );
  }

  /** The first output of one of these kinds; without a contract, output 0 with the kind "". */
  outputOf(kinds: string[]): Result<OutputContract> {
    let there: string[] = [];
    for (let i = 0; i < this.contractOutputs.length; i++) {
      if (kinds.includes(this.contractOutputs[i].kind)) return Result.of(this.contractOutputs[i]);
      there.push(this.contractOutputs[i].kind);
    }
    if (there.length) {
      return Result.failed<OutputContract>(
        "the model's contract has no output of the kind " + kinds.join(" or ") + ": there is " + there.join(", "),
      );
    }
    if (!this.outputs.length) return Result.failed<OutputContract>("the model has no output");
    const port = this.outputs[0], output = new OutputContract();
    output.name = port.name;
    output.quantization = port.quantization;
    output.type = port.type;
    if (port.dims.length == 3) output.layout = "NHW";
    else if (port.dims.length == 2) output.layout = "HW";
    return Result.of(output);
  }
}

function portIndex(ports: Port[], name: string, what: string): Result<i32> {
  const known: string[] = [];
  for (let i = 0; i < ports.length; i++) {
    if (ports[i].isCalled(name)) return Result.of(i);
    known.push(ports[i].name);
  }
  return Result.failed<i32>("there is no " + what + " '" + name + "': the model has " + names(known));
}

function readPorts(list: Json): Port[] {
  const ports: Port[] = [];
  for (let i = 0; i < list.items.length; i++) {
    const json = list.items[i], port = new Port();
    port.name = json.get("name").text;
    port.datatype = json.get("datatype").text;
    port.type = typeOf(port.datatype);
    port.hasDims = json.get("shape").kind == Kind.LIST;
    port.dims = json.get("shape").integers();
    port.quantization = readQuantization(json.get("quantization"));
    port.aliases = json.get("aliases").strings();
    ports.push(port);
  }
  return ports;
}

function readQuantization(json: Json): Quantization | null {
  const scales = json.get("scale").numbers(), points = json.get("zero_point").numbers();
  if (!scales.length || points.length != scales.length) return null;
  const axis = json.get("axis");
  return new Quantization(scales, points, axis.isNull ? -1 : axis.integer);
}

function readOutput(json: Json): OutputContract {
  const output = new OutputContract();
  output.name = json.get("name").text;
  output.index = json.get("index").integer;
  output.kind = json.get("kind").text;
  if (!json.get("layout").isNull) output.layout = json.get("layout").text;
  output.type = typeOf(json.get("type").text);
  output.quantization = readQuantization(json.get("quantization"));
  output.labels = json.get("labels").strings();
  output.labelOffset = json.get("label_offset").integer;
  return output;
}

function readImage(json: Json): Result<ImageSpec> {
  const image = new ImageSpec();
  let key = json.get("layout");
  if (!key.isNull) image.layout = key.text;
  if (!["NCHW", "NHWC", "CHW", "HWC", "NHW", "HW"].includes(image.layout)) {
    return Result.failed<ImageSpec>("there is no layout '" + image.layout + "'");
  }
  const size = json.get("size").integers();
  if (size.length != 2 || size[0] < 1 || size[1] < 1 || size[0] > 65536 || size[1] > 65536) {
    return Result.failed<ImageSpec>("size must be [height, width], each from 1 to 65536, and is " + dimsText(size));
  }
  image.height = size[0];
  image.width = size[1];
  key = json.get("colour");
  if (!key.isNull) image.colour = key.text;
  if (!["RGB", "BGR", "GRAY"].includes(image.colour)) {
    return Result.failed<ImageSpec>("colour is RGB, BGR or GRAY, not '" + image.colour + "'");
  }
  if (!image.layout.includes("C") && image.channels != 1) {
    return Result.failed<ImageSpec>("the layout " + image.layout + " has no channels, and the colour is "
      + image.colour);
  }
  const range = json.get("range").numbers();
  if (range.length == 2) {
    image.low = range[0];
    image.high = range[1];
  }
  const mean = channelNumbers(json.get("mean"), image.channels, 0);
  const std = channelNumbers(json.get("std"), image.channels, 1);
  if (!mean || !std || std.includes(0)) {
    return Result.failed<ImageSpec>("mean and std must have one number for each channel, and std no 0");
  }
  image.mean = mean;
  image.std = std;
  key = json.get("resize");
  if (!key.isNull) image.resize = key.text;
  key = json.get("antialias");
  if (!key.isNull) image.antialias = key.isTrue;
  key = json.get("fit");
  if (!key.isNull) image.fit = key.text;
  key = json.get("crop");
  if (!key.isNull) image.crop = key.integer;
  if (image.crop < 0 || image.crop > 65536) return Result.failed<ImageSpec>("crop is 1 to 65536");
  const fill = json.get("fill").integers();
  if (fill.length == 3) image.fill = fill;
  image.invert = json.get("invert").isTrue;
  return Result.of(image);
}

function channelNumbers(json: Json, channels: i32, otherwise: f64): f64[] | null {
  const all = json.numbers();
  if (!all.length) for (let i = 0; i < channels; i++) all.push(otherwise);
  return all.length == channels ? all : null;
}

/** What a port takes that can be a picture, without a contract: 0 to 1, or bytes as they are. */
function derived(port: Port): InputContract | null {
  const dims = port.dims, rank = dims.length;
  const input = new InputContract(), image = new ImageSpec();
  if (rank < 2 || rank > 4 || port.type < 0) return null;
  const first = rank == 4 ? 1 : 0;
  let layout = "";
  if (rank == 2) layout = "HW";
  else if (dims[first] == 1 || dims[first] == 3) layout = "CHW";
  else if (dims[rank - 1] == 1 || dims[rank - 1] == 3) layout = "HWC";
  else return null;
  if (rank == 4 && dims[0] != 1 && dims[0] != -1) return null;
  const channels = layout == "HW" ? 1 : dims[first + layout.indexOf("C")];
  image.height = dims[first + layout.indexOf("H")];
  image.width = dims[first + layout.indexOf("W")];
  if (image.height < 2 || image.width < 2) return null;
  image.layout = rank == 4 ? "N" + layout : layout;
  if (channels == 1) {
    image.colour = "GRAY";
    image.mean = [0];
    image.std = [1];
  }
  if (port.type == Type.U8) image.high = 255;
  else if (!isFloat(port.type)) {
    if (!port.quantization) return null;
    input.quantization = port.quantization;
  }
  input.name = port.name;
  input.type = port.type;
  input.dims = dims;
  input.image = image;
  return input;
}
