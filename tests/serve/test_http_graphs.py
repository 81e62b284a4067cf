# SPDX-License-Identifier: Apache-2.0
"""Kinds of graphs behind the server: those that batch, language models, and those in worker processes."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

import llama_models
import models
import wasinn
from conftest import require_backend
from serving import Serving, tensor
from wasinn.serve.settings import Settings


def test_requests_of_a_batching_graph_share_a_compute_and_no_rows(tmp_path: Path) -> None:
    weights = np.random.default_rng(3).standard_normal((64, 64), np.float32)
    file = tmp_path / "rows.onnx"
    file.write_bytes(
        models.onnx_model(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            [("x", TensorProto.FLOAT, ("n", 64))],
            [("y", TensorProto.FLOAT, ("n", 64))],
            {"w": weights},
        )
    )
    with Serving(wasinn.Host(graphs={"rows": f"onnx:{file}?batch=16"})) as server:

        def ask(number: int) -> bool:
            rows = number % 3 + 1
            given = np.random.default_rng(number).standard_normal((rows, 64), np.float32)
            answer = server.infer("rows", tensor("x", "FP32", [rows, 64], given.ravel().tolist()))
            found = np.array(answer.json()["outputs"][0]["data"], np.float32).reshape(rows, 64)
            return bool(np.allclose(found, given @ weights, rtol=1e-4, atol=1e-3))

        with ThreadPoolExecutor(8) as callers:
            assert all(callers.map(ask, range(60)))
        text = server.get("/metrics").body.decode().splitlines()
        rows, batches = (
            next(float(each.split()[1]) for each in text if each.startswith(f"wasinn_batch_rows_{what}{{"))
            for what in ("sum", "count")
        )
        assert rows == sum(number % 3 + 1 for number in range(60))
        assert batches < 60


def test_a_language_model_takes_and_gives_texts(tmp_path: Path) -> None:
    require_backend("llama")
    file = tmp_path / "tiny.gguf"
    file.write_bytes(llama_models.tiny())
    source = f"ggml:{file}?n-predict=4&temp=0&ctx-size=64"
    host = wasinn.Host(graphs={"words": source}, permissions=wasinn.Permissions(max_context_tokens=256))
    with Serving(host, Settings(access_log="off", console=False)) as server:
        ports = server.get("/v2/models/words").json()["inputs"]
        assert (ports[0]["name"], ports[0]["datatype"], ports[0]["shape"]) == ("prompt", "BYTES", [1])
        prompt, text = tensor("prompt", "BYTES", [1], ["ab"]), [{"name": "text"}]
        first = server.infer("words", prompt, outputs=text)
        assert first.status == 200, first.body
        assert first.json()["outputs"][0]["shape"] == [1]
        # What one caller sets is not there for the next one.
        short = tensor("options", "BYTES", [1], ['{"n-predict": 1}'])
        shorter = server.infer("words", prompt, short, outputs=text).json()["outputs"][0]["data"]
        again = server.infer("words", prompt, outputs=text).json()["outputs"][0]["data"]
        assert again == first.json()["outputs"][0]["data"]
        assert shorter != again
        raw = server.infer("words", tensor("prompt", "UINT8", [2], list(b"ab")), outputs=text)
        assert raw.json()["outputs"][0]["datatype"] == "UINT8"
        assert bytes(raw.json()["outputs"][0]["data"]).decode() == again[0]
        assert server.infer("words", tensor("prompt", "BYTES", [2], ["a", "b"])).status == 400
        large = tensor("options", "BYTES", [1], ['{"ctx-size": 300}'])
        refused = server.infer("words", prompt, large)
        assert (refused.status, "256 are allowed" in refused.error) == (400, True)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found in /proc")
def test_a_graph_in_a_worker_process_that_dies_costs_its_request_only() -> None:
    source = wasinn.GraphSource.parse("onnx:@digits.onnx?isolation=process")
    with Serving(wasinn.Host(graphs={"seven": source})) as server:
        port = server.get("/v2/models/seven").json()["inputs"][0]
        shape = [1 if dim == -1 else dim for dim in port["shape"]]
        x = tensor(port["name"], "FP32", shape, [0.0] * int(np.prod(shape)))
        before = server.infer("seven", x).json()["outputs"]
        loaded = server.host.registry.loaded("seven")
        assert loaded is not None
        assert loaded.isolated
        pids = [each for each in children() if b"worker" in Path(f"/proc/{each}/cmdline").read_bytes()]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        statuses = [server.infer("seven", x).status for _ in range(3)]
        assert statuses[-1] == 200
        assert server.infer("seven", x).json()["outputs"] == before


def children() -> list[int]:
    """The processes that this one has started."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += [int(each) for each in (task / "children").read_text().split()]
    return found
