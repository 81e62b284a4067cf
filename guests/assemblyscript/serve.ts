// SPDX-License-Identifier: Apache-2.0
// A classifier that is served: pictures come in, the best classes go out, with their labels.
//
//   in    image   BYTES, any shape: files (PNG, BMP, PNM), or UINT8 [H,W,3]: the pixels of one picture
//         top     INT32 [1], optional: how many classes, 5 if it is not there
//   out   scores  FP32 [pictures, top], the best first
//         classes INT32 [pictures, top]
//         labels  BYTES [pictures, top]: the class's number where the model's contract has no labels
//
// The graph is "default", or the first word of `args`. How a picture becomes a tensor is what its contract says.
import {
  Answer, Context, Failure, Graph, Input, InputContract, OutputContract, Picture, preprocess, programArguments, Request,
  Result, Scored, serveAlloc, serveHandle, Tensor, topK,
} from "wasinn";

export function wasinn_alloc(size: u32): usize {
  return serveAlloc(size);
}

export function wasinn_handle(place: usize, size: u32): u64 {
  return serveHandle(answer, place, size);
}

function answer(request: Request, answer: Answer): Failure | null {
  const image = request.input("image");
  if (image.isFailed) return image.error;
  const top = readTop(request);
  if (top.isFailed) return top.error;
  const pictures = readPictures(image.value);
  if (pictures.isFailed) return pictures.error;

  // `value` of a Result that failed ends the guest with the error on stderr: a model that is not there.
  const words = programArguments();
  const graph = Graph.named(words.length ? words[0] : "default").value, metadata = graph.metadata().value;
  const input = metadata.pictureInput().value, output = metadata.outputOf(["logits", "probabilities", "raw"]).value;
  const context = graph.context().value, all = pictures.value;
  let classes = new StaticArray<i32>(0), scores = new StaticArray<f32>(0), found = 0;
  const labels: string[] = [];
  for (let i = 0; i < all.length; i++) {
    const best = classify(context, input, output, all[i], top.value);
    if (best.isFailed) return best.error;
    found = best.value.length;
    if (!i) {
      classes = new StaticArray<i32>(all.length * found);
      scores = new StaticArray<f32>(all.length * found);
    }
    for (let k = 0; k < found; k++) {
      const each = best.value[k];
      classes[i * found + k] = each.index;
      scores[i * found + k] = <f32>each.score;
      labels.push(each.label.length ? each.label : each.index.toString());
    }
  }

  const dims: i32[] = [all.length, found];
  let failure = answer.tensor("scores", Tensor.of<f32>(dims, scores).value);
  if (!failure) failure = answer.tensor("classes", Tensor.of<i32>(dims, classes).value);
  return failure ? failure : answer.strings("labels", dims, labels);
}

function classify(context: Context, input: InputContract, output: OutputContract,
  picture: Picture, top: i32): Result<Scored[]> {
  const tensor = preprocess(picture, input);
  if (tensor.isFailed) return Result.from<Scored[]>(tensor.error);
  let failure = context.setInput(input.index, tensor.value);
  if (!failure) failure = context.compute();
  if (failure) return Result.from<Scored[]>(failure);
  const answer = context.output(output.index);
  return answer.isFailed ? Result.from<Scored[]>(answer.error) : topK(answer.value, output, top);
}

function wrong<T>(reason: string): Result<T> {
  return Result.from<T>(Failure.ofRequest(reason));
}

function readPictures(image: Input): Result<Picture[]> {
  const found: Picture[] = [], dims = image.dims;
  if (image.datatype == "UINT8" && dims.length == 3 && dims[2] == 3) {
    const tensor = image.tensor();
    if (tensor.isFailed) return Result.from<Picture[]>(tensor.error);
    const picture = Picture.ofRgb(dims[1], dims[0], tensor.value.data);
    if (picture.isFailed) return wrong<Picture[]>(picture.error.text);
    found.push(picture.value);
    return Result.of(found);
  }
  if (image.datatype != "BYTES" || !image.size) {
    return wrong<Picture[]>("the input 'image' is " + image.datatype + " [" + dims.join(",")
      + "], and must be UINT8 [height,width,3] or files (BYTES)");
  }
  const files = image.strings();
  if (files.isFailed) return Result.from<Picture[]>(files.error);
  for (let i = 0; i < files.value.length; i++) {
    const picture = Picture.decode(files.value[i]);
    if (picture.isFailed) return wrong<Picture[]>("picture " + i.toString() + ": " + picture.error.text);
    files.value[i].free();
    found.push(picture.value);
  }
  return Result.of(found);
}

function readTop(request: Request): Result<i32> {
  for (let i = 0; i < request.inputs.length; i++) {
    const each = request.inputs[i];
    if (each.name != "image" && each.name != "top") {
      return wrong<i32>("the inputs are 'image' and 'top' (INT32 [1]), not '" + each.name + "' (" + each.datatype + ")");
    }
  }
  const top = request.find("top");
  if (!top) return Result.of(5);
  const values = top.values<i32>();
  if (values.isFailed) return Result.from<i32>(values.error);
  if (values.value.length != 1 || values.value[0] < 1) {
    return wrong<i32>("the input 'top' must be one number of 1 or more");
  }
  return Result.of(values.value[0]);
}
