# SPDX-License-Identifier: Apache-2.0
"""Tiny language models with random weights, written as GGUF (ggml's docs/gguf.md) by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

#: Sizes: vectors, heads, layers, the inner layer, the context.
WIDTH, HEADS, LAYERS, INNER, CONTEXT = 64, 4, 2, 128, 512

#: Types of values: u32, i32, f32, bool, string, array.
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9

#: Kinds of tokens: normal, unknown, control, byte.
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6

WORDS = ["▁the", "▁a", "▁cat", "▁dog", "▁ran", "▁sat", "▁on", "▁and", "▁hello", "▁world", "▁"]
LETTERS = [chr(code) for code in range(97, 123)]

CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}{% endfor %}"
)


def tiny(
    seed: int = 0,
    extra: Mapping[str, tuple[int, Any]] | None = None,
    bytes_only: bool = False,
    layers: int = LAYERS,
) -> bytes:
    """A model of the architecture `llama` that takes and gives bytes and a few words. `extra`: further
    keys, each with its type. `bytes_only`: it prefers bytes to words."""
    numbers = np.random.RandomState(seed)
    words = WORDS + LETTERS
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(words)]
    scores = [0.0] * 259 + [-float(index + 1) for index in range(len(words))]
    keys: dict[str, tuple[int, Any]] = {
        "general.architecture": (_STRING, "llama"),
        "general.name": (_STRING, "tiny"),
        "llama.context_length": (_U32, CONTEXT),
        "llama.embedding_length": (_U32, WIDTH),
        "llama.block_count": (_U32, layers),
        "llama.feed_forward_length": (_U32, INNER),
        "llama.attention.head_count": (_U32, HEADS),
        "llama.attention.head_count_kv": (_U32, HEADS),
        "llama.attention.layer_norm_rms_epsilon": (_F32, 1e-5),
        "llama.rope.dimension_count": (_U32, WIDTH // HEADS),
        "tokenizer.ggml.model": (_STRING, "llama"),
        "tokenizer.ggml.tokens": (_ARRAY, (_STRING, tokens)),
        "tokenizer.ggml.scores": (_ARRAY, (_F32, scores)),
        "tokenizer.ggml.token_type": (_ARRAY, (_I32, kinds)),
        "tokenizer.ggml.bos_token_id": (_U32, 1),
        "tokenizer.ggml.eos_token_id": (_U32, 2),
        "tokenizer.ggml.unknown_token_id": (_U32, 0),
        "tokenizer.ggml.add_bos_token": (_BOOL, True),
        **(extra or {}),
    }

    def some(*shape: int) -> Any:
        return (numbers.randn(*shape) * 0.3).astype("<f4")

    ones = np.ones(WIDTH, "<f4")
    tensors = {"token_embd.weight": some(len(tokens), WIDTH)}
    for layer in range(layers):
        block = f"blk.{layer}."
        tensors[block + "attn_norm.weight"] = tensors[block + "ffn_norm.weight"] = ones
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"{block}{part}.weight"] = some(WIDTH, WIDTH)
        tensors[block + "ffn_gate.weight"] = some(INNER, WIDTH)
        tensors[block + "ffn_up.weight"] = some(INNER, WIDTH)
        tensors[block + "ffn_down.weight"] = some(WIDTH, INNER)
    tensors["output_norm.weight"] = ones
    output = some(len(tokens), WIDTH)
    if bytes_only:
        output[:3] = output[259:] = 0
    else:
        output[:259] *= 0.05
    tensors["output.weight"] = output
    return write(keys, tensors)


def byte_pairs(words: str = "smollm") -> bytes:
    """`tiny` with a vocabulary as GPT-2 has it: 256 characters that stand for bytes, and hardly a pair.
    `words` names the regular expressions that split text into words."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    characters = [chr(byte if byte in shown else 256 + others.index(byte)) for byte in range(256)]
    tokens = ["<s>", "</s>", *characters]
    tokens += [f"never {number}" for number in range(259 + len(WORDS + LETTERS) - len(tokens))]
    return tiny(
        extra={
            "tokenizer.ggml.model": (_STRING, "gpt2"),
            "tokenizer.ggml.pre": (_STRING, words),
            "tokenizer.ggml.tokens": (_ARRAY, (_STRING, tokens)),
            "tokenizer.ggml.token_type": (_ARRAY, (_I32, [_CONTROL] * 2 + [_NORMAL] * (len(tokens) - 2))),
            "tokenizer.ggml.merges": (_ARRAY, (_STRING, ["t h", "a b"])),
            "tokenizer.ggml.bos_token_id": (_U32, 0),
            "tokenizer.ggml.eos_token_id": (_U32, 1),
        }
    )


def write(keys: Mapping[str, tuple[int, Any]], tensors: Mapping[str, Any]) -> bytes:
    """A GGUF file of version 3; tensors as f32, at multiples of 32 bytes."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for key, (kind, value) in keys.items():
        head += _string(key) + struct.pack("<I", kind) + _value(kind, value)
    position, data = 0, b""
    for name, tensor in tensors.items():
        dims = tensor.shape[::-1]
        head += _string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        head += struct.pack("<IQ", 0, position)
        part = tensor.tobytes()
        data += part + bytes(-len(part) % 32)
        position = len(data)
    return head + bytes(-len(head) % 32) + data


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(kind: int, value: Any) -> bytes:
    if kind == _ARRAY:
        inner, items = value
        return struct.pack("<IQ", inner, len(items)) + b"".join(_value(inner, item) for item in items)
    if kind == _STRING:
        return _string(value)
    return struct.pack({_U32: "<I", _I32: "<i", _F32: "<f", _BOOL: "<?"}[kind], value)


def template(text: str = CHATML) -> Mapping[str, tuple[int, Any]]:
    return {"tokenizer.chat_template": (_STRING, text)}


def seeing_all() -> Mapping[str, tuple[int, Any]]:
    """Every token depends on all others, as in BERT."""
    return {"llama.attention.causal": (_BOOL, False), "llama.pooling_type": (_U32, 1)}


def pooled(kind: int) -> Mapping[str, tuple[int, Any]]:
    return {"llama.pooling_type": (_U32, kind)}
