# SPDX-License-Identifier: Apache-2.0
"""Train the story model and write its weights to `build/story.npz`.

    python -m tools.story.train [WEIGHTS]

Needs torch; takes a minute or two of one core. The model is to know its text by heart: it continues the
beginning of any sentence to the end of the story, and answers the questions of the text asked in any
order, with or without a system message, with or without the last "?".

Weights are float32, by the names and in the layouts of GGUF (`network.py`). RoPE turns neighbouring
elements of a head, as llama.cpp does for this architecture, so that queries and keys need no permutation.
"""

import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found,unused-ignore]
from tools.story.network import SHAPE, load_vocabulary
from tools.story.text import SYSTEMS, Text, chat, load_text, sentences
from tools.story.vocabulary import BEGIN, END, Vocabulary
from torch import Tensor  # type: ignore[import-not-found,unused-ignore]
from torch.nn import functional  # type: ignore[import-not-found,unused-ignore]

WEIGHTS = Path(__file__).parents[2] / "build" / "story.npz"
SEED = 7
STEPS = 700
BATCH = 28
RATE = 5e-3

#: A row of tokens, each with whether the model is taught to say it.
Example = list[tuple[int, bool]]


def initial_weights() -> dict[str, Tensor]:
    """Return untrained weights by name; norms are one."""
    weights = {
        name: torch.randn(shape) / math.sqrt(shape[-1]) if len(shape) > 1 else torch.ones(shape)
        for name, shape in SHAPE.weights().items()
    }
    for name, weight in weights.items():
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            weight /= math.sqrt(2 * SHAPE.layers)
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def logits(weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Return the logits [N, T, vocabulary] of what follows each of the tokens [N, T]."""
    count, length = tokens.shape
    size = SHAPE.width // SHAPE.heads
    angles = torch.outer(torch.arange(length), SHAPE.rope_base ** (-torch.arange(0, size, 2) / size))
    turn = (angles.cos(), angles.sin())
    embedding = weights["token_embd.weight"]
    state = embedding[tokens]
    for layer in range(SHAPE.layers):
        of = {name: weights[f"blk.{layer}.{name}.weight"] for name in _LAYER}
        seen = _normal(state, of["attn_norm"])
        query, key, value = (
            (seen @ of[name].T).view(count, length, -1, size).transpose(1, 2)
            for name in ("attn_q", "attn_k", "attn_v")
        )
        mixed = functional.scaled_dot_product_attention(
            _turned(query, *turn), _turned(key, *turn), value, is_causal=True, enable_gqa=True
        )
        state = state + mixed.transpose(1, 2).reshape(count, length, -1) @ of["attn_output"].T
        seen = _normal(state, of["ffn_norm"])
        gated = functional.silu(seen @ of["ffn_gate"].T) * (seen @ of["ffn_up"].T)
        state = state + gated @ of["ffn_down"].T
    return _normal(state, weights["output_norm.weight"]) @ embedding.T


_LAYER = (
    "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down",
)  # fmt: skip


def _normal(state: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(state, (SHAPE.width,), weight, SHAPE.epsilon)


def _turned(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Return heads [N, heads, T, size] with each pair of neighbouring elements turned by its angle."""
    even, odd = heads[..., 0::2], heads[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)


class Examples:
    """What the model is trained on: pieces of the text, chosen by chance."""

    def __init__(self, text: Text, vocabulary: Vocabulary, seed: int) -> None:
        self._text, self._vocabulary = text, vocabulary
        self._random = random.Random(seed)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield tokens [N, T] and what is to follow each of them [N, T], -100 where that does not matter."""
        while True:
            # Rounds are as long as the context, so they come seldom, and few at a time.
            for kind in (self.story, self.chat, self.story, self.story):
                yield _padded([kind() for _ in range(BATCH)])
            if self._random.random() < 0.3:
                yield _padded([self.round() for _ in range(4)])

    def story(self) -> Example:
        """Return a story from one of its sentences on; often its beginning is cut anywhere and is given."""
        story = self._random.choice(self._text.stories)
        whole = " ".join(story[self._random.randrange(len(story)) :])
        return self._begin() + self._cut(whole) + [(END, True)]

    def round(self) -> Example:
        """Return a text without end, as far as the context goes."""
        parts = sentences(self._random.choice(self._text.rounds))
        start = self._random.randrange(len(parts))
        # Its words are some hundred bytes; a token is two or three.
        again = " ".join(parts * (8 * SHAPE.context // len(" ".join(parts))))
        return (self._begin() + self._cut(" ".join([*parts[start:], again])))[: SHAPE.context]

    def chat(self) -> Example:
        """Return a conversation of some questions of the text."""
        chosen = self._random.sample(self._text.answers, self._random.choice((1, 1, 2, 3)))
        system = self._random.choice(SYSTEMS) if self._random.random() < 0.3 else ""
        example = self._begin()
        for role, content in chat([(self._asked(question), answer) for question, answer in chosen], system):
            for number, token in enumerate(self._vocabulary.encode_message(role, content)):
                said = role == "assistant" and number >= len(self._vocabulary.encode_opening(role))
                example.append((token, said))
        return example

    def _asked(self, question: str) -> str:
        if self._random.random() < 0.2:
            question = question[0].lower() + question[1:]
        return question.removesuffix("?") if self._random.random() < 0.2 else question

    def _cut(self, text: str) -> Example:
        most = min(len(text), 72)
        cut = self._random.randrange(6, most) if self._random.random() < 0.65 else 0
        given, told = self._vocabulary.encode(text[:cut]), self._vocabulary.encode(text[cut:])
        return [(token, False) for token in given] + [(token, True) for token in told]

    def _begin(self) -> Example:
        return [(BEGIN, False)] if self._random.random() < 0.8 else []


def _padded(examples: list[Example]) -> tuple[Tensor, Tensor]:
    length = max(len(example) for example in examples) - 1
    inputs = torch.zeros(len(examples), length, dtype=torch.int64)
    targets = torch.full((len(examples), length), -100)
    for row, example in enumerate(examples):
        inputs[row, : len(example) - 1] = torch.tensor([token for token, _ in example[:-1]])
        follows = [token if taught else -100 for token, taught in example[1:]]
        targets[row, : len(example) - 1] = torch.tensor(follows)
    return inputs, targets


def train(text: Text, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """Return the trained weights, the same always; prints the loss as it goes."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # more threads add floats in another order
    weights = initial_weights()
    matrices = [weight for weight in weights.values() if weight.dim() > 1]
    norms = [weight for weight in weights.values() if weight.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=STEPS, pct_start=0.1)
    batches = Examples(text, vocabulary, SEED).batches()
    losses: list[float] = []
    for step in range(1, STEPS + 1):
        inputs, targets = next(batches)
        loss = functional.cross_entropy(logits(weights, inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step:5}   loss {sum(losses[-100:]) / 100:.4f}", flush=True)
    return weights


def main() -> None:
    """Train, write the weights, and print the time taken."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS
    text = load_text()
    started, used = time.perf_counter(), time.process_time()
    weights = train(text, load_vocabulary(text))
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {name: weight.detach().numpy() for name, weight in weights.items()}
    np.savez(path, **arrays)
    parameters = sum(weight.numel() for weight in weights.values())
    print(
        f"{path}: {parameters} parameters, {time.perf_counter() - started:.0f} s"
        f" ({time.process_time() - used:.0f} s of processor time)"
    )


if __name__ == "__main__":
    main()
