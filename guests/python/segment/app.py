# SPDX-License-Identifier: Apache-2.0
"""A guest in Python: the class of each pixel.

    wasinn run --graph default=MODEL --dir .::/d segment.wasm [--name NAME] PICTURE OUT.tensor OUT.png

OUT.tensor gets the bytes of the mask as the model gives it, OUT.png a picture whose pixel values are the
classes.
"""

import sys

from wasinn_guest import (
    ErrorCode,
    Graph,
    Image,
    NnError,
    class_map,
    command,
    encode_palette,
    palette,
    preprocess,
)

USAGE = "usage: segment [--name NAME] PICTURE OUT.tensor OUT.png"


def main(arguments: list[str]) -> int:
    """Segment a picture; 1 where it or the command line is bad."""
    name, words = "default", list(arguments)
    if words[:1] == ["--name"]:
        name, words = words[1] if len(words) > 1 else "", words[2:]
    if len(words) != 3 or any(word.startswith("--") for word in words):
        came = " ".join(arguments) or "nothing"
        print(f"segment: wanted are one picture and two files to write, not {came}; {USAGE}", file=sys.stderr)
        return 1
    picture, tensor_path, png_path = words
    with Graph.by_name(name) as graph, graph.context() as context:
        metadata = graph.metadata()
        contract = metadata.input_contract()
        output = metadata.output_contract(kind="mask")
        context.set_input(contract.index, preprocess(Image.open(picture), contract))
        context.compute()
        tensor = context.output(output.index)
    mask = class_map(tensor, output)
    counts = mask.counts()
    write(tensor_path, bytes(tensor.data))
    if min(counts) < 0 or max(counts) > 255:
        text = f"classes from {min(counts)} to {max(counts)} fit no PNG with a palette, which has 256"
        raise NnError(ErrorCode.TOO_LARGE, text)
    write(png_path, encode_palette(mask.width, mask.height, bytes(mask.classes), palette(256)))
    for index, count in counts.items():
        print(f"class {index}\t{output.label(index)}\t{count}")
    return 0


def write(path: str, content: bytes) -> None:
    """Raises NnError where the host does not give the folder."""
    try:
        with open(path, "wb") as file:
            file.write(content)
    except OSError as error:
        text = f"{path}: {error.strerror} (a guest writes only to what --dir gives it)"
        raise NnError(ErrorCode.SECURITY, text) from None


Run = command(main, "segment")
