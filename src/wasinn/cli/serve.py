# SPDX-License-Identifier: Apache-2.0
"""`wasinn serve`: answers requests of the Open Inference Protocol with graphs and guests."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from wasinn.cli.common import Subparsers
from wasinn.cli.graphs import with_graphs
from wasinn.errors import BackendError, ConfigError
from wasinn.graphs.config import Config, read_config
from wasinn.graphs.source import parse_named, typed
from wasinn.runtime.limits import Limits
from wasinn.terminal import log_to_terminal

_EPILOG = """\
NAME is what callers ask for. A graph is served as a model; a guest too, with a fresh instance for each
request. PATH and FILE may be @NAME of what comes with wasinn. SIGTERM and Ctrl-C let what runs finish; a
second one ends it.

examples:
  wasinn serve --graph digits=onnx:@digits
  wasinn serve --graph digits=onnx:@digits --guest classifier=classifier.wasm --processes 2
  wasinn serve --config wasinn.toml --host 0.0.0.0 --tokens-file tokens.txt
"""


def add_parser(commands: Subparsers) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve graphs and guests over HTTP and gRPC",
        description="Serves graphs and guests by the Open Inference Protocol, version 2, as KServe's and "
        "Triton's clients speak it: REST and gRPC, with metrics, health and a page to try models in.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=serve)
    served = parser.add_argument_group("what is served")
    served.add_argument(
        "--graph",
        action="append",
        default=[],
        metavar="NAME=ENCODING:PATH[,PATH][?key=value&...]",
        help="a graph, as for `wasinn run`; ?batch=true joins requests that wait",
    )
    served.add_argument(
        "--guest",
        action="append",
        default=[],
        metavar="NAME=FILE[?key=value&...]",
        help="a guest that answers requests; it reaches the graphs by their names; options: those of "
        "[guests.NAME], as in ?input=files&args=/request/image",
    )
    served.add_argument(
        "--config", metavar="FILE", help="a wasinn.toml: graphs, [guests.NAME], [serve], permissions, limits"
    )
    where = parser.add_argument_group("where; each counts before the configuration's [serve]")
    where.add_argument("--host", metavar="ADDRESS", help="of this machine (default: 127.0.0.1; all: 0.0.0.0)")
    where.add_argument(
        "--http-port", type=_port, metavar="PORT", help="default: 8000; 0 is any that is free, off is none"
    )
    where.add_argument("--grpc-port", type=_port, metavar="PORT", help="default: 8001; likewise")
    where.add_argument("--processes", type=int, metavar="N", help="default: one for each core")
    guarded = parser.add_argument_group("who may call, and how much")
    guarded.add_argument("--tokens-file", metavar="FILE", help="tokens, one a line; callers need one of them")
    guarded.add_argument("--tls-cert", metavar="FILE", help="the server's certificate (PEM); needs --tls-key")
    guarded.add_argument("--tls-key", metavar="FILE", help="its key (PEM)")
    guarded.add_argument("--deadline", type=float, metavar="SECONDS", help="of a request (default: 30)")
    guarded.add_argument("--max-body", metavar="SIZE", help="of a request (default: 64M)")
    guarded.add_argument("--drain-timeout", type=float, metavar="SECONDS", help="at the end (default: 30)")
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--access-log", metavar="FILE", help="a line for each request: stderr, off or a file")
    shown.add_argument("--verbose", action="store_true", help="more of the log")


def _port(text: str) -> int | bool:
    if text == "off":
        return False
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number, or off") from None


def serve(options: argparse.Namespace) -> int:
    log_to_terminal(logging.INFO if options.verbose else logging.WARNING)
    try:
        from wasinn.serve.start import serve_plan
    except ImportError as error:
        name = error.name or ""
        if name.partition(".")[0] == "wasinn":
            raise
        raise BackendError(f"`wasinn serve` needs {name}: pip install 'wasinn[serve]'") from None
    config = read_config(Path(options.config)) if options.config else Config()
    return asyncio.run(serve_plan(_plan(options, config), _say))


def _plan(options: argparse.Namespace, config: Config) -> Any:
    from wasinn.serve.plan import Plan, check_plan
    from wasinn.serve.settings_file import parse_guest, parse_settings

    graphs = with_graphs(config, map(parse_named, options.graph))
    folder = Path(options.config).parent if options.config else Path()
    try:
        settings = parse_settings(config.serve, config.guests, folder)
        limits = Limits.from_mapping(config.limits)
    except ConfigError as error:
        raise ConfigError(f"{options.config}: {error}") from None
    # A value of the command line is read as if it stood in [serve], relative to where the command runs.
    given = {key: value for key in _FLAGS if (value := getattr(options, key)) is not None}
    try:
        ours = parse_settings(given, {}, Path()) if given else None
    except ConfigError as error:
        raise ConfigError(_FLAG.sub(lambda key: "--" + key[1].replace("_", "-"), str(error))) from None
    changes = {key: getattr(ours, key) for key in given if key != "tokens_file"}
    if ours is not None and ours.tokens:
        changes["tokens"] = (*settings.tokens, *ours.tokens)
    guests = dict(settings.guests)
    for text in options.guest:
        name, table = _guest(text)
        if name in guests:
            raise ConfigError(f"there are two guests called {name!r}")
        guests[name] = parse_guest(name, table, Path())
    return check_plan(
        Plan(
            graphs,
            replace(settings, guests=guests, **changes),
            config.permissions,
            {encoding.label: name for encoding, name in config.backends.items()},
            limits,
            config.preload,
            logging.INFO if options.verbose else logging.WARNING,
        )
    )


def _guest(text: str) -> tuple[str, dict[str, Any]]:
    """`NAME=FILE[?key=value&...]` as a name and the table that it stands for. Raises ConfigError."""
    name, equals, rest = text.partition("=")
    file, _, query = rest.partition("?")
    if not equals or not name or not file:
        raise ConfigError(f"--guest is NAME=FILE[?key=value&...], not {text!r}")
    table: dict[str, Any] = {"file": unquote(file)}
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        if not equals or key in table:
            raise ConfigError(f"--guest {name}: {pair!r} is not key=value, or there twice")
        value = unquote(value)
        table[key] = value.split() if key in _LISTS else typed(value) if key in _NUMBERS else value
    return name, table


#: The options of a guest that are lists, with spaces between, and that are numbers (of sizes also as in 64M).
_LISTS, _NUMBERS = ("args", "dirs"), ("deadline", "max_memory", "max_concurrency", "max_queue")

#: The flags that are keys of [serve].
_FLAGS = (
    "host",
    "http_port",
    "grpc_port",
    "processes",
    "tokens_file",
    "tls_cert",
    "tls_key",
    "deadline",
    "max_body",
    "drain_timeout",
    "access_log",
)
#: A key of [serve] in an error, which the command line has as a flag.
_FLAG = re.compile(r"^serve\.(\w+)")


def _say(text: str) -> None:
    for line in text.splitlines():
        print(f"wasinn: {line}" if not line.startswith(" ") else f"        {line.strip()}")
    sys.stdout.flush()
