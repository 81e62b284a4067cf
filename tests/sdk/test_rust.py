# SPDX-License-Identifier: Apache-2.0
"""The SDK in Rust: its own tests on this machine, the switches, handles, and bad pictures in the guest."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

import models
import wasinn
from conftest import require_backend
from sdk.answers import FILES, PICTURES
from sdk.languages import LANGUAGES, ROOT, Language
from sdk.pictures import Made

SDK = ROOT / "sdk" / "rust"
sys.path.insert(0, str(ROOT / "guests"))
try:
    import build_rust
finally:
    sys.path.remove(str(ROOT / "guests"))


@pytest.fixture
def rust() -> Language:
    (found,) = (each for each in LANGUAGES if each.name == "rust")
    found.require()
    return found


@pytest.fixture
def builder(rust: Language) -> ModuleType:
    return build_rust


def imports(guest: Path) -> set[str]:
    """The names of the modules that a guest imports, as `module.function`."""
    import wasmtime

    module = wasmtime.Module.from_file(wasmtime.Engine(), str(guest))
    return {
        f"{each.module}.{each.name}" for each in module.imports if not each.module.startswith("wasi_snap")
    }


# -- on this machine --------------------------------------------------------------------------------------


def test_the_crate_s_own_tests(tmp_path: Path) -> None:
    """What needs no host: decoders on many bad files, JSON, scores, halves. With the compiler of this
    machine, which may be newer than the one for guests; overflows are panics there."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("there is no cargo")
    shutil.copytree(SDK, tmp_path / "sdk", ignore=shutil.ignore_patterns("target", "Cargo.lock"))
    done = subprocess.run(
        [cargo, "test", "--offline", "--quiet", "--target-dir", str(ROOT / "build" / "rust" / "target")],
        cwd=tmp_path / "sdk",
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- switches ---------------------------------------------------------------------------------------------

#: A guest for hosts that have the functions of the spec alone: nothing can be asked, all is said by itself.
PORTABLE = """
use wasinn::{Graph, Image, ImageContract, InputContract, OutputContract, Type};

fn main() -> wasinn::Result<()> {
    let graph = Graph::by_name("default")?;
    let error = graph.metadata().unwrap_err();
    println!("{error}");
    let mut shape = ImageContract::new("NCHW", (8, 8));
    shape.colour = wasinn::Colour::Gray;
    let input = InputContract::picture(0, Type::F32, shape);
    let mut context = graph.context()?;
    context.set_input(0, &input.tensor(&Image::open("/p/seven.png")?)?)?;
    context.compute()?;
    let scores = context.output_values::<f32>(0)?;
    let tensor = wasinn::Tensor::new(&[scores.len() as u32], &scores)?;
    println!("{}", OutputContract::new(0).top_k(&tensor, 1)?[0].index);
    println!("{}", context.set_input(0, &tensor).unwrap_err());
    Ok(())
}
"""


def test_without_features_a_guest_imports_the_spec_alone(builder: ModuleType, tmp_path: Path) -> None:
    require_backend("onnxruntime")
    source = tmp_path / "portable.rs"
    source.write_text(PORTABLE)
    guest = builder.build_file(source, tmp_path, features=())
    functions = ("load_by_name", "init_execution_context", "set_input", "compute", "get_output")
    assert imports(guest) == {f"wasi_ephemeral_nn.{each}" for each in functions}
    host = wasinn.Host(graphs={"default": "onnx:@digits"})
    result = host.run(guest, dirs={"/p": PICTURES})
    assert (result.exit_code, result.stderr) == (0, b""), result.trap
    asked, best, refused = result.stdout.decode().splitlines()
    assert 'without the feature "wasinn"' in asked
    assert best == "7"
    assert refused.endswith("set_input(0, f32 [10]) answered invalid_argument (1); the host's log says why")


def test_with_all_features_it_asks_the_host(rust: Language) -> None:
    found = imports(rust.command("classify")[0])
    assert {"wasinn.graph_metadata", "wasinn.last_error", "wasi_ephemeral_nn.unload"} <= found


def test_modules_name_no_path_of_this_machine(rust: Language) -> None:
    for name in ("classify", "segment", "batch"):
        assert str(ROOT).encode() not in rust.command(name)[0].read_bytes(), name


# -- handles ----------------------------------------------------------------------------------------------

HANDLES = """
use wasinn::{Graph, Encoding, Target};

fn main() -> wasinn::Result<()> {
    let one = Graph::by_name("default")?;
    let again = Graph::by_name("default")?; // the same handle, which must be freed once
    let context = one.context()?;
    drop(one);
    drop(again);
    println!("{}", context.graph().metadata()?.inputs[0].name); // the context keeps it
    drop(context);
    let fresh = Graph::by_name("default")?;
    println!("{}", fresh.context()?.graph().metadata()?.name);
    let other = Graph::from_files(&["/m/identity.onnx"], Encoding::Onnx, Target::Cpu)?;
    println!("{}", other.metadata()?.outputs[0].name);
    println!("{}", Graph::from_files(&["/m/none.onnx"], Encoding::Onnx, Target::Cpu).unwrap_err());
    println!("{}", Graph::from_bytes(&[b"no model"], Encoding::Onnx, Target::Cpu).unwrap_err());
    println!("{}", Graph::by_name_with_config("default", "{}")?.metadata()?.name);
    Ok(())
}
"""


def test_each_handle_is_freed_once(builder: ModuleType, tmp_path: Path) -> None:
    require_backend("onnxruntime")
    source = tmp_path / "handles.rs"
    source.write_text(HANDLES)
    host = wasinn.Host(graphs={"default": "onnx:@identity"})
    model = wasinn.shipped.ROOT / "models"
    result = host.run(builder.build_file(source, tmp_path), dirs={"/m": model})
    assert (result.exit_code, result.stderr) == (0, b""), result.trap
    lines = result.stdout.decode().splitlines()
    assert lines[:3] == ["x", "default", "y"]
    assert lines[3].startswith("/m/none.onnx: there is no such file")
    assert lines[4].startswith("load: ")
    assert lines[5] == "default"
    calls = result.stats.calls
    assert calls["unload"] == 3
    assert calls["finalize_execution_context"] == calls["init_execution_context"] == 2


def test_an_output_of_any_size(rust: Language) -> None:
    """One whose size the metadata do not tell: the first buffer of 64 KiB is too small."""
    require_backend("onnxruntime")
    count = 2000
    host = wasinn.Host(graphs={"default": "onnx:@digits_batch"})
    pictures = [f"/p/{FILES[at % 10]}" for at in range(count)]
    result = host.run(
        rust.command("batch")[0], ["--size", str(count), *pictures], dirs={"/p": PICTURES}, deadline=60
    )
    assert (result.exit_code, result.stderr) == (0, b"")
    assert [int(line.split("\t")[1]) for line in result.stdout.decode().splitlines()] == [
        at % 10 for at in range(count)
    ]
    assert result.stats.computes == 1
    assert result.stats.calls["get_output"] == 2


def test_halves_and_other_types_of_a_model(rust: Language) -> None:
    require_backend("onnxruntime")
    for kind, name in ((TensorProto.FLOAT16, "f16"), (TensorProto.DOUBLE, "f64"), (TensorProto.INT32, "i32")):
        node = helper.make_node("Identity", ["x"], ["y"])
        dims = [1, 3, 1, 1]
        content = models.onnx_model([node], [("x", kind, dims)], [("y", kind, dims)])
        source = wasinn.GraphSource.from_bytes(content, encoding="onnx", backend="onnxruntime")
        host = wasinn.Host(graphs={"default": source})
        result = host.run(rust.command("classify")[0], ["--top", "1", "/p/seven.png"], dirs={"/p": PICTURES})
        assert (result.exit_code, result.stderr) == (0, b""), name


# -- pictures ---------------------------------------------------------------------------------------------


def mutated(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(data))
        if chance.random() < 0.2:
            del data[at + 1 :]
        else:
            data[at] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
    return bytes(data)


def test_bad_pictures_are_errors_and_never_a_trap(rust: Language, tmp_path: Path) -> None:
    """In the guest itself, where a size has 32 bits; what is still read is what Pillow reads."""
    chance = random.Random(9)
    forms = [("PNG", "RGB"), ("PNG", "3-4-1"), ("PNG", "6-16-0"), ("BMP", "P"), ("BMP", "RGB"), ("PPM", "L")]
    contract = {"type": "u8", "image": {"layout": "HWC", "size": [9, 7], "range": [0, 255]}}
    (tmp_path / "c.json").write_text(json.dumps(contract))
    arguments = []
    for number in range(300):
        kind, form = forms[number % len(forms)]
        content = Made(kind, form, 7, 9, number).content
        (tmp_path / f"{number}.pic").write_bytes(mutated(content, chance))
        arguments += ["@/t/c.json", f"/t/{number}.pic"]
    result = wasinn.Host().run(rust.command("tensor")[0], arguments, dirs={"/t": tmp_path}, deadline=120)
    assert result.trap is None, result.trap
    sizes = []
    rest = result.stdout
    while rest:
        (size,) = struct.unpack("<I", rest[:4])
        sizes.append(size)
        rest = rest[4 + size :]
    assert len(sizes) == 300
    assert set(sizes) == {0, 9 * 7 * 3}
    lines = result.stderr.decode().splitlines()
    assert len(lines) == sizes.count(0)
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("words", "content"),
    [
        ("too large", b"P6 99999 99999 255 "),
        ("ends before", b"P6 8000 8000 255 "),
        ("too large", b"BM" + bytes(8) + struct.pack("<IIiiHHI", 54, 40, 65536, 65536, 1, 24, 0) + bytes(20)),
    ],
)
def test_a_claim_of_size_takes_no_memory(rust: Language, tmp_path: Path, words: str, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    contract = json.dumps({"type": "u8", "image": {"layout": "HWC", "size": [9, 7]}})
    result = wasinn.Host().run(rust.command("tensor")[0], [contract, "/t/a"], dirs={"/t": tmp_path})
    assert (result.exit_code, result.trap) == (1, None)
    assert words in result.stderr.decode()


def test_a_picture_too_large_for_memory_is_an_error(rust: Language, tmp_path: Path) -> None:
    """64 megapixels of one colour: a small file, and more bytes than the guest may have."""
    pixels = Image.new("RGB", (8192, 8192), (1, 2, 3))
    pixels.save(tmp_path / "a.png")
    contract = json.dumps({"type": "f32", "image": {"layout": "NCHW", "size": [8, 8], "resize": "nearest"}})
    arguments = [contract, "/t/a.png"]
    host = wasinn.Host()
    dirs = {"/t": tmp_path}
    small = host.run(rust.command("tensor")[0], arguments, dirs=dirs, deadline=60, max_memory=128 << 20)
    assert (small.exit_code, small.trap) == (1, None), small.stderr
    assert b"not enough memory" in small.stderr
    large = host.run(rust.command("tensor")[0], arguments, dirs=dirs, deadline=60, max_memory=1 << 30)
    assert (large.exit_code, large.stderr, large.trap) == (0, b"", None)
    values = np.frombuffer(large.stdout[4:], "<f4").reshape(3, 64)
    np.testing.assert_allclose(values, np.repeat([[1 / 255], [2 / 255], [3 / 255]], 64, 1), rtol=1e-6)
