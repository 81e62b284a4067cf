# SPDX-License-Identifier: Apache-2.0
"""Graphs on a GPU: what they answer there, and what a mistake costs; and what of it holds without one.

WASINN_GPU=onnxruntime,torch names the backends that must find a GPU; others are skipped where they find none.
The conformance suite runs on the GPU of those that are named.
"""

from __future__ import annotations

import functools
import gc
import os
import subprocess
import sys
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import models
import wasinn
from calls import BOTH, reasons
from conformance.cases import ON_GPU
from conftest import MakeDriver, require_backend
from driver import Driver
from wasinn.backends import lookup
from wasinn.backends import onnxruntime as onnx_backend
from wasinn.backends.torch import TorchExecution, TorchGraph
from wasinn.errors import LostDevice, WasiNNError
from wasinn.shipped import resolve
from wasinn.spec import Target, TensorType

F32, I64 = 1, 5
RUNTIME_ERROR = 5
BACKENDS = ["onnxruntime", "torch"]


def require_gpu(backend: str) -> None:
    """Skips where a backend finds no GPU; fails where it must find one."""
    require_backend(backend)
    if Target.GPU in lookup.by_name(backend).devices():
        return
    reason = f"{backend} finds no GPU here"
    if backend in ON_GPU:
        pytest.fail(reason)
    pytest.skip(reason)


# -- answers ----------------------------------------------------------------------------------------

#: The digits network, as the backends have it.
DIGITS = {"onnxruntime": ["onnx:@digits_batch"], "torch": ["pytorch:@digits.pt", "pytorch:@digits.pt2"]}


def scores(graph: str) -> dict[str, float]:
    """What the guest makes of all pictures: a score for each picture and class."""
    pictures = resolve("@seven.png", "pictures").parent
    names = sorted(each.name for each in pictures.iterdir())
    host = wasinn.Host(graphs={"digits": graph})
    result = host.run(
        "@classify",
        ["--name", "digits", "--size", "8x8", "--colour", "gray", "--top", "10", "--tsv"]
        + [f"/p/{name}" for name in names],
        dirs={"/p": pictures},
    )
    host.close()
    assert result.ok, result
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert len(rows) == 10 * len(names)
    return {f"{picture} {digit}": float(score) for picture, _, digit, score, *_ in rows}


@pytest.mark.parametrize("options", ["target=gpu", "target=auto", "target=gpu&isolation=process"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_pictures_are_what_they_are_on_the_cpu(backend: str, options: str) -> None:
    require_gpu(backend)
    for graph in DIGITS[backend]:
        assert scores(f"{graph}?{options}") == pytest.approx(scores(f"{graph}?target=cpu"), abs=1e-4)


def product(backend: str, weights: Any) -> bytes:
    """A model of y = x @ weights."""
    if backend == "onnxruntime":
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        ports = [(name, TensorProto.FLOAT, ["n", len(weights)]) for name in "xy"]
        return models.onnx_model([node], ports[:1], ports[1:], {"w": weights})
    import torch

    from zoo import pytorch

    layer = torch.nn.Linear(*weights.shape, bias=False)
    layer.weight = torch.nn.Parameter(torch.from_numpy(weights.T.copy()))
    return pytorch.traced(layer, torch.zeros(2, len(weights)))


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_get_their_own_products_in_f32(backend: str, batch: bool) -> None:
    """TF32, with 10 bits of the 23, would be off by more than that."""
    require_gpu(backend)
    random = np.random.default_rng(1)
    weights = random.normal(size=(64, 64)).astype("<f4")
    host = wasinn.Host(
        graphs={
            "m": wasinn.GraphSource.from_bytes(
                product(backend, weights), backend=backend, target="gpu", batch=batch
            )
        }
    )
    given = random.normal(size=(4, 20, 3, 64)).astype("<f4")

    def work(mine: Any) -> float:
        guest = Driver(host)
        context = guest.open("m")
        errors = []
        for x in mine:
            assert guest.set_f32(context, 0, x) == 0
            assert guest.compute(context) == 0
            code, data, _ = guest.get_output(context, 0)
            assert code == 0
            exact = x.astype("f8") @ weights.astype("f8")
            errors.append(
                np.abs(np.frombuffer(data, "<f4").reshape(3, 64) - exact).max() / np.abs(exact).max()
            )
        guest.close()
        return float(max(errors))

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(work, given)) < 1e-5
    host.close()


# -- what a mistake costs: PyTorch on CUDA ------------------------------------------------------------


def scripted(module: Any) -> bytes:
    require_gpu("torch")
    import torch

    from zoo import pytorch

    if not torch.cuda.is_available():
        pytest.skip("this is of CUDA's memory")
    return pytorch.scripted(module)


def on_gpu(model: bytes, **options: Any) -> wasinn.GraphSource:
    return wasinn.GraphSource.from_bytes(model, encoding="pytorch", target="gpu", **options)


@pytest.fixture
def modules() -> Any:
    """Modules to be scripted; PyTorch is imported only where there is a GPU for it."""
    require_gpu("torch")
    import torch

    class Rows(torch.nn.Module):
        """As many GiB as it is told."""

        def forward(self, count):  # type: ignore[no-untyped-def]
            return torch.ones([int(count[0]), 1 << 28], device=count.device).sum(1)[:1]

    class Words(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(1 << 16, 64)

        def forward(self, number):  # type: ignore[no-untyped-def]
            return self.table(number)[:, :1] * 0 + number[:, None]

    return types.SimpleNamespace(Rows=Rows, Words=Words)


def ask(guest: Driver, context: int, number: int) -> tuple[int, list[float]]:
    """The errno of a compute of one i64, and the answer."""
    assert guest.set_input(context, 0, [1], I64, np.int64(number).tobytes()) == 0
    code = guest.compute(context)
    return code, [] if code else guest.get_f32(context, 0)


def test_too_little_memory_is_an_error_and_the_next_compute_has_it_again(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, modules: Any
) -> None:
    guest = drive({"m": on_gpu(scripted(modules.Rows()))})
    context = guest.open("m")
    for _ in range(3):
        assert ask(guest, context, 1) == (0, [2.0**28])
        assert ask(guest, context, 4000)[0] == RUNTIME_ERROR
        (line,) = reasons(caplog)
        assert "out of memory" in line


def test_what_is_unloaded_takes_no_memory(modules: Any) -> None:
    model = scripted(modules.Words())
    import torch

    before = torch.cuda.memory_allocated()
    host = wasinn.Host(graphs={"m": on_gpu(model)})
    guest = Driver(host)
    assert ask(guest, guest.open("m"), 7) == (0, [7.0])
    assert torch.cuda.memory_allocated() >= before + (1 << 24)
    guest.close()
    host.registry.unload("m")
    host.close()
    gc.collect()
    assert torch.cuda.memory_allocated() <= before + (1 << 20)


def test_an_index_past_the_end_costs_a_worker_and_not_the_graph(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, modules: Any
) -> None:
    """An assertion in a kernel ends CUDA for the process."""
    guest = drive({"m": on_gpu(scripted(modules.Words()), isolation="process")})
    contexts = [guest.open("m") for _ in range(2)]
    for _ in range(2):
        assert [ask(guest, context, 7) for context in contexts] == [(0, [7.0])] * 2
        caplog.clear()
        assert ask(guest, contexts[0], 1 << 16)[0] == RUNTIME_ERROR
        (line,) = reasons(caplog)
        assert "the GPU is lost" in line


# -- without a GPU ------------------------------------------------------------------------------------


class Failing:
    """A program whose every call fails."""

    module = None
    inputs = outputs = ()
    writes = stateful = False

    def call(self, module: Any, tensors: Any) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered\nand more")

    def flatten(self, value: Any) -> list[Any]:
        return []


@pytest.mark.parametrize("lost", [True, False])
def test_a_failed_compute_tells_whether_the_gpu_is_lost(monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    require_backend("torch")
    import torch

    def synchronize() -> None:
        if lost:
            raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    program: Any = Failing()
    with pytest.raises(WasiNNError, match="device-side assert triggered") as failed:
        TorchExecution(TorchGraph(program, "cuda:0", 1)).compute()
    assert isinstance(failed.value, LostDevice) == lost
    assert ("lost" in failed.value.reason) == lost


def test_a_worker_that_has_lost_its_device_ends_with_last_words() -> None:
    """The rest, that the next call starts another process, holds for every death (test_isolation)."""
    program = """
from wasinn.errors import LostDevice
from wasinn.graphs import messages
from wasinn.graphs.channel import Channel
from wasinn.graphs.worker_contexts import Context

class Losing(Context):
    def _answer(self, *_):
        raise LostDevice("the GPU is lost")

ours, theirs = Channel.pair()
ours.send(messages.COMPUTE)
Losing(None, None, theirs).serve()
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)
    assert (found.returncode, found.stderr.decode()) == (1, f"the GPU is lost{os.linesep}")


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of ONNX Runtime are bound as they are on a GPU."""
    require_backend("onnxruntime")

    def new_binding(session: Any, options: Any) -> tuple[Any, Callable[[], object]]:
        binding = onnx_backend._DeviceBinding(session)
        return binding, functools.partial(binding.run, options)

    monkeypatch.setattr(onnx_backend, "_new_binding", new_binding)


TYPES = {
    TensorType.F16: TensorProto.FLOAT16,
    TensorType.BF16: TensorProto.BFLOAT16,
    TensorType.F64: TensorProto.DOUBLE,
    TensorType.I64: TensorProto.INT64,
    TensorType.BOOL: TensorProto.BOOL,
    TensorType.I8: TensorProto.INT8,
}


@BOTH
@pytest.mark.parametrize("tensor_type", TYPES)
@pytest.mark.usefixtures("as_on_a_device")
def test_each_compute_reads_what_was_set_for_it(
    drive: MakeDriver, tensor_type: TensorType, hot: bool
) -> None:
    guest = drive({"m": models.identity(TYPES[tensor_type], (2, 3))}, hot=hot)
    context = guest.open("m")
    for turn in range(6):
        values = bytes((turn + each) % 2 for each in range(6 * tensor_type.size))
        code = {1: 3, 2: 0, 4: F32, 8: 2 if tensor_type is TensorType.F64 else I64}[tensor_type.size]
        assert guest.set_input(context, 0, [2, 3], code, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, values)


@BOTH
@pytest.mark.usefixtures("as_on_a_device")
def test_ports_do_not_mix(drive: MakeDriver, hot: bool) -> None:
    guest = drive({"m": models.add()}, hot=hot)
    context = guest.open("m")
    for turn in range(6):
        a, b = np.full((1, 4), turn, "<f4"), np.full((1, 4), 10 * turn, "<f4")
        assert [guest.set_f32(context, index, each) for index, each in enumerate((a, b))] == [0, 0]
        assert guest.compute(context) == 0
        assert [guest.get_f32(context, index) for index in (0, 1)] == [[11 * turn] * 4, [-9 * turn] * 4]


@pytest.mark.usefixtures("as_on_a_device")
def test_shapes_change_and_outputs_of_fixed_and_open_shape_stand_side_by_side(drive: MakeDriver) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Shape", ["x"], ["dims"])]
    outputs = [("y", TensorProto.FLOAT, ["n", 2]), ("dims", TensorProto.INT64, [2])]
    guest = drive({"m": models.onnx_model(nodes, [("x", TensorProto.FLOAT, ["n", 2])], outputs)})
    for _ in range(2):
        context = guest.open("m")
        for rows in (3, 1, 0, 5):
            values = np.arange(2 * rows, dtype="<f4").reshape(rows, 2)
            assert guest.set_f32(context, 0, values) == 0
            assert guest.compute(context) == 0
            assert guest.get_output(context, 0)[:2] == (0, values.tobytes())
            assert guest.get_output(context, 1)[:2] == (0, np.array([rows, 2], "<i8").tobytes())
        assert guest.call("finalize_execution_context", context) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_on_the_cpu_does_not_start_the_gpu(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_backend(backend)

    def devices(_: Any) -> Any:
        raise AssertionError("asked for devices")

    monkeypatch.setattr(type(lookup.by_name(backend)), "devices", devices)
    for graph in DIGITS[backend]:
        host = wasinn.Host(graphs={"m": graph})
        host.preload()
        host.close()


def test_cuda_that_does_not_start_is_refused_with_the_reason(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    require_backend("onnxruntime")
    if Target.GPU in lookup.by_name("onnxruntime").devices():
        pytest.skip("it starts here")
    guest = drive({"m": wasinn.GraphSource.from_bytes(models.identity(), target="gpu")})
    assert guest.load_by_name("m")[0] == 6
    (line,) = reasons(caplog)
    assert "it has: cpu (CPUExecutionProvider); " in line
    assert "CUDAExecutionProvider" in line
