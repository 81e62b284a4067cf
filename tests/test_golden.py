# SPDX-License-Identifier: Apache-2.0
"""Real models give what their runtimes give without a guest, on every backend that loads them.

The numbers are those of the folder's MANIFEST.md. The models do not come with the project: the tests are
skipped where the folder is not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wasinn
from conftest import require_backend

TFLITE = pytest.mark.parametrize("backend", ["litert", "openvino"])
BIRDS = "birds/aiy_vision_classifier_birds_V1_3.tflite"
MOBILENET = "mobilenet_v2/mobilenet_v2"


def picture(path: Path, width: int, height: int) -> np.ndarray[Any, Any]:
    """RGB, u8 [height,width,3], resized as the manifest says."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


def infer(
    tmp_path: Path, source: wasinn.GraphSource, tensor: np.ndarray[Any, Any], output: np.dtype[Any] | str
) -> np.ndarray[Any, Any]:
    """Output 0 of a guest that loads the graph by name and gives it one tensor; flat."""
    types = {"float32": "f32", "uint8": "u8", "int8": "u8"}
    (tmp_path / "input").write_bytes(tensor.tobytes())
    dims = "x".join(map(str, tensor.shape))
    kind = types[np.dtype(output).name]
    command = ["--name", "m", "--input", f"0:{types[tensor.dtype.name]}:{dims}:/t/input"]
    host = wasinn.Host(graphs={"m": source})
    result = host.run(
        "@infer",
        [*command, "--output", f"0:{kind}", "--save", "/t/output"],
        dirs=[f"{tmp_path}::/t:rw"],
    )
    assert result.exit_code == 0, result.stderr.decode()
    return np.frombuffer((tmp_path / "output").read_bytes(), output)


def graph(data: Path, encoding: str, *files: str, backend: str, **options: Any) -> wasinn.GraphSource:
    require_backend(backend)
    paths = (data / file for file in files)
    return wasinn.GraphSource.from_files(*paths, encoding=encoding, backend=backend, **options)


# -- quantized, raw and as real numbers -----------------------------------------------------------------

QUANTIZED = [
    (BIRDS, "birds/bird.jpg", 166, 189, 192),
    (f"{MOBILENET}_1.0_224_quant.tflite", "images/cat.bmp", 286, 193, 206),
    (f"{MOBILENET}_1.0_224_quant.tflite", "images/grace_hopper.bmp", 653, 236, 241),
    (f"{MOBILENET}_1.0_224_quant.tflite", "images/bird.bmp", 20, 252, 253),
]


@TFLITE
@pytest.mark.parametrize(("model", "image", "best", "low", "high"), QUANTIZED)
def test_a_quantized_classifier(
    data: Path, tmp_path: Path, backend: str, model: str, image: str, best: int, low: int, high: int
) -> None:
    pixels = picture(data / image, 224, 224)[np.newaxis]
    raw = infer(tmp_path, graph(data, "tensorflowlite", model, backend=backend), pixels, "u1")
    assert int(raw.argmax()) == best
    assert low <= int(raw.max()) <= high
    # The same in real numbers: scale 1/128 and zero point 128 on the way in, scale 1/256 out.
    source = graph(data, "tensorflowlite", model, backend=backend, quantization="affine")
    real = infer(tmp_path, source, ((pixels.astype("f4") - 128) / 128).astype("<f4"), "<f4")
    assert (real * 256).tolist() == raw.tolist()


@TFLITE
@pytest.mark.parametrize(("x", "y", "integer"), [(0.5, 0.45399, 60), (3.0, 0.12765, 18)])
def test_sine_as_floats_as_integers_and_quantized_by_the_host(
    data: Path, tmp_path: Path, backend: str, x: float, y: float, integer: int
) -> None:
    given = np.array([[x]], "<f4")
    source = graph(data, "tensorflowlite", "sine/hello_world_float.tflite", backend=backend)
    assert infer(tmp_path, source, given, "<f4")[0] == pytest.approx(y, abs=1e-4)

    quantized = "sine/hello_world_int8.tflite"
    source = graph(data, "tensorflowlite", quantized, backend=backend)
    host = wasinn.Host(graphs={"m": source})
    loaded = host.registry.get("m", host._shared.loader).graph
    scale, zero_point = _parameters(loaded.inputs[0])
    integers = np.round(given / scale + zero_point).astype("i1")
    raw = int(infer(tmp_path, source, integers, "i1")[0])
    assert abs(raw - integer) <= (0 if backend == "litert" else 2)

    source = graph(data, "tensorflowlite", quantized, backend=backend, quantization="affine")
    scale, zero_point = _parameters(loaded.outputs[0])
    assert infer(tmp_path, source, given, "<f4")[0] == pytest.approx((raw - zero_point) * scale, abs=1e-6)


def _parameters(spec: Any) -> tuple[float, int]:
    assert spec.quantization is not None
    return spec.quantization.scales[0], spec.quantization.zero_points[0]


# -- one network in four artifacts ----------------------------------------------------------------------

KITTEN = [(281, 13.693), (282, 11.015), (283, 8.772)]
PLANE = [(963, 15.001), (762, 12.578), (909, 10.810)]


@pytest.mark.parametrize(("tensor", "best"), [("kitten.tensor", KITTEN), ("000000062808.rgb", PLANE)])
@pytest.mark.parametrize(
    ("encoding", "file", "backend"),
    [
        ("onnx", ".onnx", "onnxruntime"),
        ("onnx", ".onnx", "openvino"),
        ("onnx", ".onnx", "tract"),
        ("pytorch", "_torchscript.pt", "torch"),
    ],
)
def test_mobilenet_in_real_numbers(
    data: Path,
    tmp_path: Path,
    encoding: str,
    file: str,
    backend: str,
    tensor: str,
    best: list[tuple[int, float]],
) -> None:
    values = np.frombuffer((data / "mobilenet_v2" / tensor).read_bytes(), "<f4").reshape(1, 3, 224, 224)
    scores = infer(tmp_path, graph(data, encoding, MOBILENET + file, backend=backend), values, "<f4")
    found = np.argsort(scores)[::-1][:3]
    assert found.tolist() == [number for number, _ in best]
    assert scores[found].tolist() == pytest.approx([score for _, score in best], abs=2e-3)


def test_mobilenet_as_openvino_s_own_with_another_contract(data: Path, tmp_path: Path) -> None:
    """BGR, 0 to 255, and 1001 probabilities."""
    files = f"{MOBILENET}_bgr_nchw.xml", f"{MOBILENET}_bgr_nchw.bin"
    pixels = picture(data / "images/input.jpg", 224, 224)[:, :, ::-1].transpose(2, 0, 1)[np.newaxis]
    scores = infer(
        tmp_path,
        graph(data, "openvino", *files, backend="openvino"),
        np.ascontiguousarray(pixels, "<f4"),
        "<f4",
    )
    assert (scores.size, int(scores.argmax())) == (1001, 955)
    assert scores.max() == pytest.approx(0.996, abs=1e-3)


def test_road_segmentation_counts_its_pixels(data: Path, tmp_path: Path) -> None:
    files = "roadseg/road-segmentation-adas-0001.xml", "roadseg/road-segmentation-adas-0001.bin"
    pixels = picture(data / "roadseg/empty_road_mapillary.jpg", 896, 512)[:, :, ::-1].transpose(2, 0, 1)
    scores = infer(
        tmp_path,
        graph(data, "openvino", *files, backend="openvino"),
        np.ascontiguousarray(pixels[np.newaxis], "<f4"),
        "<f4",
    )
    classes = scores.reshape(4, 512, 896).argmax(0)
    counts = np.bincount(classes.ravel(), minlength=4)
    # A pixel whose classes are level may fall to either.
    assert np.abs(counts - [356434, 88052, 9992, 4274]).max() <= 5


# -- pictures that a guest decodes ------------------------------------------------------------------------


def classify(
    data: Path, tmp_path: Path, source: wasinn.GraphSource, image: str, *options: str, kind: str = "ppm"
) -> tuple[list[int], list[float]]:
    """The classes, best first, with their scores."""
    with Image.open(data / image) as opened:
        opened.convert("RGB").save(tmp_path / f"picture.{kind}")
    host = wasinn.Host(graphs={"m": source})
    command = ["--name", "m", *options, "--top", "2000", "--tsv", f"/t/picture.{kind}"]
    result = host.run("@classify", command, dirs={"/t": tmp_path})
    assert (result.exit_code, result.stderr) == (0, b"")
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    return [int(row[2]) for row in rows], [float(row[3]) for row in rows]


@TFLITE
@pytest.mark.parametrize("kind", ["ppm", "bmp"])
@pytest.mark.parametrize(("model", "image", "best", "low", "high"), QUANTIZED)
def test_a_guest_classifies_with_a_model_quantized_by_the_host(
    data: Path,
    tmp_path: Path,
    backend: str,
    kind: str,
    model: str,
    image: str,
    best: int,
    low: int,
    high: int,
) -> None:
    """Its probabilities, whatever they add up to."""
    source = graph(data, "tensorflowlite", model, backend=backend, quantization="affine")
    options = ["--range=-1,1", "--layout", "nhwc"]
    classes, scores = classify(data, tmp_path, source, image, *options, kind=kind)
    assert classes[0] == best
    # The guest's pixels may be a step from Pillow's.
    assert (low - 5) / 256 <= scores[0] <= (high + 5) / 256


def test_a_guest_leaves_openvino_s_probabilities(data: Path, tmp_path: Path) -> None:
    files = f"{MOBILENET}_bgr_nchw.xml", f"{MOBILENET}_bgr_nchw.bin"
    source = graph(data, "openvino", *files, backend="openvino")
    options = ["--colour", "bgr", "--range", "0,255"]
    classes, scores = classify(data, tmp_path, source, "images/input.jpg", *options)
    assert (len(classes), classes[0]) == (1001, 955)
    assert scores[0] == pytest.approx(0.996, abs=2e-3)


def test_a_guest_turns_logits_into_probabilities(data: Path, tmp_path: Path) -> None:
    source = graph(data, "onnx", f"{MOBILENET}.onnx", backend="onnxruntime")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    options = ["--mean", ",".join(map(str, mean)), "--std", ",".join(map(str, std))]
    classes, scores = classify(data, tmp_path, source, "images/cat.bmp", *options)
    pixels = (picture(data / "images/cat.bmp", 224, 224) / 255 - mean) / std
    logits = infer(
        tmp_path, source, np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis], "<f4"), "<f4"
    )
    shares = np.exp(logits) / np.exp(logits).sum()
    assert classes[0] == int(shares.argmax())
    assert scores[0] == pytest.approx(shares.max(), abs=0.02)
    assert sum(scores) == pytest.approx(1, abs=1e-3)
