# SPDX-License-Identifier: Apache-2.0
"""A guest in Python: the best classes of pictures.

    wasinn run --graph default=onnx:@digits --dir pictures::/p classify.wasm [--name NAME] [--top K] [--tsv] \
        PICTURE...

What the model takes and what its classes are called is asked of the host. The function `infer` is for hosts
that bring the tensors themselves.
"""

import sys

import wit_world
from componentize_py_types import Err
from wasinn_guest import (
    Context,
    Graph,
    Image,
    Metadata,
    NnError,
    Tensor,
    are_probabilities,
    command,
    dequantize,
    preprocess,
    softmax,
    top_k,
)
from wit_world.imports.tensor import TensorType as WitType
from wit_world.imports.values import Value

USAGE = "usage: classify [--name NAME] [--top K] [--tsv] PICTURE..."
#: Tensor types by their names in `wasi:nn`.
TYPES = {"FP16": "f16", "FP32": "f32", "FP64": "f64", "BF16": "bf16", "U8": "u8", "I32": "i32", "I64": "i64"}
NAMES = {mine: theirs for theirs, mine in TYPES.items()}


def main(arguments: list[str]) -> int:
    """Classify each picture; 1 where one is bad or an option is."""
    name, top, tsv, pictures = "default", 5, False, []
    words = iter(arguments)
    for word in words:
        if word == "--name":
            name = next(words, "")
        elif word == "--top" and (number := next(words, "")).isdecimal():
            top = int(number)
        elif word == "--tsv":
            tsv = True
        elif word.startswith("--"):
            print(f"classify: {word} is no option, or lacks its value; {USAGE}", file=sys.stderr)
            return 1
        else:
            pictures.append(word)
    if not pictures:
        print(f"classify: no picture is given; {USAGE}", file=sys.stderr)
        return 1
    bad = 0
    with Graph.by_name(name) as graph, graph.context() as context:
        metadata = graph.metadata()
        contract = metadata.input_contract()
        for picture in pictures:
            try:
                tensor = preprocess(Image.open(picture), contract)
            except NnError as error:
                print(f"classify: {error}", file=sys.stderr)
                bad = 1
                continue
            context.set_input(contract.index, tensor)
            context.compute()
            show(picture, scores_of(context, metadata), metadata, top, tsv)
    return bad


def scores_of(context: Context, metadata: Metadata) -> list[float]:
    """The model's probabilities: of logits, or of what cannot be probabilities, the softmax."""
    contract = metadata.output_contract()
    scores = list(dequantize(context.output(contract.index), contract.quantization))
    if contract.kind == "logits" or (contract.kind == "raw" and not are_probabilities(scores)):
        return softmax(scores)
    return scores


def show(picture: str, scores: list[float], metadata: Metadata, top: int, tsv: bool) -> None:
    best = top_k(scores, top)
    labels = [metadata.output_contract().label(index) for index, _ in best]
    if tsv:
        for rank, ((index, score), label) in enumerate(zip(best, labels, strict=True), 1):
            print(f"{picture}\t{rank}\t{index}\t{score:.6g}\t{label}")
        return
    print(picture)
    names = [label or f"class {index}" for label, (index, _) in zip(labels, best, strict=True)]
    width = max(map(len, names), default=0)
    shares = are_probabilities([score for _, score in best])
    for rank, (label, (_, score)) in enumerate(zip(names, best, strict=True), 1):
        number = f"{100 * score:6.2f}%" if shares else f"{score:12.3f}"
        print(f"{rank:3}  {label:{width}}  {number}")


#: The export `wasi:cli/run`; componentize-py finds it by its name.
Run = command(main, "classify")


class WitWorld(wit_world.WitWorld):
    """The exported functions that are in no interface: componentize-py finds this class by its name too."""

    def infer(self, model: str, inputs: list[Value]) -> list[Value]:
        """All outputs of a model of the host's. An `Err` is how a function fails that returns a result."""
        try:
            with Graph.by_name(model) as graph, graph.context() as context:
                given = [(each.name, Tensor(TYPES[each.ty.name], each.dims, each.data)) for each in inputs]
                return [value(name, tensor) for name, tensor in context.run(given)]
        except NnError as error:
            raise Err(str(error)) from None


def value(name: str, tensor: Tensor) -> Value:
    return Value(name, list(tensor.dims), WitType[NAMES[tensor.type.wire.value]], bytes(tensor.data))
