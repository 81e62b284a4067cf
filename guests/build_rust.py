# SPDX-License-Identifier: Apache-2.0
"""Build the guests in Rust: `guests/rust` with the crate in `sdk/rust`, by the compiler alone.

    python guests/build_rust.py [NAME...] [--out DIR]

The compiler is the first of $RUSTC, `rustc` and /usr/bin/rustc that has a WASI target: on Debian the packages
`rustc` and `libstd-rust-dev-wasm32`, elsewhere `rustup target add wasm32-wasip1`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from building import command_line

GUESTS = Path(__file__).resolve().parent
ROOT = GUESTS.parent
SOURCES = GUESTS / "rust"
SDK = ROOT / "sdk" / "rust"
CACHE = ROOT / "build" / "rust"
NAMES = ("classify", "segment", "batch", "chat", "embed", "serve")
#: Those that the server calls, without a `main`.
REACTORS = ("serve",)

#: The newer name first: compilers from 1.78 on have it.
TARGETS = ("wasm32-wasip1", "wasm32-wasi")
FEATURES = ("wasinn", "wasmedge")
FLAGS = ["--edition", "2021", "-C", "opt-level=3", "-C", "panic=abort", "-C", "codegen-units=1"]
#: The linker's own default is 1 MiB as well; older ones had 16 pages.
LINK_FLAGS = ["-C", "strip=symbols", "-C", "link-arg=-zstack-size=1048576"]


@functools.cache
def compiler() -> tuple[str, str] | None:
    """The compiler and its WASI target; None where there is none."""
    for candidate in (os.environ.get("RUSTC"), "rustc", "/usr/bin/rustc"):
        path = shutil.which(candidate) if candidate else None
        for target in TARGETS if path else ():
            command = [str(path), "--print", "target-libdir", "--target", target]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            folder = Path(done.stdout.strip())
            if done.returncode == 0 and any(folder.glob("libstd-*.rlib")):
                return str(path), target
    return None


def unavailable() -> str | None:
    """Why guests in Rust cannot be built here; None where they can."""
    if compiler() is not None:
        return None
    return (
        "no rustc with the target wasm32-wasip1 or wasm32-wasi: apt-get install rustc "
        "libstd-rust-dev-wasm32, or rustup target add wasm32-wasip1"
    )


def build(name: str, out: Path) -> Path:
    """Compile the guest `name` of `guests/rust` into `out`/`name`.wasm. Raises RuntimeError."""
    return build_file(SOURCES / f"{name}.rs", out, reactor=name in REACTORS)


def build_file(source: Path, out: Path, features: tuple[str, ...] = FEATURES, reactor: bool = False) -> Path:
    """Compile one source into a command, or a reactor, that uses the SDK with these `features`. Raises
    RuntimeError."""
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    library = _library(features)
    target = out / f"{source.stem}.wasm"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / target.name
        external = ["--extern", f"wasinn={library}", *(["--crate-type", "cdylib"] if reactor else [])]
        name = source.stem.replace("-", "_")
        _compile([*external, *LINK_FLAGS, "--crate-name", name, str(source.resolve()), "-o", str(made)])
        shutil.copyfile(made, target)
    return target


def _library(features: tuple[str, ...]) -> Path:
    """The SDK compiled, from `build/` where neither it nor the compiler has changed since."""
    digest = hashlib.sha256(repr((compiler(), features, FLAGS)).encode())
    for file in sorted((SDK / "src").rglob("*.rs")):
        digest.update(f"{file.relative_to(SDK)}\0".encode() + file.read_bytes())
    folder = CACHE / digest.hexdigest()[:16]
    library = folder / "libwasinn.rlib"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [part for each in features for part in ("--cfg", f'feature="{each}"')]
    # Aside and then moved: builds side by side do not see halves of each other.
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        made = Path(aside) / library.name
        _compile(
            ["--crate-type", "rlib", "--crate-name", "wasinn", *chosen, "src/lib.rs", "-o", str(made)], SDK
        )
        made.replace(library)
    return library


def _compile(arguments: list[str], folder: Path = ROOT) -> None:
    found = compiler()
    if found is None:
        raise RuntimeError(unavailable())
    path, target = found
    # No path of this machine gets into a module.
    remap = ["--remap-path-prefix", f"{ROOT}=."]
    command = [path, "--target", target, *FLAGS, *remap, "-D", "warnings", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{arguments[-3]} does not compile:\n{done.stderr.strip()}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0, or 1 where something cannot be built."""
    return command_line("Rust", NAMES, build, unavailable, arguments)


if __name__ == "__main__":
    sys.exit(main())
