# SPDX-License-Identifier: Apache-2.0
"""The command `wasinn`: one file a subcommand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import wasinn
from wasinn.cli import backends, compare, diagnose, infer, inspect, run, show, tensor
from wasinn.errors import Error

#: As the shells have it: a usage error, and a command that was interrupted.
EXIT_USAGE, EXIT_INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code of the process."""
    parser = argparse.ArgumentParser(
        prog="wasinn",
        description="Runs WebAssembly guests that do machine-learning inference through WASI-NN.",
    )
    parser.add_argument("--version", action="version", version=f"wasinn {wasinn.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (run, infer, inspect, tensor, show, compare, diagnose, backends):
        command.add_parser(commands)
    options = parser.parse_args(arguments)
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
