# SPDX-License-Identifier: Apache-2.0
"""`precision`: what a runtime computes f32 models in, where it can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import models
from conftest import require_backend
from wasinn import ConfigError, ErrorCode, GraphSource, WasiNNError
from wasinn.backends import lookup
from wasinn.runtime.direct import DirectGraph
from wasinn.tensors import Tensor

#: 1 and 2^-10: in bf16, whose mantissa has 8 bits, their product's sum is 1.
VALUES = np.full((1, 64), 1 + 2**-10, "<f4")


def product() -> bytes:
    """y = x w, [1,64] by [64,64]."""
    float_ = TensorProto.FLOAT
    return models.onnx_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", float_, (1, 64))],
        [("y", float_, (1, 64))],
        {"w": np.full((64, 64), 1 + 2**-10, "<f4")},
    )


def source(**options: Any) -> GraphSource:
    return GraphSource.from_bytes(product(), encoding="onnx", **options)


def capabilities() -> set[str]:
    from wasinn.backends import openvino

    return set(openvino._core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def computed(**options: Any) -> float:
    with DirectGraph("m", source(**options)) as graph:
        return float(graph.infer({0: Tensor.of(VALUES)}).outputs[0][0, 0])


EXACT = 64 * (1 + 2**-10) ** 2


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_openvino_computes_in_bf16_only_when_it_is_told(isolation: str) -> None:
    require_backend("openvino")
    if "BF16" not in capabilities():
        pytest.skip("this CPU has no bf16")
    options = {"backend": "openvino", "isolation": isolation}
    assert computed(**options) == pytest.approx(EXACT, rel=1e-6)
    assert computed(**options, precision="f32") == pytest.approx(EXACT, rel=1e-6)
    assert computed(**options, precision="bf16") == 64


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize(("precision", "capability"), [("f16", "FP16"), ("bf16", "BF16")])
def test_openvino_refuses_what_the_device_lacks(isolation: str, precision: str, capability: str) -> None:
    require_backend("openvino")
    if capability in capabilities():
        pytest.skip(f"this CPU has {precision}")
    with pytest.raises(WasiNNError, match="CPU cannot compute in it; it has f32") as caught:
        computed(backend="openvino", isolation=isolation, precision=precision)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPERATION


def test_a_device_that_would_take_another_type_is_found_out() -> None:
    """The CPU takes the hint f16 and computes in bf16, where it has that and no f16."""
    require_backend("openvino")
    if "FP16" in capabilities() or "BF16" not in capabilities():
        pytest.skip("this CPU does not")
    from wasinn.backends import openvino
    from wasinn.backends.base import Model

    network = openvino._read_onnx(Model(builders=(product(),)))
    with pytest.raises(WasiNNError, match="it would compute in bf16"):
        openvino._compile(network, "CPU", {"INFERENCE_PRECISION_HINT": "f16"}, ())


ENCODINGS = {"onnxruntime": "onnx", "tract": "onnx", "litert": "tensorflowlite", "torch": "pytorch"}


@pytest.mark.parametrize("backend", ENCODINGS)
@pytest.mark.parametrize("precision", ["f16", "bf16"])
@pytest.mark.parametrize("isolation", ["none", "process"])
def test_other_backends_refuse_before_they_load(backend: str, precision: str, isolation: str) -> None:
    require_backend(backend)
    options = {"backend": backend, "isolation": isolation, "precision": precision}
    with pytest.raises(WasiNNError, match=f"{backend} computes in the model's own types") as caught:
        DirectGraph("m", GraphSource.from_bytes(b"nothing", encoding=ENCODINGS[backend], **options))
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPERATION
    assert "openvino" in caught.value.reason


@pytest.mark.parametrize("backend", ["onnxruntime", "tract", "openvino"])
def test_f32_is_what_every_backend_does(backend: str) -> None:
    require_backend(backend)
    assert computed(backend=backend, precision="f32") == pytest.approx(EXACT, rel=1e-6)


def test_every_backend_can_be_told_f32() -> None:
    assert all("f32" in backend.precisions for backend in lookup.all_backends())


@pytest.mark.parametrize("value", ["fp16", "", "F32", "int8"])
def test_a_precision_that_is_none(value: str) -> None:
    with pytest.raises(ConfigError, match='precision must be "f32" or "f16" or "bf16"'):
        source(precision=value)


def test_precision_after_the_path_and_in_the_configuration(tmp_path: Path) -> None:
    from wasinn.graphs.config import read_config

    (tmp_path / "m.onnx").write_bytes(product())
    parsed = GraphSource.parse(f"onnx:{tmp_path / 'm.onnx'}?backend=openvino&precision=bf16")
    assert parsed.options.precision == "bf16"
    (tmp_path / "wasinn.toml").write_text('[graphs.m]\nfiles = "m.onnx"\nprecision = "bf16"\n')
    assert read_config(tmp_path / "wasinn.toml").graphs["m"].options.precision == "bf16"
