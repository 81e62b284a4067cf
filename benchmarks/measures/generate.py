# SPDX-License-Identifier: Apache-2.0
"""`generate`: the tokens of a language model through a guest against the native binding, llama-cpp-python.

The same file, one thread, the most likely token each time, the same number of tokens from the same prompt.
A guest reads the whole text at the end, or each piece as it comes; the binding's own generator gives the
tokens, and where they are streamed each is made text. What is timed is a sequence with its prompt; the result
is the ratio of the times of one token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

import wasinn
from measures.bed import BenchmarkError, in_thread
from measures.pairs import Block, Effort, Kind, Pair, Row, timed
from wasinn import shipped

MODELS = ("story", "story_f32")
#: The model goes on with it for ever.
PROMPT = "Round and round"
TOKENS = 400
#: 0.98 of the native tokens a second.
TARGET = 1 / 0.98

_GUEST = f"""(module
  (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "init_execution_context" (func $init (param i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "set_input" (func $input (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
  (import "wasi_ephemeral_nn" "get_output" (func $output (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "compute_single" (func $single (param i32) (result i32)))
  (import "wasi_ephemeral_nn" "get_output_single" (func $piece (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "fini_single" (func $fini (param i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "m")
  (data (i32.const 16) "{PROMPT}")
  (data (i32.const 64) "\\01\\00\\00\\00")
  ;; The tensor: dims at 64, one of them, u8, the prompt.
  (data (i32.const 96) "\\40\\00\\00\\00\\01\\00\\00\\00\\03\\00\\00\\00")
  (data (i32.const 108) "\\10\\00\\00\\00\\{len(PROMPT):02x}\\00\\00\\00")
  (global $context (mut i32) (i32.const 0))
  (func (export "open") (result i32) (local $code i32)
    (local.set $code (call $load (i32.const 0) (i32.const 1) (i32.const 128)))
    (if (local.get $code) (then (return (local.get $code))))
    (local.set $code (call $init (i32.load (i32.const 128)) (i32.const 132)))
    (global.set $context (i32.load (i32.const 132)))
    (if (local.get $code) (then (return (local.get $code))))
    (call $input (global.get $context) (i32.const 0) (i32.const 96)))
  ;; Generates to the end, and reads the text: how many bytes it has, or the errno below 0.
  (func (export "whole") (result i32) (local $code i32)
    (local.set $code (call $compute (global.get $context)))
    (if (i32.eqz (local.get $code)) (then
      (local.set $code (call $output (global.get $context) (i32.const 0)
                             (i32.const 65536) (i32.const 24576) (i32.const 136)))))
    (if (local.get $code) (then (return (i32.sub (i32.const 0) (local.get $code)))))
    (i32.load (i32.const 136)))
  ;; The same, token by token; each piece is read.
  (func (export "stream") (result i32) (local $code i32) (local $size i32)
    (block $end (loop $tokens
      (local.set $code (call $single (global.get $context)))
      (br_if $end (local.get $code))
      (local.set $code (call $piece (global.get $context) (i32.const 0)
                             (i32.add (i32.const 65536) (local.get $size)) (i32.const 4096) (i32.const 136)))
      (br_if $end (local.get $code))
      (local.set $size (i32.add (local.get $size) (i32.load (i32.const 136))))
      (br $tokens)))
    (drop (call $fini (global.get $context)))
    (if (i32.ne (local.get $code) (i32.const 100)) (then
      (return (i32.sub (i32.const 0) (local.get $code)))))
    (local.get $size)))
"""


def measure(effort: Effort) -> list[Row]:
    return in_thread(lambda: [row for name in MODELS for row in _rows(name, effort)])


def _rows(name: str, effort: Effort) -> list[Row]:
    from llama_cpp import Llama

    path = str(shipped.ROOT / "models" / f"{name}.gguf")
    native = Llama(path, n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False)
    options = f"threads=1&temp=0&repeat-penalty=1&ctx-size=512&n-predict={TOKENS}"
    host = wasinn.Host(graphs={"m": f"ggml:{path}?{options}"})
    text = b"".join(_native(native))
    calls, rows = effort.calls(4), []
    with host.instantiate(_GUEST.encode()) as guest:
        if guest.call("open"):
            raise BenchmarkError(f"{name} cannot be opened")
        for call in ("whole", "stream"):
            if guest.call(call) != len(text) or guest.memory[65536 : 65536 + len(text)] != text:
                raise BenchmarkError(f"{name}: the guest's text ({call}) is not llama-cpp-python's")
            reference = _native if call == "stream" else _most
            pairs = []
            for _ in range(effort.rounds):
                native_block = timed(partial(_exhaust, reference, native), calls, 1)
                guest_block = timed(partial(guest.call, call), calls, 1)
                pairs.append(Pair(_per_token(native_block), _per_token(guest_block)))
            rows.append(
                Row(f"token, {name}, {call}", "guest", "llama-cpp-python", Kind.RATIO, TARGET, tuple(pairs))
            )
    native.close()
    return rows


def _tokens(native: Any) -> Any:
    return native.generate(native.tokenize(PROMPT.encode(), special=True), temp=0.0, repeat_penalty=1.0)


def _most(native: Any) -> Any:
    return islice(_tokens(native), TOKENS)


def _exhaust(generate: Callable[[Any], Iterable[Any]], native: Any) -> None:
    for _ in generate(native):
        pass


def _native(native: Any) -> Any:
    """The pieces of the text, as bytes."""
    for token in _most(native):
        yield native.detokenize([token], special=True)


def _per_token(block: Block) -> Block:
    return Block(block.median / TOKENS, block.minimum / TOKENS)
