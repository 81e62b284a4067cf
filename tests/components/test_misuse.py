# SPDX-License-Identifier: Apache-2.0
"""What an author does wrong from Python with components, and with instances of any kind, and what is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import toolbox
import wasinn
from wasinn import GuestError, GuestTrap

SPIN = b'(module (func (export "spin") (loop (br 0))) (func (export "one") (result i32) (i32.const 1)))'
SPINNING_COMPONENT = b"""(component
  (core module $m (func (export "spin") (loop (br 0))) (func (export "one") (result i32) (i32.const 1)))
  (core instance $i (instantiate $m))
  (func (export "spin") (canon lift (core func $i "spin")))
  (func (export "one") (result u32) (canon lift (core func $i "one"))))"""


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    return wasinn.Host(cache=False)


# -- one instance in several threads -----------------------------------------------------------------


@pytest.mark.parametrize("guest", [SPIN, SPINNING_COMPONENT], ids=["core", "component"])
def test_a_second_thread_is_refused_while_the_first_is_inside(host: wasinn.Host, guest: bytes) -> None:
    with host.instantiate(guest, limits=wasinn.Limits(deadline=20)) as instance:
        ended: list[BaseException] = []

        def spin() -> None:
            try:
                instance.call("spin")
            except GuestTrap as trap:
                ended.append(trap)

        first = threading.Thread(target=spin)
        first.start()
        _wait_for(lambda: instance._inside)
        for call in (lambda: instance.call("one"), lambda: _in_thread(lambda: instance.call("one"))):
            with pytest.raises(GuestError, match=r"running already, .*one call at a time"):
                call()
        assert instance._inside, "the call that runs is left alone"
        instance.control.stop("interrupted")
        first.join()
        (trap,) = ended
        assert isinstance(trap, GuestTrap)
        assert trap.limit == "interrupted"


@pytest.mark.parametrize("guest", [SPIN, SPINNING_COMPONENT], ids=["core", "component"])
def test_threads_may_take_turns(host: wasinn.Host, guest: bytes) -> None:
    with host.instantiate(guest) as instance:
        for _ in range(3):
            assert instance.call("one") == _in_thread(lambda: instance.call("one")) == 1


def test_many_threads_at_once_are_served_or_refused(host: wasinn.Host) -> None:
    """Never both inside: that ends the process."""
    served, refused = [], []
    with host.instantiate(SPINNING_COMPONENT) as instance:

        def work() -> None:
            for _ in range(200):
                try:
                    served.append(instance.call("one"))
                except GuestError:
                    refused.append(1)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(served) + len(refused) == 800
        assert set(served) == {1}
        assert instance.call("one") == 1


# -- forked processes ----------------------------------------------------------------------------------

_FORK = """
import faulthandler, os, sys, wasinn
WASI = b'''(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 8) "hello")
  (data (i32.const 100) "\\\\08\\\\00\\\\00\\\\00\\\\05\\\\00\\\\00\\\\00")
  (func (export "f") (drop (call $write (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 200)))))'''
PLAIN = b'(module (func (export "f")))'
OTHER = b'(module (func (export "f") (nop)))'
COMPONENT = {component!r}
host = wasinn.Host(cache={cache!r})
def run(text):
    with host.instantiate(text) as guest:
        guest.call("f" if text is not COMPONENT else "one")
for name in {before!r}:
    guest = host.guest(globals()[name])
    run(globals()[name])
child = os.fork()
if not child:
    faulthandler.dump_traceback_later(20, exit=True)
    try:
        run({child})
        print("ran", flush=True)
    except wasinn.GuestError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
for name in {before!r}:
    run(globals()[name])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize(
    ("before", "child", "said"),
    [
        (["PLAIN"], "OTHER", "had compiled a guest, and cannot compile another"),
        (["PLAIN"], "COMPONENT", "had compiled a guest, and cannot compile another"),
        (["WASI"], "WASI", "had run a guest with WASI's streams or files, and cannot run another"),
        (["WASI"], "PLAIN", "had compiled a guest"),
        ([], "OTHER", "ran"),
        ([], "WASI", "ran"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_a_forked_process_does_not_wait_for_threads_that_it_lacks(
    before: list[str], child: str, said: str, tmp_path: Path
) -> None:
    # In the cache: for what runs again with streams only these are missing.
    cache: str | bool = str(tmp_path) if child == "WASI" else False
    text = _FORK.format(component=SPINNING_COMPONENT, cache=cache, before=before, child=child)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_runs_what_was_compiled_before(tmp_path: Path) -> None:
    text = _FORK.format(
        component=SPINNING_COMPONENT, cache=str(tmp_path), before=["PLAIN", "COMPONENT"], child="COMPONENT"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr


# -- Ctrl-C ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.parametrize("call", ["instance.call(guest.command)", 'host.run(guest, ["until", "9"])'])
def test_an_interrupt_ends_a_sleep_without_a_deadline_at_once(call: str) -> None:
    code = f"""
import signal, sys, time, wasinn
sys.path.insert(0, sys.argv[1])
import toolbox
signal.signal(signal.SIGINT, signal.default_int_handler)
host = wasinn.Host(cache=False)
guest = host.guest(toolbox.COMMAND)
instance = host.instantiate(guest, ["guest", "until", "9"])
print("ready", flush=True)
try:
    {call}
except KeyboardInterrupt:
    print(time.time(), flush=True)
"""
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        start = time.time()
        process.send_signal(signal.SIGINT)
        assert float(process.stdout.readline()) - start < 0.6
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# -- wrong values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("u8", 256, "256 is beyond u8, which is 0 to 255"),
        ("u8", -1, "-1 is beyond u8"),
        ("u8", 1.0, "1.0 is no u8"),
        ("u8", True, "True is no u8"),
        ("u8", "7", "'7' is no u8"),
        ("u8", None, "None is no u8"),
        ("bool", 1, "1 is no bool"),
        ("char", "ab", "'ab' is no char"),
        ("char", "", "'' is no char"),
    ],
)
def test_a_wrong_argument_is_named(host: wasinn.Host, kind: str, value: Any, said: str) -> None:
    with host.instantiate(toolbox.echo(kind)) as instance:
        with pytest.raises(GuestError, match=r"^echo\(") as caught:
            instance.call("echo", value)
        assert said in str(caught.value)
        assert instance.call("echo", {"bool": True, "char": "c"}.get(kind, 7)) in (True, "c", 7)


def test_too_few_and_too_many_arguments(host: wasinn.Host) -> None:
    with host.instantiate(toolbox.echo("u8")) as instance:
        for arguments in ((), (1, 2)):
            with pytest.raises(GuestError, match=rf"takes 1 arguments, got {len(arguments)}"):
                instance.call("echo", *arguments)


def test_a_memory_and_a_closed_instance(host: wasinn.Host) -> None:
    instance = host.instantiate(toolbox.echo("u8"))
    with pytest.raises(GuestError, match="is a component, whose memories are its own"):
        _ = instance.memory
    instance.close()
    with pytest.raises(GuestError, match="is closed"):
        instance.call("echo", 1)
    instance.close()


# -- types that share parts -----------------------------------------------------------------------------


def _nested(depth: int) -> bytes:
    """A function that takes a list of tuples of two tuples of two ..., which are 2 ** depth numbers."""
    types = "".join(f"(type $t{at + 1} (tuple $t{at} $t{at}))" for at in range(depth))
    return (
        f"""(component (type $t0 (tuple u8 u8)) {types}
      (core module $m (memory (export "memory") 1) (func (export "take") (param i32 i32))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
      (core instance $i (instantiate $m))
      (func (export "take") (param "a" (list $t{depth})) (param "b" (list $t{depth - 1}))
        (canon lift (core func $i "take4") (memory (core memory $i "memory"))
          (realloc (core func $i "realloc")))))""".replace("take4", "take")
        .replace('(func (export "take") (param i32 i32))', '(func (export "take") (param i32 i32 i32 i32))')
        .encode()
    )


def test_types_that_share_parts_are_read_once_and_shown_in_part(host: wasinn.Host) -> None:
    start = time.perf_counter()
    guest: Any = host.guest(_nested(16))
    signature = guest.functions["take"]
    assert str(signature).startswith("(a: list<tuple<tuple<")
    assert len(str(signature)) < 1100
    first, second = (kind for _, kind in signature.parameters)
    assert first.element.element is second.element
    instance: Any = host.instantiate(guest)
    with instance:
        instance.call("take", [], [])
        with pytest.raises(GuestError, match=r"the argument a: \[0\]: 1 is no tuple<") as caught:
            instance.call("take", [1], [])
        assert len(str(caught.value)) < 4000
    assert time.perf_counter() - start < 4


# -- WAVE ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("text", ["1e999", "-1e999", "1" + "0" * 400])
def test_a_number_without_end_is_spelled_so(host: wasinn.Host, kind: str, text: str) -> None:
    guest = host.guest(toolbox.echo(kind, core=kind))
    with pytest.raises(GuestError, match=rf"beyond {kind}; what has no end is spelled inf"):
        host.run(guest, invoke="echo", invoke_args=[text])
    assert host.run(guest, invoke="echo", invoke_args=["-inf"]).value == float("-inf")


# -- helpers -------------------------------------------------------------------------------------------


def _in_thread(work: Callable[[], Any]) -> Any:
    """What `work` returns or raises in another thread."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append((work(), None))
        except BaseException as error:
            found.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    value, error = found[0]
    if error is not None:
        raise error
    return value


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
