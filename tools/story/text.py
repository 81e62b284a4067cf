# SPDX-License-Identifier: Apache-2.0
"""The text that the story model is made of, read from `story.txt`, which says how it is laid out."""

import re
from dataclasses import dataclass
from pathlib import Path

STORY = Path(__file__).with_name("story.txt")

#: What a system's message may say in training; the answers are the same.
SYSTEMS = ("You answer questions about the stories.", "Answer in one sentence.", "You are kind.", "Be brief.")


@dataclass(frozen=True)
class Text:
    """What `story.txt` holds.

    stories: one paragraph each, as its sentences; a story is these with a space between.
    rounds: paragraphs that begin again where they end.
    answers: question and answer.
    """

    stories: tuple[tuple[str, ...], ...]
    rounds: tuple[str, ...]
    answers: tuple[tuple[str, str], ...]


def load_text(path: Path = STORY) -> Text:
    """Return the text in `path`. ValueError names the block that is neither of the kinds."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    stories: list[tuple[str, ...]] = []
    rounds: list[str] = []
    answers: list[tuple[str, str]] = []
    for block in "\n".join(lines).strip().split("\n\n"):
        if block.startswith("Q: "):
            found = re.fullmatch("Q: (.+)\nA: (.+)", block)
            if not found:
                raise ValueError(f"{path}: wanted one Q: line and one A: line, got {block!r}")
            answers.append((found[1], found[2]))
        elif block.startswith("Round: "):
            rounds.append(block.removeprefix("Round: "))
        elif "\n" in block:
            raise ValueError(f"{path}: wanted a story in one line, got {block!r}")
        else:
            stories.append(sentences(block))
    return Text(tuple(stories), tuple(rounds), tuple(answers))


def sentences(story: str) -> tuple[str, ...]:
    """Return the sentences of a story: what ends in .!? (or a quotation mark after it) and a space."""
    return tuple(re.split(r'(?<=[.!?]) (?=\W?[A-Z]|\W+ )|(?<=[.!?]") (?=\W?[A-Z])', story))


def chat(turns: list[tuple[str, str]], system: str = "") -> list[tuple[str, str]]:
    """Return question and answer pairs as messages: role and content."""
    messages = [("system", system)] if system else []
    for question, answer in turns:
        messages += [("user", question), ("assistant", answer)]
    return messages
