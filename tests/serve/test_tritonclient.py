# SPDX-License-Identifier: Apache-2.0
"""Triton's Python client, over HTTP and gRPC, against the server: every check of `triton_checks.py`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto

import models
from grpc_serving import GrpcServing, text_guest
from wasinn.serve.settings import Settings

_SCRIPT = Path(__file__).with_name("triton_checks.py")
_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT64": TensorProto.UINT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
}
#: The names of the checks, of which the client's own process is asked only once.
_CHECKS = re.findall(r"^    (\w+),$", _SCRIPT.read_text().partition("\nCHECKS = (")[2], re.MULTILINE)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each check found wrong, "" for nothing."""
    graphs = {f"echo_{name}": models.identity(kind, ("rows", 3)) for name, kind in _TYPES.items()}
    graphs["add"] = graphs["spare"] = models.add(("rows", 4))
    guests = {"text": text_guest(tmp_path_factory.mktemp("guests"))}
    with GrpcServing(graphs, Settings(guests=guests)) as serving:
        command = [sys.executable, str(_SCRIPT), serving.http_address, serving.grpc_address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {f"{protocol}-{check}" for protocol in ("http", "grpc") for check in _CHECKS}
    return found


@pytest.mark.parametrize("check", _CHECKS)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_tritonclient(results: dict[str, str], protocol: str, check: str) -> None:
    wrong = results.pop(f"{protocol}-{check}")
    assert not wrong, wrong
