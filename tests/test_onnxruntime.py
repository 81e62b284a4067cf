# SPDX-License-Identifier: Apache-2.0
"""ONNX models on ONNX Runtime, called by a guest: types, shapes, ports, contexts, interrupts."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import models
import wasinn
from conftest import MakeDriver
from wasinn.graphs.loader import Loader
from wasinn.graphs.registry import Registry
from wasinn.host import GuestHost, Shared
from wasinn.tensors import Tensor

F16, F32, F64, U8, I32, I64 = range(6)
UNSUPPORTED = 6


def reasons(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.name == "wasinn.guest")


# -- types ------------------------------------------------------------------------------------------

#: Values that a conversion, a comparison or a float register would change.
AWKWARD = {
    "f16": (TensorProto.FLOAT16, F16, np.array([0x7D01, 0xFE55, 0x8000, 0x0001, 0x83FF, 0x7C00], "<u2")),
    "bf16": (TensorProto.BFLOAT16, F16, np.array([0x7F81, 0xFFC1, 0x8000, 0x0001, 0x807F, 0x3F80], "<u2")),
    "f32": (TensorProto.FLOAT, F32, np.array([0x7FA00001, 0xFFC12345, 1 << 31, 1, 0x807FFFFF], "<u4")),
    "f64": (TensorProto.DOUBLE, F64, np.array([0x7FF4000000000001, 1 << 63, 1, 0xFFF8 << 48], "<u8")),
    "u8": (TensorProto.UINT8, U8, np.arange(256, dtype="u1")),
    "i32": (TensorProto.INT32, I32, np.array([-(2**31), 2**31 - 1, -1, 0, 2**24 + 1], "<i4")),
    "i64": (TensorProto.INT64, I64, np.array([2**40, -(2**63), 2**63 - 1, 2**53 + 1], "<i8")),
    "int8": (TensorProto.INT8, U8, np.arange(-128, 128).astype("i1")),
    "bool": (TensorProto.BOOL, U8, np.array([0, 1, 1, 0], "u1")),
    "i16": (TensorProto.INT16, F16, np.array([-(2**15), 2**15 - 1, -1], "<i2")),
    "u16": (TensorProto.UINT16, F16, np.array([0, 2**16 - 1, 2**15], "<u2")),
    "u32": (TensorProto.UINT32, I32, np.array([0, 2**32 - 1, 2**31], "<u4")),
    "u64": (TensorProto.UINT64, I64, np.array([0, 2**64 - 1, 2**63, 2**53 + 1], "<u8")),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_every_type_comes_back_bit_for_bit(drive: MakeDriver, name: str) -> None:
    onnx_type, code, values = AWKWARD[name]
    guest = drive({"m": models.identity(onnx_type, values.shape)})
    context = guest.open("m")
    assert guest.set_input(context, 0, values.shape, code, values.tobytes()) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[:2] == (0, values.tobytes())


@pytest.mark.parametrize("name", ["FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"])
def test_floats_of_eight_bits_pass_as_bytes(drive: MakeDriver, name: str) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    ports = [helper.make_tensor_value_info(port, getattr(TensorProto, name), [256]) for port in "xy"]
    graph = helper.make_graph([node], "f8", ports[:1], ports[1:])
    opset = [helper.make_opsetid("", 19)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    guest = drive({"m": model})
    context = guest.open("m")
    values = bytes(range(256))
    assert guest.set_input(context, 0, [256], U8, values) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[:2] == (0, values)


def test_bf16_is_computed_as_bf16_and_not_as_f16(drive: MakeDriver) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    model = models.onnx_model([node], [("x", TensorProto.BFLOAT16, [3])], [("y", TensorProto.FLOAT, [3])])
    guest = drive({"m": model})
    context = guest.open("m")
    values = np.array([1.0, -2.5, 3e38], ml_dtypes.bfloat16)
    assert guest.set_input(context, 0, [3], F16, values.tobytes()) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == values.astype("f4").tolist()


def test_a_type_of_the_same_width_is_not_taken_for_the_port_s(drive: MakeDriver) -> None:
    guest = drive({"m": models.identity(TensorProto.FLOAT, [2])})
    context = guest.open("m")
    assert guest.set_input(context, 0, [2], I32, bytes(8)) == 1


@pytest.mark.parametrize("hot", [False, True])
def test_every_byte_of_a_bool_tensor_that_is_not_0_is_true(drive: MakeDriver, hot: bool) -> None:
    """ONNX Runtime's Compress counts by adding the bytes up, and fills in as many as are true."""
    node = helper.make_node("Compress", ["data", "x"], ["y"], axis=0)
    model = models.onnx_model(
        [node],
        [("x", TensorProto.BOOL, [64])],
        [("y", TensorProto.INT64, ["n"])],
        {"data": np.arange(1, 65, dtype="<i8")},
    )
    guest = drive({"m": model}, hot=hot)
    context = guest.open("m")
    for byte in (1, 1, 1, 2, 0x80, 0xFF):
        assert guest.set_input(context, 0, [64], U8, bytes([byte] * 64)) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[1] == np.arange(1, 65, dtype="<i8").tobytes()


# -- shapes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pages", [[1, 7, 3, 7, 1, 64]])
def test_a_dynamic_shape_may_grow_and_shrink_between_computes(drive: MakeDriver, pages: list[int]) -> None:
    guest = drive({"m": models.identity(TensorProto.FLOAT, ["batch", 3])})
    context = guest.open("m")
    for rows in pages:
        values = np.random.default_rng(rows).random((rows, 3)).astype("<f4")
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, values.tobytes())
    assert guest.set_f32(context, 0, np.zeros((2, 4))) == 1, "the fixed dimension stays fixed"


def test_an_unknown_rank_takes_any_rank(drive: MakeDriver) -> None:
    guest = drive({"m": models.identity(TensorProto.FLOAT, None)})
    context = guest.open("m")
    for dims in ([2, 3], [5], [1, 1, 1, 4], []):
        values = np.arange(np.prod(dims, dtype=int), dtype="<f4").reshape(dims)
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, values.tobytes())


@pytest.mark.parametrize("dims", [[], [1]])
def test_a_scalar_is_given_with_dims_of_none_or_one(drive: MakeDriver, dims: list[int]) -> None:
    guest = drive({"m": models.identity(TensorProto.FLOAT, [])})
    context = guest.open("m")
    data = np.float32(2.5).tobytes()
    assert guest.set_input(context, 0, dims, F32, data) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[:2] == (0, data)
    assert guest.set_input(context, 0, [1, 1], F32, data) == 1
    assert guest.set_input(context, 0, [2], F32, data * 2) == 1


@pytest.mark.parametrize("dims", [[0, 4], [3, 0], [0, 0]])
def test_a_tensor_without_elements_is_a_tensor(drive: MakeDriver, dims: list[int]) -> None:
    guest = drive({"m": models.identity(TensorProto.FLOAT, ["a", "b"])})
    context = guest.open("m")
    for each in (dims, [2, 2], dims):
        values = np.ones(each, "<f4")
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0) == (0, values.tobytes(), values.nbytes)


def nonzero(declared: models.Dims) -> bytes:
    """y i64 [1,n]: where x f32 [6] is not zero."""
    node = helper.make_node("NonZero", ["x"], ["y"])
    return models.onnx_model([node], [("x", TensorProto.FLOAT, [6])], [("y", TensorProto.INT64, declared)])


@pytest.mark.parametrize("declared", [[1, "n"], [1, 3]], ids=["declared dynamic", "declared wrongly"])
def test_an_output_has_the_shape_that_the_data_gives_it(drive: MakeDriver, declared: models.Dims) -> None:
    guest = drive({"m": nonzero(declared)})
    for _ in range(2):  # the second context gets the buffers of the first
        context = guest.open("m")
        for values in ([1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 9, 0], [1] * 6, [0] * 6, [1, 1, 1, 0, 0, 0]):
            assert guest.set_f32(context, 0, values) == 0
            assert guest.compute(context) == 0
            code, data, _ = guest.get_output(context, 0)
            assert code == 0
            assert np.frombuffer(data, "<i8").tolist() == np.flatnonzero(values).tolist()
        assert guest.call("finalize_execution_context", context) == 0


# -- ports ------------------------------------------------------------------------------------------


def mixed() -> bytes:
    """Three inputs of three types, three outputs in another order."""
    nodes = [
        helper.make_node("Identity", ["pixels"], ["pixels_out"]),
        helper.make_node("Neg", ["weights"], ["weights_out"]),
        helper.make_node("Identity", ["ids"], ["ids_out"]),
    ]
    pixels = TensorProto.UINT8, [4]
    weights = TensorProto.FLOAT, [2]
    ids = TensorProto.INT64, [1]
    return models.onnx_model(
        nodes,
        [("pixels", *pixels), ("weights", *weights), ("ids", *ids)],
        [("ids_out", *ids), ("pixels_out", *pixels), ("weights_out", *weights)],
    )


def test_several_inputs_and_outputs_are_told_apart_by_index(drive: MakeDriver) -> None:
    guest = drive({"m": mixed()})
    context = guest.open("m")
    assert guest.set_input(context, 2, [1], I64, np.int64(2**40).tobytes()) == 0
    assert guest.set_input(context, 0, [4], U8, b"abcd") == 0
    assert guest.compute(context) == 1, "input 1 is missing"
    assert guest.set_f32(context, 1, [1.5, -2]) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == np.int64(2**40).tobytes()
    assert guest.get_output(context, 1)[1] == b"abcd"
    assert guest.get_f32(context, 2) == [-1.5, 2]


def guest_host(model: bytes, **options: Any) -> GuestHost:
    return GuestHost(Shared(Registry({"m": wasinn.GraphSource.from_bytes(model, **options)})))


def test_ports_are_found_by_name_and_by_a_name_that_is_an_index() -> None:
    host = guest_host(mixed())
    context = host.init_execution_context(host.load_by_name("m"))
    assert host.input_spec(context, "weights")[0] == 1
    assert host.input_spec(context, "1")[1].name == "weights"
    host.set_input(context, "pixels", Tensor.of(np.array([1, 2, 3, 4], "u1")))
    host.set_input(context, "weights", Tensor.of(np.array([5, 6], "f4")))
    host.set_input(context, "2", Tensor.of(np.array([7], "i8")))
    host.compute(context)
    assert host.output(context, "weights_out").numpy().tolist() == [-5, -6]
    assert host.output(context, "0").numpy().tolist() == [7]
    names = [spec.name for spec in host.context(context).graph.graph.outputs]
    assert names == ["ids_out", "pixels_out", "weights_out"]
    with pytest.raises(wasinn.WasiNNError, match=r"no input 'pixel'.*0 'pixels', 1 'weights'"):
        host.set_input(context, "pixel", Tensor.of(np.zeros(4, "u1")))
    with pytest.raises(wasinn.WasiNNError, match="no output '3'"):
        host.output(context, "3")


def test_a_constant_output_is_read_after_compute(drive: MakeDriver) -> None:
    node = helper.make_node("Identity", ["w"], ["y"])
    model = models.onnx_model([node], [], [("y", TensorProto.FLOAT, [2])], {"w": np.array([3, 4], "f4")})
    guest = drive({"m": model})
    context = guest.open("m")
    assert guest.compute(context) == 0, "a graph without inputs lacks none"
    assert guest.get_f32(context, 0) == [3, 4]


def sequence_model() -> bytes:
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    inner = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    output = helper.make_value_info("y", helper.make_sequence_type_proto(inner))
    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "g", [port], [output])
    return _opset17(graph)


def optional_model() -> bytes:
    node = helper.make_node("Optional", ["x"], ["y"])
    inner = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    output = helper.make_value_info("y", helper.make_optional_type_proto(inner))
    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    return _opset17(helper.make_graph([node], "g", [port], [output]))


def _opset17(graph: Any) -> bytes:
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: models.identity(TensorProto.STRING, [1]), "tensor(string)"),
        (lambda: models.identity(TensorProto.COMPLEX64, [1]), "complex64"),
        (sequence_model, "seq(tensor(float))"),
        (optional_model, "optional(tensor(float))"),
    ],
    ids=["string", "complex", "sequence", "optional"],
)
def test_a_port_that_wasi_nn_cannot_carry_is_refused_by_name(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, make: Any, what: str
) -> None:
    model = make()
    with caplog.at_level(logging.WARNING):
        code, _ = drive().load(model)
    assert code in (5, UNSUPPORTED)
    assert what in reasons(caplog)


# -- loading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "name"), [(1, "gpu"), (2, "tpu")])
def test_a_target_that_is_not_there_is_refused_with_those_that_are(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, target: int, name: str
) -> None:
    from wasinn.backends.onnxruntime import OnnxRuntimeBackend

    if wasinn.Target(target) in OnnxRuntimeBackend().devices():
        pytest.skip(f"this machine has a {name}")
    with caplog.at_level(logging.WARNING):
        code, _ = drive().load(models.identity(), target=target)
    assert code == UNSUPPORTED
    assert f"target {name}" in reasons(caplog)
    assert "cpu (CPUExecutionProvider)" in reasons(caplog)


def test_the_operator_s_target_auto_takes_what_there_is(drive: MakeDriver) -> None:
    source = wasinn.GraphSource.from_bytes(models.identity(), target="auto")
    guest = drive({"m": source})
    context = guest.open("m")
    assert guest.set_f32(context, 0, [[1, 2, 3, 4]]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [1, 2, 3, 4]


@pytest.mark.parametrize("count", [0, 2])
def test_an_onnx_model_is_one_builder(drive: MakeDriver, count: int) -> None:
    assert drive().load(*[models.identity()] * count)[0] == 1


def test_threads_are_the_session_s() -> None:
    for threads in (1, 3):
        source = wasinn.GraphSource.from_bytes(models.identity(), threads=threads)
        graph: Any = Loader().load(source).graph
        assert graph._session.get_session_options().intra_op_num_threads == threads


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model whose weights lie in another file beside it."""
    weights = np.arange(1024, dtype="f4")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    ports = [helper.make_tensor_value_info(port, TensorProto.FLOAT, [1024]) for port in "xy"]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [numpy_helper.from_array(weights, "w")])
    model = onnx.load_from_string(_opset17(graph))
    path = tmp_path / "model.onnx"
    onnx.save_model(model, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (tmp_path / "w.bin").stat().st_size >= weights.nbytes
    return path


def test_external_data_is_read_for_a_graph_of_the_operator(drive: MakeDriver, external: Path) -> None:
    guest = drive({"m": wasinn.GraphSource.from_files(external)})
    context = guest.open("m")
    assert guest.set_f32(context, 0, np.ones(1024)) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0)[:3] == [1, 2, 3]


@pytest.mark.parametrize("where", ["beside", "above", "absolute"])
def test_external_data_is_closed_to_a_guest_s_bytes(
    drive: MakeDriver, external: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    folder = external.parent
    model = onnx.load(str(external), load_external_data=False)
    (tensor,) = model.graph.initializer
    (location,) = [entry for entry in tensor.external_data if entry.key == "location"]
    inner = folder / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner if where == "above" else folder)
    names = {"beside": "w.bin", "above": "../w.bin", "absolute": str(folder / "w.bin")}
    location.value = names[where]
    guest = drive()
    assert guest.load(model.SerializeToString())[0] != 0
    assert guest.load(models.identity())[0] == 0


# -- contexts ---------------------------------------------------------------------------------------


def test_contexts_of_one_graph_do_not_mix(drive: MakeDriver) -> None:
    guest = drive({"m": models.add()})
    contexts = [guest.open("m") for _ in range(20)]
    for number, context in enumerate(contexts):
        assert guest.set_f32(context, 0, [[number] * 4]) == 0
        assert guest.set_f32(context, 1, [[1] * 4]) == 0
    for context in contexts:
        assert guest.compute(context) == 0
    for number, context in enumerate(contexts):
        assert guest.get_f32(context, 0) == [number + 1] * 4
        assert guest.get_f32(context, 1) == [number - 1] * 4


SHARED = {
    name: Shared(Registry({"m": wasinn.GraphSource.from_bytes(model)}))
    for name, model in {
        "dynamic": models.identity(TensorProto.FLOAT, ["a", "b"]),
        "fixed": models.identity(TensorProto.FLOAT, [2, 2]),
        "wrong": models.onnx_model(
            [helper.make_node("Identity", ["x"], ["y"])],
            [("x", TensorProto.FLOAT, ["a", "b"])],
            [("y", TensorProto.FLOAT, [2, 2])],
        ),
    }.items()
}
STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["set", "compute", "read", "close"]), st.integers(0, 3)),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(SHARED)), steps=STEPS)
def test_a_context_on_used_buffers_gives_nothing_of_the_one_before(
    kind: str, steps: list[tuple[int, str, int]]
) -> None:
    """Four instances, each with a context that is opened, used and closed in any order."""
    hosts: dict[int, tuple[GuestHost, int]] = {}
    given_: dict[int, np.ndarray] = {}
    computed: dict[int, np.ndarray] = {}
    serial = 0
    try:
        for slot, step, size in steps:
            if slot not in hosts:
                host = GuestHost(SHARED[kind])
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
                    computed[slot] = given_[slot]
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


# -- failing and ending -----------------------------------------------------------------------------


def test_a_compute_that_fails_takes_the_outputs_away(drive: MakeDriver) -> None:
    node = helper.make_node("Gather", ["w", "x"], ["y"], axis=0)
    model = models.onnx_model(
        [node],
        [("x", TensorProto.INT64, [1])],
        [("y", TensorProto.FLOAT, [1])],
        {"w": np.array([10, 20, 30], "f4")},
    )
    guest = drive({"m": model})
    context = guest.open("m")
    for index, code in ((1, 0), (7, 5), (2, 0)):
        assert guest.set_input(context, 0, [1], I64, np.int64(index).tobytes()) == 0
        assert guest.compute(context) == code
        found = guest.get_output(context, 0)
        if code:
            assert found[:2] == (5, b"")
        else:
            assert np.frombuffer(found[1], "<f4").tolist() == [(index + 1) * 10]


def test_an_interrupt_ends_a_long_compute_and_poisons_no_later_context() -> None:
    shared = Shared(Registry({"m": wasinn.GraphSource.from_bytes(models.slow(40_000), threads=1)}))
    values = Tensor.of(np.full((256, 256), 0.01, "f4"))
    host = GuestHost(shared)
    context = host.init_execution_context(host.load_by_name("m"))
    host.set_input(context, 0, values)
    threading.Timer(0.2, host.interrupt, ["a test"]).start()
    start = time.monotonic()
    with pytest.raises(wasinn.WasiNNError, match="runtime_error"):
        host.compute(context)
    assert time.monotonic() - start < 10
    with pytest.raises(wasinn.WasiNNError, match="the run was ended: a test"):
        host.compute(context)
    host.close()
    for _ in range(3):
        other = GuestHost(shared)
        context = other.init_execution_context(other.load_by_name("m"))
        other.set_input(context, 0, values)
        timer = threading.Timer(0.2, other.interrupt, ["done"])
        timer.start()
        start = time.monotonic()
        with pytest.raises(wasinn.WasiNNError):
            other.compute(context)
        assert time.monotonic() - start > 0.1, "it computed until its own interrupt"
        other.close()
