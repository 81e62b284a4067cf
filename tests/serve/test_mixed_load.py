# SPDX-License-Identifier: Apache-2.0
"""Good and bad callers at once: each good one gets its answer, each bad one its reason, and nothing grows.

    WASINN_LOAD_SECONDS=600 pytest -s tests/serve/test_mixed_load.py

prints what came of it. `make test` runs it for some seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from serve.test_command import Command

SECONDS = float(os.environ.get("WASINN_LOAD_SECONDS", "3"))
CALLERS = 12
MAX_BODY = 1 << 20

GUESTS = {
    "trap": '(module (memory (export "memory") 1) (func (export "_start") unreachable))',
    "spin": '(module (memory (export "memory") 1) (func (export "_start") (loop $on (br $on))))',
}

CONFIG = """
[graphs.add]
files = ["add.onnx"]
[graphs.tiny]
files = ["tiny.onnx"]
[graphs.rows]
files = ["rows.onnx"]
batch = true
[graphs.isolated]
files = ["rows.onnx"]
isolation = "process"
batch = true

[permissions]
load = false

[serve]
max_body = "1M"

[guests.tiny-guest]
file = "@serve_tiny"
[guests.relay]
file = "@serve_graph"
args = ["rows"]
[guests.trap]
file = "trap.wat"
[guests.spin]
file = "spin.wat"
deadline = 0.3
[guests.hog]
file = "@limits"
args = ["grow"]
max_memory = "32M"
[guests.nap]
file = "@limits"
args = ["sleep", "0.05"]
[guests.sleeper]
file = "@limits"
args = ["sleep", "60"]
deadline = 0.3
"""


class Load:
    """What the callers share. `wrong` is what should not have been."""

    def __init__(self, server: Command) -> None:
        self.server = server
        self.over = threading.Event()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.latencies: list[float] = []
        self.died = 0

    def post(self, model: str, document: Any) -> tuple[int, dict[str, Any]]:
        return self.server.call("POST", f"/v2/models/{model}/infer", document)

    def expect(self, kind: str, model: str, document: Any, status: int, reason: str) -> None:
        code, found = self.post(model, document)
        self.counts[kind] += 1
        if code != status or reason not in json.dumps(found):
            self.wrong.append(f"{kind}: {code} {found}")

    def good(self, kind: str, model: str, x: np.ndarray[Any, Any], inputs: list[str], wanted: Any) -> None:
        given = [_tensor(name, x if at == 0 else np.ones_like(x)) for at, name in enumerate(inputs)]
        start = time.perf_counter()
        code, found = self.post(model, {"inputs": given})
        took = time.perf_counter() - start
        self.counts[kind] += 1
        if code == 500 and kind == "isolated" and "worker process" in found.get("error", ""):
            self.died += 1  # it was killed under this request
            return
        self.latencies.append(took)
        data = [each["data"] for each in found.get("outputs", [])]
        if code != 200 or not np.allclose(data[0], np.asarray(wanted).ravel()):
            self.wrong.append(f"{kind}: {code} {str(found)[:300]}, wanted {wanted}")


def _tensor(name: str, x: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}


def caller(load: Load, seed: int) -> None:
    """One who asks for all kinds of things, one after the other."""
    randoms = random.Random(seed)

    def rows(kind: str, model: str) -> None:
        x = np.full((randoms.randint(1, 4), 4), randoms.randint(0, 1 << 20), np.float32)
        load.good(kind, model, x, ["a", "b"], x + 1)

    def tiny() -> None:
        x = np.full((1, 16), randoms.randint(0, 1 << 20), np.float32)
        load.good("guest", "tiny-guest", x, ["x"], x)

    one = _tensor("x", np.zeros((1, 4), np.float32))
    kinds: list[tuple[int, Callable[[], None]]] = [
        (6, lambda: load.good("graph", "add", *_add(randoms))),
        (6, lambda: rows("batched", "rows")),
        (4, lambda: rows("isolated", "isolated")),
        (6, tiny),
        (6, lambda: rows("guest on a batched graph", "relay")),
        (1, lambda: load.expect("trap", "trap", {"inputs": [one]}, 500, "unreachable")),
        (1, lambda: load.expect("endless loop", "spin", {"inputs": [one]}, 504, "deadline")),
        (1, lambda: load.expect("memory hog", "hog", {"inputs": [one]}, 500, "memory limit")),
        (1, lambda: load.expect("nap", "nap", {"inputs": [one]}, 200, "stdout")),
        (1, lambda: load.expect("sleeper", "sleeper", {"inputs": [one]}, 504, "deadline")),
        (1, lambda: load.expect("wrong tensor", "add", {"inputs": [one]}, 400, "error")),
        (1, lambda: load.expect("no model", "nothing", {"inputs": [one]}, 404, "no model")),
        (1, lambda: load.expect("no request", "add", {"wrong": 1}, 400, "inputs")),
        (1, lambda: oversize(load)),
        (2, lambda: broken(load, randoms)),
    ]
    weights, actions = zip(*kinds, strict=True)
    while not load.over.is_set():
        action = randoms.choices(actions, weights)[0]
        try:
            action()
        except (OSError, http.client.HTTPException) as error:
            load.wrong.append(f"a connection broke: {error!r}")


def _add(randoms: random.Random) -> tuple[np.ndarray[Any, Any], list[str], Any]:
    x = np.full((1, 4), randoms.randint(0, 1 << 20), np.float32)
    return x, ["a", "b"], x + 1


def oversize(load: Load) -> None:
    """Says that more comes than may, and sends a part of it."""
    connection = http.client.HTTPConnection("127.0.0.1", load.server.port, timeout=30)
    connection.putrequest("POST", "/v2/models/add/infer")
    connection.putheader("Content-Length", str(MAX_BODY * 100))
    connection.endheaders()
    response = connection.getresponse()
    load.counts["oversize body"] += 1
    if response.status != 413 or b"max_body" not in response.read():
        load.wrong.append(f"oversize: {response.status}")
    connection.close()


def broken(load: Load, randoms: random.Random) -> None:
    """Goes away in the middle of its request, or while a guest works on it."""
    one = json.dumps({"inputs": [_tensor("x", np.zeros((1, 4), np.float32))]}).encode()
    model = randoms.choice(["add", "sleeper", "spin", "nap"])
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(one)}\r\n\r\n".encode()
    message = (head + one)[: randoms.choice([10, len(head) + 5, len(head) + len(one)])]
    with socket.create_connection(("127.0.0.1", load.server.port)) as connection:
        connection.sendall(message)
        time.sleep(randoms.random() * 0.05)
        if randoms.random() < 0.5:  # with a reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    load.counts["broken connection"] += 1


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, itself first."""
    parents: dict[int, list[int]] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(each.name))
    found = [pid]
    for each_pid in found:
        found.extend(parents.get(each_pid, []))
    return found


def workers(pid: int) -> list[int]:
    return [each for each in descendants(pid) if b"wasinn.graphs.worker" in command_of(each)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def memory_of(pid: int) -> int:
    """Bytes that the server's own processes hold, their workers left out: those are new ones all the time."""
    total = 0
    for each in descendants(pid):
        if b"wasinn.graphs.worker" not in command_of(each):
            try:
                text = Path(f"/proc/{each}/smaps_rollup").read_text()
            except OSError:
                continue
            total += (
                next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
            )
    return total


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="there is no /proc as Linux has it")
def test_good_callers_do_not_feel_the_bad_ones(tmp_path: Path) -> None:
    (tmp_path / "add.onnx").write_bytes(models.add())
    (tmp_path / "tiny.onnx").write_bytes(models.identity(dims=[1, 16]))
    (tmp_path / "rows.onnx").write_bytes(models.add(["n", 4]))
    for name, text in GUESTS.items():
        (tmp_path / f"{name}.wat").write_text(text)
    (tmp_path / "wasinn.toml").write_text(CONFIG)
    server = Command(
        tmp_path, "--config", str(tmp_path / "wasinn.toml"), "--processes", "2", "--grpc-port", "off"
    )
    load = Load(server)
    threads = [threading.Thread(target=caller, args=(load, seed)) for seed in range(CALLERS)]
    sizes: list[int] = []
    killed = 0
    try:
        for each in threads:
            each.start()
        end = time.monotonic() + SECONDS
        turn = 0
        while time.monotonic() < end:
            time.sleep(1)
            turn += 1
            if turn % 3 == 2:
                for worker in workers(server.process.pid):
                    os.kill(worker, signal.SIGKILL)
                    killed += 1
            if turn % 10 == 0:
                sizes.append(memory_of(server.process.pid))
        ended_well = drained(load, threads)
    finally:
        load.over.set()
        for each in threads:
            each.join()
        said = server.said
        server.end()
    latencies = sorted(load.latencies)
    p50, p99 = (latencies[int(len(latencies) * part)] * 1e3 for part in (0.5, 0.99))
    print(
        f"\n{sum(load.counts.values())} requests in {SECONDS:g} s by {CALLERS} callers: {dict(load.counts)}\n"
        f"good ones: p50 {p50:.1f} ms, p99 {p99:.1f} ms, slowest {latencies[-1] * 1e3:.0f} ms; "
        f"{killed} workers killed, {load.died} requests with them\n"
        f"memory in MB: {[size >> 20 for size in sizes]}"
    )
    assert not load.wrong, load.wrong[:5]
    assert "Traceback" not in said, said[-3000:]
    assert ended_well
    assert killed
    assert load.died <= killed * CALLERS
    assert {"trap", "endless loop", "memory hog", "sleeper", "isolated", "broken connection"} <= set(
        load.counts
    )
    if len(sizes) >= 12:
        early, late = max(sizes[2:6]), max(sizes[-4:])
        assert late < early * 1.1 + (16 << 20), f"it grew from {early >> 20} to {late >> 20} MB"


def drained(load: Load, threads: list[threading.Thread]) -> bool:
    """Whether requests under way at SIGTERM were all answered, and the server ended in order."""
    load.over.set()
    for each in threads:
        each.join()
    answers: list[int] = []

    def late() -> None:
        one = _tensor("x", np.zeros((1, 4), np.float32))
        answers.append(load.post("sleeper", {"inputs": [one]})[0])

    last = [threading.Thread(target=late) for _ in range(8)]
    for each in last:
        each.start()
    time.sleep(0.15)  # they are inside, and stay for 0.3 s
    load.server.process.send_signal(signal.SIGTERM)
    for each in last:
        each.join()
    return answers == [504] * 8 and load.server.process.wait(30) == 0
