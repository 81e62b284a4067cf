# SPDX-License-Identifier: Apache-2.0
"""The story model's shape, and how llama.cpp names its weights."""

from dataclasses import dataclass

from tools.story.text import Text, load_text
from tools.story.vocabulary import Vocabulary


@dataclass(frozen=True)
class Shape:
    """A network of llama.cpp's architecture "llama": RMSNorm, RoPE, grouped heads, SwiGLU, no biases.

    The last layer's weights are those of the embedding. A head is `width / heads` wide.
    """

    vocabulary: int = 384
    width: int = 96
    layers: int = 2
    heads: int = 6
    key_heads: int = 2
    hidden: int = 192
    context: int = 512
    epsilon: float = 1e-5
    rope_base: float = 10000.0

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight by its name in a GGUF file: [out, in], and [width] of norms."""
        width, keys = self.width, self.width // self.heads * self.key_heads
        shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (self.vocabulary, width)}
        for layer in range(self.layers):
            shapes |= {
                f"blk.{layer}.attn_norm.weight": (width,),
                f"blk.{layer}.attn_q.weight": (width, width),
                f"blk.{layer}.attn_k.weight": (keys, width),
                f"blk.{layer}.attn_v.weight": (keys, width),
                f"blk.{layer}.attn_output.weight": (width, width),
                f"blk.{layer}.ffn_norm.weight": (width,),
                f"blk.{layer}.ffn_gate.weight": (self.hidden, width),
                f"blk.{layer}.ffn_up.weight": (self.hidden, width),
                f"blk.{layer}.ffn_down.weight": (width, self.hidden),
            }
        return shapes | {"output_norm.weight": (width,)}


SHAPE = Shape()


def load_vocabulary(text: Text | None = None) -> Vocabulary:
    """Return the vocabulary of the text, by default that of `story.txt`: always the same."""
    text = text or load_text()
    paragraphs = [" ".join(story) for story in text.stories] + list(text.rounds)
    paragraphs += [line for pair in text.answers for line in pair]
    return Vocabulary("\n".join([*paragraphs, "system", "user", "assistant"]), SHAPE.vocabulary)
