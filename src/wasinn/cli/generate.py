# SPDX-License-Identifier: Apache-2.0
"""`wasinn infer --prompt TEXT GRAPH`: what a language model writes, as it writes it."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from typing import Any

from wasinn.backends.base import Usage
from wasinn.backends.common import one_line
from wasinn.cli.common import format_seconds, table
from wasinn.cli.run import format_tokens
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs.source import typed
from wasinn.runtime.direct import DirectGraph


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("language models")
    group.add_argument(
        "--prompt",
        metavar="TEXT",
        help="write what follows TEXT; - reads it from stdin, without the last line's end",
    )
    group.add_argument("--chat", action="store_true", help="TEXT is a user's message: write the answer")
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the model (n-predict=50, temp=0, seed=1, stop=TEXT ...); may be repeated",
    )
    group.add_argument("--stats", action="store_true", help="tokens and times, at the end, on stderr")


def check(options: argparse.Namespace) -> None:
    """Raises ConfigError for options that do not go together."""
    if options.prompt is None:
        for name in ("chat", "option", "stats"):
            if getattr(options, name):
                raise ConfigError(f"--{name} needs --prompt TEXT: it is for language models")
        return
    for name in ("files", "input", "output", "save_mask", "draw", "save", "contract"):
        if getattr(options, name):
            spelled = "FILE" if name == "files" else f"--{name.replace('_', '-')}"
            raise ConfigError(f"{spelled} is not for language models: leave it out, or --prompt")
    if options.repeat != 1:
        raise ConfigError("--repeat is not for language models: leave it out, or --prompt")


def chosen_options(texts: list[str]) -> dict[str, Any]:
    """KEY=VALUE..., the values as JSON where they are any. Raises ConfigError."""
    result: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--option is KEY=VALUE, not {text!r}")
        if key in result:
            raise ConfigError(f"--option {key} is given twice")
        result[key] = typed(value)
    return result


def generate(graph: DirectGraph, options: argparse.Namespace) -> int:
    """Writes the text, each piece at once; the exit code. Raises ConfigError, and WasiNNError where nothing
    was written."""
    chosen = chosen_options(options.option)
    if chosen.get("embedding") is True:
        raise ConfigError(
            "--option embedding: a vector is no text; wasinn run --graph default=MODEL @embed TEXT writes it"
        )
    prompt = _read_stdin() if options.prompt == "-" else options.prompt
    if options.chat:
        chosen.setdefault("chat", True)
    start, text, error = time.perf_counter(), [], None
    interrupted = False
    pieces = graph.generate(prompt, **chosen)
    show = _shown if sys.stdout.isatty() else str
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        for piece in pieces:
            text.append(piece)
            if not options.json:
                print(show(piece), end="", flush=True)
    except WasiNNError as raised:
        error = raised
    except KeyboardInterrupt:
        interrupted = True  # what was written until now is shown as at the end
    finally:
        pieces.close()
        if not options.json and text and not text[-1].endswith("\n"):
            print(flush=True)
    seconds = time.perf_counter() - start
    usage = graph.usage
    if options.json:
        reason = "interrupted" if interrupted else None if error is None else str(error)
        report = _report(graph, "".join(text), usage, pieces.metadata, seconds, reason)
        print(json.dumps([report], indent=2, allow_nan=False), flush=True)
    if options.stats:
        print(_stats(usage, seconds, graph.backend), file=sys.stderr)
    if interrupted:
        raise KeyboardInterrupt
    if error is not None:
        print(f"wasinn: {one_line(str(error), 2000)}", file=sys.stderr)
        return 1
    return 0


def _read_stdin() -> str:
    """All of stdin. The end of its last line is the terminal's or echo's, and no part of a prompt."""
    text = sys.stdin.read()
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _shown(piece: str) -> str:
    """A piece for a terminal, which a model has no business to command."""
    return "".join(each if each.isprintable() or each in "\n\t" else "\ufffd" for each in piece)


def _report(
    graph: DirectGraph,
    text: str,
    usage: Usage,
    metadata: dict[str, Any],
    seconds: float,
    error: str | None,
) -> dict[str, Any]:
    report = {
        "graph": graph.name,
        "backend": graph.backend,
        "text": text,
        "prompt_tokens": usage.prompt_tokens,
        "generated_tokens": usage.generated_tokens,
        "generate_seconds": usage.generate_seconds,
        "seconds": seconds,
        "metadata": metadata,
    }
    return report if error is None else report | {"error": error}


def _stats(usage: Usage, seconds: float, backend: str) -> str:
    return table([("tokens", format_tokens(usage)), ("total", format_seconds(seconds)), ("runtime", backend)])
