# SPDX-License-Identifier: Apache-2.0
"""A classifier that is served: pictures come in, the best classes go out, with their labels.

    in    image   BYTES, any shape: files (PNG, BMP, PNM), or UINT8 [H,W,3]: the pixels of one picture
          top     INT32 [1], optional: how many classes, 5 if it is not there
    out   scores  FP32 [pictures, top], the best first
          classes INT32 [pictures, top]
          labels  BYTES [pictures, top]: the class's number where the model's contract has no labels

The graph is "default", or the first word of `args`. How a picture becomes a tensor is what its contract says.
"""

from wasinn_guest import (
    Graph,
    Image,
    Input,
    NnError,
    OutputContract,
    Refusal,
    Request,
    Strings,
    Tensor,
    are_probabilities,
    dequantize,
    preprocess,
    serve,
    softmax,
    top_k,
)


def answer(request: Request) -> dict[str, Tensor | Strings]:
    given_image, top = request["image"], read_top(request)
    images = read_pictures(given_image)
    scores: list[float] = []
    classes: list[int] = []
    labels: list[str] = []
    with Graph.by_name((request.arguments or ["default"])[0]) as graph, graph.context() as context:
        metadata = graph.metadata()
        taken, given = metadata.input_contract(), metadata.output_contract()
        for image in images:
            context.set_input(taken.index, preprocess(image, taken))
            context.compute()
            for index, score in top_k(scores_of(context.output(given.index), given), top):
                scores.append(score)
                classes.append(index)
                labels.append(given.label(index) or str(index))
    dims = (len(images), len(scores) // len(images))
    return {
        "scores": Tensor.of(scores, "f32", dims),
        "classes": Tensor.of(classes, "i32", dims),
        "labels": Strings(labels, dims),
    }


def scores_of(output: Tensor, contract: OutputContract) -> list[float]:
    """Probabilities: of logits, or of what cannot be probabilities, the softmax."""
    scores = list(dequantize(output, contract.quantization))
    if contract.kind == "logits" or (contract.kind == "raw" and not are_probabilities(scores)):
        return softmax(scores)
    return scores


def read_pictures(given: Input) -> list[Image]:
    try:
        if given.datatype == "UINT8" and len(given.dims) == 3 and given.dims[2] == 3:
            return [Image.from_rgb(given.dims[1], given.dims[0], given.data)]
    except NnError as error:
        raise Refusal(str(error)) from None
    files = given.strings() if given.datatype == "BYTES" else []
    if not files:
        raise Refusal(
            f"the input 'image' is {given.datatype} {list(given.dims)}, and must be UINT8 [height,width,3] "
            "or files (BYTES)"
        )
    return [decode(number, file) for number, file in enumerate(files)]


def decode(number: int, file: bytes) -> Image:
    try:
        return Image.decode(file)
    except NnError as error:
        raise Refusal(f"picture {number}: {error}") from None


def read_top(request: Request) -> int:
    for each in request.inputs.values():
        if each.name not in ("image", "top"):
            what = f"{each.name!r} ({each.datatype})"
            raise Refusal(f"the inputs are 'image' and 'top' (INT32 [1]), not {what}")
    if "top" not in request:
        return 5
    if request["top"].datatype != "INT32":
        raise Refusal(f"the input 'top' is {request['top'].datatype}, and must be INT32")
    top = list(request.tensor("top").integers())
    if len(top) != 1 or top[0] < 1:
        raise Refusal("the input 'top' must be one number of 1 or more")
    return top[0]


#: The export `wasi:cli/run`; componentize-py finds it by its name.
Run = serve(answer)
