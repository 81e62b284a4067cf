# SPDX-License-Identifier: Apache-2.0
"""`wasinn.toml`: what it says, and errors that name the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

import models
import wasinn
from conftest import MakeDriver
from wasinn import ConfigError, Encoding, Limits, Target
from wasinn.graphs.config import read_config

WHOLE = """
[graphs.digits]
encoding = "onnx"
files = ["models/m.onnx"]
target = "auto"
backend = "onnxruntime"
threads = 2
dims = "reshape"
preload = true

[graphs."a name with spaces"]
files = "models/m.onnx"

[graphs.shipped]
files = ["@digits"]

[backends]
onnx = "onnxruntime"

[permissions]
load = false
names = ["digits"]
encodings = ["onnx", "tflite"]
max_model_bytes = "2M"
max_graphs = 3
max_contexts = 4

[limits]
deadline = 1.5
max_memory = "256M"
max_output = 1000
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.onnx").write_bytes(models.identity())
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "wasinn.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_key_of_the_file_counts(folder: Path) -> None:
    config = read_config(write(folder, WHOLE))
    digits = config.graphs["digits"]
    assert (digits.encoding, digits.target, digits.backend) == (Encoding.ONNX, Target.AUTO, "onnxruntime")
    assert (digits.options.threads, digits.dims) == (2, "reshape")
    assert config.graphs["a name with spaces"].encoding is Encoding.AUTODETECT
    assert config.preload == ("digits",)
    assert config.backends == {Encoding.ONNX: "onnxruntime"}
    permissions = config.permissions
    assert (permissions.load, permissions.names) == (False, {"digits"})
    assert permissions.encodings == {Encoding.ONNX, Encoding.TENSORFLOWLITE}
    assert permissions.max_model_bytes == 2 << 20
    assert (permissions.max_graphs, permissions.max_contexts) == (3, 4)
    assert Limits.from_mapping(config.limits) == Limits(1.5, 256 << 20, 1000)


def test_paths_are_relative_to_the_file_wherever_the_process_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, WHOLE)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = read_config(Path("../wasinn.toml"))
    (path,) = config.graphs["digits"].model.files
    assert path.samefile(folder / "models" / "m.onnx")


def test_a_path_may_be_absolute(folder: Path, tmp_path: Path) -> None:
    text = f'[graphs.m]\nfiles = ["{folder}/models/m.onnx"]'
    assert read_config(write(folder, text)).graphs["m"].model.files[0].is_file()


def test_an_empty_file_is_all_defaults(folder: Path, drive: MakeDriver) -> None:
    host = wasinn.Host.from_config(write(folder, ""))
    assert (len(host.registry), host.limits) == (0, Limits())
    assert drive(host=host).load(models.identity())[0] == 0


def test_a_host_from_a_file_does_as_the_file_says(folder: Path, drive: MakeDriver) -> None:
    host = wasinn.Host.from_config(write(folder, WHOLE))
    guest = drive(host=host)
    context = guest.open("digits")
    assert guest.set_input(context, 0, [2, 2], 1, bytes(16)) == 0, "dims = reshape"
    assert guest.load(models.identity())[0] == 6, "load = false"
    assert guest.load_by_name("shipped")[0] == 8, "not in names"
    assert guest.load_by_name("digits")[0] == 0
    assert [guest.context(0)[0] for _ in range(4)] == [0, 0, 0, 4], "max_contexts"


def test_limits_of_the_file_are_those_of_each_run(folder: Path) -> None:
    host = wasinn.Host.from_config(write(folder, "[limits]\ndeadline = 0.2\nmax_output = 100"))
    assert host.run("@limits", ["spin"]).limit == "deadline"
    assert host.run("@limits", ["print", "1000"]).limit == "output"
    assert host.run("@limits", ["print", "1000"], max_output=2000).exit_code == 0


def test_a_graph_marked_preload_is_loaded_at_the_start(folder: Path) -> None:
    (folder / "models" / "bad.onnx").write_bytes(b"nonsense")
    lazy = '[graphs.bad]\nencoding = "onnx"\nfiles = ["models/bad.onnx"]\n'
    wasinn.Host.from_config(write(folder, lazy))
    with pytest.raises(wasinn.WasiNNError, match="not an ONNX model"):
        wasinn.Host.from_config(write(folder, lazy + "preload = true\n"))


GRAPH = '[graphs.m]\nfiles = ["models/m.onnx"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graphs = ]", "line 1, column 10"),
        ("[graph.m]", r"unknown table \[graph\]; known: graphs, backends, permissions, limits"),
        ("limits = 3", r"limits must be a table, \[limits\]"),
        ("[graphs]\nm = 'x.onnx'", "graphs.m must be a table"),
        ("[graphs.m]\nencoding = 'onnx'", r"\[graphs.m\]: files must be a list of paths"),
        ("[graphs.m]\nfiles = []", r"\[graphs.m\]: files must be a list"),
        ("[graphs.m]\nfiles = [3]", r"\[graphs.m\]: files must be a list"),
        ("[graphs.m]\nfiles = ['none.onnx']", r"\[graphs.m\]: there is no file '.*none.onnx'"),
        ("[graphs.m]\nfiles = ['@none']", r"\[graphs.m\]: wasinn ships no model '@none'"),
        (GRAPH + "preload = 'yes'", r"\[graphs.m\]: preload must be true or false, got 'yes'"),
        (GRAPH + "encoding = 'onx'", r"\[graphs.m\]: unknown encoding 'onx'"),
        (GRAPH + "target = 'npu'", r"\[graphs.m\]: unknown execution target 'npu'"),
        (GRAPH + "threads = 0", r"\[graphs.m\]: threads must be a number from 1 to 1024, got 0"),
        (GRAPH + "threads = true", r"\[graphs.m\]: threads must be a number"),
        (GRAPH + "dims = 'loose'", r"\[graphs.m\]: dims must be"),
        (GRAPH + "tread = 1", r"\[graphs.m\]: unknown key 'tread'; known: encoding, files, preload"),
        ("[backends]\nonx = 'onnxruntime'", "unknown encoding 'onx'"),
        ("[backends]\nonnx = 1", "onnx = 1"),
        ("[backends]\nautodetect = 'onnxruntime'", "ENCODING = NAME, not autodetect"),
        ("[permissions]\nloads = true", r"unknown key 'loads' in \[permissions\]; known: names, load"),
        ("[permissions]\nload = 'no'", "permissions.load must be true or false"),
        ("[permissions]\nnames = 'm'", "permissions.names must be a list of names, got 'm'"),
        ("[permissions]\nencodings = ['onx']", "permissions.encodings: 'onx' is no encoding of a model"),
        ("[permissions]\nmax_model_bytes = 'much'", "permissions.max_model_bytes: 'much' is not a size"),
        ("[permissions]\nmax_graphs = -1", "permissions.max_graphs must be a number, got -1"),
        ("[permissions]\nmax_contexts = true", "permissions.max_contexts must be a number"),
    ],
)
def test_an_error_names_the_file_and_the_key(folder: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(write(folder, text))
    assert str(caught.value).startswith(f"{folder}/wasinn.toml: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[limits]\ndeadlines = 1", r"unknown key 'deadlines' in \[limits\]; known: deadline, max_memory"),
        ("[limits]\ndeadline = 0", "limits.deadline must be seconds above 0, got 0"),
        ("[limits]\ndeadline = nan", "limits.deadline must be seconds above 0"),
        ("[limits]\nmax_memory = 'big'", "limits.max_memory: 'big' is not a size"),
        ("[limits]\nmax_output = -1", "limits.max_output: -1 is not a size"),
        ("[limits]\nfuel = true", "limits.fuel: True is not a size"),
    ],
)
def test_an_error_in_the_limits_names_the_file_and_the_key(folder: Path, text: str, message: str) -> None:
    path = write(folder, text)
    with pytest.raises(ConfigError, match=message) as caught:
        wasinn.Host.from_config(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file"):
        wasinn.Host.from_config(folder / "none.toml")


def test_a_file_that_is_not_utf_8_is_named(folder: Path) -> None:
    path = write(folder, "")
    path.write_bytes(b"[graphs.\xff]")
    with pytest.raises(ConfigError, match=r"wasinn\.toml"):
        wasinn.Host.from_config(path)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64M", 64 << 20), ("64 MiB", 64 << 20), ("1.5k", 1536), ("2g", 2 << 30), ("4096", 4096), ("7b", 7)],
)
def test_sizes_are_read_as_people_write_them(folder: Path, text: str, size: int) -> None:
    config = read_config(write(folder, f'[limits]\nmax_memory = "{text}"'))
    assert Limits.from_mapping(config.limits).max_memory == size
