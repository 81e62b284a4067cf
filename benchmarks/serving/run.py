# SPDX-License-Identifier: Apache-2.0
"""Requests a second of `wasinn serve`: guests and graphs against plain onnxruntime behind the same front end.

    python benchmarks/serving/run.py [--quick] [--processes N] [--mlserver PYTHON] [CASE...]

16 connections ask without a pause, from a process of their own on the same cores. The variants of a case
take turns, round by round; the ratio is the median of the rounds' ratios. PYTHON is an interpreter with the
packages mlserver and onnxruntime: then MLServer serves the tiny model as a peer. docs/benchmarks.md
explains the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from measures.bed import model_file, native_session  # noqa: E402

import models  # noqa: E402
from wasinn.oip import rest  # noqa: E402
from wasinn.oip.messages import InferRequest, WireTensor  # noqa: E402
from wasinn.serve.sockets import listen  # noqa: E402

CONNECTIONS = 16


@dataclass(frozen=True)
class Case:
    """A model, what is asked of the guest's share of the plain model's requests, and why."""

    model: str
    options: str
    wanted: float
    variants: tuple[str, ...] = ("plain-{}", "guest-{}", "sdk-{}", "{}")


CASES = {
    "tiny": Case("tiny", "", 0.6),
    "cnn": Case("cnn", "", 0.95),
    "mlp": Case("mlp", "?batch=true", 2.5),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument(
        "--processes", type=int, default=0, metavar="N", help="of the server (default: 1, then 2)"
    )
    parser.add_argument("--mlserver", metavar="PYTHON", help="an interpreter that has mlserver")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    chosen = parser.parse_args()
    rounds, seconds = (3, 1.0) if chosen.quick else (7, 3.0)
    for processes in (chosen.processes,) if chosen.processes else (1, 2):
        for name in chosen.cases or CASES:
            measure(CASES[name], processes, rounds, seconds, chosen.mlserver)
    return 0


def measure(case: Case, processes: int, rounds: int, seconds: float, mlserver: str | None) -> None:
    """Prints the case's rows."""
    file = model_file(case.model)
    lanes = max(1, (os.cpu_count() or 1) // processes)
    bodies, wanted = request_of(case.model)
    with tempfile.TemporaryDirectory() as folder:
        payloads = {kind: Path(folder) / kind for kind in bodies}
        for kind, path in payloads.items():
            path.write_bytes(bodies[kind])
        with served(f"{case.model}={file}{case.options}", processes, lanes) as port:
            asked = [(each.format(case.model), "binary", port) for each in case.variants]
            peer = mlserver if case.model == "tiny" else None
            with mlserver_of(peer, file, Path(folder)) as peer_port:
                if peer_port:  # which takes and gives JSON alone
                    asked += [(each.format(case.model), "json", port) for each in case.variants]
                    asked.append(("mlserver", "json", peer_port))
                found: dict[tuple[str, str], list[dict[str, Any]]] = {
                    (name, kind): [] for name, kind, _ in asked
                }
                for turn in range(rounds + 1):
                    for name, kind, at in asked:
                        result = load(at, name, payloads[kind], 0.5 if not turn else seconds)
                        check(name, kind, result["answer"], wanted)
                        if turn:  # the first is for warming up
                            found[name, kind].append(result)
    plain = asked[0][0]
    print(f"\n{case.model}, {CONNECTIONS} connections, {processes} server process(es), {lanes} lane(s) each")
    for (name, kind), results in found.items():
        rate, p50, p99 = (median(each[key] for each in results) for key in ("rate", "p50", "p99"))
        ratios = [
            mine["rate"] / theirs["rate"] for mine, theirs in zip(results, found[plain, kind], strict=True)
        ]
        low, high = min(ratios), max(ratios)
        aim = f"  wanted {case.wanted}" if (name, kind) == (f"guest-{case.model}", "binary") else ""
        print(
            f"  {name:12} {kind:6} {rate:8.0f}/s  p50 {p50 * 1e3:7.2f} ms  p99 {p99 * 1e3:7.2f} ms"
            f"  {median(ratios):5.2f} of plain ({low:.2f} to {high:.2f}){aim}",
            flush=True,
        )


def request_of(model: str) -> tuple[dict[str, bytes], bytes]:
    """A request as load.py reads it, as binary and as JSON, and the bytes of the answer's tensor."""
    x = np.random.default_rng(3).random(models.MODELS[model].ports.input_dims, np.float32)
    request = InferRequest([WireTensor("x", "FP32", x.shape, x.tobytes())], binary_output=True)
    parts, header = rest.encode_request(request)
    session = native_session(str(model_file(model)))
    inputs = [{"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}]
    bodies = {
        "binary": f"{header}\n".encode() + b"".join(parts),
        "json": b"json\n" + json.dumps({"inputs": inputs}).encode(),
    }
    return bodies, session.run(None, {"x": x})[0].tobytes()


def check(name: str, kind: str, answer: str, wanted: bytes) -> None:
    """That an answer is the runtime's: a batch may round in another way."""
    if kind == "json":
        found = np.asarray(json.loads(answer)["outputs"][0]["data"], np.float32).ravel()
    else:
        found = np.frombuffer(bytes.fromhex(answer), np.float32)
    if not np.allclose(found, np.frombuffer(wanted, np.float32), 1e-3, 1e-4):
        raise SystemExit(f"{name} answered wrongly")


def load(port: int, name: str, payload: Path, seconds: float) -> dict[str, Any]:
    command = [
        sys.executable,
        HERE / "load.py",
        port,
        f"/v2/models/{name}/infer",
        payload,
        CONNECTIONS,
        seconds,
    ]
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def served(model: str, processes: int, lanes: int) -> Iterator[int]:
    """Server processes on one socket; its port."""
    with listen("127.0.0.1", 0) as listening:
        started = [
            subprocess.Popen(
                [sys.executable, str(HERE / "server.py"), str(listening.fileno()), str(lanes), model],
                pass_fds=[listening.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(processes)
        ]
        try:
            for each in started:
                assert each.stdout is not None
                if each.stdout.readline() != b"ready\n":
                    raise SystemExit("a server process did not start")
            yield listening.getsockname()[1]
        finally:
            for each in started:
                assert each.stdin is not None
                each.stdin.close()  # which ends it
            for each in started:
                each.wait()


@contextmanager
def mlserver_of(python: str | None, file: Path, folder: Path) -> Iterator[int | None]:
    """MLServer with the same model as a custom runtime; its port."""
    if python is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "settings.json").write_text(
        json.dumps(
            {
                "host": "127.0.0.1",
                "http_port": port,
                "grpc_port": port + 1,
                "metrics_port": port + 2,
                # Inference in the server's own process: its fastest for a small model.
                "parallel_workers": 0,
                "use_structured_logging": False,
                "debug": False,
            }
        )
    )
    (folder / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "mlserver",
                "implementation": "mlserver_model.PlainModel",
                "parameters": {"uri": str(file)},
            }
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    command = [str(Path(python).parent / "mlserver"), "start", str(folder)]
    with (folder / "mlserver.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(300):
            if process.poll() is not None:
                raise SystemExit(f"mlserver ended: {(folder / 'mlserver.log').read_text()[-2000:]}")
            with contextlib.suppress(OSError):
                if urlopen(f"http://127.0.0.1:{port}/v2/models/mlserver/ready", timeout=5).status == 200:
                    break
            time.sleep(0.1)
        yield port
    finally:
        os.killpg(process.pid, 15)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
