# SPDX-License-Identifier: Apache-2.0
"""One context of a language model: a prompt and options in, text and its measures out.

A sequence begins with the first compute after a prompt or options were set, or after `fini_single`. The
token that was drawn last is decoded only when the next one is wanted: so the text may be one token longer
than the context has room for, and nothing is decoded that nobody reads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wasinn.backends.base import Usage
from wasinn.backends.llama_chat import chat_prompt
from wasinn.backends.llama_context import LEAST_CONTEXT, MAX_PAIRS, LlamaContext, Shape, default_threads, full
from wasinn.backends.llama_embedding import embed
from wasinn.backends.llama_library import ggml_commit, library
from wasinn.backends.llama_options import DEFAULT_BATCH, DEFAULT_CONTEXT, Options
from wasinn.backends.llama_sampling import Sampler
from wasinn.backends.llama_text import Text
from wasinn.errors import WasiNNError, invalid_argument, runtime_error, unsupported
from wasinn.spec import ErrorCode, TensorType
from wasinn.tensors import Tensor

if TYPE_CHECKING:
    from wasinn.backends.llama_graph import LlamaGraph

#: The ports of every graph: input 0 and 1, output 0 and 1.
PROMPT, OPTIONS = 0, 1
TEXT, METADATA = 0, 1


@dataclass
class _Sequence:
    """What is being written. `ended` is why no token follows: the error that says so to the guest."""

    sampler: Sampler
    text: Text
    written: int = 0
    pending: int | None = None  # drawn, and not yet decoded
    ended: WasiNNError | None = None

    def close(self) -> None:
        self.sampler.close()


class LlamaExecution:
    """See the head of this file. `Streaming` and `Interruptible` (backends/base.py)."""

    def __init__(self, graph: LlamaGraph) -> None:
        self._model = graph.model
        self._graph = graph
        self._options = graph.options
        self._prompt: bytes | None = None
        self._tokens: Sequence[int] = ()
        #: Why the prompt does not fit into the context, where it does not.
        self._too_long: str | None = None
        self._context: LlamaContext | None = None
        self._shape: Shape | None = None
        self._sequence: _Sequence | None = None
        self._streaming = False
        self._answer: bytes | None = None  # output 0, once there is one
        self._piece = b""
        self._written = 0
        self._prompt_tokens = self._generated_tokens = 0
        self._generate_seconds = 0.0
        self._interrupted = False
        self._closed = False

    # -- inputs ---------------------------------------------------------------------------------------

    def set_input(self, index: int, tensor: Tensor) -> None:
        """The prompt is tokenised, and options are checked, at once."""
        data = bytes(tensor.data)
        if index == OPTIONS:
            options = self._graph.options.updated(data)
            self._graph.check(options)
            tokens, too_long = self._tokenize(self._prompt, options)
            self._options = options
        else:
            tokens, too_long = self._tokenize(data, self._options)
            self._prompt = data
        self._tokens, self._too_long = tokens, too_long
        self._begin_anew()

    def _tokenize(self, prompt: bytes | None, options: Options) -> tuple[Sequence[int], str | None]:
        """The tokens, and why they do not fit into the context; of a text that is much too long, none."""
        if prompt is None:
            return (), None
        size = self._context_size(options)
        most, text = self._model.most_bytes(size), prompt
        if options.chat is not False and len(text) <= most:
            text = chat_prompt(self._model, options.chat, prompt)
        if len(text) > most:
            return (), f"the prompt has {len(text)} bytes and the context room for {size} tokens"
        tokens = self._model.tokenize(text, options.add_special)
        if len(tokens) > size:
            return tokens, f"the prompt has {len(tokens)} tokens and the context {size}"
        return tokens, None

    def _begin_anew(self) -> None:
        if self._sequence is not None:
            self._sequence.close()
            self._sequence = None
        self._streaming = False
        self._answer, self._piece, self._written = None, b"", 0

    # -- computing ------------------------------------------------------------------------------------

    def compute(self) -> None:
        """Generates to the end of the text, to a stop sequence or to n-predict. Raises WasiNNError:
        context_full where the context ends first (the text so far can be read), prompt_too_long."""
        self._begin_anew()
        if self._options.embedding:
            self._embed()
            return
        sequence = self._start()
        try:
            while sequence.ended is None:
                self._advance(sequence)
        finally:
            # What is left is the text, and nothing to go on with.
            self._answer = sequence.text.text.encode()
            self._written = sequence.written
            sequence.close()
            self._sequence = None
        if sequence.ended.code is not ErrorCode.END_OF_SEQUENCE:
            raise sequence.ended

    def compute_single(self) -> None:
        if self._options.embedding:
            raise unsupported("options: embedding: an embedding comes whole: compute it, not token by token")
        if self._sequence is None:
            self._begin_anew()
            self._start()
            self._streaming = True
        sequence = self._sequence
        assert sequence is not None
        self._piece = b""
        if sequence.ended is not None:
            raise sequence.ended
        try:
            piece = self._advance(sequence)
        except WasiNNError as error:
            # The text so far can be read, and the next compute_single says the same.
            sequence.ended = error
            raise
        self._written = sequence.written
        self._piece = piece.encode()
        # What ends a text without adding to it is the end; what was held back comes first.
        if sequence.ended is not None and not piece:
            raise sequence.ended

    def fini_single(self) -> None:
        self._begin_anew()

    def _start(self) -> _Sequence:
        """Reads the prompt: the context is ready for the first token."""
        tokens = self._checked_tokens()
        options = self._options
        shape = self._wanted_shape()
        sequence = _Sequence(
            Sampler(self._model, options, shape.size, self._check_interrupt), Text(options.stop)
        )
        self._sequence = sequence
        try:
            context = self._opened(shape)
            context.clear()
            if not context.is_causal:
                raise unsupported(
                    "the model writes no text: it makes embeddings (set the option `embedding`)"
                )
            for batch in context.batches(tokens):
                self._check_interrupt()
                context.decode(batch)
            sequence.sampler.check(context.pointer)
            sequence.sampler.read(tokens)
        except BaseException:
            self._begin_anew()
            raise
        self._prompt_tokens += len(tokens)
        if options.n_predict == 0:
            sequence.ended = _end()
        return sequence

    def _checked_tokens(self) -> Sequence[int]:
        if self._prompt is None:
            raise runtime_error("llama.cpp: there is no prompt: set input 0")
        if self._too_long is not None:
            raise WasiNNError(
                ErrorCode.PROMPT_TOO_LONG, f"{self._too_long}: shorten it, or set a larger ctx-size"
            )
        if not self._tokens:
            raise invalid_argument("the prompt is empty, and the model has no token that begins a text")
        return self._tokens

    def _advance(self, sequence: _Sequence) -> str:
        """One token: the piece of text that it completes. Sets `ended` where none follows."""
        self._check_interrupt()
        context, model = self._context, self._model
        assert context is not None
        began = time.perf_counter()
        if sequence.pending is not None:
            if context.used >= context.size:
                sequence.ended = full(context.size)
                return sequence.text.finish()
            context.decode_one(sequence.pending)
        token = sequence.sampler.next(context.pointer)
        data = None if token is None else model.piece(token)
        if data is None:
            sequence.ended = _end()
            return sequence.text.finish()
        sequence.pending = token
        sequence.written += 1
        piece = sequence.text.add(data)
        if sequence.text.stopped or sequence.written == self._options.n_predict:
            sequence.ended = _end()
            piece += sequence.text.finish()
        self._generated_tokens += 1
        self._generate_seconds += time.perf_counter() - began
        return piece

    def _embed(self) -> None:
        tokens = self._checked_tokens()
        vector = embed(self._model, tokens, self._wanted_shape(), self._embedding_context)
        self._prompt_tokens += len(tokens)
        found = {"n_embedding": len(vector), "embedding": [float(each) for each in vector]}
        self._answer = json.dumps(found).encode()

    def _check_interrupt(self) -> None:
        if self._interrupted:
            raise runtime_error("llama.cpp: interrupted")

    # -- the native context ---------------------------------------------------------------------------

    def _wanted_shape(self) -> Shape:
        options = self._options
        size = self._context_size(options)
        own, own_reading = default_threads()
        most = self._graph.threads
        threads = min(options.threads or most or own, most or own_reading)
        reading = threads if options.threads or most else own_reading
        spares = not (options.threads or most)
        # What is computed at a time takes memory for each pair of its tokens and the context's.
        ubatch = min(options.ubatch_size, max(MAX_PAIRS // size, DEFAULT_BATCH))
        return Shape(size, options.batch_size, ubatch, threads, reading, spares)

    def _context_size(self, options: Options) -> int:
        """In tokens."""
        trained = self._model.trained_context
        if options.ctx_size is None:
            return min(trained, DEFAULT_CONTEXT)
        return min(options.ctx_size or trained, trained)

    @property
    def context_tokens(self) -> int:
        return max(self._context_size(self._options), LEAST_CONTEXT)

    def _opened(self, shape: Shape) -> LlamaContext:
        """The context of this execution, with the shape wanted."""
        if self._closed:
            raise runtime_error("llama.cpp: the context is closed")
        if self._context is None or self._shape != shape:
            self._close_context()
            self._context = LlamaContext(self._model, shape, self._options.log_level)
            self._shape = shape
            if self._interrupted:
                self._context.abort()
        return self._context

    def _embedding_context(self, shape: Shape) -> LlamaContext:
        self._check_interrupt()
        context = self._opened(shape)
        context.clear()
        return context

    def _close_context(self) -> None:
        context, self._context, self._shape = self._context, None, None
        if context is not None:
            context.close()

    def interrupt(self) -> None:
        self._interrupted = True
        context = self._context
        if context is not None:
            context.abort()

    def close(self) -> None:
        self._closed = True
        self._begin_anew()
        self._close_context()

    # -- outputs --------------------------------------------------------------------------------------

    @property
    def usage(self) -> Usage:
        return Usage(self._prompt_tokens, self._generated_tokens, self._generate_seconds)

    def is_ready(self, index: int) -> bool:
        if index == METADATA:
            return self._prompt is not None
        return self._answer is not None or self._streaming

    def output(self, index: int) -> Tensor:
        if not self.is_ready(index):
            raise runtime_error("llama.cpp: there is no text yet: compute first")
        if index == METADATA:
            return _bytes(self._metadata())
        if self._sequence is not None:
            return _bytes(self._sequence.text.text.encode())
        return _bytes(self._answer or b"")

    def output_single(self, index: int) -> Tensor:
        if index == METADATA:
            return self.output(index)
        if not self._streaming:
            raise runtime_error("llama.cpp: there is no piece of text yet: compute_single first")
        return _bytes(self._piece)

    def _metadata(self) -> bytes:
        return json.dumps(
            {
                "input_tokens": len(self._tokens),
                "output_tokens": self._written,
                "llama_build_number": 0,  # the library does not tell it
                "llama_commit": ggml_commit(),
                "llama_version": library().llama_version().decode("utf-8", "replace"),
            }
        ).encode()


def _end() -> WasiNNError:
    return WasiNNError(ErrorCode.END_OF_SEQUENCE, "the text is at its end")


def _bytes(data: bytes) -> Tensor:
    return Tensor((len(data),), TensorType.U8, memoryview(data))
