# SPDX-License-Identifier: Apache-2.0
"""One process of `wasinn serve` with a model more: plain onnxruntime, behind the same front end.

    python benchmarks/serving/server.py SOCKET LANES NAME=FILE[?batch=true] ...

For each model there is the graph NAME, the guests guest-NAME (lean) and sdk-NAME (of the SDK) that compute
with it, and plain-NAME: the request's bytes as NumPy arrays, `session.run`, and its arrays' bytes. The plain
model runs where ours does: on the event loop if it is quick, else in one of LANES threads. It takes
connections on the inherited socket until its stdin ends.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvicorn

sys.path.insert(0, str(Path(__file__).parent.parent))

from lean_guest import lean_guest

import wasinn
from models import MODELS
from wasinn.graphs.timing import Timing
from wasinn.oip.messages import InferRequest, InferResponse, WireTensor
from wasinn.runtime.lanes import Lanes, set_lanes
from wasinn.serve.admission import Gate
from wasinn.serve.frontend import Frontend
from wasinn.serve.process import loop_factory
from wasinn.serve.repository import Entry, Slot
from wasinn.serve.servers import http_config
from wasinn.serve.settings import GuestSource, Settings


class PlainModel:
    """onnxruntime as its users use it, as a served model."""

    kind = "graph"

    def __init__(self, name: str, file: str, lanes: Lanes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.name = name
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._outputs = [each.name for each in self._session.get_outputs()]
        self._lanes, self._timing = lanes, Timing()

    def metadata(self) -> dict[str, Any]:
        return {"name": self.name, "versions": ["1"], "platform": "onnxruntime", "inputs": [], "outputs": []}

    async def infer(self, request: InferRequest, deadline: float) -> InferResponse:
        feeds = {
            each.name: np.frombuffer(each.data, np.float32).reshape(each.shape) for each in request.inputs
        }
        arrays = await self._lanes.compute(self._timing, lambda: self._session.run(None, feeds))
        outputs = [
            WireTensor(name, "FP32", array.shape, memoryview(array).cast("B"))
            for name, array in zip(self._outputs, arrays, strict=True)
        ]
        return InferResponse(self.name, outputs, "1", request.id)

    def close(self) -> None:
        pass


async def serve(
    listening: socket.socket, count: int, models: dict[str, str], folder: str, over: asyncio.Event
) -> None:
    lanes = Lanes(count)
    set_lanes(lanes)
    graphs = {name: f"onnx:{file}{'&' if '?' in file else '?'}threads=1" for name, file in models.items()}
    guests = {f"sdk-{name}": GuestSource("@serve_graph", (name,)) for name in models}
    for name in models:
        ports = MODELS[name].ports
        text = lean_guest(name, ports.input_dims, (1, ports.output_bytes // 4))
        wat = Path(folder) / f"{name}.wat"
        wat.write_bytes(text)
        guests[f"guest-{name}"] = GuestSource("@serve_tiny" if name == "tiny" else str(wat))
    settings = Settings(http_port=None, grpc_port=None, access_log="off", guests=guests)
    permissions = wasinn.Permissions(load=False)  # as an operator has it whose guests bring no models
    frontend = Frontend(wasinn.Host(graphs=graphs, permissions=permissions), settings)
    failed = await frontend.start()
    if failed:
        raise SystemExit(f"not loaded: {failed}")
    for name, file in models.items():
        plain = f"plain-{name}"
        gate = Gate(plain, settings.max_concurrency, settings.max_queue, settings.queue_timeout)
        entry = Entry(plain, "graph", gate, settings.deadline, frontend.metrics.of(plain))
        entry.slot = Slot(PlainModel(plain, file.partition("?")[0], lanes))
        entry.state = "READY"
        frontend.repository.entries[plain] = entry
    server = uvicorn.Server(http_config(frontend, settings))
    serving = asyncio.create_task(server.serve([listening]))
    print("ready", flush=True)
    await over.wait()
    server.should_exit = True
    await serving


def main() -> None:
    descriptor, lanes, *texts = sys.argv[1:]
    models = dict(text.split("=", 1) for text in texts)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        over = asyncio.Event()
        loop = runner.get_loop()

        def wait() -> None:
            os.read(0, 1)
            loop.call_soon_threadsafe(over.set)

        threading.Thread(target=wait, daemon=True).start()
        with tempfile.TemporaryDirectory() as folder:
            listening = socket.socket(fileno=int(descriptor))
            runner.run(serve(listening, int(lanes), models, folder, over))


if __name__ == "__main__":
    # As the server itself does it: the loop has a thread of its own, and the main one waits.
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
