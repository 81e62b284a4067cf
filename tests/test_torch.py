# SPDX-License-Identifier: Apache-2.0
"""PyTorch models on PyTorch, called by a guest: TorchScript and exported programs."""

from __future__ import annotations

import collections
import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wasinn
from conftest import MakeDriver, require_backend
from driver import Driver
from wasinn.backends.base import LoadOptions, Model
from wasinn.backends.torch import TorchBackend
from wasinn.spec import WITX_TYPES, Encoding, Target, TensorType
from wasinn.tensors import Tensor, TensorSpec
from zoo import pytorch as zoo

F16, F32, F64, U8, I32, I64 = range(6)
PYTORCH = 3
UNSUPPORTED = 6
FORMS = ("torchscript", "exported")
CODES = {tensor_type: code for code, tensor_type in WITX_TYPES.items()}


@pytest.fixture(autouse=True)
def _installed() -> None:
    require_backend("torch")


def reasons(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.name == "wasinn.guest")


def source(model: bytes, **options: Any) -> wasinn.GraphSource:
    return wasinn.GraphSource.from_bytes(model, encoding="pytorch", **options)


def guest_of(drive: MakeDriver, model: bytes, **options: Any) -> tuple[Driver, int]:
    guest = drive({"m": source(model)}, **options)
    return guest, guest.open("m")


def graph_of(model: bytes, **options: Any) -> Any:
    return TorchBackend().load(Model(builders=(model,)), Encoding.PYTORCH, Target.CPU, LoadOptions(**options))


def only(builders: tuple[bytes, ...] | None) -> bytes:
    assert builders is not None
    return builders[0]


def module(forward: Callable[..., Any]) -> Any:
    """A module with this forward. For tracing and exporting; scripting needs a class with a source."""
    import torch

    return type("Module", (torch.nn.Module,), {"forward": forward})()


def made(form: str, forward: Callable[..., Any], *examples: Any, **options: Any) -> bytes:
    make: Any = zoo.exported if form == "exported" else zoo.traced
    return bytes(make(module(forward), *examples, **options))


def ones(*dims: int) -> Any:
    import torch

    return torch.ones(dims)


def refused(drive: MakeDriver, caplog: pytest.LogCaptureFixture, model: bytes) -> tuple[int, str]:
    """The errno with which an operator's graph is refused, and the reason."""
    guest = drive({"m": source(model)})
    with caplog.at_level(logging.WARNING):
        code, _ = guest.load_by_name("m")
    return code, reasons(caplog)


# -- types and shapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tensor_type", TensorType, ids=lambda each: each.label)
def test_every_type_comes_back_bit_for_bit(drive: MakeDriver, tensor_type: TensorType, form: str) -> None:
    data = np.random.default_rng(1).bytes(6 * tensor_type.size)
    if tensor_type is TensorType.BOOL:
        data = bytes([0, 1, 1, 0, 1, 0])
    guest, context = guest_of(drive, only(zoo.identity(tensor_type, (6,), form)))
    assert guest.set_input(context, 0, [6], CODES[tensor_type.wire], data) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[:2] == (0, data)


@pytest.mark.parametrize("form", FORMS)
def test_every_byte_of_a_bool_tensor_that_is_not_0_is_true(drive: MakeDriver, form: str) -> None:
    model = made(form, lambda self, x: x.sum(), ones(4).bool())
    guest, context = guest_of(drive, model)
    assert guest.set_input(context, 0, [4], U8, bytes([0, 2, 0x80, 0xFF])) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == np.int64(3).tobytes()


def test_bf16_is_computed_as_bf16_and_not_as_f16(drive: MakeDriver) -> None:
    guest, context = guest_of(drive, made("exported", lambda self, x: x * 2, ones(2).bfloat16()))
    assert guest.set_input(context, 0, [2], F16, np.array([0x3F80, 0xC020], "<u2").tobytes()) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == np.array([0x4000, 0xC0A0], "<u2").tobytes()


def test_a_traced_model_is_held_to_the_shape_of_its_trace_but_for_the_batch(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    guest, context = guest_of(drive, only(zoo.add((1, 4))))
    for rows in (1, 3, 0, 1):
        values = np.arange(rows * 4, dtype="<f4").reshape(rows, 4)
        assert guest.set_f32(context, 0, values) == 0
        assert guest.set_f32(context, 1, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, (values * 2).tobytes())
    with caplog.at_level(logging.WARNING):
        assert guest.set_f32(context, 0, [[1, 2, 3]]) == 1
        assert guest.set_f32(context, 0, [1, 2, 3, 4]) == 1
        assert guest.set_input(context, 0, [1, 4], I32, bytes(16)) == 1
    assert "wanted f32 [?,4], got f32 [1,3]" in reasons(caplog)


def test_what_is_saved_again_without_its_trace_takes_any_shape(drive: MakeDriver) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = zoo.save(torch.jit.load(io.BytesIO(only(zoo.add((1, 4))))))
    guest, context = guest_of(drive, model)
    assert guest.set_f32(context, 0, [[1, 2, 3]]) == 0


def test_a_scripted_model_takes_any_dims(drive: MakeDriver) -> None:
    guest, context = guest_of(drive, only(zoo.identity(TensorType.F32, None)))
    for dims in ([2, 3], [5], [1, 1, 1, 4], [], [0, 2]):
        values = np.arange(np.prod(dims, dtype=int), dtype="<f4").reshape(dims)
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, values.tobytes())


@pytest.mark.skipif(
    "any_type" not in TensorSpec.__dataclass_fields__, reason="no TensorSpec.any_type in this version"
)
def test_a_scripted_model_takes_any_type(drive: MakeDriver) -> None:
    guest, context = guest_of(drive, only(zoo.identity(TensorType.F32, None)))
    for code, tensor_type in WITX_TYPES.items():
        data = np.random.default_rng(code).bytes(3 * tensor_type.size)
        assert guest.set_input(context, 0, [3], code, data) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, data)


def test_an_exported_program_has_fixed_and_open_dimensions(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    guest, context = guest_of(drive, only(zoo.halves((None, 3, None), "exported")))
    for dims in ([2, 3, 4], [7, 3, 5], [2, 3, 4]):
        values = np.random.default_rng(dims[0]).random(dims).astype("<f4")
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        assert guest.get_output(context, 0)[:2] == (0, (values / 2).tobytes())
    assert guest.set_f32(context, 0, np.zeros((2, 4, 4))) == 1


def test_the_range_of_an_open_dimension_is_the_program_s_to_hold(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    batch = torch.export.Dim("batch", max=8)
    guest, context = guest_of(
        drive, made("exported", lambda self, x: x * 2, ones(2, 3), dynamic=({0: batch},))
    )
    with caplog.at_level(logging.WARNING):
        for rows, code in ((8, 0), (9, 5), (1, 0)):
            assert guest.set_f32(context, 0, np.ones((rows, 3))) == 0
            assert guest.compute(context) == code
    assert "Guard failed: x.size()[0] <= 8" in reasons(caplog)
    assert guest.get_f32(context, 0) == [2, 2, 2]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dims", [[], [1]])
def test_a_scalar_is_given_with_dims_of_none_or_one(drive: MakeDriver, dims: list[int], form: str) -> None:
    guest, context = guest_of(drive, only(zoo.identity(TensorType.F32, (), form)))
    data = np.float32(2.5).tobytes()
    assert guest.set_input(context, 0, dims, F32, data) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[:2] == (0, data)


@pytest.mark.parametrize("form", FORMS)
def test_an_output_has_the_shape_and_type_that_the_data_gives_it(drive: MakeDriver, form: str) -> None:
    guest, context = guest_of(drive, only(zoo.nonzero(form)))
    for values in ([1, 0, 1, 0, 1, 0], [0] * 6, [1] * 6, [0, 0, 0, 0, 9, 0]):
        assert guest.set_f32(context, 0, values) == 0
        assert guest.compute(context) == 0
        code, data, _ = guest.get_output(context, 0)
        assert (code, np.frombuffer(data, "<i8").tolist()) == (0, np.flatnonzero(values).tolist())


@pytest.mark.parametrize("form", FORMS)
def test_an_output_is_row_major_whatever_its_strides(drive: MakeDriver, form: str) -> None:
    model = made(form, lambda self, x: (x.t(), x[:, ::2], x[:1].expand(3, 4)), ones(2, 4))
    guest, context = guest_of(drive, model)
    values = np.arange(8, dtype="<f4").reshape(2, 4)
    assert guest.set_f32(context, 0, values) == 0
    assert guest.compute(context) == 0
    for index, wanted in enumerate((values.T, values[:, ::2], np.repeat(values[:1], 3, 0))):
        assert guest.get_output(context, index)[:2] == (0, wanted.tobytes())


# -- ports --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_several_inputs_and_outputs_are_told_apart_by_index(drive: MakeDriver, form: str) -> None:
    guest, context = guest_of(drive, only(zoo.mixed(form)))
    assert guest.set_input(context, 2, [1], I64, np.int64(2**40).tobytes()) == 0
    assert guest.set_input(context, 0, [4], U8, b"abcd") == 0
    assert guest.compute(context) == 1, "input 1 is missing"
    assert guest.set_f32(context, 1, [1.5, -2]) == 0
    assert guest.compute(context) == 0
    assert guest.get_output(context, 0)[1] == np.int64(2**40).tobytes()
    assert guest.get_output(context, 1)[1] == b"abcd"
    assert guest.get_f32(context, 2) == [-1.5, 2]


def both(self: Any, a: Any, b: Any) -> Any:
    return {"sum": a + b, "product": a * b}


PORTS = {
    "one": (lambda self, x: x + 1, 1, ["x"], ["output"]),
    "one in a tuple": (lambda self, x: (x + 1,), 1, ["x"], ["output"]),
    "tuple": (lambda self, a, b: (a + b, a * b), 2, ["a", "b"], ["output_0", "output_1"]),
    "nested": (lambda self, a, b: (a, (a + b, [a * b])), 2, ["a", "b"], ["output_0", "output_1", "output_2"]),
    "list": (lambda self, a, b: [a + b, a * b], 2, ["a", "b"], ["output_0", "output_1"]),
    "dict": (both, 2, ["a", "b"], ["sum", "product"]),
}


@pytest.mark.parametrize("name", PORTS)
def test_torchscript_s_ports_are_found_in_its_schema_and_graph(name: str) -> None:
    forward, count, inputs, outputs = PORTS[name]
    graph = graph_of(made("torchscript", forward, *[ones(2)] * count, strict=False))
    assert [spec.name for spec in graph.inputs] == inputs
    assert [spec.name for spec in graph.outputs] == outputs
    execution = graph.open()
    for index in range(count):
        execution.set_input(index, Tensor.of(np.array([index + 2, 5], "f4")))
    execution.compute()
    wanted = forward(None, *[np.array([index + 2, 5], "f4") for index in range(count)])
    flat = [wanted["sum"], wanted["product"]] if isinstance(wanted, dict) else _flat(wanted)
    for index, each in enumerate(flat):
        assert execution.output(index).numpy().tolist() == each.tolist()


def _flat(value: Any) -> list[Any]:
    return [each for part in value for each in _flat(part)] if isinstance(value, list | tuple) else [value]


SCRIPT = """
from typing import Dict, List, NamedTuple, Optional, Tuple
import torch
from torch import Tensor, nn

class Pair(NamedTuple):
    total: Tensor
    product: Tensor

class Named(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Pair:
        return Pair(a + b, a * b)

class Defaults(nn.Module):
    def forward(self, x: Tensor, factor: int = 3, bias: Optional[Tensor] = None, shift: float = 1.0):
        y = x * factor + shift
        return y if bias is None else y + bias

class KeywordOnly(nn.Module):
    def forward(self, a: Tensor, *, b: Tensor):
        return a - b

class NeedsNumber(nn.Module):
    def forward(self, x: Tensor, factor: int):
        return x * factor

class NeedsList(nn.Module):
    def forward(self, tensors: List[Tensor]):
        return tensors[0]

class GivesNumber(nn.Module):
    def forward(self, x: Tensor) -> Tuple[Tensor, int]:
        return x, 3

class GivesDict(nn.Module):
    def forward(self, x: Tensor):
        result: Dict[str, Tensor] = {}
        for index in range(int(x.size(0))):
            result[str(index)] = x[index]
        return result

class GivesList(nn.Module):
    def forward(self, x: Tensor):
        return x.unbind(0)

class FillsList(nn.Module):
    def forward(self, x: Tensor):
        result = [x]
        for index in range(int(x.size(0))):
            result.append(x[index])
        return result

class MayGiveNone(nn.Module):
    def forward(self, x: Tensor) -> Optional[Tensor]:
        if bool(x[0] > 0):
            return x
        return None

class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor):
        self.count += 1
        return x * self.weight + self.count

class Remembers(nn.Module):
    seen: List[Tensor]

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x: Tensor):
        self.seen.append(x.sum())
        return torch.stack(self.seen).sum()

class Dropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.9)

    def forward(self, x: Tensor):
        return self.drop(x)

class InPlaceData(nn.Module):
    def forward(self, x: Tensor):
        x.data.mul_(2)
        return x + 0

class InPlaceShape(nn.Module):
    def forward(self, x: Tensor):
        y = x.add_(1)
        return y.transpose_(0, 1)

class AfterDropout(nn.Module):
    def forward(self, x: Tensor):
        return torch.relu_(torch.dropout(x, 0.5, False))

class Sometimes(nn.Module):
    def forward(self, x: Tensor, flag: Tensor):
        if bool(flag):
            x.mul_(2)
        return x.clone()

class Warns(nn.Module):
    def forward(self, x: Tensor):
        import_free = "a model's own words"
        warnings.warn(import_free)
        return x

class Pick(nn.Module):
    def forward(self, x: Tensor):
        return x @ torch.ones(3, 1)
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The classes of SCRIPT: torch.jit.script reads the source of a class from a file."""
    import importlib.util

    path = tmp_path_factory.mktemp("scripts") / "wasinn_test_scripts.py"
    path.write_text("import warnings\n" + SCRIPT)
    spec = importlib.util.spec_from_file_location("wasinn_test_scripts", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["wasinn_test_scripts"] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def test_the_fields_of_a_named_tuple_are_the_outputs_names(scripts: Any) -> None:
    graph = graph_of(zoo.scripted(scripts.Named()))
    assert [spec.name for spec in graph.outputs] == ["total", "product"]


def test_arguments_with_a_default_keep_it(drive: MakeDriver, scripts: Any) -> None:
    model = zoo.scripted(scripts.Defaults())
    assert [spec.name for spec in graph_of(model).inputs] == ["x"]
    guest, context = guest_of(drive, model)
    assert guest.set_f32(context, 0, [1, 2]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [4, 7]


def test_tensors_that_go_by_name_alone_are_inputs(drive: MakeDriver, scripts: Any) -> None:
    guest, context = guest_of(drive, zoo.scripted(scripts.KeywordOnly()))
    assert guest.set_f32(context, 0, [5]) == 0
    assert guest.set_f32(context, 1, [3]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [2]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("NeedsNumber", "'factor', a int without a default"),
        ("NeedsList", "'tensors', a List[Tensor] without"),
        ("GivesNumber", "returns a int, which is no tensor"),
        ("GivesDict", "returns a Dict[str, Tensor], the keys of which"),
        ("GivesList", "returns a List[Tensor], the length of which"),
        ("FillsList", "returns a List[Tensor], the length of which"),
    ],
)
def test_a_port_that_is_no_tensor_is_refused_with_what_to_do(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, scripts: Any, name: str, what: str
) -> None:
    code, reason = refused(drive, caplog, zoo.scripted(getattr(scripts, name)()))
    assert code == UNSUPPORTED
    assert what in reason
    assert "wrap the model in a module" in reason


def test_a_result_of_none_is_told_at_compute(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, scripts: Any
) -> None:
    guest, context = guest_of(drive, zoo.scripted(scripts.MayGiveNone()))
    with caplog.at_level(logging.WARNING):
        for value, code in ((1, 0), (-1, 5), (1, 0)):
            assert guest.set_f32(context, 0, [value]) == 0
            assert guest.compute(context) == code
    assert "the output 'output' is a NoneType" in reasons(caplog)


@pytest.mark.parametrize("form", FORMS)
def test_complex_ports_are_refused(drive: MakeDriver, caplog: pytest.LogCaptureFixture, form: str) -> None:
    import torch

    code, reason = refused(drive, caplog, made(form, lambda self, x: x + 1, torch.ones(2) * 1j))
    assert code == UNSUPPORTED
    assert "torch.complex64" in reason


def with_constants(self: Any, inputs: Any, factor: int, *, flag: bool = True) -> Any:
    return {"y": inputs["a"] * factor, "nothing": None, "rest": (inputs["b"], [inputs["a"] + inputs["b"]])}


def test_an_exported_program_s_arguments_and_results_are_flattened() -> None:
    model = made("exported", with_constants, {"a": ones(2), "b": ones(2)}, 3)
    graph = graph_of(model)
    assert [spec.name for spec in graph.inputs] == ["inputs_a", "inputs_b"]
    assert [str(spec) for spec in graph.outputs] == ["f32 [2]"] * 3
    execution = graph.open()
    execution.set_input(0, Tensor.of(np.array([1, 2], "f4")))
    execution.set_input(1, Tensor.of(np.array([10, 20], "f4")))
    execution.compute()
    assert [execution.output(index).numpy().tolist() for index in range(3)] == [[3, 6], [10, 20], [11, 22]]


# -- what a model may do to its inputs and to itself ------------------------------------------------

IN_PLACE = {
    "the input": (lambda self, x: x.add_(1), lambda x: x + 1),
    "a view": (lambda self, x: x.view(-1)[1:].mul_(3).sum(), lambda x: x.reshape(-1)[1:].sum() * 3),
    "a result": (lambda self, x: (x * 2).relu_(), lambda x: np.maximum(x * 2, 0)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", IN_PLACE)
def test_an_input_that_is_set_once_stays_what_it_was(drive: MakeDriver, name: str, form: str) -> None:
    forward, wanted = IN_PLACE[name]
    guest, context = guest_of(drive, made(form, forward, ones(2, 3)))
    values = np.array([[1, -2, 3], [4, 5, -6]], "<f4")
    for data in (values, values * 10):
        assert guest.set_f32(context, 0, data) == 0
        for _ in range(3):
            assert guest.compute(context) == 0
            assert guest.get_output(context, 0)[:2] == (0, np.asarray(wanted(data), "<f4").tobytes())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("InPlaceData", [[2, -4], [6, 8]]),
        ("InPlaceShape", [[2, 4], [-1, 5]]),
        ("AfterDropout", [[1, 0], [3, 4]]),
    ],
)
def test_no_way_of_writing_into_an_input_is_overlooked(
    drive: MakeDriver, scripts: Any, name: str, wanted: list[list[float]]
) -> None:
    guest, context = guest_of(drive, zoo.scripted(getattr(scripts, name)()))
    assert guest.set_f32(context, 0, [[1, -2], [3, 4]]) == 0
    for _ in range(3):
        assert guest.compute(context) == 0
        assert guest.get_f32(context, 0) == np.ravel(wanted).tolist()


def test_an_input_that_is_written_only_sometimes_is_kept(drive: MakeDriver, scripts: Any) -> None:
    guest, context = guest_of(drive, zoo.scripted(scripts.Sometimes()))
    assert guest.set_f32(context, 0, [3]) == 0
    for flag, wanted in ((0, 3), (1, 6), (1, 6), (0, 3)):
        assert guest.set_f32(context, 1, flag) == 0
        assert guest.compute(context) == 0
        assert guest.get_f32(context, 0) == [wanted]


@pytest.mark.parametrize("form", FORMS)
def test_an_output_that_is_the_input_is_not_changed_by_the_next_one(form: str) -> None:
    execution = graph_of(only(zoo.identity(TensorType.F32, (2,), form))).open()
    execution.set_input(0, Tensor.of(np.array([1, 2], "f4")))
    execution.compute()
    output = execution.output(0)
    execution.set_input(0, Tensor.of(np.array([3, 4], "f4")))
    assert output.numpy().tolist() == [1, 2]


@pytest.mark.parametrize("form", FORMS)
def test_only_a_graph_that_writes_in_place_copies_its_inputs(form: str) -> None:
    flags = {
        name: graph_of(made(form, forward, ones(2))).program
        for name, forward in {
            "none": lambda self, x: (x * 2).relu() + x.view(-1),
            "own": lambda self, x: (x * 2).relu_(),
        }.items()
    }
    assert (flags["none"].writes, flags["none"].stateful) == (False, False)
    assert (flags["own"].writes, flags["own"].stateful) == (True, False)


class Exported:
    """Models that change themselves, for export."""

    @staticmethod
    def counter() -> bytes:
        import torch

        class Counter(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("count", torch.zeros(1))

            def forward(self, x: Any) -> Any:
                self.count.add_(1)
                return x + self.count

        return zoo.exported(Counter(), ones(3))


@pytest.mark.parametrize("form", FORMS)
def test_what_a_model_remembers_is_its_context_s_own(drive: MakeDriver, scripts: Any, form: str) -> None:
    model = Exported.counter() if form == "exported" else zoo.scripted(scripts.Counter())
    guest = drive({"m": source(model)})
    for _ in range(2):
        context = guest.open("m")
        assert guest.set_f32(context, 0, [0, 10, 20]) == 0
        for count in (1, 2, 3):
            assert guest.compute(context) == 0
            assert guest.get_f32(context, 0) == [count, 10 + count, 20 + count]


def test_a_list_that_a_model_fills_is_its_context_s_own(drive: MakeDriver, scripts: Any) -> None:
    guest = drive({"m": source(zoo.scripted(scripts.Remembers()))})
    for _ in range(2):
        context = guest.open("m")
        assert guest.set_f32(context, 0, [1, 2]) == 0
        for total in (3, 6):
            assert guest.compute(context) == 0
            assert guest.get_f32(context, 0) == [total]


def test_a_model_saved_in_training_mode_is_evaluated(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, scripts: Any
) -> None:
    model = zoo.scripted(scripts.Dropout().train())
    with caplog.at_level(logging.INFO, logger="wasinn.graph"):
        guest, context = guest_of(drive, model)
    assert "saved in training mode" in caplog.text
    assert guest.set_f32(context, 0, np.ones(64)) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [1.0] * 64


# -- contexts, threads, the hot path ----------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_contexts_of_one_graph_do_not_mix(drive: MakeDriver, form: str) -> None:
    guest = drive({"m": source(only(zoo.add((1, 4), form)))})
    contexts = [guest.open("m") for _ in range(20)]
    for number, context in enumerate(contexts):
        assert guest.set_f32(context, 0, [[number] * 4]) == 0
        assert guest.set_f32(context, 1, [[1] * 4]) == 0
    for context in contexts:
        assert guest.compute(context) == 0
    for number, context in enumerate(contexts):
        assert guest.get_f32(context, 0) == [number + 1] * 4
        assert guest.get_f32(context, 1) == [number - 1] * 4


@pytest.mark.parametrize("form", FORMS)
def test_contexts_compute_at_the_same_time(form: str) -> None:
    graph = graph_of(only(zoo.slow(3, form)), threads=1)
    values = [np.random.default_rng(seed).random((256, 256)).astype("f4") / 100 for seed in range(4)]
    wrong: list[int] = []

    def work(number: int) -> None:
        execution = graph.open()
        expected = values[number]
        for _ in range(3):
            expected = np.tanh(expected @ expected)
        for _ in range(10):
            execution.set_input(0, Tensor.of(values[number]))
            execution.compute()
            if not np.allclose(execution.output(0).numpy(), expected, atol=1e-5):
                wrong.append(number)
        execution.close()
        execution.close()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hot", [False, True])
def test_many_computes_in_a_row_give_what_each_was_given(drive: MakeDriver, form: str, hot: bool) -> None:
    guest, context = guest_of(drive, only(zoo.mixed(form)), hot=hot)
    for number in range(1, 13):
        assert guest.set_input(context, 0, [4], U8, bytes([number] * 4)) == 0
        assert guest.set_f32(context, 1, [number, -number]) == 0
        assert guest.set_input(context, 2, [1], I64, np.int64(-number).tobytes()) == 0
        for _ in range(2):
            assert guest.compute(context) == 0
            wanted = np.int64(-number), np.full(4, number, "u1"), np.array([-number, number], "<f4")
            for index, each in enumerate(wanted):
                assert guest.get_output(context, index, 64)[:2] == (0, each.tobytes())


def test_a_graph_of_fixed_shapes_computes_from_and_into_given_memory() -> None:
    graph = graph_of(made("exported", lambda self, x: (x.add_(1), x.sum()), ones(2, 3)))
    execution = graph.open()
    assert execution.bind([0], [0, 0]) is None, "nothing was given yet"
    execution.set_input(0, Tensor.of(np.arange(6, dtype="f4").reshape(2, 3)))
    execution.compute()
    given, first, second = np.zeros(6, "f4"), np.zeros(6, "f4"), np.zeros(1, "f4")
    run = execution.bind([given.ctypes.data], [first.ctypes.data, second.ctypes.data])
    assert run is not None
    assert given.tolist() == [0, 1, 2, 3, 4, 5], "the input last given is copied there"
    for number in range(3):
        given[:] = number
        run()
        assert first.tolist() == [number + 1] * 6
        assert second[0] == (number + 1) * 6
        assert given.tolist() == [number] * 6, "the guest's input stays the guest's"
    assert graph_of(only(zoo.add((1, 4)))).open().bind([0, 0], [0, 0]) is None, "the batch is open"


def threads_model() -> bytes:
    """An exported program that says how many threads it computes with."""
    import torch

    if not hasattr(torch.ops.wasinn_tests, "threads"):

        def threads(x: torch.Tensor) -> torch.Tensor:
            return x + torch.get_num_threads()

        threads.__annotations__ = {"x": torch.Tensor, "return": torch.Tensor}
        operation = torch.library.custom_op("wasinn_tests::threads", threads, mutates_args=())
        operation.register_fake(torch.empty_like)
    return made("exported", lambda self, x: torch.ops.wasinn_tests.threads(x), torch.zeros(1))


def threads_of(graph: Any) -> int:
    execution = graph.open()
    execution.set_input(0, Tensor.of(np.zeros(1, "f4")))
    execution.compute()
    return int(execution.output(0).numpy()[0])


def test_threads_are_the_graph_s_on_every_thread_and_nobody_else_s() -> None:
    import torch

    model = threads_model()
    graphs = {count: graph_of(model, threads=count) for count in (1, 3)}
    usual = graph_of(model)
    before = torch.get_num_threads()
    seen: list[tuple[int, int]] = []

    def work() -> None:
        seen.extend((count, threads_of(graphs[count])) for count in (1, 3, 1))
        seen.append((usual.threads, threads_of(usual)))

    work()
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert [wanted for wanted, _ in seen] == [got for _, got in seen]
    assert torch.get_num_threads() == before


# -- failing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["scripted", *FORMS])
def test_a_compute_that_fails_says_why_in_one_line_and_takes_the_outputs_away(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, scripts: Any, form: str
) -> None:
    if form == "scripted":
        model = zoo.scripted(scripts.Pick())
    else:
        model = made(form, lambda self, x, place: x[place], ones(3), ones(1).long())
    guest, context = guest_of(drive, model)
    if form != "scripted":
        assert guest.set_f32(context, 0, [1, 2, 3]) == 0
    for place, code in ((1, 0), (7, 5), (2, 0)):
        if form == "scripted":
            assert guest.set_f32(context, 0, np.ones((2, 9 if code else 3))) == 0
        else:
            assert guest.set_input(context, 1, [1], I64, np.int64(place).tobytes()) == 0
        with caplog.at_level(logging.WARNING):
            assert guest.compute(context) == code
        assert guest.get_output(context, 0)[0] == code
    line = next(line for line in reasons(caplog).splitlines() if "torch:" in line)
    assert ("mat1 and mat2" if form == "scripted" else "index 7 is out of bounds") in line
    assert len(line) < 300
    for noise in ("frame #", "Traceback", "Exception raised from", "code/__torch__"):
        assert noise not in line


def archive_of(**entries: bytes) -> bytes:
    """A zip archive with these entries, `__` for a slash and `_dot_` for a dot."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return file.getvalue()


class Evil:
    """A pickle that makes a file, if it is ever read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def saved(value: Any, **options: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_loaded_whatever_its_name(drive: MakeDriver, tmp_path: Path, form: str) -> None:
    path = tmp_path / "weights and graph.bin"
    path.write_bytes(only(zoo.halves((2,), form)))
    guest = drive({"m": wasinn.GraphSource.from_files(path, encoding="pytorch")})
    context = guest.open("m")
    path.unlink()
    assert guest.set_f32(context, 0, [1, 3]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [0.5, 1.5]


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("kind", ["state_dict", "evil"])
def test_what_torch_save_wrote_is_refused_and_not_unpickled(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, tmp_path: Path, old: bool, kind: str
) -> None:
    value: Any = Evil(tmp_path / "made")
    if kind == "state_dict":
        value = collections.OrderedDict(weight=ones(2))
    code, reason = refused(drive, caplog, saved(value, _use_new_zipfile_serialization=not old))
    assert code == 2
    assert "torch.save" in reason
    assert "torch.export.save" in reason
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"not a model", b"", b"PK\x03\x04 and then nothing of a zip"])
def test_what_is_no_archive_is_no_pytorch_model(drive: MakeDriver, content: bytes) -> None:
    guest = drive({"m": source(content or b" ")})
    assert guest.load_by_name("m")[0] == 2


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_cut_off_is_found_at_load(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    model = only(zoo.add((1, 4), form))
    for size in (100, len(model) // 2, len(model) - 10):
        code, reason = refused(drive, caplog, model[:size])
        assert code == 2
        assert "cut" in reason


def test_a_zip_of_something_else_is_refused(drive: MakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    code, reason = refused(drive, caplog, archive_of(a__b_dot_txt=b"words"))
    assert code == 2
    assert reason


def test_a_compiled_package_is_refused_with_the_reason(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    model = archive_of(
        m__archive_format=b"pt2",
        m__data__aotinductor__model__lib_dot_so=b"\x7fELF",
        m__models__model_dot_json=b"{}",
    )
    code, reason = refused(drive, caplog, model)
    assert code == UNSUPPORTED
    assert "native code" in reason


def rebuilt(model: bytes, edit: Callable[[str, bytes], bytes]) -> bytes:
    """A .pt2 with changed entries, written as PyTorch does."""
    import torch

    file = io.BytesIO()
    writer: Any = torch._C.PyTorchFileWriter(file)
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        for name in archive.namelist():
            entry = name.partition("/")[2]
            if entry not in ("byteorder", ".data/version", ".data/serialization_id"):
                data = edit(entry, archive.read(name))
                writer.write_record(entry, data, len(data))
    writer.write_end_of_file()
    return file.getvalue()


def linear() -> bytes:
    import torch

    return zoo.exported(torch.nn.Linear(2, 2), ones(1, 2))


def test_a_rebuilt_archive_loads(drive: MakeDriver) -> None:
    """So that what the next tests refuse is refused for what they changed."""
    guest, context = guest_of(drive, rebuilt(linear(), lambda name, data: data))
    assert guest.set_f32(context, 0, [[1, 2]]) == 0
    assert guest.compute(context) == 0


def test_a_pickle_inside_an_exported_program_is_never_run(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    evil = saved((Evil(tmp_path / "made"),))
    model = rebuilt(linear(), lambda name, data: evil if name == "data/sample_inputs/model.pt" else data)
    code, reason = refused(drive, caplog, model)
    assert code == UNSUPPORTED
    assert "could run code" in reason
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("change", [{"use_pickle": True}, {"path_name": "opaque_obj_0"}])
def test_weights_that_only_a_pickle_can_make_are_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, tmp_path: Path, change: dict[str, Any]
) -> None:
    evil = saved(Evil(tmp_path / "made"))

    def edit(name: str, data: bytes) -> bytes:
        if name == "data/weights/weight_0":
            return evil
        if name == "data/weights/model_weights_config.json":
            config = json.loads(data)
            for payload in config["config"].values():
                payload.update(change)
            return json.dumps(config).encode()
        return data

    code, reason = refused(drive, caplog, rebuilt(linear(), edit))
    assert code == UNSUPPORTED
    assert "only a pickle can make" in reason
    assert not (tmp_path / "made").exists()


def test_a_damaged_program_is_one_line(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def edit(name: str, data: bytes) -> bytes:
        return (
            data.replace(b"torch.ops.aten.linear", b"torch.ops.aten.lineal") if "model.json" in name else data
        )

    code, reason = refused(drive, caplog, rebuilt(linear(), edit))
    assert code == 5
    assert "lineal" in reason
    assert "".join(capfd.readouterr()) == ""


def test_pytorch_writes_nothing_to_the_terminal(
    drive: MakeDriver, capfd: pytest.CaptureFixture[str], scripts: Any
) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for model in (zoo.scripted(scripts.Warns()), only(zoo.identity(TensorType.F32, (2,), "exported"))):
            seen.clear()
            guest, context = guest_of(drive, model)
            assert guest.set_f32(context, 0, [1, 2]) == 0
            assert guest.compute(context) == 0
            assert [str(each.message) for each in seen] == []
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize(("target", "name"), [("gpu", "gpu"), ("tpu", "tpu")])
def test_a_target_that_is_not_there_is_refused_with_those_that_are(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, target: str, name: str
) -> None:
    if Target.parse(target) in TorchBackend().devices():
        pytest.skip(f"this machine has a {name}")
    guest = drive({"m": source(only(zoo.add((1, 4))), target=target)})
    with caplog.at_level(logging.WARNING):
        assert guest.load_by_name("m")[0] == UNSUPPORTED
    assert f"target {name}; it has: cpu (cpu)" in reasons(caplog)


def test_the_operator_s_target_auto_takes_what_there_is(drive: MakeDriver) -> None:
    guest = drive({"m": source(only(zoo.halves((2,))), target="auto")})
    context = guest.open("m")
    assert guest.set_f32(context, 0, [1, 3]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [0.5, 1.5]


# -- permissions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_guest_s_own_bytes_are_refused_unless_the_operator_allows_them(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    model = only(zoo.halves((2,), form))
    with caplog.at_level(logging.WARNING):
        assert drive().load(model, encoding=PYTORCH)[0] == UNSUPPORTED
    assert "read and write files of the host and run code" in reasons(caplog)
    guest = drive(permissions=wasinn.Permissions(encodings=["pytorch"]))
    code, graph = guest.load(model, encoding=PYTORCH)
    assert code == 0
    code, context = guest.context(graph)
    assert code == 0
    assert guest.set_f32(context, 0, [1, 3]) == 0
    assert guest.compute(context) == 0
    assert guest.get_f32(context, 0) == [0.5, 1.5]
    assert guest.load(model, model, encoding=PYTORCH)[0] == 1, "a PyTorch model is one builder"


def test_importing_the_backend_does_not_import_pytorch() -> None:
    check = "import sys, wasinn.backends.torch, wasinn.backends.tract; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


# -- a real model -----------------------------------------------------------------------------------


def test_mobilenet_classifies_as_on_onnx_runtime(drive: MakeDriver, data: Path) -> None:
    require_backend("onnxruntime")
    folder = data / "mobilenet_v2"
    graphs = {
        "torch": wasinn.GraphSource.from_files(folder / "mobilenet_v2_torchscript.pt"),
        "onnx": wasinn.GraphSource.from_files(folder / "mobilenet_v2.onnx", backend="onnxruntime"),
    }
    guest = drive(graphs)
    picture = (folder / "kitten.tensor").read_bytes()
    scores = {}
    for name in graphs:
        context = guest.open(name)
        assert guest.set_input(context, 0, [1, 3, 224, 224], F32, picture) == 0
        assert guest.compute(context) == 0
        scores[name] = np.array(guest.get_f32(context, 0))
    assert int(scores["torch"].argmax()) == 281
    assert scores["torch"].max() == pytest.approx(13.693, abs=1e-2)
    np.testing.assert_allclose(scores["torch"], scores["onnx"], atol=1e-4)
