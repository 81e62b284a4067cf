# SPDX-License-Identifier: Apache-2.0
"""What makes components of core modules, and the interfaces in WIT."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import wasmtime

import wasinn
from wasinn import shipped
from wasinn.abi.component.snapshots import INTROSPECTION, SNAPSHOTS, TENSOR_TYPES

ROOT = Path(__file__).parents[2]
WIT = shipped.ROOT / "wit"
MEMORY = """(memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))"""
ADD = '(func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))'
ADDS = {"add": '(param "a" u32) (param "b" u32) (result u32)'}


@pytest.fixture(scope="module")
def componentize() -> ModuleType:
    sys.path.insert(0, str(ROOT / "guests"))
    try:
        import componentize
    finally:
        sys.path.remove(str(ROOT / "guests"))
    return componentize


def core(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {text})"))


def test_a_module_without_imports(componentize: ModuleType) -> None:
    component = componentize.componentize(core(MEMORY + ADD), ADDS)
    with wasinn.Host().instantiate(component) as instance:
        assert instance.call("add", 2, 3) == 5
    # The module is in it as it was, and no debug names are.
    assert core(MEMORY + ADD) in component
    assert b"lifted" not in component


def test_imports_are_called_and_the_module_is_started(componentize: ModuleType) -> None:
    text = f"""(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
        {MEMORY} (global $start (mut i64) (i64.const 0))
        (func (export "_initialize") (global.set $start (call $now)))
        (func (export "since") (result i64) (i64.sub (call $now) (global.get $start)))"""
    component = componentize.componentize(core(text), {"since": "(result u64)"})
    with wasinn.Host().instantiate(component) as instance:
        assert 0 < instance.call("since") < 60e9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ADD, "does not export memory"),
        (MEMORY, "does not export add"),
        (
            '(import "wasi_snapshot_preview1" "fd_write" (func))' + MEMORY + ADD,
            "no wasi_snapshot_preview1 fd_write",
        ),
        ('(import "wasi:clocks/monotonic-clock@0.2.0" "then" (func))' + MEMORY + ADD, "then"),
        ('(import "wasi:cli/exit@0.2.0" "exit-with-code" (global i32))' + MEMORY + ADD, "is not a function"),
    ],
)
def test_what_no_component_can_be_made_of(componentize: ModuleType, text: str, words: str) -> None:
    with pytest.raises(componentize.ComponentError, match=re.escape(words)):
        componentize.componentize(core(text), ADDS)


# -- WIT ------------------------------------------------------------------------------------------------


def test_every_snapshot_that_is_hosted_has_its_wit() -> None:
    packages = {path: re.search(r"^package (.*);$", path.read_text(), re.M) for path in WIT.glob("*.wit")}
    found = {match[1] for match in packages.values() if match}
    introspection, version = INTROSPECTION.replace("/introspection", "").split("@")
    assert found == {f"wasi:nn{snapshot}" for snapshot in SNAPSHOTS} | {f"{introspection}@{version}"}
    for path in WIT.glob("wasi-nn*.wit"):
        cases = re.search(r"enum tensor-type \{([^}]*)\}", path.read_text())
        assert cases is not None
        assert [each.strip() for each in cases[1].split(",")] == list(TENSOR_TYPES)


@pytest.mark.parametrize("path", sorted(WIT.glob("wasi-nn*.wit")), ids=lambda path: path.stem)
def test_bindings_are_made_of_every_wit_file(path: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("componentize_py") is None:
        pytest.skip("componentize-py is not installed")
    script = "import sys, componentize_py; sys.exit(componentize_py.script())"
    command = [sys.executable, "-c", script, "--wit-path", str(path), "--world", "ml", "bindings"]
    done = subprocess.run([*command, str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "wit_world" / "imports" / "inference.py").is_file()
