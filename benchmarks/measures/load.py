# SPDX-License-Identifier: Apache-2.0
"""`load`: a guest loads the bytes of the SqueezeNet-size model, against `InferenceSession(bytes)`.

Both have onnxruntime's default options, threads included: those are what a guest's `load` gets. The
bytes lie in the guest's memory before the clock starts, and what was loaded goes after it stopped.
"""

from __future__ import annotations

import time

import wasmtime

import wasinn
from measures.bed import BenchmarkError, in_thread, model_file, native_session
from measures.pairs import Block, Effort, Kind, Pair, Row

MODEL = "squeezenet"
HEAD = 64  # the builder's pointer and length, then the graph's handle, lie before the model
ONNX, CPU = 1, 0

#: A guest that does nothing but load what was put at HEAD.
GUEST = f"""
(module
  (import "wasi_ephemeral_nn" "load" (func $load (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 256)
  (func (export "load") (param $size i32) (result i32)
    (i32.store (i32.const 0) (i32.const {HEAD}))
    (i32.store (i32.const 4) (local.get $size))
    (call $load (i32.const 0) (i32.const 1) (i32.const {ONNX}) (i32.const {CPU}) (i32.const 8))))
"""


def measure(effort: Effort) -> list[Row]:
    return in_thread(lambda: [_measure(effort)])


def _measure(effort: Effort) -> Row:
    model = model_file(MODEL).read_bytes()
    host = wasinn.Host()
    guest = host.guest(bytes(wasmtime.wat2wasm(GUEST)))

    def load() -> float:
        with host.instantiate(guest) as instance:
            instance.memory[HEAD : HEAD + len(model)] = model
            start = time.perf_counter()
            code = instance.call("load", len(model))
            seconds = time.perf_counter() - start
            if code:
                raise BenchmarkError(f"load answered errno {code}")
            return seconds

    def native() -> float:
        start = time.perf_counter()
        session = native_session(model, threads=None)
        seconds = time.perf_counter() - start
        del session
        return seconds

    load(), native()
    pairs = []
    for _ in range(max(5, effort.rounds)):
        pairs.append(Pair(_single(native()), _single(load())))
    return Row(f"load {MODEL}", "load in a guest", "InferenceSession", Kind.RATIO, None, tuple(pairs))


def _single(seconds: float) -> Block:
    return Block(seconds, seconds)
