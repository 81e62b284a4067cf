# SPDX-License-Identifier: Apache-2.0
"""What the measures share: the models on disk, sessions of onnxruntime, and the guest `@bench`."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime

import models
import wasinn
from measures.pairs import Block
from wasinn.graphs.loader import Loader

MODELS = Path(__file__).parent.parent / ".models"

T = TypeVar("T")
Array = np.ndarray[Any, np.dtype[np.float32]]


class BenchmarkError(Exception):
    """A guest that failed, or gave another answer than the runtime: its time means nothing."""


def model_file(name: str) -> Path:
    """The model's file, written if it is not there, or older than what writes it."""
    return kept_file(f"{name}.onnx", models.MODELS[name].write, Path(models.__file__))


def kept_file(name: str, write: Callable[[Path], object], *sources: Path) -> Path:
    """The file of that name among the models, written if it is not there, or older than one of what
    it is made from. Where `write` makes other files beside it, those are kept too."""
    path = MODELS / name
    newest = max(source.stat().st_mtime for source in sources)
    if not path.exists() or path.stat().st_mtime < newest:
        MODELS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=MODELS) as folder:  # an interrupted write leaves nothing
            written = Path(folder) / name
            write(written)
            written.touch()  # a folder has the time of its last entry
            for each in sorted(written.parent.iterdir(), key=lambda each: each == written):
                if each.is_dir():
                    shutil.rmtree(MODELS / each.name, ignore_errors=True)
                each.replace(MODELS / each.name)
    return path


def native_session(model: str | bytes, threads: int | None = 1) -> Any:
    """A session of onnxruntime, with as many threads as the guest's graph; None is its default."""
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def new_host(*names: str) -> wasinn.Host:
    """A host with those models, loaded, each on one thread."""
    host = wasinn.Host(graphs={name: f"onnx:{model_file(name)}?threads=1" for name in names})
    host.preload()
    return host


def session_of(host: wasinn.Host, name: str) -> Any:
    """The session of onnxruntime behind a graph of the host.

    The reference runs on the very session that the guest's graph runs on: two sessions of one model
    lie differently in memory, which alone makes up to 1.5 % with the SqueezeNet-size model.
    """
    graph: Any = host.registry.get(name, Loader()).graph
    return graph._session


def guest_input(name: str) -> Array:
    """The input that `@bench` gives the model."""
    return filled(models.MODELS[name].ports.input_dims)


def filled(dims: Sequence[int]) -> Array:
    """An input of those dims, with the numbers that the `fill` of `@bench` makes."""
    multiplier, increment, seed = np.uint32(1664525), np.uint32(1013904223), np.uint32(12345)
    powers = np.multiply.accumulate(np.full(int(np.prod(dims)), multiplier), dtype=np.uint32)
    sums = np.cumsum(powers, dtype=np.uint32) - powers + np.uint32(1)
    states = powers * seed + increment * sums
    values = (states >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)
    return values.reshape(dims)


def checksum(output: Array) -> str:
    """FNV-1a, as `@bench` prints it."""
    value = 2166136261
    for byte in output.tobytes():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return f"{value:08x}"


@dataclass(frozen=True)
class GuestLoop:
    """The guest `@bench` on one model: set_input, compute and get_output, `calls` times, and as many
    again without a clock in between."""

    host: wasinn.Host
    model: str
    calls: int
    warm_up: int
    ports: models.Ports | None = None  # of a graph that is none of the benchmarks' own models
    guest_name: str = "@bench"  # or "@bench_component", the same as a component

    @cached_property
    def guest(self) -> wasinn.Guest | wasinn.ComponentGuest:
        return self.host.guest(self.guest_name)

    @property
    def inferences(self) -> int:
        return 2 * self.calls + self.warm_up

    @property
    def arguments(self) -> list[str]:
        ports = self.ports or models.MODELS[self.model].ports
        dims = "x".join(map(str, ports.input_dims))
        return [str(self.calls), str(self.warm_up), str(ports.output_bytes), dims, self.model]

    def run(self) -> bytes:
        """Runs it as a host does; what it printed. Raises BenchmarkError."""
        result = self.host.run(self.guest, self.arguments)
        if not result.ok:
            raise BenchmarkError(f"{self.guest_name} on {self.model}: {result}")
        return result.stdout

    def run_slow(self) -> bytes:
        """The same without the hot path, which an instance has only if it is asked for."""
        with self.host.instantiate(self.guest, ["bench", *self.arguments]) as instance:
            with contextlib.suppress(wasinn.GuestExit):
                instance.call("_start")
            return instance.stdout


def block_of(printed: bytes, expected: str | None = None) -> Block:
    """The block that `@bench` printed. Raises BenchmarkError if its output is not the `expected`."""
    found = json.loads(printed)
    if expected is not None and found["checksum"] != expected:
        raise BenchmarkError(f"the guest's output is not the runtime's ({expected}): {found}")
    return Block(found["median_ns"] / 1e9, found["min_ns"] / 1e9)


def in_thread(work: Callable[[], T]) -> T:
    """Does `work` in a thread of its own: an instance does not belong in the main thread, where
    Python handles signals."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work).result()
