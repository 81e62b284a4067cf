# SPDX-License-Identifier: Apache-2.0
"""A guest on a graph as a side of a comparison: what counts is the outputs of its last compute."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasinn.agreement.answers import answers_of
from wasinn.agreement.inputs import Input
from wasinn.agreement.sides import Run, SideFacts, facts_of, image_index
from wasinn.errors import ConfigError
from wasinn.graphs.recorded import MemoryRecorder
from wasinn.imaging.preprocess import Placement, prepare
from wasinn.runtime.direct import DirectGraph
from wasinn.runtime.embedding import Host

Pixels = np.ndarray[Any, Any]

#: Where the guest's arguments get the input's path, and the folder that the guest sees it in.
PLACE, FOLDER = "{picture}", "/inputs"


@dataclass(frozen=True)
class GuestCommand:
    """A guest and its arguments, `{picture}` among them."""

    file: str
    arguments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> GuestCommand:
        """`FILE ARGS...`, divided as a shell does it. Raises ConfigError."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ConfigError(f"--guest {text!r}: {error}") from None
        if not words:
            raise ConfigError('--guest is "FILE ARGS... {picture}", and this one is empty')
        if not any(PLACE in word for word in words[1:]):
            raise ConfigError(
                f"--guest {text!r}: its arguments have no {PLACE}, which is where the picture's path goes"
            )
        return cls(words[0], tuple(words[1:]))


class GuestSide:
    """A guest that loads `graph` by the name `graph_name`. Its outputs are read by the graph's contract."""

    def __init__(self, name: str, command: GuestCommand, graph_name: str, graph: DirectGraph) -> None:
        """Raises GuestError for what is no guest."""
        self.name = name
        self._command = command
        self._graph = graph
        self._host = Host({graph_name: graph.source})
        self._guest = self._host.guest(command.file)
        self._graph_name = graph_name
        self._warm = False

    @property
    def facts(self) -> SideFacts:
        return facts_of(
            self.name,
            self._graph,
            shlex.join((self._command.file, *self._command.arguments)).replace(f"'{PLACE}'", PLACE),
        )

    def run(self, given: Input, pixels: Pixels | None) -> Run:
        path = given.path.resolve()
        arguments = [word.replace(PLACE, f"{FOLDER}/{path.name}") for word in self._command.arguments]
        recorder = MemoryRecorder(1)
        if not self._warm:
            # As of a graph: the first compute's time would say nothing of the others.
            self._warm = True
            self._host.run(self._guest, arguments, dirs={FOLDER: path.parent})
        result = self._host.run(self._guest, arguments, dirs={FOLDER: path.parent}, record=recorder)
        if result.trap is not None or result.exit_code != 0:
            how = result.trap.message if result.trap is not None else f"exit code {result.exit_code}"
            said = (result.stderr or result.stdout).decode("utf-8", "replace").strip().splitlines()
            raise ConfigError(f"the guest failed ({how})" + (f": {said[-1]}" if said else ""))
        if not recorder.records:
            raise ConfigError("the guest ended without a compute")
        record = recorder.records[-1]
        if record.graph != self._graph_name:
            brought = "a model that it brought" if record.graph is None else f"the graph {record.graph!r}"
            raise ConfigError(f"the guest's last compute was of {brought}, not of {self._graph_name!r}")
        if record.error is not None:
            raise ConfigError(f"the guest's last compute failed: {record.error}")
        placement = self._placement(pixels)
        outputs = [each.array for each in record.outputs]
        return Run(answers_of(self._graph, outputs, placement), record.seconds, placement)

    def _placement(self, pixels: Pixels | None) -> Placement | None:
        """Where the contract puts the picture; the guest is taken to do the same."""
        try:
            image = image_index(self._graph)[1].image
        except ConfigError:
            return None
        return prepare(pixels, image).placement if pixels is not None and image is not None else None

    def close(self) -> None:
        self._host.close()
        self._graph.close()
