# SPDX-License-Identifier: Apache-2.0
"""The guest in Python, built once: it takes twenty seconds, and as long again to compile."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "guests" / "python" / "classify"
WIT = ROOT / "src" / "wasinn" / "shipped" / "wit"


def classify_wasm() -> Path:
    """The component, in `build/` under the hash of what it is made of; skips without componentize-py, or
    fails where all is to be tested (WASINN_REQUIRE_GUESTS)."""
    sys.path.insert(0, str(ROOT / "guests"))
    try:
        import build_python
    finally:
        sys.path.remove(str(ROOT / "guests"))
    if not build_python.is_available():
        reason = "componentize-py is not installed"
        if os.environ.get("WASINN_REQUIRE_GUESTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    digest = hashlib.sha256()
    files = [*SOURCES.rglob("*.py"), *SOURCES.rglob("*.wit"), *WIT.glob("*.wit")]
    for file in sorted([*files, ROOT / "guests" / "build_python.py"]):
        digest.update(file.read_bytes())
    folder = ROOT / "build" / f"classify-{digest.hexdigest()[:16]}"
    target = folder / "classify.wasm"
    if not target.exists():
        aside = folder / str(os.getpid())
        build_python.build("classify", aside).replace(target)
        aside.rmdir()
    return target
