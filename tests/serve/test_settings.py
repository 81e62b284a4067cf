# SPDX-License-Identifier: Apache-2.0
"""[serve] and [guests.NAME] of `wasinn.toml`, and errors that name the key."""

from __future__ import annotations

import dataclasses
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

import wasinn
from wasinn import ConfigError
from wasinn.graphs.config import read_config
from wasinn.serve import settings_file, sockets
from wasinn.serve.banner import example, warnings
from wasinn.serve.cores import usable_cores
from wasinn.serve.plan import Plan, check_plan
from wasinn.serve.settings import DeclaredTensor, GuestSource, Settings
from wasinn.serve.settings_file import check_settings, parse_settings

WHOLE = """
[graphs.digits]
files = "@digits"

[graphs.far]
url = "oip:http://127.0.0.1:9/resnet"
timeout = 3

[serve]
host = "0.0.0.0"
http_port = 9000
grpc_port = false
processes = 3
max_body = "1M"
max_concurrency = 5
max_queue = 0
queue_timeout = 2
body_timeout = 3.5
max_connections = 9
deadline = 4
drain_timeout = 5
tls_cert = "cert.pem"
tls_key = "key.pem"
tokens = ["first-token"]
tokens_file = "tokens.txt"
access_log = "access.log"
console = false
repository = false
models = ["digits"]

[guests.classifier]
file = "guest.wasm"
args = ["--top", "5"]
env = { LEVEL = "info" }
dirs = ["labels", "labels::/l:rw", "labels:rw"]
input = "files"
deadline = 1.5
max_memory = "64M"
max_concurrency = 2
max_queue = 3
description = "what is in a picture"
inputs = [{ name = "image", datatype = "BYTES", shape = [1] }]
outputs = [{ name = "scores", datatype = "FP32", shape = [-1] }]

[guests.shipped]
file = "@identity"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "labels").mkdir()
    for name in ("cert.pem", "key.pem", "guest.wasm"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "tokens.txt").write_text("# of the load balancer\nsecond-token\n\n")
    return tmp_path


def parse(serve: dict[str, Any], guests: dict[str, Any] | None = None, folder: Path = Path()) -> Settings:
    return parse_settings(serve, guests or {}, folder)


def test_every_key_of_the_file_counts(folder: Path) -> None:
    file = folder / "wasinn.toml"
    file.write_text(WHOLE)
    config = read_config(file)
    far = config.graphs["far"].model
    assert (far.url, far.remote.timeout) == ("http://127.0.0.1:9/resnet", 3.0)
    settings = check_settings(parse_settings(config.serve, config.guests, folder))
    guest = GuestSource(
        file=str(folder / "guest.wasm"),
        args=("--top", "5"),
        env={"LEVEL": "info"},
        dirs=(f"{folder}/labels::labels", f"{folder}/labels::/l:rw", f"{folder}/labels::labels:rw"),
        input="files",
        deadline=1.5,
        max_memory=64 << 20,
        max_concurrency=2,
        max_queue=3,
        inputs=(DeclaredTensor("image", "BYTES", (1,)),),
        outputs=(DeclaredTensor("scores", "FP32", (-1,)),),
        description="what is in a picture",
    )
    assert settings == Settings(
        host="0.0.0.0",
        http_port=9000,
        grpc_port=None,
        processes=3,
        max_body=1 << 20,
        max_concurrency=5,
        max_queue=0,
        queue_timeout=2.0,
        body_timeout=3.5,
        max_connections=9,
        deadline=4.0,
        drain_timeout=5.0,
        tls_cert=folder / "cert.pem",
        tls_key=folder / "key.pem",
        tokens=("first-token", "second-token"),
        access_log=str(folder / "access.log"),
        console=False,
        repository=False,
        guests={"classifier": guest, "shipped": GuestSource("@identity")},
        models=("digits",),
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('url = "http://h/m"\nfiles = "@digits"', "give files or url, not both: .* no files here"),
        ('url = "http://h/m"\nencoding = "onnx"', "no encoding here"),
        ("url = 8000", 'url must be a text, as in url = "http://HOST:PORT/MODEL", got 8000'),
        ('url = "ftp://h/m"', "'ftp://h/m' is not http://HOST:PORT/MODEL"),
        ('url = "http://h/m"\nthreads = 2', "threads is not for a graph with a URL"),
        ('url = "http://h/m"\ntoken_file = "none.txt"', "token_file: there is no file '.*/none.txt'"),
    ],
)
def test_a_wrong_remote_graph_is_refused_by_its_key(folder: Path, keys: str, message: str) -> None:
    file = folder / "wasinn.toml"
    file.write_text(f"[graphs.far]\n{keys}\n")
    with pytest.raises(ConfigError, match=rf"wasinn.toml: \[graphs.far\]: .*{message}"):
        read_config(file)


def test_every_setting_can_be_set() -> None:
    assert set(settings_file._SERVE) == {each.name for each in dataclasses.fields(Settings)} - {"guests"}
    assert set(settings_file._GUEST) == {each.name for each in dataclasses.fields(GuestSource)}


def test_without_a_word_there_is_a_process_for_each_core_and_only_this_machine_can_call() -> None:
    settings = parse({})
    assert settings == Settings(processes=usable_cores())
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        ({"prot": 1}, r"unknown key 'prot' in \[serve\]; known: host, http_port"),
        ({"http_port": "80"}, "serve.http_port must be a whole number from 0 to 65535, got '80'"),
        ({"http_port": 65536}, "from 0 to 65535, got 65536"),
        ({"http_port": True}, "serve.http_port must be a port, or false for none"),
        ({"processes": 0}, "serve.processes must be a whole number from 1 to 256, got 0"),
        ({"processes": True}, "serve.processes must be a whole number"),
        ({"deadline": 0}, "serve.deadline must be seconds above 0"),
        ({"deadline": float("nan")}, "serve.deadline must be seconds above 0"),
        ({"deadline": float("inf")}, "at most 86400, got inf"),
        ({"max_body": "much"}, "serve.max_body: 'much' is not a size"),
        ({"max_body": 0}, "serve.max_body must be a size above 0"),
        ({"console": "yes"}, "serve.console must be true or false, got 'yes'"),
        ({"tokens": "secret-token"}, "serve.tokens must be a list of texts"),
        ({"tokens": ["short"]}, "a token is at least 8 printable ASCII characters"),
        ({"tokens": ["with a space in it"]}, "without a space"),
        ({"tokens_file": "missing.txt"}, "serve.tokens_file: there is no file"),
        ({"tls_cert": "missing.pem"}, "serve.tls_cert: there is no file"),
        ({"host": ""}, "serve.host must be a text"),
        ({"models": [1]}, "serve.models must be a list of texts"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_key(serve: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(serve)


def test_a_token_is_not_shown_in_the_error_about_it() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"tokens": ["hunter2"]})
    assert "hunter2" not in str(caught.value)


def test_a_file_without_a_token_is_refused_and_does_not_leave_the_server_open(folder: Path) -> None:
    (folder / "tokens.txt").write_text("# none yet\n")
    with pytest.raises(ConfigError, match="has no token; write one a line"):
        parse({"tokens_file": "tokens.txt"}, folder=folder)


@pytest.mark.parametrize(
    ("guest", "message"),
    [
        ("guest.wasm", r'guests.g must be a table, \[guests.g\] with file = "GUEST.wasm"'),
        ({}, r"\[guests.g\] needs file"),
        ({"file": "missing.wasm"}, "guests.g.file: there is no file"),
        ({"file": "@g", "flie": 1}, r"unknown key 'flie' in \[guests.g\]; known: file"),
        ({"file": "@g", "input": "socket"}, 'guests.g.input must be "stdin" or "files"'),
        ({"file": "@g", "dirs": ["missing"]}, "guests.g.dirs: there is no directory"),
        ({"file": "@g", "env": {"A": 1}}, "guests.g.env must be a table of texts"),
        ({"file": "@g", "inputs": [{"name": "x"}]}, "guests.g.inputs must be a list of tables"),
        (
            {"file": "@g", "inputs": [{"name": "x", "datatype": "FP33", "shape": []}]},
            "unknown datatype 'FP33'; known: BOOL",
        ),
        (
            {"file": "@g", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-2]}]},
            "shape must be a list of sizes",
        ),
        (
            {"file": "@g", "inputs": [{"name": "x", "datatype": "FP32", "shape": []}] * 2},
            "two tensors have the same name",
        ),
    ],
)
def test_a_wrong_guest_is_refused_by_its_key(guest: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse({}, {"g": guest})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(http_port=None, grpc_port=None), "both off"),
        (Settings(http_port=8000, grpc_port=8000), "both 8000"),
        (Settings(tls_cert=Path("c")), "tls_cert needs tls_key as well"),
        (Settings(tls_key=Path("k")), "tls_key needs tls_cert as well"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(settings: Settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_settings(settings)


def test_ports_of_zero_may_be_equal() -> None:
    assert check_settings(Settings(http_port=0, grpc_port=0)).http_port == 0


# -- the plan -----------------------------------------------------------------------------------------


def digits(**options: Any) -> wasinn.GraphSource:
    return wasinn.GraphSource.from_files("@digits", encoding="onnx", **options)


def test_graphs_that_do_not_say_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasinn.serve.plan.usable_cores", lambda: 8)
    graphs = {
        "plain": digits(),
        "chosen": digits(threads=5),
        "apart": digits(isolation="process"),
        "far": wasinn.GraphSource.parse("oip:http://127.0.0.1:9/m"),
        "tract": digits(backend="tract"),
    }

    def threads(processes: int) -> list[int | None]:
        plan = check_plan(Plan(graphs, Settings(processes=processes)))
        return [plan.graphs[name].options.threads for name in graphs]

    assert threads(2) == [4, 5, None, None, None]
    assert threads(16) == [1, 5, None, None, 1]


@pytest.mark.parametrize(
    ("graphs", "settings", "message"),
    [
        ((), Settings(), "nothing to serve: give --graph"),
        (("a",), Settings(models=()), "nothing to serve"),
        (("a",), Settings(models=("b",)), "no graph is called 'b'; graphs: a"),
        (("a",), Settings(guests={"a": GuestSource("@identity")}), "a graph and a guest are both called 'a'"),
        (("a\tb",), Settings(), "cannot be called"),
    ],
)
def test_what_cannot_be_served_is_refused(graphs: tuple[str, ...], settings: Settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_plan(Plan({name: digits() for name in graphs}, settings))


def test_a_plan_goes_to_another_process_whole(folder: Path) -> None:
    file = folder / "wasinn.toml"
    file.write_text(
        WHOLE
        + '\n[graphs.known]\nfiles = "@digits"\n[graphs.known.contract.input.image]\nlayout = "NCHW"\n'
        + 'size = [8, 8]\ncolour = "GRAY"\n'
    )
    config = read_config(file)
    plan = Plan(config.graphs, parse_settings(config.serve, config.guests, folder), config.permissions)
    assert pickle.loads(pickle.dumps(plan)) == plan


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "nonsense\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({}, None),
    ],
)
def test_a_containers_quota_counts(tmp_path: Path, files: dict[str, str], most: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    import os

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert usable_cores(tmp_path) == (most or allowed)


# -- ports and words ----------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_an_error_that_names_the_option() -> None:
    with sockets.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken .* --http-port 0"):
            sockets.listen("127.0.0.1", port)
        with pytest.raises(ConfigError, match="choose another with --grpc-port"):
            sockets.reserve("127.0.0.1", port)


def test_a_port_that_another_server_shares_is_taken_as_well() -> None:
    with sockets.reserve("127.0.0.1", 0) as kept:
        port = kept.getsockname()[1]
        with socket.socket() as process:  # as a process of the server does it
            process.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            process.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            process.bind(("127.0.0.1", port))
            process.listen()
            with pytest.raises(ConfigError, match="is taken by another program"):
                sockets.reserve("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host.invalid", "a" * 300])
def test_a_host_that_is_not_here_is_an_error(host: str) -> None:
    with pytest.raises(ConfigError, match="is no address of this machine"):
        sockets.listen(host, 0)


def test_an_open_server_is_warned_about() -> None:
    with sockets.listen("127.0.0.1", 0) as near, sockets.listen("0.0.0.0", 0) as far:
        graphs = {"digits": digits()}
        assert warnings(Plan(graphs, Settings()), near, None) == []
        anyone, unencrypted = warnings(Plan(graphs, Settings()), near, far)
        assert "anyone who can reach this machine" in anyone
        assert "--tokens-file" in anyone
        assert unencrypted.startswith("requests go over the network unencrypted")
        (tokens,) = warnings(Plan(graphs, Settings(tokens=("long-enough",))), far)
        assert tokens.startswith("tokens and requests")
        safe = Settings(tokens=("long-enough",), tls_cert=Path("c"), tls_key=Path("k"))
        assert warnings(Plan(graphs, safe), far) == []


def test_an_example_is_a_request_of_zeros_or_none() -> None:
    small = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
    assert example({"inputs": [small]}) == (
        '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[0,0]}]}'
    )
    assert example({"inputs": [small, {**small, "shape": [1, 3, 224, 224]}]}) is None
    assert example({"inputs": [{**small, "datatype": "BYTES"}]}) is None
    assert example({"inputs": []}) is None


def test_an_example_for_a_language_model_is_a_prompt() -> None:
    prompt = {"name": "prompt", "datatype": "BYTES", "shape": [1]}
    options = {"name": "options", "datatype": "BYTES", "shape": [1], "optional": True}
    assert example({"inputs": [prompt, options]}) == (
        '{"inputs":[{"name":"prompt","datatype":"BYTES","shape":[1],"data":["Once upon a time"]}]}'
    )
    assert example({"inputs": [{**prompt, "shape": [2]}]}) is None
