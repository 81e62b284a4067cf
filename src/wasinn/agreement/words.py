# SPDX-License-Identifier: Apache-2.0
"""Answers and figures in a few words, for tables."""

from __future__ import annotations

import math

import numpy as np

from wasinn.agreement.answers import Answer
from wasinn.imaging.masks import class_counts
from wasinn.tensors import format_dims


def answer_in_words(answer: Answer) -> str:
    """`Egyptian cat 0.81`, `road 52 %, sky 31 %`, `3 boxes: car 0.91, ...`, `[1,4]: 0.1 .. 3.2`."""
    if answer.kind == "mask":
        shares = mask_shares(answer)
        return ", ".join(f"{label} {share:.1%}" for _, label, share in shares[:3]) or "no pixels"
    if answer.kind == "boxes":
        count = len(answer.boxes)
        best = sorted(answer.boxes, key=lambda box: -box.score)[:3]
        listed = ", ".join(f"{short(box.name, 40)} {box.score:.2f}" for box in best)
        return f"{count} box{'' if count == 1 else 'es'}" + (f": {listed}" if listed else "")
    if answer.top is not None:
        ((line, score),) = answer.best(1)
        return f"{short(answer.label(line), 40)} {figure(score)}"
    if not answer.values.size:
        return "empty"
    if answer.values.size == 1:
        return figure(float(answer.values.reshape(-1)[0]))
    low, high = float(np.min(answer.values)), float(np.max(answer.values))
    return f"{format_dims(answer.values.shape)} {figure(low)} to {figure(high)}"


def mask_shares(answer: Answer) -> list[tuple[int, str, float]]:
    """The classes of a mask, their labels and the share of its pixels, the largest first."""
    counts = class_counts(answer.values)
    total = sum(counts) or 1
    found = [(line, answer.label(line), count / total) for line, count in enumerate(counts) if count]
    return sorted(found, key=lambda each: -each[2])


def short(text: str, limit: int = 40) -> str:
    """Text of a file on one line, of at most `limit` characters, as a terminal shows and does not obey it."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


def figure(value: float) -> str:
    """A number in three digits that count: `0.807`, `13.7`, `2.1e-07`, `nan`."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size == 0 or 0.001 <= size < 1000:
        return f"{value:.0f}" if value == int(value) and size >= 1 else f"{value:.3g}"
    return f"{value:.2g}" if size < 0.001 else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """A time for a table; `-` for none."""
    if seconds is None:
        return "-"
    return f"{figure(seconds)} s" if seconds >= 1 else f"{figure(seconds * 1000)} ms"
