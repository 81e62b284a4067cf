# SPDX-License-Identifier: Apache-2.0
"""Bytes, files, labels, builders and targets: how a model comes to a backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wasinn
from calls import reason
from conformance.cases import IN_PROCESS, Case, may_crash, on
from conformance.guests import INVALID, RUNTIME, UNSUPPORTED, Guest
from conftest import MakeDriver
from driver import Driver
from wasinn.backends import lookup
from wasinn.errors import WasiNNError
from wasinn.graphs.loader import Loader
from wasinn.spec import Encoding, ErrorCode, Target

ENCODING = ErrorCode.INVALID_ENCODING
EVERY_BACKEND = on("identity", cases=IN_PROCESS)


def guest_of(drive: MakeDriver, case: Case, **permissions: Any) -> Driver:
    """A guest that may load bytes of the case's encoding, which the case's backend serves.

    In this process, as far as permissions do not say something else: a worker takes long to start.
    """
    allowed = {"encodings": frozenset({case.encoding}), "isolate": frozenset(), **permissions}
    host = wasinn.Host(
        permissions=wasinn.Permissions(**allowed), backends={case.encoding.label: case.backend}
    )
    return drive(host=host)


@pytest.mark.parametrize("label", ["named", "detected"])
@EVERY_BACKEND
def test_a_guest_loads_bytes(drive: MakeDriver, case: Case, label: str) -> None:
    driver = guest_of(drive, case)
    encoding = case.encoding if label == "named" else Encoding.AUTODETECT
    for number in range(2):
        assert driver.load(*case.builders("identity"), encoding=encoding) == (0, number)
        assert driver.context(number) == (0, number)
    for context in range(2):
        computes(driver, context)
    assert driver.instance.stats.backends == {case.backend: 2}


@on("identity", cases=[case for case in IN_PROCESS if may_crash(case)])
def test_a_guest_loads_bytes_where_the_defaults_put_them(drive: MakeDriver, case: Case) -> None:
    driver = guest_of(drive, case, isolate=None)
    assert driver.load(*case.builders("identity"), encoding=case.encoding) == (0, 0)
    assert driver.context(0) == (0, 0)
    computes(driver, 0)
    assert driver.instance.state.host._graph(0).isolated


def computes(driver: Driver, context: int) -> None:
    values = np.array([1, -2, 3, context], "<f4").tobytes()
    assert driver.set_input(context, 0, (1, 4), 1, values) == 0
    assert driver.compute(context) == 0
    assert driver.get_output(context, 0)[:2] == (0, values)


@on("identity", cases=[case for case in IN_PROCESS if case.encoding is Encoding.PYTORCH])
def test_a_guest_loads_no_bytes_that_can_run_code_unless_it_may(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    driver = drive()
    for encoding in (case.encoding, Encoding.AUTODETECT):
        assert driver.load(*case.builders("identity"), encoding=encoding)[0] == UNSUPPORTED
        assert "run code" in reason(caplog)


@EVERY_BACKEND
def test_an_operator_s_files_may_be_called_anything(drive: MakeDriver, tmp_path: Path, case: Case) -> None:
    paths = []
    for number, content in enumerate(case.builders("identity")):
        paths.append(tmp_path / f"a model, {number}")
        paths[-1].write_bytes(content)
    source = wasinn.GraphSource.from_files(*paths, encoding=case.encoding.label, backend=case.backend)
    Guest(drive({"model": source}), case, "identity").infer()


# -- builders -----------------------------------------------------------------------------------------


@EVERY_BACKEND
def test_a_load_without_builders_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    assert guest_of(drive, case).load(encoding=case.encoding)[0] == INVALID
    assert "no builders" in reason(caplog)


@EVERY_BACKEND
def test_too_many_builders_are_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    driver, content = guest_of(drive, case), case.builders("identity")
    for count in (3, 64, 65):
        assert driver.load(*(content * count)[:count], encoding=case.encoding)[0] == INVALID
        assert f"{count}" in reason(caplog)


@pytest.mark.parametrize("size", [0, 1, 4])
@EVERY_BACKEND
def test_builders_of_next_to_nothing_are_no_model(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, size: int
) -> None:
    driver, content = guest_of(drive, case), case.builders("identity")
    code, _ = driver.load(*(each[:size] for each in content), encoding=case.encoding)
    assert code in (INVALID, ENCODING, RUNTIME)
    assert reason(caplog)


TWO_PARTS = [case for case in IN_PROCESS if case.encoding is Encoding.OPENVINO]


@on("identity", cases=TWO_PARTS)
def test_parts_in_the_wrong_order_are_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    content = case.builders("identity")
    if len(content) == 1:
        content = (*content, b"")
    assert guest_of(drive, case).load(*reversed(content), encoding=case.encoding)[0] != 0
    assert reason(caplog)


@on("halves", cases=TWO_PARTS)
def test_a_model_without_its_weights_is_refused(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case
) -> None:
    xml, weights = case.builders("halves")
    assert weights
    driver = guest_of(drive, case)
    for content in ((xml,), (xml, b""), (xml, weights[:-1])):
        assert driver.load(*content, encoding=case.encoding)[0] != 0
        assert reason(caplog)


# -- labels -------------------------------------------------------------------------------------------

#: A case of each format.
WRITTEN = {case.format: case for case in IN_PROCESS}
LABELS = [
    pytest.param(case, other, id=f"{case}-{other.format}")
    for case in IN_PROCESS
    for other in WRITTEN.values()
    if other.encoding is not case.encoding
]


@pytest.mark.parametrize(("case", "other"), LABELS)
def test_a_model_under_another_s_label_is_called_what_it_is(case: Case, other: Case) -> None:
    with pytest.raises(WasiNNError) as refused:
        Loader().load(case.source_of(*other.builders("identity")))
    assert refused.value.code == ENCODING
    assert other.encoding.label in refused.value.reason


# -- targets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Target.CPU, Target.GPU, Target.TPU, Target.AUTO])
@EVERY_BACKEND
def test_a_target_serves_or_is_refused_with_those_that_do(
    drive: MakeDriver, caplog: pytest.LogCaptureFixture, case: Case, target: Target
) -> None:
    devices = lookup.by_name(case.backend).devices()
    driver = drive({"model": case.source("identity", target=target.label)})
    if target is Target.AUTO or target in devices:
        Guest(driver, case, "identity").infer()
        return
    assert driver.load_by_name("model")[0] == UNSUPPORTED
    said = reason(caplog)
    assert f"the target {target.label}" in said
    assert all(f"{each.label} ({name})" in said for each, name in devices.items())
