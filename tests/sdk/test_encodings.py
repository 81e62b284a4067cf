# SPDX-License-Identifier: Apache-2.0
"""The same guest on one network in every encoding and on every backend: only the graph's name changes.

What a tensor is to be (NCHW or NHWC, f32, u8 or quantized i8) the guest learns from the contract, and what
comes out (f32, u8, i8) as well.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pytest

import wasinn
from conformance.cases import DIGITS as ARTIFACTS
from conftest import require_backend
from sdk.answers import FILES, PICTURES, Answers, assert_same, host_answers, read_batch, read_classified
from sdk.conftest import Run
from wasinn import shipped
from wasinn.backends import lookup
from wasinn.spec import Encoding


@dataclass(frozen=True)
class Case:
    """A model that comes with wasinn, and a backend that loads it."""

    backend: str
    encoding: Encoding
    files: tuple[str, ...]

    def __str__(self) -> str:
        """Also the graph's name."""
        return f"{self.backend}-{self.files[0].removeprefix('@')}"

    @property
    def source(self) -> wasinn.GraphSource:
        contract = shipped.ROOT / "models" / f"{self.files[0].removeprefix('@')}.contract.toml"
        return wasinn.GraphSource.from_files(
            *self.files, encoding=self.encoding.label, backend=self.backend, contract=contract, strict="true"
        )


CASES = [
    Case(backend.name, encoding, files)
    for encoding, artifacts in ARTIFACTS.items()
    for files in artifacts
    for backend in lookup.all_backends()
    if encoding in backend.encodings
]
#: Their first dimension is dynamic.
ANY_BATCH = {"@digits_batch.onnx", "@digits.pt"}
EVERY = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    """All of the graphs; each is loaded when a guest first asks for it."""
    return wasinn.Host(graphs={str(case): case.source for case in CASES})


@functools.cache
def reference(case: Case, top: int) -> tuple[Answers, float]:
    return host_answers(case.source, {f"/p/{file}": PICTURES / file for file in FILES}, top)


def test_every_encoding_is_there() -> None:
    assert {case.encoding for case in CASES} == set(Encoding) - {Encoding.AUTODETECT, Encoding.GGML}


@EVERY
def test_classify_says_what_the_host_says(run: Run, host: wasinn.Host, case: Case) -> None:
    require_backend(case.backend)
    files = [f"/p/{file}" for file in FILES]
    result = run(host, "classify", "--name", str(case), "--top", "10", "--tsv", *files, dirs={"/p": PICTURES})
    assert (result.exit_code, result.stderr) == (0, b"")
    found = read_classified(result.stdout)
    wanted, step = reference(case, 10)
    assert_same(found, wanted, step)
    assert [answers[0].index for answers in found.values()] == list(range(10))


@EVERY
def test_batch_says_what_the_host_says(run: Run, host: wasinn.Host, case: Case) -> None:
    require_backend(case.backend)
    files = [f"/p/{file}" for file in FILES]
    result = run(host, "batch", "--name", str(case), "--size", "4", *files, dirs={"/p": PICTURES})
    assert (result.exit_code, result.stderr) == (0, b"")
    wanted, step = reference(case, 1)
    assert_same(read_batch(result.stdout), wanted, step)
    # Where the model takes as many pictures as come, four at once.
    assert result.stats.computes == (3 if case.files[0] in ANY_BATCH else 10)
