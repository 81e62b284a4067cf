# SPDX-License-Identifier: Apache-2.0
"""Bulk data through all that a run has: `Host`, the adapter, the runtime, the host's tables.

The guest is text, so that these need no compiler (`test_c_guests` does more with one). Its allocator
refuses to shrink.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import wasinn
import wat_guest
from wasinn import ComponentInstance, GuestTrap
from wasinn.abi.component.rewrite import NotRewritable

MIB = 1 << 20


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    return wasinn.Host(cache=False)


@pytest.fixture(scope="module")
def guest(host: wasinn.Host) -> Any:
    return host.guest(wat_guest.guest())


def tables(instance: ComponentInstance) -> list[int]:
    state = instance.state
    held = [len(table) for table in (state.tensors, state.graphs, state.contexts, state.errors)]
    return [*held, state.tensor_buffers.held, state.graph_buffers.held]


def round_trip(instance: ComponentInstance, size: int, seed: int) -> None:
    """A tensor of `size` bytes: the host has what the guest gave, the guest gets what the host has."""
    instance.call("fill", size, seed)
    tensor = instance.call("new", 0, size)
    (held,) = instance.state.tensors.values()
    assert held.data.tobytes() == wat_guest.pattern(size, seed)
    assert instance.call("data", tensor, 0) == size  # the guest compares
    instance.call("drop", tensor)
    assert tables(instance) == [0] * 6


@pytest.mark.parametrize(
    "size", [0, 1, 7, 113, 602_112, 2_790_001, 2_900_001, 4 * MIB, 32 * MIB + 1, 130 * MIB + 3]
)
def test_tensors_of_any_size(host: wasinn.Host, guest: Any, size: int) -> None:
    with host.instantiate(guest) as instance:
        round_trip(instance, size, size)


@pytest.mark.parametrize("start", [1, 2, 3, 15])
def test_a_list_may_start_anywhere(host: wasinn.Host, guest: Any, start: int) -> None:
    with host.instantiate(guest) as instance:
        instance.call("fill", 5000, start)
        tensor = instance.call("new", start, 4001)
        (held,) = instance.state.tensors.values()
        assert held.data.tobytes() == wat_guest.pattern(5000, start)[start : start + 4001]
        assert instance.call("data", tensor, start) == 4001


@pytest.mark.parametrize("size", [0, 5, 2_900_001, 130 * MIB + 1])
def test_models_of_any_size_that_are_none(host: wasinn.Host, guest: Any, size: int) -> None:
    """An error, and no trap: all of it came to the host."""
    with host.instantiate(guest) as instance:
        instance.call("fill", size, 1)
        for _ in range(2):
            assert instance.call("load", size // 3, size, 2) & 1 == 1
        assert tables(instance) == [0, 0, 0, 2, 0, 0]  # the guest drops no errors
    assert tables(instance) == [0] * 6


def test_a_trap_in_the_middle(host: wasinn.Host, guest: Any) -> None:
    """The guest's memory may not grow for what the host returns; nothing is left, and others go on."""
    limits = wasinn.Limits(max_memory=24 * MIB)
    other = host.instantiate(guest)
    with host.instantiate(guest, limits=limits) as instance:
        instance.call("fill", 13 * MIB, 1)
        tensor = instance.call("new", 0, 13 * MIB)
        with pytest.raises(GuestTrap, match="25165824"):
            instance.call("data", tensor, 0)
        with pytest.raises(wasinn.GuestError, match="make another"):
            instance.call("drop", tensor)
    assert tables(instance) == [0] * 6
    round_trip(other, 100_000, 2)
    other.close()


def test_a_handle_after_its_drop_is_explained(host: wasinn.Host, guest: Any) -> None:
    with host.instantiate(guest) as instance:
        tensor = instance.call("new", 0, 10)
        instance.call("drop", tensor)
        with pytest.raises(GuestTrap, match="used after it was dropped"):
            instance.call("data", tensor, 0)


def test_without_the_adapter_the_limit_is_explained(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: bytes) -> bytes:
        raise NotRewritable("not today")

    monkeypatch.setattr("wasinn.runtime.component_guest.rewrite", refuse)
    host = wasinn.Host(cache=False)
    with caplog.at_level(logging.INFO, "wasinn"):
        guest = host.guest(wat_guest.guest())
        with host.instantiate(guest) as instance:
            round_trip(instance, 100_001, 3)
            instance.call("fill", 2_900_000, 1)
            with pytest.raises(GuestTrap, match="load-by-name") as ended:
                instance.call("new", 0, 2_900_000)
        assert ended.value.trap.kind == "too_much_data"
        assert tables(instance) == [0] * 6
        host.guest(b"(component)")
    (warning, information) = [each for each in caplog.records if "not today" in each.getMessage()]
    assert warning.levelno == logging.WARNING
    assert "2.79 MB" in warning.getMessage()
    assert information.levelno == logging.INFO  # it moves no bulk data


# -- many -------------------------------------------------------------------------------------------------


def in_two_threads(host: wasinn.Host, guest: Any, runs: int) -> None:
    problems: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, runs, 2):
                with host.instantiate(guest) as instance:
                    assert isinstance(instance, ComponentInstance)
                    round_trip(instance, 3 * MIB + number, number)
                    round_trip(instance, number, number)
                    assert instance.call("load", number, 2 * number, 2) & 1 == 1
                    held = instance.call("new", 0, number)
                    if number % 3 == 0:
                        with pytest.raises(GuestTrap):
                            instance.call("data", held + 1000, 0)
                assert tables(instance) == [0] * 6
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")


@needs_proc
def test_runs_in_two_threads(host: wasinn.Host, guest: Any) -> None:
    in_two_threads(host, guest, 16)
    grown = []
    while len(grown) < 3 and min(grown, default=24 * MIB) >= 24 * MIB:  # what leaks grows every time
        gc.collect()
        before = resident()
        in_two_threads(host, guest, 24)
        gc.collect()
        grown.append(resident() - before)
    assert min(grown) < 24 * MIB


@needs_proc
@pytest.mark.soak
def test_two_hundred_runs_in_two_threads(host: wasinn.Host, guest: Any) -> None:
    in_two_threads(host, guest, 40)
    gc.collect()
    before = resident()
    in_two_threads(host, guest, 200)
    gc.collect()
    assert resident() - before < 24 * MIB


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (("new", 0xFFF0_0000, 1 << 19), "a list does not lie in the guest's memory"),
        (("load", 1 << 31, 1 << 31, 2), "a list does not lie in the guest's memory"),
    ],
)
def test_a_list_outside_the_guests_memory_is_named(
    guest: Any, host: wasinn.Host, call: Any, why: str
) -> None:
    with host.instantiate(guest) as instance, pytest.raises(GuestTrap, match=why):
        instance.call(*call)


def test_the_limit_on_memory_holds_for_the_adapter(host: wasinn.Host, guest: Any) -> None:
    limited = wasinn.Host(cache=False, limits=wasinn.Limits(max_memory=MIB))
    with limited.instantiate(limited.guest(wat_guest.guest())) as instance:
        round_trip(instance, 300_000, 1)
        instance.call("fill", MIB - (2 << 16), 5)
        with pytest.raises(GuestTrap, match="no room for wasinn's copy of a list"):
            instance.call("new", 0, MIB - (2 << 16))
