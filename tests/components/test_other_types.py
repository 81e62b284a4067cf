# SPDX-License-Identifier: Apache-2.0
"""A component may declare any type for what it imports: that is a trap, and never the end of the process.

Each runs in a process of its own, which would die of it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

_NN = "wasi:nn/graph@0.2.0-rc-2024-10-28"
_MEMORY = """(core module $m (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (i32.const 4096)))
  (core instance $l (instantiate $m)) (alias core export $l "memory" (core memory $memory))
  (alias core export $l "realloc" (core func $re))"""


def _guest(interface: str, name: str, type_: str, core: str, call: str, lower: str = "") -> str:
    memory = _MEMORY if lower else ""
    return f"""(component
  (import "{interface}" (instance $i {'(export "graph" (type $g (sub resource)))' if "$g" in type_ else ""}
    (export "{name}" (func {type_}))))
  {memory}
  (core func $f (canon lower (func $i "{name}") {lower}))
  (core module $c (import "h" "f" (func $f {core})) (func (export "go") (result i32) {call} (i32.const 7)))
  (core instance $r (instantiate $c (with "h" (instance (export "f" (func $f))))))
  (func (export "go") (result u32) (canon lift (core func $r "go"))))"""


_LOWER = "(memory $memory) (realloc $re)"
_RESULT = "(result (result (own $g) (error string)))"
GUESTS = {
    "no code to exit with": _guest("wasi:cli/exit@0.2.0", "exit-with-code", "", "", "(call $f)"),
    "a clock that returns nothing": _guest("wasi:clocks/monotonic-clock@0.2.0", "now", "", "", "(call $f)"),
    "a name that is a number": _guest(
        _NN, "load-by-name", f'(param "name" u64) {_RESULT}', "(param i64 i32)",
        "(call $f (i64.const 4096) (i32.const 16))", _LOWER,
    ),
    "a name that is a list": _guest(
        _NN, "load-by-name", f'(param "name" (list u64)) {_RESULT}', "(param i32 i32 i32)",
        "(call $f (i32.const 512) (i32.const 64) (i32.const 16))", _LOWER,
    ),
    "a name and no result": _guest(
        _NN, "load-by-name", '(param "name" string)', "(param i32 i32)",
        "(call $f (i32.const 0) (i32.const 1))", "(memory $memory)",
    ),
    "no arguments": _guest(_NN, "load", "(result u32)", "(result i32)", "(drop (call $f))"),
    "a private call": _guest(_NN, "wasinn-push", "", "", "(call $f)"),
    "an address for a handle": _guest(
        "wasinn:nn/introspection@0.1.0", "graph-metadata",
        '(param "graph" u64) (result (result string (error string)))', "(param i64 i32)",
        "(call $f (i64.const 0x4141414141414141) (i32.const 16))", _LOWER,
    ),
}  # fmt: skip

_PROGRAM = """
import sys, wasinn
host = wasinn.Host(graphs={"m": "onnx:@identity"}, cache=False)
with host.instantiate(sys.stdin.buffer.read()) as guest:
    try:
        print("returned", guest.call("go"))
    except wasinn.GuestTrap as trap:
        print("trap", trap)
"""


@pytest.mark.parametrize("name", GUESTS)
def test_an_import_of_another_type_is_a_trap(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=GUESTS[name].encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert "was imported with another type" in done.stdout.decode()
