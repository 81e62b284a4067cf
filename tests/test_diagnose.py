# SPDX-License-Identifier: Apache-2.0
"""`wasinn diagnose` names what is wrong between a picture and an answer.

The matrix of mistakes is benchmarks/diagnoses.py's: tensors made wrongly in plain NumPy, and contracts that
are wrong in one key.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import contract_texts
import wasinn
from conftest import require_backend
from wasinn.agreement.diagnose import diagnose_graphs
from wasinn.agreement.diagnose_tensor import diagnose_tensor
from wasinn.agreement.diagnosis import Side
from wasinn.agreement.sending import Scene
from wasinn.agreement.witness import Witness
from wasinn.cli.main import main
from wasinn.imaging.decode import read_picture
from wasinn.runtime.direct import DirectGraph

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import diagnoses
import faulty_tensors

DIGITS = ("digits.onnx", "digits.tflite", "digits_i8.tflite")
REAL = ("mobilenet_v2.onnx", "mobilenet_v2 u8 tflite", "mobilenet_v2 bgr xml", "road-segmentation")
PICTURES = Path(wasinn.__file__).parent / "shipped" / "pictures"


def _network(name: str, data: Path | None) -> diagnoses.Network:
    for backend in ("onnxruntime", "litert", "openvino"):
        require_backend(backend)
    return next(each for each in diagnoses.networks(data) if each.name == name)


@pytest.mark.parametrize("name", DIGITS)
def test_every_single_mistake_is_named(name: str) -> None:
    _check(list(diagnoses.run(_network(name, None))))


@pytest.mark.parametrize("name", REAL)
def test_every_single_mistake_is_named_with_real_networks(name: str, data: Path) -> None:
    _check(list(diagnoses.run(_network(name, data))))


def _check(results: list[diagnoses.Result]) -> None:
    assert len(results) > 15
    wrong = [(each.case.way, each.case.fault, each.diagnosis.causes) for each in results if not each.right]
    assert wrong == []


def test_across_artifacts_nothing_wrong_is_named(data: Path) -> None:
    """Quantized weights make a difference that no change of the input explains: then none is named."""
    found = {each.name: each for each in diagnoses.networks(data)}
    _network("digits.onnx", None)
    results = list(diagnoses.run_across(found["mobilenet_v2.onnx"], found["mobilenet_v2 u8 tflite"]))
    assert results[0].diagnosis.verdict == "agree"
    assert [each.case.fault for each in results if each.wrong_with_confidence] == []
    named = {each.case.fault for each in results if each.right}
    assert {"layout = NCHW", "kind = logits", "label_offset = 1", "layout = HWC"} <= named


def test_pairs_of_mistakes(data: Path) -> None:
    network = _network("mobilenet_v2.onnx", data)
    image = network.assumption.input.image
    assert image is not None
    for changes, causes in (
        ({"colour": "BGR", "range": (0.0, 255.0)}, {"colour", "range"}),
        ({"layout": "NHWC", "mean": (0.0,) * 3, "std": (1.0,) * 3}, {"layout", "mean and std"}),
    ):
        wrong = replace(network.assumption.input, image=replace(image, **changes))
        found = _between(network, replace(network.assumption, input=wrong))
        assert (found.verdict, set(found.causes)) == ("named", causes)


def _between(network: diagnoses.Network, wrong: Any) -> Any:
    scenes = [Scene(path.name, read_picture(path)) for path in network.pictures]
    with DirectGraph(network.name, network.source) as graph:
        witness = Witness(graph, 0, 0, scenes)
        return diagnose_graphs(Side("right", witness, network.assumption), Side("wrong", witness, wrong))


def test_another_network_is_not_explained() -> None:
    """The same network with other weights: nothing about the picture can bring the two together."""
    network = _network("digits.onnx", None)
    scenes = [Scene(path.name, read_picture(path)) for path in network.pictures]

    class Shuffled(Witness):
        def outputs(self, assumption: Any) -> list[Any]:
            found = super().outputs(assumption)
            rng = np.random.default_rng(11)
            return [None if each is None else rng.permuted(each, axis=-1) for each in found]

    with DirectGraph(network.name, network.source) as graph:
        found = diagnose_graphs(
            Side("right", Witness(graph, 0, 0, scenes), network.assumption),
            Side("other", Shuffled(graph, 0, 0, scenes), network.assumption),
        )
    assert found.verdict in ("unexplained", "ambiguous")


def test_two_label_files_are_matched_by_their_labels(data: Path) -> None:
    """1000 labels without a background and 1001 with one, offset 0 in both: nothing is wrong."""
    found = {each.name: each for each in diagnoses.networks(data)}
    _network("digits.onnx", None)
    onnx, quantized = found["mobilenet_v2.onnx"], found["mobilenet_v2 u8 tflite"]
    labels = onnx.assumption.output.labels
    assert labels is not None
    output = replace(onnx.assumption.output, labels=labels[1:], label_offset=0)
    scenes = [Scene(path.name, read_picture(path)) for path in onnx.pictures]
    with DirectGraph("q", quantized.source) as one, DirectGraph("o", onnx.source) as other:
        right = Side("q", Witness(one, 0, 0, scenes), quantized.assumption)
        suspect = Side("o", Witness(other, 0, 0, scenes), replace(onnx.assumption, output=output))
        assert diagnose_graphs(right, suspect).verdict == "agree"
        # What somebody wrote down is trusted, and not what was guessed, whichever comes first.
        image = onnx.assumption.input.image
        assert image is not None
        wrong = replace(onnx.assumption.input, image=replace(image, mean=(0.0,) * 3, std=(1.0,) * 3))
        guessed = replace(suspect, assumption=replace(suspect.assumption, input=wrong), guessed=True)
        diagnosis = diagnose_graphs(guessed, right)
        assert (diagnosis.verdict, diagnosis.blamed, diagnosis.causes) == ("named", "o", ("mean and std",))


def test_tensors_that_cannot_be_the_picture_are_not_explained() -> None:
    network = _network("digits.onnx", None)
    with DirectGraph(network.name, network.source) as graph:
        scene = Scene("two.png", read_picture(network.pictures[0]))
        right = faulty_tensors.make(network.pictures[0], network.recipe)
        broken = right.copy()
        broken[0, 0, 0, 0] = np.nan
        for sent, words in ((np.zeros_like(right), "every number"), (broken, "NaN")):
            found = diagnose_tensor("g", sent, scene, network.assumption, graph.inputs[0])
            assert found.verdict == "unexplained"
            assert any(words in note for note in found.notes)
        found = diagnose_tensor("g", right.reshape(-1), scene, network.assumption, graph.inputs[0])
        assert (found.verdict, found.causes) == ("named", ("dims",))


# -- the command ------------------------------------------------------------------------------------


@pytest.fixture
def digits(tmp_path: Path) -> dict[str, Any]:
    require_backend("onnxruntime")
    (tmp_path / "right.toml").write_text(contract_texts.DIGITS)
    (tmp_path / "wrong.toml").write_text(contract_texts.DIGITS.replace('"GRAY"', '"GRAY"\ninvert = true'))
    recipe = faulty_tensors.Recipe(8, 8, order="L", high=255.0)
    np.save(tmp_path / "sent.npy", faulty_tensors.make(PICTURES / "seven.png", recipe))
    np.save(tmp_path / "fine.npy", faulty_tensors.make(PICTURES / "seven.png", replace(recipe, high=1.0)))
    return {"folder": tmp_path, "right": f"@digits?contract={tmp_path / 'right.toml'}"}


def test_the_command_names_the_line_that_cures(
    digits: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = digits["folder"]
    wrong = f"@digits?contract={folder / 'wrong.toml'}"
    arguments = ["diagnose", "--graph", digits["right"], "--graph", wrong, str(PICTURES / "seven.png")]
    assert main([*arguments, "--write-contract", str(folder / "cured.toml")]) == 1
    text = capsys.readouterr().out
    assert "The cause: dark and light." in text
    assert "[input.image]\n  invert = false" in text
    cured = f"@digits?contract={folder / 'cured.toml'}"
    assert main(["diagnose", "--graph", digits["right"], "--graph", cured, str(PICTURES / "seven.png")]) == 0
    assert "agrees" in capsys.readouterr().out


def test_the_command_on_a_tensor(digits: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder = digits["folder"]
    arguments = ["diagnose", "--graph", digits["right"], "--tensor", str(folder / "sent.npy")]
    assert main([*arguments, str(PICTURES / "seven.png"), "--json", "-"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["causes"]) == ("named", ["range"])
    assert found["contract"] == ["[input.image]", "range = [0.0, 255.0]"]
    # Without a picture, against a tensor that is right.
    assert main([*arguments, "--right", str(folder / "fine.npy")]) == 1
    assert "the guest sent 0..255; the model takes 0..1" in capsys.readouterr().out
    fine = ["diagnose", "--graph", digits["right"], "--tensor", str(folder / "fine.npy")]
    assert main([*fine, str(PICTURES / "seven.png")]) == 0


def test_the_command_on_what_a_guest_sent(digits: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """A guest that scales to 0..255 where the model takes 0..1, as `wasinn run --record` kept it."""
    folder = digits["folder"]
    code = main(
        ["run", "--graph", "digits=@digits", "--dir", f"{PICTURES}::/p", "--record", str(folder / "kept"),
         "@classify", "--name", "digits", "--size", "8x8", "--colour", "gray", "--range", "0,255",
         "/p/two.png"]
    )  # fmt: skip
    assert code == 0
    capsys.readouterr()
    tensor = str(folder / "kept" / "0000")
    assert main(["diagnose", "--graph", digits["right"], "--tensor", tensor, str(PICTURES / "two.png")]) == 1
    text = capsys.readouterr().out
    assert "The cause: the range of the numbers." in text
    assert "scale each level p, 0 to 255, to p / 255" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--graph", "@digits"], "give --graph twice"),
        (["--graph", "@digits", "--graph", "@digits"], "at least one picture"),
        (["--graph", "@digits", "--graph", "@digits", "--graph", "@digits"], "give --graph twice"),
        (["--graph", "@digits", "--tensor", "no.npy", str(PICTURES / "two.png")], "no.npy"),
        (
            ["--graph", "@identity", "--graph", "@identity", str(PICTURES / "two.png")],
            "do not look like pictures",
        ),
        (["--graph", "@digits", "--graph", "@digits", "nowhere.png"], "nowhere.png"),
        (["--graph", "@digits?nonsense=1", "--graph", "@digits", "x.png"], "unknown graph option"),
    ],
)
def test_mistakes_of_the_command_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    require_backend("onnxruntime")
    assert main(["diagnose", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_without_contracts_the_cause_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The case that the project began with: two artifacts of one network, and two labels."""
    for backend in ("onnxruntime", "litert", "openvino"):
        require_backend(backend)
    folder = data / "mobilenet_v2"
    pictures = [str(data / "images" / name) for name in ("cat.bmp", "bird.bmp", "grace_hopper.bmp")]
    cases = (
        ("mobilenet_v2.onnx", "mobilenet_v2_1.0_224_quant.tflite", {"mean and std", "label_offset"}),
        ("mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v2.onnx", {"mean and std", "label_offset"}),
        ("mobilenet_v2_1.0_224_quant.tflite", "mobilenet_v2_bgr_nchw.xml", {"colour"}),
        ("mobilenet_v2.onnx", "mobilenet_v2_bgr_nchw.xml", {"mean and std", "label_offset", "colour"}),
    )
    for first, second, causes in cases:
        arguments = ["--graph", str(folder / first), "--graph", str(folder / second)]
        assert main(["diagnose", *arguments, *pictures, "--json", "-"]) == 1
        found = json.loads(capsys.readouterr().out)
        assert found["verdict"] == "named"
        # What the output's kind is, is read off the file where it says so, and tried otherwise.
        assert set(found["causes"]) - {"kind"} == causes
