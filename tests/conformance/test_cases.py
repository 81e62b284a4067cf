# SPDX-License-Identifier: Apache-2.0
"""What `cases.py` says is missing is missing, and everything else is there."""

from __future__ import annotations

import pytest

from conformance.cases import (
    BINDS,
    CASES,
    EVERY,
    IN_PROCESS,
    LACKS,
    NARROWED,
    QUIETS,
    REFUSED,
    THREADS_OF_PROCESS,
    Case,
    binds,
    builders,
    on,
)
from conformance.guests import opened
from conformance.recipes import RECIPES
from conftest import MakeDriver
from wasinn.backends import lookup
from wasinn.errors import WasiNNError
from wasinn.graphs.loader import Loader
from wasinn.spec import ErrorCode


def test_every_backend_has_a_case() -> None:
    """But llama: a prompt is no tensor, and test_language_models and test_llama are its own."""
    # llama takes prompts, and oip models on other servers: tests/test_oip_backend.py.
    others = {"llama", "oip"}
    assert {case.backend for case in CASES} == {backend.name for backend in lookup.all_backends()} - others


def test_nothing_is_said_of_cases_and_recipes_that_are_not() -> None:
    assert set(LACKS) <= {case.format for case in CASES}
    tables = (REFUSED, NARROWED, QUIETS, BINDS)
    assert set().union(*tables, THREADS_OF_PROCESS) <= {case.pair for case in CASES}
    assert {recipe for table in (LACKS, *tables) for each in table.values() for recipe in each} <= set(
        RECIPES
    )


@EVERY
def test_the_zoo_lacks_what_the_cases_say_and_nothing_else(case: Case) -> None:
    missing = {recipe for recipe in RECIPES if builders(case.encoding, case.form, recipe) is None}
    assert missing == LACKS.get(case.format, set())


REFUSALS = [
    pytest.param(case, recipe, id=f"{case}-{recipe}")
    for case in IN_PROCESS
    for recipe in REFUSED.get(case.pair, {})
]


@pytest.mark.parametrize(("case", "recipe"), REFUSALS)
def test_what_a_backend_cannot_serve_it_refuses_with_the_reason(case: Case, recipe: str) -> None:
    with pytest.raises(WasiNNError, match=REFUSED[case.pair][recipe]) as refused:
        Loader().load(case.source(recipe))
    assert refused.value.code in (ErrorCode.UNSUPPORTED_OPERATION, ErrorCode.RUNTIME_ERROR)
    assert "\n" not in refused.value.reason


@on("identity", "add")
def test_a_context_of_fixed_shape_is_hot_where_the_backend_can_bind(
    drive: MakeDriver, case: Case, recipe: str
) -> None:
    """Or the tests of hot contexts would be tests of cold ones."""
    guest = opened(drive, case, recipe, hot=True)
    assert guest.is_hot == binds(case, recipe)
