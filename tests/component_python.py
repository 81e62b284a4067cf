# SPDX-License-Identifier: Apache-2.0
"""The guests in Python, built once and all into one component: it takes twenty seconds, and as long again to
compile. Its first argument is the guest's name."""

from __future__ import annotations

from pathlib import Path

from sdk.languages import LANGUAGES, ROOT

SDK = ROOT / "sdk" / "python"
_PYTHON = next(each for each in LANGUAGES if each.name == "python")


def every_guest() -> Path:
    """The component, in `build/` under the hash of what it is made of; skips without componentize-py, or
    fails where all is to be tested (WASINN_REQUIRE_GUESTS)."""
    _PYTHON.require()
    return _PYTHON.command("classify")[0]
