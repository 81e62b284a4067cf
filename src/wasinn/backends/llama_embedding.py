# SPDX-License-Identifier: Apache-2.0
"""One vector for a text.

A model whose tokens see only those before them reads a text of any length batch by batch, and its
vectors are pooled here: the library pools within a batch only. One whose tokens see all others (BERT and
its like) must have the whole text in one batch, and the library pools.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wasinn.backends.llama_context import LlamaContext, Shape
from wasinn.backends.llama_library import library
from wasinn.backends.llama_model import LlamaModel
from wasinn.errors import runtime_error

#: llama.h, enum llama_pooling_type.
_UNSPECIFIED, _NONE, _MEAN, _CLS, _LAST, _RANK = -1, 0, 1, 2, 3, 4

#: Texts whose tokens are as many, in such steps, share a context.
_STEP = 256

Open = Callable[[Shape], LlamaContext]


def embed(model: LlamaModel, tokens: Sequence[int], shape: Shape, opened: Open) -> Any:
    """The vector (f32 [n], of length 1) of `tokens`, which fit into the context.

    How the tokens' vectors become one is the model's choice, and their mean where it has none. `opened`
    makes the context that is computed in.
    """
    if model.embedding_kind is None:
        probe = opened(replace(shape, pooling=_UNSPECIFIED))
        model.embedding_kind = (probe.is_causal, probe.pooling)
    is_causal, pooling = model.embedding_kind
    if is_causal and pooling in (_NONE, _MEAN, _CLS, _LAST):
        return _normalised(_pooled(model, opened(replace(shape, pooling=_NONE)), tokens, pooling))
    llama = library()
    # All in one batch: its memory grows with the square of that, so it has no more room than it needs.
    size = min(shape.size, -(-len(tokens) // _STEP) * _STEP)
    context = opened(replace(shape, size=size, batch=size, ubatch=size, pooling=pooling or _MEAN))
    context.decode(tokens)
    found = llama.llama_get_embeddings_seq(context.pointer, 0)
    if pooling == _RANK:  # a score for each class, in the place of a vector
        return _vector(found, llama.llama_model_n_cls_out(model.pointer)).astype(np.float32)
    return _normalised(_vector(found, llama.llama_model_n_embd_out(model.pointer)))


def _pooled(model: LlamaModel, context: LlamaContext, tokens: Sequence[int], pooling: int) -> Any:
    llama = library()
    size = llama.llama_model_n_embd_out(model.pointer)
    total = np.zeros(size, np.float64)
    for number, batch in enumerate(context.batches(tokens)):
        context.decode(batch)
        if pooling == _LAST:
            total = _vector(llama.llama_get_embeddings_ith(context.pointer, -1), size)
        elif pooling == _CLS:
            if number == 0:
                total = _vector(llama.llama_get_embeddings_ith(context.pointer, 0), size)
        else:
            for index in range(len(batch)):
                total += _vector(llama.llama_get_embeddings_ith(context.pointer, index), size)
    return total / len(tokens) if pooling in (_NONE, _MEAN) else total


def _vector(pointer: Any, size: int) -> Any:
    address = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float))
    if not address:
        raise runtime_error("llama.cpp: the model gave no embedding")
    return np.ctypeslib.as_array(address, (size,)).astype(np.float64)


def _normalised(vector: Any) -> Any:
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length):
        raise runtime_error("llama.cpp: the embedding has numbers that are none")
    return (vector / length if length else vector).astype(np.float32)
