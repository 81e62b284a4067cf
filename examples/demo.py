# SPDX-License-Identifier: Apache-2.0
"""The demo: a wasm guest reads pictures of handwritten digits and says what it sees.

The guest (guests/c/classify.c) decodes each picture, resizes it and makes the tensor, all inside
wasm; then it asks the host through WASI-NN to run the model. The same network comes in nine files, one
for each form that an encoding has, and each goes through every installed backend that can load it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import wasinn
from wasinn import shipped
from wasinn.backends import lookup
from wasinn.cli.common import format_seconds, table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "guests"))

import build_python  # noqa: E402

ORDER = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Artifact:
    """One file of the network: what it is loaded as, and how the guest must make its tensor."""

    source: str
    #: What the input is, and the guest's options for it.
    takes: str
    options: tuple[str, ...] = ()

    @property
    def encoding(self) -> wasinn.Encoding:
        return wasinn.Encoding.parse(self.source.partition(":")[0])

    @property
    def name(self) -> str:
        return self.source.partition("@")[2].partition(",")[0].partition("?")[0]


NHWC = ("--layout", "nhwc")
U8 = (*NHWC, "--type", "u8", "--output-type", "u8")
ARTIFACTS = (
    Artifact("onnx:@digits.onnx", "f32 NCHW"),
    Artifact("openvino:@digits.xml,@digits.bin", "f32 NCHW"),
    Artifact("tensorflowlite:@digits.tflite", "f32 NHWC", NHWC),
    Artifact("tensorflowlite:@digits_u8.tflite", "u8 NHWC", U8),
    Artifact("tensorflowlite:@digits_i8.tflite?quantization=affine", "i8 NHWC, affine", NHWC),
    Artifact("pytorch:@digits.pt", "f32 NCHW"),
    Artifact("pytorch:@digits.pt2", "f32 NCHW"),
    Artifact("tensorflow:@digits.pb", "f32 NHWC", NHWC),
    Artifact("tensorflow:@digits_saved_model", "f32 NHWC", NHWC),
)


@dataclass(frozen=True)
class Answers:
    """What one run of the guest said: for each picture its ten probabilities, by digit."""

    scores: list[list[float]]
    result: wasinn.RunResult

    @property
    def digits(self) -> list[int]:
        return [max(range(10), key=scores.__getitem__) for scores in self.scores]

    def difference(self, other: Answers) -> float:
        """The largest difference of a probability."""
        return max(
            abs(mine - theirs)
            for row, others in zip(self.scores, other.scores, strict=True)
            for mine, theirs in zip(row, others, strict=True)
        )


def main() -> int:
    pictures = sorted((shipped.ROOT / "pictures").iterdir(), key=lambda path: ORDER.index(path.stem))
    rows = [("model", "takes", "backend", "answers", "differs by", "compute", "total")]
    first: Answers | None = None
    right = 0
    for artifact, backend in _pairs():
        answers = _classify(artifact, backend, pictures)
        first = first or answers
        right += sum(digit == number for number, digit in enumerate(answers.digits))
        stats = answers.result.stats
        rows.append(
            (
                artifact.name,
                artifact.takes,
                f"{backend} {lookup.by_name(backend).version()}",
                " ".join(str(digit) for digit in answers.digits),
                "-" if answers is first else f"{answers.difference(first):.4%}",
                format_seconds(stats.compute_seconds / stats.computes),
                format_seconds(answers.result.total_seconds),
            )
        )
    if first is None:
        print('no backend is installed; try: pip install "wasinn[onnx]"', file=sys.stderr)
        return 1
    print("A WebAssembly guest classifies ten pictures of digits through WASI-NN: zero.png to nine.png.\n")
    print(table(rows))
    count = 10 * (len(rows) - 1)
    print(
        f"\n{right} of {count} answers are right. differs by: the largest difference of a probability to the"
        "\nfirst line's. compute: the ML runtime's mean time for a picture; total: a fresh guest that starts,"
        "\ndecodes the ten pictures, makes the tensors, infers and prints."
    )
    python_guest = _python_guest(pictures)
    if python_guest is not None:
        right += sum(digit == number for number, digit in enumerate(python_guest))
        count += 10
        said = " ".join(str(digit) for digit in python_guest)
        print(f"\nA guest written in Python, built as a component: {said}")
    if not _chats():
        return 1
    missing = [each for each in lookup.all_backends() if each.version() is None]
    if missing:
        ways = ", ".join(f"{each.name} ({each.install_hint})" for each in missing)
        print(f"\nNot installed: {ways}")
    return 0 if right == count else 1


def _python_guest(pictures: list[Path]) -> list[int] | None:
    """What guests/python/classify sees with digits.onnx; None where it cannot be built or run."""
    if build_python.unavailable() or not lookup.ranked(wasinn.Encoding.ONNX)[0].version():
        return None
    target = ROOT / "build" / "demo-python" / "classify.wasm"
    if not target.exists():
        print("\nBuilding a guest in Python takes half a minute, the first time ...", flush=True)
        build_python.build("classify", target.parent)
    result = wasinn.Host(graphs={"default": "onnx:@digits.onnx"}).run(
        target,
        ["--top", "1", "--tsv", *(f"/pictures/{picture.name}" for picture in pictures)],
        dirs={"/pictures": pictures[0].parent},
    )
    if not result.ok:
        raise SystemExit(f"the guest in Python failed: {result.trap or result.stderr.decode()}")
    return [int(line.split("\t")[2]) for line in result.stdout.decode().splitlines()]


#: What the shipped language model knows by heart.
QUESTION, ANSWER = "Who is the cat?", "The cat is called Mina."


def _chats() -> bool:
    """Asks the shipped language model a question, where its runtime is there; whether the answer is right."""
    if not lookup.by_name("llama").version():
        return True
    result = wasinn.Host(graphs={"default": "ggml:@story?temp=0"}).run("@chat", [QUESTION])
    if not result.ok:
        raise SystemExit(f"the guest that chats failed: {result.trap or result.stderr.decode()}")
    said = result.stdout.decode().strip()
    speed = result.stats.generated_tokens / result.stats.generate_seconds
    print(f"\nA guest asks a language model ({speed:.0f} tokens/s): {QUESTION} {said}")
    return said == ANSWER


def _pairs() -> Iterator[tuple[Artifact, str]]:
    """Each artifact with each installed backend that loads its encoding, the default one first."""
    for artifact in ARTIFACTS:
        for backend in lookup.ranked(artifact.encoding):
            if backend.version() is not None:
                yield artifact, backend.name


def _classify(artifact: Artifact, backend: str, pictures: list[Path]) -> Answers:
    """What the guest sees in the pictures."""
    separator = "&" if "?" in artifact.source else "?"
    source = f"{artifact.source}{separator}backend={backend}&threads=1"
    host = wasinn.Host(graphs={"digits": source})
    host.preload()
    command = ["--name", "digits", "--size", "8x8", "--colour", "gray", "--top", "10", "--tsv"]
    result = host.run(
        "@classify",
        [*command, *artifact.options, *(f"/pictures/{picture.name}" for picture in pictures)],
        dirs={"/pictures": pictures[0].parent},
        deadline=30,
    )
    if not result.ok:
        raise SystemExit(f"the guest failed with {source}: {result.trap or result.stderr.decode()}")
    scores = [[0.0] * 10 for _ in pictures]
    for number, line in enumerate(result.stdout.decode().splitlines()):
        _picture, _rank, digit, score, *_label = line.split("\t")
        scores[number // 10][int(digit)] = float(score)
    return Answers(scores, result)


if __name__ == "__main__":
    sys.exit(main())
