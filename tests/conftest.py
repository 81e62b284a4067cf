# SPDX-License-Identifier: Apache-2.0
"""What several tests need."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import wasinn
from driver import Driver


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real models and pictures, which does not come with the project."""
    chosen = os.environ.get("WASINN_DATA")
    folder = Path(chosen) if chosen else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no folder of real models at {folder}; set WASINN_DATA")
    return folder


@pytest.fixture(autouse=True)
def _room_in_the_log() -> None:
    """Language models warn so many times a minute, in all tests of a process together."""
    options = sys.modules.get("wasinn.backends.llama_options")
    if options is not None:
        options._warned.clear()


@pytest.fixture(autouse=True)
def _logger() -> Iterator[None]:
    """The logger as it was: a command that is called in this process shows its log on a stderr that pytest
    takes away again, and keeps it from caplog."""
    logger = logging.getLogger("wasinn")
    kept = (logger.handlers, logger.level, logger.propagate)
    yield
    logger.handlers, logger.level, logger.propagate = kept


Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; what it wrote to stdout, or to stderr where it ends with the code `fails`."""
    from wasinn.cli.main import main

    def go(*arguments: object, fails: int = 0) -> str:
        assert main([str(each) for each in arguments]) == fails
        out, err = capsys.readouterr()
        return err if fails else out

    return go


MakeDriver = Callable[..., Driver]


@pytest.fixture
def drive() -> Iterator[MakeDriver]:
    """Makes drivers: `drive(graphs={"name": model_bytes}, module=..., hot=..., permissions=...)`."""
    opened: list[Any] = []

    def make(
        graphs: dict[str, Any] | None = None,
        permissions: wasinn.Permissions | None = None,
        host: wasinn.Host | None = None,
        **options: Any,
    ) -> Driver:
        if host is None:
            sources = {
                name: wasinn.GraphSource.from_bytes(source) if isinstance(source, bytes) else source
                for name, source in (graphs or {}).items()
            }
            host = wasinn.Host(graphs=sources, permissions=permissions)
        driver = Driver(host, **options)
        opened.append(driver)
        return driver

    yield make
    for driver in opened:
        driver.close()


def require_backend(name: str) -> None:
    """Skips where a backend is not installed; fails where all of them must be (CI)."""
    from wasinn.backends import lookup

    if lookup.by_name(name).version() is not None:
        return
    reason = f"backend {name} is not installed"
    if os.environ.get("WASINN_REQUIRE_BACKENDS"):
        pytest.fail(reason)
    pytest.skip(reason)


settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("soak", deadline=None, print_blob=True, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
