# SPDX-License-Identifier: Apache-2.0
"""`wasinn infer GRAPH PICTURE...`: computes a graph, without a guest, and says what came out.

A language model is given a prompt instead: `generate.py`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wasinn.backends.common import one_line
from wasinn.cli import generate
from wasinn.cli.common import Subparsers, format_seconds
from wasinn.cli.decoded import Decoded, decode_outputs, decoded_text
from wasinn.cli.graphs import add_options, files_anywhere, open_graph
from wasinn.cli.pictures import Saving
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs.spelling import GRAPH
from wasinn.runtime.direct import DirectGraph, Inference
from wasinn.runtime.feeds import Feed, kind_of
from wasinn.tensors import format_dims
from wasinn.terminal import log_to_terminal

_EPILOG = """\
FILE is a picture (made a tensor by the contract), a .npy, or raw little-endian bytes; which one is told by
how it begins, and by its name. Raw bytes have the dims of the description beside them (FILE.json), of the
contract or of the model. GRAPH is written as in `wasinn run --graph`; options follow a ?. With several
pictures, NAME of --save-mask and --draw gets the picture's name inserted: mask.png, mask-cat.png.

The exit code is 1 if the graph cannot be loaded or fails, 2 for a mistake on the command line.

examples:
  wasinn infer mobilenet.onnx cat.jpg dog.jpg
  wasinn infer mobilenet.onnx --contract mobilenet.toml --input image=cat.jpg --top 3 --json
  wasinn infer "openvino:road.xml,road.bin?threads=2" road.jpg --draw overlay.png
  wasinn infer m.onnx --input a=a.npy --input b=b.tensor --save outputs
  wasinn infer ggml:llama.gguf --prompt "Once upon a time" --option n-predict=50 --option temp=0
"""


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "infer",
        help="compute a graph without a guest",
        description="Computes a graph once for each picture, or once for the inputs given by name, and\n"
        "shows the outputs as the contract says: classes with labels, masks, boxes, or numbers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("graph", metavar="GRAPH", help=f"{GRAPH}, or the name of one in --config")
    parser.add_argument(
        "files", metavar="FILE", nargs="*", default=[], help="for the only input; each in turn"
    )
    files_anywhere(parser, "files")
    parser.add_argument(
        "--input", action="append", default=[], metavar="[NAME=]FILE", help="one input; may be repeated"
    )
    add_options(parser)
    parser.add_argument("--top", type=int, default=5, metavar="K", help="so many classes (default: 5)")
    parser.add_argument(
        "--output", action="append", default=[], metavar="NAME", help="only this output; may be repeated"
    )
    parser.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="compute so often; times are of all"
    )
    parser.add_argument("--json", action="store_true", help="as JSON: a list with an object for each compute")
    parser.add_argument(
        "--save-mask", metavar="FILE", help="the mask: a picture whose values are the classes, or a .npy"
    )
    parser.add_argument("--draw", metavar="FILE", help="the picture with the answer drawn over it")
    parser.add_argument("--save", metavar="DIR", help="every output that is shown, as DIR/NAME.npy")
    generate.add_options(parser)


def run(options: argparse.Namespace) -> int:
    log_to_terminal()
    if options.top < 1 or options.repeat < 1:
        raise ConfigError("--top and --repeat are numbers from 1 on")
    if options.files and options.input:
        raise ConfigError("give FILE... for the only input, or --input NAME=FILE for each, not both")
    generate.check(options)
    _not_swapped(options)
    if not options.files and not options.input and options.prompt is None:
        raise ConfigError("there is nothing to infer from: give FILE..., --input NAME=FILE, or --prompt TEXT")
    try:
        with open_graph(options.graph, options) as graph:
            if options.prompt is not None:
                return generate.generate(graph, options)
            if graph.generates:
                raise ConfigError(f"{options.graph} is a language model: give it --prompt TEXT")
            return _run(graph, options)
    except WasiNNError as error:
        print(f"wasinn: {one_line(str(error), 2000)}", file=sys.stderr)
        return 1


def _not_swapped(options: argparse.Namespace) -> None:
    """Raises ConfigError for a picture where the model should be."""
    path = Path(options.graph)
    if path.is_file() and kind_of(path) == "picture":
        raise ConfigError(f"{options.graph} is a picture; the model comes first: wasinn infer MODEL PICTURE")


def _run(graph: DirectGraph, options: argparse.Namespace) -> int:
    chosen = [graph.output_index(name) for name in options.output]
    rounds = [[file] for file in options.files] or [options.input]
    saving = Saving(options.save_mask, options.draw, options.save, several=len(rounds) > 1)
    reports = []
    for files in rounds:
        feeds = _feeds(graph, files, named=bool(options.input))
        first, times = _infer(graph, feeds, options.repeat)
        placed = next((each.prepared.placement for each in feeds if each.prepared is not None), None)
        decoded = decode_outputs(graph, first.outputs, placed, options.top, chosen)
        written = saving.save(graph, feeds, decoded)
        if options.json:
            reports.append(_report(graph, feeds, decoded, times, written))
        else:
            if len(rounds) > 1 and files is not rounds[0]:
                print()
            print(_text(graph, feeds, decoded, times, written), flush=True)
    if options.json:
        print(json.dumps(reports, indent=2, allow_nan=False))
    return 0


def _infer(graph: DirectGraph, feeds: Sequence[Feed], repeat: int) -> tuple[Inference, list[float]]:
    """The first inference, and the times of all."""
    tensors = {each.index: each.tensor for each in feeds}
    first = graph.infer(tensors)
    return first, [first.seconds, *(graph.infer(tensors).seconds for _ in range(repeat - 1))]


def _feeds(graph: DirectGraph, texts: Sequence[str], named: bool) -> list[Feed]:
    feeds: dict[int, Feed] = {}
    for text in texts:
        key, path = _split(graph, text) if named else (None, text)
        feed = graph.feed(_default_input(graph) if key is None else key, path)
        if feed.index in feeds:
            raise ConfigError(f"the input {graph.inputs[feed.index].name!r} is given twice")
        feeds[feed.index] = feed
    missing = [f"{spec.name} ({spec})" for at, spec in enumerate(graph.inputs) if at not in feeds]
    if missing:
        raise ConfigError(f"graph {graph.name!r} also needs --input NAME=FILE for: {', '.join(missing)}")
    return list(feeds.values())


def _default_input(graph: DirectGraph) -> str | None:
    """The only picture among several inputs; else the only input."""
    if len(graph.inputs) > 1 and graph.bound is not None:
        pictures = [each.name for each in graph.bound.inputs.values() if each.image is not None]
        if len(pictures) == 1:
            return pictures[0]
    return None


def _split(graph: DirectGraph, text: str) -> tuple[str | None, str]:
    """`NAME=FILE`; a file whose own name has an = is meant where no input has the name before it."""
    name, equals, path = text.partition("=")
    if not equals:
        return None, text
    try:
        graph.input_index(name)
    except ConfigError:
        if Path(text).is_file():
            return None, text
        raise
    if not path:
        raise ConfigError(f"--input {text!r} has no file: NAME=FILE")
    return name, path


def _report(
    graph: DirectGraph,
    feeds: Sequence[Feed],
    decoded: Sequence[Decoded],
    times: list[float],
    written: list[str],
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "graph": graph.name,
        "backend": graph.backend,
        "inputs": [
            {
                "name": _input_name(graph, each),
                "port": graph.inputs[each.index].name,
                "file": str(each.path),
                "kind": each.kind,
                "type": each.tensor.type.label,
                "dims": list(each.tensor.dims),
            }
            for each in feeds
        ],
        "seconds": times[0] if len(times) == 1 else statistics.median(times),
        "outputs": [each.as_dict() for each in decoded],
    }
    if len(times) > 1:
        result["repeated"] = {"count": len(times), "least": min(times), "median": statistics.median(times)}
    if written:
        result["written"] = written
    return result


def _input_name(graph: DirectGraph, feed: Feed) -> str:
    contract = graph.input_contract(feed.index)
    return contract.name if contract is not None else graph.inputs[feed.index].name


def _text(
    graph: DirectGraph,
    feeds: Sequence[Feed],
    decoded: Sequence[Decoded],
    times: list[float],
    written: list[str],
) -> str:
    if len(feeds) == 1:
        head = one_line(str(feeds[0].path))
    else:
        head = ", ".join(
            f"{one_line(_input_name(graph, each))} = {one_line(str(each.path))}" for each in feeds
        )
    lines = [head]
    for each in feeds:
        if each.kind != "picture":
            lines.append(f"  in  {each.tensor.type.label} {format_dims(each.tensor.dims)} ({each.kind})")
    lines += [decoded_text(each) for each in decoded]
    time = format_seconds(times[0])
    if len(times) > 1:
        time = f"{format_seconds(min(times))} at least, median {format_seconds(statistics.median(times))}"
        time += f" of {len(times)}"
    lines.append(f"  {graph.backend}, {time}")
    if written:
        lines.append(f"  wrote {', '.join(map(one_line, written))}")
    return "\n".join(lines)
