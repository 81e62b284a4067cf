# SPDX-License-Identifier: Apache-2.0
"""What holds for each test of a case."""

from __future__ import annotations

import os

import pytest

from conformance.cases import Case, builders
from conftest import require_backend


@pytest.fixture(autouse=True)
def packages_are_installed(request: pytest.FixtureRequest) -> None:
    """Skips a test whose backends, or what writes their files, are not installed; fails it where all of
    them must be."""
    for name in ("case", "other"):
        if name not in request.fixturenames:
            continue
        case = request.getfixturevalue(name)
        assert isinstance(case, Case)
        require_backend(case.backend)
        try:
            builders(case.encoding, case.form, "identity")
        except ImportError as error:
            reason = f"no {case.format} models can be made: {error}"
            if os.environ.get("WASINN_REQUIRE_BACKENDS"):
                pytest.fail(reason)
            pytest.skip(reason)
