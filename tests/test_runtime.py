# SPDX-License-Identifier: Apache-2.0
"""Running guests: results, the world they see, what is refused, the compile cache, instances."""

from __future__ import annotations

import logging
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
import wasinn
from wasinn import ConfigError, GuestError, GuestExit, GuestTrap
from wasinn.runtime import cache as cache_module


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    return wasinn.Host(graphs={"m": wasinn.GraphSource.from_bytes(models.identity())}, cache=False)


# -- results ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 42, 125, 126, 127, 200, 255])
def test_the_exit_code_is_the_guest_s(host: wasinn.Host, code: int) -> None:
    result = host.run("@limits", ["exit", str(code)])
    assert (result.exit_code, result.ok, result.trap, result.limit) == (code, code == 0, None, None)


def test_stdout_and_stderr_are_captured_apart(host: wasinn.Host) -> None:
    result = host.run("@limits", ["nonsense"])
    assert (result.exit_code, result.stdout) == (2, b"")
    assert result.stderr.startswith(b"usage: limits")
    assert host.run("@limits", ["args"]).stderr == b""


def test_arguments_come_after_the_guest_s_name(host: wasinn.Host) -> None:
    arguments = ["args", "two words", "", "--flag=ä", "*"]
    lines = host.run("@limits", arguments).stdout.decode().split("\n")
    assert lines == ["limits.wasm", *arguments, ""]


def test_the_environment_is_what_was_given_and_not_the_host_s(
    host: wasinn.Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert host.run("@limits", ["env", "GIVEN"], env={"GIVEN": "a=b c"}).stdout == b"a=b c\n"
    assert host.run("@limits", ["env", "SECRET"], env={"GIVEN": "1"}).exit_code == 1
    assert host.run("@limits", ["env", "PATH"]).exit_code == 1


@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(256)) * 8000], ids=["empty", "text", "2 MB"])
def test_stdin_is_the_bytes_given(host: wasinn.Host, data: bytes) -> None:
    result = host.run("@limits", ["cat", "-"], stdin=data)
    assert (result.exit_code, result.stdout) == (0, data)


def test_what_is_discarded_is_not_kept(host: wasinn.Host) -> None:
    result = host.run("@limits", ["args"], stdout="discard")
    assert (result.exit_code, result.stdout) == (0, b"")


def test_the_stats_count_what_the_guest_did(tmp_path: Path, host: wasinn.Host) -> None:
    (tmp_path / "x").write_bytes(np.arange(4, dtype="<f4").tobytes())
    command = ["--name", "m", "--input", "0:f32:1x4:/in/x", "--repeat", "50"]
    result = host.run("@infer", command, dirs={"/in": tmp_path})
    assert result.stdout == b"output 0: 16 bytes\n0 1 2 3\n"
    stats = result.stats
    assert (stats.computes, stats.calls["compute"], stats.calls["set_input"]) == (50, 50, 50)
    assert (stats.bytes_in, stats.bytes_out, stats.failures) == (800, 16, 0)
    assert stats.backends == {"onnxruntime": 1}
    assert 0 < stats.compute_seconds < result.total_seconds


def test_a_trace_has_a_line_for_each_call(
    host: wasinn.Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x").write_bytes(bytes(16))
    with caplog.at_level(logging.INFO, "wasinn.trace"):
        host.run("@infer", ["--name", "m", "--input", "0:f32:1x4:/in/x"], dirs={"/in": tmp_path}, trace=True)
    lines = [record.getMessage() for record in caplog.records if record.name == "wasinn.trace"]
    names = [line.partition("(")[0] for line in lines]
    calls = ["load_by_name", "init_execution_context", "set_input", "compute"]
    calls += ["graph_metadata", "get_output", "finalize_execution_context", "unload"]
    assert names == calls
    assert "f32 [1,4] (16 bytes)" in lines[2]


# -- directories ------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """`open/` with a file and links that lead out of it, beside a secret."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "file").write_text("content")
    (folder / "inside").symlink_to("file")
    (folder / "relative").symlink_to("../secret")
    (folder / "absolute").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to("..")
    return folder


def test_a_directory_is_seen_under_its_guest_path(host: wasinn.Host, tree: Path) -> None:
    for dirs in ({"/data": tree}, [f"{tree}::/data"], [wasinn.Directory(tree, "/data")]):
        for name in ("file", "inside"):
            result = host.run("@limits", ["cat", f"/data/{name}"], dirs=dirs)
            assert (result.exit_code, result.stdout) == (0, b"content")
    assert host.run("@limits", ["cat", f"{tree}/file"], dirs=[str(tree)]).stdout == b"content"


@pytest.mark.parametrize("path", ["/data/new", "/data/file", "/data/inside"])
def test_a_directory_cannot_be_written_to(host: wasinn.Host, tree: Path, path: str) -> None:
    before = sorted(tree.iterdir())
    result = host.run("@limits", ["write", path, "changed"], dirs={"/data": tree})
    assert result.exit_code == 1
    assert b"limits: " + path.encode() in result.stderr
    assert sorted(tree.iterdir()) == before
    assert (tree / "file").read_text() == "content"


def test_a_directory_marked_rw_can_be_written_to(host: wasinn.Host, tree: Path) -> None:
    result = host.run("@limits", ["write", "/data/new", "changed"], dirs=[f"{tree}::/data:rw"])
    assert (result.exit_code, (tree / "new").read_text()) == (0, "changed")


@pytest.mark.parametrize("path", ["../secret", "relative", "absolute", "up/secret", "./../open/../secret"])
@pytest.mark.parametrize("suffix", ["", ":rw"])
def test_no_path_leads_out_of_a_directory(host: wasinn.Host, tree: Path, path: str, suffix: str) -> None:
    dirs = [f"{tree}::/data{suffix}"]
    result = host.run("@limits", ["cat", f"/data/{path}"], dirs=dirs)
    assert (result.exit_code, result.stdout) == (1, b"")
    assert host.run("@limits", ["write", f"/data/{path}", "x"], dirs=dirs).exit_code == 1
    assert (tree.parent / "secret").read_text() == "secret"


def test_without_directories_there_are_no_files(host: wasinn.Host) -> None:
    assert host.run("@limits", ["cat", "/etc/passwd"]).exit_code == 1


@pytest.mark.parametrize("dirs", [["/none"], {"/data": "/none"}, ["/none::/data:rw"], "/tmp"])
def test_a_directory_that_is_not_there_is_an_error_for_the_embedder(host: wasinn.Host, dirs: Any) -> None:
    with pytest.raises(ConfigError, match=r"directory '/none'|list or a mapping"):
        host.run("@limits", ["args"], dirs=dirs)


# -- calling by name --------------------------------------------------------------------------------

NUMBERS = b"""(module
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "wide") (param i64) (result i64) (local.get 0))
  (func (export "half") (param f32) (result f32) (f32.mul (local.get 0) (f32.const 0.5)))
  (func (export "twice") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 2)))
  (func (export "swap") (param i32 f64) (result f64 i32) (local.get 1) (local.get 0))
  (func (export "none"))
  (func (export "ref") (param externref))
  (memory 1))"""


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("add", ["2", "0x10"], 18),
        ("add", [2**31 - 1, 1], -(2**31)),
        ("add", [0xFFFFFFFF, 0], -1),
        ("wide", ["1099511627776"], 2**40),
        ("wide", [2**64 - 1], -1),
        ("half", ["3"], 1.5),
        ("twice", [1e300], 2e300),
        ("twice", ["-inf"], float("-inf")),
        ("swap", ["7", "2.5"], (2.5, 7)),
        ("none", [], None),
    ],
)
def test_an_export_is_invoked_with_numbers(
    host: wasinn.Host, name: str, arguments: list[Any], value: Any
) -> None:
    result = host.run(NUMBERS, invoke=name, invoke_args=arguments)
    assert (result.exit_code, result.value) == (0, value)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("nonesuch", [], "no function 'nonesuch'; it exports: add, half"),
        ("memory", [], "no function 'memory'"),
        ("add", ["1"], r"add\(i32, i32\) -> \(i32\) takes 2 arguments, got 1"),
        ("add", ["1", "2", "3"], "takes 2 arguments, got 3"),
        ("add", ["1", "two"], r"'two' of add is not a number \(i32\)"),
        ("add", ["1.5", "2"], r"not a number \(i32\)"),
        ("add", [1.5, 2], "1.5 is not an i32"),
        ("add", [2**32, 0], "4294967296 is not an i32"),
        ("add", [-(2**31) - 1, 0], "is not an i32"),
        ("wide", [2**64], "is not an i64"),
        ("half", ["x"], r"not a number \(f32\)"),
        ("ref", ["1"], "cannot be called from here"),
    ],
)
def test_a_wrong_call_is_an_error_that_shows_the_signature(
    host: wasinn.Host, name: str, arguments: list[Any], message: str
) -> None:
    with pytest.raises(GuestError, match=message):
        host.run(NUMBERS, invoke=name, invoke_args=arguments)


@pytest.mark.parametrize("argument", ["1e300", 1e300, -3e39])
def test_a_number_beyond_f32_is_an_error_of_the_call(host: wasinn.Host, argument: Any) -> None:
    with pytest.raises(GuestError, match="is not an f32"):
        host.run(NUMBERS, invoke="half", invoke_args=[argument])


# -- how guests begin -------------------------------------------------------------------------------

#: Infers on the graph "m" in $work; $fail traps unless the errno on the stack is 0.
WORK = """
  (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "init_execution_context" (func $init (param i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
  (import "wasi_ephemeral_nn" "get_output" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "m")
  (data (i32.const 16) "\\01\\00\\00\\00\\04\\00\\00\\00")
  (data (i32.const 32) "\\10\\00\\00\\00\\02\\00\\00\\00\\01\\00\\00\\00\\40\\00\\00\\00\\10\\00\\00\\00")
  (data (i32.const 64) "\\00\\00\\80\\3f\\00\\00\\00\\40\\00\\00\\40\\40\\00\\00\\80\\40")
  (func $fail (param i32) (if (local.get 0) (then unreachable)))
  (func $work
    (call $fail (call $load (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $fail (call $init (i32.load (i32.const 8)) (i32.const 12)))
    (call $fail (call $set (i32.load (i32.const 12)) (i32.const 0) (i32.const 32)))
    (call $fail (call $compute (i32.load (i32.const 12))))
    (call $fail (call $get
      (i32.load (i32.const 12)) (i32.const 0) (i32.const 128) (i32.const 16) (i32.const 24)))
    (if (f32.ne (f32.load (i32.const 140)) (f32.const 4)) (then unreachable)))
  (func (export "last") (result f32) (f32.load (i32.const 140)))
"""


def module(*parts: str) -> bytes:
    return f"(module {WORK} {' '.join(parts)})".encode()


@pytest.mark.parametrize(
    "guest",
    [
        module('(export "_start" (func $work))'),
        module("(start $work)"),
        module("(start $work)", '(func (export "_start"))'),
        module('(export "_initialize" (func $work))'),
    ],
    ids=["command", "start section", "start section and command", "reactor"],
)
def test_a_guest_infers_wherever_it_begins(host: wasinn.Host, guest: bytes) -> None:
    result = host.run(guest)
    assert (result.exit_code, result.trap) == (0, None)
    assert (result.stats.computes, result.stats.bytes_out) == (1, 16)


@pytest.mark.parametrize("beginning", ["(start $work)", '(export "_initialize" (func $work))'])
def test_a_function_is_invoked_after_the_guest_has_begun(host: wasinn.Host, beginning: str) -> None:
    assert host.run(module(beginning), invoke="last").value == 4
    assert host.run(module('(export "other" (func $work))'), invoke="last").value == 0


def test_a_command_is_not_initialised_like_a_reactor(host: wasinn.Host) -> None:
    guest = module('(export "_start" (func $work)) (func (export "_initialize") unreachable)')
    assert host.run(guest).exit_code == 0


@pytest.mark.parametrize(
    "beginning",
    ["(func $bad unreachable) (start $bad)", '(func $bad (export "_initialize") unreachable)'],
    ids=["start section", "reactor"],
)
def test_a_trap_while_beginning_is_a_result(host: wasinn.Host, beginning: str) -> None:
    result = host.run(f"(module {beginning})".encode())
    assert result.exit_code is None
    assert result.trap is not None
    assert (result.trap.kind, result.limit) == ("unreachable", None)


def test_an_exit_while_beginning_is_a_result(host: wasinn.Host) -> None:
    guest = b"""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (func $go (call $exit (i32.const 201))) (start $go))"""
    assert host.run(guest).exit_code == 201


def test_nothing_to_do_is_a_success(host: wasinn.Host) -> None:
    assert host.run(b"(module)").exit_code == 0


# -- what is not a guest ----------------------------------------------------------------------------

IMPORT = '(import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))'


@pytest.mark.parametrize(
    ("memory", "where"),
    [("", "none"), ('(memory (export "mem") 1)', "another name"), ('(func (export "memory"))', "a function")],
    ids=["none", "another name", "a function"],
)
def test_without_a_memory_every_call_is_missing_memory(
    host: wasinn.Host, caplog: pytest.LogCaptureFixture, memory: str, where: str
) -> None:
    call = '(func (export "go") (result i32) (call $compute (i32.const 0)))'
    with caplog.at_level(logging.WARNING, "wasinn.guest"):
        assert host.run(f"(module {IMPORT} {memory} {call})".encode(), invoke="go").value == 3
    assert "memory" in caplog.text


@pytest.mark.parametrize(
    ("guest", "message"),
    [
        (f"(module {IMPORT} (memory 1) (memory 1))", "has 2 memories"),
        (f'(module {IMPORT} (memory (export "memory") i64 1))', "64-bit memory"),
        (f'(module {IMPORT} (memory (export "memory") 1 1 shared))', "shared memory"),
        ('(module (import "env" "a" (func)) (import "env" "b" (func)))', r"provide: env\.a, env\.b; it prov"),
        ('(module (import "wasi_ephemeral_nn" "comput" (func)))', r"wasi_ephemeral_nn\.comput"),
        ('(module (import "wasi_ephemeral_nn" "compute" (func)))', "incompatible import type"),
        ('(module (import "wasi_snapshot_preview1" "fd_" (func)))', "does not link.*fd_"),
        ("(module (func (export", "not valid text"),
        ("(module (func (result i32)))", "not valid|does not compile"),
        (b"\0asm\x0d\0\1\0" + bytes(20), "does not compile"),
        (b"\0asm\1\0\0\0\1\x7f", "not a valid wasm module: a section that is longer than the file"),
        (b"\0asm\1\0\0\0\2\1\1", "not a valid wasm module"),
        (b"\0asm\1\0\0\0\1\1\7", "does not compile"),
        (b"\0asm\2\0\0\0", "not a wasm module"),
        (b"", "not a wasm module: its first bytes are empty"),
        (b"\x7fELF\2\1\1\0", "first bytes are 7f 45 4c 46"),
        (b"#!/bin/sh\n", "not a wasm module"),
        ("/none/guest.wasm", "cannot read the guest '/none/guest.wasm': No such file"),
        ("/", "cannot read the guest '/'"),
        ("@none", "no guest '@none'; it ships: @batch, .*@classify"),
    ],
)
def test_what_cannot_run_is_refused_with_the_reason(
    host: wasinn.Host, guest: str | bytes, message: str
) -> None:
    text = guest.encode() if isinstance(guest, str) and guest.startswith("(") else guest
    with pytest.raises(GuestError, match=message):
        host.run(text)


@pytest.mark.parametrize(
    "kind", ["v128", "anyref", "(ref null $t)", "exnref"], ids=["v128", "gc", "typed", "exception"]
)
def test_an_export_of_any_type_leaves_the_process_alive(kind: str) -> None:
    done = in_process(f"""
        guest = b'(module (type $t (func)) (func (export "f") (param {kind})) (func (export "_start")))'
        try:
            host.run(guest, invoke="f", invoke_args=["1"])
        except wasinn.GuestError as error:
            print(error)
        print(host.run(guest).exit_code)
    """)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (0, "0")
    assert "cannot be called from here" in lines[0]


def test_simd_inside_a_guest_runs(host: wasinn.Host) -> None:
    guest = b"""(module (func (export "sum") (result i32)
      (i32x4.extract_lane 2 (i32x4.add (v128.const i32x4 1 2 3 4) (v128.const i32x4 5 6 7 8)))))"""
    assert host.run(guest, invoke="sum").value == 10


# -- traps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("unreachable", "unreachable"),
        ("(drop (i32.load (i32.const 0x7fffffff)))", "out_of_bounds"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "division_by_zero"),
        ("(call_indirect (i32.const 0))", "null_call"),
    ],
)
def test_a_trap_says_what_it_was_and_where(host: wasinn.Host, body: str, kind: str) -> None:
    text = f"""(module (memory 1) (table 1 funcref) (func $inner {body})
      (func $outer (export "_start") (call $inner)))"""
    result = host.run(text.encode())
    assert (result.exit_code, result.ok, result.limit) == (None, False, None)
    assert result.trap is not None
    assert result.trap.kind == kind
    assert [frame.split()[0] for frame in result.trap.backtrace] == ["inner", "outer"]
    assert str(result.trap)


def test_what_was_written_before_a_trap_is_kept(host: wasinn.Host) -> None:
    guest = b"""(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "\\08\\00\\00\\00\\05\\00\\00\\00hello")
      (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32))) unreachable))"""
    result = host.run(guest)
    assert result.stdout == b"hello"
    assert result.trap is not None


# -- the compile cache ------------------------------------------------------------------------------


def exits_with(code: int) -> bytes:
    return f"""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))""".encode()


def compiled(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.cwasm"))


def test_the_second_host_takes_the_guest_from_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    assert wasinn.Host(cache=folder).run(exits_with(3)).exit_code == 3
    (three,) = compiled(folder)
    assert wasinn.Host(cache=folder).run(exits_with(4)).exit_code == 4
    (four,) = set(compiled(folder)) - {three}
    # Whoever reads the file for 3 now gets 4: so it is read.
    three.write_bytes(four.read_bytes())
    assert wasinn.Host(cache=folder).run(exits_with(3)).exit_code == 4


@pytest.mark.parametrize("damage", ["empty", "noise", "half"])
def test_a_corrupt_cache_file_is_compiled_anew(tmp_path: Path, damage: str) -> None:
    wasinn.Host(cache=tmp_path).run(exits_with(3))
    (path,) = compiled(tmp_path)
    good = path.read_bytes()
    path.write_bytes({"empty": b"", "noise": b"noise" * 1000, "half": good[: len(good) // 2]}[damage])
    assert wasinn.Host(cache=tmp_path).run(exits_with(3)).exit_code == 3
    assert len(path.read_bytes()) == len(good), "and put right"


def test_code_with_fuel_is_another_file(tmp_path: Path) -> None:
    host = wasinn.Host(cache=tmp_path)
    host.run(exits_with(3))
    assert len(compiled(tmp_path)) == 1
    assert host.run(exits_with(3), fuel=10**6).exit_code == 3
    assert len(compiled(tmp_path)) == 2


def test_the_cache_s_directory_is_for_its_user_alone(tmp_path: Path) -> None:
    wasinn.Host(cache=tmp_path / "cache").run(exits_with(3))
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_directory_that_others_can_write_to_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    tmp_path.chmod(mode)
    with caplog.at_level(logging.WARNING, "wasinn.host"):
        assert wasinn.Host(cache=tmp_path).run(exits_with(3)).exit_code == 3
    assert compiled(tmp_path) == []
    assert f"{tmp_path} is not used: others can write" in caplog.text


def test_no_cache_means_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASINN_CACHE_DIR", str(tmp_path))
    assert wasinn.Host(cache=False).run(exits_with(3)).exit_code == 3
    assert compiled(tmp_path) == []
    assert wasinn.Host().run(exits_with(3)).exit_code == 3
    assert len(compiled(tmp_path)) == 1


def test_the_cache_forgets_what_was_used_longest_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = wasinn.Host(cache=tmp_path)
    host.run(exits_with(1))
    (first,) = compiled(tmp_path)
    os.utime(first, (1, 1))
    host.run(exits_with(2))
    (second,) = set(compiled(tmp_path)) - {first}
    os.utime(second, (2, 2))
    wasinn.Host(cache=tmp_path).run(exits_with(1))  # used again: now the younger one
    monkeypatch.setattr(cache_module, "MAX_BYTES", first.stat().st_size * 5 // 2)
    host.run(exits_with(3))
    assert first in compiled(tmp_path)
    assert second not in compiled(tmp_path)


def test_a_guest_s_file_that_changes_is_compiled_anew(tmp_path: Path) -> None:
    host, path = wasinn.Host(cache=tmp_path), tmp_path / "guest.wat"
    path.write_bytes(exits_with(5))
    assert [host.run(path).exit_code, host.run(str(path)).exit_code] == [5, 5]
    path.write_bytes(exits_with(66))
    assert host.run(path).exit_code == 66


# -- processes --------------------------------------------------------------------------------------


def in_process(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs Python code, with `host` there, in a process of its own."""
    import textwrap

    text = f"import wasinn, time, os\nhost = wasinn.Host(cache=False)\n{textwrap.dedent(code)}"
    command = [sys.executable, "-c", text]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def test_inherited_streams_are_the_process_s() -> None:
    done = in_process(
        """
        result = host.run("@limits", ["cat", "-"], stdin="inherit", stdout="inherit", stderr="inherit")
        assert (result.stdout, result.exit_code) == (b"", 0)
        result = host.run("@limits", ["bad"], stdout="inherit", stderr="inherit")
        assert (result.stderr, result.exit_code) == (b"", 2)
        """,
        input="from outside\n" * 10000,
    )
    assert (done.returncode, done.stdout) == (0, "from outside\n" * 10000)
    assert done.stderr.startswith("usage: limits")


@pytest.mark.parametrize("deadline", [None, 30])
@pytest.mark.parametrize("data", ["", "x" * 300_000])
def test_inherited_stdin_ends_where_the_process_s_ends(deadline: int | None, data: str) -> None:
    done = in_process(
        f'print(len(host.run("@limits", ["cat", "-"], stdin="inherit", deadline={deadline}).stdout))',
        input=data,
    )
    assert done.stdout == f"{len(data)}\n"


SPIN = '(module (func $spin (loop $l (br $l))) {} (memory (export "memory") 1))'


@pytest.mark.parametrize(
    "guest",
    [
        '"@limits", ["spin"]',
        '"@limits", ["sleep", "60"]',
        f"""b'{SPIN.format('(export "_start" (func $spin))')}'""",
        f"b'{SPIN.format('(start $spin)')}'",
        f"""b'{SPIN.format('(export "_initialize" (func $spin))')}'""",
    ],
    ids=["spin", "sleep", "wat", "start section", "reactor"],
)
def test_an_interrupt_ends_the_guest(guest: str) -> None:
    code = f"""
import signal, wasinn, time
from wasinn.runtime.limits import controls
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
host = wasinn.Host(limits=wasinn.Limits(deadline=60), cache=False)
print("ready", flush=True)
try:
    host.run({guest})
except KeyboardInterrupt:
    time.sleep(0.2)
    print("interrupted,", len(controls), "running", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted, 0 running\n"
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# -- instances --------------------------------------------------------------------------------------


MEMORY = b"""(module (memory (export "memory") 1)
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "many")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 f64)
    (result f64) (f64.add (local.get 19) (f64.convert_i32_s (local.get 18))))
  (func $boom (export "boom") unreachable))"""


def test_an_instance_s_memory_is_the_guest_s(host: wasinn.Host) -> None:
    with host.instantiate(MEMORY) as instance:
        assert len(instance.memory) == 65536
        instance.memory[65532:] = (7).to_bytes(4, "little")
        assert instance.call("load", 65532) == 7
        assert instance.call("grow", 3) == 1
        assert len(instance.memory) == 4 * 65536
        instance.memory[200_000] = 9
        assert instance.call("load", 200_000) == 9


def test_pointers_may_be_unsigned(host: wasinn.Host) -> None:
    with host.instantiate(NUMBERS) as instance:
        assert instance.call("add", 0xFFFFFFF0, 0) == -16
        assert instance.call("wide", 2**63) == -(2**63)


def test_a_function_of_many_parameters_is_called(host: wasinn.Host) -> None:
    with host.instantiate(MEMORY) as instance:
        assert instance.call("many", *range(19), 0.5) == 18.5
        assert instance.call("load", 0) == 0


def test_a_trap_in_a_call_is_raised_and_leaves_the_instance_usable(host: wasinn.Host) -> None:
    with host.instantiate(MEMORY) as instance:
        with pytest.raises(GuestTrap, match="unreachable") as caught:
            instance.call("boom")
        assert caught.value.trap.backtrace[0].startswith("boom")
        with pytest.raises(GuestTrap, match="out of bounds"):
            instance.call("load", 65536)
        assert instance.call("load", 0) == 0


def test_an_exit_in_a_call_is_raised_with_its_code(host: wasinn.Host) -> None:
    guest = host.instantiate("@limits", ["limits", "exit", "200"])
    with guest as instance, pytest.raises(GuestExit) as caught:
        instance.call("_start")
    assert caught.value.code == 200


def test_what_an_instance_wrote_is_read_from_it(host: wasinn.Host) -> None:
    with host.instantiate("@limits", ["limits", "args"]) as instance:
        instance.call("_start")
        assert instance.stdout == b"limits\nargs\n"
    assert instance.stdout == b"limits\nargs\n", "also afterwards"


@pytest.mark.parametrize("arguments", [(), (1, 2), ("1",), (1.0,), (None,), (2**32,)])
def test_a_call_with_wrong_arguments_is_an_error(host: wasinn.Host, arguments: tuple[Any, ...]) -> None:
    with host.instantiate(MEMORY) as instance:
        with pytest.raises(GuestError, match=r"load\(i32\) -> \(i32\)"):
            instance.call("load", *arguments)
        with pytest.raises(GuestError, match="no function 'memory'"):
            instance.call("memory")
        assert instance.call("load", 0) == 0


def test_an_instance_may_be_closed_twice(host: wasinn.Host) -> None:
    instance = host.instantiate(MEMORY)
    instance.close()
    instance.close()
    with pytest.raises(GuestError, match="closed"):
        _ = instance.memory
    assert instance.stats.computes == 0


@pytest.mark.parametrize("before", ["instance.call('load', 0)", ""], ids=["known function", "new function"])
def test_a_call_of_a_closed_instance_is_an_error(before: str) -> None:
    done = in_process(f"""
        instance = host.instantiate({MEMORY!r})
        {before}
        instance.close()
        try:
            print(instance.call("load", 0))
        except wasinn.GuestError as error:
            print(error)
    """)
    assert (done.returncode, "closed" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    "world", [{"args": ["args", "a\0b"]}, {"env": {"A": "x\0y"}}, {"env": {"A=B": "x"}}, {"env": {"": "x"}}]
)
def test_what_no_argument_or_variable_can_hold_is_an_error(host: wasinn.Host, world: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        host.run("@limits", **{"args": ["args"], **world})
