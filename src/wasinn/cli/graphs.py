# SPDX-License-Identifier: Apache-2.0
"""A graph on the command line of the tools that need no guest."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wasinn.contracts.contract import Contract
from wasinn.contracts.parse import read_contract
from wasinn.errors import ConfigError
from wasinn.graphs.config import Config, read_config
from wasinn.graphs.loader import Loader
from wasinn.graphs.source import GraphSource, with_options
from wasinn.graphs.spelling import parse_graph
from wasinn.oip.address import parse_address
from wasinn.runtime.direct import DirectGraph


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that choose how a graph is loaded, and its contract."""
    parser.add_argument(
        "--contract", metavar="FILE", help="the graph's contract (default: MODEL.contract.toml beside it)"
    )
    parser.add_argument("--config", metavar="FILE", help="a wasinn.toml, whose graphs GRAPH can name")
    parser.add_argument("--backend", metavar="NAME", help="load by this backend, not by the default one")
    parser.add_argument("--threads", metavar="N", help="threads of a compute (default: the runtime's choice)")


def files_anywhere(parser: argparse.ArgumentParser, name: str) -> None:
    """Lets FILE... stand on both sides of the options. argparse takes a list that may be empty at its first
    chance only, so that in GRAPH --option VALUE FILE the file would be an error."""
    parse = parser.parse_known_args

    def parse_again(args: Any = None, namespace: Any = None) -> Any:
        found, rest = parse(args, namespace)
        files = [each for each in rest if not each.startswith("-")]
        setattr(found, name, [*getattr(found, name), *files])
        return found, [each for each in rest if each.startswith("-")]

    parser.parse_known_args = parse_again  # type: ignore[method-assign]


def open_graph(text: str, options: argparse.Namespace) -> DirectGraph:
    """The graph that is written as `text`, under the options of `add_options`. Raises ConfigError, and
    WasiNNError where it cannot be loaded."""
    config = read_config(Path(options.config)) if options.config else Config()
    name, source = named_graph(text, config.graphs)
    chosen = {
        key: getattr(options, key) for key in ("backend", "threads") if getattr(options, key) is not None
    }
    contract = contract_option(options)
    return DirectGraph(name, with_options(source, chosen), Loader(config.backends), contract)


def contract_option(options: argparse.Namespace) -> Contract | None:
    return read_contract(Path(options.contract)) if options.contract else None


def named_graph(text: str, known: Mapping[str, GraphSource] | None = None) -> tuple[str, GraphSource]:
    """A name and a source from what is written as `GRAPH`, or from one of the `known` names. Without NAME it
    is the file's. Raises ConfigError."""
    if known and text in known:
        return text, known[text]
    try:
        name, source = parse_graph(text)
    except ConfigError as error:
        if known and "=" not in text.partition("?")[0]:
            names = ", ".join(known)
            raise ConfigError(
                f"{error}; nor does the configuration have a graph of that name ({names})"
            ) from None
        raise
    if name is None:
        first = text.partition("?")[0].split(":")[-1]
        if source.model.url is not None:
            name = parse_address(source.model.url).model
        else:
            name = first if first.startswith("@") else source.model.files[0].name
    return name, source


def with_graphs(config: Config, named: Iterable[tuple[str, GraphSource]]) -> dict[str, GraphSource]:
    """The configuration's graphs and those of the command line, by name. Raises ConfigError."""
    graphs = dict(config.graphs)
    for name, source in named:
        if name in graphs:
            raise ConfigError(f"there are two graphs called {name!r}")
        graphs[name] = source
    return graphs


def graph_option(text: str) -> tuple[str | None, GraphSource]:
    """A graph that is written behind --graph: its name, None where it has none, and its source. Raises
    ConfigError."""
    try:
        return parse_graph(text)
    except ConfigError as error:
        raise ConfigError(f"--graph {text}: {error}") from None
