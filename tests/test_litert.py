# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite models on LiteRT, called by a guest: types, shapes, ports, contexts, real models."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wasinn
from conftest import MakeDriver, require_backend
from driver import Driver
from wasinn.graphs.loader import Loader
from wasinn.graphs.registry import Registry
from wasinn.host import GuestHost, Shared
from wasinn.spec import TensorType
from wasinn.tensors import Quantization, Tensor, TensorSpec
from zoo import Builders
from zoo import tensorflowlite as zoo

F16, F32, F64, U8, I32, I64 = range(6)
TFLITE = 4
INVALID_ARGUMENT, INVALID_ENCODING, RUNTIME_ERROR, UNSUPPORTED = 1, 2, 5, 6


@pytest.fixture(autouse=True)
def _litert() -> None:
    require_backend("litert")


def source(model: Builders | None, **options: Any) -> wasinn.GraphSource:
    assert model is not None
    return wasinn.GraphSource.from_bytes(*model, encoding="tensorflowlite", backend="litert", **options)


def loaded(model: Builders | None, **options: Any) -> Any:
    return Loader().load(source(model, **options)).graph


def reasons(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.name == "wasinn.guest")


def run_f32(guest: Driver, context: int, *inputs: Any) -> list[float]:
    """One inference on f32 inputs; output 0."""
    for index, values in enumerate(inputs):
        assert guest.set_f32(context, index, values) == 0
    assert guest.compute(context) == 0
    return guest.get_f32(context, 0)


# -- types ------------------------------------------------------------------------------------------

#: Values that a conversion, a comparison or a float register would change.
AWKWARD: dict[str, tuple[int, Any]] = {
    "f16": (F16, np.array([0x7D01, 0xFE55, 0x8000, 0x0001, 0x83FF, 0x7C00], "<u2")),
    "f32": (F32, np.array([0x7FA00001, 0xFFC12345, 1 << 31, 1, 0x807FFFFF], "<u4")),
    "f64": (F64, np.array([0x7FF4000000000001, 1 << 63, 1, 0xFFF8 << 48], "<u8")),
    "u8": (U8, np.arange(256, dtype="u1")),
    "i32": (I32, np.array([-(2**31), 2**31 - 1, -1, 0, 2**24 + 1], "<i4")),
    "i64": (I64, np.array([2**40, -(2**63), 2**63 - 1, 2**53 + 1], "<i8")),
    "i8": (U8, np.arange(-128, 128).astype("i1")),
    "bool": (U8, np.array([0, 1, 1, 0], "u1")),
    "i16": (F16, np.array([-(2**15), 2**15 - 1, -1], "<i2")),
    "u16": (F16, np.array([0, 2**16 - 1, 2**15], "<u2")),
    "u32": (I32, np.array([0, 2**32 - 1, 2**31], "<u4")),
    "u64": (I64, np.array([0, 2**64 - 1, 2**63, 2**53 + 1], "<u8")),
    "f8e4m3fn": (U8, np.arange(256, dtype="u1")),
    "f8e5m2": (U8, np.arange(256, dtype="u1")),
}


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("name", AWKWARD)
def test_every_type_comes_back_bit_for_bit(drive: MakeDriver, name: str, hot: bool) -> None:
    code, values = AWKWARD[name]
    guest = drive({"m": source(zoo.identity(TensorType.parse(name), values.shape))}, hot=hot)
    context = guest.open("m")
    for shift in range(4):
        data = np.roll(values, shift).tobytes()
        assert guest.set_input(context, 0, values.shape, code, data) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, data)


@pytest.mark.parametrize("dims", [[], [1]])
@pytest.mark.parametrize("name", AWKWARD)
def test_a_scalar_of_every_type_comes_back_bit_for_bit(drive: MakeDriver, name: str, dims: list[int]) -> None:
    code, values = AWKWARD[name]
    guest = drive({"m": source(zoo.identity(TensorType.parse(name), ()))})
    context = guest.open("m")
    for value in values[:3]:
        assert guest.set_input(context, 0, dims, code, value.tobytes()) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, value.tobytes())
    size = values.itemsize
    assert guest.set_input(context, 0, [1, 1], code, bytes(size)) == INVALID_ARGUMENT
    assert guest.set_input(context, 0, [2], code, bytes(2 * size)) == INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, "WASI-NN has no tensor type for it") for name in ("string", "complex64", "complex128")),
        *((name, "WASI-NN has no tensor type for it") for name in ("resource", "variant")),
        *((name, "WASI-NN has no tensor type for it") for name in ("int4", "uint4", "int2")),
        ("bf16", "LiteRT's Python binding cannot reach its bytes"),
    ],
)
def test_a_port_that_wasi_nn_cannot_carry_is_refused_by_name(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, name: str, why: str
) -> None:
    with caplog.at_level(logging.WARNING):
        code, _ = drive().load(zoo.build(zoo.same(name, (1, 4))), encoding=TFLITE)
    assert code == UNSUPPORTED
    assert "the input 'x' is " in reasons(caplog)
    assert why in reasons(caplog)


@pytest.mark.parametrize("hot", [False, True])
def test_every_byte_of_a_bool_tensor_that_is_not_0_is_true(drive: MakeDriver, hot: bool) -> None:
    """LiteRT's kernel adds the bytes up to know how many indices it will write, and writes fewer."""
    guest = drive({"m": source(zoo.where(64))}, hot=hot)
    context = guest.open("m")
    for byte in (1, 1, 1, 2, 0x80, 0xFF):
        assert guest.set_input(context, 0, [64], U8, bytes([byte] * 64)) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[1] == np.arange(64, dtype="<i8").tobytes()


# -- quantization -----------------------------------------------------------------------------------


def test_scales_and_zero_points_are_the_file_s() -> None:
    graph = loaded(zoo.quantized_identity(TensorType.U8, 0.0078125, 128))
    assert graph.inputs[0].quantization == Quantization((0.0078125,), (128,))
    assert graph.outputs[0].quantization == graph.inputs[0].quantization
    assert loaded(zoo.identity()).inputs[0].quantization is None


def test_each_channel_of_a_port_may_have_its_own_scale(drive: MakeDriver) -> None:
    model = zoo.quantized_identity(TensorType.I8, [0.5, 0.25, 1.0], 0, (2, 3), axis=1)
    assert loaded(model).inputs[0].quantization == Quantization((0.5, 0.25, 1.0), (0, 0, 0), 1)
    guest = drive({"m": source(model)})
    context = guest.open("m")
    assert guest.set_input(context, 0, [2, 3], U8, b"\x80\xff\0\1\2\x7f") == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == b"\x80\xff\0\1\2\x7f"


@pytest.mark.parametrize(("scales", "axis"), [([0.5, 0.25], 1), ([0.5, 0.25, 1.0], 0), ([0.5, 0.25], 7)])
def test_scales_that_do_not_fit_the_dims_are_refused(scales: list[float], axis: int) -> None:
    with pytest.raises(wasinn.WasiNNError, match=r"runtime_error.*quantiz"):
        loaded(zoo.quantized_identity(TensorType.I8, scales, 0, (2, 3), axis))


@pytest.mark.parametrize(
    ("name", "per_channel"), [("u8", False), ("i8", False), ("i8", True), ("i16", False)]
)
def test_integers_pass_raw_and_mean_what_the_scales_say(
    drive: MakeDriver, name: str, per_channel: bool
) -> None:
    dtype, code = {"u8": ("u1", U8), "i8": ("i1", U8), "i16": ("<i2", F16)}[name]
    guest = drive({"m": source(zoo.quantized_dense(TensorType.parse(name), per_channel))})
    context = guest.open("m")
    (x_scale, x_zero), (y_scale, y_zero) = zoo.DENSE_X[name], zoo.DENSE_Y[name]
    for x in ([1, 2, -1, 3], [0, 0, 0, 0], [-2, 1.5, 0.25, -1]):
        values = np.array([x]) / x_scale + x_zero
        assert guest.set_input(context, 0, [1, 4], code, values.astype(dtype).tobytes()) == 0
        assert guest.compute(context) == 0
        found = np.frombuffer(guest.get_output(context, 0)[1], dtype).astype("f8")
        wanted = zoo.DENSE_WEIGHTS @ np.array(x) + zoo.DENSE_BIAS
        np.testing.assert_allclose((found - y_zero) * y_scale, wanted, atol=y_scale)


# -- shapes -----------------------------------------------------------------------------------------


def test_a_dynamic_shape_may_grow_and_shrink_between_computes(drive: MakeDriver) -> None:
    guest = drive({"m": source(zoo.identity(dims=(None, 3)))})
    context = guest.open("m")
    for rows in (1, 7, 3, 7, 1, 64, 0, 2):
        values = np.random.default_rng(rows).random((rows, 3)).astype("<f4")
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0) == (0, values.tobytes(), values.nbytes)
    assert guest.set_f32(context, 0, np.zeros((2, 4))) == INVALID_ARGUMENT, "the fixed dimension stays fixed"


def test_several_dynamic_dimensions(drive: MakeDriver) -> None:
    guest = drive({"m": source(zoo.halves((None, None)))})
    context = guest.open("m")
    for dims in ([2, 3], [1, 1], [0, 4], [5, 2], [4, 0]):
        values = np.arange(np.prod(dims), dtype="f4").reshape(dims)
        assert run_f32(guest, context, values) == (values / 2).ravel().tolist()


def test_an_unknown_rank_takes_any_rank(drive: MakeDriver) -> None:
    assert loaded(zoo.identity(dims=None)).inputs[0].dims is None
    guest = drive({"m": source(zoo.identity(dims=None))})
    context = guest.open("m")
    for dims in ([2, 3], [5], [1, 1, 1, 4], [], [0, 2]):
        values = np.arange(np.prod(dims, dtype=int), dtype="<f4").reshape(dims)
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, values.tobytes())


def test_a_fixed_tensor_without_elements_is_a_tensor(drive: MakeDriver) -> None:
    guest = drive({"m": source(zoo.identity(dims=(0, 4)))})
    context = guest.open("m")
    for _ in range(3):
        assert run_f32(guest, context, np.zeros((0, 4))) == []


@pytest.mark.parametrize("declared", [(None, 1), (3, 1)], ids=["declared dynamic", "declared wrongly"])
def test_an_output_has_the_shape_that_the_data_gives_it(drive: MakeDriver, declared: Any) -> None:
    guest = drive({"m": source(zoo.nonzero(declared))})
    for _ in range(2):  # the second context gets the interpreter of the first
        context = guest.open("m")
        for values in ([1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 9, 0], [1] * 6, [0] * 6, [1, 1, 1, 0, 0, 0]):
            assert guest.set_f32(context, 0, values) == 0
            assert guest.compute(context) == 0
            code, data, _ = guest.get_output(context, 0)
            assert code == 0
            assert np.frombuffer(data, "<i8").tolist() == np.flatnonzero(values).tolist()
        assert guest.call("finalize_execution_context", context) == 0


def test_one_input_that_is_resized_leaves_the_other_as_it_was(drive: MakeDriver) -> None:
    """Allocating anew moves every tensor, and forgets what was in it."""
    guest = drive({"m": source(zoo.outer())})
    context = guest.open("m")
    assert guest.set_f32(context, 0, [[1], [2]]) == 0
    assert guest.set_f32(context, 1, [[10, 20, 30]]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [11, 21, 31, 12, 22, 32]
    assert guest.set_f32(context, 0, [[1], [2], [3]]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [11, 21, 31, 12, 22, 32, 13, 23, 33]
    assert guest.set_f32(context, 1, [[5]]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [6, 7, 8]


def test_inputs_grow_one_after_the_other(drive: MakeDriver) -> None:
    """Between the two calls their shapes do not go together."""
    guest = drive({"m": source(zoo.add((None, 2)))})
    context = guest.open("m")
    for rows in (2, 5, 3):
        values = np.full((rows, 2), rows, "f4")
        assert run_f32(guest, context, values, values) == (values * 2).ravel().tolist()


def test_shapes_that_do_not_go_together_are_an_error_that_passes(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    guest = drive({"m": source(zoo.add((None, 2)))})
    context = guest.open("m")
    for _ in range(2):
        assert guest.set_f32(context, 0, np.ones((3, 2))) == 0
        assert guest.set_f32(context, 1, np.ones((5, 2))) == 0
        with caplog.at_level(logging.WARNING):
            assert guest.compute(context) == RUNTIME_ERROR
        assert "cannot run the model on 'a' [3,2], 'b' [5,2]" in reasons(caplog)
        assert guest.get_output(context, 0)[0] == RUNTIME_ERROR
        assert guest.set_f32(context, 1, np.ones((3, 2))) == 0
        assert guest.compute(context) == 0
        assert guest.get_f32(context, 0) == [2.0] * 6


@pytest.mark.parametrize("dims", [[0, 2**31], [2**32 - 1, 0]])
def test_a_dimension_that_no_runtime_has_is_an_error_that_passes(drive: MakeDriver, dims: list[int]) -> None:
    guest = drive({"m": source(zoo.halves((None, None)))})
    context = guest.open("m")
    assert guest.set_input(context, 0, dims, F32, b"") == 0
    assert guest.compute(context) == RUNTIME_ERROR
    assert run_f32(guest, context, [[2, 4]]) == [1, 2]


def test_a_compute_without_memory_for_its_tensors_is_an_error_that_passes() -> None:
    """200 KB of inputs make an output of 2.5 GB. In a process of its own, which may not have so much."""
    program = """
import resource
import numpy as np
import wasinn
from test_litert import source
from wasinn.graphs.loader import Loader
from wasinn.tensors import Tensor
from zoo import tensorflowlite as zoo

execution = Loader().load(source(zoo.outer())).graph.open()
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
for size in (25_000, 2):
    execution.set_input(0, Tensor.of(np.ones((size, 1), "f4")))
    execution.set_input(1, Tensor.of(np.ones((1, size), "f4")))
    try:
        execution.compute()
        print(execution.output(0).numpy().tolist())
    except wasinn.WasiNNError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("runtime_error: LiteRT cannot run the model on 'a' [25000,1], 'b' [1,25000]: ")
    assert "too little memory" in first
    assert second == "[[2.0, 2.0], [2.0, 2.0]]"


@pytest.mark.parametrize("hot", [False, True])
def test_a_compute_may_move_tensors_of_fixed_shape(drive: MakeDriver, hot: bool) -> None:
    guest = drive({"m": source(zoo.growing())}, hot=hot)
    context = guest.open("m")
    for turn, count in enumerate((1, 10, 10, 1000, 10**7, 3, 10**6)):
        values = np.arange(turn, turn + 4, dtype="<i8")
        assert guest.set_input(context, 0, [4], I64, values.tobytes()) == 0
        assert guest.set_input(context, 1, [1], I32, np.int32(count).tobytes()) == 0
        for _ in range(2):
            assert guest.compute(context) == 0
            assert np.frombuffer(guest.get_output(context, 0)[1], "<i8").tolist() == (values + 1).tolist()


def test_a_model_need_not_run_on_the_dims_that_stand_in_for_dynamic_ones(drive: MakeDriver) -> None:
    guest = drive({"m": source(zoo.valid_pool())})
    for _ in range(2):
        context = guest.open("m")
        assert run_f32(guest, context, np.full((1, 3, 4, 1), 7)) == [7, 7]
        assert guest.call("finalize_execution_context", context) == 0


# -- ports ------------------------------------------------------------------------------------------


def test_several_inputs_and_outputs_are_told_apart_by_index(drive: MakeDriver) -> None:
    guest = drive({"m": source(zoo.mixed())})
    context = guest.open("m")
    assert guest.set_input(context, 2, [1], I64, np.int64(2**40).tobytes()) == 0
    assert guest.set_input(context, 0, [4], U8, b"abcd") == 0
    assert guest.compute(context) == INVALID_ARGUMENT, "input 1 is missing"
    assert guest.set_f32(context, 1, [1.5, -2]) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == np.int64(2**40).tobytes()
    assert guest.get_output(context, 1)[1] == b"abcd"
    assert guest.get_f32(context, 2) == [-1.5, 2]


def guest_host(model: Builders | None, **options: Any) -> GuestHost:
    return GuestHost(Shared(Registry({"m": source(model, **options)})))


@pytest.mark.parametrize(
    ("a", "b", "y"),
    [
        ("a", "b", "y"),
        ("serving_default_a:0", "serving_default_b:0", "StatefulPartitionedCall:0"),
        ("1", "0", "0"),
        (1, 0, 0),
    ],
)
def test_a_port_has_the_signature_s_name_and_the_tensor_s(a: int | str, b: int | str, y: int | str) -> None:
    host = guest_host(zoo.signed())
    context = host.init_execution_context(host.load_by_name("m"))
    graph = host.context(context).graph.graph
    assert [spec.name for spec in graph.inputs] == ["b", "a"], "in the file's order"
    host.set_input(context, a, Tensor.of(np.array([5, 7], "f4")))
    host.set_input(context, b, Tensor.of(np.array([1, 2], "f4")))
    host.compute(context)
    assert host.output(context, y).numpy().tolist() == [4, 5]
    with pytest.raises(wasinn.WasiNNError, match=r"no input 'c'.*0 'b', 1 'a'"):
        host.set_input(context, "c", Tensor.of(np.zeros(2, "f4")))


def test_names_are_those_of_the_subgraph_that_runs(drive: MakeDriver) -> None:
    graph = loaded(zoo.two_functions())
    assert [(spec.name, spec.aliases) for spec in graph.inputs] == [("once", ("x",))]
    assert [(spec.name, spec.aliases) for spec in graph.outputs] == [("twice", ("y",))]
    guest = drive({"m": source(zoo.two_functions())})
    assert run_f32(guest, guest.open("m"), [1, 2]) == [2, 4]


def test_names_without_a_signature_are_the_tensors() -> None:
    graph = loaded(zoo.add())
    assert [(spec.name, spec.aliases) for spec in graph.inputs] == [("a", ()), ("b", ())]
    assert [spec.name for spec in graph.outputs] == ["sum", "difference"]


@pytest.mark.parametrize("hot", [False, True])
def test_an_input_that_is_the_output_and_an_output_that_is_a_constant(drive: MakeDriver, hot: bool) -> None:
    guest = drive({"same": source(zoo.through()), "fixed": source(zoo.constants())}, hot=hot)
    same, fixed = guest.open("same"), guest.open("fixed")
    for number in range(4):
        assert run_f32(guest, same, [number, 2]) == [number, 2]
        assert run_f32(guest, fixed, [number, 2]) == [3, 4]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (zoo.constant_input, "the input 'x' is a constant of the model"),
        (zoo.twice_the_same, "the same tensor 'x' as an input twice"),
    ],
)
def test_an_input_without_memory_of_its_own_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, make: Any, why: str
) -> None:
    """What a guest sets would be written into the model's bytes, which every instance shares."""
    with caplog.at_level(logging.WARNING):
        assert drive().load(*make(), encoding=TFLITE)[0] == UNSUPPORTED
    assert why in reasons(caplog)


# -- computing again --------------------------------------------------------------------------------


@pytest.mark.parametrize("hot", [False, True])
@pytest.mark.parametrize("make", [zoo.identity, zoo.halves, zoo.tiny, zoo.through, zoo.nonzero])
def test_inputs_that_are_set_once_serve_every_compute(drive: MakeDriver, make: Any, hot: bool) -> None:
    model = make()
    dims = {zoo.tiny: (1, 16), zoo.through: (2,), zoo.nonzero: (6,)}.get(make, (1, 4))
    guest = drive({"m": source(model)}, hot=hot)
    context = guest.open("m")
    assert guest.set_f32(context, 0, np.arange(np.prod(dims)).reshape(dims)) == 0
    found = []
    for _ in range(5):
        assert guest.compute(context) == 0
        found.append(guest.get_output(context, 0)[:2])
    assert found == [(0, found[0][1])] * 5


def test_an_operator_that_writes_into_an_input_changes_no_later_compute(drive: MakeDriver) -> None:
    guest = drive({"m": source(zoo.overwriting())}, hot=True)
    context = guest.open("m")
    assert guest.set_input(context, 0, [2], I64, np.array([5, 6], "<i8").tobytes()) == 0
    for _ in range(4):
        assert guest.compute(context) == 0
        assert np.frombuffer(guest.get_output(context, 0)[1], "<i8").tolist() == [6, 7]


@pytest.mark.parametrize("hot", [False, True])
def test_outputs_are_never_those_of_a_compute_before(drive: MakeDriver, hot: bool) -> None:
    guest = drive({"m": source(zoo.add((1, 2)))}, hot=hot)
    context = guest.open("m")
    assert guest.get_output(context, 0)[0] == RUNTIME_ERROR
    for number in range(5):
        assert run_f32(guest, context, [[number, 1]], [[10, 20]]) == [number + 10, 21]
        assert guest.get_f32(context, 1) == [number - 10, -19]
        assert guest.set_f32(context, 0, [[0, 0]]) == 0
        assert guest.get_output(context, 0)[0] == RUNTIME_ERROR, "an input was set since"


@pytest.mark.parametrize("hot", [False, True])
def test_a_compute_that_fails_takes_the_outputs_away(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool
) -> None:
    guest = drive({"m": source(zoo.gather())}, hot=hot)
    context = guest.open("m")
    for index in (1, 0, 2, 7, 1, -1, 2, 10**9, 0, 1, 2):
        assert guest.set_input(context, 0, [1], I32, np.int32(index).tobytes()) == 0
        good = 0 <= index < 3
        with caplog.at_level(logging.WARNING):
            assert guest.compute(context) == (0 if good else RUNTIME_ERROR)
        if good:
            assert guest.get_f32(context, 0) == [(index + 1) * 10]
        else:
            assert guest.get_output(context, 0)[:2] == (RUNTIME_ERROR, b"")
    assert "gather index out of bounds" in reasons(caplog)


def test_a_dynamic_model_that_fails_in_the_middle_goes_on_after(drive: MakeDriver) -> None:
    guest = drive({"m": source(zoo.reshape())})
    context = guest.open("m")
    assert guest.set_f32(context, 0, [1, 2, 3, 4]) == 0
    for shape in ([2, 2], [3, 3], [4, 1], [-1, 2], [0, 9], [1, 4]):
        good = shape[0] * shape[1] in (4, -2)
        assert guest.set_input(context, 1, [2], I32, np.array(shape, "<i4").tobytes()) == 0
        assert guest.compute(context) == (0 if good else RUNTIME_ERROR)
        if good:
            assert guest.get_f32(context, 0) == [1, 2, 3, 4]


# -- loading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [zoo.signed, zoo.slow, zoo.quantized_dense])
def test_a_truncated_model_fails_when_it_is_loaded(drive: MakeDriver, make: Any) -> None:
    (model,) = make(3) if make is zoo.slow else make()
    for end in [*range(0, 64), *range(64, len(model), 13), len(model) - 1]:
        with pytest.raises(wasinn.WasiNNError, match="invalid_encoding"):
            loaded((model[:end],))
    code, _ = drive().load(model[: len(model) // 2], encoding=TFLITE)
    assert code == INVALID_ENCODING


def test_random_bytes_are_refused(drive: MakeDriver) -> None:
    random = np.random.default_rng(1)
    for size in (0, 1, 7, 8, 100, 5000):
        noise = random.bytes(size)
        for data in (noise, noise[:4] + b"TFL3" + noise[8:]):
            with pytest.raises(wasinn.WasiNNError, match="invalid_encoding"):
                loaded((data,))
    assert drive().load(random.bytes(100), encoding=TFLITE)[0] == INVALID_ENCODING


def test_a_model_of_another_encoding_is_called_what_it_is() -> None:
    onnx = wasinn.GraphSource.from_files("@digits.onnx").model.files[0].read_bytes()
    with pytest.raises(wasinn.WasiNNError, match="labelled tensorflowlite, but it looks like onnx"):
        loaded((onnx,))


@pytest.mark.parametrize("count", [0, 2])
def test_a_model_is_one_builder(drive: MakeDriver, count: int) -> None:
    assert drive().load(*(zoo.tiny() * count), encoding=TFLITE)[0] == INVALID_ARGUMENT


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(zoo.tiny()[0])
    gone = wasinn.GraphSource.from_files(path, encoding="tensorflowlite", backend="litert")
    assert Loader().load(gone).graph.inputs[0].static_dims == (1, 16)
    path.unlink()
    with pytest.raises(wasinn.WasiNNError, match="cannot read the model"):
        Loader().load(gone)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("my_op", ["my_op", "allow_custom_ops"]),
        ("FlexErf", ["operators of TensorFlow (FlexErf)", "TFLITE_BUILTINS"]),
    ],
)
def test_a_missing_operator_is_named_when_the_model_is_loaded(code: str, words: Sequence[str]) -> None:
    with pytest.raises(wasinn.WasiNNError, match="runtime_error") as caught:
        loaded(zoo.unknown_op(code))
    for word in words:
        assert word in caught.value.reason


@pytest.mark.parametrize("target", ["gpu", "tpu"])
def test_a_target_that_is_not_there_is_refused_with_those_that_are(target: str) -> None:
    from wasinn.backends.litert import LiteRtBackend

    if wasinn.Target.parse(target) in LiteRtBackend().devices():
        pytest.skip(f"this machine has a {target}")
    with pytest.raises(wasinn.WasiNNError, match=rf"target {target}; it has: cpu \(XNNPACK\)"):
        loaded(zoo.tiny(), target=target)


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 2}, {"target": "auto"}])
def test_threads_and_the_target_auto_change_no_result(drive: MakeDriver, options: dict[str, Any]) -> None:
    guest = drive({"m": source(zoo.slow(3), **options), "plain": source(zoo.slow(3))})
    values = np.random.default_rng(0).random((256, 256), "f4") / 100
    (found, wanted) = (run_f32_large(guest, guest.open(name), values) for name in ("m", "plain"))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def run_f32_large(guest: Driver, context: int, values: Any) -> Any:
    assert guest.set_f32(context, 0, values) == 0
    assert guest.compute(context) == 0
    return np.frombuffer(guest.get_output(context, 0, values.nbytes)[1], "<f4")


def test_importing_the_backend_does_not_import_the_runtime() -> None:
    program = "import sys, wasinn.backends.litert; assert 'ai_edge_litert' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# -- what the file says -----------------------------------------------------------------------------


def details(data: bytes) -> list[list[tuple[Any, ...]]]:
    """The ports as the runtime's own binding describes them."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    result = []
    for ports in (interpreter.get_input_details(), interpreter.get_output_details()):
        described = []
        for port in ports:
            parameters = port["quantization_parameters"]
            described.append(
                (
                    port["name"],
                    [None if dim < 0 else dim for dim in port["shape_signature"].tolist()],
                    np.dtype(port["dtype"]),
                    parameters["scales"].tolist(),
                    parameters["zero_points"].tolist(),
                )
            )
        result.append(described)
    return result


def described(specs: Sequence[TensorSpec]) -> list[tuple[Any, ...]]:
    result = []
    for spec in specs:
        quantization = spec.quantization
        array = Tensor((), spec.type, memoryview(bytes(8))[: spec.type.size]).numpy()
        result.append(
            (
                (spec.name, *spec.aliases)[-1],
                list(spec.dims or ()),
                array.dtype,
                list(quantization.scales) if quantization else [],
                list(quantization.zero_points) if quantization else [],
            )
        )
    return result


@pytest.mark.parametrize(
    "make",
    [zoo.signed, zoo.two_functions, zoo.mixed, zoo.halves, zoo.nonzero, zoo.quantized_dense, zoo.counter],
)
def test_the_file_is_read_as_the_runtime_reads_it(make: Any) -> None:
    (model,) = make()
    graph = loaded((model,))
    assert [described(graph.inputs), described(graph.outputs)] == details(model)


def test_real_files_are_read_as_the_runtime_reads_them(data: Path) -> None:
    paths = sorted(data.glob("**/*.tflite"))
    assert len(paths) >= 4
    for path in paths:
        model = path.read_bytes()
        graph = loaded((model,))
        assert [described(graph.inputs), described(graph.outputs)] == details(model), path


# -- contexts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [(None, 4), (1, 4)], ids=["dynamic", "fixed"])
def test_two_threads_compute_on_contexts_of_their_own(dims: Any) -> None:
    shared = Shared(Registry({"m": source(zoo.add(dims))}))
    wrong: list[str] = []

    def work(number: int) -> None:
        host = GuestHost(shared)
        try:
            for turn in range(30):
                context = host.init_execution_context(host.load_by_name("m"))
                for step in range(20):
                    values = np.full((1, 4), number * 1000 + turn + step, "f4")
                    host.set_input(context, 0, Tensor.of(values))
                    host.set_input(context, 1, Tensor.of(np.ones((1, 4), "f4")))
                    host.compute(context)
                    if host.output(context, 0).numpy().tolist() != (values + 1).tolist():
                        wrong.append(f"thread {number}, turn {turn}")
                host.finalize_execution_context(context)
        finally:
            host.close()

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_other_threads_run_python_during_a_compute() -> None:
    execution = loaded(zoo.slow(400)).open()
    execution.set_input(0, Tensor.of(np.full((256, 256), 0.01, "f4")))
    started, done = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        execution.compute()
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    turns = 0
    while not done.is_set():
        turns += 1
    thread.join()
    assert turns > 100


@pytest.mark.parametrize("make", [zoo.counter, zoo.recurrent])
@pytest.mark.parametrize("hot", [False, True])
def test_a_model_s_state_lives_as_long_as_its_context(drive: MakeDriver, make: Any, hot: bool) -> None:
    dims = {zoo.counter: [1], zoo.recurrent: [1, 1]}[make]
    guest = drive({"m": source(make())}, hot=hot)
    contexts = [guest.open("m"), guest.open("m")]
    for turn in range(1, 5):
        for context in contexts:
            assert run_f32(guest, context, np.ones(dims)) == [turn]
    for context in contexts:
        assert guest.call("finalize_execution_context", context) == 0
    assert run_f32(guest, guest.open("m"), np.ones(dims)) == [1]


SHARED = {
    "fixed": lambda: zoo.identity(dims=(2, 2)),
    "dynamic": lambda: zoo.halves((None, None)),
    "rank": lambda: zoo.identity(dims=None),
}
STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["set", "compute", "read", "close"]), st.integers(0, 3)),
    max_size=60,
)


@pytest.fixture(scope="module")
def shared_hosts() -> dict[str, Shared]:
    return {kind: Shared(Registry({"m": source(make())})) for kind, make in SHARED.items()}


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(sorted(SHARED)), steps=STEPS)
def test_a_context_on_a_used_interpreter_gives_nothing_of_the_one_before(
    shared_hosts: dict[str, Shared], kind: str, steps: list[tuple[int, str, int]]
) -> None:
    """Four instances, each with a context that is opened, used and closed in any order."""
    hosts: dict[int, tuple[GuestHost, int]] = {}
    given_: dict[int, Any] = {}
    computed: dict[int, Any] = {}
    serial = 0
    try:
        for slot, step, size in steps:
            if slot not in hosts:
                host = GuestHost(shared_hosts[kind])
                hosts[slot] = host, host.init_execution_context(host.load_by_name("m"))
            host, context = hosts[slot]
            if step == "set":
                dims = (2, 2) if kind == "fixed" else ((0, 2), (2, 2), (1, 5), (3, 3))[size]
                serial += 100
                given_[slot] = np.arange(serial, serial + int(np.prod(dims))).astype("f4").reshape(dims)
                host.set_input(context, 0, Tensor.of(given_[slot]))
                computed.pop(slot, None)
            elif step == "compute":
                if slot in given_:
                    host.compute(context)
                    computed[slot] = given_[slot] / (2 if kind == "dynamic" else 1)
                else:
                    with pytest.raises(wasinn.WasiNNError, match="invalid_argument"):
                        host.compute(context)
            elif step == "read":
                if slot in computed:
                    np.testing.assert_array_equal(host.output(context, 0).numpy(), computed[slot])
                else:
                    with pytest.raises(wasinn.WasiNNError, match="runtime_error"):
                        host.output(context, 0)
            else:
                host.close()
                del hosts[slot]
                given_.pop(slot, None)
                computed.pop(slot, None)
    finally:
        for host, _ in hosts.values():
            host.close()


def test_an_output_outlives_its_context_and_its_graph() -> None:
    """A view of the interpreter's memory keeps it alive."""
    graph: Any = loaded(zoo.recurrent())  # of which no interpreter is kept
    execution = graph.open()
    execution.set_input(0, Tensor.of(np.ones((1, 1), "f4")))
    execution.compute()
    output = execution.output(0)
    execution.close()
    del execution, graph
    others = [loaded(zoo.recurrent()).open() for _ in range(20)]
    assert output.numpy().tolist() == [[1]]
    del others


# -- real models ------------------------------------------------------------------------------------


def picture(path: Path) -> bytes:
    """RGB, 224x224, u8: what both picture models take."""
    image = pytest.importorskip("PIL.Image")
    with image.open(path) as opened:
        scaled = opened.convert("RGB").resize((224, 224), image.Resampling.BILINEAR)
        return bytes(scaled.tobytes())


@pytest.mark.parametrize(
    ("model", "image", "best", "low", "high"),
    [
        ("birds/aiy_vision_classifier_birds_V1_3.tflite", "birds/bird.jpg", 166, 189, 192),
        ("mobilenet_v2/mobilenet_v2_1.0_224_quant.tflite", "images/cat.bmp", 286, 193, 206),
        ("mobilenet_v2/mobilenet_v2_1.0_224_quant.tflite", "images/grace_hopper.bmp", 653, 236, 241),
        ("mobilenet_v2/mobilenet_v2_1.0_224_quant.tflite", "images/bird.bmp", 20, 252, 253),
    ],
)
def test_a_quantized_classifier_knows_the_picture(
    data: Path, drive: MakeDriver, model: str, image: str, best: int, low: int, high: int
) -> None:
    graph = wasinn.GraphSource.from_files(data / model, backend="litert")
    guest = drive({"m": graph}, hot=True)
    context = guest.open("m")
    for _ in range(4):  # the last ones on the hot path
        assert guest.set_input(context, 0, [1, 224, 224, 3], U8, picture(data / image)) == 0
        assert guest.compute(context) == 0
        scores = np.frombuffer(guest.get_output(context, 0)[1], "u1")
        assert scores.argmax() == best
        assert low <= scores[best] <= high


@pytest.mark.parametrize(("x", "sine"), [(0.5, 0.45399), (3.0, 0.12765)])
def test_a_small_network_knows_the_sine(data: Path, drive: MakeDriver, x: float, sine: float) -> None:
    guest = drive({"m": wasinn.GraphSource.from_files(data / "sine/hello_world_float.tflite")})
    assert run_f32(guest, guest.open("m"), [[x]]) == pytest.approx([sine], abs=1e-5)


@pytest.mark.parametrize(("x", "raw"), [(0.5, 60), (3.0, 18)])
def test_a_small_network_of_integers_knows_the_sine(
    data: Path, drive: MakeDriver, x: float, raw: int
) -> None:
    model = wasinn.GraphSource.from_files(data / "sine/hello_world_int8.tflite", backend="litert")
    scales = Loader().load(model).graph.inputs[0].quantization
    assert scales is not None
    guest = drive({"m": model})
    context = guest.open("m")
    quantized = np.array(round(x / scales.scales[0]) + scales.zero_points[0], "i1")
    assert guest.set_input(context, 0, [1, 1], U8, quantized.tobytes()) == 0
    assert guest.compute(context) == 0
    assert np.frombuffer(guest.get_output(context, 0)[1], "i1").tolist() == [raw]
