# SPDX-License-Identifier: Apache-2.0
"""The command `wasinn`: one file a subcommand."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import wasinn
from wasinn.cli import backends, check, compare, diagnose, infer, inspect, new, run, serve, show, tensor
from wasinn.errors import Error

#: As the shells have it: a usage error, and a command that was interrupted.
EXIT_USAGE, EXIT_INTERRUPTED = 2, 130


def _refuse(parser: argparse.ArgumentParser, rest: Sequence[str]) -> NoReturn:
    """Ends with what a command does not know, as its own error; argparse names the program alone."""
    unknown = [each.partition("=")[0] for each in rest if each.startswith("-")]
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        close = difflib.get_close_matches(unknown[0], known, 1)
        meant = f" (is it {close[0]}?)" if close else ""
        parser.error(f"unknown option {unknown[0]}{meant}; see {parser.prog} --help")
    parser.error(f"too many arguments: {' '.join(rest)}; see {parser.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code of the process."""
    parser = argparse.ArgumentParser(
        prog="wasinn",
        description="Runs WebAssembly guests that do machine-learning inference through WASI-NN.",
    )
    parser.add_argument("--version", action="version", version=f"wasinn {wasinn.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="chosen")
    for command in (run, serve, new, check, infer, inspect, tensor, show, compare, diagnose, backends):
        command.add_parser(commands)
    options, rest = parser.parse_known_args(arguments)
    if rest:
        _refuse(commands.choices[options.chosen], rest)
    try:
        return int(options.command(options))
    except Error as error:
        print(f"wasinn: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone; let the interpreter's own flush find nothing to do.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 1
