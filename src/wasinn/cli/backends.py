# SPDX-License-Identifier: Apache-2.0
"""`wasinn backends`: which ML runtimes are there, and how to get the others."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from wasinn.backends import lookup
from wasinn.backends.base import BackendInfo
from wasinn.cli.common import Subparsers, table
from wasinn.graphs.source import REMOTE


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "backends",
        help="list the ML runtimes",
        description="Lists the backends: version, encodings and devices of those that are installed, "
        "and how to install the others.",
    )
    parser.set_defaults(command=run)
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    infos = [backend.info() for backend in lookup.all_backends()]
    if options.json:
        print(json.dumps([_as_json(info) for info in infos], indent=2))
        return 0
    print(as_table(infos))
    return 0


def as_table(infos: Sequence[BackendInfo]) -> str:
    """A line a backend, and one more for each further target."""
    rows = [("backend", "version", "encodings", "targets")]
    for info in infos:
        encodings = ", ".join(encoding.label for encoding in info.encodings)
        if info.name == REMOTE:
            encodings = "any, by URL"
        targets = [f"{target.label} ({name})" for target, name in info.devices.items()]
        if not info.installed:
            targets = [f"not installed: {info.install}"]
        first, *others = targets or ["none on this machine"]
        rows.append((info.name, info.version or "-", encodings, first))
        rows.extend(("", "", "", target) for target in others)
    return table(rows)


def _as_json(info: BackendInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "installed": info.installed,
        "version": info.version,
        "encodings": [encoding.label for encoding in info.encodings],
        "devices": {target.label: name for target, name in info.devices.items()},
        "install": info.install,
    }
