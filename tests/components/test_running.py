# SPDX-License-Identifier: Apache-2.0
"""Running components: results, the world they see, limits, what is refused, the compile cache, closing."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import models
import toolbox
import wasinn
from wasinn import GuestError, GuestTrap
from wasinn.runtime.component_guest import ComponentGuest
from wasinn.runtime.component_instance import ComponentInstance
from wasinn.runtime.component_wasi import entered
from wasinn.runtime.limits import controls


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    return wasinn.Host(graphs={"m": wasinn.GraphSource.from_bytes(models.identity())}, cache=False)


@pytest.fixture(scope="module")
def command(host: wasinn.Host) -> Any:
    return host.guest(toolbox.COMMAND)


@pytest.fixture(scope="module")
def nn(host: wasinn.Host) -> Any:
    return host.guest(toolbox.NN)


# -- results ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "code"), [("ok", 0), ("code", 42), ("x, exit as failed", 1), ("fail", 1)])
def test_the_exit_code_is_the_guest_s(host: wasinn.Host, command: Any, what: str, code: int) -> None:
    result = host.run(command, [what])
    assert (result.exit_code, result.ok, result.trap, result.limit) == (code, code == 0, None, None)
    assert result.value is None


def test_a_trap_is_a_result_with_its_backtrace(host: wasinn.Host, command: Any) -> None:
    result = host.run(command, ["trap"])
    assert result.exit_code is None
    assert result.trap is not None
    assert result.trap.kind == "unreachable"
    assert result.trap.backtrace
    assert result.limit is None


# -- what it sees --------------------------------------------------------------------------------------


def test_arguments_come_after_the_guest_s_name(host: wasinn.Host, command: Any) -> None:
    arguments = ["args", "two words", "", "--flag=ä", "*"]
    lines = host.run(command, arguments).stdout.decode().split("\n")
    assert lines == ["guest", *arguments, ""]


def test_the_environment_is_what_was_given(
    host: wasinn.Host, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert host.run(command, ["env"], env={"GIVEN": "a=b c"}).stdout == b"GIVEN\na=b c\n"


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_stdin_is_what_was_given(host: wasinn.Host, command: Any, size: int) -> None:
    data = os.urandom(size)
    assert host.run(command, ["input"], stdin=data).stdout == data


def test_output_can_be_discarded(host: wasinn.Host, command: Any) -> None:
    result = host.run(command, ["args"], stdout="discard")
    assert (result.exit_code, result.stdout) == (0, b"")


def test_directories_are_read_only_unless_asked_otherwise(
    host: wasinn.Host, command: Any, tmp_path: Path
) -> None:
    assert host.run(command, ["mkdir", "made"]).exit_code == 1
    assert host.run(command, ["mkdir", "made"], dirs={"/d": tmp_path}).exit_code == 1
    assert not (tmp_path / "made").exists()
    assert host.run(command, ["mkdir", "made"], dirs=[f"{tmp_path}::/d:rw"]).exit_code == 0
    assert (tmp_path / "made").is_dir()
    assert host.run(command, ["mkdir", "../out"], dirs=[f"{tmp_path}::/d:rw"]).exit_code == 1


# -- limits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", [["loop"], ["print"], ["sleep"], ["sleep", "9"], ["until", "9"]], ids=" ".join
)
def test_a_deadline_ends_running_and_sleeping(host: wasinn.Host, command: Any, what: list[str]) -> None:
    result = host.run(command, what, deadline=0.2, stdout="discard")
    assert result.limit == "deadline"
    assert result.exit_code is None
    assert result.trap is not None
    assert result.trap.kind == "deadline"
    assert result.total_seconds < 0.8  # the sleeps are of 0.9 s and of 580 years


@pytest.mark.parametrize("what", ["sleep", "until"])
def test_a_sleep_before_the_deadline_is_whole(host: wasinn.Host, command: Any, what: str) -> None:
    result = host.run(command, [what, "2"], deadline=60)
    assert (result.exit_code, result.limit) == (0, None)
    assert result.total_seconds >= 0.2
    assert host.run(command, [what, "1"]).total_seconds >= 0.1


def test_output_is_bounded(host: wasinn.Host, command: Any) -> None:
    result = host.run(command, ["print"], max_output=100_000)
    assert (result.limit, len(result.stdout)) == ("output", 100_000)


def test_memory_is_bounded(host: wasinn.Host, command: Any) -> None:
    result = host.run(command, ["grow"], max_memory=10 << 20)
    assert result.trap is not None
    assert "limit is 10485760 bytes" in result.trap.message
    result = host.run(command, ["args"], max_memory=65536)
    assert result.limit == "memory"


def test_recursion_and_fuel_are_bounded(host: wasinn.Host, command: Any) -> None:
    assert host.run(command, ["recurse"]).limit == "stack"
    result = host.run(toolbox.COMMAND, ["loop"], fuel=100_000)
    assert result.limit == "fuel"


def test_wherever_the_fuel_ends_the_run_ends_cleanly(host: wasinn.Host) -> None:
    guest = host.guest(toolbox.COMMAND, fuel=True)
    ends = set()
    for fuel in range(1, 600, 5):  # also inside the host's clock, which runs in the guest's store
        result = host.run(guest, ["sleep", "0"], fuel=fuel)
        ends.add((result.exit_code, result.limit))
    assert ends <= {(0, None), (None, "fuel")}
    assert len(ends) == 2


def test_an_instance_can_be_closed_while_it_runs(host: wasinn.Host, command: Any) -> None:
    instance = host.instantiate(host.guest(toolbox.COMMAND), ["guest", "loop"])
    errors: list[BaseException] = []

    def call() -> None:
        try:
            instance.call("run")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    while not entered:
        time.sleep(0.001)
    instance.close()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(errors[0], GuestTrap)
    with pytest.raises(GuestError, match="is closed"):
        instance.call("run")


# -- what is refused -----------------------------------------------------------------------------------


def test_components_are_told_by_their_content(host: wasinn.Host, tmp_path: Path) -> None:
    path = tmp_path / "guest.txt"
    path.write_bytes(toolbox.COMMAND)
    assert isinstance(host.guest(path), ComponentGuest)
    assert not isinstance(host.guest("@identity"), ComponentGuest)


@pytest.mark.parametrize(
    ("wasm", "words"),
    [
        (b"\0asm\x0c\0\1\0", "draft"),
        (b"\0asm\x0d\0\2\0", "layer 2"),
        (b"\0asm\x0d\0\1\0\x07", "does not compile"),
        (b"\0asm\x0d\0\1\0" + bytes(100), "does not compile"),
        (b"(component (nonsense))", "not valid text"),
    ],
)
def test_what_is_no_component_is_refused(host: wasinn.Host, wasm: bytes, words: str) -> None:
    with pytest.raises(GuestError, match=words):
        host.guest(wasm)


def test_async_functions_are_refused(host: wasinn.Host) -> None:
    text = b"""(component
      (core module $m (func (export "f") (result i32) (i32.const 0))
        (func (export "next") (param i32 i32 i32) (result i32) (i32.const 0)))
      (core instance $i (instantiate $m))
      (func (export "f") async
        (canon lift (core func $i "f") async (callback (core func $i "next")))))"""
    with pytest.raises(GuestError, match=r"does not compile.*async"):
        host.guest(text)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wasi:nn/tensor@0.2.0", "it has wasi:nn/tensor@0.2.0-rc-2024-10-28"),
        ("wasi:cli/stdout@0.3.0", "it has wasi:cli/stdout@0.2.0 and later"),
        ("wasi:http/types@0.2.0", "HTTP is not provided"),
        ("wasi:filesystem/typos@0.2.0", "the nearest is wasi:filesystem/types"),
        ("my:own/thing", "it provides"),
    ],
)
def test_imports_that_nothing_provides_are_named_with_the_nearest(
    host: wasinn.Host, name: str, words: str
) -> None:
    text = f'(component (import "{name}" (instance (export "f" (func)))))'
    with pytest.raises(GuestError) as caught:
        host.guest(text.encode())
    assert name in str(caught.value)
    assert words in str(caught.value)


def test_a_function_that_an_interface_lacks_is_named(host: wasinn.Host) -> None:
    text = '(component (import "wasi:cli/exit@0.2.0" (instance (export "vanish" (func)))))'
    with pytest.raises(GuestError, match=r"wasi:cli/exit.*vanish"):
        host.run(text.encode())


def test_every_0_2_version_of_an_import_is_served(host: wasinn.Host) -> None:
    for version in ("0.2.0", "0.2.3", "0.2.12", "0.2.40"):
        text = toolbox.COMMAND.replace(b"@0.2.0", f"@{version}".encode())
        result = host.run(text, ["sleep", "9"], deadline=0.1)
        assert result.limit == "deadline", version
        assert host.run(text, ["code"]).exit_code == 42, version


def test_a_component_without_a_command_says_what_it_has(
    host: wasinn.Host, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "wasinn"):
        result = host.run(toolbox.echo("u8"))
    assert result.exit_code == 0
    assert "echo, test:numbers/arithmetic@1.2.0#trap" in caplog.text


# -- the compile cache ---------------------------------------------------------------------------------


def test_a_component_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = toolbox.echo("u8")
    assert wasinn.Host(cache=tmp_path).run(guest, invoke="echo", invoke_args=[7]).value == 7
    (file,) = tmp_path.glob("*.cwasm")

    def no_compiler(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr("wasinn.runtime.component_guest.rewrite", no_compiler)
    assert wasinn.Host(cache=tmp_path).run(guest, invoke="echo", invoke_args=[8]).value == 8
    assert list(tmp_path.glob("*.cwasm")) == [file]


def test_another_rewriter_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = toolbox.echo("u8")
    wasinn.Host(cache=tmp_path).guest(guest)
    monkeypatch.setattr("wasinn.runtime.component_guest._rewriter_version", lambda: "another")
    wasinn.Host(cache=tmp_path).guest(guest)
    assert len(list(tmp_path.glob("*.cwasm"))) == 2


def test_a_spoilt_file_in_the_cache_is_compiled_anew(tmp_path: Path) -> None:
    guest = toolbox.echo("u8")
    wasinn.Host(cache=tmp_path).guest(guest)
    (file,) = tmp_path.glob("*.cwasm")
    file.write_bytes(b"spoilt")
    assert wasinn.Host(cache=tmp_path).run(guest, invoke="echo", invoke_args=[9]).value == 9


# -- closing -------------------------------------------------------------------------------------------


def _tables(instance: ComponentInstance) -> list[int]:
    state = instance.state
    return [len(table) for table in (state.tensors, state.graphs, state.contexts, state.errors)]


@pytest.mark.parametrize("what", ["hold", "fail"])
def test_nothing_is_left_of_what_an_instance_held(host: wasinn.Host, nn: Any, what: str) -> None:
    instance = host.instantiate(nn)
    assert isinstance(instance, ComponentInstance)
    if what == "hold":
        instance.call("hold")
    else:
        with pytest.raises(GuestTrap) as caught:
            instance.call("fail")
        assert caught.value.trap.kind == "division_by_zero"
        with pytest.raises(GuestError, match="make another"):
            instance.call("hold")
    assert _tables(instance) == [1, 1, 1, 0]
    assert instance.stats.calls["load_by_name"] == 1
    instance.close()
    instance.close()
    assert _tables(instance) == [0, 0, 0, 0]
    with host.instantiate(nn) as another:
        another.call("hold")


def test_many_runs_in_two_threads_leave_nothing(host: wasinn.Host, command: Any, nn: Any) -> None:
    results: list[Any] = []

    def work(number: int) -> None:
        for turn in range(40):
            word = f"{number}-{turn}"
            results.append(host.run(command, ["args", word]).stdout == f"guest\nargs\n{word}\n".encode())
            results.append(host.run(command, ["code"]).exit_code == 42)
            results.append(host.run(nn, invoke="hold").exit_code == 0)
            results.append(host.run(nn, invoke="fail").trap is not None)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 320
    assert all(results)
    assert not entered
    gc.collect()
    assert not controls
    assert not [each for each in gc.get_objects() if isinstance(each, ComponentInstance) and each._store]


def test_a_closed_instance_goes_without_the_collector(host: wasinn.Host, nn: Any) -> None:
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(each, ComponentInstance) for each in gc.get_objects())
        for _ in range(5):
            with host.instantiate(nn) as instance:
                instance.call("hold")
        del instance
        assert sum(isinstance(each, ComponentInstance) for each in gc.get_objects()) == before
    finally:
        gc.enable()
