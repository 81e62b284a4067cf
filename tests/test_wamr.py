# SPDX-License-Identifier: Apache-2.0
"""WAMR's module `wasi_nn`: tensors of 12 bytes with nested dims, sizes in elements, numbers of its own."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from onnx import TensorProto

import models
import wasinn
from calls import VALUES, WAMR, reason
from conftest import MakeDriver
from driver import Driver
from wasinn.spec import Encoding

INVALID, ENCODING, RUNTIME, UNSUPPORTED, TOO_LARGE, NOT_FOUND = 1, 2, 5, 6, 7, 8


def load(driver: Driver, *builders: bytes, encoding: int = 1, target: int = 0) -> tuple[int, int]:
    pairs = b"".join(struct.pack("<II", driver.put(each), len(each)) for each in builders)
    array, out = driver.put(struct.pack("<II", driver.put(pairs), len(builders))), driver.out()
    return driver.call("load", array, encoding, target, out), driver.u32(out)


def set_input(driver: Driver, context: int, index: int, dims: Sequence[int], code: int, data: bytes) -> int:
    buffer = driver.put(struct.pack(f"<{len(dims)}I", *dims))
    nested = driver.put(struct.pack("<II", buffer, len(dims)))
    tensor = driver.put(struct.pack("<III", nested, code | 0xABCDEF00, driver.put(data)))
    return driver.call("set_input", context, index, tensor)


def get_output(driver: Driver, context: int, index: int, elements: int) -> tuple[int, bytes, int]:
    """(errno, the buffer, what the size says)."""
    buffer, size = driver.put(b"\xaa" * 256), driver.put(struct.pack("<I", elements))
    code = driver.call("get_output", context, index, buffer, size)
    return code, driver.get(buffer, 256), driver.u32(size)


def opened(drive: MakeDriver, model: bytes) -> tuple[Driver, int]:
    driver = drive({"model": model}, module=WAMR)
    return driver, driver.open("model")


@pytest.mark.parametrize(
    ("dtype", "onnx", "code"),
    [
        ("<f2", TensorProto.FLOAT16, 0),
        ("<f4", TensorProto.FLOAT, 1),
        ("u1", TensorProto.UINT8, 2),
        ("<i4", TensorProto.INT32, 3),
    ],
)
def test_an_inference_in_each_type_of_wamr(drive: MakeDriver, dtype: str, onnx: int, code: int) -> None:
    driver = drive(module=WAMR)
    assert load(driver, models.identity(onnx, (1, 2, 3))) == (0, 0)
    assert driver.context(0) == (0, 0)
    values = np.arange(6, dtype=dtype).reshape(1, 2, 3)
    assert set_input(driver, 0, 0, [1, 2, 3], code, values.tobytes()) == 0
    assert driver.compute(0) == 0
    code, data, elements = get_output(driver, 0, 0, 64)
    assert (code, elements) == (0, 6)
    assert data[: values.nbytes] == values.tobytes()
    assert data[values.nbytes :] == b"\xaa" * (256 - values.nbytes)


def test_several_inputs_and_outputs(drive: MakeDriver) -> None:
    driver, context = opened(drive, models.add())
    for index in (1, 0):
        assert set_input(driver, context, index, [1, 4], 1, VALUES.tobytes()) == 0
    assert driver.compute(context) == 0
    assert np.frombuffer(get_output(driver, context, 0, 4)[1][:16], "<f4").tolist() == [2, 4, 6, 8]
    assert np.frombuffer(get_output(driver, context, 1, 4)[1][:16], "<f4").tolist() == [0, 0, 0, 0]


def test_the_size_counts_elements_not_bytes(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    driver, context = opened(drive, models.identity())
    assert set_input(driver, context, 0, [1, 4], 1, VALUES.tobytes()) == 0
    assert driver.compute(context) == 0
    for elements in (0, 1, 3):
        assert get_output(driver, context, 0, elements) == (TOO_LARGE, b"\xaa" * 256, 4)
        assert f"the buffer has {elements} elements; the needed number was written back" in reason(caplog)
    code, data, elements = get_output(driver, context, 0, 4)
    assert (code, elements) == (0, 4)
    assert data == VALUES.tobytes() + b"\xaa" * 240


def test_a_scalar_has_no_dims_or_one(drive: MakeDriver) -> None:
    driver, context = opened(drive, models.identity(dims=()))
    for dims in ([], [1]):
        assert set_input(driver, context, 0, dims, 1, b"\0\0\x80?") == 0
        assert driver.compute(context) == 0
        assert get_output(driver, context, 0, 1)[1][:4] == b"\0\0\x80?"


@pytest.mark.parametrize("code", [4, 5, 255])
def test_a_type_that_wamr_does_not_have_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    driver, context = opened(drive, models.identity())
    assert set_input(driver, context, 0, [1, 4], code, bytes(32)) == INVALID
    assert f"{code} is no tensor type of WAMR's wasi_nn; known: 0 f16, 1 f32, 2 u8, 3 i32" in reason(caplog)


@pytest.mark.parametrize("dims", [[1 << 31], [1 << 31] * 8, [(1 << 32) - 1] * 32, [1] * 33, [1, 4, 1 << 20]])
def test_dims_that_reach_out_of_the_memory_are_refused(drive: MakeDriver, dims: list[int]) -> None:
    driver, context = opened(drive, models.identity())
    assert set_input(driver, context, 0, dims, 1, bytes(32)) == INVALID


def test_a_tensor_of_another_shape_is_refused_with_the_likely_cause(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver, context = opened(drive, models.identity())
    assert set_input(driver, context, 0, [4], 1, bytes(16)) == INVALID
    assert "is the batch dimension missing" in reason(caplog)
    assert set_input(driver, context, 0, [1, 4], 2, bytes(4)) == INVALID
    assert "wanted f32 [1,4], got u8 [1,4]" in reason(caplog)


def test_the_order_of_calls_is_held(drive: MakeDriver) -> None:
    driver, context = opened(drive, models.add())
    assert get_output(driver, context, 0, 4)[0] == RUNTIME
    assert driver.compute(context) == INVALID
    assert set_input(driver, context, 0, [1, 4], 1, VALUES.tobytes()) == 0
    assert driver.compute(context) == INVALID
    assert get_output(driver, context, 0, 4)[0] == RUNTIME


def test_onnx_is_one_in_wamr_too_and_autodetect_six(drive: MakeDriver) -> None:
    driver = drive(module=WAMR)
    assert load(driver, models.identity(), encoding=1) == (0, 0)
    assert load(driver, models.identity(), encoding=6) == (0, 1)


def test_five_is_ggml_in_wamr(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    driver = drive(module=WAMR, permissions=wasinn.Permissions(encodings=frozenset({Encoding.ONNX})))
    assert load(driver, models.identity(), encoding=5)[0] == UNSUPPORTED
    assert "load ggml bytes" in reason(caplog)
    assert load(driver, models.identity(), encoding=6)[0] == 0


@pytest.mark.parametrize("encoding", [7, 255, 1 << 31])
def test_an_unknown_encoding_is_refused(drive: MakeDriver, encoding: int) -> None:
    assert load(drive(module=WAMR), models.identity(), encoding=encoding)[0] == ENCODING


def test_an_unknown_encoding_is_told_wamrs_numbers(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    assert load(drive(module=WAMR), models.identity(), encoding=9)[0] == ENCODING
    assert "5 ggml, 6 autodetect" in reason(caplog)


def test_no_builders_with_a_dangling_pointer_is_an_invalid_argument(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive(module=WAMR)
    array = driver.put(struct.pack("<II", 0xFFFFFFF0, 0))
    assert driver.call("load", array, 1, 0, driver.out()) == INVALID
    assert "no builders" in reason(caplog)


def test_graphs_are_loaded_by_name_with_a_config_and_without(drive: MakeDriver) -> None:
    driver = drive({"model": models.identity()}, module=WAMR)
    name, config, out = driver.put(b"model"), driver.put(b"{}"), driver.out()
    assert driver.load_by_name("model") == (0, 0)
    assert driver.call("load_by_name_with_config", name, 5, config, 2, out) == 0
    assert driver.load_by_name("/etc/passwd")[0] == NOT_FOUND
