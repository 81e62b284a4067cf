# SPDX-License-Identifier: Apache-2.0
"""Components built from C: the shipped ones against the core modules of the same sources, and what no good
guest does."""

from __future__ import annotations

import gc
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import component_c
import models
import wasinn
from component_c import Driver
from wasinn import GuestTrap, RunResult, shipped
from wasinn.abi.component.values import Case

PICTURES = shipped.ROOT / "pictures"
MODELS = shipped.ROOT / "models"
DIGITS = ["--size", "8x8", "--colour", "gray"]
MIB = 1 << 20
#: A list of this many bytes is more than the runtime takes as values.
OVER_THE_CAP = 2_800_001


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    graphs = {"default": "onnx:@digits", "m": wasinn.GraphSource.from_bytes(models.identity())}
    return wasinn.Host(graphs=graphs)


@pytest.fixture
def driver(host: wasinn.Host) -> Iterator[Driver]:
    driver = Driver(host)
    yield driver
    driver.close()
    assert driver.held == (0, 0, 0, 0)


def run(host: wasinn.Host, guest: str, *arguments: str, **options: Any) -> RunResult:
    return host.run(guest, arguments, dirs={"/p": PICTURES, "/m": MODELS}, deadline=60, **options)


# -- the commands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guest", "arguments", "code"),
    [
        ("classify", [*DIGITS, *(f"/p/{name}" for name in ("seven.png", "three.bmp", "five.ppm"))], 0),
        ("classify", [*DIGITS, "--tsv", "--model", "/m/digits.onnx", "/p/two.png"], 0),
        ("classify", ["--help"], 0),
        ("classify", ["--nonsense"], 2),
        ("classify", [], 2),
        ("classify", [*DIGITS, "/p/nobody.png"], 1),
        ("classify", [*DIGITS, "/etc/passwd"], 1),
        ("infer", ["--name", "default", "--input", "0:f32:1x1x8x8:/p/two.png"], None),
        ("infer", ["--name", "m", "--input", "0:f32:1x4:/p/nobody"], 1),
    ],
)
def test_a_command_does_as_the_core_module_of_the_same_sources(
    host: wasinn.Host, guest: str, arguments: list[str], code: int | None
) -> None:
    core, component = run(host, f"@{guest}", *arguments), run(host, f"@{guest}_component", *arguments)
    assert component.trap is None
    assert component.exit_code == core.exit_code
    assert code is None or component.exit_code == code
    assert component.stdout == core.stdout
    if "answered" not in core.stderr.decode():
        assert component.stderr == core.stderr
    assert component.stats.computes == core.stats.computes
    assert component.stats.bytes_out == core.stats.bytes_out


def test_a_component_is_told_the_reason(host: wasinn.Host) -> None:
    result = run(host, "@classify_component", *DIGITS, "--name", "nobody", "/p/two.png")
    assert result.exit_code == 1
    reason = b"load_by_name answered not_found: no graph is called 'nobody'; known: default, m"
    assert reason in result.stderr


def test_stdin_files_and_a_file_that_is_written(host: wasinn.Host, tmp_path: Path) -> None:
    values = np.arange(4, dtype="<f4")
    (tmp_path / "in").write_bytes(values.tobytes())
    arguments = ["--name", "m", "--input", "0:f32:1x4:/w/in", "--save", "/w/out"]
    result = host.run("@infer_component", arguments, dirs=[f"{tmp_path}::/w:rw"])
    assert (result.exit_code, result.stderr) == (0, b"")
    assert (tmp_path / "out").read_bytes() == values.tobytes()
    assert host.run("@infer_component", arguments, dirs={"/w": tmp_path}).exit_code == 1  # read-only


def test_mobilenet(data: Path) -> None:
    folder = data / "mobilenet_v2"
    host = wasinn.Host(graphs={"m": f"onnx:{folder / 'mobilenet_v2.onnx'}"})
    for file, first in (("kitten.tensor", "281 13.693"), ("000000062808.rgb", "963 15.001")):
        arguments = ["--name", "m", "--input", f"0:f32:1x3x224x224:/d/{file}", "--top", "1"]
        found = [host.run(guest, arguments, dirs={"/d": folder}) for guest in ("@infer_component", "@infer")]
        assert found[0].stdout.decode().split("\n")[1] == first
        assert found[0].stdout == found[1].stdout


def test_a_real_model_from_a_file(data: Path) -> None:
    """14 MB: five times what a component may pass as values."""
    folder = data / "mobilenet_v2"
    arguments = ["--model", "/d/mobilenet_v2.onnx", "--input", "0:f32:1x3x224x224:/d/kitten.tensor"]
    result = wasinn.Host().run("@infer_component", [*arguments, "--top", "1"], dirs={"/d": folder})
    assert result.exit_code == 0, result.stderr
    assert result.stdout.decode().split("\n")[1] == "281 13.693"


# -- functions with typed arguments ------------------------------------------------------------------------


def test_exported_functions_take_and_give_typed_values(host: wasinn.Host) -> None:
    values = np.random.default_rng(1).random(64, "<f4")
    with host.instantiate("@typed") as instance:
        scores = instance.call("infer", "default", [1, 1, 8, 8], "FP32", values.tobytes())
        assert scores.name == "ok"
        found = np.frombuffer(scores.value, "<f4")
        best = instance.call("classify", "default", [1, 1, 8, 8], values.tolist(), 3)
        order = sorted(range(10), key=lambda index: -found[index])[:3]
        assert best == Case("ok", [(index, float(found[index])) for index in order])
        assert instance.call("classify", "default", [1, 1, 8, 8], values.tolist(), 0) == Case("ok", [])
        assert '"probabilities"' in instance.call("describe", "default").value
        wrong = instance.call("infer", "default", [1, 1, 8], "FP32", values.tobytes())
        assert (wrong.name, "[1,1,8]" in wrong.value) == ("err", True)
        assert instance.call("describe", "nobody").name == "err"
        state = instance.state
        assert [len(each) for each in (state.tensors, state.graphs, state.contexts, state.errors)] == [0] * 4


def test_a_function_is_invoked_with_text(host: wasinn.Host) -> None:
    result = host.run("@typed", invoke="infer", invoke_args=['"m"', "[1, 4]", "FP32", str([0] * 15 + [64])])
    assert result.value == Case("ok", struct.pack("<4f", 0, 0, 0, 2))


# -- bytes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, 1, 2, 7, 15, 16, 17, 31, 33, 4096, 65537, 602_112, OVER_THE_CAP, 32 * MIB + 5, 130 * MIB + 3]
)
def test_every_byte_of_a_tensor_comes_back(driver: Driver, size: int) -> None:
    assert driver.call("round-trip", size) == 0
    assert driver.held == (0, 0, 0, 0)


@pytest.mark.parametrize("dims", [(), (0,), (1,), (0, 0xFFFFFFFF), tuple(range(40))])
def test_dims_come_back_as_they_were(driver: Driver, dims: tuple[int, ...]) -> None:
    tensor = driver.tensor(dims, "I64", b"xyz")
    assert driver.read(tensor) == (dims, "I64", b"xyz")
    driver.drop(tensor)


@pytest.mark.parametrize("size", [OVER_THE_CAP, 130 * MIB + 1])
def test_a_large_model_arrives_whole(host: wasinn.Host, size: int) -> None:
    """A field of its own that is no field of ONNX makes a model as large as it should be."""
    driver = Driver(host)
    length = size - len(models.identity()) - 6
    # Protocol buffers: field 1000, a string of `length` bytes; two bytes of tag, four or five of length.
    digits, left = bytearray(), length
    while left >= 0x80:
        digits.append(left & 0x7F | 0x80)
        left >>= 7
    digits.append(left)
    tag = bytes([1000 << 3 & 0x7F | 2 | 0x80, 1000 << 3 >> 7])
    head = models.identity() + tag + bytes(digits)
    kind, graph = driver.answer("load-padded", head, len(head) + length, 1)
    assert kind == "ok", graph
    kind, context = driver.answer("graph-context", graph)
    values = np.arange(4, dtype="<f4").tobytes()
    kind, outputs = driver.compute(context, [("0", driver.tensor((1, 4), "FP32", values))])
    assert kind == "ok", outputs
    assert driver.read(outputs[0][1])[2] == values
    driver.close()


def test_a_large_model_that_is_none_is_refused(driver: Driver) -> None:
    kind, reason = driver.answer("load-padded", b"", 130 * MIB, 1)
    assert (kind, bool(reason)) == ("invalid-encoding", True)


# -- what no good guest does ------------------------------------------------------------------------------


CALLS_WITH_LISTS = ["tensor-data", "tensor-dims", "load-by-name", "compute"]


def trapped(driver: Driver, name: str, *arguments: Any) -> str:
    """The reason of a trap, after which the instance holds nothing and others work."""
    with pytest.raises(GuestTrap) as ended:
        driver.call(name, *arguments)
    driver.close()
    assert driver.held == (0, 0, 0, 0)
    return str(ended.value)


@pytest.mark.parametrize(
    ("call", "mode"),
    [
        *((call, mode) for call in CALLS_WITH_LISTS for mode in ("far away", "traps")),
        # Bytes may lie anywhere.
        ("tensor-dims", "misaligned"),
        ("compute", "misaligned"),
    ],
)
def test_a_trap_in_the_middle_of_a_call(host: wasinn.Host, call: str, mode: str) -> None:
    """The host is about to return a list, and the guest's allocator ends it."""
    driver, other = Driver(host), Driver(host)
    context = driver.open("m")
    tensor = driver.tensor((1, 4), "FP32", bytes(16))
    driver.call("set-realloc", component_c.REALLOC.index(mode))
    if call == "compute":
        # The inputs are a list that the runtime itself puts into the guest.
        trapped(driver, "compute", context, [("0", tensor)])
    elif call == "load-by-name":
        trapped(driver, "load-by-name", "nobody")
    else:
        trapped(driver, call, tensor)
    assert other.call("round-trip", 1000) == 0
    other.close()


def test_an_allocator_that_refuses_to_shrink(driver: Driver) -> None:
    driver.call("set-realloc", component_c.REALLOC.index("no shrink"))
    for size in (0, 1, 5000, OVER_THE_CAP):
        assert driver.call("round-trip", size) == 0
    for name in ("nobody", "ä" * 100, "日本" * 1000):
        kind, reason = driver.load_by_name(name)
        assert (kind, name[:2] in reason) == ("not-found", True)
    context = driver.open("m")
    kind, outputs = driver.compute(context, [("0", driver.tensor((1, 4), "FP32", bytes(16)))])
    assert kind == "ok"
    assert driver.read(outputs[0][1]) == ((1, 4), "FP32", bytes(16))


def test_a_guest_that_traps_with_its_hands_full(host: wasinn.Host) -> None:
    for _ in range(20):
        trapped(Driver(host), "trap-holding", "m")


@pytest.mark.parametrize(
    ("dims", "rank", "data", "size"),
    [
        (1024, 2, 0xFFFFFFF0, 4),
        (1024, 2, 0xFFFFFFFF, 1),
        (1024, 2, 1024, 0xFFFFFFFF),
        (0xFFFFFFF0, 2, 1024, 4),
        (1024, 0x40000001, 1024, 4),
        (1026, 2, 1024, 4),  # not aligned
    ],
)
def test_a_pointer_outside_the_memory_is_a_trap(
    host: wasinn.Host, dims: int, rank: int, data: int, size: int
) -> None:
    trapped(Driver(host), "tensor-raw", dims, rank, 1, data, size)


@pytest.mark.parametrize("value", [7, 255, 0xFFFFFFFF])
def test_an_unknown_case_of_an_enum_is_a_trap(host: wasinn.Host, value: int) -> None:
    assert "discriminant" in trapped(Driver(host), "tensor-new", [1], value, b"1234")
    trapped(Driver(host), "load", [b""], value, 0)
    trapped(Driver(host), "load", [b""], 1, value)


def test_a_handle_that_was_dropped_is_a_trap(host: wasinn.Host) -> None:
    uses = {
        "tensor": ["tensor-data", "tensor-dims", "tensor-type", "tensor-drop"],
        "graph": ["graph-context", "graph-drop"],
        "error": ["error-code", "error-drop"],
    }
    for kind, calls in uses.items():
        for call in calls:
            driver = Driver(host)
            if kind == "tensor":
                made = driver.tensor((1,), "U8", b"1")
            elif kind == "graph":
                made = driver.load_by_name("m")[1]
            else:
                made = driver.call("fail", "nobody")
            driver.call(f"{kind}-drop", made)
            assert driver.held == (0, 0, 0, 0)
            assert "handle" in trapped(driver, call, made)
    driver = Driver(host)
    context = driver.open("m")
    driver.call("context-drop", context)
    assert "handle" in trapped(driver, "compute", context, [])


def test_a_handle_of_another_kind_is_a_trap(host: wasinn.Host) -> None:
    driver = Driver(host)
    graph = driver.load_by_name("m")[1]
    trapped(driver, "tensor-data", graph)
    driver = Driver(host)
    context, tensor = driver.open("m"), driver.tensor((1, 4), "FP32", bytes(16))
    trapped(driver, "compute", context, [("0", tensor), ("1", tensor)])  # given away twice
    driver = Driver(host)
    trapped(driver, "graph-context", 0)


def test_handles_mean_nothing_in_another_instance(host: wasinn.Host) -> None:
    one, two = Driver(host), Driver(host)
    tensor = one.tensor((1,), "U8", b"1")
    trapped(two, "tensor-data", tensor)
    assert one.read(tensor) == ((1,), "U8", b"1")
    one.close()


def test_an_error_that_is_kept_can_be_read_until_it_is_dropped(driver: Driver) -> None:
    kept = [driver.call("fail", f"nobody {number}") for number in range(5)]
    assert driver.held == (0, 0, 0, 5)
    assert [component_c.CODES.split()[driver.call("error-code", error)] for error in kept] == [
        "not-found"
    ] * 5
    for error in kept:
        driver.call("error-drop", error)
    assert driver.held == (0, 0, 0, 0)


# -- many -------------------------------------------------------------------------------------------------


def test_two_hundred_runs_in_two_threads_leave_nothing(host: wasinn.Host) -> None:
    wrong: list[object] = []

    def work(first: int) -> None:
        for number in range(first, 200, 2):
            driver = Driver(host)
            context = driver.open("m")
            values = np.full(4, number, "<f4").tobytes()
            kind, outputs = driver.compute(context, [("0", driver.tensor((1, 4), "FP32", values))])
            if kind != "ok" or driver.read(outputs[0][1])[2] != values or driver.call("round-trip", 9999):
                wrong.append((number, kind, outputs))
            driver.close()
            if driver.held != (0, 0, 0, 0):
                wrong.append(driver.held)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@needs_proc
def test_memory_stays_flat(host: wasinn.Host) -> None:
    def turns(count: int) -> None:
        for _ in range(count):
            driver = Driver(host)
            assert driver.call("round-trip", 4 * MIB) == 0
            driver.close()

    turns(5)
    gc.collect()
    before = resident()
    turns(40)
    gc.collect()
    assert resident() - before < 24 * MIB, "40 instances with a tensor of 4 MiB"
