# SPDX-License-Identifier: Apache-2.0
"""An author's mistakes are named where the author sees them: in the guest, without the host's log.

The guest `mistakes` makes one of them and prints the error's text. What came, what was wanted and which names
there are must be in it.
"""

from __future__ import annotations

import logging
import re

import pytest

import wasinn
from conftest import require_backend
from sdk.conftest import Run
from sdk.languages import Language

#: The words of each mistake, as patterns. The model takes x, f32 [1,4], and gives y.
MISTAKES: dict[str, tuple[str, ...]] = {
    "wrong-dims": (r"\[1, ?5\]", r"\[1, ?4\]"),
    "wrong-bytes": (r"\b12\b", r"\b16\b"),
    "wrong-type": (r"\bu8\b", r"\bf32\b"),
    "closed-context": (r"\bcontext\b", r"\bclosed\b"),
    "closed-graph": (r"\bgraph\b", r"\bclosed\b"),
    "unknown-graph": (r"\bnobody\b", r"\bdefault\b"),
    "no-such-input": (r"\binput\b", r"\bpixels\b", r"\bx\b"),
    "no-such-output": (r"\boutput\b", r"\bscores\b", r"\by\b"),
    "small-buffer": (r"\b8\b", r"\b16\b"),
    "no-input": (r"\binputs?\b", r"\bx\b"),
}
#: Those that a language does not let anyone make: ownership ends what is closed, or outputs need no buffer.
IMPOSSIBLE: dict[str, frozenset[str]] = {
    "c": frozenset(),
    "rust": frozenset({"closed-context", "closed-graph"}),
    "python": frozenset({"small-buffer"}),
    "assemblyscript": frozenset(),
}


@pytest.fixture(scope="module")
def host() -> wasinn.Host:
    return wasinn.Host(graphs={"default": "onnx:@identity"})


@pytest.mark.parametrize("which", MISTAKES)
def test_a_mistake_is_named(
    run: Run, language: Language, host: wasinn.Host, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    require_backend("onnxruntime")
    caplog.set_level(logging.CRITICAL, "wasinn")  # what the host logs helps nobody here
    result = run(host, "mistakes", which)
    if which in IMPOSSIBLE[language.name]:
        assert result.exit_code != 0
        assert which.encode() in result.stderr
        return
    assert (result.exit_code, result.stderr) == (0, b""), result.stdout
    text = result.stdout.decode().strip()
    for pattern in MISTAKES[which]:
        assert re.search(pattern, text), f"{pattern} is not in: {text}"
    # A sentence, and not a page: what an author reads in a terminal.
    assert 20 < len(text) < 600
    assert len(text.splitlines()) == 1


def test_a_mistake_that_nobody_knows_is_said(run: Run, language: Language, host: wasinn.Host) -> None:
    """And the guest has those that are tested here, and no more."""
    result = run(host, "mistakes", "nonsense")
    assert result.exit_code != 0  # a component can only end with 1
    assert result.stdout == b""
    known = set(re.findall(r"[a-z]+-[a-z]+(?:-[a-z]+)?", result.stderr.decode()))
    assert known & set(MISTAKES) == set(MISTAKES) - IMPOSSIBLE[language.name]
