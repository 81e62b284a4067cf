# SPDX-License-Identifier: Apache-2.0
"""`wasinn tensor PICTURE -o FILE`: the tensor that a contract makes of a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from wasinn.backends.common import one_line
from wasinn.cli.common import Subparsers
from wasinn.cli.graphs import add_options, contract_option, open_graph
from wasinn.contracts.contract import Contract, InputContract
from wasinn.errors import ConfigError
from wasinn.graphs.beside import how_to_write
from wasinn.graphs.spelling import GRAPH
from wasinn.imaging.preprocess import preprocess
from wasinn.runtime.direct import DirectGraph
from wasinn.runtime.tensor_files import description_path, head, write_tensor
from wasinn.tensors import Quantization, Tensor


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "tensor",
        help="make a tensor of a picture",
        description="Makes the tensor of a picture that a contract describes, as `wasinn infer` does.",
        epilog="FILE.npy is NumPy's format; any other name gets the raw little-endian bytes that a guest "
        "sends. FILE.json beside it says what it is. Without --contract, --model MODEL takes the "
        "contract beside the model, and the scale of a quantization from its file.",
    )
    parser.set_defaults(command=run)
    parser.add_argument("picture", metavar="PICTURE", help="of any format that Pillow reads")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="where the tensor goes")
    parser.add_argument("--model", metavar="GRAPH", help=f"the model that it is for: {GRAPH}")
    parser.add_argument("--input", metavar="NAME", help="the input, where several are pictures")
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print the description")


def run(options: argparse.Namespace) -> int:
    contract = contract_option(options)
    if options.model is not None:
        with open_graph(options.model, options) as graph:
            index, each, source = _of_graph(graph, options.input)
    elif contract is not None:
        index, each, source = _of_contract(contract, options.input)
    else:
        raise ConfigError(
            "what is the tensor to be like? Give --contract FILE, or --model MODEL with a contract beside it"
        )
    picture, output = Path(options.picture), Path(options.output)
    head(picture)  # says at once, and as `infer` does, what cannot be read
    if output.resolve() == picture.resolve():
        raise ConfigError(f"-o {output} is the picture itself; name another file")
    tensor = preprocess(picture, each)
    description = write_tensor(output, tensor, _facts(each, source, picture))
    if options.json:
        print(json.dumps(description, indent=2))
    else:
        print(_text(tensor, index, output))
    return 0


def _of_graph(graph: DirectGraph, name: str | None) -> tuple[int, InputContract, str]:
    if graph.bound is None:
        raise ConfigError(f"graph {graph.name!r} has no contract; {how_to_write(graph.source)}")
    if name is None:
        pictures = [index for index, each in graph.bound.inputs.items() if each.image is not None]
        if len(pictures) != 1:
            raise ConfigError(_which(list(graph.bound.inputs.values()), str(graph.bound.contract.source)))
        index = pictures[0]
    else:
        index = graph.input_index(name)
    each = graph.bound.inputs.get(index)
    if each is None or each.image is None:
        raise ConfigError(
            f"the contract does not say that the input {graph.inputs[index].name!r} is a picture"
        )
    return index, each, str(graph.bound.contract.source)


def _of_contract(contract: Contract, name: str | None) -> tuple[int, InputContract, str]:
    names = list(contract.inputs)
    pictures = [each for each in names if contract.inputs[each].image is not None]
    if name is None and len(pictures) == 1:
        name = pictures[0]
    each = contract.inputs.get(name or "")
    if each is None or each.image is None:
        raise ConfigError(_which(list(contract.inputs.values()), str(contract.source), name))
    if each.quantization == "model":
        raise ConfigError(
            f'{contract.source}: [input.{each.name}] quantization is "model": the scale is in the '
            "model's file; give --model MODEL as well"
        )
    index = each.port if isinstance(each.port, int) else names.index(each.name)
    return index, each, str(contract.source)


def _which(inputs: list[InputContract], source: str, name: str | None = None) -> str:
    pictures = ", ".join(repr(each.name) for each in inputs if each.image is not None)
    if not pictures:
        return f"{source}: no input is a picture: one needs a layout and a size"
    wrong = f"no input {name!r} is a picture" if name is not None else "several inputs are pictures"
    return f"{source}: {wrong}; give --input with one of: {pictures}"


def _facts(each: InputContract, source: str, picture: Path) -> dict[str, Any]:
    image = each.image
    assert image is not None
    facts: dict[str, Any] = {
        "input": each.name,
        "layout": image.layout,
        "colour": image.colour,
        "range": list(image.range),
        "mean": list(image.mean),
        "std": list(image.std),
    }
    if image.invert:
        facts["invert"] = True
    if isinstance(each.quantization, Quantization):
        facts["quantization"] = each.quantization.as_dict()
    return {**facts, "contract": source, "picture": str(picture)}


def guest_spelling(tensor: Tensor, index: int, path: Path) -> str:
    """The tensor as the guest `@infer` is given it: INDEX:TYPE:DIMS:FILE."""
    dims = "x".join(map(str, tensor.dims)) or "scalar"
    return f"{index}:{tensor.type.wire.label}:{dims}:{path}"


def _text(tensor: Tensor, index: int, path: Path) -> str:
    shown = one_line(str(path))
    lines = [f"{shown}: {tensor}; described in {one_line(description_path(path).name)}"]
    if path.suffix.lower() != ".npy":
        lines.append(f"for a guest: --input {one_line(guest_spelling(tensor, index, path))}")
    return "\n".join(lines)
