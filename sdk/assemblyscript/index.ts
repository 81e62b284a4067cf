// SPDX-License-Identifier: Apache-2.0
// WASI-NN for AssemblyScript: models, tensors, pictures and answers.
export { Bytes } from "./assembly/bytes";
export { Code, Failure, Result } from "./assembly/result";
export { exit, print, printBytes, printError, programArguments, readFile, readStdin,
  wasinnAbort, writeFile } from "./assembly/wasi";
export { Type, typeName, typeOf, typeSize } from "./assembly/types";
export { Quantization } from "./assembly/quantization";
export { Tensor } from "./assembly/tensor";
export { Context, Encoding, Graph, Target } from "./assembly/graph";
export { ImageSpec, InputContract, Metadata, OutputContract, Port } from "./assembly/metadata";
export { areProbabilities, best, Scored, scoresOf, softmax, topK } from "./assembly/scores";
export { Mask, maskOf, palette } from "./assembly/masks";
export { Json } from "./assembly/json";
export { fixed, general, wholeNumber } from "./assembly/text";
export { Picture } from "./assembly/image/picture";
export { encodePalettePng } from "./assembly/image/encode";
export { Box, resize } from "./assembly/image/resize";
export { fitted, preprocess } from "./assembly/image/preprocess";
export { Answer, Handler, Input, Request, serveAlloc, serveCommand, serveHandle } from "./assembly/serve";
