# SPDX-License-Identifier: Apache-2.0
"""A context of llama.cpp: the state of one sequence, into which tokens are decoded."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wasinn.backends.llama_library import abort_when_set, in_words, library, listening, swap_listener
from wasinn.backends.llama_model import LlamaModel, Native
from wasinn.errors import WasiNNError, runtime_error
from wasinn.spec import ErrorCode

#: `llama_decode`: no room for the batch, and ended by the abort callback.
_NO_ROOM, _ABORTED = 1, 2

#: The fewest tokens that a context has memory for.
LEAST_CONTEXT = 256

#: Pairs of a token that is computed and one of the context, of those computed at a time.
MAX_PAIRS = 1 << 22

#: Below so many products of a number of the model and a token, one thread computes (some 10 ms of it). The
#: threads wait for each other by spinning, some thirty times a layer: where another process has one of
#: their cores, each wait may take a slice of the scheduler's.
_FEW_PRODUCTS = 2e8


@dataclass(frozen=True)
class Shape:
    """What a context is made for. `size` is in tokens (the library rounds it up to 256s; `LlamaContext`
    keeps to it). `spares_threads`: whether what is soon computed is left to one thread. `pooling` is None
    where the context writes text, else how the library is to make one vector of the tokens' (llama.h, enum
    llama_pooling_type)."""

    size: int
    batch: int
    ubatch: int
    threads: int
    prompt_threads: int
    spares_threads: bool = False
    pooling: int | None = None


def default_threads() -> tuple[int, int]:
    """How many threads write a token, and how many read a prompt: as llama-cpp-python chooses them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // 2, 1), cores


class LlamaContext:
    """Used by one thread at a time, but for `abort`."""

    def __init__(self, model: LlamaModel, shape: Shape, level: int | None = None) -> None:
        llama = library()
        self.size = shape.size
        self.used = 0  # tokens decoded so far
        self._model = model
        self._threads = (shape.threads, shape.prompt_threads) if shape.spares_threads else None
        self._batch_size = min(shape.batch, shape.size)
        self._flag = ctypes.create_string_buffer(2)
        params = llama.llama_context_default_params()
        params.n_ctx = shape.size
        params.n_batch = self._batch_size
        params.n_ubatch = min(shape.ubatch, self._batch_size)
        params.n_seq_max = 1
        self._one_threads = shape.threads
        if shape.spares_threads and model.parameters < _FEW_PRODUCTS:
            self._one_threads = 1
        params.n_threads = self._one_threads
        params.n_threads_batch = shape.prompt_threads
        params.no_perf = True
        if not model.offloaded:
            # As llama-cpp-python has it, whose numbers are to be the same; a GPU's choice is the library's.
            params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if shape.pooling is not None:
            params.embeddings = True
            params.pooling_type = shape.pooling
        elif hasattr(params, "n_outputs_max"):
            params.n_outputs_max = 1  # the logits of one token are wanted, not room for those of a batch
        params.abort_callback = _abort()
        params.abort_callback_data = ctypes.addressof(self._flag)
        with listening(level) as errors:
            pointer = llama.llama_init_from_model(model.pointer, params)
        if not pointer:
            reason = in_words(errors, "llama.cpp gave no reason (is there memory for it?)")
            raise runtime_error(f"llama.cpp could not make a context of {shape.size} tokens: {reason}")
        self._native = Native(pointer, llama.llama_free, (model, self._flag))
        self.pointer = pointer
        self._memory = llama.llama_get_memory(pointer)
        self._level = level
        self._one = (llama.llama_token * 1)()
        self._batch_of_one = llama.llama_batch_get_one(self._one, 1)
        self._decode = llama.llama_decode

    @property
    def is_causal(self) -> bool:
        """Whether a token depends on those before it only, so that they can come in batches."""
        return bool(self._memory) and bool(library().llama_get_causal_attn(self.pointer))

    @property
    def pooling(self) -> int:
        found: int = library().llama_pooling_type(self.pointer)
        return found

    def batches(self, tokens: Sequence[int]) -> list[Sequence[int]]:
        return [tokens[start : start + self._batch_size] for start in range(0, len(tokens), self._batch_size)]

    def decode(self, tokens: Sequence[int]) -> None:
        """Adds at most a batch of tokens. Raises WasiNNError: context_full, or runtime_error with
        llama.cpp's reason."""
        if self.used + len(tokens) > self.size:
            raise full(self.size)
        llama = library()
        if self._threads is not None and max(self._threads) > 1:
            few = self._model.parameters * len(tokens) < _FEW_PRODUCTS
            llama.llama_set_n_threads(self.pointer, self._one_threads, 1 if few else self._threads[1])
        array = (llama.llama_token * len(tokens))(*tokens)
        self._run(llama.llama_batch_get_one(array, len(tokens)), len(tokens))

    def decode_one(self, token: int) -> None:
        """`decode` of one token, as fast as can be."""
        if self.used >= self.size:
            raise full(self.size)
        self._one[0] = token
        self._run(self._batch_of_one, 1)

    def _run(self, batch: Any, count: int) -> None:
        errors: list[str] = []
        before = swap_listener((self._level, errors))
        try:
            status = self._decode(self.pointer, batch)
        finally:
            swap_listener(before)
        if status == 0:
            self.used += count
            return
        if status == _NO_ROOM:
            raise full(self.size)
        if status == _ABORTED:
            raise runtime_error("llama.cpp: interrupted")
        raise runtime_error(f"llama.cpp: {in_words(errors, f'decoding failed with {status}')}")

    def clear(self) -> None:
        """Forgets the sequence."""
        if self._memory:
            library().llama_memory_clear(self._memory, False)
        self.used = 0

    def abort(self) -> None:
        """Ends the decoding that is under way, and every later one. From any thread."""
        self._flag[0] = b"\1"

    def close(self) -> None:
        self._native.free()
        self.pointer = self._memory = None


@functools.cache
def _abort() -> Any:
    return abort_when_set()


def full(size: int) -> WasiNNError:
    return WasiNNError(
        ErrorCode.CONTEXT_FULL,
        f"the context of {size} tokens is full: end the sequence, or set a larger ctx-size",
    )
