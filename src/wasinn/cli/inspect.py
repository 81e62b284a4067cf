# SPDX-License-Identifier: Apache-2.0
"""`wasinn inspect MODEL...`: what a model is, what it takes and gives, and who can load it."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Sequence
from typing import Any

from wasinn.backends import lookup, onnx_proto
from wasinn.cli.common import Subparsers, table
from wasinn.errors import BackendError, ConfigError, WasiNNError
from wasinn.graphs import detect
from wasinn.graphs.loader import LoadedGraph, Loader
from wasinn.graphs.metadata import metadata
from wasinn.graphs.source import GraphSource
from wasinn.sizes import format_size
from wasinn.spec import Encoding
from wasinn.tensors import TensorSpec, element_count, format_dims


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "inspect",
        help="show what a model is",
        description="Shows a model's encoding, inputs and outputs, and which backends can load it.",
        epilog="The JSON is a list with the Open Inference Protocol's metadata of each model. "
        "A dynamic dimension is ? in the text and -1 in the JSON. The exit code is 1 if a model "
        "cannot be loaded.",
    )
    parser.set_defaults(command=run)
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help="[ENCODING:]PATH[,PATH], or @NAME of a shipped model"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    reports = [_report(text) for text in options.models]
    if options.json:
        shown = [{key: value for key, value in report.items() if key != "ports"} for report in reports]
        print(json.dumps(shown, indent=2))
    else:
        print("\n\n".join(_text(report) for report in reports))
    return 1 if any("error" in report for report in reports) else 0


def _report(text: str) -> dict[str, Any]:
    """Everything that is known of a model; `error` where it cannot be loaded."""
    report: dict[str, Any] = {"name": text}
    try:
        source = _source(text)
        report["files"] = [str(path) for path in source.model.files]
        report["bytes"] = sum(path.stat().st_size for path in source.model.files)
        encoding = source.encoding
        reasons = [each.reason for each in detect.candidates(source.model)]
        if encoding is Encoding.AUTODETECT:
            encoding = detect.detect(source.model)
            report["detected_by"] = reasons[0]
        report["encoding"] = encoding.label
        if encoding is Encoding.ONNX:
            with contextlib.suppress(ValueError):  # what is no ONNX model is told by the backend
                report["label"] = onnx_proto.label(source.model.files[0])
        report["backends"] = _backends(encoding)
        report.update(_metadata(text, Loader().load(source)))
    except (WasiNNError, ConfigError, BackendError) as error:
        report["error"] = error.reason if isinstance(error, WasiNNError) else str(error)
    except (OSError, ValueError) as error:
        report["error"] = f"cannot read it: {error}"
    return report


def _source(text: str) -> GraphSource:
    prefix, colon, _ = text.partition(":")
    if colon:
        try:
            Encoding.parse(prefix)
        except ValueError:
            pass  # a colon in a path
        else:
            return GraphSource.parse(text)
    return GraphSource.from_files(*text.split(","))


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
    label = spec.type.label
    if spec.type.wire is not spec.type:
        label += f" (guests pass {spec.type.wire.label})"
    return [spec.name, label, format_dims(spec.dims), size]


def _text(report: dict[str, Any]) -> str:
    rows: list[Sequence[str]] = []
    if "bytes" in report:
        rows.append(("size", format_size(report["bytes"])))
    if "encoding" in report:
        found = f" (by its content: {report['detected_by']})" if "detected_by" in report else ""
        rows.append(("encoding", report["encoding"] + found))
    label = _label_text(report.get("label", {}))
    if label:
        rows.append(("written by", label))
    if "backends" in report:
        rows.append(("backends", _backend_text(report["backends"])))
    lines = [report["name"], table(rows, "  ")] if rows else [report["name"]]
    for direction, specs in report.get("ports", {}).items():
        ports = [(str(index), *_port_cells(spec)) for index, spec in enumerate(specs)]
        lines.append(f"  {direction}")
        lines.append(table(ports, "    ") or "    none")
    if "error" in report:
        lines.append(f"  cannot be loaded: {report['error']}")
    return "\n".join(lines)


def _label_text(label: dict[str, Any]) -> str:
    parts = []
    if "producer" in label:
        parts.append(" ".join(filter(None, (label["producer"], label.get("producer_version")))))
    if "ir_version" in label:
        parts.append(f"ONNX IR {label['ir_version']}")
    parts.extend(f"{domain} opset {version}" for domain, version in label.get("opsets", {}).items())
    return ", ".join(parts)


def _backend_text(backends: list[dict[str, Any]]) -> str:
    if not backends:
        return "none in this version"
    return ", ".join(
        f"{each['name']} {each['version']}"
        if each["version"]
        else f"{each['name']} (not installed: {each['install']})"
        for each in backends
    )
