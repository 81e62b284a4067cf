# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures through a graph or a guest, on Ray: a Parquet table with an answer for each picture.

    pip install "wasinn[onnx,imaging,ray]"
    python examples/ray_pictures.py                        # the pictures that come with wasinn
    python examples/ray_pictures.py FOLDER --graph onnx:model.onnx --actors 4
    python examples/ray_pictures.py FOLDER --guest @classify

The graph needs a contract beside it, which says how a tensor is made of a picture
(`wasinn inspect --contract MODEL`). On a cluster, start this on its head with RAY_ADDRESS=auto.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import ray.data

from wasinn import shipped
from wasinn.cluster.ray import infer, run, summarize

#: What Ray counts for an actor: less than a core, so that reading and writing have room beside two of them.
CPUS = 0.5
#: What the guest is told: the graph's name, and how its pictures are made tensors.
GUEST_ARGUMENTS = (
    *("--name", "digits", "--size", "8x8", "--colour", "gray", "--top", "1", "--tsv"),
    "/row/picture",
)


def main() -> int:
    options = _options()
    folder = options.folder or shipped.ROOT / "pictures"
    with tempfile.TemporaryDirectory() as temporary:
        if options.copies:
            folder = _copies(folder, Path(temporary), options.copies)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(include_dashboard=False)
        answers = _answers(ray.data.read_binary_files(str(folder), include_paths=True), options)
        answers.write_parquet(str(options.output))
    written = ray.data.read_parquet(str(options.output))
    print(summarize(written))
    print(f"answers: {_most(written)}")
    print(f"written: {options.output}")
    return 0


def _answers(pictures: ray.data.Dataset, options: argparse.Namespace) -> ray.data.Dataset:
    """The dataset with an answer for each picture; the pictures themselves are not kept."""
    if options.guest is None:
        return infer(pictures, options.graph, inputs="bytes", keep=["path"], actors=options.actors, cpus=CPUS)
    return run(
        pictures,
        options.guest,
        graphs={"digits": options.graph},
        args=GUEST_ARGUMENTS,
        files={"picture": "bytes"},
        keep=["path"],
        actors=options.actors,
        cpus=CPUS,
    )


def _most(answers: ray.data.Dataset) -> str:
    """The most frequent answers: labels, or what a guest wrote after the picture's name."""
    column = next((name for name in answers.columns() if name.endswith("_label")), "stdout")
    if column not in answers.columns():
        return "numbers; the graph's contract names no classes"
    values = [row[column] for row in answers.select_columns([column]).take_all()]
    if column == "stdout":
        values = [value.split("\t")[2] if value else None for value in values]  # file, rank, class, score
    counts = Counter(value for value in values if value)
    return ", ".join(f"{value} ({count})" for value, count in sorted(counts.items())[:20])


def _copies(folder: Path, target: Path, copies: int) -> Path:
    """So many copies of each picture, to have something to do."""
    for picture in folder.iterdir():
        for number in range(copies):
            shutil.copyfile(picture, target / f"{picture.stem}-{number:05}{picture.suffix}")
    return target


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("folder", nargs="?", type=Path, help="default: the pictures that come with wasinn")
    parser.add_argument("--graph", default="onnx:@digits", help="as after `wasinn run --graph NAME=`")
    parser.add_argument("--guest", help="a guest that classifies, such as @classify; default: none")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--copies", type=int, default=0, metavar="N", help="of each picture, as a trial")
    parser.add_argument("-o", "--output", type=Path, default=Path("answers"), help="a new folder")
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"{options.output} is there already; give another folder with -o")
    return options


if __name__ == "__main__":
    sys.exit(main())
