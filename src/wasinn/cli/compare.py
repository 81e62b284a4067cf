# SPDX-License-Identifier: Apache-2.0
"""`wasinn compare INPUT... --graph SPEC --graph SPEC`: whether they answer the same."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wasinn.agreement.compare import Comparison, Outcome, SideSummary, compare
from wasinn.agreement.guest_sides import FOLDER, PLACE, GuestCommand, GuestSide
from wasinn.agreement.inputs import Input, gather
from wasinn.agreement.report import html_report
from wasinn.agreement.sides import GraphSide, Side, SideFacts, open_graphs
from wasinn.agreement.summary import as_json
from wasinn.agreement.tolerances import Tolerances
from wasinn.cli.common import Subparsers, write_text
from wasinn.cli.compare_text import as_text
from wasinn.cli.graphs import graph_option
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs.spelling import GRAPH
from wasinn.imaging.decode import pillow
from wasinn.terminal import log_to_terminal

#: On so many of the inputs that differ the command looks that says why: one can be a close call.
_MOST_INPUTS = 3

_EPILOG = """\
A picture becomes the tensor that each graph's contract says: ?contract=FILE, or MODEL.contract.toml beside
the model. A .npy file, or the bare bytes of a tensor, is given to all as it is. The first side is what the
others are held against. The exit code is 1 where they disagree or one fails, 2 for a mistake.

examples:
  wasinn compare pictures --graph digits.onnx --graph digits_u8.tflite --html report.html
  wasinn compare cat.bmp --graph mobilenet.onnx --backends all
  wasinn compare seven.png --graph digits.onnx --guest-graph digits \\
      --guest "@classify --name digits --size 8x8 --colour gray {picture}" --direct
"""


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "compare",
        help="compare the answers of graphs, backends and guests",
        description="Gives inputs to several graphs, backends or guests, and shows whether they agree.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+", help="a picture, a folder of pictures, a .npy or raw tensor"
    )
    sides = parser.add_argument_group("what is compared")
    sides.add_argument(
        "--graph",
        action="append",
        required=True,
        metavar="SPEC",
        help=f"{GRAPH}; may be repeated",
    )
    sides.add_argument(
        "--backends", metavar="A,B", help="each graph on each of these backends that loads it; all"
    )
    sides.add_argument(
        "--guest",
        action="append",
        default=[],
        metavar='"FILE ARGS..."',
        help="run this guest on each graph; {picture} in ARGS is the input's path; may be repeated",
    )
    sides.add_argument(
        "--guest-graph", metavar="NAME", help="the name by which the guests load the graph (default: default)"
    )
    sides.add_argument(
        "--direct", action="store_true", help="with --guest: each graph without a guest as well"
    )
    bounds = parser.add_argument_group("what counts as the same")
    default = Tolerances()
    bounds.add_argument(
        "--top", type=_count, default=5, metavar="K", help="how many best classes are looked at (default: 5)"
    )
    bounds.add_argument(
        "--tolerance",
        type=_positive,
        default=default.probability,
        metavar="X",
        help=f"the largest difference of a probability (default: {default.probability:g})",
    )
    bounds.add_argument(
        "--raw-tolerance",
        type=_positive,
        default=default.relative,
        metavar="X",
        help="of numbers without a meaning, the difference relative to their size, both as root mean square "
        f"(default: {default.relative:g})",
    )
    for option, value, what in (
        ("top1", default.top1, "of the inputs that need the same best class"),
        ("overlap", default.overlap, "of the best K classes that must be the same"),
        ("pixels", default.pixels, "of a mask's pixels that must be the same"),
        ("boxes", default.boxes, "of the boxes that must have a partner"),
    ):
        bounds.add_argument(
            f"--min-{option}",
            type=_share,
            default=value,
            metavar="SHARE",
            help=f"the share {what} (default: {value:g})",
        )
    out = parser.add_argument_group("output")
    out.add_argument(
        "--json", metavar="FILE", help="everything as JSON, to a file; - is stdout, without the text"
    )
    out.add_argument("--html", metavar="FILE", help="a report in one file, for a browser or on paper")
    out.add_argument(
        "--examples",
        type=_count,
        default=24,
        metavar="N",
        help="at most so many inputs in the report (default: 24)",
    )


def run(options: argparse.Namespace) -> int:
    log_to_terminal()
    tolerances = Tolerances(
        options.tolerance,
        options.raw_tolerance,
        options.min_pixels,
        options.min_boxes,
        options.min_overlap,
        options.min_top1,
    )
    inputs = gather(options.inputs)
    for path in (options.json, options.html):
        if path not in (None, "-") and not Path(path).parent.is_dir():
            raise ConfigError(f"there is no folder for {path!r}")
    if any(each.picture for each in inputs):
        pillow()  # without it each input would fail in turn
    with _sides(options, any(each.picture for each in inputs)) as sides:
        found = compare(
            _with_progress(inputs),
            sides,
            tolerances,
            options.top,
            options.examples if options.html else 0,
        )
    if options.html:
        write_text(options.html, html_report(found))
    if options.json:
        text = json.dumps(as_json(found), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        if options.json != "-":
            write_text(options.json, text)
        else:
            print(text, end="")
    if options.json != "-":
        print(as_text(found, _hint(options, found)))
    return 0 if found.agrees else 1


@contextmanager
def _sides(options: argparse.Namespace, pictures: bool) -> Iterator[list[Side]]:
    """The sides, which are closed again. Raises ConfigError, and WasiNNError for what cannot be loaded."""
    backends = [each.strip() for each in options.backends.split(",")] if options.backends else None
    commands = [GuestCommand.parse(text) for text in options.guest]
    if not commands and (options.guest_graph or options.direct):
        raise ConfigError("--guest-graph and --direct are for --guest, which is not given")
    try:
        graphs = open_graphs([graph_option(text) for text in options.graph], backends)
    except WasiNNError as error:
        raise ConfigError(error.reason) from error
    sides: list[Side] = []
    try:
        if not commands or options.direct:
            for graph in graphs:
                direct = GraphSide(graph.name, graph)
                if pictures:
                    direct.check_pictures()
                sides.append(direct)
        for graph in graphs:
            for command in commands:
                name = f"{Path(command.file).name} on {graph.name}"
                names = [each.facts.name for each in sides]
                if name in names:
                    name += f" #{1 + sum(each.startswith(name) for each in names)}"
                sides.append(GuestSide(name, command, options.guest_graph or "default", graph))
        if len(sides) < 2:
            raise ConfigError(
                "there is only one side: give a second --graph, --backends all, or --guest with --direct"
            )
        yield sides
    finally:
        for each in sides:
            each.close()
        for graph in graphs:
            graph.close()


def _with_progress(inputs: Sequence[Input]) -> Iterable[Input]:
    if len(inputs) < 2 or not sys.stderr.isatty():
        return inputs
    from tqdm import tqdm

    bar: Iterable[Input] = tqdm(inputs, file=sys.stderr, unit="input", leave=False)
    return bar


def _hint(options: argparse.Namespace, found: Comparison) -> str:
    """The command that says why, for the first side that differs and the first inputs on which it does."""
    for outcome in found.outcomes:
        for at, (side, row) in enumerate(zip(found.sides, outcome.rows, strict=False)):
            if row.reasons:
                paths = [each.path for each in found.outcomes if each.rows and each.rows[at].reasons]
                return f"why: {_diagnosis(options, found.sides, outcome, side, paths[:_MOST_INPUTS])}"
    return ""


def _diagnosis(
    options: argparse.Namespace,
    sides: Sequence[SideSummary],
    outcome: Outcome,
    side: SideSummary,
    paths: Sequence[str],
) -> str:
    first, other = sides[0].facts, side.facts
    if other.guest:
        return _guest_diagnosis(
            options, [each.facts.name for each in sides if each.facts.guest], outcome, other
        )
    if options.backends:
        words = ["--layers", "--graph", options.graph[0], "--backends", f"{first.backend},{other.backend}"]
        words.append(outcome.path)
        if len(options.graph) > 1 or first.encoding != "onnx":
            return "wasinn diagnose, with the two graphs"
    else:
        at = [each.facts.name for each in sides].index(other.name)
        words = ["--graph", options.graph[0], "--graph", options.graph[at], *paths]
    return f"wasinn diagnose {shlex.join(words)}"


def _guest_diagnosis(options: argparse.Namespace, names: list[str], outcome: Outcome, side: SideFacts) -> str:
    """The two commands that hold what a guest really sent against the contract."""
    if options.backends:
        return "record what the guest sends (wasinn run --record DIR) for wasinn diagnose --tensor DIR/0000"
    text = options.graph[names.index(side.name) // len(options.guest)]
    name = graph_option(text)[0]
    spec = text if name is None else text.removeprefix(f"{name}=")
    path = Path(outcome.path).resolve()
    command = side.guest.replace(PLACE, shlex.quote(f"{FOLDER}/{path.name}"))
    record = ["--record", "DIR", "--dir", f"{path.parent}::{FOLDER}"]
    graph = ["--graph", f"{options.guest_graph or 'default'}={spec}"]
    return (
        f"wasinn run {shlex.join([*record, *graph])} {command} && "
        f"wasinn diagnose {shlex.join(['--graph', text, '--tensor', 'DIR/0000', outcome.path])}"
    )


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 10_000:
        raise argparse.ArgumentTypeError("a number from 1 to 10000")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError("a number from 0 on")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("a share from 0 to 1")
    return number
