# SPDX-License-Identifier: Apache-2.0
"""Records of computes: what a guest gave, what it got, and the graph around a graph that keeps them.

On disk a record is a folder: `record.json`, and one `.npy` file for each input and each output, with the
bytes as they passed. Types that NumPy lacks (bf16, f8) are unsigned integers there of the same width, and
`record.json` has their own names.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from wasinn.backends.base import Execution, Graph, Streaming, Usage
from wasinn.errors import ConfigError, WasiNNError
from wasinn.graphs.around import ExecutionAround
from wasinn.graphs.record_files import read_tensor, text
from wasinn.sizes import format_size
from wasinn.spec import ErrorCode, TensorType
from wasinn.tensors import Tensor, TensorSpec

logger = logging.getLogger("wasinn.host")

Array = np.ndarray[Any, Any]

#: The file of a record's folder that says what it is, and the version of the format.
RECORD_FILE, FORMAT = "record.json", 1


@dataclass(frozen=True)
class Recorded:
    """A tensor that was given or got, under its port's name. `array` has the tensor's dims; bf16 and f8
    are unsigned integers of their width."""

    name: str
    type: TensorType
    array: Array

    def tensor(self) -> Tensor:
        return Tensor.of(self.array, self.type)


@dataclass(frozen=True)
class Record:
    """One compute, as its guest saw it: after the conversions that the operator chose.

    `graph` is the name by which the guest loaded it, None for a model that the guest brought. `inputs` and
    `outputs` are in the order of the graph's ports. `seconds` is the time of the compute alone. `error` is
    why it failed, and then there are no outputs.
    """

    graph: str | None
    encoding: str
    backend: str
    guest: str
    seconds: float
    inputs: tuple[Recorded, ...]
    outputs: tuple[Recorded, ...] = ()
    error: str | None = None


@runtime_checkable
class Recorder(Protocol):
    """Who is handed each compute. Called by any thread, and raises nothing: a guest must not notice."""

    def record(self, record: Record) -> None: ...


@dataclass(frozen=True)
class Recording:
    """That the computes of a run are handed to `recorder`; `guest` is the name that they carry."""

    recorder: Recorder
    guest: str = ""

    def around(self, graph: Graph, name: str | None, encoding: str, backend: str) -> Graph:
        return RecordedGraph(graph, self, Record(name, encoding, backend, self.guest, 0.0, ()))


class RecordedGraph:
    """`graph`, of whose computes each is handed to a recorder. `head` is what all records share.

    Its executions are not Bindable: a guest whose computes are recorded takes the ordinary way.
    """

    def __init__(self, graph: Graph, recording: Recording, head: Record) -> None:
        self._graph = graph
        self._recorder = recording.recorder
        self._head = head
        self.inputs = graph.inputs
        self.outputs = graph.outputs

    def open(self) -> Execution:
        execution = self._graph.open()
        kind = _RecordedStreaming if isinstance(execution, Streaming) else _RecordedExecution
        return kind(execution, self.inputs, self.outputs, self._recorder, self._head)


class _RecordedExecution(ExecutionAround):
    def __init__(
        self,
        execution: Execution,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        recorder: Recorder,
        head: Record,
    ) -> None:
        super().__init__(execution)
        self._inputs = inputs
        self._outputs = outputs
        self._recorder = recorder
        self._head = head
        self._given: dict[int, Recorded] = {}

    def set_input(self, index: int, tensor: Tensor) -> None:
        self._execution.set_input(index, tensor)
        # Only once it was taken: a tensor that was refused leaves the one before it.
        self._given[index] = _copy(self._inputs[index].name, tensor)

    def compute(self) -> None:
        start = time.perf_counter()
        try:
            self._execution.compute()
        except Exception as error:
            self._keep(time.perf_counter() - start, (), str(error))
            raise
        seconds = time.perf_counter() - start
        try:
            outputs = tuple(
                _copy(spec.name, self._execution.output(index)) for index, spec in enumerate(self._outputs)
            )
        except Exception as error:  # the guest, which asks for this output, gets the same
            self._keep(seconds, (), f"the outputs could not be read: {error}")
            return
        self._keep(seconds, outputs, None)

    def _keep(self, seconds: float, outputs: tuple[Recorded, ...], error: str | None) -> None:
        head = self._head
        inputs = tuple(self._given[index] for index in sorted(self._given))
        self._recorder.record(
            Record(head.graph, head.encoding, head.backend, head.guest, seconds, inputs, outputs, error)
        )

    def close(self) -> None:
        self._given.clear()
        super().close()


class _RecordedStreaming(_RecordedExecution):
    """One that streams: what is generated token by token is one record, kept where it ends."""

    _seconds = 0.0
    _begun = False

    @property
    def _streaming(self) -> Streaming:
        assert isinstance(self._execution, Streaming)
        return self._execution

    @property
    def usage(self) -> Usage:
        return self._streaming.usage

    @property
    def context_tokens(self) -> int:
        return self._streaming.context_tokens

    def is_ready(self, index: int) -> bool:
        return self._streaming.is_ready(index)

    def set_input(self, index: int, tensor: Tensor) -> None:
        self._end()
        super().set_input(index, tensor)

    def compute(self) -> None:
        self._end()
        super().compute()

    def compute_single(self) -> None:
        start = time.perf_counter()
        self._begun = True
        try:
            self._streaming.compute_single()
        except WasiNNError as error:
            self._seconds += time.perf_counter() - start
            self._end(None if error.code is ErrorCode.END_OF_SEQUENCE else str(error))
            raise
        self._seconds += time.perf_counter() - start

    def output_single(self, index: int) -> Tensor:
        return self._streaming.output_single(index)

    def fini_single(self) -> None:
        self._end()
        self._streaming.fini_single()

    def _end(self, error: str | None = None) -> None:
        """Keeps the sequence that was begun, with what there is of its outputs."""
        if not self._begun:
            return
        seconds, self._seconds, self._begun = self._seconds, 0.0, False
        outputs = []
        for index, spec in enumerate(self._outputs):
            with contextlib.suppress(WasiNNError):
                if self.is_ready(index):
                    outputs.append(_copy(spec.name, self._execution.output(index)))
        self._keep(seconds, () if error else tuple(outputs), error)

    def close(self) -> None:
        self._end()
        super().close()


def _copy(name: str, tensor: Tensor) -> Recorded:
    return Recorded(name, tensor.type, tensor.numpy().copy())


# -- recorders ----------------------------------------------------------------------------------------


class MemoryRecorder:
    """Keeps the last `most` computes, oldest first."""

    def __init__(self, most: int = 100) -> None:
        self._records: deque[Record] = deque(maxlen=most)

    def record(self, record: Record) -> None:
        self._records.append(record)

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(self._records)


class FolderRecorder:
    """Writes each compute to a folder of its own in `folder`: 0000, 0001 and so on, in the order of their
    ends, over all contexts of all guests that it is given to.

    The first `most` computes are kept, and at most `most_bytes` of tensors; a line in the log says when
    no more are. Raises ConfigError if `folder` is no new or empty directory.
    """

    def __init__(self, folder: str | Path, most: int = 1000, most_bytes: int = 4 << 30) -> None:
        self.folder = Path(folder)
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._count = 0
        self._bytes = 0
        self._full = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            used = next(self.folder.iterdir(), None)
        except OSError as error:
            raise ConfigError(f"records cannot be written to {str(folder)!r}: {error.strerror}") from None
        if used is not None:
            raise ConfigError(
                f"the folder {str(folder)!r} for records is not empty (it has {used.name!r}): "
                "name a new one, or empty it"
            )

    @property
    def count(self) -> int:
        """How many computes were kept."""
        return self._count

    def record(self, record: Record) -> None:
        size = sum(each.array.nbytes for each in (*record.inputs, *record.outputs))
        with self._lock:
            if self._full:
                return
            if self._count >= self._most or self._bytes + size > self._most_bytes:
                self._stop(
                    f"{self._count} computes ({format_size(self._bytes)}) are recorded in {self.folder}, "
                    f"the most are {self._most} and {format_size(self._most_bytes)}; later ones are not kept"
                )
                return
            number, self._count, self._bytes = self._count, self._count + 1, self._bytes + size
        try:
            _write(self.folder / f"{number:04}", record)
        except (OSError, ValueError, MemoryError) as error:
            with self._lock:
                if not self._full:
                    self._stop(f"computes are no longer recorded in {self.folder}: {error}")

    def _stop(self, why: str) -> None:
        self._full = True
        logger.warning("%s", why)


def _write(folder: Path, record: Record) -> None:
    """Writes a record; its `record.json` last, so that a folder that has one is complete."""
    folder.mkdir()
    table: dict[str, Any] = {
        "format": FORMAT,
        "graph": record.graph,
        "encoding": record.encoding,
        "backend": record.backend,
        "guest": record.guest,
        "seconds": record.seconds,
    }
    if record.error is not None:
        table["error"] = record.error
    for side, tensors in (("input", record.inputs), ("output", record.outputs)):
        rows = table[f"{side}s"] = []
        for number, each in enumerate(tensors):
            file = f"{side}-{number}.npy"
            np.save(folder / file, each.array, allow_pickle=False)
            dims = list(each.array.shape)
            rows.append({"name": each.name, "type": each.type.label, "dims": dims, "file": file})
    (folder / RECORD_FILE).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


# -- reading ------------------------------------------------------------------------------------------


def is_record(path: str | Path) -> bool:
    """Whether `path` is the folder of one record."""
    return Path(path, RECORD_FILE).is_file()


def record_folders(folder: str | Path) -> list[Path]:
    """The records in what `wasinn run --record FOLDER` wrote, in their order; none where there are none."""
    path = Path(folder)
    found = [each for each in path.iterdir() if is_record(each)] if path.is_dir() else []
    return sorted(found, key=lambda each: (len(each.name), each.name))


def read_record(folder: str | Path) -> Record:
    """The record in `folder`. Raises ConfigError that says what is wrong with it."""
    path = Path(folder)
    if not is_record(path):
        within = record_folders(path)
        hint = f"; it holds {len(within)} records: name one, as in {within[0]}" if within else ""
        raise ConfigError(f"{str(folder)!r} is not the folder of a record: it has no {RECORD_FILE}{hint}")
    try:
        table = json.loads((path / RECORD_FILE).read_bytes())
        if not isinstance(table, dict):
            raise ValueError("it is not a JSON object")
        if table.get("format") != FORMAT:
            raise ValueError(f"its format is {table.get('format')!r}, and this version reads {FORMAT}")
        seconds = table.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise ValueError(f"seconds is {seconds!r}, not a number")
        return Record(
            text(table, "graph") if table.get("graph") is not None else None,
            text(table, "encoding"),
            text(table, "backend"),
            text(table, "guest"),
            float(seconds),
            _tensors(path, table, "inputs"),
            _tensors(path, table, "outputs"),
            text(table, "error") if table.get("error") is not None else None,
        )
    except (OSError, ValueError, RecursionError, OverflowError) as error:
        raise ConfigError(f"{path / RECORD_FILE}: {error}") from None


def _tensors(folder: Path, table: Mapping[str, Any], key: str) -> tuple[Recorded, ...]:
    rows = table.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{key} is not a list of objects")
    result = []
    for number, row in enumerate(rows):
        try:
            result.append(Recorded(*read_tensor(folder, row)))
        except (OSError, ValueError, EOFError, MemoryError) as error:
            raise ValueError(f"{key}[{number}]: {error}") from None
    return tuple(result)
