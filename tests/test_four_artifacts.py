# SPDX-License-Identifier: Apache-2.0
"""One network in several artifacts, each with its contract: a guest of one gives the same label on all.

mobilenet_v2 is that of the folder of real models, in four artifacts of four contracts; the digits network,
which the project ships, has the same done to it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import wasinn
from conftest import require_backend
from contract_texts import DIGITS, MOBILENET, WORDS, lite
from wasinn import shipped

PICTURES = {"cat": "Egyptian cat", "grace_hopper": "military uniform", "bird": "chickadee"}

#: Contracts of the artifacts; LABELS is the file of 1001 lines, "background" first.
CONTRACTS = {
    "tflite": """
[input.image]
type = "u8"
layout = "NHWC"
size = [224, 224]
[output.classes]
type = "u8"
kind = "probabilities"
labels = "labels.txt"
""",
    "onnx": MOBILENET.replace("kind", 'type = "f32"\nkind'),
    "openvino": """
[input.image]
type = "f32"
layout = "NCHW"
size = [224, 224]
colour = "BGR"
range = [0, 255]
[output.classes]
type = "f32"
kind = "probabilities"
labels = "labels.txt"
""",
}
ARTIFACTS = {
    "tflite": ("mobilenet_v2_1.0_224_quant.tflite",),
    "onnx": ("mobilenet_v2.onnx",),
    "torch": ("mobilenet_v2_torchscript.pt",),
    "openvino": ("mobilenet_v2_bgr_nchw.xml", "mobilenet_v2_bgr_nchw.bin"),
}
BACKENDS = {"tflite": "litert", "onnx": "onnxruntime", "torch": "torch", "openvino": "openvino"}

#: How `@classify` is written for each contract.
GUESTS = {
    "onnx": ["--mean=0.485,0.456,0.406", "--std=0.229,0.224,0.225", "--label-offset=1"],
    "tflite": ["--type=u8", "--layout=nhwc", "--output-type=u8"],
    "openvino": ["--colour=bgr", "--range=0,255"],
}


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contracts, the labels and the pictures."""
    folder = tmp_path_factory.mktemp("four")
    labels = (data / "mobilenet_v2/imagenet_labels_1001.txt").read_bytes()
    (folder / "labels.txt").write_bytes(labels)
    for name, text in CONTRACTS.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    for name in PICTURES:
        with Image.open(data / f"images/{name}.bmp") as picture:
            picture.convert("RGB").save(folder / f"{name}.ppm")
    return folder


@pytest.mark.parametrize("artifact", ARTIFACTS)
@pytest.mark.parametrize("guest", GUESTS)
def test_one_guest_names_the_same_on_all_four(data: Path, folder: Path, guest: str, artifact: str) -> None:
    require_backend(BACKENDS[artifact])
    own = "onnx" if artifact == "torch" else artifact
    guests = (folder / f"{guest}.toml").read_text(encoding="utf-8")
    if guest == "tflite":
        # Written for bytes of 1/256; the other artifacts have no quantization to take it from.
        guests += "quantization = { scale = 0.00390625 }\n"
    (folder / "guests.toml").write_text(guests, encoding="utf-8")
    source = wasinn.GraphSource.from_files(
        *(data / "mobilenet_v2" / file for file in ARTIFACTS[artifact]),
        backend=BACKENDS[artifact],
        contract=str(folder / f"{own}.toml"),
        guests=str(folder / "guests.toml"),
        strict="true",
    )
    host = wasinn.Host(graphs={"default": source})
    result = host.run(
        "@classify",
        [
            *GUESTS[guest],
            "--labels=/d/labels.txt",
            "--tsv",
            "--top=1",
            *(f"/d/{name}.ppm" for name in PICTURES),
        ],
        dirs={"/d": folder},
    )
    assert result.exit_code == 0, result.stderr.decode()
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [row[4] for row in rows] == list(PICTURES.values())
    # All four are one network: quantized or not, it is as sure.
    assert [float(row[3]) for row in rows] == pytest.approx([0.78, 0.94, 0.99], abs=0.2)


# -- digits, which the project ships ----------------------------------------------------------------------

ARTIFACTS_OF_DIGITS = {
    "digits.onnx": DIGITS,
    "digits_u8.tflite": lite(DIGITS, "u8"),
    "digits_i8.tflite": lite(DIGITS, "i8"),
    "digits.tflite": lite(DIGITS),
}

#: A guest's contract, and how `@classify` is told it: black on white, bytes, and colour for a gray network.
DIGIT_GUESTS = {
    "f32": ('layout = "NCHW"\ncolour = "GRAY"\ninvert = true', ["--colour=gray", "--invert"]),
    "u8": ('type = "u8"\nlayout = "NHWC"\ncolour = "GRAY"', ["--type=u8", "--layout=nhwc", "--colour=gray"]),
    "colour": (
        'layout = "NHWC"\ncolour = "BGR"\nrange = [-1, 1]\nmean = [0.1, 0.2, 0.3]\nstd = [0.5, 0.6, 0.7]',
        ["--layout=nhwc", "--colour=bgr", "--range=-1,1", "--mean=0.1,0.2,0.3", "--std=0.5,0.6,0.7"],
    ),
}


@pytest.mark.parametrize("artifact", ARTIFACTS_OF_DIGITS)
@pytest.mark.parametrize("guest", DIGIT_GUESTS)
def test_one_guest_reads_the_same_digits_on_all(tmp_path: Path, guest: str, artifact: str) -> None:
    require_backend("litert" if artifact.endswith("tflite") else "onnxruntime")
    text, options = DIGIT_GUESTS[guest]
    (tmp_path / "own.toml").write_text(ARTIFACTS_OF_DIGITS[artifact], encoding="utf-8")
    (tmp_path / "guests.toml").write_text(
        f'[input.picture]\nsize = [8, 8]\n{text}\n[output.digits]\nkind = "probabilities"\ntype = "f32"\n',
        encoding="utf-8",
    )
    source = wasinn.GraphSource.from_files(
        f"@{artifact}",
        contract=str(tmp_path / "own.toml"),
        guests=str(tmp_path / "guests.toml"),
        strict="true",
    )
    pictures = [next((shipped.ROOT / "pictures").glob(f"{name}.*")).name for name in WORDS]
    host = wasinn.Host(graphs={"default": source})
    result = host.run(
        "@classify",
        ["--size=8x8", "--tsv", "--top=1", *options, *(f"/p/{name}" for name in pictures)],
        dirs={"/p": shipped.ROOT / "pictures"},
    )
    assert result.exit_code == 0, result.stderr.decode()
    found = [int(line.split("\t")[2]) for line in result.stdout.decode().splitlines()]
    assert found == list(range(10))
