# SPDX-License-Identifier: Apache-2.0
"""Language models: a prompt goes in, and text comes out piece by piece.

    with Graph.by_name("default") as graph, graph.context() as context:
        for piece in generate(context, "Once upon a time", {"temp": 0, "n-predict": 64}):
            print(piece, end="", flush=True)

Options are those of docs/language-models.md. The pieces come one by one where the world has
`wasinn:nn/streaming` (build_guest.py's LANGUAGE_MODEL); elsewhere all of the text is one piece.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import bindings
from .errors import ErrorCode, NnError, invalid
from .nn import Context, _call
from .tensor import Tensor, TensorType

# The inputs and outputs of a language model.
PROMPT, OPTIONS = 0, 1
TEXT, METADATA = 0, 1

Options = Mapping[str, Any]


class ContextFull(NnError):
    """The text so far is good, and there is no room for more (the option ctx-size)."""


class PromptTooLong(NnError):
    """The prompt alone has more tokens than there is room for."""


@dataclass(frozen=True)
class Usage:
    """How many tokens a prompt has, and how many were generated."""

    prompt_tokens: int
    generated_tokens: int


def message(role: str, content: str) -> dict[str, str]:
    """A part of a conversation, for the option `chat`: a list of what was said before the prompt, which is
    the user's next message. `role` is "system", "user" or "assistant"."""
    return {"role": role, "content": content}


def generate(context: Context, prompt: str, options: Options | None = None) -> Iterator[str]:
    """The text that follows the prompt, a token's at a time; a piece may be empty. The options hold for this
    text and, where it gives none, the next.

    Raises NnError at once for what the host refuses of the prompt and the options; then with the pieces
    ContextFull, PromptTooLong, or another NnError.
    """
    given = "" if options is None else _json(options)
    if not bindings.HAS_STREAMING:
        return _whole(context, prompt, given)
    _call("start", partial(bindings.streaming.start, context._open("start"), prompt, given))
    return _pieces(context)


def _pieces(context: Context) -> Iterator[str]:
    while True:
        step = _call("next", partial(bindings.streaming.next, context._open("next")))
        if isinstance(step, bindings.streaming.Step_Piece):
            yield step.value
        elif isinstance(step, bindings.streaming.Step_EndOfSequence):
            return
        elif isinstance(step, bindings.streaming.Step_ContextFull):
            raise ContextFull(ErrorCode.TOO_LARGE, step.value, "next")
        else:
            raise PromptTooLong(ErrorCode.TOO_LARGE, step.value, "next")


def _whole(context: Context, prompt: str, options: str) -> Iterator[str]:
    _compute(context, prompt, options)
    yield bytes(context.output(TEXT).data).decode("utf-8", "replace")


def _compute(context: Context, prompt: str, options: str) -> None:
    context.set_input(PROMPT, _text(prompt))
    if options:
        context.set_input(OPTIONS, _text(options))
    context.compute()


def usage(context: Context) -> Usage:
    """The tokens of the prompt that was given last, and of what was generated since. Raises NnError."""
    if bindings.HAS_STREAMING:
        text = _call("metadata", partial(bindings.streaming.metadata, context._open("metadata")))
    else:
        text = bytes(context.output(METADATA).data).decode("utf-8", "replace")
    found = json.loads(text)
    return Usage(int(found.get("input_tokens", 0)), int(found.get("output_tokens", 0)))


def embed(context: Context, text: str, options: Options | None = None) -> list[float]:
    """The vector that the model makes of a text. Raises NnError."""
    _compute(context, text, _json({**(options or {}), "embedding": True}))
    answer = json.loads(bytes(context.output(TEXT).data))
    vector = answer.get("embedding") if isinstance(answer, dict) else None
    if not isinstance(vector, list):
        raise NnError(
            ErrorCode.RUNTIME_ERROR, 'the answer has no "embedding": is the model one for text?', "embed"
        )
    return [float(number) for number in vector]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """How far two vectors point the same way, from -1 to 1; 0 where one of them is all zeros."""
    size = math.sqrt(_product(a, a) * _product(b, b))
    return _product(a, b) / size if size else 0.0


def _product(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def option(word: str) -> tuple[str, Any]:
    """An option as people write it, `temp=0.2`: a value that is JSON is taken so, another is text. Raises
    NnError."""
    key, equals, value = word.partition("=")
    if not key or not equals:
        raise invalid(f"an option is KEY=VALUE, such as temp=0, not {word!r}", "option")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _json(options: Options) -> str:
    return json.dumps(dict(options), ensure_ascii=False)


def _text(text: str) -> Tensor:
    data = text.encode("utf-8", "replace")
    return Tensor(TensorType.U8, [len(data)], data)
