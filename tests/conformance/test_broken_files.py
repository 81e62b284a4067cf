# SPDX-License-Identifier: Apache-2.0
"""A broken file is refused with a reason when it is loaded, and takes nothing else with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from calls import reason
from conformance.broken import Answer, Broken, Worker, answer, complaints, flipped, noise, truncated
from conformance.cases import DIGITS, IN_PROCESS, Case, may_crash, on
from conformance.guests import Guest
from conftest import MakeDriver
from wasinn import shipped


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def ask(case: Case, worker: Worker, files: Iterable[Broken]) -> list[tuple[Broken, Answer]]:
    """The answer to each file. One on which a parser died or hung is asked again of an isolated graph."""
    found = []
    for broken in files:
        if not may_crash(case):
            found.append((broken, answer(case, broken.content, {})))
            continue
        said = worker.answer(case, broken.content)
        if said.what in ("died", "hung"):
            said = answer(case, broken.content, {"isolation": "process", "load_timeout": 20})
        found.append((broken, said))
    return found


# One test of all, for a worker takes long to start where the runtime takes long to import.
@on("add", cases=IN_PROCESS)
def test_every_broken_file_is_answered(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, worker: Worker
) -> None:
    """A truncated file never loads and then fails, what is no model is refused, and with some bits changed
    a file is refused or computes something. A guest that loads one after the other goes on."""
    good = case.builders("add")
    cut = list(truncated(good))
    for names in DIGITS[case.encoding]:  # those have weights
        paths = [shipped.resolve(name, "models") for name in names]
        if all(path.is_file() for path in paths):
            cut += truncated(tuple(path.read_bytes() for path in paths))
    assert len(cut) >= 24
    answers = [ask(case, worker, files) for files in (cut, noise(good), flipped(good, 18))]
    assert [complaints(each) for each in answers] == [[], [], []]
    assert sum(said.what == "refused" for _, said in answers[0]) >= len(cut) // 2
    assert {said.what for _, said in answers[1]} == {"refused"}

    refused = [broken for broken, said in (*answers[0], *answers[1]) if said.what == "refused"][::5]
    sources = {f"{number}": case.source_of(*each.content) for number, each in enumerate(refused)}
    driver = drive({**sources, "model": case.source("add")})
    guest = Guest(driver, case, "add")
    caplog.clear()
    for number, name in enumerate(sources):
        assert driver.load_by_name(name)[0] != 0
        assert reason(caplog)
        guest.infer(number)
