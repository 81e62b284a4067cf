# SPDX-License-Identifier: Apache-2.0
"""`wasinn.graph_metadata`: what a model takes and gives, in the words of the Open Inference Protocol."""

from __future__ import annotations

import json
from typing import Any

import pytest
from onnx import TensorProto

import models
from calls import WAMR, WITX, reason
from conftest import MakeDriver
from driver import Driver

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
