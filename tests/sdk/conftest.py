# SPDX-License-Identifier: Apache-2.0
"""What the tests of all languages need: a language whose guests can be built, and runs of its guests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import wasinn
from sdk.languages import LANGUAGES, Language

Run = Callable[..., wasinn.RunResult]


@pytest.fixture(params=LANGUAGES, ids=str)
def language(request: pytest.FixtureRequest) -> Language:
    """Each of the languages; skips where its guests cannot be built."""
    found: Language = request.param
    found.require()
    return found


@pytest.fixture
def run(language: Language) -> Run:
    """`run(graphs, NAME, ARGUMENT..., dirs=...)` runs a guest of the language to its end. `graphs` are what
    wasinn.Host takes, or a host."""

    def run_guest(
        graphs: wasinn.Host | Mapping[str, Any],
        name: str,
        *args: str,
        dirs: Mapping[str, str | Path] | list[str] | None = None,
    ) -> wasinn.RunResult:
        host = graphs if isinstance(graphs, wasinn.Host) else wasinn.Host(graphs=graphs)
        guest, first = language.command(name)
        result = host.run(guest, [*first, *args], dirs=dirs or {}, deadline=language.deadline)
        assert result.trap is None, f"{result.trap}\n{result.stderr.decode()}"
        return result

    return run_guest
