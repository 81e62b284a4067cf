# SPDX-License-Identifier: Apache-2.0
"""What a guest can do wrong in a call: each is an errno and one line that says why, and the host goes on."""

from __future__ import annotations

import random
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import models
import wasinn
from calls import (
    BOTH,
    F32,
    MEMORY_SIZE,
    STREAMING,
    VALUES,
    WAMR,
    WITX,
    Call,
    heat,
    infer,
    opened,
    reason,
    reasons,
    rewound,
)
from conftest import MakeDriver
from driver import Driver
from wasinn.abi.core.state import Function
from wasinn.runtime.engine import FUNCTIONS
from wasinn.spec import Encoding

INVALID, ENCODING, BUSY, RUNTIME, UNSUPPORTED, TOO_LARGE, NOT_FOUND = 1, 2, 4, 5, 6, 7, 8

EVERY_FUNCTION = pytest.mark.parametrize(
    ("function", "hot"),
    [
        pytest.param(function, hot, id=f"{function.module}.{function.name}-{'hot' if hot else 'cold'}")
        for function in FUNCTIONS
        for hot in ([False] if function.module == WAMR else [False, True])
    ],
)


def call_of(drive: MakeDriver, function: Function, hot: bool) -> Call:
    """A call of `function` that works, on a context that has computed."""
    module = WAMR if function.module == WAMR else WITX
    driver = drive({"model": models.identity()}, module=module, hot=hot)
    graph = driver.load_by_name("model")[1]
    context = driver.context(graph)[1]
    call = Call(driver, function, graph, context)
    if hot:
        heat(driver, context)
    else:
        for name in ("set_input", "compute"):
            other = next(each for each in FUNCTIONS if (each.module, each.name) == (module, name))
            assert Call(driver, other, graph, context).run() == 0
    return call


def alive(call: Call) -> None:
    """A whole inference works on the context of `call`."""
    module = call.function.module if call.legacy else WITX
    with rewound(call.driver):
        for name in ("set_input", "compute", "get_output"):
            function = next(each for each in FUNCTIONS if (each.module, each.name) == (module, name))
            last = Call(call.driver, function, call.graph, call.context)
            assert last.run() == 0
        buffer = last.arguments[function.parameters.index("buffer")]
        assert call.driver.get(buffer, 16) == VALUES.tobytes()


def refused(call: Call, what: str) -> None:
    """The call is refused, and has changed nothing in the guest's memory nor loaded anything."""
    memory, loaded = call.driver.get(0, MEMORY_SIZE), dict(call.driver.instance.stats.backends)
    assert call.run() == INVALID, what
    assert call.driver.get(0, MEMORY_SIZE) == memory, what
    assert dict(call.driver.instance.stats.backends) == loaded, what


# -- pointers and lengths ----------------------------------------


@EVERY_FUNCTION
def test_a_pointer_outside_the_memory_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, function: Function, hot: bool
) -> None:
    call = call_of(drive, function, hot)
    for place in call.pointers:
        good = call.value(place)
        outside = [MEMORY_SIZE - place.need + 1, MEMORY_SIZE - 1, MEMORY_SIZE, MEMORY_SIZE + 1]
        for pointer in (*outside, 1 << 31, (1 << 32) - place.need, (1 << 32) - 1):
            call.set(place, pointer)
            refused(call, f"{place.what} at {pointer:#x}")
            assert "outside the guest's memory" in reason(caplog)
        call.set(place, good)
    alive(call)


@EVERY_FUNCTION
def test_a_pointer_to_the_last_bytes_of_the_memory_works(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, function: Function, hot: bool
) -> None:
    call = call_of(drive, function, hot)
    for place in call.pointers:
        good = call.value(place)
        content = call.driver.get(good, place.need)
        call.driver.instance.memory[MEMORY_SIZE - place.need : MEMORY_SIZE] = content
        call.set(place, MEMORY_SIZE - place.need)
        if function.name in STREAMING:
            assert call.run() == INVALID
            assert "language models that stream" in reason(caplog)
        else:
            assert call.run() == 0, place.what
        call.set(place, good)
    alive(call)


@EVERY_FUNCTION
def test_a_length_that_runs_out_of_the_memory_is_refused(
    drive: MakeDriver, function: Function, hot: bool
) -> None:
    call = call_of(drive, function, hot)
    for place in call.lengths:
        good = call.value(place)
        for length in (MEMORY_SIZE, MEMORY_SIZE + 1, 1 << 31, (1 << 32) - 1):
            call.set(place, length)
            refused(call, f"{place.what} of {length}")
        call.set(place, good)
    alive(call)


@BOTH
def test_a_buffer_may_end_with_the_memory_and_no_byte_later(drive: MakeDriver, hot: bool) -> None:
    driver, context = opened(drive, models.identity(), hot)
    infer(driver, context)
    written = driver.out()
    for size in (16, 100, 4096):
        assert driver.call("get_output", context, 0, MEMORY_SIZE - size, size, written) == 0
        assert driver.call("get_output", context, 0, MEMORY_SIZE - size, size + 1, written) == INVALID
    assert driver.get(MEMORY_SIZE - 16, 16) == VALUES.tobytes()


# -- handles and indices ----------------------------------------


@EVERY_FUNCTION
def test_an_unknown_handle_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, function: Function, hot: bool
) -> None:
    call = call_of(drive, function, hot)
    for kind in ("graph", "context"):
        if kind not in function.parameters:
            continue
        position = function.parameters.index(kind)
        for handle in (1, 1023, 1024, 1 << 30, 1 << 31, (1 << 32) - 1):
            call.arguments[position] = handle
            refused(call, f"{kind} {handle}")
            assert f"there is no {kind} {handle}" in reason(caplog)
    alive(call)


@EVERY_FUNCTION
def test_an_index_out_of_range_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, function: Function, hot: bool
) -> None:
    call = call_of(drive, function, hot)
    if "index" in function.parameters and function.name not in STREAMING:
        for index in (1, 1 << 31, (1 << 32) - 1):
            call.arguments[function.parameters.index("index")] = index
            refused(call, f"index {index}")
            line = reason(caplog)
            assert f"{index}; it has: 0 'x'" in line or f"{index}; it has: 0 'y'" in line
    alive(call)


def test_a_handle_before_anything_was_loaded_says_so(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive()
    assert driver.context(0)[0] == INVALID
    assert "there is no graph 0: load has not succeeded yet" in reason(caplog)
    assert driver.compute(0) == INVALID
    assert "there is no context 0: init_execution_context has not succeeded yet" in reason(caplog)


@BOTH
def test_handles_mean_nothing_in_another_instance(drive: MakeDriver, hot: bool) -> None:
    driver, context = opened(drive, models.identity(), hot)
    host = wasinn.Host(graphs={"model": wasinn.GraphSource.from_bytes(models.identity())})
    other = drive(host=host, hot=hot)
    assert other.set_f32(context, 0, VALUES) == INVALID
    assert other.compute(context) == INVALID
    assert other.get_output(context, 0)[0] == INVALID
    assert other.call("unload", 0) == INVALID
    mine = other.open("model")
    assert mine == context
    assert other.set_f32(mine, 0, VALUES) == 0
    assert other.call("finalize_execution_context", mine) == 0
    assert infer(driver, context) == [1, 2, 3, 4]


# -- tensors ----------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("dims", "size", "words"),
    [
        ([1, 3], 16, "dims [1,3] of f32 are 12 bytes, but the tensor's data has 16"),
        ([1, 4], 4, "one byte an element: is the data u8, labelled f32?"),
        ([1, 4], 32, "8 bytes an element: is the data of another type than f32?"),
        ([1, 4], 0, "dims [1,4] of f32 are 16 bytes, but the tensor's data has 0"),
        ([], 16, "dims [] of f32 are 4 bytes"),
        ([1, 1, 1, 7], 16, "was the length of the dims passed in the place of the data's?"),
        ([1 << 31, 1 << 31], 16, "are 18446744073709551616 bytes"),
        ([(1 << 32) - 1] * 32, 16, "but the tensor's data has 16"),
        ([1 << 30, 4], 16, "are 17179869184 bytes"),
        ([1] * 33, 4, "a tensor of 33 dims; at most 32 are taken"),
    ],
)
def test_dims_that_do_not_multiply_to_the_data_are_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool, dims: list[int], size: int, words: str
) -> None:
    driver, context = opened(drive, models.identity(), hot)
    assert driver.set_input(context, 0, dims, F32, bytes(size)) == INVALID
    assert words in reason(caplog)
    assert infer(driver, context) == [1, 2, 3, 4]


NCHW, NHWC = (1, 3, 8, 8), (1, 8, 8, 3)


@pytest.mark.parametrize(
    ("wanted", "type_", "dims", "code", "words"),
    [
        (NCHW, TensorProto.FLOAT, NHWC, 1, ["wanted f32 [1,3,8,8], got f32 [1,8,8,3]", "NHWC", "NCHW"]),
        (NHWC, TensorProto.FLOAT, NCHW, 1, ["this is NCHW and the model takes NHWC"]),
        (("n", 3, 8, 8), TensorProto.FLOAT, NHWC, 1, ["wanted f32 [?,3,8,8]", "takes NCHW"]),
        (NCHW, TensorProto.FLOAT, (3, 8, 8), 1, ["is the batch dimension missing (a leading 1)?"]),
        (("n", 3, 8, 8), TensorProto.FLOAT, (3, 8, 8), 1, ["is the batch dimension missing"]),
        ((1, 4), TensorProto.FLOAT, (1, 4), 3, ["wanted f32 [1,4], got u8 [1,4]", "convert each byte"]),
        ((1, 4), TensorProto.UINT8, (1, 4), 1, ["wanted u8 [1,4], got f32 [1,4]", "do not scale"]),
        ((1, 4), TensorProto.BFLOAT16, (1, 4), 1, ["pass the bytes of bf16 as f16"]),
        ((2, 3), TensorProto.FLOAT, (3, 2), 1, ["are the dims in reverse order?"]),
        ((1, 4), TensorProto.FLOAT, (4,), 1, ["is the batch dimension missing"]),
        ((2, 6), TensorProto.FLOAT, (3, 4), 1, ["only the dims differ", 'dims = "reshape"']),
        ((1, 4), TensorProto.FLOAT, (1, 5), 1, ["wanted f32 [1,4], got f32 [1,5] (20 bytes)"]),
        ((), TensorProto.FLOAT, (2,), 1, ["wanted f32 [], got f32 [2] (8 bytes)"]),
    ],
)
def test_a_tensor_of_another_type_rank_or_dim_is_refused_with_the_likely_cause(
    drive: MakeDriver,
    caplog: pytest.LogCaptureFixture,
    wanted: tuple[Any, ...],
    type_: int,
    dims: tuple[int, ...],
    code: int,
    words: list[str],
) -> None:
    driver, context = opened(drive, models.identity(type_, wanted))
    size = int(np.prod(dims)) * {1: 4, 3: 1}[code]
    assert driver.set_input(context, 0, dims, code, bytes(size)) == INVALID
    line = reason(caplog)
    for word in words:
        assert word in line


@BOTH
@pytest.mark.parametrize("code", [6, 7, 127, 255])
def test_an_unknown_tensor_type_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool, code: int
) -> None:
    driver, context = opened(drive, models.identity(), hot)
    assert driver.set_input(context, 0, [1, 4], code, bytes(16)) == INVALID
    assert f"{code} is no tensor type; known: 0 f16, 1 f32, 2 f64, 3 u8, 4 i32, 5 i64" in reason(caplog)


@BOTH
def test_a_refused_input_leaves_the_one_before_it(drive: MakeDriver, hot: bool) -> None:
    driver, context = opened(drive, models.identity(), hot)
    old = np.array([[5, 6, 7, 8]], "<f4")
    assert driver.set_f32(context, 0, old) == 0
    assert driver.set_f32(context, 0, np.ones((4, 1))) == INVALID
    assert driver.set_f32(context, 1, np.ones((1, 4))) == INVALID
    assert driver.set_input(context, 0, [1, 4], 3, bytes(4)) == INVALID
    bad = struct.pack("<IIIII", 8, 2, F32, MEMORY_SIZE - 8, 16)
    assert driver.call("set_input", context, 0, driver.put(bad)) == INVALID
    assert driver.compute(context) == 0
    assert driver.get_f32(context, 0) == [5, 6, 7, 8]


# -- the order of calls ----------------------------------------


def test_compute_before_any_input_names_the_missing_ones(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver, context = opened(drive, models.add())
    assert driver.compute(context) == INVALID
    assert "0 ('a', f32 [1,4]), 1 ('b', f32 [1,4])" in reason(caplog)
    assert driver.set_f32(context, 0, VALUES) == 0
    assert driver.compute(context) == INVALID
    line = reason(caplog)
    assert "1 ('b', f32 [1,4])" in line
    assert "'a'" not in line
    assert driver.set_f32(context, 1, VALUES) == 0
    assert driver.compute(context) == 0
    assert driver.get_f32(context, 0) == [2, 4, 6, 8]


@BOTH
def test_get_output_before_compute_is_a_runtime_error(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool
) -> None:
    driver, context = opened(drive, models.add(), hot, inputs=2)
    fresh = driver.open("model")
    for code in (driver.get_output(fresh, 0)[0], driver.compute(fresh), driver.get_output(fresh, 0)[0]):
        assert code in (INVALID, RUNTIME)
    lines = reasons(caplog)
    assert "runtime_error (5): output 0 is not there: call compute first" in lines[0]
    assert "runtime_error (5)" in lines[2]
    if hot:
        assert driver.set_f32(context, 0, VALUES) == 0
        assert driver.get_output(context, 0)[0] == RUNTIME
        assert "also after each set_input" in reason(caplog)


# -- outputs ----------------------------------------


@BOTH
def test_a_buffer_that_is_too_small_is_told_the_size(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool
) -> None:
    driver, context = opened(drive, models.identity(), hot)
    infer(driver, context)
    buffer, written = driver.put(b"\xaa" * 32), driver.out()
    for size in (0, 1, 15):
        driver.instance.memory[written : written + 4] = b"\xff" * 4
        assert driver.call("get_output", context, 0, buffer, size, written) == TOO_LARGE
        assert driver.u32(written) == 16
        assert driver.get(buffer, 32) == b"\xaa" * 32
        assert f"output 0 is f32 [1,4] (16 bytes), and the buffer has {size} bytes" in reason(caplog)
    assert driver.call("get_output", context, 0, buffer, 16, written) == 0
    assert driver.get(buffer, 32) == VALUES.tobytes() + b"\xaa" * 16


def test_an_output_without_elements_fits_into_no_buffer_at_all(drive: MakeDriver) -> None:
    driver, context = opened(drive, models.identity(dims=("n", 4)))
    assert driver.set_input(context, 0, [0, 4], F32, b"") == 0
    assert driver.compute(context) == 0
    assert driver.get_output(context, 0, 0) == (0, b"", 0)


# -- loading ----------------------------------------


@pytest.mark.parametrize("pointer", [0, 1, MEMORY_SIZE, 1 << 31, (1 << 32) - 1])
def test_no_builders_with_a_dangling_pointer_is_an_invalid_argument(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, pointer: int
) -> None:
    driver = drive()
    assert driver.call("load", pointer, 0, 1, 0, driver.out()) == INVALID
    assert "no builders" in reason(caplog)


@pytest.mark.parametrize("content", [b"", b"\0", b"not a model", bytes(1000), b"\x08" * 99])
@pytest.mark.parametrize("encoding", list(Encoding))
def test_what_is_not_a_model_is_refused(drive: MakeDriver, content: bytes, encoding: Encoding) -> None:
    driver = drive({"model": models.identity()})
    wanted = (UNSUPPORTED,) if encoding is Encoding.PYTORCH else (ENCODING, RUNTIME)
    assert driver.load(content, encoding=encoding)[0] in wanted
    assert infer(driver, driver.open("model")) == [1, 2, 3, 4]


def test_a_truncated_model_is_refused_at_every_length(drive: MakeDriver) -> None:
    driver, model = drive(), models.identity()
    for length in range(len(model)):
        with rewound(driver):
            code, graph = driver.load(model[:length])
        # A prefix of a protobuf may be a whole protobuf of fewer fields: that it is refused is the rule,
        # and where it is not, it must be a model that opens.
        assert code in (0, ENCODING, RUNTIME), length
        if code == 0:
            assert driver.context(graph)[0] == 0
            assert driver.call("unload", graph) == 0
    assert driver.load(model)[0] == 0


@st.composite
def broken_models(draw: st.DrawFn) -> bytes:
    """A model with some bytes changed, cut out or put in."""
    content = bytearray(draw(st.sampled_from([models.identity(), models.add(), models.identity(7, (None,))])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        change = draw(st.binary(max_size=4))
        content[at : at + draw(st.integers(0, 4))] = change
    return bytes(content)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=broken_models() | st.binary(max_size=300))
def test_a_broken_model_is_refused_or_computes(content: bytes) -> None:
    driver = Driver(wasinn.Host())
    try:
        code, graph = driver.load(content)
        assert code in (0, INVALID, ENCODING, RUNTIME, UNSUPPORTED)
        if code == 0:
            code, context = driver.context(graph)
            assert code in (0, RUNTIME, TOO_LARGE)
            if code == 0:
                driver.set_f32(context, 0, VALUES)
                driver.set_f32(context, 1, VALUES)
                assert driver.compute(context) in (0, INVALID, RUNTIME)
    finally:
        driver.close()


def test_a_bad_model_prints_nothing(drive: MakeDriver, capfd: pytest.CaptureFixture[str]) -> None:
    model = models.identity()
    for content in (model.replace(b"Identity", b"Identi\xffy"), model[:40], b"not a model"):
        assert drive().load(content)[0] in (ENCODING, RUNTIME)
    assert capfd.readouterr() == ("", "")


def test_builders_that_add_up_to_too_much_are_not_copied(drive: MakeDriver) -> None:
    driver = drive(permissions=wasinn.Permissions(max_model_bytes=1000))
    size = MEMORY_SIZE - 4096
    builders = driver.put(struct.pack("<II", 4096, size) * 64)
    out = driver.out()
    tracemalloc.start()
    try:
        assert driver.call("load", builders, 64, 1, 0, out) == TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 2 * size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", [7, 255, 1 << 31, (1 << 32) - 1])
def test_an_unknown_encoding_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, encoding: int
) -> None:
    assert drive().load(models.identity(), encoding=encoding)[0] == ENCODING
    assert f"{encoding} is no graph encoding; known: 0 openvino, 1 onnx" in reason(caplog)


@pytest.mark.parametrize("target", [3, 4, 255, 1 << 31, (1 << 32) - 1])
def test_an_unknown_target_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, target: int
) -> None:
    assert drive().load(models.identity(), target=target)[0] == INVALID
    assert f"{target} is no execution target; 0 is cpu, 1 gpu, 2 tpu" in reason(caplog)


def test_a_target_that_nothing_serves_is_unsupported_and_lists_what_is(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    assert drive().load(models.identity(), target=2)[0] == UNSUPPORTED
    line = reason(caplog)
    assert "cannot serve the target tpu" in line
    assert "cpu (CPUExecutionProvider)" in line


def test_several_builders_for_onnx_are_refused(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    driver = drive()
    assert driver.load(models.identity(), b"weights")[0] == INVALID
    assert "an ONNX model is one builder" in reason(caplog)
    assert driver.load(*[b"x"] * 65)[0] == INVALID
    assert "65 builders" in reason(caplog)


@pytest.mark.parametrize("name", ["/etc/passwd", "../model", "model.onnx", "C:\\model", "./model"])
def test_a_name_that_is_a_host_path_is_not_found(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    driver = drive({"model": models.identity()})
    assert driver.load_by_name(name)[0] == NOT_FOUND
    line = reason(caplog)
    assert "never files of the host" in line
    assert "known: model" in line


def test_an_existing_file_of_the_host_is_not_found_by_its_path(drive: MakeDriver, tmp_path: Any) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.identity())
    driver = drive({"model": models.identity()})
    for name in (str(path), f"onnx:{path}", "@digits.onnx", ""):
        assert driver.load_by_name(name)[0] == NOT_FOUND


@pytest.mark.parametrize("name", [b"\xff", b"mod\xc3", b"\xed\xa0\x80"])
def test_a_name_that_is_not_utf8_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, name: bytes
) -> None:
    driver = drive()
    assert driver.call("load_by_name", driver.put(name), len(name), driver.out()) == INVALID
    assert "the graph's name is not UTF-8" in reason(caplog)


# -- permissions ----------------------------------------


@pytest.mark.parametrize(
    ("permissions", "encoding", "code", "words"),
    [
        ({"load": False}, 1, UNSUPPORTED, "do not let this guest load bytes; load_by_name may work"),
        ({"encodings": frozenset({Encoding.GGML})}, 1, UNSUPPORTED, "load onnx bytes; allowed: ggml"),
        ({"encodings": frozenset({Encoding.GGML})}, 5, UNSUPPORTED, "load onnx bytes; allowed: ggml"),
        ({"encodings": frozenset()}, 1, UNSUPPORTED, "allowed: none"),
        ({"max_model_bytes": 50}, 1, TOO_LARGE, "and the permissions allow 50"),
        ({"max_model_bytes": 50}, 5, TOO_LARGE, "and the permissions allow 50"),
        ({"max_graphs": 0}, 1, BUSY, "this instance holds 0 graphs, which is all it may"),
        ({}, 3, UNSUPPORTED, "loading pytorch from a guest's bytes is refused"),
    ],
)
def test_what_the_operator_does_not_permit_is_refused(
    drive: MakeDriver,
    caplog: pytest.LogCaptureFixture,
    permissions: dict[str, Any],
    encoding: int,
    code: int,
    words: str,
) -> None:
    driver = drive(permissions=wasinn.Permissions(**permissions))
    assert driver.load(models.identity(), encoding=encoding)[0] == code
    assert words in reason(caplog)


def test_a_guest_reaches_only_the_names_it_may(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    graphs = {"mine": models.identity(), "other": models.identity()}
    driver = drive(graphs, permissions=wasinn.Permissions(names=frozenset({"mine"}), load=False))
    assert driver.load_by_name("other")[0] == NOT_FOUND
    assert "do not let this guest load the graph 'other'" in reason(caplog)
    assert infer(driver, driver.open("mine")) == [1, 2, 3, 4]


def test_a_full_instance_says_busy_until_something_is_freed(drive: MakeDriver) -> None:
    driver = drive({"model": models.identity()}, wasinn.Permissions(max_graphs=1, max_contexts=2))
    context = driver.open("model")
    assert driver.load(models.identity())[0] == BUSY
    assert driver.load_by_name("model") == (0, 0)  # the one that it holds
    assert driver.context(0) == (0, 1)
    assert driver.context(0)[0] == BUSY
    assert driver.call("finalize_execution_context", context) == 0
    assert driver.context(0) == (0, 2)
    assert driver.call("unload", 0) == 0
    assert driver.load(models.identity())[0] == BUSY, "its contexts keep the graph"
    assert driver.call("finalize_execution_context", 1) == 0
    assert driver.call("finalize_execution_context", 2) == 0
    assert driver.load(models.identity()) == (0, 1)


# -- the log ----------------------------------------


def test_a_failure_names_the_call_its_arguments_and_the_errno(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive()
    driver.call("set_input", 3, 1, 0x1F40)
    line = reason(caplog)
    assert (
        "set_input(context 3, index 1, tensor 0x1f40) -> invalid_argument (1): there is no context 3" in line
    )


@BOTH
def test_a_guest_that_fails_in_a_loop_does_not_fill_the_log(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool
) -> None:
    driver, context = opened(drive, models.identity(), hot)
    for _ in range(10_000):
        assert driver.call("set_input", context, 9, 0) == INVALID
    lines = reasons(caplog)
    assert len(lines) == 101
    assert "no more of them are logged" in lines[-1]
    assert driver.instance.stats.failures == 10_000
    assert infer(driver, context) == [1, 2, 3, 4]


@pytest.mark.parametrize("permissions", [None, wasinn.Permissions(names=frozenset({"mine"}))])
def test_a_long_name_is_not_repeated_whole_in_the_log(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, permissions: wasinn.Permissions | None
) -> None:
    driver = drive({"model": models.identity()}, permissions)
    name = driver.put(b"n" * 100_000)
    driver.call("load_by_name", name, 100_000, driver.out())
    driver.call("load_by_name_with_config", name, 100_000, name, 10, driver.out())
    assert all(len(line) < 2000 for line in reasons(caplog))


def test_a_line_of_the_log_is_one_line_whatever_the_guest_writes(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive({"model": models.identity()})
    driver.load_by_name("a\nWARNING wasinn.guest: forged\r\n\x1b[2J")
    model = models.identity().replace(b"wasinn-tests", b"wasinn\ntests").replace(b"Identity", b"Ident\nty")
    driver.load(model)
    lines = reasons(caplog)
    assert len(lines) == 2
    assert not any(character in line for line in lines for character in "\n\r\x1b")


# -- models that lie ----------------------------------------


@BOTH
def test_a_model_that_fails_while_it_computes_is_a_runtime_error(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, hot: bool
) -> None:
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    model = models.onnx_model(
        nodes,
        [("x", TensorProto.INT64, (1,))],
        [("y", TensorProto.FLOAT, (1,))],
        {"table": np.arange(4, dtype=np.float32)},
    )
    driver = drive({"model": model}, hot=hot)
    context = driver.open("model")

    def look_up(index: int) -> int:
        with rewound(driver):
            assert driver.set_input(context, 0, [1], 5, struct.pack("<q", index)) == 0
        return driver.compute(context)

    for _ in range(3):
        assert look_up(2) == 0
        assert driver.get_f32(context, 0) == [2]
    if hot:
        assert context in driver.instance.state.hot_path._records  # type: ignore[union-attr]
    for _ in range(2):
        assert look_up(1000) == RUNTIME
        assert "onnxruntime" in reason(caplog)
        assert driver.get_output(context, 0, 64)[0] == RUNTIME
        reasons(caplog)
    assert look_up(3) == 0
    assert driver.get_f32(context, 0) == [3]


def test_random_numbers_as_dims_are_refused(drive: MakeDriver) -> None:
    driver, context = opened(drive, models.identity(dims=("a", "b", "c")))
    generator = random.Random(1)
    for _ in range(300):
        dims = [generator.choice([0, 1, 2, 1 << 16, 1 << 31, (1 << 32) - 1]) for _ in range(3)]
        count = dims[0] * dims[1] * dims[2]
        with rewound(driver):
            code = driver.set_input(context, 0, dims, F32, bytes(32))
        assert code == (0 if count == 8 else INVALID), dims
