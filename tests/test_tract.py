# SPDX-License-Identifier: Apache-2.0
"""ONNX models on tract, called by a guest."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import models
import wasinn
from conftest import MakeDriver, require_backend
from driver import Driver
from wasinn.backends.base import LoadOptions, Model
from wasinn.backends.tract import TractBackend
from wasinn.spec import WITX_TYPES, Encoding, Target, TensorType
from wasinn.tensors import Tensor
from zoo import onnx as zoo

F16, F32, F64, U8, I32, I64 = range(6)
UNSUPPORTED = 6
FLOAT = TensorProto.FLOAT
CODES = {tensor_type: code for code, tensor_type in WITX_TYPES.items()}
#: What tract's interface cannot carry.
MISSING = [each for each in TensorType if each is TensorType.BF16 or each.label.startswith("f8")]


@pytest.fixture(autouse=True)
def _installed() -> None:
    require_backend("tract")


def reasons(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.name == "wasinn.guest")


def source(model: bytes, **options: Any) -> wasinn.GraphSource:
    return wasinn.GraphSource.from_bytes(model, backend="tract", **options)


def guest_of(drive: MakeDriver, model: bytes) -> tuple[Driver, int]:
    guest = drive({"m": source(model)})
    return guest, guest.open("m")


def graph_of(model: bytes, **options: Any) -> Any:
    return TractBackend().load(Model(builders=(model,)), Encoding.ONNX, Target.CPU, LoadOptions(**options))


def only(builders: tuple[bytes, ...] | None) -> bytes:
    assert builders is not None
    return builders[0]


def one_node(operator: str, dims: models.Dims, **attributes: Any) -> bytes:
    """y f32 = operator(x f32), of the same dims."""
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    return models.onnx_model([node], [("x", FLOAT, dims)], [("y", FLOAT, dims)])


# -- types and shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tensor_type", [each for each in TensorType if each not in MISSING], ids=lambda each: each.label
)
def test_every_type_comes_back_bit_for_bit(drive: MakeDriver, tensor_type: TensorType) -> None:
    data = np.random.default_rng(1).bytes(6 * tensor_type.size)
    if tensor_type is TensorType.BOOL:
        data = bytes([0, 1, 1, 0, 1, 0])
    guest, context = guest_of(drive, only(zoo.identity(tensor_type, (6,))))
    assert guest.set_input(context, 0, [6], CODES[tensor_type.wire], data) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[:2] == (0, data)


@pytest.mark.parametrize("tensor_type", MISSING, ids=lambda each: each.label)
def test_a_type_that_tract_lacks_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, tensor_type: TensorType
) -> None:
    guest = drive({"m": source(only(zoo.identity(tensor_type, (6,))))})
    with caplog.at_level(logging.WARNING):
        assert guest.load_by_name("m")[0] in (5, UNSUPPORTED)
    assert "float" in reasons(caplog).lower()


@pytest.mark.parametrize("onnx_type", [TensorProto.STRING, TensorProto.COMPLEX64])
def test_a_port_that_wasi_nn_cannot_carry_is_refused(drive: MakeDriver, onnx_type: int) -> None:
    guest = drive({"m": source(models.identity(onnx_type, [1]))})
    assert guest.load_by_name("m")[0] in (5, UNSUPPORTED)


def test_every_byte_of_a_bool_tensor_that_is_not_0_is_true(drive: MakeDriver) -> None:
    guest, context = guest_of(drive, models.identity(TensorProto.BOOL, [4]))
    assert guest.set_input(context, 0, [4], U8, bytes([0, 2, 0x80, 0xFF])) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == bytes([0, 1, 1, 1])


@pytest.mark.parametrize("dims", [("rows", 3), (None, 3), (-1, 3)], ids=["named", "unnamed", "minus one"])
def test_a_dynamic_shape_may_grow_and_shrink_between_computes(drive: MakeDriver, dims: models.Dims) -> None:
    guest, context = guest_of(drive, models.identity(FLOAT, dims))
    for rows in (1, 7, 3, 7, 0, 1, *range(10, 22), 3):
        values = np.random.default_rng(rows).random((rows, 3)).astype("<f4")
        assert guest.set_f32(context, 0, values) == 0
        for _ in range(2):
            assert guest.compute(context) == 0
            assert guest.get_output(context, 0, 1024)[:2] == (0, values.tobytes())
    assert guest.set_f32(context, 0, np.zeros((2, 4))) == 1, "the fixed dimension stays fixed"


def test_a_graph_keeps_plans_for_a_few_shapes_and_no_more() -> None:
    graph = graph_of(models.identity(FLOAT, ["rows"]))
    execution = graph.open()
    for rows in (*range(1, 20), 1, 19):
        execution.set_input(0, Tensor.of(np.ones(rows, "f4")))
        execution.compute()
        assert execution.output(0).dims == (rows,)
    assert len(graph._plans) <= 8


def test_dims_that_share_a_name_are_the_same_size(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    guest, context = guest_of(drive, models.add(["n"]))
    for sizes, code in (((2, 2), 0), ((2, 3), 5), ((3, 3), 0)):
        for index, size in enumerate(sizes):
            assert guest.set_f32(context, index, np.ones(size)) == 0
        assert guest.compute(context) == code
    assert guest.get_f32(context, 0) == [2, 2, 2]


def test_an_unknown_rank_takes_any_rank(drive: MakeDriver) -> None:
    guest, context = guest_of(drive, models.identity(FLOAT, None))
    for dims in ([2, 3], [5], [1, 1, 1, 4], [], [0, 2]):
        values = np.arange(np.prod(dims, dtype=int), dtype="<f4").reshape(dims)
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, values.tobytes())


@pytest.mark.parametrize("dims", [[], [1]])
def test_a_scalar_is_given_with_dims_of_none_or_one(drive: MakeDriver, dims: list[int]) -> None:
    guest, context = guest_of(drive, models.identity(FLOAT, []))
    data = np.float32(2.5).tobytes()
    assert guest.set_input(context, 0, dims, F32, data) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[:2] == (0, data)


@pytest.mark.parametrize("dims", [["a"], [6]], ids=["dynamic", "fixed"])
def test_integers_that_come_of_shapes_are_i64(drive: MakeDriver, dims: models.Dims) -> None:
    """tract has a type of its own for them, which its interface cannot read."""
    node = helper.make_node("Shape", ["x"], ["y"])
    model = models.onnx_model([node], [("x", FLOAT, dims)], [("y", TensorProto.INT64, [1])])
    assert [str(spec) for spec in graph_of(model).outputs] == ["i64 [1]"]
    guest, context = guest_of(drive, model)
    assert guest.set_f32(context, 0, np.ones(6)) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == np.int64(6).tobytes()


def test_an_output_has_the_shape_that_the_data_gives_it(drive: MakeDriver) -> None:
    guest, context = guest_of(drive, only(zoo.nonzero()))
    for values in ([1, 0, 1, 0, 1, 0], [0] * 6, [1] * 6):
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        data = guest.get_output(context, 0)[1]
        assert np.frombuffer(data, "<i8").tolist() == np.flatnonzero(values).tolist()


# -- ports --------------------------------------------------------------------------------------------


def test_several_inputs_and_outputs_are_told_apart_by_index(drive: MakeDriver) -> None:
    guest, context = guest_of(drive, only(zoo.mixed()))
    assert guest.set_input(context, 2, [1], I64, np.int64(2**40).tobytes()) == 0
    assert guest.set_input(context, 0, [4], U8, b"abcd") == 0
    assert guest.compute(context) == 1, "input 1 is missing"
    assert guest.set_f32(context, 1, [1.5, -2]) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == np.int64(2**40).tobytes()
    assert guest.get_output(context, 1)[1] == b"abcd"
    assert guest.get_f32(context, 2) == [-1.5, 2]


def test_names_types_and_dims_are_the_model_s() -> None:
    graph = graph_of(only(zoo.add((None, 4))))
    assert [(spec.name, str(spec)) for spec in graph.inputs] == [("a", "f32 [?,4]"), ("b", "f32 [?,4]")]
    assert [(spec.name, str(spec)) for spec in graph.outputs] == [
        ("sum", "f32 [?,4]"),
        ("difference", "f32 [?,4]"),
    ]


def test_too_few_inputs_are_an_error_and_no_crash() -> None:
    """tract itself reads through a null pointer."""
    execution = graph_of(models.add()).open()
    execution.set_input(0, Tensor.of(np.zeros((1, 4), "f4")))
    with pytest.raises(wasinn.WasiNNError, match="an input is missing"):
        execution.compute()


def test_an_initializer_among_the_inputs_is_none(drive: MakeDriver) -> None:
    node = helper.make_node("Add", ["x", "w"], ["y"])
    ports = [("x", FLOAT, [2]), ("w", FLOAT, [2])]
    model = models.onnx_model([node], ports, [("y", FLOAT, [2])], {"w": np.array([3, 4], "f4")})
    guest, context = guest_of(drive, model)
    assert guest.set_f32(context, 0, [1, 1]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [4, 5]


def test_a_constant_output_is_read_after_compute(drive: MakeDriver) -> None:
    node = helper.make_node("Identity", ["w"], ["y"])
    model = models.onnx_model([node], [], [("y", FLOAT, [2])], {"w": np.array([3, 4], "f4")})
    guest, context = guest_of(drive, model)
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [3, 4]


# -- contexts -----------------------------------------------------------------------------------------


def lstm() -> bytes:
    weights = np.random.default_rng(3).random((2, 1, 8, 2)).astype("f4")
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2)
    return models.onnx_model(
        [node],
        [("x", FLOAT, [3, 1, 2])],
        [("y", FLOAT, [3, 1, 1, 2])],
        {"w": weights[0], "r": weights[1]},
    )


def test_a_compute_remembers_nothing_of_the_one_before(drive: MakeDriver) -> None:
    """tract's states keep what an LSTM remembered."""
    guest, context = guest_of(drive, lstm())
    assert guest.set_f32(context, 0, np.ones((3, 1, 2))) == 0
    assert guest.compute(context) == 0
    first = guest.get_f32(context, 0)
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == first


def test_contexts_of_one_graph_do_not_mix(drive: MakeDriver) -> None:
    guest = drive({"m": source(models.add())})
    contexts = [guest.open("m") for _ in range(20)]
    for number, context in enumerate(contexts):
        assert guest.set_f32(context, 0, [[number] * 4]) == 0
        assert guest.set_f32(context, 1, [[1] * 4]) == 0
    for context in contexts:
        assert guest.compute(context) == 0
    for number, context in enumerate(contexts):
        assert guest.get_f32(context, 0) == [number + 1] * 4
        assert guest.get_f32(context, 1) == [number - 1] * 4


def test_an_output_is_not_changed_by_the_next_input() -> None:
    execution = graph_of(models.identity(FLOAT, [2])).open()
    given = np.array([1, 2], "f4")
    execution.set_input(0, Tensor.of(given))
    given[:] = 9
    execution.compute()
    output = execution.output(0)
    execution.set_input(0, Tensor.of(np.array([3, 4], "f4")))
    assert output.numpy().tolist() == [1, 2]


@pytest.mark.parametrize("dims", [(1, 64), (None, 64)], ids=["fixed", "dynamic"])
def test_contexts_compute_at_the_same_time(dims: Any) -> None:
    graph = graph_of(only(zoo.add(dims)))
    wrong: list[int] = []

    def work(number: int) -> None:
        execution = graph.open()
        for step in range(100):
            rows = 1 if dims[0] else 1 + (number + step) % 3
            a = np.full((rows, 64), number * 1000 + step, "f4")
            execution.set_input(0, Tensor.of(a))
            execution.set_input(1, Tensor.of(np.ones_like(a)))
            execution.compute()
            if not (execution.output(1).numpy() == a - 1).all():
                wrong.append(number)
        execution.close()
        execution.close()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


# -- loading ------------------------------------------------------------------------------------------


def test_what_is_no_onnx_model_is_said_to_be_none(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    for content in (b"not a model", b"\x08\x08", models.identity()[:-5]):
        with pytest.raises(wasinn.WasiNNError, match="invalid_encoding") as caught:
            graph_of(content)
        assert "Stack backtrace" not in str(caught.value)
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("dims", [[2], ["n"]], ids=["fixed", "dynamic"])
def test_an_operator_that_tract_lacks_is_found_at_load(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, dims: models.Dims
) -> None:
    guest = drive({"m": source(one_node("Frobnicate", dims))})
    with caplog.at_level(logging.WARNING):
        assert guest.load_by_name("m")[0] == 5
    assert "Unimplemented(Frobnicate)" in reasons(caplog)
    assert "Stack backtrace" not in reasons(caplog)


def test_a_shape_that_the_model_cannot_have_is_told_at_compute(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    model = models.onnx_model(
        [node], [("x", FLOAT, ["n"])], [("y", FLOAT, [2, 3])], {"shape": np.array([2, 3], "i8")}
    )
    guest, context = guest_of(drive, model)
    with caplog.at_level(logging.WARNING):
        for size, code in ((6, 0), (5, 5), (6, 0)):
            assert guest.set_f32(context, 0, np.ones(size)) == 0
            assert guest.compute(context) == code
            assert guest.get_output(context, 0)[0] == code
    lines = [line for line in reasons(caplog).splitlines() if "tract:" in line]
    assert lines
    assert "Stack backtrace" not in lines[0]


@pytest.mark.parametrize(("target", "name"), [(1, "gpu"), (2, "tpu")])
def test_tract_has_the_cpu_alone(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, target: int, name: str
) -> None:
    guest = drive({"m": source(models.identity(), target=name)})
    with caplog.at_level(logging.WARNING):
        assert guest.load_by_name("m")[0] == UNSUPPORTED
    assert f"target {name}; it has: cpu" in reasons(caplog)


def test_more_than_one_thread_is_refused() -> None:
    assert graph_of(models.identity(), threads=1).inputs
    with pytest.raises(wasinn.WasiNNError, match="threads must be 1, not 2"):
        graph_of(models.identity(), threads=2)


@pytest.mark.parametrize("count", [0, 2])
def test_an_onnx_model_is_one_builder(count: int) -> None:
    with pytest.raises(wasinn.WasiNNError, match=f"one builder.*got {count}"):
        TractBackend().load(
            Model(builders=(models.identity(),) * count), Encoding.ONNX, Target.CPU, LoadOptions()
        )


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model whose weights lie in another file beside it."""
    node = helper.make_node("Add", ["x", "w"], ["y"])
    weights = {"w": np.arange(1024, dtype="f4")}
    model = models.onnx_model([node], [("x", FLOAT, ["n"])], [("y", FLOAT, ["n"])], weights)
    path = tmp_path / "model.onnx"
    onnx.save_model(
        onnx.load_from_string(model),
        str(path),
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    return path


def test_external_data_is_read_for_a_graph_of_the_operator(drive: MakeDriver, external: Path) -> None:
    guest = drive({"m": wasinn.GraphSource.from_files(external, backend="tract")})
    context = guest.open("m")
    assert guest.set_f32(context, 0, np.ones(1024)) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0)[:3] == [1, 2, 3]


@pytest.mark.parametrize("where", ["beside", "absolute"])
def test_external_data_is_closed_to_a_model_that_is_bytes(
    external: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    model = onnx.load(str(external), load_external_data=False)
    (tensor,) = model.graph.initializer
    (location,) = [entry for entry in tensor.external_data if entry.key == "location"]
    monkeypatch.chdir(external.parent)
    location.value = {"beside": "w.bin", "absolute": str(external.parent / "w.bin")}[where]
    with pytest.raises(wasinn.WasiNNError, match="external data"):
        graph_of(model.SerializeToString())


PANIC = """
import sys
import numpy as np
from wasinn.backends.base import LoadOptions, Model
from wasinn.backends.tract import TractBackend
from wasinn.spec import Encoding, Target
from wasinn.tensors import Tensor

model = Model(builders=(sys.stdin.buffer.read(),))
execution = TractBackend().load(model, Encoding.ONNX, Target.CPU, LoadOptions()).open()
for index in (1, 7):
    execution.set_input(0, Tensor.of(np.array([index], "i8")))
    execution.compute()
    print(execution.output(0).numpy().tolist(), flush=True)
"""


def test_a_panic_ends_the_process() -> None:
    """What the docs warn of. Once this fails, tract may be trusted with guests in the host's process."""
    node = helper.make_node("Gather", ["w", "x"], ["y"], axis=0)
    weights = {"w": np.array([10, 20, 30], "f4")}
    model = models.onnx_model([node], [("x", TensorProto.INT64, [1])], [("y", FLOAT, [1])], weights)
    child = subprocess.run([sys.executable, "-c", PANIC], input=model, capture_output=True, check=False)
    assert child.stdout.split() == [b"[20.0]"]
    assert child.returncode == -signal.SIGABRT
    assert b"panicked" in child.stderr


# -- the same as ONNX Runtime -----------------------------------------------------------------------


def convolution() -> bytes:
    weights = np.random.default_rng(5).random((8, 3, 3, 3)).astype("f4")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Softmax", ["f"], ["y"], axis=1),
    ]
    return models.onnx_model(nodes, [("x", FLOAT, ["n", 3, 8, 8])], [("y", FLOAT, ["n", 8])], {"w": weights})


CASES = {
    "add": (models.add(), [(1, 4), (1, 4)]),
    "add, dynamic": (models.add(["n", "m"]), [(3, 5), (3, 5)]),
    "convolution": (convolution(), [(2, 3, 8, 8)]),
    "lstm": (lstm(), [(3, 1, 2)]),
    "products": (only(zoo.slow(3)), [(256, 256)]),
    "halves": (only(zoo.halves((None, 3, None))), [(2, 3, 4)]),
    "sigmoid": (one_node("Sigmoid", ["n"]), [(100,)]),
    "transpose": (one_node("Transpose", [2, 2], perm=[1, 0]), [(2, 2)]),
}


@pytest.mark.parametrize("name", CASES)
def test_results_agree_with_onnx_runtime(drive: MakeDriver, name: str) -> None:
    require_backend("onnxruntime")
    model, shapes = CASES[name]
    guest = drive(
        {
            backend: wasinn.GraphSource.from_bytes(model, backend=backend)
            for backend in ("tract", "onnxruntime")
        }
    )
    results = []
    for backend in ("tract", "onnxruntime"):
        random = np.random.default_rng(7)
        context = guest.open(backend)
        for index, shape in enumerate(shapes):
            scale = 0.01 if name == "products" else 1
            assert guest.set_f32(context, index, random.standard_normal(shape) * scale) == 0
        assert guest.compute(context) == 0
        code, data, _ = guest.get_output(context, 0, 1 << 19)
        assert code == 0
        results.append(np.frombuffer(data, "<f4"))
    np.testing.assert_allclose(results[0], results[1], atol=1e-4)


def test_mobilenet_classifies_as_on_onnx_runtime(drive: MakeDriver, data: Path) -> None:
    require_backend("onnxruntime")
    folder = data / "mobilenet_v2"
    names = ("tract", "onnxruntime")
    guest = drive(
        {name: wasinn.GraphSource.from_files(folder / "mobilenet_v2.onnx", backend=name) for name in names}
    )
    picture = (folder / "kitten.tensor").read_bytes()
    scores = []
    for name in names:
        context = guest.open(name)
        assert guest.set_input(context, 0, [1, 3, 224, 224], F32, picture) == 0
        assert guest.compute(context) == 0
        scores.append(np.array(guest.get_f32(context, 0)))
    assert int(scores[0].argmax()) == 281
    assert scores[0].max() == pytest.approx(13.693, abs=1e-2)
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)


@pytest.mark.parametrize(("picture", "digit"), [("sample3.png", 3), ("sample7.png", 7)])
def test_mnist_reads_digits(drive: MakeDriver, data: Path, picture: str, digit: int) -> None:
    image = pytest.importorskip("PIL.Image")
    guest = drive({"m": wasinn.GraphSource.from_files(data / "mnist" / "mnist.onnx", backend="tract")})
    with image.open(data / "mnist" / picture) as opened:
        pixels = np.asarray(opened.convert("L").resize((28, 28)), "<f4").reshape(1, 1, 28, 28)
    context = guest.open("m")
    assert guest.set_f32(context, 0, pixels) == 0
    assert guest.compute(context) == 0
    assert int(np.argmax(guest.get_f32(context, 0))) == digit
