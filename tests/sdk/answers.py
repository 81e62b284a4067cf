# SPDX-License-Identifier: Apache-2.0
"""What guests print, read back, and what the host itself answers to the same pictures (as `wasinn infer`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import wasinn
from wasinn import shipped
from wasinn.imaging.scores import top_k
from wasinn.runtime.direct import DirectGraph
from wasinn.tensors import Quantization

PICTURES = shipped.ROOT / "pictures"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: The ten pictures that come with wasinn, PNG, BMP and PPM, by their digit.
FILES = tuple(next(PICTURES.glob(f"{digit}.*")).name for digit in DIGITS)


@dataclass(frozen=True)
class Answer:
    """A class with its score and its label ("" for none)."""

    index: int
    score: float
    label: str


#: For each picture, by its path, the answers, best first.
Answers = Mapping[str, Sequence[Answer]]


def host_answers(source: wasinn.GraphSource, pictures: Mapping[str, Path], top: int) -> tuple[Answers, float]:
    """What the host says of pictures, without a guest, and the step of a score: that of the output's
    quantization, or 0."""
    with DirectGraph("reference", source) as graph:
        contract = graph.output_contract(0)
        answers = {}
        for name, path in pictures.items():
            feed = graph.feed_picture(None, path)
            array = graph.infer({feed.index: feed.tensor}).outputs[0]
            found = top_k(graph.real(0, array), contract, top)
            answers[name] = [Answer(each.index, each.score, each.label or "") for each in found]
        quantization = contract.quantization
        if not isinstance(quantization, Quantization):
            return answers, 0.0
        return answers, max(quantization.scales)


def read_classified(stdout: bytes) -> dict[str, list[Answer]]:
    """The lines of `classify --tsv`."""
    answers: dict[str, list[Answer]] = {}
    for line in stdout.decode().splitlines():
        picture, rank, index, score, label = line.split("\t")
        rows = answers.setdefault(picture, [])
        assert int(rank) == len(rows) + 1, line
        rows.append(Answer(int(index), float(score), label))
    return answers


def read_batch(stdout: bytes) -> dict[str, list[Answer]]:
    """The lines of `batch`: the best class of each picture."""
    answers = {}
    for line in stdout.decode().splitlines():
        picture, index, score, label = line.split("\t")
        answers[picture] = [Answer(int(index), float(score), label)]
    return answers


def assert_same(found: Answers, wanted: Answers, step: float = 0.0) -> None:
    """That pictures, order of pictures, and scores and labels of classes are the same.

    Scores within 1e-4, or the `step` of a quantization; classes whose scores are as near as that may change
    places, the best one only with another of its score.
    """
    within = max(step, 1e-4) * 1.001
    assert list(found) == list(wanted)
    for picture, expected in wanted.items():
        answers = found[picture]
        assert len(answers) == len(expected), picture
        scores = [each.score for each in answers]
        assert scores == sorted(scores, reverse=True), picture
        assert scores == pytest.approx([each.score for each in expected], abs=within), picture
        known = {each.index: each for each in expected}
        assert len({each.index for each in answers}) == len(answers), picture
        for each in answers:
            # The last of the chosen ones may be another one of the same score.
            if each.index in known:
                assert each.score == pytest.approx(known[each.index].score, abs=within), picture
                assert each.label == known[each.index].label, picture
            else:
                assert each.score == pytest.approx(expected[-1].score, abs=within), picture
        if len(expected) == 1 or expected[0].score - expected[1].score > within:
            assert answers[0].index == expected[0].index, picture
