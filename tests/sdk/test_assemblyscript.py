# SPDX-License-Identifier: Apache-2.0
"""The SDK for AssemblyScript by itself: its decoders, its arithmetic, its memory, builds without wasinn's own
functions, the template. What all languages have in common is tested beside this file."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wasinn
from conftest import require_backend
from sdk.languages import LANGUAGES, ROOT
from sdk.pictures import COLOUR_TYPES, MODES, Made
from wasinn import shipped
from wasinn.cli.new import make
from wasinn.imaging.decode import read_picture
from wasinn.imaging.masks import palette

(ASSEMBLYSCRIPT,) = (each for each in LANGUAGES if each.name == "assemblyscript")
SOURCES = ROOT / "tests" / "sdk" / "assemblyscript"


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    ASSEMBLYSCRIPT.require()


def run(name: str, *args: str, dirs: Any = None, graphs: Any = None, **options: Any) -> wasinn.RunResult:
    host = wasinn.Host(graphs=graphs or {})
    guest, first = ASSEMBLYSCRIPT.command(name)
    result = host.run(guest, [*first, *args], dirs=dirs or {}, deadline=120, **options)
    assert result.trap is None, f"{result.trap}\n{result.stderr.decode()}"
    return result


def unit(*args: str) -> list[str]:
    result = run("unit", *args)
    assert (result.exit_code, result.stderr) == (0, b"")
    return result.stdout.decode().splitlines()


# -- pictures -----------------------------------------------------------------------------------------------


def made_pictures() -> list[Made]:
    forms = [(kind, mode) for kind, modes in MODES.items() for mode in modes]
    forms += [
        ("PNG", f"{colour}-{depth}-{interlace}")
        for colour, (_, depths) in COLOUR_TYPES.items()
        for depth in depths
        for interlace in (0, 1)
    ]
    sizes = ((1, 1), (13, 17), (40, 9))
    return [
        Made(kind, form, *size, 7 * number + at)
        for number, (kind, form) in enumerate(forms)
        for at, size in enumerate(sizes)
    ]


def decoded(folder: Path, files: list[bytes]) -> list[str]:
    """What the guest says of each file."""
    for number, content in enumerate(files):
        (folder / f"f{number}").write_bytes(content)
    result = run("pictures", "/t/f", str(len(files)), dirs={"/t": folder})
    assert (result.exit_code, result.stderr) == (0, b"")
    lines = result.stdout.decode().splitlines()
    assert len(lines) == len(files)
    return lines


def summary(pixels: Any) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]} {zlib.adler32(np.ascontiguousarray(pixels).tobytes())}"


def test_pixels_are_pillow_s(tmp_path: Path) -> None:
    pictures = made_pictures()
    lines = decoded(tmp_path, [each.content for each in pictures])
    for picture, line in zip(pictures, lines, strict=True):
        assert line == summary(read_picture(picture.content)), picture


def bmp(depth: int, compression: int, masks: tuple[int, ...], rows: bytes, height: int) -> bytes:
    """A BMP of 4 pixels a row with bit masks, a header of 40 bytes and one more mask where 6 is given."""
    info = struct.pack("<IiiHHIIiiII", 40, 4, height, 1, depth, compression, len(rows), 0, 0, 0, 0)
    body = info + struct.pack(f"<{len(masks)}I", *masks)
    return b"BM" + struct.pack("<IHHI", 14 + len(body) + len(rows), 0, 0, 14 + len(body)) + body + rows


def test_pixels_of_bit_masks(tmp_path: Path) -> None:
    """Pillow reads few of them, so what is wanted is computed here."""
    generator = np.random.default_rng(3)
    for depth, masks in (
        (16, (0xF800, 0x7E0, 0x1F)),
        (32, (0xFF, 0xFF00, 0xFF0000)),
        (32, (0x3FF00000, 0xFFC00, 0x3FF)),
    ):
        words = generator.integers(0, 1 << depth, (3, 4), np.uint64)
        rows = words.astype(f"<u{depth // 8}").tobytes()
        wanted = np.zeros((3, 4, 3), np.uint8)
        for channel, mask in enumerate(masks):
            shift = (mask & -mask).bit_length() - 1
            wanted[..., channel] = ((words & mask) >> shift) * 255 // (mask >> shift)
        files = [
            bmp(depth, 3, masks, rows, -3),
            bmp(depth, 3, masks, rows, 3),
            bmp(depth, 6, (*masks, 0), rows, -3),
        ]
        assert decoded(tmp_path, files) == [summary(wanted), summary(wanted[::-1]), summary(wanted)]


def test_the_very_pixels_come_out(tmp_path: Path) -> None:
    picture = Made("PNG", "RGB", 61, 47, 1)
    (tmp_path / "a.png").write_bytes(picture.content)
    result = run("pictures", "/t/a.png", dirs={"/t": tmp_path})
    assert result.stdout == read_picture(picture.content).tobytes()


def with_good_checksums(content: bytes) -> bytes:
    """A PNG with the CRC of each chunk made right again, so that what is damaged inside is met."""
    at, parts = 8, [content[:8]]
    while len(content) - at >= 12:
        (length,) = struct.unpack_from(">I", content, at)
        if length > len(content) - at - 12:
            break
        body = content[at + 4 : at + 8 + length]
        parts.append(content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + length
    return b"".join([*parts, content[at:]])


def mutated(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = (
            chance.randrange(len(data)) if chance.random() < 0.6 else min(len(data) - 1, chance.randrange(64))
        )
        kind = chance.randrange(5)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = chance.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            data[at : at + 4] = chance.choice(
                (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80")
            )
        elif kind == 3 and len(data) > 8:
            del data[at : at + chance.randrange(1, 9)]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        if not data:
            return b""
    if chance.random() < 0.1:
        del data[chance.randrange(len(data) + 1) :]
    result = bytes(data)
    return with_good_checksums(result) if chance.random() < 0.8 else result


def test_a_thousand_bad_files_are_answered(tmp_path: Path) -> None:
    """Each by a picture or an error, all in one run; what Pillow reads too without a warning has its size."""
    chance = random.Random(11)
    good = [each.content for each in made_pictures()]
    files = [mutated(chance.choice(good), chance) for _ in range(1000)]
    lines = decoded(tmp_path, files)
    errors = [line for line in lines if line.startswith("error ")]
    assert 200 < len(errors) < 1000
    for line in lines:
        assert re.fullmatch(r"\d+x\d+ \d+|error \S.{10,200}", line), line
    assert len({re.sub(r".*: ", "", line) for line in errors}) > 8  # of many kinds


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def claimed(width: int, height: int, packed: bytes, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_what_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    files = [
        claimed(1 << 31, 1 << 31, b"x"),
        claimed(8193, 8192, b"x" * 2000),
        claimed(8192, 8192, b"x" * 2000),
        b"P6 999999999 999999999 255\n",
        b"P4 8192 8192\n",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 30000, 2000, 1, 24, 0, 0, 0, 0, 0, 0),
        b"",
    ]
    for number, content in enumerate(files):
        (tmp_path / f"f{number}").write_bytes(content)
    result = run("pictures", "/t/f", str(len(files)), dirs={"/t": tmp_path}, max_memory=4 << 20)
    lines = result.stdout.decode().splitlines()
    assert len(lines) == len(files)
    assert all(line.startswith("error ") for line in lines), lines


def test_a_picture_that_fits_no_memory_is_an_error_and_the_next_is_read(tmp_path: Path) -> None:
    """A small file of 3000 x 3000 black pixels, which takes 54 MB, where 30 MB are allowed."""
    black = zlib.compress(bytes(3001 * 3000 * 3 // 3), 9)
    (tmp_path / "f0").write_bytes(claimed(3000, 3000, zlib.compress(bytes((1 + 9000) * 3000), 9)))
    (tmp_path / "f1").write_bytes(claimed(3000, 3000, black, colour=0))
    (tmp_path / "f2").write_bytes(Made("PNG", "RGB", 20, 30, 5).content)
    result = run("pictures", "/t/f", "3", dirs={"/t": tmp_path}, max_memory=30 << 20)
    lines = result.stdout.decode().splitlines()
    assert [line.startswith("error ") and "memory" in line for line in lines] == [True, True, False]


def test_eight_megapixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (2048, 16, 3), np.uint8).repeat(256, axis=1)
    Image.fromarray(pixels).save(tmp_path / "f0", "PNG", compress_level=1)
    Image.fromarray(pixels).save(tmp_path / "f1", "BMP")
    result = run("pictures", "/t/f", "2", dirs={"/t": tmp_path})
    assert result.stdout.decode().splitlines() == [summary(pixels)] * 2


# -- arithmetic ----------------------------------------------------------------------------------------------


def test_numbers_are_written_as_c_does() -> None:
    chance = random.Random(5)
    values = [0.0, 1.0, 0.5, 1e-5, 123456789.0, 0.00012345678, 999999.7, 1e300, 1e-310, -2.5, 100000.0, 1e-4]
    values += [chance.uniform(-1, 1) * 10.0 ** chance.randrange(-20, 20) for _ in range(300)]
    texts = [repr(each) for each in values]
    assert unit("general", *texts) == [f"{each:.6g}" for each in values]
    small = [chance.uniform(-1000, 1000) for _ in range(200)]
    assert unit("fixed", *map(repr, small)) == [f"{each:.2f}" for each in small]


def test_softmax_and_the_best() -> None:
    found = [float(each) for each in unit("softmax", "1", "2", "300")]
    assert found == pytest.approx([math.exp(-299), math.exp(-298), 1.0], rel=1e-12)
    assert unit("softmax", "Infinity", "1", "Infinity") == ["0.5", "0.0", "0.5"]
    assert unit("best", "1", "nan", "3", "3", "2", "-Infinity", "nan") == ["2 3 4 0"]
    assert unit("best", "nan", "-Infinity") == ["1 0"]


def test_halves() -> None:
    assert unit("halves") == ["0"]
    values = np.concatenate(
        [np.random.default_rng(4).normal(0, 10.0**power, 40) for power in range(-9, 6)]
    ).astype(np.float32)
    with np.errstate(over="ignore"):
        wanted = values.astype(np.float16).view(np.uint16)
    assert unit("half", *(repr(float(each)) for each in values)) == [str(each) for each in wanted]


def test_quantization_along_an_axis() -> None:
    found = unit("quantize", "1", "1", "0.26", "0.124", "1000", "-1000")
    assert found == ["5.0 1.0", "1.0 1.0", "4.0 0.5", "-3.0 0.0", "127.0 62.0", "-128.0 -31.25"]


def test_json() -> None:
    good = [
        '{"a": [1, 2.5e3, "x\\u00e4\\"\\n"], "b": {"c": null}, "d": true}',
        " [ ] ",
        "-0.125",
        '"\\ud83d\\ude00é"',
    ]
    lines = unit("json", *good)
    assert lines == ["{[1.0,2500.0,'xä\"", "'],{null},true}", "[]", "-0.125", "'😀é'"]
    bad = [
        '{"a" 1}',
        "[1,]",
        '"x',
        "[[1]",
        "",
        "{]",
        "[1] 2",
        '"\\q"',
        '"\\u12"',
        "tru",
        "[" * 100,
        "[" * 100_000,
    ]
    for line in unit("json", *bad):
        assert line.startswith("error this is no JSON: "), line


def test_the_colours_are_the_host_s() -> None:
    (text,) = unit("palette")
    assert [int(each) for each in text.split()] == palette(256).reshape(-1).tolist()


def test_memory_that_is_lost_comes_back() -> None:
    (pages,) = unit("memory")
    assert 0 < int(pages) < 1024  # 2000 allocations of 4 MB on average, in less than 64 MB


def test_memory_that_is_not_there_is_no_trap() -> None:
    result = run("unit", "huge", "900000000", max_memory=64 << 20)
    assert result.stdout == b"no memory\n"


# -- graphs --------------------------------------------------------------------------------------------------

COMPUTED = "f32 [1, 4] 1.0 2.0 3.0 4.0\nthe tensor is f32, not i32\n"


@pytest.mark.parametrize(
    "arguments", [("named", "default", ""), ("named", "default", "{}"), ("files", "1", "/m/identity.onnx")]
)
def test_a_graph_by_name_by_options_and_by_files(arguments: tuple[str, ...]) -> None:
    require_backend("onnxruntime")
    dirs = {"/m": shipped.ROOT / "models"}
    result = run("graphs", *arguments, graphs={"default": "onnx:@identity"}, dirs=dirs)
    assert (result.exit_code, result.stderr, result.stdout.decode()) == (0, b"", COMPUTED)


def test_a_model_that_is_none_is_told() -> None:
    require_backend("onnxruntime")
    result = run("graphs", "files", "1", "/m/seven.png", dirs={"/m": shipped.ROOT / "pictures"})
    assert result.exit_code == 1
    assert "load: " in result.stderr.decode()


def test_handles_that_are_lost_are_given_back() -> None:
    """Or the host would hold ten thousand."""
    require_backend("onnxruntime")
    result = run("graphs", "lost", "default", graphs={"default": "onnx:@identity"})
    assert (result.exit_code, result.stdout) == (0, b"done\n")
    assert result.stats.calls["init_execution_context"] == 5000
    assert result.stats.calls["finalize_execution_context"] > 4000


# -- builds --------------------------------------------------------------------------------------------------


def test_without_wasinn_s_own_functions(tmp_path: Path) -> None:
    """A program of NN_PORTABLE imports the standard's functions and no others."""
    require_backend("onnxruntime")
    sys.path.insert(0, str(ROOT / "guests"))
    try:
        import build_assemblyscript  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(ROOT / "guests"))
    guest = build_assemblyscript.build_file(SOURCES / "portable.ts", tmp_path, portable=True)
    content = guest.read_bytes()
    assert b"wasi_ephemeral_nn" in content
    for name in (b"graph_metadata", b"last_error", b"unload", b"finalize_execution_context", b"\x06wasinn"):
        assert name not in content
    host = wasinn.Host(graphs={"default": "onnx:@identity"})
    result = host.run(guest, ["default"])
    *numbers, why = result.stdout.decode().splitlines()
    assert [float(each) for each in numbers] == [1, 2, 3, 4]
    assert "NN_PORTABLE" in why
    result = host.run(guest, ["nobody"])
    assert "not_found" in result.stdout.decode()


def test_the_template_builds_and_passes_its_own_test(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    require_backend("onnxruntime")
    folder = tmp_path / "street-signs"
    make(folder, "assemblyscript")
    # `wasinn` is this environment's.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command in ("npm install --no-audit --no-fund", "npm run build", "npm test"):
        done = subprocess.run(
            command.split(),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "PATH": path},
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    host = wasinn.Host(graphs={"default": "onnx:@digits"})
    result = host.run(folder / "street-signs.wasm", ["/p/seven.png"], dirs={"/p": shipped.ROOT / "pictures"})
    assert (result.exit_code, result.stderr) == (0, b"")
    assert "7\t" in result.stdout.decode().splitlines()[0]
