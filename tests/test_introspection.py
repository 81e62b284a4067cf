# SPDX-License-Identifier: Apache-2.0
"""wasinn's own module: `graph_metadata` (what a model takes and gives, in the words of the Open Inference
Protocol, and its contract), and `last_error` (why the last call that failed did)."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

import models
import wasinn
from calls import BOTH, VALUES, WAMR, WITX, heat, infer, reason, reasons
from conftest import MakeDriver
from driver import Driver
from wasinn import shipped
from wasinn.contracts.contract import Contract
from wasinn.contracts.parse import parse_contract

INVALID, TOO_LARGE = 1, 7


def ask(driver: Driver, graph: int, size: int = 4096) -> tuple[int, bytes, int]:
    buffer, written = driver.put(b"\xaa" * 4096), driver.out()
    code = driver.call("graph_metadata", graph, buffer, size, written)
    return code, driver.get(buffer, 4096), driver.u32(written)


def metadata(driver: Driver, graph: int) -> Any:
    code, data, written = ask(driver, graph)
    assert code == 0
    return json.loads(data[:written])


@pytest.mark.parametrize("module", [WITX, WAMR])
def test_a_guest_learns_the_ports_of_a_graph(drive: MakeDriver, module: str) -> None:
    driver = drive({"sums": models.add()}, module=module)
    assert metadata(driver, driver.load_by_name("sums")[1]) == {
        "name": "sums",
        "platform": "onnxruntime",
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 4]},
            {"name": "b", "datatype": "FP32", "shape": [1, 4]},
        ],
        "outputs": [
            {"name": "sum", "datatype": "FP32", "shape": [1, 4]},
            {"name": "difference", "datatype": "FP32", "shape": [1, 4]},
        ],
        "label": {"producer": "wasinn-tests", "ir_version": 8, "opsets": {"ai.onnx": 17}},
    }


def test_a_dynamic_dimension_is_minus_one_and_a_scalar_has_none(drive: MakeDriver) -> None:
    driver = drive({"dynamic": models.identity(dims=("n", 3, None)), "scalar": models.identity(dims=())})
    dynamic, scalar = (metadata(driver, driver.load_by_name(name)[1]) for name in ("dynamic", "scalar"))
    assert dynamic["inputs"][0]["shape"] == dynamic["outputs"][0]["shape"] == [-1, 3, -1]
    assert scalar["inputs"][0]["shape"] == []


@pytest.mark.parametrize(
    ("onnx", "datatype"),
    [
        (TensorProto.FLOAT16, "FP16"),
        (TensorProto.BFLOAT16, "BF16"),
        (TensorProto.FLOAT, "FP32"),
        (TensorProto.DOUBLE, "FP64"),
        (TensorProto.UINT8, "UINT8"),
        (TensorProto.INT8, "INT8"),
        (TensorProto.INT32, "INT32"),
        (TensorProto.INT64, "INT64"),
        (TensorProto.BOOL, "BOOL"),
    ],
)
def test_types_have_the_protocols_names(drive: MakeDriver, onnx: int, datatype: str) -> None:
    driver = drive({"model": models.identity(onnx, (1,))})
    assert metadata(driver, driver.load_by_name("model")[1])["inputs"][0]["datatype"] == datatype


def test_a_graph_from_bytes_has_no_name(drive: MakeDriver) -> None:
    driver = drive()
    assert metadata(driver, driver.load(models.identity())[1])["name"] == ""


def test_a_buffer_that_is_too_small_is_told_the_size(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive({"model": models.identity()})
    graph = driver.load_by_name("model")[1]
    needed = ask(driver, graph)[2]
    for size in (0, 1, needed - 1):
        assert ask(driver, graph, size) == (TOO_LARGE, b"\xaa" * 4096, needed)
        assert f"the metadata has {needed} bytes, and the buffer {size}" in reason(caplog)
    code, data, written = ask(driver, graph, needed)
    assert (code, written) == (0, needed)
    assert data[needed:] == b"\xaa" * (4096 - needed)


def test_an_unknown_graph_has_no_metadata(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(drive(), 0)[0] == INVALID
    assert "there is no graph 0" in reason(caplog)


# -- the contract -----------------------------------------------------------------------------------------


def parsed(text: str) -> Contract:
    return parse_contract(tomllib.loads(text), Path(), "contract.toml", text)


def contract_of(drive: MakeDriver, source: wasinn.GraphSource) -> Any:
    driver = drive({"model": source})
    return metadata(driver, driver.load_by_name("model")[1])["contract"]


def described(drive: MakeDriver, model: bytes, text: str, **options: Any) -> Any:
    return contract_of(drive, wasinn.GraphSource.from_bytes(model, contract=parsed(text), **options))


PICTURE = """
[input.image]
layout = "NCHW"
size = [2, 3]
colour = "BGR"
range = [-1.0, 1.0]
mean = [0.5, 0.25, 0.125]
resize = "nearest"
fit = "letterbox"
fill = [1, 2, 3]
"""
IMAGE = {
    "layout": "NCHW",
    "size": [2, 3],
    "colour": "BGR",
    "range": [-1.0, 1.0],
    "mean": [0.5, 0.25, 0.125],
    "std": [1.0, 1.0, 1.0],
    "resize": "nearest",
    "antialias": True,
    "fit": "letterbox",
    "crop": None,
    "fill": [1, 2, 3],
    "invert": False,
}


def test_the_contract_stands_in_the_metadata_in_full(drive: MakeDriver) -> None:
    text = PICTURE + "[output.scores]\nkind = 'logits'\nlabels = ['a', 'b']\nlabel_offset = -16\n"
    assert described(drive, models.identity(dims=("n", 3, 2, 3)), text) == {
        "inputs": [
            {"name": "image", "port": "x", "index": 0, "type": "f32", "dims": [-1, 3, 2, 3], "image": IMAGE}
        ],
        "outputs": [
            {
                "name": "scores",
                "port": "y",
                "index": 0,
                "kind": "logits",
                "layout": "NCHW",
                "type": "f32",
                "labels": ["a", "b"],
                "label_offset": -16,
                "classes": 18,
            }
        ],
    }


def digits_u8(options: str = "") -> wasinn.GraphSource:
    contract = shipped.ROOT / "models" / "digits_u8.tflite.contract.toml"
    return wasinn.GraphSource.parse(f"tensorflowlite:@digits_u8.tflite?contract={contract}{options}")


def test_a_graph_without_a_contract_has_none_in_its_metadata(drive: MakeDriver) -> None:
    driver = drive({"model": models.identity()})
    assert "contract" not in metadata(driver, driver.load_by_name("model")[1])


@pytest.mark.parametrize("module", [WITX, WAMR])
def test_a_shipped_model_says_what_its_quantized_ports_mean(drive: MakeDriver, module: str) -> None:
    pytest.importorskip("ai_edge_litert")
    driver = drive({"digits": digits_u8()}, module=module)
    found = metadata(driver, driver.load_by_name("digits")[1])
    (image,), (scores,) = found["contract"]["inputs"], found["contract"]["outputs"]
    assert image["type"] == scores["type"] == "u8"
    assert image["dims"] == found["inputs"][0]["shape"]
    assert "model" not in (image.get("quantization"), scores["quantization"])
    assert scores["quantization"] == found["outputs"][0]["quantization"]
    assert (scores["classes"], scores["labels"][0]) == (10, "0")


def test_real_numbers_for_a_quantized_port_are_not_to_be_quantized_again(drive: MakeDriver) -> None:
    pytest.importorskip("ai_edge_litert")
    found = contract_of(drive, digits_u8("&quantization=affine"))
    for port in (*found["inputs"], *found["outputs"]):
        assert port["type"] == "f32"
        assert "quantization" not in port


def test_guests_of_another_contract_are_told_theirs(drive: MakeDriver) -> None:
    theirs = parsed("[input.photo]\ntype = 'u8'\nlayout = 'NHWC'\nsize = [2, 3]\nrange = [0.0, 255.0]\n")
    found = described(drive, models.identity(dims=(1, 3, 2, 3)), PICTURE, guests=theirs)
    (port,) = found["inputs"]
    assert (port["name"], port["port"], port["type"], port["dims"]) == ("photo", "photo", "u8", [1, 2, 3, 3])
    assert (port["image"]["layout"], port["image"]["colour"]) == ("NHWC", "RGB")
    assert found["outputs"] == []


def test_open_dims_and_types_are_those_of_the_contract(drive: MakeDriver) -> None:
    text = "[input.x]\ndims = [-1, 4]\n[output.y]\nkind = 'mask'\nlayout = 'HW'\n"
    found = described(drive, models.identity(dims=(1, None)), text)
    assert found["inputs"][0]["dims"] == [1, 4]
    assert "image" not in found["inputs"][0]
    assert (found["outputs"][0]["layout"], found["outputs"][0]["labels"]) == ("HW", None)


def test_boxes_name_their_further_outputs_by_index(drive: MakeDriver) -> None:
    text = (
        "[output.boxes]\nport = 'sum'\nkind = 'boxes'\nform = 'separate'\nformat = 'xyxy'\n"
        "relative = true\nscores = 'difference'\n"
    )
    (found,) = described(drive, models.add(), text)["outputs"]
    assert found["boxes"] | {"form": "separate", "format": "xyxy", "scores": 1} == found["boxes"]


def test_the_index_is_the_one_that_set_input_takes(drive: MakeDriver) -> None:
    found = described(drive, models.add(), "[input.b]\n[output.difference]\n")
    assert [(each["name"], each["index"]) for each in (*found["inputs"], *found["outputs"])] == [
        ("b", 1),
        ("difference", 1),
    ]


# -- the last error -----------------------------------------------------------------------------------------


def last_error(driver: Driver, size: int = 4096) -> tuple[int, str, int]:
    buffer, written = driver.put(b"\xaa" * 4096), driver.out()
    code = driver.call("last_error", buffer, size, written)
    count = driver.u32(written)
    data = driver.get(buffer, 4096)
    if code == 0:
        assert data[count:] == b"\xaa" * (4096 - count)
    return code, data[:count].decode() if code == 0 else "", count


@pytest.mark.parametrize("module", [WITX, WAMR])
def test_no_call_that_failed_is_no_text(drive: MakeDriver, module: str) -> None:
    driver = drive({"model": models.identity()}, module=module)
    assert last_error(driver) == (0, "", 0)
    assert last_error(driver, 0) == (0, "", 0)
    assert driver.load_by_name("model")[0] == 0
    assert last_error(driver) == (0, "", 0)


@BOTH
def test_the_last_error_is_the_reason_of_the_log(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool
) -> None:
    driver = drive({"model": models.identity()}, hot=hot)
    context = driver.open("model")
    if hot:
        heat(driver, context)
    assert driver.set_f32(context, 0, VALUES[:, :3]) == INVALID
    line = reason(caplog)
    code, text, size = last_error(driver)
    assert (code, size) == (0, len(text))
    assert text.startswith("wanted f32 [1,4], got f32 [1,3]")
    assert line.endswith(f"-> invalid_argument (1): {text}")
    # It stays through calls that succeed, and is replaced by the next failure.
    infer(driver, context)
    assert last_error(driver)[1] == text
    assert driver.compute(99) == INVALID
    assert last_error(driver)[1].startswith("there is no context 99")


def test_asking_for_the_last_error_does_not_change_it(drive: MakeDriver) -> None:
    driver = drive()
    assert ask(driver, 7)[0] == INVALID
    _, text, size = last_error(driver)
    assert text.startswith("there is no graph 7")
    for small in (0, 1, size - 1):
        assert last_error(driver, small) == (TOO_LARGE, "", size)
    far = 0xFFFFFFF0
    assert driver.call("last_error", far, 100, driver.out()) == INVALID
    assert driver.call("last_error", driver.put(bytes(4096)), 4096, far + 12) == INVALID
    assert last_error(driver, size) == (0, text, size)


def test_a_metadata_buffer_that_is_too_small_is_an_error_like_others(drive: MakeDriver) -> None:
    driver = drive({"model": models.identity()})
    graph = driver.load_by_name("model")[1]
    assert ask(driver, graph, 1)[0] == TOO_LARGE
    assert last_error(driver)[1].startswith("the metadata has ")


def test_errors_that_are_no_longer_logged_are_still_told(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive()
    for number in range(120):
        assert driver.compute(number) == INVALID
    assert len(reasons(caplog)) < 120
    assert last_error(driver)[1].startswith("there is no context 119")


def test_a_reason_is_cut_as_in_the_log(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    driver = drive({f"{number:04}-{'é' * 80}": models.identity() for number in range(40)})
    assert driver.load_by_name("unknown")[0] != 0
    text = last_error(driver)[1]
    assert text.endswith(" ...")
    assert len(text) == 1004
    assert reason(caplog).endswith(text)


def test_each_instance_has_its_own_last_error(drive: MakeDriver) -> None:
    host = wasinn.Host()
    one, other = drive(host=host), drive(host=host)
    assert one.compute(0) == INVALID
    assert last_error(one)[1] != ""
    assert last_error(other)[1] == ""
