# SPDX-License-Identifier: Apache-2.0
"""What is special to the C SDK: its compilers, the portable build, handles that end by themselves, memory."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wasmtime

import wasinn
from conftest import require_backend
from sdk.languages import LANGUAGES, Language
from wasinn import shipped

ROOT = Path(__file__).parents[2]
SDK = ROOT / "sdk" / "c"
SOURCES = sorted(SDK.glob("*.c"))
PICTURES = shipped.ROOT / "pictures"
CONTRACT = shipped.ROOT / "models" / "digits.onnx.contract.toml"
DIGITS = f"onnx:@digits?contract={CONTRACT}"
HERE = Path(__file__).parent / "c"
FLAGS = ["-O1", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-I", str(SDK)]
STANDARD = {"load", "load_by_name", "init_execution_context", "set_input", "compute", "get_output"}


@pytest.fixture(scope="module")
def c() -> Language:
    (language,) = (each for each in LANGUAGES if each.name == "c")
    language.require()
    return language


def zig(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", *FLAGS, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def imports(path: Path) -> set[tuple[str, str | None]]:
    module = wasmtime.Module(wasmtime.Engine(), path.read_bytes())
    return {(each.module, each.name) for each in module.imports if each.module != "wasi_snapshot_preview1"}


def test_debian_s_clang_builds_a_guest_that_runs(tmp_path: Path) -> None:
    clang, libc = shutil.which("clang"), Path("/usr/include/wasm32-wasi")
    if clang is None or not libc.is_dir():
        pytest.skip("clang with wasi-libc is not installed")
    guest = tmp_path / "guest.wasm"
    sources = [ROOT / "guests" / "c" / name for name in ("batch.c", "options.c")]
    command = [clang, "--target=wasm32-wasi", *FLAGS, "-o", str(guest), *map(str, [*sources, *SOURCES])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    require_backend("onnxruntime")
    result = wasinn.Host(graphs={"default": DIGITS}).run(guest, ["/p/seven.png"], dirs={"/p": PICTURES})
    assert result.stdout.startswith(b"/p/seven.png\t7\t0.99"), result.stderr


def test_each_header_stands_on_its_own(c: Language, tmp_path: Path) -> None:
    for header in sorted(SDK.glob("*.h")):
        (tmp_path / "x.c").write_text(f"#include <{header.name}>\n#include <{header.name}>\nint x;\n")
        zig("-c", "-o", tmp_path / "x.o", tmp_path / "x.c")


def test_a_portable_guest_imports_what_every_host_has(c: Language, tmp_path: Path) -> None:
    guest = tmp_path / "guest.wasm"
    zig("-DNN_PORTABLE", "-o", guest, HERE / "mistakes.c", *SOURCES)
    found = imports(guest)
    assert {module for module, _ in found} == {"wasi_ephemeral_nn"}
    assert {name for _, name in found} <= STANDARD
    require_backend("onnxruntime")
    host = wasinn.Host(graphs={"default": "onnx:@identity"})
    said = {
        which: host.run(guest, [which]).stdout.decode() for which in ("unknown-graph", "none", "wrong-bytes")
    }
    assert said["unknown-graph"] == "load_by_name answered not_found (8); the host's log may say why\n"
    assert "built with NN_PORTABLE" in said["none"]
    assert "takes 16 bytes, and 12 were given" in said["wrong-bytes"]
    zig("-DNN_PORTABLE", "-DNN_WASMEDGE", "-o", guest, HERE / "mistakes.c", *SOURCES)
    assert {name for _, name in imports(guest)} - STANDARD == {"unload", "finalize_execution_context"}


def test_a_guest_of_wasinn_imports_what_it_uses(c: Language) -> None:
    found = imports(shipped.ROOT / "guests" / "segment.wasm")
    assert {name for module, name in found if module == "wasinn"} == {"graph_metadata", "last_error"}


def test_handles_end_by_themselves(c: Language) -> None:
    require_backend("onnxruntime")
    host = wasinn.Host(graphs={"default": "onnx:@identity"})
    guest, first = c.command("mistakes")
    for which in ("none", "wrong-dims", "closed-context", "closed-graph", "no-such-input"):
        calls = host.run(guest, [*first, which]).stats.calls
        assert calls["unload"] == calls["load_by_name"] == 1, which
        assert calls.get("finalize_execution_context", 0) == calls.get("init_execution_context", 0), which
    assert host.run(guest, [*first, "none"]).stdout == b"no error\n"


@pytest.mark.parametrize(
    ("which", "words"),
    [("freed-tensor", "the tensor has no data"), ("wrong-view", "it is f32 [1,4], and i32 was asked for")],
)
def test_mistakes_that_only_c_allows(c: Language, which: str, words: str) -> None:
    require_backend("onnxruntime")
    guest, first = c.command("mistakes")
    result = wasinn.Host(graphs={"default": "onnx:@identity"}).run(guest, [*first, which])
    assert words in result.stdout.decode()


# -- damaged data -------------------------------------------------------------------------------------------


def damaged(guest: Path, folder: Path, samples: list[bytes], rounds: int, kind: str) -> tuple[int, int]:
    (folder / "samples").write_bytes(b"".join(struct.pack("<I", len(each)) + each for each in samples))
    host = wasinn.Host()
    result = host.run(
        guest, ["/t/samples", str(rounds), kind], dirs={"/t": folder}, deadline=300, max_memory=1 << 30
    )
    assert (result.exit_code, result.trap, result.stderr) == (0, None, b"")
    good, bad = result.stdout.decode().replace(",", "").split()[::2]
    return int(good), int(bad)


def test_damaged_pictures_never_trap(c: Language, tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    samples = []
    pixels = np.random.default_rng(1).integers(0, 256, (9, 11, 3), np.uint8)
    for mode in ("RGB", "L", "P", "1", "RGBA", "LA"):
        picture = image_module.fromarray(pixels).convert(mode)
        kinds = ("PNG", "BMP", "PPM") if mode in ("RGB", "L", "1") else ("PNG",)
        for kind in kinds:
            picture.save(tmp_path / "x", format=kind)
            samples.append((tmp_path / "x").read_bytes())
    samples.append(b"P3\n2 2\n255\n1 2 3 4 5 6 7 8 9 10 11 12\n")
    good, bad = damaged(c.command("decode")[0], tmp_path, samples, 400, "picture")
    assert good + bad == 400 * len(samples)
    assert good > 200
    assert bad > 1000


def test_damaged_metadata_never_traps(c: Language, tmp_path: Path) -> None:
    text = {
        "name": "m",
        "inputs": [{"name": "x", "datatype": "INT8", "shape": [-1, 3, 8, 8], "aliases": ["a\u00e9\n"]}],
        "outputs": [{"name": "y", "datatype": None, "shape": None, "quantization": {"scale": [0.1]}}],
        "contract": {
            "inputs": [
                {
                    "name": "image",
                    "index": 0,
                    "type": "i8",
                    "quantization": {"scale": [1e-3, 2, 3], "zero_point": [1, 2, 3], "axis": 1},
                    "image": {"layout": "NCHW", "size": [8, 8], "mean": [1, 2, 3], "fill": [1, 2, 3]},
                }
            ],
            "outputs": [{"name": "out", "index": 0, "kind": "logits", "labels": ["a", "\U0001f600"]}],
        },
    }
    samples = [json.dumps(text).encode(), json.dumps(text, ensure_ascii=False).encode()]
    good, bad = damaged(c.command("decode")[0], tmp_path, samples, 3000, "json")
    assert good + bad == 6000
    assert good > 100
    assert bad > 1000
