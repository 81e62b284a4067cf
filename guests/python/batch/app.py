# SPDX-License-Identifier: Apache-2.0
"""A guest in Python: the best class of many pictures, several a compute where the model takes batches.

wasinn run --graph default=onnx:@digits_batch --dir pictures::/p batch.wasm [--name NAME] [--size N]
PICTURE...
"""

import sys

from wasinn_guest import (
    Context,
    Graph,
    Image,
    InputContract,
    NnError,
    OutputContract,
    Tensor,
    are_probabilities,
    command,
    dequantize,
    preprocess,
    softmax,
    stack,
    top_k,
)

USAGE = "usage: batch [--name NAME] [--size N] PICTURE..."


def main(arguments: list[str]) -> int:
    """Classify the pictures in order; 1 where one is bad or an option is."""
    name, size, pictures = "default", 8, []
    words = iter(arguments)
    for word in words:
        if word == "--name":
            name = next(words, "")
        elif word == "--size" and (number := next(words, "")).isdecimal() and int(number) > 0:
            size = int(number)
        elif word.startswith("--"):
            print(f"batch: {word} is no option, or lacks its value; {USAGE}", file=sys.stderr)
            return 1
        else:
            pictures.append(word)
    if not pictures:
        print(f"batch: no picture is given; {USAGE}", file=sys.stderr)
        return 1
    bad = 0
    with Graph.by_name(name) as graph, graph.context() as context:
        metadata = graph.metadata()
        given, wanted = metadata.input_contract(), metadata.output_contract()
        dims = metadata.inputs[given.index].dims
        if not dims or dims[0] != -1:
            size = 1
        waiting: list[tuple[str, Tensor]] = []
        for picture in pictures:
            try:
                waiting.append((picture, preprocess(Image.open(picture), given)))
            except NnError as error:
                print(f"batch: {error}", file=sys.stderr)
                bad = 1
            if len(waiting) == size:
                infer(context, waiting, given, wanted)
                waiting = []
        if waiting:
            infer(context, waiting, given, wanted)
    return bad


def infer(
    context: Context, pictures: list[tuple[str, Tensor]], given: InputContract, wanted: OutputContract
) -> None:
    """One compute, and a line for each picture."""
    tensors = [tensor for _, tensor in pictures]
    context.set_input(given.index, tensors[0] if len(tensors) == 1 else stack(tensors))
    context.compute()
    output = context.output(wanted.index)
    values = list(dequantize(output, wanted.quantization))
    count = len(values) // len(pictures)
    for place, (picture, _) in enumerate(pictures):
        scores = values[place * count : (place + 1) * count]
        if wanted.kind == "logits" or (wanted.kind == "raw" and not are_probabilities(scores)):
            scores = softmax(scores)
        for index, score in top_k(scores, 1):
            print(f"{picture}\t{index}\t{score:.6g}\t{wanted.label(index)}")


Run = command(main, "batch")
