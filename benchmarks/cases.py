# SPDX-License-Identifier: Apache-2.0
"""The same network on each backend: through a guest, and the runtime called natively.

A `Subject` is an ONNX model, and every other encoding is made from it, with its weights. A `Case` is a
subject on one backend, both sides ready to be timed; opening one shows that the runtime's answer is
onnxruntime's, and the guest's answer is the runtime's, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import native
import numpy as np
from formats import network as net
from measures.bed import (
    Array,
    BenchmarkError,
    GuestLoop,
    block_of,
    checksum,
    filled,
    kept_file,
    model_file,
    native_session,
)
from measures.pairs import Block, timed

import models
import wasinn
from wasinn.backends import lookup
from wasinn.graphs.loader import Loader

#: How far a runtime's answer may be from onnxruntime's, as a part of the answer's largest number.
TOLERANCE = 1e-3

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Subject:
    """A model to measure: its name and its ONNX file."""

    name: str
    path: Path

    @cached_property
    def network(self) -> net.Network:
        return net.read(self.path)

    @cached_property
    def image(self) -> Array:
        """An input; dims as in ONNX."""
        return filled(self.network.dims)

    @cached_property
    def answer(self) -> Array:
        """onnxruntime's answer to `image`: what everyone else's is held against."""
        found: Array = native_session(str(self.path)).run(None, {self.network.input: self.image})[0]
        return found

    def check(self, answer: Array, who: str) -> None:
        """Raises BenchmarkError where `answer`, to `image`, is not onnxruntime's."""
        off = float(np.abs(answer - self.answer).max() / np.abs(self.answer).max())
        if answer.shape != self.answer.shape or not off <= TOLERANCE:
            raise BenchmarkError(f"{self.name}: the answer of {who} is {off:.1e} off onnxruntime's")


def squeezenet() -> Subject:
    return Subject("squeezenet", model_file("squeezenet"))


def mobilenet() -> Subject | None:
    """The real one, where the folder of real models is."""
    folder = os.environ.get("WASINN_DATA") or HERE.parents[1] / "shared" / "data"
    path = Path(folder) / "mobilenet_v2" / "mobilenet_v2.onnx"
    return Subject("mobilenet_v2", path) if path.exists() else None


@dataclass(frozen=True)
class Runtime:
    """A backend, the encoding that it is measured with (`format` for people), and how its runtime is
    called natively.

    `suffix` and `writer` (a module of `formats`) are those of the model's file, which is the ONNX
    model itself where there is no writer.
    """

    backend: str
    encoding: str
    format: str
    open: native.Opener
    suffix: str = ".onnx"
    writer: str | None = None
    channels_last: bool = False
    prepare: Callable[[], None] | None = None  # once, before anything else is done with the runtime

    @property
    def missing(self) -> str | None:
        """Why it cannot be measured here; None where it can."""
        return None if lookup.by_name(self.backend).version() is not None else "not installed"

    def file(self, subject: Subject) -> Path:
        if self.writer is None:
            return subject.path
        sources = [subject.path, Path(net.__file__), HERE / "formats" / f"{self.writer}.py"]
        return kept_file(subject.name + self.suffix, partial(self._write, subject), *sources)

    def _write(self, subject: Subject, path: Path) -> None:
        if self.writer == "openvino_ir":
            from formats import openvino_ir

            openvino_ir.write(subject.path, path)
            return
        write: Callable[[net.Network, Path], None]
        if self.writer == "tflite":
            from formats.tflite import write
        elif self.writer == "torchscript":
            from formats.torchscript import write
        else:
            from formats.savedmodel import write
        write(subject.network, path)


RUNTIMES = (
    Runtime("onnxruntime", "onnx", "ONNX", native.onnxruntime),
    Runtime("openvino", "openvino", "OpenVINO IR", native.openvino, ".xml", "openvino_ir"),
    Runtime("litert", "tensorflowlite", "TFLite", native.litert, ".tflite", "tflite", channels_last=True),
    Runtime("tract", "onnx", "ONNX", native.tract),
    Runtime("torch", "pytorch", "TorchScript", native.torch, ".pt", "torchscript"),
    Runtime(
        "tensorflow",
        "tensorflow",
        "SavedModel",
        native.tensorflow,
        ".saved_model",
        "savedmodel",
        channels_last=True,
        prepare=cache(native.limit_tensorflow),
    ),
)


class Case:
    """A subject on a runtime. Blocks of both sides are of `calls` calls each."""

    def __init__(self, subject: Subject, runtime: Runtime, calls: int, warm_up: int) -> None:
        self.subject, self.runtime = subject, runtime
        self._calls, self._warm_up = calls, warm_up
        if runtime.prepare is not None:
            runtime.prepare()
        file = runtime.file(subject)
        files = [file, file.with_suffix(".bin")] if runtime.suffix == ".xml" else [file]
        source = wasinn.GraphSource.from_files(
            *files, encoding=runtime.encoding, backend=runtime.backend, threads=1, isolation="none"
        )
        host = wasinn.Host(graphs={subject.name: source})
        graph = host.registry.get(subject.name, Loader()).graph

        image = subject.image.transpose(0, 2, 3, 1) if runtime.channels_last else subject.image
        self._native = runtime.open(file, graph, np.ascontiguousarray(image))
        subject.check(self._native.output(), runtime.backend)
        if runtime.channels_last:  # the guest gives its numbers in the order in which they lie
            self._native = runtime.open(file, graph, filled(image.shape))
        self._expected = checksum(self._native.output())
        ports = models.Ports(image.shape, subject.answer.nbytes)
        self._guest = GuestLoop(host, subject.name, calls, warm_up, ports)
        self.guest_block()

    def native_block(self) -> Block:
        return timed(self._native.run, self._calls, self._warm_up)

    def guest_block(self) -> Block:
        """Raises BenchmarkError if the guest's answer is not the runtime's."""
        return block_of(self._guest.run(), self._expected)
