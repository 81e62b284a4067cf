# SPDX-License-Identifier: Apache-2.0
"""Tensor types as witx numbers them, and as it did before October 2023, told apart by arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

import models
from calls import BOTH, opened, reason, rewound
from conftest import MakeDriver
from wasinn.abi.core.witx import read_type
from wasinn.errors import WasiNNError
from wasinn.spec import WITX_TYPES, WITX_TYPES_BEFORE_2023, TensorType
from wasinn.tensors import TensorSpec, element_count

INVALID = 1
#: (numpy, onnx, today's code, the old code or None)
TYPES: list[tuple[str, int, int, int | None]] = [
    ("<f2", TensorProto.FLOAT16, 0, 0),
    ("<f4", TensorProto.FLOAT, 1, 1),
    ("<f8", TensorProto.DOUBLE, 2, None),
    ("u1", TensorProto.UINT8, 3, 2),
    ("<i4", TensorProto.INT32, 4, 3),
    ("<i8", TensorProto.INT64, 5, None),
]
CASES = [
    pytest.param(dtype, onnx, code, id=f"{np.dtype(dtype).name}-{'old' if code == old else 'new'}-{code}")
    for dtype, onnx, new, old in TYPES
    for code in ([new] if old in (None, new) else [new, old])
]


@BOTH
@pytest.mark.parametrize(("dtype", "onnx", "code"), CASES)
def test_a_guest_of_either_numbering_is_understood(
    drive: MakeDriver, hot: bool, dtype: str, onnx: int, code: int
) -> None:
    driver = drive({"model": models.identity(onnx, (1, 4))}, hot=hot)
    context = driver.open("model")
    for start in range(4):
        values = np.arange(start, start + 4, dtype=dtype).reshape(1, 4)
        with rewound(driver):
            assert driver.set_input(context, 0, [1, 4], code, values.tobytes()) == 0
            assert driver.compute(context) == 0
            assert driver.get_output(context, 0, 64)[:2] == (0, values.tobytes())
    if hot:
        assert context in driver.instance.state.hot_path._records  # type: ignore[union-attr]


@BOTH
def test_a_guest_may_change_its_numbering_halfway(drive: MakeDriver, hot: bool) -> None:
    driver = drive({"model": models.identity(TensorProto.UINT8, (1, 4))}, hot=hot)
    context = driver.open("model")
    for code in (3, 3, 3, 2, 2, 3, 2):
        with rewound(driver):
            assert driver.set_input(context, 0, [1, 4], code, bytes([code, 1, 2, 3])) == 0
            assert driver.compute(context) == 0
            assert driver.get_output(context, 0, 4)[1] == bytes([code, 1, 2, 3])


@BOTH
@pytest.mark.parametrize(
    ("code", "size", "words"),
    [
        (2, 12, "type 2 are 32 bytes of f64, or 4 of u8 as numbered before October 2023; the data has 12"),
        (3, 12, "type 3 are 4 bytes of u8, or 16 of i32 as numbered before October 2023; the data has 12"),
    ],
)
def test_where_no_numbering_fits_both_readings_are_named(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool, code: int, size: int, words: str
) -> None:
    driver, context = opened(drive, models.identity(), hot)
    assert driver.set_input(context, 0, [1, 4], code, bytes(size)) == INVALID
    assert words in reason(caplog)


@pytest.mark.parametrize(
    ("onnx", "code", "size", "words"),
    [
        (TensorProto.DOUBLE, 2, 4, "wanted f64 [1,4], got u8 [1,4]"),
        (TensorProto.UINT8, 2, 32, "wanted u8 [1,4], got f64 [1,4]"),
        (TensorProto.UINT8, 3, 16, "wanted u8 [1,4], got i32 [1,4]"),
        (TensorProto.INT32, 3, 4, "wanted i32 [1,4], got u8 [1,4]"),
    ],
)
def test_the_bytes_decide_not_what_the_model_would_like(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, onnx: int, code: int, size: int, words: str
) -> None:
    driver, context = opened(drive, models.identity(onnx, (1, 4)))
    assert driver.set_input(context, 0, [1, 4], code, bytes(size)) == INVALID
    assert words in reason(caplog)


@pytest.mark.parametrize(("dtype", "onnx", "code"), CASES)
def test_a_tensor_without_elements_is_what_the_model_takes(
    drive: MakeDriver, dtype: str, onnx: int, code: int
) -> None:
    driver, context = opened(drive, models.identity(onnx, ("n", 4)))
    assert driver.set_input(context, 0, [0, 4], code, b"") == 0
    assert driver.compute(context) == 0


specs = st.builds(
    TensorSpec,
    st.just("x"),
    st.sampled_from(TensorType),
    st.none() | st.lists(st.none() | st.integers(0, 8), max_size=4).map(tuple),
    any_size=st.booleans(),
)
lengths_of = st.sampled_from([0, 1, 2, 4, 8])


@given(
    code=st.integers(0, 255),
    dims=st.lists(st.integers(0, 9) | st.integers(0, (1 << 32) - 1), max_size=5).map(tuple),
    width=lengths_of,
    off=st.sampled_from([0, 0, 0, 1, -1]),
    spec=specs,
)
def test_a_type_is_one_whose_size_fits_the_data(
    code: int, dims: tuple[int, ...], width: int, off: int, spec: TensorSpec
) -> None:
    count = element_count(dims)
    length = max(count * width + off, 0)
    readings = [table[code] for table in (WITX_TYPES, WITX_TYPES_BEFORE_2023) if code in table]
    fitting = [each for each in readings if count * each.size == length]
    if code not in WITX_TYPES or (not fitting and not spec.any_size):
        with pytest.raises(WasiNNError, match="invalid_argument"):
            read_type(code, dims, length, spec)
        return
    found = read_type(code, dims, length, spec)
    if spec.any_size:
        assert found in readings
    else:
        assert found in fitting
        assert found is fitting[0] or count == 0
