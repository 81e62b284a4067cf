# SPDX-License-Identifier: Apache-2.0
"""`wasinn inspect MODEL...`: what a model is, what it takes and gives, and who can load it.

With `--contract`, a contract for it to start from (`cli/suggested.py`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wasinn.backends import lookup
from wasinn.backends.common import one_line
from wasinn.cli import suggested
from wasinn.cli.common import Subparsers, table
from wasinn.errors import BackendError, ConfigError, WasiNNError
from wasinn.graphs import detect, labels
from wasinn.graphs.loader import LoadedGraph, Loader
from wasinn.graphs.metadata import metadata
from wasinn.graphs.source import GraphSource
from wasinn.graphs.spelling import parse_graph
from wasinn.sizes import format_size
from wasinn.spec import Encoding
from wasinn.tensors import TensorSpec, element_count, format_dims


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "inspect",
        help="show what a model is",
        description="Shows a model's encoding, inputs and outputs, what it says of itself, and which "
        "backends can load it.",
        epilog="The JSON is a list with the Open Inference Protocol's metadata of each model. "
        "A dynamic dimension is ? in the text and -1 in the JSON. The exit code is 1 if a model "
        "cannot be loaded, or the contract beside it is wrong.",
    )
    parser.set_defaults(command=run)
    parser.add_argument(
        "models",
        metavar="MODEL",
        nargs="+",
        help="[ENCODING:]PATH[,PATH], oip:URL, or @NAME of a shipped model",
    )
    parser.add_argument("--backend", metavar="NAME", help="load it by this backend, not by the default one")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="as JSON")
    shown.add_argument(
        "--contract",
        action="store_true",
        help="write a contract (TOML) to start from, with what is guessed marked",
    )
    shown.add_argument(
        "--labels", action="store_true", help="write the labels that the model's file has in it, one a line"
    )


def run(options: argparse.Namespace) -> int:
    if options.contract or options.labels:
        if len(options.models) != 1:
            what = "--contract" if options.contract else "--labels"
            raise ConfigError(f"{what} is about one model, and {len(options.models)} were given")
        source = parse_source(options.models[0], options.backend)
        print(suggested.contract(options.models[0], source) if options.contract else suggested.labels(source))
        return 0
    reports = [_report(text, options.backend) for text in options.models]
    if options.json:
        shown = [{key: value for key, value in report.items() if key != "ports"} for report in reports]
        print(json.dumps(shown, indent=2))
    else:
        print("\n\n".join(_text(report) for report in reports))
    return 1 if any({"error", "contract_error"} & report.keys() for report in reports) else 0


def _report(text: str, backend: str | None) -> dict[str, Any]:
    """Everything that is known of a model; `error` where it cannot be loaded."""
    report: dict[str, Any] = {"name": text}
    source = None
    try:
        source = parse_source(text, backend)
        if source.model.url is not None:
            loaded = Loader().load(source)
            report["url"] = source.model.url
            report.update(_metadata(text, loaded))
            return report
        report["files"] = [str(path) for path in source.model.files]
        report["bytes"] = source.model.size
        encoding = source.encoding
        found = {each.encoding: each.reason for each in detect.candidates(source.model)}
        if encoding is Encoding.AUTODETECT:
            encoding = detect.detect(source.model)
            report["detected_by"] = found.get(encoding, "")
        report["encoding"] = encoding.label
        if encoding in found:
            report["label"] = labels.read(source.model, encoding)
        report["backends"] = _backends(encoding)
        loaded = Loader().load(replace(source, encoding=encoding))
        report.update(_metadata(text, loaded))
        report.update(suggested.found_beside(source, loaded))
    except (WasiNNError, ConfigError, BackendError) as error:
        reason = error.reason if isinstance(error, WasiNNError) else str(error)
        report["error"] = reason
        if source is not None and report.get("encoding") == Encoding.OPENVINO.label:
            report["error"] += _weights_hint(source)
    except (OSError, ValueError) as error:
        report["error"] = f"cannot read it: {error}"
    return report


def parse_source(text: str, backend: str | None) -> GraphSource:
    """A model as it is written on the command line. Raises ConfigError."""
    _, source = parse_graph(text)
    return source if backend is None else replace(source, backend=backend)


def _weights_hint(source: GraphSource) -> str:
    """For an OpenVINO model that was given without its weights, where those seem to be."""
    path, *others = source.model.files
    weights = path.with_suffix(".bin")
    if others or path == weights or not weights.is_file():
        return ""
    return f"; are its weights in {weights.name}? Then give both: {path},{weights}"


def _backends(encoding: Encoding) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "version": each.version(), "install": each.install_hint}
        for each in lookup.ranked(encoding)
    ]


def _metadata(name: str, loaded: LoadedGraph) -> dict[str, Any]:
    result = metadata(name, loaded.backend, loaded.graph)
    # The text has wasinn's own type names and the wire types, which the protocol has no word for.
    result["ports"] = {"inputs": loaded.graph.inputs, "outputs": loaded.graph.outputs}
    return result


def _port_cells(spec: TensorSpec) -> list[str]:
    fixed = spec.static_dims
    size = "" if fixed is None else format_size(element_count(fixed) * spec.type.size)
    label = "any" if spec.any_type else spec.type.label
    if not spec.any_type and spec.type.wire is not spec.type:
        label += f" (guests pass {spec.type.wire.label})"
    more = [] if spec.quantization is None else [str(spec.quantization)]
    if spec.aliases:
        more.append(f"also called {', '.join(spec.aliases)}")
    if spec.optional:
        more.append("need not be set")
    dims = "any size" if spec.any_size and spec.dims is None else format_dims(spec.dims)
    return [spec.name, label, dims, size, "; ".join(more)]


def _text(report: dict[str, Any]) -> str:
    rows: list[tuple[str, str]] = []
    if "url" in report:
        rows.append(("url", _cell(report["url"], 1000)))
    if "bytes" in report:
        rows.append(("size", format_size(report["bytes"])))
    if "encoding" in report:
        found = f" (by its content: {report['detected_by']})" if "detected_by" in report else ""
        rows.append(("encoding", report["encoding"] + found))
    rows.extend(_label_rows(report.get("label", {})))
    if "backends" in report:
        rows.append(("backends", _backend_text(report["backends"])))
    if "platform" in report and report["platform"] not in [
        each["name"] for each in report.get("backends", [])[:1]
    ]:
        rows.append(("loaded by", report["platform"]))
    if "contract" in report:
        rows.append(
            ("contract", report["contract"] + (", which fits" if "contract_error" not in report else ""))
        )
    lines = [_cell(report["name"])]
    if rows:
        lines.append(_table(rows, "  "))
    for direction, specs in report.get("ports", {}).items():
        ports = [(str(index), *_port_cells(spec)) for index, spec in enumerate(specs)]
        lines.append(f"  {direction}")
        lines.append(_table(ports, "    ") or "    none")
    if "contract_error" in report:
        lines.append(f"  the contract is wrong: {_cell(report['contract_error'], 1000)}")
    if "error" in report:
        lines.append(f"  cannot be loaded: {_cell(report['error'], 1000)}")
    return "\n".join(lines)


#: A longer text of a label is cut; the JSON has more of it.
_WIDTH = 80


def _label_rows(label: dict[str, Any]) -> list[tuple[str, str]]:
    facts = dict(label)
    writer = " ".join(str(facts.pop(key, "")) for key in ("producer", "producer_version")).strip()
    rows = [("written by", writer)] if writer else []
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {each}" for name, each in value.items())
        elif isinstance(value, list):
            value = ", ".join(value)
        text = str(value)
        rows.append((key.replace("_", " "), text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."))
    return rows


def _backend_text(backends: list[dict[str, Any]]) -> str:
    if not backends:
        return "none in this version"
    return ", ".join(
        f"{each['name']} {each['version']}{' (default)' if rank == 0 and len(backends) > 1 else ''}"
        if each["version"]
        else f"{each['name']} (not installed: {each['install']})"
        for rank, each in enumerate(backends)
    )


def _table(rows: Sequence[Sequence[str]], indent: str) -> str:
    return table(([_cell(cell) for cell in row] for row in rows), indent)


def _cell(text: str, limit: int = 400) -> str:
    """Text that a terminal shows and does not obey, on one line: names come from models."""
    return one_line(text, limit)
