# SPDX-License-Identifier: Apache-2.0
"""`wasinn check GUEST`: what a guest needs, and whether this host has it, without running it."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from wasinn.backends.common import one_line
from wasinn.cli.common import Subparsers, table
from wasinn.cli.graphs import with_graphs
from wasinn.errors import GuestError, WasiNNError
from wasinn.graphs.config import Config, read_config
from wasinn.graphs.source import parse_named
from wasinn.runtime.cache import CompileCache, default_directory
from wasinn.runtime.component_requirements import read_component
from wasinn.runtime.embedding import Host
from wasinn.runtime.engine import get_engine
from wasinn.runtime.guest import find_guest, is_component, to_binary
from wasinn.runtime.limits import Limits
from wasinn.runtime.requirements import Memory, Need, Requirements, read_module
from wasinn.sizes import format_size
from wasinn.terminal import log_to_terminal

_EPILOG = """\
The exit code is 0 if this host can run the guest, 1 if not, 2 for a mistake on the command line. With
--graph or --config, the graphs are loaded, and the guest is held against the limits and permissions.

examples:
  wasinn check guest.wasm
  wasinn check @classify --graph default=@digits
"""


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "check",
        help="say what a guest needs, and whether this host has it",
        description="Shows what a guest imports and which of it this host has. Nothing of the guest runs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("guest", metavar="GUEST", help="a .wasm file, or @NAME")
    parser.add_argument(
        "--graph",
        action="append",
        default=[],
        metavar="NAME=ENCODING:PATH[,PATH][?key=value&...]",
        help="a graph that the guest is to load by name, as for wasinn run",
    )
    parser.add_argument("--config", metavar="FILE", help="a wasinn.toml with graphs, permissions and limits")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    log_to_terminal(logging.ERROR)
    config = read_config(Path(options.config)) if options.config else Config()
    graphs = with_graphs(config, map(parse_named, options.graph))
    limits = Limits.from_mapping(config.limits, f"{options.config}: ")
    backends = {encoding.label: name for encoding, name in config.backends.items()}
    host = Host(graphs, config.permissions, backends, limits)
    read, name, _ = find_guest(options.guest)
    wasm = read()
    found = requirements(wasm, name, limits)
    _hold_against(found, wasm, host, config, bool(options.config or options.graph))
    print(json.dumps(_as_dict(found), indent=2) if options.json else _text(found))
    return 0 if found.runs else 1


def requirements(content: bytes, name: str, limits: Limits) -> Requirements:
    """What a guest needs, by its content: whatever that is."""
    engine = get_engine(limits.fuel is not None)
    cache = CompileCache(default_directory(), engine.key)
    try:
        wasm = to_binary(content, name)
    except GuestError as error:
        found = Requirements(name, len(content), "no guest")
        found.problems.append(str(error).removeprefix(f"{name} "))
        return found
    return (read_component if is_component(wasm) else read_module)(wasm, name, engine, cache)


def _hold_against(found: Requirements, wasm: bytes, host: Host, config: Config, given: bool) -> None:
    """Adds what the operator's graphs, limits and permissions say of the guest."""
    memory, most = found.memory, host.limits.max_memory
    if memory is not None and most is not None and memory.minimum > most:
        found.problems.append(
            f"it starts with {format_size(memory.minimum)} of memory, and max_memory is {format_size(most)}"
        )
    for name in host.registry:
        try:
            host.preload(name)
        except WasiNNError as error:
            found.problems.append(error.reason)
    bytes_only = found.loads_bytes and not found.loads_by_name
    if bytes_only and not config.permissions.load:
        found.problems.append(
            "it brings its model as bytes, and cannot load by name; [permissions] load = false forbids that"
        )
    if found.loads_by_name and not found.loads_bytes and not len(host.registry):
        found.notes.append("it loads graphs by name: give some with --graph NAME=MODEL")
    elif found.loads_by_name and given and len(host.registry):
        if not any(name.encode() in wasm for name in host.registry):
            names = ", ".join(map(repr, host.registry))
            found.notes.append(f"it does not have {names} in its data: are the names its arguments?")
    elif bytes_only and given and len(host.registry):
        found.notes.append("it brings its model as bytes: it will not ask for the graphs that are given")


# -- showing it ------------------------------------------------------------------------------------------

_ENTRIES = {
    "command": "command: wasinn run calls {}",
    "reactor": "reactor: _initialize, then its exports (wasinn run --invoke)",
    "start section": "its work is in its start section",
    "library": "library: wasinn run --invoke calls an export",
}


def _as_dict(found: Requirements) -> dict[str, Any]:
    memory = found.memory
    return {
        "guest": found.name,
        "bytes": found.size,
        "kind": found.kind,
        "entry": found.entry,
        "dialects": found.dialects,
        "numbering": found.numbering or None,
        "memory": None if memory is None else vars(memory),
        "needs": [each.as_dict() for each in found.needs],
        "exports": found.exports,
        "problems": found.problems,
        "notes": found.notes,
        "runs": found.runs,
    }


def _text(found: Requirements) -> str:
    rows = [("kind", f"{found.kind}, {format_size(found.size)}")]
    if found.kind != "no guest":
        rows += _facts(found)
    lines = [_cell(found.name), table(rows, "  ")]
    if found.needs:
        lines += ["  needs", table(_need_rows(found.needs), "    ")]
    lines += [f"  note: {_cell(note)}" for note in found.notes]
    lines += [f"  problem: {_cell(problem)}" for problem in found.problems]
    missing = sum(bool(each.missing) for each in found.needs)
    if found.runs:
        lines.append("  this host can run it")
    else:
        lacking = f": {missing} of its imports not provided" if missing else ""
        lines.append(f"  this host cannot run it{lacking}")
    return "\n".join(lines)


def _facts(found: Requirements) -> list[tuple[str, str]]:
    entry = _ENTRIES[found.entry].format("_start" if found.kind == "core module" else "wasi:cli/run")
    rows = [("entry", entry)]
    if found.entry in ("library", "reactor"):
        rows.append(("exports", _listed([_cell(each) for each in found.exports]) or "none"))
    rows.append(("WASI-NN", _listed(found.dialects) or "none"))
    if found.numbering:
        rows.append(("types", found.numbering))
    if found.kind == "core module":
        rows.append(("memory", _memory(found.memory)))
    return rows


def _memory(memory: Memory | None) -> str:
    if memory is None:
        return "none"
    most = "no maximum" if memory.maximum is None else f"at most {format_size(memory.maximum)}"
    parts = [
        "exported" if memory.exported else "not exported",
        f"{format_size(memory.minimum)} at first",
        most,
    ]
    parts += ["shared"] * memory.shared + ["64-bit"] * memory.wide
    return ", ".join(parts)


def _need_rows(needs: list[Need]) -> list[tuple[str, str]]:
    """A row for each module with what is there, and for each thing that is missing one of its own."""
    there: dict[str, list[str]] = {}
    for each in needs:
        if not each.missing:
            there.setdefault(each.module, []).append(each.name or "types")
    rows = [(_cell(module), _listed([_cell(name) for name in names], 6)) for module, names in there.items()]
    for each in needs:
        if each.missing:
            whole = each.type == "interface"
            name = each.module if whole else f"{each.module}.{each.name}"
            rows.append((_cell(name), f"NOT PROVIDED: {_cell(each.missing)}"))
    return rows


def _listed(names: list[str], most: int = 12) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _cell(text: str) -> str:
    """Text that a terminal shows and does not obey: names come from guests."""
    return one_line(text, 400)
