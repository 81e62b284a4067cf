# SPDX-License-Identifier: Apache-2.0
"""Build the C guests into WebAssembly modules, byte for byte the same on every machine.

    python guests/build.py [NAME...] [--out DIR] [--check]

The compiler is the pinned `ziglang` package of the Python that runs this. `--check` builds aside
and compares with the files that the package ships.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

GUESTS = Path(__file__).resolve().parent
SOURCES = GUESTS / "c"
SHIPPED = GUESTS.parent / "src" / "wasinn" / "shipped" / "guests"

# The linker's own stack, 16 MiB, would be the larger part of each instance's memory.
COMMAND_FLAGS = ["-O2", "-Wl,-z,stack-size=1048576"]
# A reactor with no libc at all: not even the start-up code is needed.
BARE_FLAGS = ["-Os", "-mexec-model=reactor", "-Wl,-z,stack-size=16384"]

IMAGE_SOURCES = ["image.c", "image_bmp.c", "image_png.c", "image_pnm.c", "inflate.c"]

RECIPES: dict[str, tuple[list[str], list[str]]] = {
    "bench": (["bench.c", "model.c"], COMMAND_FLAGS),
    "classify": (["classify.c", "model.c", "preprocess.c", *IMAGE_SOURCES], COMMAND_FLAGS),
    "identity": (["identity.c"], COMMAND_FLAGS),
    "infer": (["infer.c", "model.c"], COMMAND_FLAGS),
    "limits": (["limits.c"], COMMAND_FLAGS),
    "request": (["request.c"], BARE_FLAGS),
}


def build(name: str, out: Path) -> Path:
    """Compile the guest `name` into `out`/`name`.wasm and return that path."""
    sources, flags = RECIPES[name]
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{name}.wasm"
    # Relative sources and no debug information: no path of this machine gets into the module.
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-std=c11"]
    # C11 alone does not declare clocks and sleeping.
    command += ["-D_POSIX_C_SOURCE=200809L"]
    command += ["-Wall", "-Wextra", "-Werror", "-s", "-flto", *flags, *sources, "-o", str(target)]
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name} does not compile:\n{done.stderr.strip()}")
    target.chmod(0o644)
    return target


def build_all(names: list[str], out: Path) -> list[Path]:
    """Compile several guests, two at a time."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda name: build(name, out), names))


def check(names: list[str]) -> list[str]:
    """Return the names whose shipped file is missing or is not what the sources give."""
    with tempfile.TemporaryDirectory() as directory:
        built = build_all(names, Path(directory))
        return [path.stem for path in built if not same(path, SHIPPED / path.name)]


def same(built: Path, shipped: Path) -> bool:
    """Whether the shipped file exists with the bytes of the built one."""
    return shipped.is_file() and built.read_bytes() == shipped.read_bytes()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0, or 1 where something differs or does not compile."""
    parser = argparse.ArgumentParser(description="Build the C guests.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--out", type=Path, default=SHIPPED, help="default: src/wasinn/shipped/guests")
    parser.add_argument("--check", action="store_true", help="compare with the shipped files")
    options = parser.parse_args(arguments)
    names: list[str] = options.names or list(RECIPES)
    for name in names:
        if name not in RECIPES:
            parser.error(f"there is no guest {name!r}: there are {', '.join(RECIPES)}")
    try:
        if options.check:
            differ = check(names)
            for name in differ:
                print(f"{name}.wasm is not what guests/build.py gives", file=sys.stderr)
            return 1 if differ else 0
        for path in build_all(names, options.out):
            print(f"{path.stat().st_size:8} {path}")
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
