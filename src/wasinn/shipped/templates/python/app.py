"""@NAME@: says what a picture shows.

wasinn run --graph default=MODEL --dir .::/d @NAME@.wasm /d/PICTURE
"""

import sys

from wasinn_guest import Graph, Image, are_probabilities, command, dequantize, preprocess, softmax, top_k


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: @NAME@ PICTURE", file=sys.stderr)
        return 1
    # What fails raises NnError: its text goes to stderr, and the exit code is 1.
    picture = Image.open(arguments[0])
    with Graph.by_name("default") as graph, graph.context() as context:
        # What the model takes and gives, and what its classes are called.
        metadata = graph.metadata()
        given, wanted = metadata.input_contract(), metadata.output_contract()
        context.set_input(given.index, preprocess(picture, given))
        context.compute()
        scores = list(dequantize(context.output(wanted.index), wanted.quantization))
    if wanted.kind == "logits" or not are_probabilities(scores):
        scores = softmax(scores)
    for index, score in top_k(scores, 3):
        print(f"{wanted.label(index) or f'class {index}'}\t{score:.2%}")
    return 0


# The export wasi:cli/run; componentize-py finds it by its name.
Run = command(main, "@NAME@")
