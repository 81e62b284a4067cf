# SPDX-License-Identifier: Apache-2.0
"""`wasinn run GUEST [ARGS...]`: runs a guest; its exit code is the command's."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from wasinn.backends import lookup
from wasinn.backends.base import Usage
from wasinn.cli.common import Subparsers, format_seconds, table
from wasinn.cli.graphs import with_graphs
from wasinn.errors import ConfigError
from wasinn.graphs.config import Config, parse_backends, read_config
from wasinn.graphs.source import OPTION_NAMES, parse_named, parse_wasmedge, parse_wasmtime
from wasinn.handles import Stats
from wasinn.runtime.embedding import Host
from wasinn.runtime.limits import Limits
from wasinn.runtime.outcome import RunResult
from wasinn.sizes import format_size, parse_size
from wasinn.terminal import log_to_terminal

#: What a shell reports for a command killed by SIGABRT, and what timeout(1) reports.
EXIT_TRAP, EXIT_LIMIT = 134, 124

_EPILOG = """\
The guest's exit code is the command's. A trap is 134, a limit that was passed 124, a mistake on the
command line 2. GUEST is a file, or @NAME for a guest that comes with wasinn: @classify, @infer,
@identity. PATH in --graph may likewise be @NAME of a model that comes with it: @digits.

examples:
  wasinn run --graph identity=onnx:@identity @identity identity
  wasinn run --graph digits=onnx:@digits --dir pictures @classify --name digits \\
      --size 8x8 --colour gray pictures/seven.png
  wasinn run --dir models --trace guest.wasm models/mobilenet.onnx
"""


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "run",
        help="run a guest",
        description="Runs a WebAssembly guest: a core module (WASI preview 1) or a component (WASI 0.2).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    parser.add_argument("guest", metavar="GUEST", help="a .wasm file, or @NAME")
    parser.add_argument("args", metavar="ARGS", nargs=argparse.REMAINDER, help="the guest's arguments")
    world = parser.add_argument_group("what the guest sees")
    world.add_argument(
        "--dir",
        action="append",
        default=[],
        metavar="HOST[::GUEST][:rw]",
        help="a directory, read-only unless :rw",
    )
    world.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a variable; without =, this process's",
    )
    world.add_argument(
        "--invoke",
        metavar="NAME",
        help="call this exported function instead of _start or wasi:cli/run, with ARGS as numbers; of a "
        "component also as package:name/interface#name, with ARGS as WAVE: 3, true, text, [1, 2], {x: 1}",
    )
    graphs = parser.add_argument_group("graphs")
    graphs.add_argument(
        "--graph",
        action="append",
        default=[],
        metavar="NAME=ENCODING:PATH[,PATH][?key=value&...]",
        help=f"a graph that the guest can load by name; options: {', '.join(OPTION_NAMES)}; and of a "
        "language model its own, as in ggml:m.gguf?temp=0",
    )
    graphs.add_argument(
        "--nn-preload",
        action="append",
        default=[],
        metavar="NAME:ENCODING:TARGET:PATH",
        help="WasmEdge's spelling",
    )
    graphs.add_argument(
        "--nn-graph", action="append", default=[], metavar="ENCODING::DIRECTORY", help="wasmtime's spelling"
    )
    graphs.add_argument(
        "--backend",
        action="append",
        default=[],
        metavar="ENCODING=BACKEND",
        help="which backend serves an encoding, also for bytes that the guest loads",
    )
    graphs.add_argument(
        "--isolate",
        metavar="ENCODING,...",
        help="of which encodings the models that the guest brings live in a worker process; all, none "
        "(default: what each backend needs, which is all but onnxruntime's)",
    )
    graphs.add_argument("--config", metavar="FILE", help="a wasinn.toml with graphs, permissions and limits")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--deadline", type=float, metavar="SECONDS", help="end the guest after this time")
    limits.add_argument("--max-memory", metavar="SIZE", help="of the guest's memory, as in 256M")
    limits.add_argument("--max-output", metavar="SIZE", help="of stdout and of stderr (default: no limit)")
    limits.add_argument(
        "--fuel", metavar="N", help="wasm instructions, roughly; k, M and G are understood (k is 1024)"
    )
    shown = parser.add_argument_group("what is shown, on stderr")
    shown.add_argument("--stats", action="store_true", help="calls, bytes and times, at the end")
    shown.add_argument("--trace", action="store_true", help="one line for each WASI-NN call (slower)")
    shown.add_argument("--quiet", action="store_true", help="do not show why calls failed")
    kept = parser.add_argument_group("what is kept")
    kept.add_argument(
        "--record",
        metavar="DIR",
        help="write the inputs and outputs of each compute to this new folder: DIR/0000, DIR/0001, ... "
        "(slower; the first 1000)",
    )


def run(options: argparse.Namespace) -> int:
    level = logging.INFO if options.trace else logging.ERROR if options.quiet else logging.WARNING
    log_to_terminal(level)
    host = _host(options)
    arguments = options.args[1:] if options.args[:1] == ["--"] else options.args
    result = host.run(
        options.guest,
        () if options.invoke else arguments,
        dirs=options.dir,
        env=_environment(options.env),
        stdin="inherit",
        stdout="inherit",
        stderr="inherit",
        invoke=options.invoke,
        invoke_args=arguments if options.invoke else (),
        trace=options.trace,
        record=options.record,
    )
    if result.value_text is not None:
        print(result.value_text)
    if options.stats:
        print(_stats(result), file=sys.stderr)
    return _exit_code(result)


def _exit_code(result: RunResult) -> int:
    if result.trap is None and result.limit is None:
        return (result.exit_code or 0) & 0xFF
    if result.trap is None:
        print(f"wasinn: the guest was ended: limit {result.limit}", file=sys.stderr)
        return EXIT_LIMIT
    print(f"wasinn: the guest was ended: {result.trap.message}", file=sys.stderr)
    for frame in result.trap.backtrace[:20]:
        print(f"    {frame}", file=sys.stderr)
    return EXIT_TRAP if result.limit is None else EXIT_LIMIT


def _host(options: argparse.Namespace) -> Host:
    config = read_config(Path(options.config)) if options.config else Config()
    spelled = (
        *(parse_named(text) for text in options.graph),
        *(parse_wasmedge(text) for text in options.nn_preload),
        *(parse_wasmtime(text) for text in options.nn_graph),
    )
    graphs = with_graphs(config, spelled)
    backends = {encoding.label: name for encoding, name in config.backends.items()}
    for text in options.backend:
        encoding, equals, name = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--backend is ENCODING=BACKEND, not {text!r}")
        (chosen,) = parse_backends({encoding: name})
        backends[chosen.label] = name
    permissions = config.permissions
    if options.isolate is not None:
        names = options.isolate.split(",")
        wanted: Any = (
            options.isolate if options.isolate in ("all", "none") else [each.strip() for each in names]
        )
        try:
            permissions = replace(permissions, isolate=wanted)
        except ConfigError as error:
            text = str(error).removeprefix("permissions.isolate: ")
            raise ConfigError(f"--isolate: {text}; or all, or none, alone") from None
    host = Host(graphs, permissions, backends, _limits(options, config))
    for name in config.preload:
        host.preload(name)
    return host


def _limits(options: argparse.Namespace, config: Config) -> Limits:
    # On a terminal the guest's output is the user's; only who asks for a limit gets one.
    Limits.from_mapping(config.limits, f"{options.config}: ")
    table: dict[str, object] = {**config.limits}
    for key in ("deadline", "max_memory", "max_output", "fuel"):
        value = getattr(options, key)
        if value is None:
            continue
        if key != "deadline":
            try:
                value = parse_size(value)
            except ValueError as error:
                raise ConfigError(f"--{key.replace('_', '-')}: {error}") from None
        table[key] = value
    limits = Limits.from_mapping(table)
    if "max_output" in table:
        return limits
    return Limits(limits.deadline, limits.max_memory, None, limits.fuel)


def _environment(pairs: list[str]) -> dict[str, str]:
    result = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            if name not in os.environ:
                raise ConfigError(f"--env {name}: there is no such variable; give it as {name}=VALUE")
            value = os.environ[name]
        result[name] = value
    return result


def _stats(result: RunResult) -> str:
    stats = result.stats
    calls = ", ".join(f"{name} {count}" for name, count in stats.calls.items() if count) or "none"
    mean = f", {format_seconds(stats.compute_seconds / stats.computes)} each" if stats.computes > 1 else ""
    backends = ", ".join(
        f"{name} {lookup.by_name(name).version()}" + (f" ({count} graphs)" if count > 1 else "")
        for name, count in stats.backends.items()
    )
    if stats.isolated:
        backends += f"; {_plural(stats.isolated, 'graph')} in a worker process"
    rows = [
        ("calls", calls + (f"; {stats.failures} failed" if stats.failures else "")),
        ("bytes", f"{format_size(stats.bytes_in)} in, {format_size(stats.bytes_out)} out"),
        ("compute", f"{format_seconds(stats.compute_seconds)} in {_plural(stats.computes, 'compute')}{mean}"),
        *([("tokens", format_tokens(stats))] if stats.prompt_tokens else []),
        ("load", format_seconds(stats.load_seconds)),
        ("total", format_seconds(result.total_seconds)),
        ("runtime", backends or "no graph was loaded"),
    ]
    return table(rows)


def format_tokens(of: Stats | Usage) -> str:
    """`prompt 12, generated 40 (85.3 tokens/s)`."""
    text = f"prompt {of.prompt_tokens}, generated {of.generated_tokens}"
    if of.generate_seconds > 0 and of.generated_tokens:
        text += f" ({of.generated_tokens / of.generate_seconds:.1f} tokens/s)"
    return text


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
