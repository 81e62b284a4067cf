# SPDX-License-Identifier: Apache-2.0
"""Real numbers and the integers that stand for them: the arithmetic, `affine`, and WAMR's own way."""

from __future__ import annotations

import logging
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasinn
from calls import WAMR, reason
from conftest import MakeDriver, require_backend
from driver import Driver
from wasinn.contracts.quantization import dequantize, is_quantized, quantize, quantize_truncating
from wasinn.spec import TensorType
from wasinn.tensors import Quantization, TensorSpec

INVALID, UNSUPPORTED, TOO_LARGE = 1, 6, 7
F32, U8 = 1, 3
INTEGERS = {
    TensorType.U8: (0, 255),
    TensorType.I8: (-128, 127),
    TensorType.I16: (-(2**15), 2**15 - 1),
    TensorType.U16: (0, 2**16 - 1),
    TensorType.I32: (-(2**31), 2**31 - 1),
}


def one(scale: float, zero_point: int) -> Quantization:
    return Quantization((scale,), (zero_point,))


def f32(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, "<f4")


# -- the arithmetic -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "integer"),
    [
        (0.5, 1),
        (-0.5, -1),
        (1.5, 2),
        (2.5, 3),
        (-2.5, -3),
        (0.49999997, 0),
        (-0.49999997, 0),
        (2.4999998, 2),
        (126.5, 127),
        (8388607.5, 127),
        (127.4, 127),
        (127.6, 127),
        (-128.4, -128),
        (-1e30, -128),
        (math.inf, 127),
        (-math.inf, -128),
        (math.nan, 0),
        (-0.0, 0),
        (1e-45, 0),
    ],
)
def test_halves_go_away_from_zero_and_the_rest_saturates(value: float, integer: int) -> None:
    assert quantize(f32(value), one(1.0, 0), TensorType.I8).tolist() == [integer]


def test_the_zero_point_is_added_after_rounding() -> None:
    """TensorFlow Lite rounds x / scale, so that 0.5 rounds up below a zero point as above it."""
    assert quantize(f32(-0.5, 0.5), one(1.0, 128), TensorType.U8).tolist() == [127, 129]
    assert quantize(f32(math.nan), one(1.0, 128), TensorType.U8).tolist() == [128]


@pytest.mark.parametrize("kind", INTEGERS)
def test_each_type_saturates_at_its_own_ends(kind: TensorType) -> None:
    low, high = INTEGERS[kind]
    result = quantize(f32(-3e38, 3e38, 0), one(0.5, 3), kind)
    assert (result.dtype.itemsize, result.tolist()) == (kind.size, [low, high, 3])


def test_i32_keeps_what_f32_cannot_hold() -> None:
    values = dequantize(np.array([2**24 + 1], "<i4"), one(0.5, 0))
    assert values.dtype == np.float32
    assert quantize(f32(2.0**30), one(1.0, 1), TensorType.I32).tolist() == [2**30 + 1]


def test_each_channel_has_its_scale_and_zero_point() -> None:
    quantization = Quantization((1.0, 0.5, 0.1), (0, 10, -5), 1)
    values = np.array([[[1, 2], [1, 2], [1, 2]]], "<f4")
    integers = quantize(values, quantization, TensorType.I8)
    assert integers.tolist() == [[[1, 2], [12, 14], [5, 15]]]
    assert np.allclose(dequantize(integers, quantization), values)


@given(
    st.sampled_from(list(INTEGERS)),
    st.floats(2.0**-20, 2.0**10, width=32),
    st.data(),
)
def test_an_integer_comes_back_as_itself(kind: TensorType, scale: float, data: st.DataObject) -> None:
    low, high = INTEGERS[kind]
    if kind is TensorType.I32:  # f32 between them holds 24 bits
        low, high = -(2**22), 2**22
    integer = data.draw(st.integers(low, high))
    zero_point = data.draw(st.integers(low, high))
    integers = np.array([integer], INTEGER_TYPES[kind])
    quantization = one(scale, zero_point)
    assert quantize(dequantize(integers, quantization), quantization, kind).tolist() == [integer]


INTEGER_TYPES = dict(zip(INTEGERS, ("u1", "i1", "<i2", "<u2", "<i4"), strict=True))


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=20),
    st.floats(2.0**-20, 2.0**10, width=32),
    st.integers(0, 255),
)
def test_quantizing_is_what_tensorflow_lite_s_reference_kernel_does(
    values: list[float], scale: float, zero_point: int
) -> None:
    def reference(value: float) -> int:
        scaled = float(np.float32(value) / np.float32(scale))
        if math.isnan(scaled):
            return zero_point
        if math.isinf(scaled) or abs(scaled) > 1e6:
            return 255 if scaled > 0 else 0
        rounded = math.floor(abs(scaled) + 0.5)  # exact in doubles
        return min(max(int(math.copysign(rounded, scaled)) + zero_point, 0), 255)

    with np.errstate(all="ignore"):
        wanted = [reference(value) for value in values]
    assert quantize(f32(*values), one(scale, zero_point), TensorType.U8).tolist() == wanted


@pytest.mark.parametrize(
    ("value", "integer"),
    [(0.6, 128), (0.99, 128), (-0.6, 127), (-0.1, 127), (1.0, 129), (1e9, 255), (-1e9, 0)],
)
def test_wamr_cuts_off_after_adding_the_zero_point(value: float, integer: int) -> None:
    assert quantize_truncating(f32(value), one(1.0, 128), TensorType.U8).tolist() == [integer]


# -- through a guest ----------------------------------------------------------------------------------


@pytest.fixture
def quantized() -> bytes:
    """y = x, u8 [1,4], scale 1/128, zero point 128."""
    require_backend("litert")
    from zoo.tensorflowlite import quantized_identity

    builders = quantized_identity(TensorType.U8, 1 / 128, 128, (1, 4))
    assert builders is not None
    return builders[0]


def source(model: bytes, **options: Any) -> wasinn.GraphSource:
    return wasinn.GraphSource.from_bytes(model, encoding="tensorflowlite", **options)


def test_bytes_pass_raw_unless_the_operator_says_otherwise(
    drive: MakeDriver, quantized: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    guest = drive({"m": source(quantized)})
    context = guest.open("m")
    assert guest.set_input(context, 0, [1, 4], U8, bytes([0, 1, 128, 255])) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == bytes([0, 1, 128, 255])
    with caplog.at_level(logging.WARNING):
        assert guest.set_f32(context, 0, [[0, 0, 0, 0]]) == INVALID
    assert "do not scale the picture to floats" in reason(caplog)


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_affine_takes_and_gives_real_numbers(drive: MakeDriver, quantized: bytes, isolation: str) -> None:
    guest = drive({"m": source(quantized, quantization="affine", isolation=isolation)})
    context = guest.open("m")
    for _ in range(3):
        assert guest.set_f32(context, 0, [[-1, 0, 0.5, 7]]) == 0
        assert guest.compute(context) == 0
        assert guest.get_f32(context, 0) == [-1, 0, 0.5, 127 / 128]
    assert guest.set_input(context, 0, [1, 4], U8, bytes(4)) == INVALID
    specs = guest.instance.state.host.context(context).graph.graph
    assert [str(spec) for spec in (*specs.inputs, *specs.outputs)] == ["f32 [1,4]"] * 2


def test_affine_on_a_graph_that_is_not_quantized_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    guest = drive({"m": wasinn.GraphSource.parse("onnx:@identity?quantization=affine")})
    with caplog.at_level(logging.WARNING):
        assert guest.load_by_name("m")[0] == UNSUPPORTED
    assert "no input or output of this graph is quantized" in reason(caplog)


def wamr_tensor(driver: Driver, code: int, dims: list[int], data: bytes) -> int:
    nested = driver.put(struct.pack("<II", driver.put(struct.pack(f"<{len(dims)}I", *dims)), len(dims)))
    return driver.put(struct.pack("<III", nested, code, driver.put(data)))


def test_guests_of_wamr_s_dialect_rely_on_the_host_to_quantize(drive: MakeDriver, quantized: bytes) -> None:
    guest = drive({"m": source(quantized)}, module=WAMR)
    context = guest.open("m")
    values = f32(-1, 0.3, 0.5, 7)
    assert guest.call("set_input", context, 0, wamr_tensor(guest, F32, [1, 4], values.tobytes())) == 0
    assert guest.compute(context) == 0
    buffer, size = guest.put(bytes(16)), guest.put(struct.pack("<I", 4))
    assert guest.call("get_output", context, 0, buffer, size) == 0
    assert guest.u32(size) == 4, "elements"
    # 0.3 * 128 + 128 = 166.4 is cut off to 166.
    assert np.frombuffer(guest.get(buffer, 16), "<f4").tolist() == [-1, 38 / 128, 0.5, 127 / 128]
    guest.instance.memory[size : size + 4] = struct.pack("<I", 3)
    assert guest.call("get_output", context, 0, buffer, size) == TOO_LARGE
    assert guest.u32(size) == 4


@pytest.mark.parametrize(("dims", "count"), [([4], 4), ([1, 5], 5), ([1, 3], 3)])
def test_a_float_tensor_of_other_dims_is_refused_in_wamr_s_dialect_too(
    drive: MakeDriver, quantized: bytes, dims: list[int], count: int
) -> None:
    guest = drive({"m": source(quantized)}, module=WAMR)
    context = guest.open("m")
    assert guest.call("set_input", context, 0, wamr_tensor(guest, F32, dims, bytes(4 * count))) == INVALID


def test_the_bytes_themselves_are_taken_in_wamr_s_dialect(drive: MakeDriver, quantized: bytes) -> None:
    guest = drive({"m": source(quantized)}, module=WAMR)
    context = guest.open("m")
    assert guest.call("set_input", context, 0, wamr_tensor(guest, 2, [1, 4], bytes([0, 64, 128, 255]))) == 0
    assert guest.compute(context) == 0
    buffer, size = guest.put(bytes(16)), guest.put(struct.pack("<I", 4))
    assert guest.call("get_output", context, 0, buffer, size) == 0
    assert np.frombuffer(guest.get(buffer, 16), "<f4").tolist() == [-1, -0.5, 0, 127 / 128]


def test_floats_of_a_float_model_stay_as_they_are_in_wamr_s_dialect(drive: MakeDriver) -> None:
    guest = drive({"m": wasinn.GraphSource.parse("onnx:@identity")}, module=WAMR)
    context = guest.open("m")
    values = f32(0.1, 0.2, 0.3, 0.4)
    assert guest.call("set_input", context, 0, wamr_tensor(guest, F32, [1, 4], values.tobytes())) == 0
    assert guest.compute(context) == 0
    buffer, size = guest.put(bytes(16)), guest.put(struct.pack("<I", 4))
    assert guest.call("get_output", context, 0, buffer, size) == 0
    assert guest.get(buffer, 16) == values.tobytes()


@pytest.mark.parametrize(
    ("quantization", "dims"),
    [
        (Quantization((1.0, 2.0), (0, 0)), (1, 4)),
        (Quantization((1.0, 2.0), (0, 0), 1), (1, 4)),
        (Quantization((1.0, 2.0), (0, 0), 7), (1, 2)),
        (Quantization((1.0,), (10**400,)), (1, 4)),
    ],
)
def test_a_quantization_that_does_not_fit_its_port_is_refused(quantization: Quantization, dims: Any) -> None:
    spec = TensorSpec("x", TensorType.U8, dims, quantization)
    with pytest.raises(wasinn.WasiNNError, match="does not fit u8"):
        is_quantized(spec)
