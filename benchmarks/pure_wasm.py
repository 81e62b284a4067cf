# SPDX-License-Identifier: Apache-2.0
"""The same models in pure wasm: npm's onnxruntime-web in a Node process, on one thread.

What it needs is installed into `benchmarks/.wasm` at the versions of `wasm/package-lock.json`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cases import Subject
from measures.bed import Array
from measures.pairs import Block

SOURCE = Path(__file__).parent / "wasm"
BUILT = Path(__file__).parent / ".wasm"
FILES = ("package.json", "package-lock.json")

#: V8 compiles a function anew, and better, once it was called often.
FIRST_WARM_UP = 40


class PureWasmError(Exception):
    """Why there is no pure wasm to measure."""


class PureWasm:
    """The Node process. Every method may raise PureWasmError."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self.versions = ""

    def open(self, subject: Subject) -> None:
        """Makes the subject ready, warms it up and checks its answer."""
        image = self._folder / f"{subject.name}.input"
        image.write_bytes(subject.image.tobytes())
        path, dims = str(subject.path.resolve()), list(subject.network.dims)
        found = self._ask(do="open", name=subject.name, model=path, input=str(image), dims=dims)
        self.versions = f"onnxruntime-web {found['version']}, Node {found['node']}"
        subject.check(self._output(subject), "onnxruntime-web")
        self.block(subject, 1, FIRST_WARM_UP)

    def block(self, subject: Subject, calls: int, warm_up: int) -> Block:
        found = self._ask(do="run", name=subject.name, calls=calls, warmUp=warm_up)
        return Block(found["median"], found["min"])

    def _output(self, subject: Subject) -> Array:
        found = self._ask(do="output", name=subject.name)
        return np.frombuffer(base64.b64decode(found["data"]), np.float32).reshape(found["dims"])

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise PureWasmError("Node ended; what it said stands above")
        answer = json.loads(line)
        if "error" in answer:
            raise PureWasmError(f"onnxruntime-web: {answer['error']}")
        return answer


@contextlib.contextmanager
def started() -> Iterator[PureWasm]:
    """A Node process that ends with the block. Raises PureWasmError."""
    node = _program("node", "Node.js")
    _install()
    process = subprocess.Popen(
        [node, "run.mjs"], cwd=BUILT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield PureWasm(process, BUILT)
    finally:
        process.kill()
        process.communicate()


def _program(name: str, called: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise PureWasmError(f"{called} is not installed")
    return path


def _install() -> None:
    """Installs what `wasm/` asks for, where that is not done."""
    lock = BUILT / FILES[-1]
    if not lock.exists() or lock.read_bytes() != (SOURCE / FILES[-1]).read_bytes():
        npm = _program("npm", "npm")
        shutil.rmtree(BUILT, ignore_errors=True)
        BUILT.mkdir()
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, BUILT, ignore_errors=True)
            for name in (FILES[0], FILES[-1]):
                shutil.copy(SOURCE / name, BUILT / name)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(command, cwd=BUILT, capture_output=True, text=True, check=False)
            if done.returncode:
                words = [*(done.stderr or done.stdout).strip().splitlines(), "it does not say why"]
                first = words[0].removeprefix("npm error ")
                raise PureWasmError(f"npm could not install onnxruntime-web: {first}")
            undo.pop_all()
    shutil.copy(SOURCE / "run.mjs", BUILT / "run.mjs")
