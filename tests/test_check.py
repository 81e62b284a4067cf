# SPDX-License-Identifier: Apache-2.0
"""`wasinn check`: what a guest needs, and whether this host has it, held against what the host then does."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import wasmtime

import wasinn
from wasinn import shipped
from wasinn.cli.check import requirements
from wasinn.cli.main import main
from wasinn.runtime.limits import Limits
from wasinn.runtime.requirements import Requirements

GUESTS = shipped.ROOT / "guests"
MEMORY = '(memory (export "memory") 2 5)'
LOAD_BY_NAME = '(import "wasi_ephemeral_nn" "load_by_name" (func (param i32 i32 i32) (result i32)))'


def found(wat: str, name: str = "guest.wasm") -> Requirements:
    return requirements(wat.encode(), name, Limits())


def nn(name: str, kind: str, module: str = "wasi_ephemeral_nn") -> str:
    return f'(import "{module}" "{name}" (func {kind}))'


def only_missing(report: Requirements) -> str:
    (missing,) = [each.missing for each in report.needs if each.missing]
    assert not report.runs
    return missing


def check(capsys: pytest.CaptureFixture[str], tmp_path: Path, wat: str, *options: str) -> tuple[int, Any]:
    path = tmp_path / "guest.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm(wat)))
    code = main(["check", str(path), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


# -- guests that run here --------------------------------------------------------------------------------


@pytest.mark.parametrize("guest", sorted(path.name for path in GUESTS.iterdir()))
def test_the_shipped_guests_can_be_run(guest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"@{guest}"]) == 0
    assert "this host can run it" in capsys.readouterr().out


def test_a_core_module_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wat = f"""(module {LOAD_BY_NAME} {nn("set_input", "(param i32 i32 i32) (result i32)")}
      {nn("unload", "(param i32) (result i32)")}
      {nn("last_error", "(param i32 i32 i32) (result i32)", "wasinn")}
      {MEMORY} (func (export "_start")))"""
    code, report = check(capsys, tmp_path, wat)
    assert code == 0
    assert (report["kind"], report["entry"]) == ("core module", "command")
    assert report["dialects"] == ["witx", "WasmEdge", "wasinn"]
    assert "before October 2023" in report["numbering"]
    assert report["memory"] == {
        "exported": True,
        "minimum": 131072,
        "maximum": 327680,
        "shared": False,
        "wide": False,
    }
    assert report["needs"][0] == {
        "module": "wasi_ephemeral_nn",
        "name": "load_by_name",
        "type": "(i32, i32, i32) -> (i32)",
        "provided": True,
        "missing": None,
    }
    assert report["runs"] is True


@pytest.mark.parametrize(
    ("wat", "entry"),
    [
        ('(func (export "_start"))', "command"),
        ('(func (export "_initialize"))', "reactor"),
        ("(func $f) (start $f)", "start section"),
        ('(func (export "infer"))', "library"),
    ],
)
def test_what_starts_a_guest(wat: str, entry: str) -> None:
    assert found(f"(module {wat})").entry == entry


def test_the_numbering_of_wamr_is_known() -> None:
    report = found(f"(module {nn('set_input', '(param i32 i32 i32) (result i32)', 'wasi_nn')} {MEMORY})")
    assert (report.dialects, report.numbering) == (["WAMR"], "WAMR's: f16 0, f32 1, u8 2, i32 3")
    assert found("(module)").numbering == ""


def test_a_component_says_its_snapshots() -> None:
    report = requirements((GUESTS / "typed.wasm").read_bytes(), "typed.wasm", Limits())
    assert (report.kind, report.entry) == ("component", "library")
    assert report.dialects == ["wasi:nn@0.2.0-rc-2024-10-28", "wasinn:nn"]
    assert "infer" in report.exports
    assert report.loads_by_name
    assert not report.loads_bytes


# -- what is missing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("imported", "missing"),
    [
        (nn("load_by_nam", "(param i32 i32 i32) (result i32)"), "the nearest is load_by_name"),
        (nn("zzz", ""), "it has compute, compute_single"),
        (nn("graph_metadata", ""), "no such function; wasinn has"),
        (
            nn("compute", "(param i32 i64) (result i32)"),
            "the guest declares it as (i32, i64) -> (i32), and it is (i32) -> (i32)",
        ),
        (nn("compute", "(param i32)"), "(i32) -> (), and it is (i32) -> (i32)"),
        ('(import "wasi_ephemeral_nn" "compute" (global i32))', "imports a global, and it is a function"),
        (nn("load", "", "wasi_ephemeral_n"), "the nearest is wasi_ephemeral_nn"),
        (nn("zz", "", "zz"), "there are wasi_ephemeral_nn, wasi_nn"),
        (nn("fd_nothing", "", "wasi_snapshot_preview1"), "WASI preview 1 has no such function"),
        (nn("fd_close", "(param i64) (result i32)", "wasi_snapshot_preview1"), "(i64) -> (i32), and it is"),
        (nn("fd_close", "(param i32) (result i32)", "wasi_unstable"), "build it again"),
        (nn("abort", "(param i32 i32 i32 i32)", "env"), "AssemblyScript"),
        (nn("missing", "", "env"), "declared and not linked"),
        ('(import "env" "memory" (memory 1))', "declared and not linked"),
        (nn("load", "", "wasi:nn/graph@0.2.0-rc-2024-10-28"), "make a component of it"),
        (nn("__wbindgen_throw", "(param i32 i32)", "wbg"), "wasm-bindgen"),
    ],
)
def test_what_this_host_lacks_is_named_with_the_nearest(imported: str, missing: str) -> None:
    report = found(f'(module {imported} (memory (export "memory") 1))')
    assert missing in only_missing(report)
    assert report.problems == []


@pytest.mark.parametrize(
    ("memory", "problem"),
    [
        ("", "exports no memory called 'memory'"),
        ("(memory 1)", "exports no memory called 'memory'"),
        ('(memory (export "mem") 1)', "exports no memory called 'memory'"),
        ('(global (export "memory") i32 (i32.const 0))', "is a global, and no memory"),
        ('(memory (export "memory") i64 1)', "64-bit memory"),
        ('(memory (export "memory") 1) (memory 1)', "2 memories"),
    ],
)
def test_a_memory_that_the_calls_cannot_use_is_a_problem(memory: str, problem: str) -> None:
    report = found(f"(module {LOAD_BY_NAME} {memory})")
    assert not report.runs
    assert [text for text in report.problems if problem in text], report.problems


def test_a_shared_memory_is_a_problem() -> None:
    report = found(f'(module {LOAD_BY_NAME} (memory (export "memory") 1 2 shared))')
    assert not report.runs
    assert "shared" in " ".join(report.problems)


def test_several_things_that_are_missing_are_all_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wat = f"(module {nn('one', '', 'env')} {nn('two', '')} {nn('compute', '')} {MEMORY})"
    code, report = check(capsys, tmp_path, wat)
    assert code == 1
    assert [each["provided"] for each in report["needs"]] == [False, False, False]
    assert main(["check", str(tmp_path / "guest.wasm")]) == 1
    text = capsys.readouterr().out
    assert text.count("NOT PROVIDED") == 3
    assert "this host cannot run it: 3 of its imports not provided" in text


SNAPSHOT = "0.2.0-rc-2024-10-28"


def component(interface: str, functions: str) -> str:
    return f'(component (import "{interface}" (instance {functions})))'


@pytest.mark.parametrize(
    ("interface", "missing"),
    [
        ("wasi:nn/graph@0.2.0-rc-2099-01-01", f"it has wasi:nn/graph@{SNAPSHOT}"),
        ("wasi:nn/grap@0.2.0", "the nearest is wasi:nn/graph"),
        ("wasi:http/types@0.2.0", "WASI HTTP is not provided"),
        ("wasi:cli/stdout@0.3.0", "it has wasi:cli/stdout@0.2.0 and later 0.2"),
    ],
)
def test_an_interface_that_is_not_there_is_named_with_the_nearest(interface: str, missing: str) -> None:
    assert missing in only_missing(found(component(interface, '(export "f" (func))')))


def test_a_function_of_another_type_is_named() -> None:
    text = component(f"wasi:nn/graph@{SNAPSHOT}", '(export "load-by-name" (func (param "name" u32)))')
    assert "load-by-name: declared with (u32)" in only_missing(found(text))


@pytest.mark.parametrize("interface", [f"wasi:nn/graph@{SNAPSHOT}", "wasi:cli/stdout@0.2.0"])
def test_a_function_that_an_interface_lacks_is_a_problem(interface: str) -> None:
    report = found(component(interface, '(export "nothing-like-it" (func))'))
    assert not report.runs
    assert "nothing-like-it" in " ".join(report.problems)


def test_an_interface_of_types_alone_needs_nobody() -> None:
    report = found(
        component("my:own/types@1.0.0", '(type (record (field "n" u32))) (export "size" (type (eq 0)))')
    )
    assert report.runs, (report.needs, report.problems)


# -- graphs, limits and permissions --------------------------------------------------------------------------


def test_graphs_that_are_given_are_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wat = f"(module {LOAD_BY_NAME} {MEMORY})"
    code, report = check(capsys, tmp_path, wat, "--graph", "default=onnx:@identity")
    assert (code, report["problems"]) == (0, [])
    assert "'default'" in report["notes"][0]
    code, report = check(capsys, tmp_path, wat, "--graph", f"default=onnx:{tmp_path / 'guest.wasm'}")
    assert code == 1
    assert report["problems"][0].startswith("graph 'default': ")


def test_a_guest_that_has_the_name_in_its_data_gets_no_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wat = f'(module {LOAD_BY_NAME} (memory (export "memory") 1) (data (i32.const 0) "digits"))'
    assert check(capsys, tmp_path, wat, "--graph", "digits=onnx:@identity")[1]["notes"] == []


def test_a_guest_that_loads_by_name_is_told_that_no_graph_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = check(capsys, tmp_path, f"(module {LOAD_BY_NAME} {MEMORY})")
    assert report["notes"] == ["it loads graphs by name: give some with --graph NAME=MODEL"]


def test_the_operators_limits_and_permissions_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "wasinn.toml"
    config.write_text('[limits]\nmax_memory = "64K"\n[permissions]\nload = false\n')
    wat = f"(module {nn('load', '(param i32 i32 i32 i32 i32) (result i32)')} {MEMORY})"
    code, report = check(capsys, tmp_path, wat, "--config", str(config))
    assert code == 1
    assert "max_memory is 64.0 KiB" in report["problems"][0]
    assert "load = false forbids that" in report["problems"][1]


# -- files that are no guests --------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "no-such.wasm"]) == 2
    assert "cannot read the guest 'no-such.wasm'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "first bytes are empty"),
        (b"hello, world", "first bytes are 68 65"),
        (b"\0asm\1\0\0\0\xff\1", "not a valid wasm module"),
        (b"\0asm\x0d\0\1\0\xff\1", "does not compile"),
        (b"\0asm\2\0\0\0", "version 2"),
        (b"(module (func $)", "not valid text"),
    ],
)
def test_what_is_no_guest_is_refused_with_the_reason(
    content: bytes, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "guest.wasm"
    path.write_bytes(content)
    assert main(["check", str(path)]) == 1
    text = capsys.readouterr().out
    assert problem in text
    assert "this host cannot run it" in text


@pytest.mark.parametrize("guest", ["identity.wasm", "typed.wasm"])
def test_a_damaged_guest_is_told_and_never_an_exception(
    guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WASINN_CACHE_DIR", str(tmp_path / "cache"))
    whole, chance = (GUESTS / guest).read_bytes(), random.Random(7)
    path = tmp_path / "guest.wasm"
    for turn in range(60):
        damaged = bytearray(whole)
        if turn % 3 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            # Most of what can be wrong is in the first kilobytes: types and imports.
            for _ in range(1 + turn % 4):
                damaged[chance.randrange(8, 3000)] = chance.randrange(256)
        path.write_bytes(damaged)
        assert main(["check", str(path)]) in (0, 1)
        assert main(["check", str(path), "--json"]) in (0, 1)
    capsys.readouterr()


def test_names_of_a_guest_do_not_reach_the_terminal_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "guest.wasm"
    path.write_bytes(bytes(wasmtime.wat2wasm(r'(module (import "a\1b[2Jb" "c\nd" (func)))')))
    assert main(["check", str(path)]) == 1
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "c\nd" not in text


# -- held against what the host does ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "wat",
    [
        f"(module {LOAD_BY_NAME} {MEMORY})",
        f"(module {nn('compute', '(param i32) (result i64)')} {MEMORY})",
        f"(module {nn('proc_exit', '(param i32)', 'wasi_snapshot_preview1')} {MEMORY})",
        f"(module {nn('proc_exit', '(param i32) (result i32)', 'wasi_snapshot_preview1')} {MEMORY})",
        f"(module {nn('x', '')} {MEMORY})",
        "(module (memory i64 1))",
        component("wasi:cli/stdout@0.2.0", ""),
        component("wasi:cli/stdout@0.2.0", '(export "x" (func))'),
        component(f"wasi:nn/graph@{SNAPSHOT}", ""),
        component("my:own/thing", '(export "x" (func))'),
    ],
)
def test_what_it_says_is_what_the_host_does(wat: str) -> None:
    try:
        wasinn.Host(cache=False).instantiate(wat.encode()).close()
    except wasinn.GuestError:
        assert not found(wat).runs
    else:
        assert found(wat).runs
