# SPDX-License-Identifier: Apache-2.0
"""classify, segment and batch in every language: what they print, bad pictures, real models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

import models
import wasinn
from conftest import require_backend
from sdk.answers import FILES, PICTURES, Answer, assert_same, host_answers, read_batch, read_classified
from sdk.conftest import Run
from wasinn.contracts.parse import parse_contract
from wasinn.imaging.masks import class_counts, class_map, palette
from wasinn.runtime.direct import DirectGraph

PATHS = [f"/p/{file}" for file in FILES]
#: The digits network without a word of what its tensors mean, and what is to be said.
IMAGE = {"image": {"layout": "NCHW", "size": [8, 8], "colour": "GRAY"}}
LABELS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def digits(model: str = "onnx:@digits.onnx", **output: Any) -> wasinn.GraphSource:
    """The digits network; `output` are keys of its output's contract, and without any it has none."""
    require_backend("onnxruntime")
    source = wasinn.GraphSource.parse(f"{model}?backend=onnxruntime&threads=1")
    return with_contract(source, {"input": IMAGE, "output": {"digit": output}}) if output else source


def with_contract(source: wasinn.GraphSource, contract: Mapping[str, Any]) -> wasinn.GraphSource:
    return replace(source, contract=parse_contract(contract, Path()))


def reference(source: wasinn.GraphSource, files: tuple[str, ...] = FILES, top: int = 5) -> Any:
    return host_answers(source, {f"/p/{file}": PICTURES / file for file in files}, top)[0]


# -- classify ---------------------------------------------------------------------------------------------


def test_five_classes_a_picture_in_words(run: Run) -> None:
    source = digits(kind="probabilities", labels=LABELS)
    result = run({"default": source}, "classify", "/p/seven.png", "/p/five.ppm", dirs={"/p": PICTURES})
    assert (result.exit_code, result.stderr) == (0, b"")
    wanted = reference(source, ("seven.png", "five.ppm"))
    lines = iter(result.stdout.decode().splitlines())
    for picture, answers in wanted.items():
        assert next(lines) == picture
        for rank, answer in enumerate(answers, 1):
            line = re.fullmatch(r"( *\d+)  (\S+) +([\d.]+)%", next(lines))
            assert line is not None
            assert (line[1], line[2]) == (f"{rank:3}", answer.label)
            assert float(line[3]) == pytest.approx(100 * answer.score, abs=0.02)
    assert list(lines) == []


def test_percentages_stand_below_each_other(run: Run) -> None:
    source = digits(kind="probabilities", labels=LABELS)
    result = run({"default": source}, "classify", "--top", "10", "/p/two.png", dirs={"/p": PICTURES})
    lines = result.stdout.decode().splitlines()[1:]
    assert len(lines) == 10
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("kind", ["probabilities", "logits", "raw"])
def test_classes_without_labels_have_their_number(run: Run, kind: str) -> None:
    source = digits(kind=kind)
    result = run({"default": source}, "classify", "--top", "1", "/p/seven.png", dirs={"/p": PICTURES})
    best = reference(source, ("seven.png",), 1)["/p/seven.png"][0]
    assert best.index == 7
    head, line = result.stdout.decode().splitlines()
    assert head == "/p/seven.png"
    assert re.fullmatch(r"  1  class 7 +[\d.]+%", line)
    assert float(line.split()[-1].rstrip("%")) == pytest.approx(100 * best.score, abs=0.02)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
@pytest.mark.parametrize(("label_offset", "label"), [(0, "seven"), (1, "eight"), (-1, "six")])
def test_the_contract_s_kind_and_labels_count(run: Run, kind: str, label_offset: int, label: str) -> None:
    labels = [*LABELS, "ten"][: 10 + label_offset]
    source = digits(kind=kind, labels=labels, label_offset=label_offset)
    result = run(
        {"default": source}, "classify", "--top", "10", "--tsv", "/p/seven.png", dirs={"/p": PICTURES}
    )
    found = read_classified(result.stdout)
    assert_same(found, reference(source, ("seven.png",), 10))
    best = found["/p/seven.png"][0]
    assert (best.index, best.label) == (7, label)


def test_numbers_that_are_no_probabilities_stay_as_they_are(run: Run, data: Path) -> None:
    """A model without a contract; what it gives are numbers of any size, and classes by their order."""
    require_backend("onnxruntime")
    source = wasinn.GraphSource.from_files(data / "mnist" / "mnist.onnx", encoding="onnx")
    contract = {
        "input": {"image": {"layout": "NCHW", "size": [28, 28], "colour": "GRAY", "range": [0, 255]}},
        "output": {"digit": {"port": 0, "kind": "logits"}},
    }
    source = with_contract(source, contract)
    names = {"sample3.png": 3, "sample7.png": 7, "mnist_nine.bmp": 9}
    files = {f"/d/{name}": data / "mnist" / name for name in names}
    result = run({"default": source}, "classify", "--tsv", *files, dirs={"/d": data / "mnist"})
    assert (result.exit_code, result.stderr) == (0, b"")
    found = read_classified(result.stdout)
    assert_same(found, host_answers(source, files, 5)[0])
    assert [each[0].index for each in found.values()] == list(names.values())


@pytest.mark.parametrize(
    ("encoding", "model"),
    [
        ("onnx", "@digits.onnx"),
        ("onnx", "@digits_batch.onnx"),
        ("tensorflowlite", "@digits.tflite"),
        ("tensorflowlite", "@digits_u8.tflite"),
    ],
)
def test_without_a_contract_it_goes_by_the_model(run: Run, encoding: str, model: str) -> None:
    """Dims say where the channels are; floats are 0 to 1, and u8 the bytes as they are."""
    backend = {"onnx": "onnxruntime", "tensorflowlite": "litert"}[encoding]
    require_backend(backend)
    graphs = {"digits": f"{encoding}:{model}?backend={backend}&threads=1"}
    result = run(graphs, "classify", "--name", "digits", "--top", "1", "--tsv", *PATHS, dirs={"/p": PICTURES})
    assert (result.exit_code, result.stderr) == (0, b"")
    assert [each[0].index for each in read_classified(result.stdout).values()] == list(range(10))


def test_what_cannot_be_read_is_said_and_the_rest_is_done(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes((PICTURES / "two.png").read_bytes()[:60])
    (tmp_path / "text.bmp").write_bytes(b"not a picture at all, whatever it is called")
    (tmp_path / "empty.ppm").write_bytes(b"")
    (tmp_path / "two.png").write_bytes((PICTURES / "two.png").read_bytes())
    with Image.open(PICTURES / "two.png") as picture:
        picture.convert("L").save(tmp_path / "photo.jpg")
    bad = ["broken.png", "missing.png", "text.bmp", "empty.ppm", "photo.jpg"]
    files = [f"/t/{name}" for name in (*bad[:2], "two.png", *bad[2:])] + ["/p/three.bmp"]
    for guest, options in (("classify", ["--top", "1", "--tsv"]), ("batch", [])):
        result = run({"default": digits()}, guest, *options, *files, dirs={"/t": tmp_path, "/p": PICTURES})
        assert result.exit_code == 1, guest
        read = read_classified if guest == "classify" else read_batch
        found = read(result.stdout)
        assert {name: answers[0].index for name, answers in found.items()} == {
            "/t/two.png": 2,
            "/p/three.bmp": 3,
        }
        errors = result.stderr.decode()
        assert len(errors.splitlines()) == len(bad), errors
        for name in bad:
            assert f"/t/{name}" in errors, guest
        jpeg = next(line for line in errors.splitlines() if "photo.jpg" in line)
        assert "JPEG" in jpeg
        assert re.search(r"[Cc]onvert|PNG|RGB", jpeg)


@pytest.mark.parametrize("guest", ["classify", "batch"])
def test_a_graph_that_is_not_there_is_named(run: Run, guest: str) -> None:
    result = run({"default": digits()}, guest, "--name", "nobody", *PATHS, dirs={"/p": PICTURES})
    assert result.exit_code != 0
    assert result.stdout == b""
    errors = result.stderr.decode()
    assert "nobody" in errors
    assert "default" in errors


@pytest.mark.parametrize("guest", ["classify", "segment", "batch"])
def test_a_wrong_command_line_is_said(run: Run, guest: str) -> None:
    files = ["/p/two.png", "/t/a", "/t/b"] if guest == "segment" else ["/p/two.png"]
    for args in ([], ["--nonsense", *files], ["--name"]):
        result = run({"default": digits()}, guest, *args, dirs={"/p": PICTURES})
        assert result.exit_code != 0, args
        assert result.stdout == b""
        assert result.stderr != b""
        if args[:1] == ["--nonsense"]:
            assert b"--nonsense" in result.stderr


# -- batch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "size", "computes"),
    [("digits", 4, 10), ("digits_batch", 1, 10), ("digits_batch", 4, 3), ("digits_batch", 64, 1)],
)
def test_batches_are_as_large_as_they_may_be(run: Run, model: str, size: int, computes: int) -> None:
    source = digits(f"onnx:@{model}.onnx", kind="probabilities", labels=LABELS)
    result = run({"default": source}, "batch", "--size", str(size), *PATHS, dirs={"/p": PICTURES})
    assert (result.exit_code, result.stderr) == (0, b"")
    assert_same(read_batch(result.stdout), reference(source, FILES, 1))
    assert result.stats.computes == computes
    assert result.stats.calls["init_execution_context"] == 1


def test_eight_pictures_are_a_batch_by_default_and_the_last_is_smaller(run: Run) -> None:
    source = digits("onnx:@digits_batch.onnx", kind="probabilities")
    result = run({"default": source}, "batch", *PATHS, *PATHS[:7], dirs={"/p": PICTURES})
    assert result.exit_code == 0
    lines = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [line[0] for line in lines] == [*PATHS, *PATHS[:7]]
    assert [int(line[1]) for line in lines] == [*range(10), *range(7)]
    assert result.stats.computes == 3


# -- segment ----------------------------------------------------------------------------------------------

HEIGHT, WIDTH = 20, 28


def same(kind: int, dims: list[int]) -> wasinn.GraphSource:
    """A model whose output is its input: a picture as a mask."""
    require_backend("onnxruntime")
    node = helper.make_node("Identity", ["x"], ["y"])
    content = models.onnx_model([node], [("x", kind, dims)], [("y", kind, dims)])
    return wasinn.GraphSource.from_bytes(content, encoding="onnx", backend="onnxruntime")


#: Element type, dims, and the contract of the input and of the mask.
MASKS: dict[str, tuple[int, list[int], dict[str, Any], dict[str, Any]]] = {
    "scores-NCHW": (
        TensorProto.FLOAT,
        [1, 3, HEIGHT, WIDTH],
        {"layout": "NCHW"},
        {"layout": "NCHW", "labels": ["red", "green", "blue"]},
    ),
    "scores-NHWC": (TensorProto.FLOAT, [1, HEIGHT, WIDTH, 3], {"layout": "NHWC"}, {"layout": "NHWC"}),
    "scores-HWC": (TensorProto.FLOAT, [HEIGHT, WIDTH, 3], {"layout": "HWC"}, {"layout": "HWC"}),
    "one-channel": (
        TensorProto.FLOAT,
        [1, 1, HEIGHT, WIDTH],
        {"layout": "NCHW", "colour": "GRAY"},
        {"layout": "NCHW", "labels": ["dark", "light"]},
    ),
    "classes": (
        TensorProto.UINT8,
        [1, HEIGHT, WIDTH],
        {"type": "u8", "layout": "NHW", "range": [0, 255]},
        {"layout": "NHW"},
    ),
    "quantized": (
        TensorProto.UINT8,
        [1, 3, HEIGHT, WIDTH],
        {"type": "u8", "layout": "NCHW", "range": [0, 255]},
        {"layout": "NCHW", "quantization": {"scale": 0.5, "zero_point": 128}},
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_what_the_host_makes_of_it(run: Run, tmp_path: Path, name: str) -> None:
    kind, dims, image, mask = MASKS[name]
    contract = {
        "input": {"image": {"size": [HEIGHT, WIDTH], **image}},
        "output": {"mask": {"kind": "mask", **mask}},
    }
    source = with_contract(same(kind, dims), contract)
    pixels = np.random.default_rng(1).integers(0, 40, (HEIGHT, WIDTH, 3), np.uint8)
    pixels[: HEIGHT // 2] += 180
    Image.fromarray(pixels).save(tmp_path / "a.png")
    compare_masks(run, source, tmp_path, tmp_path / "a.png", 0.0)


def compare_masks(run: Run, source: wasinn.GraphSource, folder: Path, picture: Path, share: float) -> Any:
    """Runs `segment` and holds what it writes and says against the host's own answer: counts of pixels that
    differ by no more than a `share` of them. The host's counts."""
    guest = (f"/t/{picture.name}", "/t/out.tensor", "/t/out.png")
    result = run({"default": source}, "segment", *guest, dirs=[f"{folder}::/t:rw"])
    assert (result.exit_code, result.stderr) == (0, b"")
    with DirectGraph("reference", source) as graph:
        feed = graph.feed_picture(None, picture)
        array = graph.infer({feed.index: feed.tensor}).outputs[0]
        output = graph.output_contract(0)
        wanted = class_map(graph.real(0, array), output)
        raw = (folder / "out.tensor").read_bytes()
        assert len(raw) == array.nbytes
        own = class_map(graph.real(0, np.frombuffer(raw, array.dtype).reshape(array.shape)), output)
    with Image.open(folder / "out.png") as opened:
        assert opened.mode == "P"
        found = np.asarray(opened).copy()
        colours = np.array(opened.getpalette("RGB"), np.uint8).reshape(-1, 3)
    # The picture is the mask of the tensor beside it, to the pixel.
    np.testing.assert_array_equal(found, own)
    highest = int(wanted.max())
    np.testing.assert_array_equal(colours[: highest + 1], palette(highest + 1))
    counts, expected = class_counts(found, 256), class_counts(wanted, 256)
    assert np.abs(np.subtract(counts, expected)).max() <= share * wanted.size
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [(row[0], row[1], int(row[2])) for row in rows] == [
        (f"class {at}", output.label(at) or "", count) for at, count in enumerate(counts) if count
    ]
    return expected


def test_segment_says_why_it_cannot(run: Run, tmp_path: Path) -> None:
    """A picture that is not there, and a model that gives no mask."""
    kind, dims, image, mask = MASKS["scores-NCHW"]
    contract = {
        "input": {"image": {"size": [HEIGHT, WIDTH], **image}},
        "output": {"mask": {"kind": "mask", **mask}},
    }
    graphs = {"default": with_contract(same(kind, dims), contract), "digits": digits(kind="probabilities")}
    files = ["/t/missing.png", "/t/out.tensor", "/t/out.png"]
    result = run(graphs, "segment", *files, dirs=[f"{tmp_path}::/t:rw"])
    assert result.exit_code == 1
    assert b"/t/missing.png" in result.stderr
    dirs = [f"{tmp_path}::/t:rw", f"{PICTURES}::/p"]
    result = run(graphs, "segment", "--name", "digits", "/p/two.png", *files[1:], dirs=dirs)
    assert result.exit_code == 1
    assert b"mask" in result.stderr
    assert list(tmp_path.iterdir()) == []


# -- real models --------------------------------------------------------------------------------------------

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
#: By the ending of the artifact: backend, the image's contract, the output's, and the best class of the cat.
MOBILENETS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    ".onnx": (
        "onnxruntime",
        {"layout": "NCHW", "mean": MEAN, "std": STD},
        {"kind": "logits", "label_offset": 1},
    ),
    "_bgr_nchw.xml": (
        "openvino",
        {"layout": "NCHW", "colour": "BGR", "range": [0, 255]},
        {"kind": "probabilities"},
    ),
    "_1.0_224_quant.tflite": (
        "litert",
        {"type": "u8", "layout": "NHWC", "range": [0, 255]},
        {"kind": "probabilities"},
    ),
}


def mobilenet(data: Path, artifact: str) -> wasinn.GraphSource:
    backend, image, output = MOBILENETS[artifact]
    require_backend(backend)
    model = data / "mobilenet_v2" / f"mobilenet_v2{artifact}"
    files = [model, model.with_suffix(".bin")] if artifact.endswith(".xml") else [model]
    encoding = {"onnxruntime": "onnx", "openvino": "openvino", "litert": "tensorflowlite"}[backend]
    labels = (data / "mobilenet_v2/imagenet_labels_1001.txt").read_text(encoding="utf-8").splitlines()
    return with_contract(
        wasinn.GraphSource.from_files(*files, encoding=encoding, backend=backend),
        {
            "input": {"image": {"size": [224, 224], **image}},
            "output": {"classes": {"port": 0, "labels": labels, **output}},
        },
    )


@pytest.mark.parametrize("artifact", MOBILENETS)
def test_mobilenet_knows_the_pictures(run: Run, data: Path, tmp_path: Path, artifact: str) -> None:
    """The pictures of the manifest's tensors, and others that must be resized."""
    pictures = {"kitten.ppm": 281, "plane.ppm": 963, "cat.bmp": None, "grace_hopper.bmp": None}
    from_tensor(data / "mobilenet_v2/kitten.tensor", tmp_path / "kitten.ppm")
    from_tensor(data / "mobilenet_v2/000000062808.rgb", tmp_path / "plane.ppm")
    for name in list(pictures)[2:]:
        (tmp_path / name).write_bytes((data / "images" / name).read_bytes())
    source = mobilenet(data, artifact)
    files = {f"/t/{name}": tmp_path / name for name in pictures}
    result = run({"default": source}, "classify", "--tsv", *files, dirs={"/t": tmp_path})
    assert (result.exit_code, result.stderr) == (0, b"")
    found = read_classified(result.stdout)
    wanted, step = host_answers(source, files, 5)
    # Pixels that were resized may be a level off, and the network makes more of it.
    assert_near(found, wanted, max(0.02, 4 * step))
    exact = ["/t/kitten.ppm", "/t/plane.ppm"]
    assert_same({key: found[key] for key in exact}, {key: wanted[key] for key in exact}, step)
    if artifact == ".onnx":
        assert [found[key][0].index for key in exact] == [281, 963]


def assert_near(found: Any, wanted: Any, within: float) -> None:
    for picture, answers in wanted.items():
        best: Answer = found[picture][0]
        assert (best.index, best.label) == (answers[0].index, answers[0].label), picture
        assert best.score == pytest.approx(answers[0].score, abs=within), picture


def from_tensor(tensor: Path, picture: Path) -> None:
    """The picture, 224x224, that was made a tensor for mobilenet_v2.onnx."""
    values = np.frombuffer(tensor.read_bytes(), "<f4").reshape(3, 224, 224).transpose(1, 2, 0)
    levels = (values * STD + MEAN) * 255
    pixels = np.rint(levels).astype(np.uint8)
    assert np.abs(pixels - levels).max() < 1e-2
    Image.fromarray(pixels).save(picture)


def test_mobilenet_in_a_batch(run: Run, data: Path, tmp_path: Path) -> None:
    source = mobilenet(data, ".onnx")
    from_tensor(data / "mobilenet_v2/kitten.tensor", tmp_path / "kitten.ppm")
    from_tensor(data / "mobilenet_v2/000000062808.rgb", tmp_path / "plane.ppm")
    files = {f"/t/{name}": tmp_path / name for name in ("plane.ppm", "kitten.ppm")}
    result = run({"default": source}, "batch", *files, dirs={"/t": tmp_path})
    assert (result.exit_code, result.stderr) == (0, b"")
    found = read_batch(result.stdout)
    assert_same(found, host_answers(source, files, 1)[0])
    assert [each[0].index for each in found.values()] == [963, 281]


def test_road_segmentation(run: Run, data: Path, tmp_path: Path) -> None:
    require_backend("openvino")
    model = data / "roadseg" / "road-segmentation-adas-0001.xml"
    source = with_contract(
        wasinn.GraphSource.from_files(
            model, model.with_suffix(".bin"), encoding="openvino", backend="openvino"
        ),
        {
            "input": {
                "image": {
                    "port": 0,
                    "layout": "NCHW",
                    "size": [512, 896],
                    "colour": "BGR",
                    "range": [0, 255],
                }
            },
            "output": {
                "mask": {
                    "port": 0,
                    "kind": "mask",
                    "layout": "NCHW",
                    "labels": ["background", "road", "curb", "mark"],
                }
            },
        },
    )
    with Image.open(data / "roadseg/empty_road_mapillary.jpg") as opened:
        opened.convert("RGB").save(tmp_path / "road.ppm")
    counts = compare_masks(run, source, tmp_path, tmp_path / "road.ppm", 0.001)
    # As the manifest has them; a pixel whose classes are level may fall to either.
    assert np.abs(np.subtract(counts[:4], [356434, 88052, 9992, 4274])).max() <= 5
