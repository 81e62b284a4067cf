# SPDX-License-Identifier: Apache-2.0
"""What an operator of many guests relies on when something beside the guest goes wrong."""

from __future__ import annotations

import logging
import multiprocessing
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import wasmtime
from onnx import TensorProto

import models
import wasinn
from conftest import MakeDriver
from driver import Driver, driver_wat
from wasinn.backends.onnxruntime import OnnxRuntimeExecution

SPIN = b'(module (func (export "_start") (loop (br 0))))'
TOO_LARGE, BUSY = 7, 4


def _spin(answers: Any) -> None:
    answers.put(wasinn.Host().run(SPIN, deadline=0.3).limit)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_deadline_holds_in_a_forked_process() -> None:
    assert wasinn.Host().run(SPIN, deadline=0.1).limit == "deadline"
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_spin, args=(answers,))
    child.start()
    try:
        assert answers.get(timeout=30) == "deadline"
    finally:
        child.kill()


def test_a_backend_whose_interrupt_fails_costs_no_other_deadline(
    drive: MakeDriver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: object) -> None:
        raise OSError("the device is gone")

    monkeypatch.setattr(OnnxRuntimeExecution, "interrupt", fail)
    driver = drive({"model": models.identity()})
    driver.open("model")
    driver.instance.control.stop("interrupted")
    assert "the device is gone" in caplog.text
    assert wasinn.Host().run(SPIN, deadline=0.2).limit == "deadline"


def test_a_config_that_is_too_long_is_not_parsed(drive: MakeDriver) -> None:
    driver = drive({"model": models.identity()})
    name, config = driver.put(b"model"), driver.put(b"[" + b"[]," * 40_000 + b"[]]")
    assert driver.call("load_by_name_with_config", name, 5, config, 120_004, driver.out()) == TOO_LARGE


def test_inputs_beyond_the_permission_are_refused_until_a_context_goes(drive: MakeDriver) -> None:
    permissions = wasinn.Permissions(max_input_bytes=1000)
    driver = drive({"model": models.identity(TensorProto.UINT8, ["n"])}, permissions)
    first, second = driver.open("model"), driver.open("model")
    assert driver.set_input(first, 0, [600], 3, bytes(600)) == 0
    assert driver.set_input(second, 0, [600], 3, bytes(600)) == TOO_LARGE
    assert driver.set_input(first, 0, [1000], 3, bytes(1000)) == 0
    assert driver.set_input(first, 0, [100], 3, bytes(100)) == 0
    assert driver.set_input(second, 0, [600], 3, bytes(600)) == 0
    assert driver.call("finalize_execution_context", second) == 0
    assert driver.set_input(first, 0, [1000], 3, bytes(1000)) == 0


def test_a_context_that_cannot_become_hot_goes_on_as_it_is(
    drive: MakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, inputs: object, outputs: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(OnnxRuntimeExecution, "bind", fail)
    driver = drive({"model": models.identity()}, hot=True)
    context = driver.open("model")
    for number in range(5):
        assert driver.set_f32(context, 0, [[number, 1, 2, 3]]) == 0
        assert driver.compute(context) == 0
        assert driver.get_f32(context, 0) == [number, 1, 2, 3]


def test_an_exit_is_not_remembered_by_a_later_call() -> None:
    guest = b"""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1)
      (func (export "leave") (call $exit (i32.const 3))) (func (export "fail") unreachable))"""
    with wasinn.Host().instantiate(guest) as instance:
        with pytest.raises(wasinn.GuestExit) as left:
            instance.call("leave")
        assert left.value.code == 3
        with pytest.raises(wasinn.GuestTrap, match="unreachable"):
            instance.call("fail")


def test_reinterpreted_dims_are_told_once_a_graph(caplog: pytest.LogCaptureFixture) -> None:
    source = wasinn.GraphSource.from_bytes(models.identity(), dims="reshape")
    driver = Driver(wasinn.Host({"model": source}))
    for _ in range(20):
        context = driver.open("model")
        assert driver.set_input(context, 0, [4, 1], 1, np.arange(4, dtype="<f4").tobytes()) == 0
    driver.close()
    assert len([each for each in caplog.records if "taken as" in each.getMessage()]) == 1


def test_a_foreign_guest_without_memory_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    with wasinn.Host() as host, caplog.at_level(logging.WARNING):
        host.add_to_linker(linker)
        store = wasmtime.Store(engine)
        text = driver_wat().decode().replace('(memory (export "memory") 64)', "")
        compute = linker.instantiate(store, wasmtime.Module(engine, text)).exports(store)["compute"]
        assert isinstance(compute, wasmtime.Func)
        assert [compute(store, 0) for _ in range(300)] == [3] * 300
    assert 0 < len(caplog.records) <= 100


def test_a_closed_host_interrupts_foreign_computes_rather_than_share_their_buffers() -> None:
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    host = wasinn.Host({"model": wasinn.GraphSource.from_bytes(models.identity())})
    host.add_to_linker(linker)
    store = wasmtime.Store(engine)
    exports = linker.instantiate(store, wasmtime.Module(engine, driver_wat().decode())).exports(store)
    memory: Any = exports["memory"]
    memory.write(store, b"model", 1024)
    calls: Any = exports
    assert calls["load_by_name"](store, 1024, 5, 2048) == 0
    assert calls["init_execution_context"](store, 0, 2048) == 0
    graph: Any = host.registry.get("model", host._shared.loader).graph
    host.close()
    assert graph._spare == []


@pytest.mark.parametrize("world", [{"args": ["a\udcff"]}, {"env": {"A": "\udcff"}}, {"env": {"\udcff": "a"}}])
def test_text_that_wasi_cannot_hold_is_told(world: dict[str, Any]) -> None:
    with pytest.raises(wasinn.ConfigError, match="not UTF-8"):
        wasinn.Host().run("@limits", **{"args": ["args"], **world})


@pytest.mark.parametrize("limit", [{"fuel": 1 << 64}, {"max_memory": 1 << 64}, {"deadline": 10**400}])
def test_a_limit_beyond_every_number_is_as_good_as_none(limit: dict[str, Any]) -> None:
    assert wasinn.Host().run("@limits", ["args"], **limit).exit_code == 0


def test_output_in_small_pieces_is_kept_whole() -> None:
    guest = b"""(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 0) "\\08\\00\\00\\00\\02\\00\\00\\00ab")
      (func (export "_start") (local $n i32)
        (loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $l (i32.lt_u (local.get $n) (i32.const 5000))))))"""
    assert wasinn.Host().run(guest).stdout == b"ab" * 5000


def test_a_file_that_changes_is_compiled_anew_and_its_old_state_forgotten(tmp_path: Any) -> None:
    path = tmp_path / "guest.wat"
    host = wasinn.Host(cache=False)
    for code in range(4):
        path.write_text(f'(module (func (export "f") (result i32) (i32.const {code}){" " * code}))')
        assert host.run(path, invoke="f").value == code
    assert len(host._guests) == 1


def test_bytes_with_a_field_in_every_two_are_given_up(drive: MakeDriver) -> None:
    junk = struct.pack("BB", 13 << 3 | 2, 0) * 600_000
    scalar = models.identity(TensorProto.FLOAT, [])
    assert drive().load(scalar + junk)[0] in (2, 5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: wasinn.Permissions(load="no"),  # type: ignore[arg-type]
        lambda: wasinn.Permissions(names="digits"),  # type: ignore[arg-type]
        lambda: wasinn.Permissions(max_graphs=-1),
        lambda: wasinn.Limits(deadline="5"),  # type: ignore[arg-type]
        lambda: wasinn.Host(permissions={"load": False}),  # type: ignore[arg-type]
        lambda: wasinn.Host(limits={"deadline": 1}),  # type: ignore[arg-type]
        lambda: wasinn.Host(graphs=["digits"]),  # type: ignore[arg-type]
        lambda: wasinn.Host(graphs={"a": 1}),  # type: ignore[dict-item]
        lambda: wasinn.Host().run("@limits", "args"),
        lambda: wasinn.Host().run("@limits", [1]),  # type: ignore[list-item]
        lambda: wasinn.Host().run("@limits", env={"A": 1}),  # type: ignore[dict-item]
        lambda: wasinn.Host().run("@limits", env=["A=1"]),  # type: ignore[arg-type]
        lambda: wasinn.Host().run("@limits", stdin="x"),  # type: ignore[arg-type]
    ],
)
def test_what_an_embedder_gets_wrong_is_told_at_once(make: Any) -> None:
    with pytest.raises(wasinn.ConfigError):
        make()


def test_permissions_take_encodings_by_name_or_as_themselves() -> None:
    given = wasinn.Permissions(encodings=["onnx", wasinn.Encoding.GGML], max_model_bytes="1K")  # type: ignore[arg-type, list-item]
    assert given.encodings == {wasinn.Encoding.ONNX, wasinn.Encoding.GGML}
    assert given.max_model_bytes == 1024


def test_only_a_linker_is_a_linker() -> None:
    with pytest.raises(TypeError, match=r"takes a wasmtime\.Linker, not Engine"):
        wasinn.Host().add_to_linker(wasmtime.Engine())  # type: ignore[arg-type]


def test_a_guest_that_nothing_was_called_of_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert wasinn.Host().run("@request").exit_code == 0
    assert "request.wasm has no _start, so nothing was called" in caplog.text
    assert "alloc, answer, handle" in caplog.text


def test_a_type_that_was_read_by_the_older_numbering_says_so(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver = drive({"model": models.identity()})
    assert driver.set_input(driver.open("model"), 0, [1, 4], 3, bytes(16)) == 1
    assert "type 3 is u8, which would be 4 bytes: the 16 were read as i32" in caplog.text


STOLEN_SIGNALS = """
import ctypes, signal, sys, threading
import wasinn

TRAPS = {
    "out_of_bounds": "(drop (i32.load (i32.const 99999999)))",
    "unreachable": "unreachable",
    "division_by_zero": "(drop (i32.div_s (i32.const 1) (i32.const 0)))",
}
host = wasinn.Host()

def trap(kind):
    guest = f'(module (memory 1) (func (export "_start") {TRAPS[kind]}))'
    found = host.run(guest.encode()).trap
    assert found is not None and found.kind == kind, (found, kind)

for kind in TRAPS:
    trap(kind)
library = ctypes.CDLL(None)
library.signal.restype = ctypes.c_void_p
library.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
for kind in TRAPS:
    for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
        library.signal(number, None)  # the default: the process ends
    trap(kind)
print("alive")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere traps are caught in another way")
def test_traps_are_caught_though_another_library_takes_their_signals() -> None:
    """Ray does, in ray.init: then the next trap of a guest ended the process."""
    done = subprocess.run([sys.executable, "-c", STOLEN_SIGNALS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr
    assert "taken back" in done.stderr
