# SPDX-License-Identifier: Apache-2.0
"""Several inputs and outputs, in the model's order and by its names."""

from __future__ import annotations

import json

import numpy as np
import pytest

import wasinn
from calls import BOTH, reason
from conformance.cases import Case, declared, declaring, names_of, on
from conformance.guests import INVALID, expected_bytes, guest_host, opened
from conftest import MakeDriver
from wasinn.tensors import Tensor


@BOTH
@on("add", "mixed")
def test_inputs_and_outputs_are_told_apart_by_index(
    drive: MakeDriver, case: Case, recipe: str, hot: bool
) -> None:
    guest = opened(drive, case, recipe, hot)
    for seed in range(4):
        guest.infer(seed)


@on("mixed")
def test_inputs_may_come_in_any_order_and_one_alone_may_change(drive: MakeDriver, case: Case) -> None:
    guest = opened(drive, case, "mixed")
    pixels, weights, ids = np.array([1, 2, 3, 255], "u1"), np.array([1.5, -2], "<f4"), np.array([7], "<i8")
    for index, array in ((2, ids), (0, pixels), (1, weights)):
        assert guest.set(index, array) == 0
    assert guest.compute() == 0
    guest.is_right([pixels, weights, ids])
    assert guest.set(1, weights * 3) == 0
    assert guest.compute() == 0
    guest.is_right([pixels, weights * 3, ids])


@on("add")
def test_a_missing_input_is_named(drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case) -> None:
    guest = opened(drive, case, "add")
    (_, b), _ = names_of(case, "add")
    assert guest.set(0, np.ones((1, 4), "<f4")) == 0
    assert guest.compute() == INVALID
    assert f"1 ({b!r}, {declared(case, 'add')[1]})" in reason(caplog)
    assert guest.set(1, np.ones((1, 4), "<f4")) == 0
    assert guest.compute() == 0
    guest.is_right([np.ones((1, 4), "<f4")] * 2)


@BOTH
@on("add")
def test_an_index_beyond_the_last_is_refused_with_those_there_are(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, hot: bool
) -> None:
    guest = opened(drive, case, "add", hot)
    inputs = guest.give()
    for index in (2, 77, 1 << 31, 0xFFFFFFFF):
        assert guest.set(index, inputs[0]) == INVALID
        assert "the graph has no input" in reason(caplog)
    assert guest.compute() == 0
    for index in (2, 77, 1 << 31, 0xFFFFFFFF):
        assert guest.read(index)[0] == INVALID
        assert "the graph has no output" in reason(caplog)
    guest.is_right(inputs)


@on("add", "mixed", "identity")
def test_ports_have_the_model_s_names_and_order(case: Case, recipe: str) -> None:
    host, context = guest_host(case, recipe)
    graph = host.context(context).graph.graph
    found = tuple(tuple(spec.name for spec in specs) for specs in (graph.inputs, graph.outputs))
    assert found == names_of(case, recipe)
    host.close()


@on("mixed")
def test_tensors_go_by_name_and_by_a_name_that_is_an_index(case: Case) -> None:
    host, context = guest_host(case, "mixed")
    inputs, outputs = names_of(case, "mixed")
    arrays = [np.array([1, 2, 3, 4], "u1"), np.array([5, 6], "<f4"), np.array([7], "<i8")]
    for name, array in reversed(list(zip(inputs, arrays, strict=True))):
        host.set_input(context, name, Tensor.of(array))
    host.compute(context)
    wanted = expected_bytes(case, "mixed", arrays)
    assert [bytes(host.output(context, name).data) for name in outputs] == wanted
    assert [bytes(host.output(context, str(index)).data) for index in range(3)] == wanted
    host.set_input(context, "1", Tensor.of(arrays[1] * 2))
    host.compute(context)
    assert host.output(context, outputs[2]).numpy().tolist() == [-10, -12]
    with pytest.raises(wasinn.WasiNNError, match=r"no input 'nobody'; it has: 0 ") as refused:
        host.set_input(context, "nobody", Tensor.of(arrays[0]))
    assert all(name in refused.value.reason for name in inputs)
    with pytest.raises(wasinn.WasiNNError, match="no output '3'"):
        host.output(context, "3")
    host.close()


@on("add")
def test_a_guest_learns_the_ports_of_a_graph(drive: MakeDriver, case: Case) -> None:
    guest = opened(drive, case, "add")
    driver = guest.driver
    buffer, written = driver.put(bytes(4096)), driver.out()
    graph = driver.load_by_name("model")[1]
    assert driver.call("graph_metadata", graph, buffer, 4096, written) == 0
    found = json.loads(driver.get(buffer, driver.u32(written)))
    ports = [found[side] for side in ("inputs", "outputs")]
    assert found["platform"] == case.backend
    for specs, names in zip(ports, names_of(case, "add"), strict=True):
        assert [(each["name"], each["datatype"]) for each in specs] == [(name, "FP32") for name in names]
    first = 1 if case in declaring("add") else -1
    assert [each["shape"] for each in ports[0]] == [[first, 4]] * 2
