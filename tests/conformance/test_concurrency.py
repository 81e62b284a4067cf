# SPDX-License-Identifier: Apache-2.0
"""Threads with contexts of their own on one graph get their own answers, also while others load."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import wasinn
from calls import BOTH
from conformance.cases import IN_PROCESS, Case, on, one_thread
from conformance.guests import Guest, host_of
from driver import Driver

TURNS = 150


def in_threads(*work: Callable[[], object]) -> None:
    """Calls each in a thread of its own; they begin together."""
    barrier = threading.Barrier(len(work))

    def begin(each: Callable[[], object]) -> None:
        barrier.wait()
        each()

    with ThreadPoolExecutor(len(work)) as pool:
        list(pool.map(begin, work))


def loop(host: wasinn.Host, case: Case, recipe: str, number: int, hot: bool, turns: int = TURNS) -> None:
    """A guest of its own that infers again and again, and looks at each answer."""
    driver = Driver(host, hot=hot)
    try:
        guest = Guest(driver, case, recipe)
        for turn in range(turns):
            guest.infer(number * 1000 + turn)
    finally:
        driver.close()


@BOTH
@pytest.mark.parametrize("single", [True, False], ids=["one thread", "default threads"])
@on("add")
def test_guests_on_one_graph_get_their_own_answers(case: Case, single: bool, hot: bool) -> None:
    host = host_of(case, "add", single)
    in_threads(*(lambda number=number: loop(host, case, "add", number, hot) for number in range(4)))


@on("halves")
def test_shapes_that_change_in_one_thread_do_not_change_in_another(case: Case) -> None:
    host = host_of(case, "halves")

    def work(number: int) -> None:
        random = np.random.default_rng(number)
        for _ in range(8):
            driver = Driver(host)
            guest = Guest(driver, case, "halves")
            for _ in range(5):
                values = random.integers(0, 99, random.integers(1, 30, 2)).astype("<f4")
                guest.give_these(values)
                assert guest.compute() == 0
                guest.is_right([values])
            driver.close()

    in_threads(*(lambda number=number: work(number) for number in range(4)))


@on("slow")
def test_long_computes_at_once_give_what_one_gives(case: Case) -> None:
    host = host_of(case, "slow")
    driver = Driver(host)
    alone = Guest(driver, case, "slow")
    wanted = []
    for number in range(3):
        alone.give(number)
        assert alone.compute() == 0
        wanted.append(alone.outputs())
    driver.close()

    def work(number: int) -> None:
        driver = Driver(host)
        guest = Guest(driver, case, "slow")
        for _ in range(10):
            guest.give(number)
            assert guest.compute() == 0
            assert guest.outputs() == wanted[number]
        driver.close()

    in_threads(*(lambda number=number: work(number) for number in range(3)))


@on("add", cases=IN_PROCESS)
def test_graphs_are_loaded_while_others_compute(case: Case) -> None:
    host = host_of(case, "add")
    done = threading.Event()

    def load() -> None:
        try:
            for _ in range(8):
                other = wasinn.Host(graphs={"model": case.source("add", threads=one_thread(case))})
                loop(other, case, "add", 9, False, 3)
                other.close()
        finally:
            done.set()

    def work(number: int) -> None:
        turns = 0
        while not done.is_set() or turns < 20:
            loop(host, case, "add", number, turns % 2 == 1, 10)
            turns += 1

    in_threads(load, lambda: work(1), lambda: work(2))
