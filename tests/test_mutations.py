# SPDX-License-Identifier: Apache-2.0
"""Mutated model files of each encoding, loaded by a guest: every one gets an answer, with its reason."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mutations
from conftest import require_backend

#: Files for each encoding; CI has 500, `make soak` more.
COUNT = int(os.environ.get("WASINN_MUTATIONS", "90"))
BACKENDS = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "tensorflowlite": "litert",
    "tensorflow": "openvino",
    "pytorch": "torch",
    "ggml": "llama",
}


def results(encoding: str, count: int, first: int = 0) -> list[dict[str, object]]:
    """What became of each file. Fails if the host itself did not survive, with the file's number."""
    command = [sys.executable, str(Path(mutations.__file__)), encoding, str(count), str(first)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60 + 10 * count)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"the host died ({done.returncode}) at {lines[-1:]}: {done.stderr[-500:]}"
    return [line for line in lines if "code" in line]


@pytest.mark.parametrize("encoding", list(mutations.FILES))
def test_every_mutated_file_gets_an_answer(encoding: str) -> None:
    require_backend(BACKENDS[encoding])
    found = results(encoding, COUNT)
    assert len(found) == COUNT
    for each in found:
        assert each["code"] == 0 or each["reason"], each
        # Worker processes are given LOAD_SECONDS, and a machine that is busy some more.
        assert float(str(each["seconds"])) < 3 * mutations.LOAD_SECONDS, each
    assert any(each["code"] for each in found)


def test_a_file_that_crashes_the_parser_costs_the_guest_one_error() -> None:
    """Number 64 makes LiteRT 2.3 read an address that is not there, while it loads."""
    require_backend("litert")
    crashed, following = results("tensorflowlite", 2, 64)
    assert crashed["code"] == 5 or crashed["reason"], crashed
    assert following["file"] == 65


def test_a_file_that_makes_the_loader_loop_is_given_up() -> None:
    """Number 945 keeps LiteRT 2.3 busy for ever."""
    require_backend("litert")
    (looped,) = results("tensorflowlite", 1, 945)
    assert looped["code"], "it is no model in any version"
    assert looped["reason"]
    if importlib.metadata.version("ai-edge-litert") == "2.3.0":
        assert "was not loaded after 5 seconds" in str(looped["reason"])
