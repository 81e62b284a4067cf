# SPDX-License-Identifier: Apache-2.0
"""TensorFlow graphs on TensorFlow, called by a guest: ports, types, what bytes may do, SavedModels."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wasinn
from conftest import MakeDriver, require_backend
from wasinn import shipped
from wasinn.backends.base import LoadOptions, Model
from wasinn.backends.tensorflow import TensorFlowBackend
from wasinn.backends.tensorflow_graphdef import ALLOWED
from wasinn.graphs.registry import Registry
from wasinn.host import GuestHost, Shared
from wasinn.spec import Encoding, Target, TensorType
from wasinn.tensors import Tensor
from zoo import tensorflow as zoo

F16, F32, F64, U8, I32, I64 = range(6)
CODES = {"f16": F16, "f32": F32, "f64": F64, "u8": U8, "i32": I32, "i64": I64}
INVALID_ENCODING, RUNTIME_ERROR, UNSUPPORTED = 2, 5, 6

MODELS = shipped.ROOT / "models"


@pytest.fixture(autouse=True)
def _installed() -> None:
    require_backend("tensorflow")


def source(*builders: bytes, **options: Any) -> wasinn.GraphSource:
    return wasinn.GraphSource.from_bytes(*builders, encoding="tensorflow", backend="tensorflow", **options)


def from_file(path: Path) -> wasinn.GraphSource:
    return wasinn.GraphSource.from_files(path, encoding="tensorflow", backend="tensorflow")


def graph_of(*builders: bytes) -> Any:
    return TensorFlowBackend().load(Model(builders=builders), Encoding.TENSORFLOW, Target.CPU, LoadOptions())


def graph_in(path: Path) -> Any:
    return TensorFlowBackend().load(Model(files=(path,)), Encoding.TENSORFLOW, Target.CPU, LoadOptions())


def names_of(graph: Any) -> tuple[list[str], list[str]]:
    return [spec.name for spec in graph.inputs], [spec.name for spec in graph.outputs]


def refusal(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, model: wasinn.GraphSource
) -> tuple[int, str]:
    """The errno of loading a model, and the reason in the log."""
    with caplog.at_level(logging.WARNING):
        code, _ = drive({"m": model}).load_by_name("m")
    return code, "\n".join(each.getMessage() for each in caplog.records if each.name == "wasinn.guest")


# -- the shipped models -------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["@digits.pb", "@digits_saved_model"])
def test_a_guest_reads_the_shipped_pictures(model: str) -> None:
    host = wasinn.Host(graphs={"digits": f"tensorflow:{model}?backend=tensorflow"})
    order = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    pictures = sorted((shipped.ROOT / "pictures").iterdir(), key=lambda path: order.index(path.stem))
    options = ["--name", "digits", "--size", "8x8", "--colour", "gray", "--layout", "nhwc", "--top", "1"]
    paths = [f"/p/{path.name}" for path in pictures]
    result = host.run("@classify", [*options, "--tsv", *paths], dirs={"/p": shipped.ROOT / "pictures"})
    assert result.ok, result.stderr
    assert [int(line.split("\t")[2]) for line in result.stdout.decode().splitlines()] == list(range(10))


# -- ports --------------------------------------------------------------------------------------------


def test_inputs_come_as_in_the_file_and_outputs_by_name() -> None:
    (model,) = zoo.mixed()
    assert names_of(graph_of(model)) == (
        ["pixels", "weights", "ids"],
        ["ids_out", "pixels_out", "weights_out"],
    )
    add = graph_of(*zoo.add())
    assert names_of(add)[1] == ["difference", "sum"]
    assert [spec.aliases for spec in (*add.inputs, *add.outputs)] == [
        *(("a:0",), ("b:0",)),
        *(("difference:0",), ("sum:0",)),
    ], "as TensorFlow and OpenVINO call the tensors of these nodes"


ROOM = zoo.placeholder("x", "f32", (4,))

#: Graphs whose ports could be taken otherwise -> the outputs.
GRAPHS: dict[str, tuple[bytes, list[str]]] = {
    "sorted as bytes are": (
        zoo.graph(ROOM, *(zoo.unary("Neg", name, "x") for name in ("a9", "a10", "b", "b/1", "B", "Z.z"))),
        ["B", "Z.z", "a10", "a9", "b", "b/1"],
    ),
    "the first of several": (
        zoo.graph(
            ROOM,
            zoo.constant("two", np.int32(2)),
            zoo.node("TopKV2", "top", "x", "two", T=zoo.dtype("f32")),
        ),
        ["top"],
    ),
    "taken by a control dependency alone": (
        zoo.graph(
            ROOM,
            zoo.unary("Neg", "first", "x"),
            zoo.node("Neg", "second", "x", "^first", T=zoo.dtype("f32")),
        ),
        ["second"],
    ),
    "no constants": (
        zoo.graph(
            ROOM,
            zoo.constant("loose", np.float32(1)),
            zoo.unary("Identity", "named", "loose"),
            zoo.unary("Neg", "y", "x"),
        ),
        ["y"],
    ),
    "what computes a constant": (
        zoo.graph(
            ROOM,
            zoo.constant("one", np.float32([1])),
            zoo.unary("Neg", "minus", "one"),
            zoo.unary("Neg", "y", "x"),
        ),
        ["minus", "y"],
    ),
    "no node without an output": (
        zoo.graph(ROOM, zoo.unary("Neg", "y", "x"), zoo.node("NoOp", "init")),
        ["y"],
    ),
    "an input that nobody takes": (
        zoo.graph(ROOM, zoo.placeholder("unused", "f32", (2,)), zoo.unary("Neg", "y", "x")),
        ["unused", "y"],
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_outputs_are_what_no_node_takes(name: str) -> None:
    model, outputs = GRAPHS[name]
    assert names_of(graph_of(model))[1] == outputs


@pytest.mark.parametrize("name", GRAPHS)
def test_an_index_means_what_it_means_to_openvino(tmp_path: Path, name: str) -> None:
    openvino = pytest.importorskip("openvino")
    model, _ = GRAPHS[name]
    path = tmp_path / "model.pb"
    path.write_bytes(model)
    other = openvino.Core().read_model(path)
    found = [
        [port.get_node().get_friendly_name().split(":")[0] for port in side]
        for side in (other.inputs, other.outputs)
    ]
    assert names_of(graph_in(path)) == tuple(found)


def test_an_output_that_is_an_input_stays_as_it_was_computed() -> None:
    execution = graph_of(*zoo.identity(TensorType.F32, (4,))).open()
    for value in (1, 2):
        execution.set_input(0, Tensor.of(np.full(4, value, "f4")))
        execution.compute()
        execution.set_input(0, Tensor.of(np.full(4, 9, "f4")))
        assert execution.output(0).numpy().tolist() == [value] * 4
    execution.close()
    execution.close()


def test_an_input_may_change_its_shape_between_computes(drive: MakeDriver) -> None:
    guest = drive({"m": source(*zoo.identity(TensorType.F32, None))})
    context = guest.open("m")
    for dims in ([2, 3], [5], [], [0, 4], [1, 1, 1, 4], [2, 3]):
        values = np.arange(np.prod(dims, dtype=int), dtype="<f4").reshape(dims)
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, values.tobytes())


def test_contexts_of_one_graph_do_not_mix(drive: MakeDriver) -> None:
    guest = drive({"m": source(*zoo.add((4,)))})
    contexts = [guest.open("m") for _ in range(10)]
    for number, context in enumerate(contexts):
        assert guest.set_f32(context, 0, [number] * 4) == 0
        assert guest.set_f32(context, 1, [1] * 4) == 0
    for context in contexts:
        assert guest.compute(context) == 0
    for number, context in enumerate(contexts):
        assert guest.get_f32(context, 0) == [number - 1] * 4
        assert guest.get_f32(context, 1) == [number + 1] * 4


# -- types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tensor_type", TensorType, ids=lambda each: each.label)
def test_every_type_comes_back_bit_for_bit(drive: MakeDriver, tensor_type: TensorType) -> None:
    values = np.random.default_rng(1).integers(0, 256, 64 * tensor_type.size, "u1")
    if tensor_type is TensorType.BOOL:
        values &= 1
    guest = drive({"m": source(*zoo.identity(tensor_type, (64,)))})
    context = guest.open("m")
    for data in (values.tobytes(), values[::-1].tobytes()):
        assert guest.set_input(context, 0, [64], CODES[tensor_type.wire.label], data) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, data)


def test_every_byte_of_a_bool_tensor_that_is_not_0_is_true(drive: MakeDriver) -> None:
    model = zoo.graph(
        zoo.placeholder("x", "bool", (4,)),
        zoo.node("Cast", "y", "x", SrcT=zoo.dtype("bool"), DstT=zoo.dtype("i32")),
    )
    guest = drive({"m": source(model)})
    context = guest.open("m")
    assert guest.set_input(context, 0, [4], U8, bytes([0, 1, 2, 255])) == 0
    assert guest.compute(context) == 0
    assert np.frombuffer(guest.get_output(context, 0)[1], "<i4").tolist() == [0, 1, 1, 1]


def test_bf16_is_computed_as_bf16_and_not_as_f16(drive: MakeDriver) -> None:
    guest = drive(
        {"m": source(zoo.graph(zoo.placeholder("x", "bf16", (2,)), zoo.unary("Neg", "y", "x", "bf16")))}
    )
    context = guest.open("m")
    assert guest.set_input(context, 0, [2], F16, np.array([0x3F80, 0xC020], "<u2").tobytes()) == 0
    assert guest.compute(context) == 0
    assert np.frombuffer(guest.get_output(context, 0)[1], "<u2").tolist() == [0xBF80, 0x4020]


@pytest.mark.parametrize("kind", ["string", "complex64", "qint8", "resource", "variant"])
def test_a_port_that_wasi_nn_cannot_carry_is_refused_by_name(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    model = zoo.graph(zoo.placeholder("odd", kind, (1,)), zoo.unary("Identity", "y", "odd", kind))
    code, reason = refusal(drive, caplog, source(model))
    assert code == UNSUPPORTED
    assert f"the input 'odd' is a {kind} tensor" in reason


# -- loading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_model_that_is_cut_short_fails_at_load(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, share: float
) -> None:
    data = (MODELS / "digits.pb").read_bytes()
    code, _ = refusal(drive, caplog, source(data[: int(len(data) * share)]))
    assert code in (INVALID_ENCODING, RUNTIME_ERROR)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not a model at all", "not a TensorFlow GraphDef"),
        (zoo.graph(), "no nodes"),
        ((MODELS / "digits.onnx").read_bytes(), "not a TensorFlow GraphDef"),
        ((MODELS / "digits_saved_model" / "saved_model.pb").read_bytes(), "give its directory"),
    ],
    ids=["noise", "no nodes", "ONNX", "saved_model.pb"],
)
def test_what_is_no_graph_is_told_by_its_encoding(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, data: bytes, reason: str
) -> None:
    code, found = refusal(drive, caplog, source(data))
    assert code == INVALID_ENCODING
    assert reason in found


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (zoo.graph(ROOM, zoo.unary("Neg", "y", "z")), "Unknown input node 'z'"),
        (zoo.graph(zoo.constant("y", np.float32(1))), "the graph has no outputs"),
        (zoo.graph(ROOM, zoo.node("MatMul", "y", "x", "x", T=zoo.dtype("f32"))), "must be rank 2"),
    ],
    ids=["no such node", "only constants", "wrong rank"],
)
def test_a_graph_that_cannot_run_says_why(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, model: bytes, reason: str
) -> None:
    code, found = refusal(drive, caplog, source(model))
    assert code == RUNTIME_ERROR
    assert reason in found


def test_a_target_that_is_not_there_is_refused_with_those_that_are(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    code, reason = refusal(drive, caplog, source(*zoo.identity(), target="tpu"))
    assert code == UNSUPPORTED
    assert "cannot serve the target tpu; it has: cpu (CPU:0)" in reason


def test_the_device_of_a_model_s_author_is_not_asked_for(drive: MakeDriver) -> None:
    model = zoo.graph(
        ROOM, zoo.node("Neg", "y", "x", device="/job:w/task:3/device:GPU:7", T=zoo.dtype("f32"))
    )
    guest = drive({"m": source(model)})
    context = guest.open("m")
    assert guest.set_f32(context, 0, [1, 2, 3, 4]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [-1, -2, -3, -4]


def test_a_dropped_graph_leaves_no_function_behind() -> None:
    from tensorflow.python.eager import context

    def count() -> int:
        gc.collect()
        return len(context.context().list_function_names())

    def use() -> None:
        execution = graph_of(*zoo.slow(1)).open()
        execution.set_input(0, Tensor.of(np.ones((256, 256), "f4")))
        execution.compute()
        execution.close()

    use()
    before = count()
    for _ in range(3):
        use()
    assert count() == before


# -- what bytes may do --------------------------------------------------------------------------------


def writer(path: Path) -> bytes:
    """A graph that writes a file whenever y is computed."""
    return zoo.graph(
        ROOM,
        zoo.node("Const", "path", dtype=zoo.dtype("string"), value=zoo.strings(str(path))),
        zoo.node("WriteFile", "write", "path", "path"),
        zoo.node("Neg", "y", "x", "^write", T=zoo.dtype("f32")),
    )


def test_a_graph_that_writes_files_is_refused_as_bytes_and_runs_from_an_operator_s_file(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    written, model = tmp_path / "written", tmp_path / "model.pb"
    model.write_bytes(writer(written))
    code, reason = refusal(drive, caplog, source(model.read_bytes()))
    assert code == UNSUPPORTED
    assert "the operation 'WriteFile' (node 'write')" in reason
    assert not written.exists()
    guest = drive({"m": from_file(model)})
    context = guest.open("m")
    assert guest.set_f32(context, 0, [1, 2, 3, 4]) == 0
    assert guest.compute(context) == 0
    assert written.exists()


def test_a_guest_s_own_bytes_are_held_to_the_same(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    guest = drive(host=wasinn.Host(backends={"tensorflow": "tensorflow"}))
    with caplog.at_level(logging.WARNING):
        assert guest.load(writer(tmp_path / "written"), encoding=2)[0] == UNSUPPORTED
    code, graph = guest.load(*zoo.identity(TensorType.F32, (4,)), encoding=2)
    assert code == 0
    context = guest.context(graph)[1]
    assert guest.set_f32(context, 0, [1, 2, 3, 4]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [1, 2, 3, 4]


def calling(name: str, *functions: bytes) -> bytes:
    """y = name(x)."""
    call = zoo.node(
        "PartitionedCall",
        "call",
        "x",
        Tin=zoo.types("f32"),
        Tout=zoo.types("f32"),
        f=zoo.function(name),
    )
    return zoo.graph(ROOM, call, zoo.unary("Identity", "y", "call"), functions=functions)


def test_a_forbidden_operation_is_found_in_a_function(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    body = zoo.function_def(
        "f",
        {"x": "f32"},
        {"y": "f32"},
        {"y": "x"},
        zoo.node("Const", "path", dtype=zoo.dtype("string"), value=zoo.strings("/etc/hostname")),
        zoo.node("ReadFile", "read", "path:output:0"),
    )
    code, reason = refusal(drive, caplog, source(calling("f", body)))
    assert code == UNSUPPORTED
    assert "'ReadFile' (node 'read')" in reason


def test_a_function_of_another_graph_is_out_of_reach(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    other = graph_of(*zoo.identity(TensorType.F32, (4,)))
    name = other._name.decode()
    code, reason = refusal(drive, caplog, source(calling(name)))
    assert code == RUNTIME_ERROR
    assert f"calls a function {name!r} that is not there" in reason


def test_functions_of_one_name_in_two_graphs_are_two(drive: MakeDriver) -> None:
    def named(op: str) -> wasinn.GraphSource:
        does = zoo.unary(op, "does", "x")
        return source(
            calling("f", zoo.function_def("f", {"x": "f32"}, {"y": "f32"}, {"y": "does:y:0"}, does))
        )

    guest = drive({"negative": named("Neg"), "square": named("Square")})
    expected = {"negative": [2, -3, 0, 0], "square": [4, 9, 0, 0]}
    contexts = {name: guest.open(name) for name in expected}
    for name, context in contexts.items():
        assert guest.set_f32(context, 0, [-2, 3, 0, 0]) == 0
        assert guest.compute(context) == 0
        assert guest.get_f32(context, 0) == expected[name]


def test_what_bytes_may_use_is_there_and_touches_nothing() -> None:
    """By TensorFlow's own flag, as a second opinion: what has a state is control flow and random numbers."""
    graph_of(*zoo.identity())
    from tensorflow.python.framework import op_def_registry

    found = {name: op_def_registry.get(name) for name in ALLOWED}
    assert [name for name, definition in found.items() if definition is None] == []
    stateful = {name for name, definition in found.items() if definition.is_stateful}
    kinds = ("Random", "TensorArray")
    assert {name for name in stateful if not name.startswith(kinds)} == {
        *("Assert", "Case", "CheckNumerics", "CheckNumericsV2", "GuaranteeConst", "If", "Multinomial"),
        *("ParameterizedTruncatedNormal", "StatefulPartitionedCall", "StatelessRandomGetAlg"),
        *("TruncatedNormal", "While"),
    }


# -- computing ----------------------------------------------------------------------------------------


def test_a_compute_that_fails_says_why_and_the_next_one_works(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    model = zoo.graph(
        zoo.placeholder("x", "f32", (None, None)),
        zoo.node("MatMul", "y", "x", "x", T=zoo.dtype("f32")),
    )
    guest = drive({"m": source(model)})
    context = guest.open("m")
    assert guest.set_f32(context, 0, np.ones((2, 3))) == 0
    with caplog.at_level(logging.WARNING):
        assert guest.compute(context) == RUNTIME_ERROR
    assert "tensorflow: Matrix size-incompatible: In[0]: [2,3], In[1]: [2,3]" in caplog.text
    assert guest.set_f32(context, 0, np.ones((2, 2))) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [2] * 4


def test_an_interrupt_ends_a_loop_and_poisons_no_other_context() -> None:
    shared = Shared(Registry({"m": source(*zoo.slow(100_000))}))
    host, other = GuestHost(shared), GuestHost(shared)
    for each, seconds in ((host, 0.2), (other, 0.4)):
        context = each.init_execution_context(each.load_by_name("m"))
        each.set_input(context, 0, Tensor.of(np.full((256, 256), 0.01, "f4")))
        timer = threading.Timer(seconds, each.interrupt, ["a test"])
        timer.start()
        start = time.monotonic()
        with pytest.raises(wasinn.WasiNNError, match="runtime_error"):
            each.compute(context)
        assert seconds / 2 < time.monotonic() - start < 10
        timer.join()
        each.close()


# -- SavedModels --------------------------------------------------------------------------------------


def two_ports(folder: Path, signature: str = "serving_default") -> Path:
    """Ports whose names have another order than their tensors."""
    port = ("f32", (2,))
    return zoo.saved_model(
        folder,
        {"second": ("p:0", *port), "first": ("q:0", *port)},
        {"one": ("zed:0", *port), "two": ("alpha:0", *port)},
        zoo.placeholder("p", *port),
        zoo.placeholder("q", *port),
        zoo.binary("Sub", "zed", "p", "q"),
        zoo.binary("AddV2", "alpha", "p", "q"),
        signature=signature,
    )


@pytest.mark.parametrize("signature", ["serving_default", "the_only_one"])
def test_a_saved_model_has_the_names_of_its_signature(
    drive: MakeDriver, tmp_path: Path, signature: str
) -> None:
    guest = drive({"m": from_file(two_ports(tmp_path / "model", signature))})
    context = guest.open("m")
    assert guest.set_f32(context, 0, [5, 6]) == 0
    assert guest.set_f32(context, 1, [1, 1]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [6, 7], "the tensor alpha"
    assert guest.get_f32(context, 1) == [4, 5], "the tensor zed"
    graph = graph_in(tmp_path / "model")
    assert names_of(graph) == (["second", "first"], ["two", "one"])


def test_the_ports_of_a_saved_model_are_openvino_s(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    path = two_ports(tmp_path / "model")
    other = openvino.Core().read_model(path)
    found = [[port.get_any_name() for port in side] for side in (other.inputs, other.outputs)]
    assert names_of(graph_in(path)) == tuple(found)


def test_a_saved_model_with_several_signatures_and_no_default_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    path = two_ports(tmp_path / "model", "encode")
    model = (path / "saved_model.pb").read_bytes()
    # A message that follows another of the same field is merged with it: the second signature.
    other = (two_ports(tmp_path / "other", "decode") / "saved_model.pb").read_bytes()
    definition = other[other.rindex(b"*", 0, other.rindex(b"decode")) :]
    head, body = model[:2], model[2:]
    length = body[1:].index(b"\n")
    (path / "saved_model.pb").write_bytes(head + zoo.content(2, body[1 + length :] + definition))
    code, reason = refusal(drive, caplog, from_file(path))
    assert code == UNSUPPORTED
    assert "it has: decode, encode" in reason


# -- the process --------------------------------------------------------------------------------------


def run_python(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=120, check=False
    )


LOADING = """
import sys, wasinn
from wasinn.backends.tensorflow import TensorFlowBackend
from wasinn.graphs.loader import Loader
assert TensorFlowBackend().version()
def load(**options):
    source = wasinn.GraphSource.from_files({path!r}, encoding="tensorflow", backend="tensorflow", **options)
    Loader().load(source)
"""


def test_threads_are_the_process_s_and_loading_is_quiet() -> None:
    text = LOADING.format(path=str(MODELS / "digits.pb")) + (
        "assert 'tensorflow' not in sys.modules, 'the version needs no import'\n"
        "load(threads=1); load(); load(threads=1)\n"
        "import tensorflow\n"
        "assert tensorflow.config.threading.get_intra_op_parallelism_threads() == 1\n"
        "try: load(threads=2)\n"
        "except wasinn.WasiNNError as error: print(error)\n"
    )
    done = run_python(text)
    assert done.stderr == ""
    assert "unsupported_operation: tensorflow cannot compute with 2 threads now" in done.stdout
    assert "fixed by the first graph that was loaded (1)" in done.stdout


def test_what_others_write_to_stderr_meanwhile_is_not_lost() -> None:
    text = LOADING.format(path=str(MODELS / "digits.pb")) + (
        "import os, threading, time\n"
        "def write():\n"
        "    while 'numpy' not in sys.modules or 'tensorflow' not in sys.modules: time.sleep(0.01)\n"
        "    os.write(2, b'a line of another thread\\n')\n"
        "thread = threading.Thread(target=write); thread.start(); load(); thread.join()\n"
    )
    done = run_python(text)
    assert done.returncode == 0
    assert done.stderr == "a line of another thread\n"
