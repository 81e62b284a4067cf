# SPDX-License-Identifier: Apache-2.0
"""Contracts to start from: what models' files say and what is guessed; and the contracts that are shipped."""

from __future__ import annotations

import io
import re
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from conftest import require_backend
from wasinn import shipped
from wasinn.backends.base import Model
from wasinn.cli.main import main
from wasinn.contracts.bound import bind
from wasinn.contracts.contract import Contract
from wasinn.contracts.parse import parse_contract, read_contract
from wasinn.contracts.write import to_toml
from wasinn.errors import ConfigError
from wasinn.graphs.hint import Hints
from wasinn.graphs.hints_tflite import _LabelFiles
from wasinn.graphs.loader import Loader
from wasinn.graphs.source import GraphSource
from wasinn.graphs.suggest import Notes, read_hints, suggest
from wasinn.graphs.suggest_outputs import unused_name
from wasinn.imaging.preprocess import preprocess
from wasinn.runtime.direct import DirectGraph
from wasinn.spec import Encoding, TensorType
from wasinn.tensors import Quantization, TensorSpec

MODELS = shipped.ROOT / "models"


def suggested(*files: Path | bytes) -> tuple[Contract, Notes]:
    """What is suggested for a model, which it fits, and which reads back as it was written."""
    if isinstance(files[0], bytes):
        source = GraphSource.from_bytes(*(each for each in files if isinstance(each, bytes)))
    else:
        source = GraphSource.from_files(*(each for each in files if isinstance(each, Path)))
    loaded = Loader().load(source)
    contract, notes = suggest(source.model, loaded.encoding, loaded.graph)
    assert bind(contract, loaded.graph.inputs, loaded.graph.outputs)
    check_written(contract, notes)
    return contract, notes


def check_written(contract: Contract, notes: Notes) -> None:
    text = to_toml(contract, notes)
    assert parse_contract(tomllib.loads(text), Path("."), contract.source, text) == contract
    assert text.count("guessed") >= sum("guessed" in note for note in notes.values())


def image(contract: Contract) -> Any:
    assert contract.image_input is not None
    return contract.image_input.image


# Real models


def test_the_bird_classifier_says_all_of_it(data: Path) -> None:
    require_backend("litert")
    contract, notes = suggested(data / "birds" / "aiy_vision_classifier_birds_V1_3.tflite")
    (given_input,), (output,) = contract.inputs.values(), contract.outputs.values()
    # The bytes are the picture's: the scale of 1/128 says what they stand for, not what to do to them.
    assert (given_input.type, given_input.quantization) == (TensorType.U8, "none")
    picture = image(contract)
    assert (picture.layout, picture.size, picture.colour, picture.range) == (
        "NHWC",
        (224, 224),
        "RGB",
        (0.0, 255.0),
    )
    assert notes["input", "image", "colour"] == "TFLite metadata: its colour space"
    assert output.kind == "probabilities"
    # Guests of this contract on another artifact have no file to take it from.
    assert (output.type, output.quantization) == (TensorType.U8, Quantization((0.00390625,), (0,)))
    assert output.labels is not None
    assert output.labels[166] == "Aix galericulata"
    # The list beside the model calls the last class "background"; the one in it, "None".
    assert (
        list(output.labels[:-1]) == (data / "birds" / "aiy_birds_V1_labels.txt").read_text().splitlines()[:-1]
    )


def test_the_normalization_of_metadata_is_read(data: Path) -> None:
    path = data / "birds" / "aiy_vision_classifier_birds_V1_3.tflite"
    hints = read_hints(Model(files=(path,)), Encoding.TENSORFLOWLITE).inputs[0]
    assert hints.mean is not None
    assert hints.std is not None
    assert (hints.mean.value, hints.std.value) == ((127.5,), (127.5,))


def test_three_mobilenets(data: Path) -> None:
    require_backend("litert")
    require_backend("openvino")
    folder = data / "mobilenet_v2"
    quantized, _ = suggested(folder / "mobilenet_v2_1.0_224_quant.tflite")
    labels = quantized.outputs["classes"].labels
    assert labels is not None
    assert (len(labels), labels[286]) == (1001, "Egyptian cat")
    normalised, notes = suggested(folder / "mobilenet_v2.onnx")
    assert (image(normalised).layout, normalised.outputs["classes"].kind) == ("NCHW", "logits")
    assert {key[-1] for key, note in notes.items() if "guessed" in note} >= {
        "layout",
        "colour",
        "range",
        "mean",
    }
    bgr, notes = suggested(folder / "mobilenet_v2_bgr_nchw.xml", folder / "mobilenet_v2_bgr_nchw.bin")
    # The layout is an attribute of the model; that its first operator makes bytes tells the range.
    assert (image(bgr).layout, image(bgr).range) == ("NCHW", (0.0, 255.0))
    assert notes["input", "image", "layout"] == "the model's layout attribute"


def test_a_segmenter(data: Path) -> None:
    require_backend("openvino")
    path = data / "roadseg" / "road-segmentation-adas-0001.xml"
    contract, notes = suggested(path, path.with_suffix(".bin"))
    assert (image(contract).colour, image(contract).range, image(contract).size) == (
        "BGR",
        (0.0, 255.0),
        (512, 896),
    )
    assert "Caffe" in notes["input", "image", "colour"]
    assert (contract.outputs["mask"].kind, contract.outputs["mask"].layout) == ("mask", "NCHW")


def test_a_gray_picture_and_no_picture(data: Path) -> None:
    require_backend("litert")
    mnist, _ = suggested(data / "mnist" / "mnist.onnx")
    assert (image(mnist).colour, image(mnist).size) == ("GRAY", (28, 28))
    sine, _ = suggested(data / "sine" / "hello_world_int8.tflite")
    assert [(each.image, each.quantization) for each in sine.inputs.values()] == [(None, "model")]
    assert [each.kind for each in sine.outputs.values()] == ["raw"]


def test_a_model_that_tells_nothing(data: Path) -> None:
    require_backend("torch")
    contract, notes = suggested(data / "mobilenet_v2" / "mobilenet_v2_torchscript.pt")
    assert [(each.image, each.type) for each in contract.inputs.values()] == [(None, TensorType.F32)]
    assert "guessed" in notes["input", "x", "type"]


# Shipped models

DIGITS = {
    "@digits.onnx": "onnxruntime",
    "@digits_batch.onnx": "onnxruntime",
    "@digits.xml,@digits.bin": "openvino",
    "@digits.tflite": "litert",
    "@digits_u8.tflite": "litert",
    "@digits_i8.tflite": "litert",
    "@digits.pt": "torch",
    "@digits.pt2": "torch",
    "@digits.pb": "tensorflow",
    "@digits_saved_model": "tensorflow",
}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.mark.parametrize("source", DIGITS)
def test_every_shipped_model_has_its_contract(source: str) -> None:
    require_backend(DIGITS[source])
    pytest.importorskip("PIL")
    pictures = {path.stem: path for path in (shipped.ROOT / "pictures").iterdir()}
    with DirectGraph(source, GraphSource.parse(source)) as graph:
        assert graph.bound is not None
        for number, name in enumerate(NUMBERS):
            tensor = preprocess(pictures[name], graph.bound.inputs[0])
            scores = graph.real(0, graph.infer({0: tensor}).outputs[0]).reshape(-1)
            assert scores.sum() == pytest.approx(1, abs=0.02)
            assert graph.output_contract(0).label(int(scores.argmax())) == str(number)


def test_every_shipped_contract_is_of_a_model() -> None:
    found = sorted(MODELS.glob("*.contract.toml"))
    assert len(found) == len(DIGITS)
    for path in found:
        assert (MODELS / path.name.removesuffix(".contract.toml")).exists()
        assert read_contract(path).outputs["digit"].labels == tuple("0123456789")


@pytest.mark.parametrize("name", ["digits.onnx", "digits.tflite", "digits_i8.tflite", "digits_u8.tflite"])
def test_what_is_suggested_for_the_digits_is_what_is_shipped(name: str) -> None:
    require_backend("litert")
    contract, _ = suggested(MODELS / name)
    known = read_contract(MODELS / f"{name}.contract.toml")
    assert image(contract) == image(known)
    (mine,), (theirs,) = contract.inputs.values(), known.inputs.values()
    assert (mine.type, mine.quantization) == (theirs.type, theirs.quantization)
    assert contract.outputs["classes"].kind == known.outputs["digit"].kind


# Made models


def onnx(node: Any, metadata: dict[str, str], outputs: tuple[int, ...] = (1, 3, 32, 32)) -> bytes:
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, outputs)],
        [helper.make_tensor("mean", TensorProto.FLOAT, [1], [100.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString())


def test_the_metadata_of_onnx_pictures() -> None:
    metadata = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_1_1"}
    contract, notes = suggested(onnx(helper.make_node("Relu", ["x"], ["y"]), metadata))
    assert (image(contract).colour, image(contract).range) == ("BGR", (-1.0, 1.0))
    assert notes["input", "image", "range"] == "ONNX metadata: Image.NominalPixelRange"


def test_a_model_that_subtracts_the_mean_itself() -> None:
    contract, notes = suggested(onnx(helper.make_node("Sub", ["x", "mean"], ["y"]), {}))
    assert image(contract).range == (0.0, 255.0)
    assert notes["input", "image", "range"] == "guessed: the model itself subtracts first"


IR = """<?xml version="1.0"?><net name="n" version="11"><layers>
<layer id="0" name="x" type="Parameter"><data shape="1,8,8,3"/><output><port id="0"><rt_info>
<attribute name="layout" version="0" layout="[N,H,W,C]"/></rt_info></port></output></layer>
<layer id="1" name="c" type="Convert"><data destination_type="f32"/></layer>
<layer id="2" name="s" type="SoftMax"/><layer id="3" name="r" type="Reshape"/>
<layer id="4" name="y" type="Result"/>
</layers><edges><edge from-layer="0" to-layer="1"/><edge from-layer="1" to-layer="2"/>
<edge from-layer="2" to-layer="3"/><edge from-layer="3" to-layer="4"/></edges><rt_info><conversion_parameters>
<mean_values value="[123.0,117.0,104.0]"/><scale_values value="()"/><reverse_input_channels value="True"/>
</conversion_parameters></rt_info></net>"""


def test_what_an_openvino_model_says() -> None:
    hints = read_hints(Model(builders=(IR.encode(),)), Encoding.OPENVINO)
    assert hints.inputs[0].layout is not None
    assert hints.inputs[0].colour is not None
    assert (hints.inputs[0].layout.value, hints.inputs[0].colour.value) == ("NHWC", "BGR")
    assert hints.inputs[0].raw == "converted with mean_values, which the model has in it"
    assert hints.outputs[0].operator == "SoftMax"


class Ports:
    """A graph of which the ports alone matter."""

    def __init__(self, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)

    def open(self) -> Any:
        raise NotImplementedError


types = st.sampled_from(list(TensorType))
dims = st.none() | st.lists(st.none() | st.sampled_from([0, 1, 3, 4, 8, 32, 224, 1 << 40]), max_size=5).map(
    tuple
)
quantizations = st.none() | st.builds(
    lambda scale, point: Quantization((scale,), (point,)), st.floats(), st.integers(-(1 << 40), 1 << 40)
)
specs = st.builds(TensorSpec, st.text(max_size=3), types, dims, quantizations, any_type=st.booleans())


@given(st.lists(specs, max_size=3), st.lists(specs, max_size=3))
def test_any_graph_gets_a_contract_that_it_fits(inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    contract, notes = suggest(Model(builders=(b"",)), Encoding.ONNX, Ports(inputs, outputs))
    bind(contract, inputs, outputs)
    if contract.inputs or contract.outputs:
        check_written(contract, notes)


@pytest.mark.parametrize("name", ["digits_u8.tflite", "digits.onnx", "digits.xml"])
@given(
    changes=st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 30_000),
)
def test_broken_files_give_fewer_hints_and_no_error(
    name: str, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray((MODELS / name).read_bytes())
    for at, value in changes:
        content[at % len(content)] = value
    encoding = {"tflite": Encoding.TENSORFLOWLITE, "onnx": Encoding.ONNX, "xml": Encoding.OPENVINO}[
        name.split(".")[1]
    ]
    for broken in (bytes(content), bytes(content[:cut])):
        assert isinstance(read_hints(Model(builders=(broken,)), encoding), Hints)


def test_broken_metadata_gives_no_error(data: Path) -> None:
    content = (data / "birds" / "aiy_vision_classifier_birds_V1_3.tflite").read_bytes()
    # The metadata is the last of the flatbuffer, and the archive of labels comes behind it.
    at = content.rindex(b"M001")
    for place in range(at - 4, at + 800, 3):
        for value in (0, 0x7F, 0xFF):
            broken = content[:place] + bytes([value]) * 2 + content[place + 2 :]
            assert isinstance(read_hints(Model(builders=(broken,)), Encoding.TENSORFLOWLITE), Hints)


def test_a_port_may_be_called_as_another_would_be() -> None:
    assert unused_name({"x"}, "x", 1) == "x_1"
    assert unused_name({"x", "x_1", "x_2"}, "x", 1) == "x_3"
    ports = [TensorSpec(name, TensorType.I64, (1, 2)) for name in ("a", "a_2", "a")]
    contract, _ = suggest(Model(builders=(b"",)), Encoding.ONNX, Ports(ports, ports))
    assert list(contract.inputs) == list(contract.outputs) == ["a", "a_2", "a_3"]


def test_label_files_are_read_once_and_not_without_end() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small.txt", "cat\r\ndog\n\n")
        for index in range(4):
            archive.writestr(f"large{index}.txt", "label of four\n" * 300_000)
    files = _LabelFiles(packed.getvalue())
    assert files.get("small.txt") == ("cat", "dog")
    assert files.get("small.txt") is files.get("small.txt")
    found = [len(files.get(f"large{index}.txt")) for index in range(4)]
    assert found[0] == (4 << 20) // len("label of four\n") + 1
    assert found[2:] == [0, 0]  # 8 MiB are read by then
    assert files.get("none.txt") == ()
    assert _LabelFiles(b"no archive").get("small.txt") == ()


# The command


def test_inspect_writes_a_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes((MODELS / "digits.onnx").read_bytes())
    assert main(["inspect", "--contract", str(model)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# A contract for m.onnx to start from.")
    assert f"#   wasinn inspect --contract {model} > {model}.contract.toml" in text.splitlines()
    beside = tmp_path / "m.onnx.contract.toml"
    beside.write_text(text)
    assert main(["inspect", str(model)]) == 0
    assert f"contract    {beside}, which fits" in capsys.readouterr().out
    beside.write_text(text.replace("[8, 8]", "[8, 9]"))
    assert main(["inspect", str(model)]) == 1
    told = capsys.readouterr().out
    assert "the contract is wrong: " in told
    assert "size = [8, 8] would fit" in told


def test_inspect_writes_the_labels(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = data / "mobilenet_v2" / "mobilenet_v2_1.0_224_quant.tflite"
    assert main(["inspect", "--labels", str(model)]) == 0
    labels = (data / "mobilenet_v2" / "imagenet_labels_1001.txt").read_text().splitlines()
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        line.strip() for line in labels
    ]
    assert main(["inspect", "--contract", str(model)]) == 0
    assert f'labels = "{model.name}.labels.txt"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--contract", "@digits", "@digits_u8"], "about one model, and 2 were given"),
        (["--contract", str(MODELS / "README.md")], "cannot be loaded"),
        (["--labels", "@digits"], "has no labels in it"),
    ],
)
def test_what_inspect_refuses(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_contract_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", "--contract", "--json", "@digits"])
    assert "not allowed with" in capsys.readouterr().err


def test_a_model_with_labels_in_it_says_where_a_missing_label_file_comes_from(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_backend("litert")
    model = tmp_path / "m.tflite"
    model.write_bytes((data / "mobilenet_v2" / "mobilenet_v2_1.0_224_quant.tflite").read_bytes())
    assert main(["inspect", "--contract", str(model)]) == 0
    written = capsys.readouterr().out
    assert f"#   wasinn inspect --labels {model} > {model}.labels.txt" in written.splitlines()
    (tmp_path / "m.tflite.contract.toml").write_text(written, encoding="utf-8")
    hint = f"The model's file has labels in it: `wasinn inspect --labels {model} > FILE` writes them"
    with pytest.raises(ConfigError, match=re.escape(hint)):
        DirectGraph("m", str(model))
    assert main(["inspect", str(model)]) == 1
    assert hint in capsys.readouterr().out


def test_the_shipped_models_contracts_are_for_another_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--contract", "@digits"]) == 0
    text = capsys.readouterr().out
    assert "give it with --contract FILE" in text
    assert "#   wasinn inspect --contract @digits > FILE" in text.splitlines()
