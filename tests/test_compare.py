# SPDX-License-Identifier: Apache-2.0
"""`wasinn compare`: what agrees, what does not, and what is said of it."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import require_backend
from contract_texts import LABELLED_DIGITS
from wasinn.agreement.answers import Answer, Difference
from wasinn.agreement.compare import compare
from wasinn.agreement.inputs import Input, gather
from wasinn.agreement.sides import Run, SideFacts, open_graphs
from wasinn.agreement.tolerances import Tolerances
from wasinn.backends import lookup
from wasinn.cli.graphs import graph_option
from wasinn.cli.main import main
from wasinn.contracts.contract import OutputContract
from wasinn.errors import ConfigError
from wasinn.spec import Encoding

SHIPPED = Path(__file__).parents[1] / "src" / "wasinn" / "shipped"
DIGITS = SHIPPED / "models" / "digits.onnx"
PICTURES = SHIPPED / "pictures"

PLAIN = LABELLED_DIGITS.replace("kind", "port = 0\nkind")

Report = dict[str, Any]


@pytest.fixture
def specs(tmp_path: Path) -> dict[str, str]:
    """Graphs of the digits: read rightly, and with black for white."""
    (tmp_path / "plain.toml").write_text(PLAIN)
    (tmp_path / "inverted.toml").write_text(PLAIN.replace('"GRAY"', '"GRAY"\ninvert = true'))
    return {name: f"{name}={DIGITS}?contract={tmp_path}/{name}.toml" for name in ("plain", "inverted")}


@pytest.fixture
def run_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Report]]:
    def run(*arguments: object) -> tuple[int, Report]:
        file = tmp_path / "result.json"
        code = main(["compare", *map(str, arguments), "--json", str(file)])
        capsys.readouterr()
        return code, json.loads(file.read_text())

    return run


# -- the command -----------------------------------------------------------------------------------------


def test_the_same_graph_on_all_backends_agrees(
    specs: dict[str, str], run_json: Callable[..., tuple[int, Report]]
) -> None:
    for name in ("openvino", "tract"):
        require_backend(name)
    code, found = run_json(PICTURES, "--graph", specs["plain"], "--backends", "all")
    assert code == 0
    assert found["agrees"] is True
    assert {side["backend"] for side in found["sides"]} >= {"onnxruntime", "openvino", "tract"}
    assert [each["name"] for each in found["inputs"]] == sorted(path.name for path in PICTURES.iterdir())
    for each in found["inputs"]:
        # The pictures are named after what they show.
        assert {side["top"][0]["label"] for side in each["sides"]} == {Path(each["name"]).stem}
    for side in found["sides"][1:]:
        assert side["top1"] == 1.0
        assert side["largest"] < 1e-5


def test_graphs_that_disagree_end_with_1_and_are_named(
    specs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["compare", str(PICTURES), "--graph", specs["plain"], "--graph", specs["inverted"]])
    said = capsys.readouterr().out
    assert code == 1
    assert "they disagree on 9 of 10 inputs: inverted" in said
    assert "eight.png, inverted: another best class; a probability differs by 0.998" in said
    # One input can be a close call: up to three are named.
    (why,) = (line for line in said.splitlines() if line.startswith("why: wasinn diagnose"))
    assert [Path(word).stem for word in shlex.split(why)[-3:]] == ["eight", "five", "four"]
    assert shlex.split(why)[-4] == specs["inverted"]
    assert "one.png, inverted" not in said  # a one stays one


def test_what_is_wrong_with_one_input_does_not_stop_the_others(
    tmp_path: Path, specs: dict[str, str], run_json: Callable[..., tuple[int, Report]]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes((PICTURES / "two.png").read_bytes()[:300])
    shutil.copy(PICTURES / "seven.png", folder / "b.png")
    (folder / "readme.txt").write_text("no picture")
    code, found = run_json(folder, "--graph", specs["plain"], "--graph", specs["plain"])
    assert code == 1
    broken, good = found["inputs"]
    assert "a.png" in broken["error"]
    assert good["agrees"] is True
    assert "1 of 2 inputs failed" in found["verdict"]
    assert "they disagree" not in found["verdict"]


def test_where_nothing_was_compared_nothing_agrees(
    tmp_path: Path, specs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes((PICTURES / "two.png").read_bytes()[:300])
    sides = ["--graph", specs["plain"], "--graph", specs["inverted"]]
    assert main(["compare", str(tmp_path / "a.png"), *sides]) == 1
    said = capsys.readouterr().out
    assert "nothing compared" in said
    assert "agrees" not in said


def test_without_pillow_pictures_end_it_at_once(
    specs: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    sides = ["--graph", specs["plain"], "--graph", specs["inverted"]]
    assert main(["compare", str(PICTURES), *sides]) == 2
    assert 'pip install "wasinn[imaging]"' in capsys.readouterr().err


def test_a_backend_that_is_not_installed_is_said(
    specs: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tract = lookup.by_name("tract")
    monkeypatch.setattr(type(tract), "version", lambda self: None)
    arguments = [str(PICTURES), "--graph", specs["plain"], "--backends", "onnxruntime,tract"]
    assert main(["compare", *arguments]) == 2
    assert "tract is not installed: " + tract.install_hint in capsys.readouterr().err


def test_tensors_are_given_as_they_are(tmp_path: Path, run_json: Callable[..., tuple[int, Report]]) -> None:
    values = np.random.default_rng(1).random((1, 4), np.float32)
    np.save(tmp_path / "x.npy", values)
    (tmp_path / "x.bin").write_bytes(values.tobytes())
    (tmp_path / "short.bin").write_bytes(values.tobytes()[:-4])
    code, found = run_json(
        *(tmp_path / name for name in ("x.npy", "x.bin")), "--graph", "@identity", "--graph", "@identity"
    )
    assert code == 0
    for each in found["inputs"]:
        assert [entry["score"] for entry in each["sides"][0]["top"]] == sorted(values[0].tolist())[::-1]
    code, found = run_json(tmp_path / "short.bin", "--graph", "@identity", "--graph", "@identity")
    assert code == 1
    assert "12" in found["inputs"][0]["sides"][0]["error"]


def test_guests_are_sides_and_their_last_compute_counts(
    specs: dict[str, str], run_json: Callable[..., tuple[int, Report]]
) -> None:
    right = "@classify --name digits --size 8x8 --colour gray {picture}"
    wrong = f"{right.removesuffix('{picture}')} --invert {{picture}}"
    code, found = run_json(
        *(PICTURES / "seven.png", PICTURES / "four.png"),
        *("--graph", specs["plain"], "--direct", "--guest-graph", "digits"),
        *("--guest", right, "--guest", wrong),
    )
    assert code == 1
    direct, good, bad = found["sides"]
    assert direct["guest"] is None
    assert good["guest"] == right
    assert good["agrees"] is True
    assert good["largest"] < 0.02  # the guest's own resampling
    assert bad["agrees"] is False
    assert bad["disagreeing"] == 2


def test_a_guest_that_fails_is_reported(
    specs: dict[str, str], run_json: Callable[..., tuple[int, Report]]
) -> None:
    code, found = run_json(
        *(PICTURES / "seven.png", "--graph", specs["plain"], "--direct"),
        *("--guest", "@classify --name another --size 8x8 --colour gray {picture}"),
    )
    assert code == 1
    assert "the guest failed (exit code" in found["inputs"][0]["sides"][1]["error"]
    assert found["sides"][1]["failed"] == 1


def test_the_command_that_says_why_a_guest_differs_works(
    tmp_path: Path,
    specs: dict[str, str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = "@classify --name digits --size 8x8 --colour gray --invert {picture}"
    sides = ["--graph", specs["plain"], "--direct", "--guest-graph", "digits", "--guest", guest]
    assert main(["compare", str(PICTURES / "two.png"), *sides]) == 1
    hint = capfd.readouterr().out.strip().splitlines()[-1].removeprefix("why: ")
    record, diagnose = (shlex.split(each)[1:] for each in hint.split(" && "))
    monkeypatch.chdir(tmp_path)
    assert main(record) == 0
    assert main(diagnose) == 1
    assert "invert" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.png", "--graph", "PLAIN", "--graph", "PLAIN"], "there is no file 'nowhere.png'"),
        (["EMPTY", "--graph", "PLAIN", "--graph", "PLAIN"], "has no pictures"),
        (["PICTURE", "--graph", "PLAIN"], "only one side"),
        (["PICTURE", "--graph", "@identity", "--graph", "PLAIN"], "has no contract"),
        (["PICTURE", "--graph", "PLAIN", "--backends", "litert"], "none of litert loads onnx"),
        (["PICTURE", "--graph", "PLAIN", "--backends", "what"], "there is no backend called 'what'"),
        (["PICTURE", "--graph", "PLAIN", "--guest", "@classify x"], "have no {picture}"),
        (["PICTURE", "--graph", "PLAIN", "--guest", "'"], "No closing quotation"),
        (["PICTURE", "--graph", "PLAIN", "--direct"], "are for --guest"),
        (["PICTURE", "--graph", "PLAIN", "--graph", "none.onnx"], "there is no file 'none.onnx'"),
        (["PICTURE", "--graph", "PLAIN", "--graph", "PLAIN", "--html", "no/r.html"], "there is no folder"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path,
    specs: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    (tmp_path / "empty").mkdir()
    known = {
        "PLAIN": specs["plain"],
        "PICTURE": str(PICTURES / "two.png"),
        "EMPTY": str(tmp_path / "empty"),
    }
    assert main(["compare", *(known.get(each, each) for each in arguments)]) == 2
    assert words in capsys.readouterr().err


# -- the real models -------------------------------------------------------------------------------------


def write_mobilenet_contracts(folder: Path, data: Path) -> list[str]:
    """The four artifacts of one network, each with its contract; what --graph takes."""
    models = data / "mobilenet_v2"
    labels = models / "imagenet_labels_1001.txt"
    image = "[input.image]\nsize = [224, 224]\n"
    end = f'labels = "{labels}"\n'
    floats = (
        image
        + 'type = "f32"\nlayout = "NCHW"\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n'
        + f'[output.classes]\nport = 0\nkind = "logits"\nlabel_offset = 1\n{end}'
    )
    texts = {
        "quant": image
        + 'type = "u8"\nlayout = "NHWC"\nrange = [0, 255]\n'
        + f'[output.classes]\nkind = "probabilities"\n{end}',
        "onnx": floats,
        "torchscript": floats,
        "bgr": image
        + 'layout = "NCHW"\ncolour = "BGR"\nrange = [0, 255]\n'
        + f'[output.classes]\nkind = "probabilities"\n{end}',
    }
    files = {
        "quant": "mobilenet_v2_1.0_224_quant.tflite",
        "onnx": "mobilenet_v2.onnx",
        "torchscript": "mobilenet_v2_torchscript.pt",
        "bgr": f"mobilenet_v2_bgr_nchw.xml,{models}/mobilenet_v2_bgr_nchw.bin",
    }
    result = []
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
        result += ["--graph", f"{name}={models}/{files[name]}?contract={folder}/{name}.toml"]
    return result


def test_four_artifacts_of_one_network_agree_by_their_contracts(
    data: Path, tmp_path: Path, run_json: Callable[..., tuple[int, Report]]
) -> None:
    for name in ("litert", "onnxruntime", "torch", "openvino"):
        require_backend(name)
    pictures = [data / "images" / f"{name}.bmp" for name in ("cat", "grace_hopper", "bird")]
    code, found = run_json(*pictures, *write_mobilenet_contracts(tmp_path, data))
    assert code == 0
    assert len(found["sides"]) == 4
    tops = [{side["top"][0]["label"] for side in each["sides"]} for each in found["inputs"]]
    assert tops == [{"Egyptian cat"}, {"military uniform"}, {"chickadee"}]
    for side in found["sides"][1:]:
        assert side["top1"] == 1.0


def test_a_mask_in_bf16_is_nearly_that_in_f32(
    data: Path, tmp_path: Path, run_json: Callable[..., tuple[int, Report]]
) -> None:
    require_backend("openvino")
    (tmp_path / "road.toml").write_text(
        '[input.image]\nlayout = "NCHW"\nsize = [512, 896]\ncolour = "BGR"\nrange = [0, 255]\n'
        '[output.mask]\nkind = "mask"\nlayout = "NCHW"\nlabels = ["background", "road", "curb", "mark"]\n'
    )
    road = data / "roadseg"
    files = ",".join(str(road / f"road-segmentation-adas-0001.{end}") for end in ("xml", "bin"))
    spec = f"{files}?contract={tmp_path}/road.toml"
    picture = road / "empty_road_mapillary.jpg"
    sides = ["--graph", f"f32={spec}", "--graph", f"bf16={spec}&precision=bf16"]
    code, found = run_json(picture, *sides)
    assert code == 0
    assert found["inputs"][0]["sides"][0]["answer"].startswith("background 77.7%, road 19.2%")
    share = found["sides"][1]["largest"]
    assert 0 < share < 0.01
    code, found = run_json(picture, *sides, "--min-pixels", 1)
    assert code == 1
    assert "of the pixels differ" in found["inputs"][0]["sides"][1]["reasons"][0]


# -- its parts -------------------------------------------------------------------------------------------


class Fixed:
    """A side with the probabilities that it was given, one list for each input in turn."""

    def __init__(
        self, name: str, *lists: list[float], offset: int = 0, labels: tuple[str, ...] | None = None
    ) -> None:
        self.facts = SideFacts(name, (), "onnx", "none", "1")
        self._contract = OutputContract("classes", kind="probabilities", label_offset=offset, labels=labels)
        self._lists = iter(lists)
        self._first = offset

    def run(self, given: Input, pixels: Any) -> Run:
        values = np.array(next(self._lists))
        return Run([Answer("classes", "classes", values, self._contract, self._first)], 0.001)

    def close(self) -> None: ...


def inputs(count: int) -> list[Input]:
    return [Input(f"{number}.npy", Path(f"{number}.npy"), False) for number in range(count)]


def test_figures_are_over_all_inputs_and_the_worst_are_shown() -> None:
    first = Fixed("a", [0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3])
    second = Fixed("b", [0.9, 0.1], [0.45, 0.55], [0.1, 0.9], [0.69, 0.31])
    found = compare(inputs(4), [first, second], Tolerances(), top=2, examples=2)
    assert not found.agrees
    side = found.sides[1]
    assert (side.top1, side.disagreeing, side.compared) == (0.5, 2, 4)
    assert side.largest == pytest.approx(0.7)
    assert side.mean == pytest.approx((0 + 0.15 + 0.7 + 0.01) / 4)
    assert [each.name for each in found.examples] == ["2.npy", "1.npy"]


@pytest.mark.parametrize(("share", "agrees"), [(1.0, False), (0.76, False), (0.75, True), (0.5, True)])
def test_as_many_inputs_as_min_top1_leaves_may_differ(share: float, agrees: bool) -> None:
    first = Fixed("a", [0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3])
    second = Fixed("b", [0.9, 0.1], [0.6, 0.4], [0.1, 0.9], [0.7, 0.3])
    assert compare(inputs(4), [first, second], Tolerances(top1=share)).agrees is agrees


def test_what_differs_with_the_same_best_class_is_not_let_pass() -> None:
    sides = [Fixed("a", [0.9, 0.1], [0.9, 0.1]), Fixed("b", [0.6, 0.4], [0.1, 0.9])]
    assert not compare(inputs(2), sides, Tolerances(top1=0.5)).agrees


def test_labels_are_aligned_by_their_offset() -> None:
    sides = [Fixed("a", [0.0, 0.1, 0.9]), Fixed("b", [0.1, 0.9], offset=1)]
    found = compare(inputs(1), sides)
    assert found.agrees
    assert [row.best[0][0] for row in found.outcomes[0].rows] == [2, 2]


def test_labels_are_borrowed_for_the_same_lines() -> None:
    labels = ("background", "cat", "dog")
    sides = [Fixed("a", [0.1, 0.9], offset=1), Fixed("b", [0.0, 0.1, 0.9], labels=labels)]
    found = compare(inputs(1), sides, examples=1)
    assert [row.answer for row in found.outcomes[0].rows] == ["dog 0.9", "dog 0.9"]
    assert [view.best[0][1] for view in found.examples[0].outputs[0].views if view] == ["dog", "dog"]
    # So many more classes are others.
    other = [Fixed("a", [0.0, 0.1, 0.9, 0, 0, 0]), Fixed("b", [0.0, 0.1, 0.9], labels=labels)]
    outcome = compare(inputs(1), other).outcomes[0]
    assert [row.answer for row in outcome.rows] == ["class 2 0.9", "dog 0.9"]


def test_sides_of_other_classes_are_doubted() -> None:
    sides = [
        Fixed("a", [0.1, 0.9], labels=("cat", "dog")),
        Fixed("b", [0.9, 0.1, 0, 0, 0], labels=("zero", "one", "two", "three", "four")),
    ]
    (row,) = compare(inputs(1), sides).outcomes[0].rows[1:]
    assert row.reasons[-1] == "the sides have 2 and 5 classes: are they the same network?"


@pytest.mark.parametrize(
    ("kind", "difference", "count"),
    [
        ("mask", Difference(0.009, 0.009, 0.009), 0),
        ("mask", Difference(0.011, 0.011, 0.011), 1),
        ("raw", Difference(0.009, 5.0, 3.0, False), 0),
        ("raw", Difference(0.011, 0.0, 0.0, True), 1),
        ("classes", Difference(0.05, 0.05, 0.0, True, 0.2), 0),
        ("classes", Difference(0.2, 0.11, 0.0, False, 0.2), 2),
        ("boxes", Difference(0.0, 0.05, 0.0), 0),
        ("boxes", Difference(0.5, 0.2, 0.0), 2),
        ("classes", Difference(1.0, 1.0, 1.0, note="not comparable"), 1),
    ],
)
def test_tolerances(kind: str, difference: Difference, count: int) -> None:
    assert len(Tolerances().reasons(kind, difference)) == count


def test_names_and_colons_of_graphs(tmp_path: Path) -> None:
    assert graph_option("@digits")[0] is None
    assert graph_option("mine=onnx:@digits?threads=1")[0] == "mine"
    assert graph_option("mine=onnx:@digits")[1].encoding is Encoding.ONNX
    odd = tmp_path / "a=b:c.onnx"
    odd.write_bytes(DIGITS.read_bytes())
    for text, name in ((str(odd), None), (f"mine={odd}", "mine")):
        found, source = graph_option(text)
        assert (found, source.model.files) == (name, (odd,))
    with pytest.raises(ConfigError, match="unknown graph option"):
        graph_option("@digits?what=1")


def test_graphs_of_one_name_are_told_apart() -> None:
    graphs = open_graphs([graph_option("@digits"), graph_option("@digits")])
    assert [graph.name for graph in graphs] == ["digits.onnx on onnxruntime", "digits.onnx on onnxruntime #2"]
    for graph in graphs:
        graph.close()


def test_a_folder_is_its_pictures_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt", "x.npy"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "deeper.png").mkdir()
    assert [each.name for each in gather([str(tmp_path)])] == ["a.JPG", "b.png"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.png").write_bytes(b"")
    twice = gather([str(tmp_path / "b.png"), str(tmp_path / "other" / "b.png")])
    assert [each.name for each in twice] == [str(tmp_path / "b.png"), str(tmp_path / "other" / "b.png")]
