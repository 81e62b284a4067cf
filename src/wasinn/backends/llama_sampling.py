# SPDX-License-Identifier: Apache-2.0
"""Which token comes next: llama.cpp's samplers, set up as the options say.

The order is the common one: grammar, penalties, top-k, typical, top-p, min-p, temperature, and a draw.

A grammar can come to where no token of the model goes on, and llama.cpp's own loop then takes a token
that the grammar refuses, and ends the process over it. So with a grammar the candidates are looked at
here before one is drawn. A grammar is also parsed by recursion, and its errors, with all of its text, go
straight to stderr: hence the limit on its depth, and stderr turned aside while it is read.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from wasinn.backends.common import one_line
from wasinn.backends.llama_grammar import Unbounded, check_bounded
from wasinn.backends.llama_library import in_words, library, listening
from wasinn.backends.llama_model import LlamaModel, Native
from wasinn.backends.llama_options import MAX_GRAMMAR, Options
from wasinn.errors import invalid_argument, runtime_error, unsupported

#: How deep the parentheses of a grammar may be nested.
MAX_DEPTH = 200

#: Most repetitions in a JSON schema, all that are nested multiplied; each becomes text of the grammar.
MAX_REPETITIONS = 2000

#: A temperature below this is 0: the likeliest token.
_COLD = 1e-3

#: Candidates that a grammar looks at before an interrupt is heard, at first; and the seconds after which
#: they become fewer.
_FIRST_PART, _SLOW = 64, 0.05

#: llama.h, struct llama_token_data.
_CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])

#: The address of the logits as NumPy reads them.
_Logits = ctypes.POINTER(ctypes.c_float)


class Sampler:
    """Draws the tokens of one sequence. `context` is the pointer of a llama_context that has decoded."""

    def __init__(
        self, model: LlamaModel, options: Options, context_size: int, check_interrupt: Callable[[], None]
    ) -> None:
        """`check_interrupt` raises what ends a draw that takes long."""
        self._model = model
        self._check_interrupt = check_interrupt
        grammar = grammar_of(options)
        self._grammar = _grammar_sampler(model, grammar) if grammar else None
        self._chain = _chain(model, options, context_size)
        self._sample = library().llama_sampler_sample
        self._candidates: Any = None

    def read(self, tokens: Sequence[int]) -> None:
        """Tells the penalties what the prompt has."""
        accept, chain = library().llama_sampler_accept, self._chain.pointer
        for token in tokens:
            accept(chain, token)

    def next(self, context: Any) -> int | None:
        """The next token; None where a grammar is complete and the model has no token for an end."""
        if self._grammar is None:
            token: int = self._sample(self._chain.pointer, context, -1)
            return token
        return self._next_by_grammar(context)

    def check(self, context: Any) -> None:
        """That the model computes numbers. Raises WasiNNError: else any token would be drawn."""
        if np.isnan(self._logits(context)).any():
            raise runtime_error("the model computes numbers that are none (NaN): is its file damaged?")

    def _logits(self, context: Any) -> Any:
        """The scores of all tokens: a view that is good until the next decoding."""
        address = ctypes.cast(library().llama_get_logits_ith(context, -1), _Logits)
        if not address:
            raise runtime_error("llama.cpp: there are no logits")
        return np.ctypeslib.as_array(address, (self._model.tokens,))

    def _next_by_grammar(self, context: Any) -> int | None:
        llama = library()
        assert self._grammar is not None
        count = self._model.tokens
        if self._candidates is None:
            self._candidates = np.zeros(count, _CANDIDATE)
        candidates = self._candidates
        candidates["id"] = np.arange(count, dtype=np.int32)
        candidates["logit"] = self._logits(context)
        self._apply_grammar(self._grammar, candidates)
        array = _token_array(candidates)
        allowed = candidates["logit"] > -np.inf
        if not allowed.any():
            if not self._model.has_end:
                return None
            raise runtime_error("the grammar allows what no token of the model can begin: it cannot go on")
        llama.llama_sampler_apply(self._chain.pointer, ctypes.byref(array))
        if not 0 <= array.selected < array.size:
            raise runtime_error("llama.cpp: no token was drawn")
        token: int = array.data[array.selected].id
        if not allowed[token]:
            raise runtime_error("llama.cpp drew a token that the grammar does not allow")
        llama.llama_sampler_accept(self._grammar.pointer, token)
        llama.llama_sampler_accept(self._chain.pointer, token)
        return token

    def _apply_grammar(self, grammar: Native, candidates: Any) -> None:
        """Part by part, as a grammar with many readings may take a second for a hundred tokens."""
        apply, clock = library().llama_sampler_apply, time.perf_counter
        start, size = 0, _FIRST_PART
        while start < len(candidates):
            self._check_interrupt()
            began = clock()
            apply(grammar.pointer, ctypes.byref(_token_array(candidates[start : start + size])))
            start += size
            taken = clock() - began
            size = max(size // 4, 1) if taken > _SLOW else size * 4 if taken < _SLOW / 8 else size

    def close(self) -> None:
        self._chain.free()
        if self._grammar is not None:
            self._grammar.free()


def _token_array(candidates: Any) -> Any:
    """`candidates` as llama.cpp takes them, where they are."""
    llama = library()
    array = llama.llama_token_data_array()
    array.data = ctypes.cast(candidates.ctypes.data, ctypes.POINTER(llama.llama_token_data))
    array.size, array.selected, array.sorted = len(candidates), -1, False
    return array


def _chain(model: LlamaModel, options: Options, context_size: int) -> Native:
    llama = library()
    params = llama.llama_sampler_chain_default_params()
    params.no_perf = True
    chain = llama.llama_sampler_chain_init(params)

    def add(sampler: Any) -> None:
        llama.llama_sampler_chain_add(chain, sampler)

    last = context_size if options.repeat_last_n < 0 else min(options.repeat_last_n, context_size)
    penalties = (options.repeat_penalty, options.frequency_penalty, options.presence_penalty)
    if last and penalties != (1.0, 0.0, 0.0):
        add(llama.llama_sampler_init_penalties(model.tokens, last, *penalties))
    if options.temp < _COLD:
        add(llama.llama_sampler_init_greedy())
        return Native(chain, llama.llama_sampler_free, model)
    if options.top_k > 0:
        add(llama.llama_sampler_init_top_k(min(options.top_k, model.tokens)))
    if options.typical_p < 1:
        add(llama.llama_sampler_init_typical(options.typical_p, 1))
    if options.top_p < 1:
        add(llama.llama_sampler_init_top_p(options.top_p, 1))
    if options.min_p > 0:
        add(llama.llama_sampler_init_min_p(options.min_p, 1))
    add(llama.llama_sampler_init_temp(options.temp))
    seed = options.seed if options.seed is not None else secrets.randbelow((1 << 32) - 1)
    add(llama.llama_sampler_init_dist(seed))
    return Native(chain, llama.llama_sampler_free, model)


# -- grammars -----------------------------------------------------------------------------------------


def grammar_of(options: Options) -> str:
    """The grammar (GBNF) that the options ask for; "" for none. Raises WasiNNError (invalid_argument)."""
    if options.grammar:
        _check_depth("grammar", options.grammar)
        return options.grammar
    if not options.json_schema:
        return ""
    grammar = _from_schema(options.json_schema)
    if len(grammar) > 8 * MAX_GRAMMAR:
        raise invalid_argument(f"options: json-schema: its grammar has {len(grammar)} characters: too many")
    _check_depth("json-schema: its grammar", grammar)
    return grammar


def check_grammar(model: LlamaModel, options: Options) -> None:
    """That the options' grammar is one. Raises WasiNNError (invalid_argument) with llama.cpp's words."""
    grammar = grammar_of(options)
    if grammar:
        _grammar_sampler(model, grammar).free()


def check_guests_grammar(options: Options) -> None:
    """That no call of llama.cpp can take any time and memory over the options' grammar. Raises WasiNNError
    (unsupported_operation)."""
    grammar = grammar_of(options)
    if options.json_schema:
        # The rules for any JSON at all come back to themselves, and have one reading only.
        grammar = "\n".join(line for line in grammar.split("\n") if line not in _any_json())
    try:
        check_bounded(grammar)
    except Unbounded as error:
        key = "grammar" if options.grammar else "json-schema: its grammar"
        raise unsupported(
            f"options: {key}: {error}; from a guest, such a one is for graphs with isolation=process only: "
            "llama.cpp may need any time and memory for it, and nothing ends that but its process's end"
        ) from None


@functools.cache
def _any_json() -> frozenset[str]:
    """The lines of a schema's grammar that stand for any value, object and array."""
    lines = _from_schema("{}").split("\n") + _from_schema('{"type": "object"}').split("\n")
    lines += _from_schema('{"type": "array"}').split("\n")
    return frozenset(line for line in lines if line.split(" ")[0] in ("value", "object", "array"))


def _check_depth(key: str, grammar: str) -> None:
    depth = 0
    for token in _NESTING.finditer(grammar):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            raise invalid_argument(f"options: {key}: parentheses are nested deeper than {MAX_DEPTH}")


#: What parentheses do not count in (literals, classes of characters, comments), and parentheses.
_NESTING = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*|[()]', re.DOTALL)


def _from_schema(schema: str) -> str:
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    try:
        parsed = json.loads(schema)
        _check_repetitions(parsed, 1)
        grammar: str = json_schema_to_gbnf(schema)
    except Exception as error:
        # The converter's own checks are assertions, KeyErrors and the like.
        if type(error).__module__.startswith("wasinn"):
            raise
        reason = one_line(error) or type(error).__name__
        raise invalid_argument(f"options: json-schema: it cannot become a grammar: {reason}") from error
    return grammar


def _check_repetitions(schema: Any, times: int) -> None:
    if isinstance(schema, list):
        for each in schema:
            _check_repetitions(each, times)
        return
    if not isinstance(schema, dict):
        return
    counts = [schema.get(key) for key in ("minItems", "maxItems", "minLength", "maxLength")]
    own = max((each for each in counts if isinstance(each, int)), default=1)
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        for number in re.findall(r"(?<=[{,])\s*(\d+)", pattern):
            own *= max(int(number), 1)
    times *= max(own, 1)
    if times > MAX_REPETITIONS:
        raise invalid_argument(
            f"options: json-schema: more than {MAX_REPETITIONS} repetitions (minItems, maxItems, minLength, "
            "maxLength and {...} in a pattern, multiplied where they are nested)"
        )
    for each in schema.values():
        _check_repetitions(each, times)


def _grammar_sampler(model: LlamaModel, grammar: str) -> Native:
    llama = library()
    with listening() as errors, _stderr_aside() as said:
        pointer = llama.llama_sampler_init_grammar(model.vocab, grammar.encode(), b"root")
    if not pointer:
        reason = one_line(said[0], 200) if said else in_words(errors, "llama.cpp could not parse it")
        raise invalid_argument(f"options: grammar: {reason}")
    return Native(pointer, llama.llama_sampler_free, model)


_aside = threading.Lock()

#: What llama.cpp writes to stderr before the reason, a line of its own, and the grammar.
_PARSE_ERROR = b"parse: error parsing grammar: "


@contextlib.contextmanager
def _stderr_aside() -> Iterator[list[str]]:
    """Takes a grammar's error from what is written to stderr meanwhile: it is in the list afterwards."""
    lines: list[str] = []
    with _aside, tempfile.TemporaryFile() as kept:
        try:
            saved = os.dup(2)
        except OSError:  # there is no stderr
            yield lines
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            kept.seek(0)
            others, mark, words = kept.read().partition(_PARSE_ERROR)
            os.write(2, others)
            if mark:
                lines.append(words.decode("utf-8", "replace").partition("\n")[0])
