# SPDX-License-Identifier: Apache-2.0
"""How often `diagnose` names the right cause: every single mistake, put into several networks.

    python benchmarks/diagnoses.py            # a line for each case, and the figure at the end

Two ways: a tensor that a guest made wrongly (plain Pillow and NumPy, `faulty_tensors.py`), held against the
contract; and a contract that is wrong in one key, whose graph is held against the same network with the right
one. Some cases have no fault, and some no cause that could be named: there, nothing may be.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from faulty_tensors import Recipe, faults, make

from wasinn import shipped
from wasinn.agreement.diagnose import diagnose_graphs
from wasinn.agreement.diagnose_tensor import diagnose_tensor
from wasinn.agreement.diagnosis import Diagnosis, Side
from wasinn.agreement.hypotheses import Assumption
from wasinn.agreement.sending import Scene
from wasinn.agreement.witness import Witness
from wasinn.contracts.contract import ImageContract, InputContract, OutputContract
from wasinn.graphs.source import GraphSource
from wasinn.imaging.decode import read_picture
from wasinn.runtime.direct import DirectGraph
from wasinn.spec import TensorType
from wasinn.tensors import Quantization

#: What the quantized MobileNet's file says of its output: 256 steps from 0 to 1.
BYTES = Quantization((1 / 256,), (0,))
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


#: A mistake that changes no answer by this much is none that could be found in the answers.
NO_EFFECT = 1e-6


@dataclass(frozen=True)
class Network:
    """An artifact, the pictures that it is asked about, and what it takes: as a recipe and as a contract."""

    name: str
    source: GraphSource
    pictures: tuple[Path, ...]
    recipe: Recipe
    assumption: Assumption


@dataclass(frozen=True)
class Case:
    network: Network
    way: str
    fault: str
    cause: str | None  # None: nothing may be named


@dataclass(frozen=True)
class Result:
    case: Case
    diagnosis: Diagnosis
    seconds: float

    @property
    def right(self) -> bool:
        without_effect = self.case.way != "tensor" and self.diagnosis.found.before < NO_EFFECT
        if self.case.cause is None or without_effect:
            return self.diagnosis.verdict not in ("named", "likely")
        return self.diagnosis.says(self.case.cause)

    @property
    def likely_right(self) -> bool:
        found = self.diagnosis
        return found.verdict == "likely" and found.causes == (self.case.cause,)

    @property
    def wrong_with_confidence(self) -> bool:
        return self.diagnosis.verdict == "named" and not self.right


def networks(data: Path | None) -> list[Network]:
    """The shipped digits networks, and those of `data` where it is there."""
    found = [*_digits()]
    if data is not None:
        found += _real(data)
    return found


def _digits() -> Iterator[Network]:
    pictures = tuple(
        shipped.resolve(f"@{name}", "pictures")
        for name in ("two.png", "four.png", "seven.png", "eight.png", "five.ppm", "three.bmp")
    )
    output = OutputContract("digit", 0, "probabilities", classes=10, quantization="none")
    for name, layout, changes in (
        ("digits.onnx", "NCHW", {}),
        ("digits.tflite", "NHWC", {}),
        ("digits_i8.tflite", "NHWC", {"dtype": "int8"}),
    ):
        source = GraphSource.from_files(f"@{name}")
        image = ImageContract(layout, (8, 8), "GRAY", mean=(0.0,), std=(1.0,))
        given = InputContract("image", 0, image=image)
        recipe = Recipe(8, 8, planes=layout == "NCHW", order="L")
        read = output
        if changes:
            with DirectGraph(name, replace(source, contract=None)) as graph:
                quantization = graph.inputs[0].quantization
                read = replace(output, quantization=graph.outputs[0].quantization or "none")
            assert quantization is not None
            given = replace(given, type=TensorType.I8, quantization=quantization)
            recipe = replace(
                recipe, dtype="int8", scale=quantization.scales[0], zero_point=quantization.zero_points[0]
            )
        yield Network(name, source, pictures, recipe, Assumption(given, read))


def _real(data: Path) -> Iterator[Network]:
    folder = data / "mobilenet_v2"
    pictures = tuple(data / "images" / name for name in ("cat.bmp", "bird.bmp", "grace_hopper.bmp"))
    labels = tuple((folder / "imagenet_labels_1001.txt").read_text(encoding="utf-8").splitlines())
    image = ImageContract("NCHW", (224, 224), mean=_MEAN, std=_STD)
    logits = OutputContract("classes", 0, "logits", labels=labels, label_offset=1, classes=1000)
    logits = replace(logits, quantization="none")
    yield Network(
        "mobilenet_v2.onnx",
        GraphSource.from_files(folder / "mobilenet_v2.onnx"),
        pictures,
        Recipe(224, 224, mean=_MEAN, std=_STD),
        Assumption(InputContract("image", 0, image=image), logits),
    )
    levels = replace(image, layout="NHWC", range=(0.0, 255.0), mean=(0.0,) * 3, std=(1.0,) * 3)
    shares = replace(logits, kind="probabilities", label_offset=0, classes=1001, quantization=BYTES)
    yield Network(
        "mobilenet_v2 u8 tflite",
        GraphSource.from_files(folder / "mobilenet_v2_1.0_224_quant.tflite"),
        pictures,
        Recipe(224, 224, planes=False, high=255.0, dtype="uint8"),
        Assumption(InputContract("image", 0, TensorType.U8, levels), shares),
    )
    yield Network(
        "mobilenet_v2 bgr xml",
        GraphSource.from_files(folder / "mobilenet_v2_bgr_nchw.xml", folder / "mobilenet_v2_bgr_nchw.bin"),
        pictures,
        Recipe(224, 224, order="BGR", high=255.0),
        Assumption(
            InputContract("image", 0, image=ImageContract("NCHW", (224, 224), "BGR", (0.0, 255.0))),
            replace(shares, quantization="none"),
        ),
    )
    road = ImageContract("NCHW", (512, 896), "BGR", (0.0, 255.0))
    yield Network(
        "road-segmentation",
        GraphSource.from_files(
            data / "roadseg/road-segmentation-adas-0001.xml", data / "roadseg/road-segmentation-adas-0001.bin"
        ),
        (data / "roadseg/empty_road_mapillary.jpg",),
        Recipe(512, 896, order="BGR", high=255.0),
        Assumption(
            InputContract("image", 0, image=road), OutputContract("road", 0, "mask", quantization="none")
        ),
    )


def wrong_contracts(right: Assumption) -> dict[str, tuple[str, Assumption]]:
    """The contract, wrong in one key: words, the cause that is to be named, and the assumption."""
    found: dict[str, tuple[str, Assumption]] = {}
    image = right.input.image
    assert image is not None

    def add(words: str, cause: str, **changes: Any) -> None:
        found[words] = (cause, replace(right, input=replace(right.input, image=replace(image, **changes))))

    def read(words: str, cause: str, **changes: Any) -> None:
        found[words] = (cause, replace(right, output=replace(right.output, **changes)))

    tail = image.layout.lstrip("N")
    add(f"layout = {tail}", "batch", layout=tail)
    if image.channels == 3:
        layout = "NHWC" if image.layout == "NCHW" else "NCHW"
        add(f"layout = {layout}", "layout", layout=layout)
        colour = "BGR" if image.colour == "RGB" else "RGB"
        add(f"colour = {colour}", "colour", colour=colour)
    else:
        add(f"invert = {not image.invert}", "invert", invert=not image.invert)
    if right.input.type is TensorType.F32:
        for chosen in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
            if chosen != image.range:
                add(f"range = {list(chosen)}", "range", range=chosen)
        if any(image.mean):
            add("mean and std left out", "mean and std", mean=(0.0,) * 3, std=(1.0,) * 3)
            add("mean and std reversed", "mean and std", mean=image.mean[::-1], std=image.std[::-1])
        else:
            count = image.channels
            mean = _MEAN if count == 3 else (0.449,)
            std = _STD if count == 3 else (0.226,)
            add("mean and std of ImageNet", "mean and std", mean=mean, std=std)
    for name in ("nearest", "bicubic", "area"):
        add(f"resize = {name}", "resize", resize=name)
    if right.input.quantization != "none":
        wrong = replace(right.input, quantization="none")
        found["quantization = none"] = ("quantization", replace(right, input=wrong))
    if right.output.kind == "logits":
        read("kind = probabilities", "kind", kind="probabilities")
    elif right.output.kind == "probabilities":
        read("kind = logits", "kind", kind="logits")
    if right.output.kind != "mask":
        for offset in (right.output.label_offset - 1, right.output.label_offset + 1):
            read(f"label_offset = {offset}", "label_offset", label_offset=offset)
    return found


def run(network: Network) -> Iterator[Result]:
    """Every case of a network."""
    scenes = [Scene(path.name, read_picture(path)) for path in network.pictures]
    with DirectGraph(network.name, network.source) as graph:
        spec = graph.inputs[0]
        witness = Witness(graph, 0, 0, scenes)
        reference = Side(network.name, witness, network.assumption)
        first = [Witness(graph, 0, 0, scenes[:1])]

        def tensor(words: str, cause: str | None, sent: Any) -> Result:
            start = time.perf_counter()
            found = diagnose_tensor("guest", sent, scenes[0], network.assumption, spec, first[0])
            return Result(Case(network, "tensor", words, cause), found, time.perf_counter() - start)

        def graphs(words: str, cause: str | None, wrong: Assumption) -> Result:
            start = time.perf_counter()
            found = diagnose_graphs(reference, Side("suspect", witness, wrong))
            return Result(Case(network, "graphs", words, cause), found, time.perf_counter() - start)

        yield tensor("nothing wrong", None, make(network.pictures[0], network.recipe))
        noise = np.random.default_rng(7).permutation(make(network.pictures[0], network.recipe).reshape(-1))
        yield tensor("numbers in random order", None, noise.reshape(spec.static_dims or -1))
        for words, (fault, recipe) in faults(network.recipe).items():
            cause: str | None = fault
            sent = make(network.pictures[0], recipe)
            if np.ptp(sent) == 0:
                # As many mistakes make one number of everything: none of them may be named.
                cause = None
            yield tensor(words, cause, sent[0] if cause == "batch" else sent)
        yield graphs("nothing wrong", None, network.assumption)
        for words, (cause, wrong) in wrong_contracts(network.assumption).items():
            yield graphs(words, cause, wrong)


def run_across(reference: Network, suspect: Network) -> Iterator[Result]:
    """Every wrong contract of one artifact, held against another artifact of the same network with the right
    one: what a person has who does not know which of two is wrong."""
    scenes = [Scene(path.name, read_picture(path)) for path in suspect.pictures]
    with (
        DirectGraph(reference.name, reference.source) as right,
        DirectGraph(suspect.name, suspect.source) as other,
    ):
        first = Side(reference.name, Witness(right, 0, 0, scenes), reference.assumption)
        witness = Witness(other, 0, 0, scenes)
        cases = {"nothing wrong": (None, suspect.assumption), **wrong_contracts(suspect.assumption)}
        for words, (cause, wrong) in cases.items():
            start = time.perf_counter()
            found = diagnose_graphs(first, Side(suspect.name, witness, wrong))
            yield Result(Case(suspect, "across", words, cause), found, time.perf_counter() - start)


def data_folder() -> Path | None:
    chosen = os.environ.get("WASINN_DATA")
    folder = Path(chosen) if chosen else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", help="only those whose name has this in it")
    options = parser.parse_args()
    every = networks(data_folder())
    chosen = [each for each in every if (options.network or "") in each.name]
    same = [shown(result) for network in chosen for result in run(network)]
    across = [
        shown(result)
        for one, other in ACROSS
        for reference in every
        for network in chosen
        if (reference.name, network.name) == (one, other)
        for result in run_across(reference, network)
    ]
    print()
    for words, results in (("in one network", same), ("across two artifacts of it", across)):
        right = sum(each.right for each in results)
        wrong = sum(each.wrong_with_confidence for each in results)
        if results:
            print(
                f"{words}: {right} of {len(results)} right ({right / len(results):.1%}), "
                f"{sum(each.likely_right for each in results)} more named as likely, "
                f"{wrong} wrong names given with confidence"
            )
    if data_folder() is None:
        print("the digits networks alone: there is no folder of real models (set WASINN_DATA)")
    return 1 if any(each.wrong_with_confidence for each in (*same, *across)) else 0


#: Reference and suspect, two artifacts of one network.
ACROSS = (
    ("digits.onnx", "digits.tflite"),
    ("digits.onnx", "digits_i8.tflite"),
    ("mobilenet_v2.onnx", "mobilenet_v2 u8 tflite"),
    ("mobilenet_v2.onnx", "mobilenet_v2 bgr xml"),
    ("mobilenet_v2 u8 tflite", "mobilenet_v2.onnx"),
)


def shown(result: Result) -> Result:
    """Prints a case's line."""
    case, found = result.case, result.diagnosis
    after = "" if found.found.best is None else f" -> {found.found.best.distance:.2g}"
    mark = (
        "ok   "
        if result.right
        else "WRONG"
        if result.wrong_with_confidence
        else ("near " if result.likely_right else "miss ")
    )
    print(
        f"{mark} {case.network.name:23} {case.way:7} {case.fault:36} {found.verdict:12} "
        f"{', '.join(found.causes) or '-':20} {found.found.before:.3f}{after}  {result.seconds:.1f} s",
        flush=True,
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
