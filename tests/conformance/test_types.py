# SPDX-License-Identifier: Apache-2.0
"""Every tensor type comes back bit for bit, under its own number, its wire type's and the older one."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from calls import BOTH, reason
from conformance.cases import CASES, NARROWED, Case, on
from conformance.guests import INVALID, expected_bytes, guest_host, opened
from conformance.recipes import AWKWARD, RECIPES, TYPES, code_of, type_of
from conftest import MakeDriver
from wasinn.spec import TensorType
from wasinn.tensors import Tensor

F32, F64, U8, I32, I64 = (code_of(TensorType.parse(each)) for each in ("f32", "f64", "u8", "i32", "i64"))


@BOTH
@on(*TYPES)
def test_every_type_comes_back_bit_for_bit(drive: MakeDriver, case: Case, recipe: str, hot: bool) -> None:
    guest = opened(drive, case, recipe, hot)
    for seed in range(4):
        guest.infer(seed)


@on(*TYPES)
def test_a_port_takes_its_own_type_and_the_wire_type(case: Case, recipe: str) -> None:
    host, context = guest_host(case, recipe)
    (values,) = RECIPES[recipe].inputs(0)
    spec = host.input_spec(context, 0)[1]
    assert spec.type is RECIPES[recipe].type
    for tensor_type in (spec.type, spec.type.wire):
        host.set_input(context, 0, Tensor(values.shape, tensor_type, memoryview(values.tobytes())))
        host.compute(context)
        found = host.output(context, 0)
        assert (found.dims, found.type) == (values.shape, spec.type)
        assert [bytes(found.data)] == expected_bytes(case, recipe, [values])
    host.close()


#: The type of the same width that a port does not take.
OTHERS = {"identity": I32, "i32": F32, "double": I64, "long": F64}


@BOTH
@on(*OTHERS)
def test_another_type_of_the_same_width_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, recipe: str, hot: bool
) -> None:
    guest = opened(drive, case, recipe, hot)
    inputs = guest.give(1)
    assert guest.set(0, np.zeros_like(inputs[0]), OTHERS[recipe]) == INVALID
    assert f"wanted {type_of(inputs[0], recipe).label}" in reason(caplog)
    assert guest.compute() == 0
    guest.is_right(inputs)


@BOTH
@on("identity")
def test_the_padding_of_a_tensor_s_type_may_be_anything(drive: MakeDriver, case: Case, hot: bool) -> None:
    guest = opened(drive, case, "identity", hot)
    for padding in (0, 0xFFFFFF00, 0x00010200):
        values = np.array([[4, 3, 2, padding]], "<f4")
        tensor = guest.driver.tensor(values.shape, F32, values.tobytes())
        guest.driver.instance.memory[tensor + 8 : tensor + 12] = struct.pack("<I", padding | F32)
        assert guest.driver.call("set_input", guest.context, 0, tensor) == 0
        assert guest.compute() == 0
        guest.is_right([values])


#: The numbers of before October 2023.
OLDER = {"u8": 2, "i32": 3}


@BOTH
@on(*OLDER)
def test_the_older_numbering_is_understood(drive: MakeDriver, case: Case, recipe: str, hot: bool) -> None:
    guest = opened(drive, case, recipe, hot)
    for seed in range(4):
        inputs = RECIPES[recipe].inputs(seed)
        assert guest.set(0, inputs[0], OLDER[recipe]) == 0
        assert guest.compute() == 0
        guest.is_right(inputs)


NARROW = [
    pytest.param(case, recipe, id=f"{case}-{recipe}")
    for case in CASES
    for recipe in sorted(NARROWED.get(case.pair, ()))
]


@pytest.mark.parametrize(("case", "recipe"), NARROW)
def test_what_is_computed_in_fewer_bits_is_right_or_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, recipe: str
) -> None:
    guest = opened(drive, case, recipe)
    tensor_type = TensorType.parse(recipe)
    bits = AWKWARD[tensor_type]
    small = np.ones_like(bits) if recipe != "f64" else np.full(bits.shape, 1.5, "<f8")
    refused = 0
    for values in (small, *(np.full_like(bits, each) for each in bits), small):
        caplog.clear()
        if guest.set(0, values) != 0:
            assert f"computes {recipe} in 32 bits" in reason(caplog)
            refused += 1
            continue
        assert guest.compute() == 0
        (found,) = guest.outputs()
        if recipe == "f64":
            exact = np.frombuffer(values.tobytes(), "<f8")
            np.testing.assert_allclose(np.frombuffer(found, "<f8"), exact, 2**-24, 2.0**-126)
        else:
            assert found == values.tobytes()
    assert 0 < refused < len(bits)
