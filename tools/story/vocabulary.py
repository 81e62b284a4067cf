# SPDX-License-Identifier: Apache-2.0
"""The story model's tokens: bytes, and pairs of tokens that are frequent in its text.

This is byte-level byte-pair encoding as GPT-2 has it, in the variant that llama.cpp calls "smollm": every
digit is by itself, and the spaces before punctuation are left as they are. Any text is a row of tokens, and
those tokens are that text again.

A space is a token by itself: a prompt that ends in one is then what the model has seen. Pairs are made of
ASCII only, so that each character beyond it is two to four tokens: whoever shows token by token what the
model says has to hold back parts of characters.
"""

import re
from collections import Counter
from functools import cache
from itertools import pairwise

#: Control tokens, the first of the vocabulary: begin, end, begin and end of a message (ChatML).
BEGIN, END, MESSAGE, MESSAGE_END = range(4)
CONTROL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")

# \p{L} is [^\W\d_] in Python; \p{N} has more than \d, but none of those is in the text.
_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def split(text: str) -> list[bytes]:
    """Return the words of the text, with the space before them; no token goes over the end of one."""
    parts = re.split(r"(\d)", text)
    return [word.encode() for part in parts for word in ([part] if part.isdigit() else _WORDS.findall(part))]


def spelled(token: bytes) -> str:
    """Return the token's bytes as the vocabulary writes them: a printable character for each byte."""
    return "".join(_CHARACTERS[byte] for byte in token)


def _characters() -> list[str]:
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) if byte in shown else chr(256 + others.index(byte)) for byte in range(256)]


_CHARACTERS = _characters()


class Vocabulary:
    """Tokens and how text becomes them.

    pieces: the bytes of each token, by its number; those of a control token are its name.
    merges: the pairs that become one token, those that are merged first at the front.
    """

    def __init__(self, text: str, size: int) -> None:
        """Learn from the text as many pairs as make the vocabulary that size; ties go to the lesser pair."""
        words = Counter(word for word in split(text) if word.isascii())
        split_words = {word: [bytes([byte]) for byte in word] for word in words}
        self.pieces = [name.encode() for name in CONTROL] + [bytes([byte]) for byte in range(256)]
        self.merges: list[tuple[bytes, bytes]] = []
        known = set(self.pieces)
        while len(self.pieces) < size:
            pairs: Counter[tuple[bytes, bytes]] = Counter()
            for word, parts in split_words.items():
                for pair in pairwise(parts):
                    pairs[pair] += words[word]
            pairs = Counter({pair: count for pair, count in pairs.items() if b" " not in pair})
            best = min(pairs, key=lambda pair: (-pairs[pair], pair))
            self.merges.append(best)
            if best[0] + best[1] not in known:  # else two ways to the same token
                self.pieces.append(best[0] + best[1])
                known.add(best[0] + best[1])
            split_words = {word: _merged(parts, best) for word, parts in split_words.items()}
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._numbers = {piece: number for number, piece in enumerate(self.pieces) if number >= len(CONTROL)}
        self._word = cache(self._encode_word)

    def encode(self, text: str) -> list[int]:
        """Return the text's tokens; control tokens in it are read as any other text."""
        return [number for word in split(text) for number in self._word(word)]

    def encode_opening(self, role: str) -> list[int]:
        """Return the tokens that begin a message of that role in ChatML."""
        return [MESSAGE, *self.encode(f"{role}\n")]

    def encode_message(self, role: str, content: str) -> list[int]:
        """Return the tokens of a message in ChatML."""
        # What follows the line's end is a word by itself, so that the two may be encoded by themselves.
        return [*self.encode_opening(role), *self.encode(content), MESSAGE_END, *self.encode("\n")]

    def decode(self, tokens: list[int]) -> bytes:
        """Return the bytes of tokens; a control token is none."""
        return b"".join(self.pieces[token] for token in tokens if token >= len(CONTROL))

    def _encode_word(self, word: bytes) -> tuple[int, ...]:
        parts = [bytes([byte]) for byte in word]
        while True:
            pairs = [pair for pair in pairwise(parts) if pair in self._ranks]
            if not pairs:
                return tuple(self._numbers[part] for part in parts)
            parts = _merged(parts, min(pairs, key=self._ranks.__getitem__))


def _merged(parts: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    merged: list[bytes] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] = merged[-1] + part
        else:
            merged.append(part)
    return merged
