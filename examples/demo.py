# SPDX-License-Identifier: Apache-2.0
"""The demo: a wasm guest reads pictures of handwritten digits and says what it sees.

The guest (guests/c/classify.c) decodes each picture, resizes it and makes the tensor, all inside
wasm; then it asks the host through WASI-NN to run the model. Every picture goes through every
backend that is installed and can load the model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import wasinn
from wasinn import shipped
from wasinn.backends import lookup
from wasinn.cli.common import format_seconds, table

MODELS = {"onnx": "digits.onnx"}
ORDER = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def main() -> int:
    pictures = sorted((shipped.ROOT / "pictures").iterdir(), key=lambda path: ORDER.index(path.stem))
    hosts = list(_hosts())
    if not hosts:
        print('no backend is installed; try: pip install "wasinn[onnx]"', file=sys.stderr)
        return 1
    rows = [("picture", "answer", "probability", "", "backend", "compute", "total")]
    wrong = 0
    for path in pictures:
        for backend, host in hosts:
            answer, probability, result = _classify(host, path)
            right = answer == ORDER.index(path.stem)
            wrong += not right
            rows.append(
                (
                    path.name,
                    str(answer),
                    f"{probability:6.1%}",
                    "" if right else "wrong!",
                    backend,
                    format_seconds(result.stats.compute_seconds),
                    format_seconds(result.total_seconds),
                )
            )
    print("A WebAssembly guest classifies handwritten digits through WASI-NN.\n")
    print(table(rows))
    count = len(rows) - 1
    print(
        f"\n{count - wrong} of {count} answers are right. compute: the ML runtime's own time; total: a fresh"
        "\nguest that starts, decodes the picture, makes the tensor, infers and prints."
    )
    return 1 if wrong else 0


def _hosts() -> list[tuple[str, wasinn.Host]]:
    """A host for each installed backend, with the digits graph loaded ahead."""
    found = []
    for encoding, file in MODELS.items():
        for backend in lookup.all_backends():
            if wasinn.Encoding.parse(encoding) in backend.encodings and backend.version() is not None:
                source = f"{encoding}:@{file}?backend={backend.name}&threads=1"
                host = wasinn.Host(graphs={"digits": source})
                host.preload()
                found.append((f"{backend.name} {backend.version()}", host))
    return found


def _classify(host: wasinn.Host, picture: Path) -> tuple[int, float, wasinn.RunResult]:
    """The digit that the guest sees, its probability, and how the run went."""
    result = host.run(
        "@classify",
        [
            "--name",
            "digits",
            "--size",
            "8x8",
            "--colour",
            "gray",
            "--top",
            "1",
            "--tsv",
            f"/pictures/{picture.name}",
        ],
        dirs={"/pictures": picture.parent},
        deadline=10,
    )
    if not result.ok:
        raise SystemExit(f"the guest failed on {picture.name}: {result.trap or result.stderr.decode()}")
    _name, _rank, digit, score, *_label = result.stdout.decode().split("\t")
    return int(digit), float(score), result


if __name__ == "__main__":
    sys.exit(main())
