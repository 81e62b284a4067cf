# SPDX-License-Identifier: Apache-2.0
"""`wasinn serve` as an operator has it: processes that serve, die, are replaced, and end in order."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from wasinn import ConfigError, GraphSource
from wasinn.cli.serve import _guest
from wasinn.serve import supervisor
from wasinn.serve.plan import Plan
from wasinn.serve.settings import Settings
from wasinn.serve.start import _check_files

#: A guest that never answers, for requests that run until something ends them.
SPIN = '(module (memory (export "memory") 1) (func (export "_start") (loop $on (br $on))))'

INPUTS = [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.0] * 64}]

Answer = tuple[int, dict[str, Any]]


class Command:
    """A server that is a process. `port`: of HTTP. `said`: its stderr so far."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._errors = folder / "stderr.txt"
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as behind `nohup`, which the server heeds
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "wasinn",
                    "serve",
                    "--http-port",
                    "0",
                    "--access-log",
                    "off",
                    *options,
                ],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "TMPDIR": str(folder)},
            )
        self.banner = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.banner += line
            if "in a browser" in line:
                break
        self.port = int(self.banner.partition("http://127.0.0.1:")[2].split()[0].rstrip("/") or 0)

    @property
    def said(self) -> str:
        return self._errors.read_text()

    def call(self, method: str, path: str, document: Any = None) -> Answer:
        """Raises OSError or HTTPException for a connection that is refused or broken."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json", "Connection": "close"}
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text.startswith(b"{") else {"text": text.decode()}

    def infer(self, model: str = "digits") -> Answer:
        return self.call("POST", f"/v2/models/{model}/infer", {"inputs": INPUTS})

    def ready(self, path: str = "/v2/health/ready") -> bool:
        return self.call("GET", path)[0] == 200

    def children(self) -> list[int]:
        listed = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(each) for each in listed.stdout.split()]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


Start = Callable[..., Command]
Run = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def make(*options: str, grpc: str = "off") -> Command:
        started.append(Command(tmp_path, "--grpc-port", grpc, *options))
        return started[-1]

    yield make
    for each in started:
        each.end()


@pytest.fixture
def spin(tmp_path: Path) -> str:
    path = tmp_path / "spin.wasm"
    path.write_bytes(wasmtime.wat2wasm(SPIN))
    return f"spin={path}"


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    # What has ended and was not waited for is still listed.
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_processes_serve_together_are_replaced_and_lose_no_request_at_the_end(
    start: Start, spin: str, tmp_path: Path
) -> None:
    server = start(
        *("--graph", "digits=onnx:@digits", "--guest", f"{spin}?deadline=0.8"),
        *("--processes", "2"),
        grpc="0",
    )
    assert "digits: graph onnx:" in server.banner
    assert "spin: guest" in server.banner
    assert "(2 processes)" in server.banner
    assert server.ready()
    assert server.infer()[0] == 200
    # The command that the banner tells of does what it says.
    tried = server.banner.partition("try: curl ")[2].splitlines()[0]
    found = subprocess.run(["bash", "-c", f"curl -s {tried}"], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout)["model_name"] == "digits"

    # A change of the repository is one of all processes, whichever is asked.
    assert server.call("POST", "/v2/repository/models/digits/unload", {})[0] == 200
    assert not any(server.ready("/v2/models/digits/ready") for _ in range(8))
    assert server.infer()[0] == 404

    # One process is killed: the others serve, another comes, and it knows what was unloaded.
    before = server.children()
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: "died: SIGKILL" in server.said)
    wait_for(lambda: len(set(server.children()) - set(before)) == 1)
    assert server.call("POST", "/v2/repository/models/digits/load", {})[0] == 200
    with ThreadPoolExecutor(8) as pool:
        assert {each[0] for each in pool.map(lambda _: server.infer(), range(40))} == {200}
    assert not any(gone(each) for each in server.children())

    # SIGTERM under load: what was taken is answered, a guest that runs comes to its end.
    statuses: list[int] = []
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.is_set():
            try:
                statuses.append(server.infer()[0])
            except ConnectionRefusedError:
                return
            except (OSError, http.client.HTTPException):
                statuses.append(0)

    with ThreadPoolExecutor(4) as pool:
        slow = pool.submit(server.infer, "spin")
        asking = [pool.submit(ask) for _ in range(3)]
        wait_for(lambda: len(statuses) > 20)
        children = server.children()
        server.process.send_signal(signal.SIGTERM)
        assert slow.result()[0] == 504
        stopped.set()
        for each in asking:
            each.result()
    assert server.process.wait(30) == 0
    assert set(statuses) == {200}
    assert all(gone(each) for each in children)
    assert not list(tmp_path.glob("wasinn-metrics-*"))
    assert "SIGTERM: no new connections" in server.said


def test_a_second_signal_ends_what_runs_at_once(start: Start, spin: str) -> None:
    server = start("--guest", spin, "--processes", "1")
    (child,) = server.children()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(server.infer, "spin")
        wait_for(
            lambda: 'wasinn_requests_running{model="spin"} 1.0' in server.call("GET", "/metrics")[1]["text"]
        )
        server.process.send_signal(signal.SIGINT)
        wait_for(lambda: "SIGINT: no new connections" in server.said)
        assert not slow.done()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 128 + signal.SIGINT
        with pytest.raises((OSError, http.client.HTTPException)):
            slow.result()
    assert gone(child)


def test_processes_end_with_the_one_that_watches_them(start: Start) -> None:
    server = start("--graph", "digits=onnx:@digits", "--processes", "1")
    children = server.children()
    server.process.kill()
    wait_for(lambda: all(gone(each) for each in children))


def test_a_model_that_cannot_be_loaded_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    said = subprocess.run(
        [sys.executable, "-m", "wasinn", "serve", "--graph", f"broken=onnx:{tmp_path / 'broken.onnx'}"]
        + ["--http-port", "0", "--grpc-port", "off", "--processes", "2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 2
    (line,) = said.stderr.splitlines()
    assert line.startswith("wasinn: model 'broken' could not be loaded: ")
    assert said.stdout == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there is nothing to serve: give --graph"),
        (["--graph", "a=@digits", "--guest", "a=@identity"], "a graph and a guest are both called 'a'"),
        (["--guest", "g"], "--guest is NAME=FILE[?key=value&...], not 'g'"),
        (["--guest", "g=@identity?deadline=no"], "guests.g.deadline must be seconds above 0"),
        (["--guest", "g=@identity?input"], "--guest g: 'input' is not key=value"),
        (["--guest", "g=@none"], "guest 'g': wasinn ships no guest '@none'"),
        (["--guest", "g=@identity", "--guest", "g=@infer"], "there are two guests called 'g'"),
        (["--graph", "a=@digits", "--processes", "0"], "--processes must be a whole number from 1 to 256"),
        (["--graph", "a=@digits", "--tls-cert", __file__], "tls_cert needs tls_key as well"),
        (
            ["--graph", "a=@digits", "--tls-cert", __file__, "--tls-key", __file__],
            "are no certificate and its key",
        ),
        (["--graph", "a=@digits", "--http-port", "off", "--grpc-port", "off"], "both off"),
        (["--graph", "a=@digits", "--access-log", "/no/such/folder/log"], "cannot write /no/such/folder/log"),
        (["--graph", "a=@digits", "--host", "203.0.113.7"], "is no address of this machine"),
        (["--graph", "a=@digits?backend=none"], "there is no backend called 'none'"),
    ],
)
def test_what_is_wrong_is_said_before_a_process_starts(run: Run, options: list[str], message: str) -> None:
    assert message in run("serve", *options, fails=2)


def test_a_key_with_a_password_is_refused_and_the_terminal_not_asked(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-passout", "pass:sesame"]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", *new_key, *files, "-subj", "/CN=localhost"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    settings = Settings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="the key without a password"):
        _check_files(settings)


def test_a_guests_options_stand_on_the_command_line_as_well() -> None:
    text = "g=a%3Fb.wasm?input=files&args=--top 5&deadline=1.5&max_memory=64M&max_queue=0"
    assert _guest(text) == (
        "g",
        {
            "file": "a?b.wasm",
            "input": "files",
            "args": ["--top", "5"],
            "deadline": 1.5,
            "max_memory": "64M",
            "max_queue": 0,
        },
    )


def test_the_command_line_counts_before_the_configuration(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "wasinn.toml"
    config.write_text('[graphs.a]\nfiles = "@digits"\n[serve]\nhost = "203.0.113.7"\nprocesses = 1\n')
    assert "'203.0.113.7' is no address" in run("serve", "--config", config, fails=2)
    assert "'203.0.113.9' is no address" in run("serve", "--config", config, "--host", "203.0.113.9", fails=2)
    config.write_text('[graphs.a]\nfiles = "@digits"\n[serve]\nprot = 1\n')
    assert f"{config}: unknown key 'prot' in [serve]" in run("serve", "--config", config, fails=2)


def test_what_is_not_installed_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wasinn.serve.start", raising=False)
    monkeypatch.setitem(sys.modules, "httptools", None)
    said = run("serve", "--graph", "a=@digits", fails=2)
    assert said == "wasinn: `wasinn serve` needs httptools: pip install 'wasinn[serve]'\n"


def test_a_process_that_hangs_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "PING", 0.05)
    plan = Plan(
        {"digits": GraphSource.from_files("@digits", encoding="onnx")},
        Settings(processes=1, access_log="off", http_port=None),
    )

    async def scenario() -> int:
        watching = supervisor.Supervisor(plan, [], lambda _example: None)
        running = asyncio.ensure_future(watching.run())
        while not watching._started:
            await asyncio.sleep(0.02)
        first = watching._children[0]
        os.kill(first.process.pid, signal.SIGSTOP)
        while first.ready:
            await asyncio.sleep(0.02)
        os.kill(first.process.pid, signal.SIGCONT)
        while watching._children[0] is first or not watching._children[0].ready:
            await asyncio.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)
        return await running

    assert asyncio.run(scenario()) == 0
    # What it was doing is on its stderr.
    assert "most recent call first" in capfd.readouterr().err
