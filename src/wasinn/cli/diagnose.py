# SPDX-License-Identifier: Apache-2.0
"""`wasinn diagnose`: why two graphs, or a guest and a contract, disagree."""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from wasinn.agreement.assume import Assumed, assume
from wasinn.agreement.cures import cured
from wasinn.agreement.diagnose import diagnose_graphs
from wasinn.agreement.diagnose_tensor import diagnose_tensor
from wasinn.agreement.diagnosis import Diagnosis, Side
from wasinn.agreement.diagnosis_text import as_json, as_text
from wasinn.agreement.sending import Scene
from wasinn.agreement.witness import Witness
from wasinn.cli.common import Subparsers, write_text
from wasinn.cli.diagnose_inputs import fixed_inputs, open_bare, scenes_of, sent_tensor
from wasinn.cli.diagnose_layers import add_layer_options, run_layers
from wasinn.contracts import transforms
from wasinn.contracts.bound import bind
from wasinn.contracts.contract import Contract
from wasinn.contracts.write import to_toml
from wasinn.errors import ConfigError
from wasinn.graphs.spelling import GRAPH
from wasinn.runtime.closing import Closing
from wasinn.runtime.direct import DirectGraph
from wasinn.tensors import element_count, format_dims
from wasinn.terminal import log_to_terminal

Array = np.ndarray[Any, Any]

_EPILOG = """\
two graphs: the first is the reference, and the second is asked the same pictures in other ways until the two
agree. A graph without a contract (?contract=FILE, or MODEL.contract.toml beside it) starts from what its file
suggests, and if that is the reference, both are searched.
a tensor: what a guest really sent (`wasinn run --record DIR`) is held against what the graph's contract makes
of the picture, or against a tensor that is known to be right (--right).
The exit code is 0 where nothing is wrong, 1 where something is, 2 for a mistake on the command line.

examples:
  wasinn diagnose --graph good.onnx --graph other.tflite cat.jpg dog.jpg
  wasinn diagnose --graph m.onnx --tensor records/0000 cat.jpg
  wasinn diagnose --layers --graph m.onnx --backends onnxruntime,openvino cat.jpg
"""


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "diagnose",
        help="say why two graphs, or a guest and a contract, disagree",
        description="Tries what can be wrong between a picture and an answer, singly and in pairs, and names "
        "the change under which the two sides agree, or says that none does.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("pictures", metavar="PICTURE", nargs="*", help="a picture, or a folder of them")
    parser.add_argument(
        "--graph",
        action="append",
        default=[],
        metavar=GRAPH,
        help="the reference, and again for the graph that is suspected",
    )
    parser.add_argument("--contract", metavar="FILE", help="the contract of the (first) graph")
    parser.add_argument(
        "--tensor", metavar="FILE", help="what a guest sent: a record's folder, .npy or bytes"
    )
    parser.add_argument(
        "--right", metavar="FILE", help="with --tensor: a tensor known to be right, no picture"
    )
    parser.add_argument(
        "--input", action="append", default=[], metavar="NAME=FILE", help="a further input, for both graphs"
    )
    parser.add_argument(
        "--vary", metavar="NAME", help="the image input that is varied, where there are several"
    )
    parser.add_argument("--output", metavar="NAME", help="the output that is compared")
    parser.add_argument("--write-contract", metavar="FILE", help="write the contract that cures it")
    parser.add_argument("--json", metavar="FILE", help="write it as JSON; - is the terminal")
    parser.add_argument(
        "--layers",
        action="store_true",
        help="compare every intermediate tensor of one ONNX model on two runtimes instead",
    )
    add_layer_options(parser)


def run(options: argparse.Namespace) -> int:
    log_to_terminal()
    _check_options(options)
    if options.layers:
        return run_layers(options)
    count = len(options.graph)
    if options.tensor is not None and count != 1:
        raise ConfigError(f"--tensor is diagnosed against one --graph, and {count} are given")
    if options.tensor is None and count != 2:
        raise ConfigError(
            f"give --graph twice, the reference first ({count} given); or one, and --tensor, which a guest "
            "sent; or --layers"
        )
    graphs: list[DirectGraph] = []
    try:
        for at, text in enumerate(options.graph):
            graphs.append(open_bare(text, at, options.contract if at == 0 else None, graphs))
        if options.tensor is not None:
            diagnosis, assumed = _tensor(graphs[0], options)
        else:
            diagnosis, assumed = _graphs(graphs[0], graphs[1], options)
    finally:
        for graph in graphs:
            graph.close()
    if options.json != "-":
        print(as_text(diagnosis, [each.assumption for each in assumed]))
    if options.json is not None:
        text = json.dumps(as_json(diagnosis, [each.assumption for each in assumed]), indent=2)
        if options.json == "-":
            print(text)
        else:
            write_text(options.json, text + "\n")
    if options.write_contract is not None:
        _write_contract(diagnosis, assumed, graphs[-1], Path(options.write_contract))
    return 0 if diagnosis.verdict == "agree" else 1


def _check_options(options: argparse.Namespace) -> None:
    """No option is given that does nothing. Raises ConfigError."""
    unused = (
        ("tensor", "right", "vary", "output", "write_contract") if options.layers else ("backends", "chart")
    )
    for name in unused:
        if getattr(options, name) is not None:
            where = "with" if options.layers else "without"
            raise ConfigError(f"--{name.replace('_', '-')} does nothing {where} --layers; leave it out")
    if options.right is not None and options.tensor is None:
        raise ConfigError("--right is what a --tensor is held against, and none is given")


def _graphs(
    reference: DirectGraph, suspect: DirectGraph, options: argparse.Namespace
) -> tuple[Diagnosis, list[Assumed]]:
    scenes = scenes_of(options)
    if not scenes:
        raise ConfigError(
            "give at least one picture that both graphs are asked about; three tell more than one"
        )
    assumed = [assume(graph, options.vary, options.output) for graph in (reference, suspect)]
    sides = [
        Side(
            graph.name,
            Witness(
                graph,
                each.input_index,
                each.output_index,
                scenes,
                fixed_inputs(graph, options, each.input_index),
            ),
            each.assumption,
            each.guessed,
        )
        for graph, each in zip((reference, suspect), assumed, strict=True)
    ]
    with _Progress() as progress:
        return diagnose_graphs(sides[0], sides[1], progress.step), assumed


def _tensor(graph: DirectGraph, options: argparse.Namespace) -> tuple[Diagnosis, list[Assumed]]:
    assumed = assume(graph, options.vary, options.output)
    if assumed.guessed:
        raise ConfigError(
            f"graph {graph.name!r} has no contract, so that nothing says what the right tensor is: give one "
            "(--contract), or write one with `wasinn inspect --contract`"
        )
    spec = graph.inputs[assumed.input_index]
    sent = sent_tensor(Path(options.tensor), graph, assumed.input_index)
    if options.right is not None:
        if options.pictures:
            raise ConfigError("give a picture, or --right, not both")
        right = sent_tensor(Path(options.right), graph, assumed.input_index)
        if not np.isfinite(right.astype(np.float64)).all():
            raise ConfigError(f"--right {options.right}: not all of its numbers are finite")
        dims = assumed.assumption.input.image.dims if assumed.assumption.input.image is not None else ()
        if right.size != element_count(dims):
            raise ConfigError(
                f"--right {options.right} has {right.size} numbers, and the contract makes "
                f"{element_count(dims)} ({format_dims(dims)}): it cannot be right"
            )
        right = right.reshape(dims)
        scene = Scene(Path(options.right).name, None, transforms.decode(right, assumed.assumption.input))
    else:
        scenes = scenes_of(options)
        if len(scenes) != 1:
            raise ConfigError(
                f"--tensor needs the one picture that it was made of ({len(scenes)} given), or --right, a "
                "tensor that is known to be right"
            )
        scene = scenes[0]
    witness = Witness(
        graph,
        assumed.input_index,
        assumed.output_index,
        [scene],
        fixed_inputs(graph, options, assumed.input_index),
    )
    with _Progress() as progress:
        diagnosis = diagnose_tensor(
            f"the guest ({options.tensor})", sent, scene, assumed.assumption, spec, witness, progress.step
        )
    return diagnosis, [assumed]


def _write_contract(diagnosis: Diagnosis, assumed: list[Assumed], graph: DirectGraph, path: Path) -> None:
    if diagnosis.verdict != "named" or diagnosis.suspect != diagnosis.blamed or len(assumed) != 2:
        raise ConfigError(
            "--write-contract: there is no one contract to write; it is written where one cause is named, "
            "and that is in how the second graph is asked"
        )
    suspect = assumed[1]
    contract = cured(suspect.contract, suspect.assumption, diagnosis.changes)
    bind(contract, graph.inputs, graph.outputs)  # what the model refuses is not written
    kept = {path: note for path, note in suspect.notes.items() if not _changed(path, diagnosis)}
    write_text(path, to_toml(contract, kept, _label_files(suspect.contract, path)))
    print(f"\nwrote {path}")


def _label_files(contract: Contract, written: Path) -> dict[str, str]:
    """The label files that a contract's file names, by output, as paths from where another one is written."""
    if not isinstance(contract.source, Path) or not contract.source.is_file():
        return {}
    outputs = tomllib.loads(contract.source.read_text(encoding="utf-8-sig")).get("output", {})
    return {
        name: os.path.relpath(contract.source.parent / table["labels"], written.parent)
        for name, table in outputs.items()
        if isinstance(table, dict) and isinstance(table.get("labels"), str)
    }


def _changed(path: tuple[str, ...], diagnosis: Diagnosis) -> bool:
    keys = {key for change in diagnosis.changes for key, _ in (*change.image, *change.fields)}
    return bool(path) and path[-1] in keys


class _Progress(Closing):
    """A bar on stderr, on a terminal, for what takes longer than a moment."""

    def __init__(self) -> None:
        self._bar: Any = None

    def step(self, done: int, total: int) -> None:
        if self._bar is None or self._bar.total != total:
            self.close()
            self._bar = tqdm(total=total, desc="trying", unit="", leave=False, delay=1, disable=None)
        self._bar.n = done
        self._bar.refresh() if done == 0 else self._bar.update(0)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
